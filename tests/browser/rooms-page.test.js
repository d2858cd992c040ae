// @ts-check
/** The conference page against a room without media: what one sees, hears told, and can do from the keyboard. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE } from "./browser.js";
import { FakeRoom, person } from "./fakeroom.js";
import { SCREENS, looksRight } from "./looks.js";
import { Server } from "./server.js";
import { start } from "./stand.js";

const NAMES = ["Ann Kowalski", "Bob", "Chiara Rossi", "Dmitri Petrov", "Eun-ji Park", "Farid", "Grace", "Hiro", "Ines"];

const { server, browser } = await start();

describe("the conference page", { timeout: 20 * PATIENCE }, () => {
  for (const theme of /** @type {const} */ (["light", "dark"])) {
    for (const [screen, viewport] of Object.entries(SCREENS)) {
      test(`is accessible and fits before one comes in: ${theme}, ${screen}`, async () => {
        const context = { viewport, colorScheme: theme };
        const page = await open(browser, `${server.url}/room/standup?name=Zoe`, { context });
        await page.locator("#preview-note").waitFor({ state: "hidden" });
        await looksRight(page, `room-lobby-${screen}-${theme}`);
        await close(page);
      });

      // Each number in one theme on each screen is enough: they share nothing.
      const isWhole = (theme === "light") === (screen === "desktop");
      for (const count of isWhole ? [1, 2, 4, 9, 16, 49] : [9]) {
        test(`is accessible and fits with ${count} people: ${theme}, ${screen}`, async () => {
          const { page, room } = await come(browser, server, count, { viewport, colorScheme: theme });
          if (count > 2) {
            room.tell("speakers", { speakers: [{ sid: "p0", level: 0.6, active: true }], dominant: "p0" });
            room.tell("quality", { sid: "p1", score: 2 });
            await page.locator(".tile.speaking").waitFor();
          }
          await looksRight(page, `room-${count}-${screen}-${theme}`);
          const shown = await page.locator(".tile:visible").count();
          if (count === 49 && screen === "phone") assert.ok(shown >= 12 && shown < 30, `${shown} on a phone`);
          else assert.equal(shown, count);
          await close(page);
        });
      }
    }
  }

  test("leafs through people who do not fit on one page, oneself on the first", async () => {
    const { page, room } = await come(browser, server, 60, { viewport: SCREENS.desktop });
    const shown = () => page.locator(".tile:visible .who").allInnerTexts();
    await page.locator("#page-of").getByText("1 of 2").waitFor();
    await looksRight(page, "room-60-desktop");
    const first = await shown();
    assert.ok(first.includes("You"));
    await page.keyboard.press("PageDown");
    await page.locator("#page-of").getByText("2 of 2").waitFor();
    const second = await shown();
    assert.equal(first.length + second.length, 60);
    assert.ok(!second.includes("You"));
    await page.getByRole("button", { name: "People before these" }).click();
    await page.locator("#page-of").getByText("1 of 2").waitFor();
    const wishes = room.requests.filter(({ method }) => method === "subscribe").pop()?.params.wishes ?? [];
    const heights = wishes.map((/** @type {any} */ { height }) => height);
    assert.ok(Math.max(0, ...heights) <= 180, `too large for such tiles: ${heights}`);
    await close(page);
  });

  test("brings who speaks to the first page, and leaves all others where they are", async () => {
    const { page, room } = await come(browser, server, 60, { viewport: SCREENS.desktop });
    await page.locator("#page-of").getByText("1 of 2").waitFor();
    await page.evaluate(() => document.querySelectorAll(".tile").forEach((tile, index) => (tile.id = `t${index}`)));
    const places = () =>
      page.evaluate(() => {
        const tiles = /** @type {HTMLElement[]} */ ([...document.querySelectorAll(".tile:not([hidden])")]);
        return tiles.map(({ id, style }) => `${id} ${style.transform}`).sort();
      });
    const speak = (/** @type {string} */ sid) =>
      room.tell("speakers", { speakers: [{ sid, level: 0.6, active: true }], dominant: sid });
    const before = await places();
    speak("p0");
    await page.locator(".tile.speaking:visible").waitFor();
    assert.deepEqual(await places(), before, "who is there already stays");
    speak("p58");
    await page.locator("#t59.speaking:visible").waitFor();
    const after = await places();
    const moved = before.filter((place) => !after.includes(place));
    assert.equal(moved.length, 1, `${moved}`);
    assert.ok(after.includes(`t59 ${moved[0]?.replace(/^t\d+ /, "")}`), "in the place of one who was quiet");
    await close(page);
  });

  test("leafs with a swipe, and not with a tap or two fingers", async () => {
    const { page } = await come(browser, server, 49, { viewport: SCREENS.phone, hasTouch: true });
    const touches = await page.context().newCDPSession(page);
    const drag = async (/** @type {number} */ from, /** @type {number} */ to, /** @type {number[]} */ others = []) => {
      const points = (/** @type {number} */ x) => [x, ...others].map((x, id) => ({ x, y: 300, id }));
      const send = (/** @type {"touchStart" | "touchMove" | "touchEnd"} */ type, /** @type {number | null} */ at) =>
        touches.send("Input.dispatchTouchEvent", { type, touchPoints: at === null ? [] : points(at) });
      await send("touchStart", from);
      // As a finger moves: in leaps, browsers only sometimes see a gesture of their own.
      for (let tenth = 1; tenth <= 10; tenth++) await send("touchMove", from + ((to - from) * tenth) / 10);
      await send("touchEnd", null);
    };
    const isOn = (/** @type {string} */ place) => page.locator("#page-of").getByText(place).waitFor();
    await isOn("1 of 3");
    await drag(300, 100);
    await isOn("2 of 3");
    await drag(200, 190);
    await drag(300, 100, [150]);
    await drag(300, 100);
    await isOn("3 of 3");
    // So far to the right that a browser would go back to the page before this one.
    await drag(40, 380);
    await isOn("2 of 3");
    await close(page);
  });

  test("tells screen readers who comes, goes, writes and raises a hand", async () => {
    const { page, room } = await come(browser, server, 3);
    const told = (/** @type {string} */ text) => page.locator("#announce").getByText(text).waitFor();
    room.tell("participantJoined", { participant: person("new", "Nadia") });
    await told("Nadia has joined");
    room.tell("participantUpdated", { participant: person("new", "Nadia", { attributes: { hand: "5" } }) });
    await told("Nadia raised a hand");
    const from = { sid: "new", identity: "new", name: "Nadia" };
    room.tell("chat", { message: { id: "1", from, text: "Hello all", time: Date.now() } });
    await told("Nadia writes: Hello all");
    await page.getByRole("button", { name: "Chat, 1 unread" }).waitFor();
    await page.getByRole("article", { name: "Nadia, microphone on, no picture, hand raised" }).waitFor();
    room.tell("participantLeft", { sid: "new", reason: "left" });
    await told("Nadia has left");
    await close(page);
  });

  test("does everything from the keyboard, and nothing while one types", async () => {
    const { page, room } = await come(browser, server, 3);
    await page.keyboard.press("m");
    await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
    await room.asked("mute", ({ muted }) => muted);
    await page.keyboard.press("v");
    await page.getByRole("button", { name: "Turn on the camera" }).waitFor();
    await page.keyboard.press("h");
    await page.getByRole("button", { name: "Lower your hand" }).waitFor();
    await room.asked("update", ({ attributes }) => Number(attributes?.hand) > 0);
    await page.keyboard.press("c");
    await page.keyboard.type("mvh");
    await page.keyboard.press("Enter");
    await page.getByText("mvh", { exact: true }).waitFor();
    await room.asked("chat", ({ text }) => text === "mvh");
    await page.keyboard.press("Escape");
    await page.keyboard.press("l");
    await page.locator(".tile.main").waitFor();
    await page.keyboard.press("?");
    await page.getByRole("heading", { name: "Keyboard shortcuts" }).waitFor();
    await looksRight(page, "room-shortcuts");
    await page.keyboard.press("Escape");
    await page.evaluate(() => document.activeElement instanceof HTMLElement && document.activeElement.blur());
    await page.keyboard.down(" ");
    await page.getByRole("button", { name: "Turn off the microphone" }).waitFor();
    await page.keyboard.up(" ");
    await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
    await close(page);
  });

  test("is accessible with its panels open", async () => {
    const { page, room } = await come(browser, server, 9);
    const from = { sid: "p0", identity: "p0", name: "Ann Kowalski" };
    room.tell("chat", { message: { id: "1", from, text: "See https://example.org/notes", time: 1 } });
    await page.keyboard.press("c");
    await page.getByRole("link", { name: "https://example.org/notes" }).waitFor();
    await looksRight(page, "room-chat");
    await page.getByRole("tab", { name: "People" }).click();
    await page.getByRole("listitem").first().waitFor();
    await looksRight(page, "room-people");
    await page.getByRole("button", { name: "More" }).click();
    await looksRight(page, "room-menu");
    await page.getByRole("button", { name: "Settings" }).click();
    await looksRight(page, "room-settings");
    await close(page);
  });

  test("shows a shared screen large, and a pinned person larger still", async () => {
    const { page, room } = await come(browser, server, 4);
    const [microphone] = person("p0", "").tracks;
    const track = { ...microphone, sid: "scr", kind: "video", source: "screen_share" };
    room.tell("trackPublished", { participant: "p0", track });
    await page.locator(".tile.screen.main").waitFor();
    await looksRight(page, "room-screen");
    await page.getByRole("article", { name: /^Bob/ }).hover();
    await page.getByRole("button", { name: "Pin Bob" }).click();
    await page.locator(".tile.person.main.pinned").waitFor();
    room.tell("trackUnpublished", { participant: "p0", track: "scr" });
    await page.getByRole("button", { name: "Unpin Bob" }).click();
    await page.locator(".tile.main").waitFor({ state: "detached" });
    await close(page);
  });

  test("lets a reaction rise, and shows those of others", async () => {
    const { page, room } = await come(browser, server, 3);
    await page.getByRole("button", { name: "Send a reaction" }).click();
    await page.getByRole("button", { name: "Heart" }).click();
    await page.locator(".tile.self .rising").waitFor();
    assert.deepEqual({ topic: "reaction", payload: btoa("heart"), reliable: false }, await room.asked("data"));
    room.tell("data", { topic: "reaction", payload: btoa("thumb"), from: "p0", reliable: false });
    await page.locator("#announce").getByText("Ann Kowalski: Thumbs up").waitFor();
    await close(page);
  });

  test("shows what is written while the chat is closed, and opens it", async () => {
    const { page, room } = await come(browser, server, 3);
    const from = { sid: "p0", identity: "p0", name: "Ann Kowalski" };
    const write = (/** @type {string} */ id, /** @type {string} */ text) =>
      room.tell("chat", { message: { id, from, text, time: Date.now() } });
    write("1", "Good morning");
    await page.getByRole("button", { name: "Ann Kowalski Good morning" }).waitFor();
    write("2", "The notes are ready");
    const latest = page.locator("#toasts .message");
    await latest.getByText("The notes are ready").waitFor();
    assert.equal(await latest.count(), 1);
    await looksRight(page, "room-message");
    await latest.click();
    await page.locator("#messages").getByText("Good morning").waitFor();
    await latest.waitFor({ state: "detached" });
    write("3", "Do you see it?");
    await page.locator("#messages").getByText("Do you see it?").waitFor();
    assert.equal(await latest.count(), 0, "who reads the chat is shown it twice");
    await close(page);
  });

  test("changes one's name", async () => {
    const { page, room } = await come(browser, server, 3);
    await page.getByRole("button", { name: "More", exact: true }).click();
    await page.getByRole("button", { name: "Settings" }).click();
    assert.equal(await page.locator("#set-name").inputValue(), "Zoe");
    await page.locator("#set-name").fill("Zoe Quinn");
    await page.keyboard.press("Enter");
    await page.locator("#settings").waitFor({ state: "hidden" });
    await room.asked("update", ({ name }) => name === "Zoe Quinn");
    await page.keyboard.press("p");
    await page.getByText("Zoe Quinn (you)").waitFor();
    await close(page);
  });

  test("has nothing lie over the link to the room", async () => {
    const { page, room } = await come(browser, server, 2);
    room.tell("participantLeft", { sid: "p0", reason: "left" });
    await page.getByText("You are the first one here").waitFor();
    await page.locator(".toast").getByText("Ann Kowalski has left").waitFor();
    const card = await page.locator("#invite").boundingBox();
    const toast = await page.locator(".toast").boundingBox();
    assert.ok(card && toast && toast.y >= card.y + card.height, `${JSON.stringify([card, toast])}`);
    await close(page);
  });

  test("gives a moderator the means, and says what a moderator did", async () => {
    const { page, room } = await come(browser, server, 3);
    const { permissions } = person("self", "Zoe");
    const participant = person("self", "Zoe", { permissions: { ...permissions, admin: true } });
    room.tell("participantUpdated", { participant });
    await page.keyboard.press("p");
    page.once("dialog", (dialog) => dialog.accept());
    await page.getByRole("button", { name: "Remove Ann Kowalski" }).click();
    await room.asked("kick", ({ participant }) => participant === "p0");
    const own = (await room.asked("join")).tracks.find((/** @type {any} */ { source }) => source === "microphone");
    room.tell("muted", { track: `own-${own.mid}`, by: "p0" });
    await page.getByText("Ann Kowalski turned off your microphone.").first().waitFor();
    await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
    room.tell("closed", { reason: "kicked", message: "Ann Kowalski removed you from the room." });
    await close(page);
  });

  test("says that a room cannot be reached, and what to do", async () => {
    const expected = /WebSocket|ERR_|404/;
    const page = await open(browser, `${server.url}/room/away?cam=off&mic=off`, { expected });
    await page.context().routeWebSocket(/ws/, (socket) => socket.close());
    await page.getByRole("button", { name: "Join" }).click();
    await page.getByText("The room cannot be reached").waitFor({ timeout: PATIENCE });
    await close(page);
  });
});

/**
 * @param {import("playwright-core").Browser} browser
 * @param {Server} server
 * @param {number} count People, oneself included.
 * @param {import("playwright-core").BrowserContextOptions} [context]
 */
async function come(browser, server, count, context) {
  const others = Array.from({ length: count - 1 }, (_, index) =>
    person(`p${index}`, NAMES[index % NAMES.length] ?? "", index % 3 === 1 ? { tracks: [] } : {}),
  );
  const room = new FakeRoom(others);
  const page = await open(browser, "about:blank", { context: { reducedMotion: "reduce", ...context } });
  await room.serve(page.context());
  await page.goto(`${server.url}/room/standup?name=Zoe&autojoin=1`);
  await page
    .locator(".tile")
    .nth(count - 1)
    .waitFor({ state: "attached", timeout: PATIENCE });
  await page.locator(".tile:visible").first().waitFor();
  return { page, room };
}
