// @ts-check
/** Three people in real Chromium meet on the real server. */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { close, launch, open, PATIENCE } from "./browser.js";
import { comeIn, isIn, ownSid, receptions, seesAndHears, until } from "./rooms.js";
import { ARTEFACTS, Server } from "./server.js";

describe("a room", { timeout: 20 * PATIENCE }, () => {
  /** @type {Server} */
  let server;
  /** @type {import("playwright-core").Browser} */
  let browser;

  before(async () => {
    mkdirSync(ARTEFACTS, { recursive: true });
    server = await Server.start();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  test("lets three people see and hear each other, every pair", async () => {
    const people = await three(browser, server, "pairs");
    await people.ann.screenshot({ path: `${ARTEFACTS}room-real-3.png` });
    await close(...Object.values(people));
  });

  test("tells everybody who is muted, and carries on when unmuted", async () => {
    const { ann, bob, cleo } = await three(browser, server, "muting");
    await ann.keyboard.press("m");
    for (const page of [bob, cleo]) await until(page, "Ann", ({ muted }) => muted, "not told of the mute");
    await bob.getByRole("article", { name: /^Ann, muted/ }).waitFor();
    await ann.keyboard.press("m");
    await until(bob, "Ann", (now, first) => !now.muted && now.energy > first.energy, "silent after unmuting");
    await ann.keyboard.press("v");
    await bob.getByRole("article", { name: /^Ann.*no picture/ }).waitFor();
    await ann.keyboard.press("v");
    await until(bob, "Ann", (now, first) => now.frames > first.frames + 5, "no picture after the camera came back");
    await close(ann, bob, cleo);
  });

  test("shows a canvas that is shared as a screen, large, until it ends", async () => {
    const { ann, bob, cleo } = await three(browser, server, "sharing");
    await shareCanvas(ann);
    for (const page of [bob, cleo]) {
      await page.locator(".tile.screen.main").waitFor();
      await until(page, "Ann", ({ screen }) => screen > 3, "the screen is not seen");
    }
    await bob.screenshot({ path: `${ARTEFACTS}room-real-screen.png` });
    await ann.evaluate(async () => {
      const { localParticipant } = Reflect.get(globalThis, "crosspoint");
      await localParticipant.unpublish(localParticipant.publishedOf("screen_share"));
    });
    for (const page of [bob, cleo]) await page.locator(".tile.screen").waitFor({ state: "detached" });
    await shareCanvas(ann);
    await until(bob, "Ann", ({ screen }) => screen > 3, "the screen is not seen a second time");
    await close(ann, bob, cleo);
  });

  test("keeps the place of one who reloads", async () => {
    const { ann, bob, cleo } = await three(browser, server, "reload");
    const sid = await ownSid(ann);
    await noteLeaving(bob);
    await ann.reload();
    await isIn(ann);
    assert.equal(await ownSid(ann), sid);
    await seesAndHears(ann, "Bob", "Cleo");
    await seesAndHears(bob, "Ann");
    assert.deepEqual(await left(bob), [], "the others saw a departure");
    await close(ann, bob, cleo);
  });

  test("carries what one writes, and shows it to those who come later", async () => {
    const ann = await comeIn(browser, server, "writing", "Ann");
    const bob = await comeIn(browser, server, "writing", "Bob");
    await ann.keyboard.press("c");
    await ann.getByLabel("Message to everybody").fill("The notes are ready");
    await ann.keyboard.press("Enter");
    await bob.getByRole("button", { name: "Chat, 1 unread" }).waitFor();
    const cleo = await comeIn(browser, server, "writing", "Cleo");
    await cleo.keyboard.press("c");
    await cleo.getByText("The notes are ready").waitFor();
    await bob.keyboard.press("h");
    await ann.locator("#announce").getByText("Bob raised a hand").waitFor();
    await close(ann, bob, cleo);
  });

  test("sends the larger picture to whom pins it", async () => {
    const context = { viewport: { width: 1200, height: 800 } };
    const ann = await comeIn(browser, server, "pinning", "Ann", { query: "&height=720" });
    const bob = await comeIn(browser, server, "pinning", "Bob", { context });
    const others = [];
    for (const name of ["Cleo", "Dan", "Eve", "Finn", "Gus", "Hal"])
      others.push(await comeIn(browser, server, "pinning", name, { query: "&cam=off&mic=off" }));
    const small = await until(bob, "Ann", ({ frames }) => frames > 5, "no pictures come");
    await bob.getByRole("article", { name: /^Ann/ }).hover();
    await bob.getByRole("button", { name: "Pin Ann" }).click();
    await until(bob, "Ann", ({ height }) => height > small.height, `pinned, it stays at ${small.height} lines`);
    await close(ann, bob, ...others);
  });

  test("runs the example of the README", async () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    const example = /```html\n(<!doctype html>[\s\S]*?)```/.exec(readme)?.[1] ?? "";
    assert.ok(example.split("\n").length <= 30, "the example has grown");
    const ann = await comeIn(browser, server, "standup", "Ann");
    const page = await open(browser, "about:blank");
    await page
      .context()
      .route("**/example.html", (route) => route.fulfill({ contentType: "text/html", body: example }));
    await page.goto(`${server.url}/example.html`);
    await page.getByRole("button", { name: "Join" }).click();
    await page.waitForFunction(() => (document.querySelector("video")?.videoWidth ?? 0) > 0, undefined, {
      timeout: PATIENCE,
    });
    await ann.waitForFunction(() => Reflect.get(globalThis, "crosspoint").participants.size === 1);
    const [name = ""] = Object.keys(await receptions(ann));
    await seesAndHears(ann, name);
    await close(ann, page);
  });
});

/**
 * @param {import("playwright-core").Browser} browser
 * @param {Server} server
 * @param {string} room
 */
async function three(browser, server, room) {
  const ann = await comeIn(browser, server, room, "Ann");
  const bob = await comeIn(browser, server, room, "Bob");
  const cleo = await comeIn(browser, server, room, "Cleo");
  await seesAndHears(ann, "Bob", "Cleo");
  await seesAndHears(bob, "Ann", "Cleo");
  await seesAndHears(cleo, "Ann", "Bob");
  return { ann, bob, cleo };
}

/** @param {import("./browser.js").Page} page */
function shareCanvas(page) {
  return page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: 640, height: 360 });
    const pen = canvas.getContext("2d");
    let hue = 0;
    setInterval(() => {
      if (!pen) return;
      pen.fillStyle = `hsl(${(hue += 5)} 60% 50%)`;
      pen.fillRect(0, 0, 640, 360);
    }, 100);
    const [track] = canvas.captureStream(10).getVideoTracks();
    const room = Reflect.get(globalThis, "crosspoint");
    await room.localParticipant.publish(track, { source: "screen_share" });
  });
}

/** Remembers from now on who leaves. @param {import("./browser.js").Page} page */
function noteLeaving(page) {
  return page.evaluate(() => {
    /** @type {string[]} */
    const left = [];
    Reflect.set(globalThis, "left", left);
    const room = Reflect.get(globalThis, "crosspoint");
    room.addEventListener("participantleft", (/** @type {any} */ event) => left.push(event.participant.name));
  });
}

/** @param {import("./browser.js").Page} page @returns {Promise<string[]>} */
function left(page) {
  return page.evaluate(() => Reflect.get(globalThis, "left"));
}
