// @ts-check
/** What goes wrong around devices, keys and sockets, and what becomes of what one publishes meanwhile. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE } from "./browser.js";
import { FakeRoom, person } from "./fakeroom.js";
import { askSlowly, onTheWay, publishDrawing, signal } from "./mishaps.js";
import { comeIn, isIn, seesAndHears, until } from "./rooms.js";
import { Server } from "./server.js";
import { start } from "./stand.js";

const KEY = "0123456789abcdef-key";
/** The browser's own lines about a socket that was refused. */
const REFUSED = /WebSocket|401/;

const { server, browser } = await start();

describe("somebody in a room", { timeout: 8 * PATIENCE }, () => {
  test("is seen and heard who needed a second attempt to come in", async (context) => {
    const own = await Server.start(["--auth-keys", KEY]);
    context.after(() => own.stop());
    const ann = await comeIn(browser, own, "locked", "Ann", { query: `&token=${KEY}` });
    const bob = await open(browser, `${own.url}/room/locked?name=Bob&height=270&fps=10`, { expected: REFUSED });
    await bob.getByRole("button", { name: "Join", exact: true }).click();
    await bob.getByLabel("Key for this room").fill(KEY);
    await bob.getByRole("button", { name: "Use this key" }).click();
    await isIn(bob);
    await seesAndHears(ann, "Bob");
    await close(ann, bob);
  });

  test("publishes no camera that was switched off before the browser allowed it", async () => {
    const page = await open(browser, "about:blank");
    await page.addInitScript(askSlowly);
    await page.goto(`${server.url}/room/changed-mind?name=Ann&mic=off`);
    await page.locator("#lobby-cam").and(page.getByLabel("Turn off the camera")).click();
    await page.locator("#lobby-cam").and(page.getByLabel("Turn on the camera")).waitFor();
    await page.evaluate(() => Reflect.get(globalThis, "allow")());
    await page.waitForFunction(() => Reflect.get(globalThis, "given")[0]?.readyState === "ended");
    await page.getByRole("button", { name: "Join", exact: true }).click();
    await isIn(page);
    assert.equal(await page.evaluate(() => Reflect.get(globalThis, "crosspoint").localParticipant.published.length), 0);
    await close(page);
  });

  test("is seen who switches the camera on while the join is under way", async () => {
    const ann = await comeIn(browser, server, "early", "Ann", { query: "&cam=off&mic=off" });
    const page = await open(browser, server.url);
    const [arrived, arrive] = signal();
    const [published, goOn] = signal();
    await onTheWay(page, async ({ data, pass }) => {
      if (data.result?.session) {
        arrive();
        await published;
      }
      pass();
    });
    const joined = page.evaluate(enter, `${server.url}/room/early`);
    await arrived;
    await page.evaluate(publishDrawing);
    goOn();
    await joined;
    await shows(ann, 1);
    await close(ann, page);
  });

  test("is seen once who lost the socket with the offer on its way", async () => {
    const ann = await comeIn(browser, server, "cut", "Ann", { query: "&cam=off&mic=off" });
    const page = await open(browser, server.url);
    let cuts = 0;
    await onTheWay(page, ({ data, pass, cut }) => {
      if (data.method !== "offer" || cuts > 0) return pass();
      cuts += 1;
      cut();
    });
    await page.evaluate(enter, `${server.url}/room/cut`);
    await page.evaluate(publishDrawing);
    await isIn(page);
    await shows(ann, 1);
    const published = () => Reflect.get(globalThis, "crosspoint").localParticipant.published.length;
    assert.deepEqual([cuts, await page.evaluate(published)], [1, 1]);
    await close(ann, page);
  });

  test("has the camera closed that the room refuses", async () => {
    const page = await open(browser, server.url);
    await onTheWay(page, ({ data, pass, answer }) => {
      if (data.method === "offer") answer({ id: data.id, error: { code: "forbidden", message: "not now" } });
      else pass();
    });
    await page.evaluate(enter, `${server.url}/room/refusing`);
    const [problem, isOn, states, senders] = await page.evaluate(async () => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      /** @type {MediaStreamTrack[]} */
      const given = [];
      navigator.mediaDevices.getUserMedia = async (wanted) => {
        const stream = await real(wanted);
        given.push(...stream.getTracks());
        return stream;
      };
      const room = Reflect.get(globalThis, "crosspoint");
      const me = room.localParticipant;
      const problem = await me.setCameraEnabled(true).catch((/** @type {Error} */ { message }) => message);
      const senders = room.peerConnection.getSenders().filter((/** @type {RTCRtpSender} */ { track }) => track);
      return [problem, me.isCameraEnabled, given.map(({ readyState }) => readyState), senders.length];
    });
    assert.deepEqual([problem, isOn, states, senders], ["Not now.", false, ["ended"], 0]);
    await close(page);
  });

  test("is told of a camera that was unplugged, and so are the others", async () => {
    const ann = await comeIn(browser, server, "unplugged", "Ann");
    const bob = await comeIn(browser, server, "unplugged", "Bob", { query: "&cam=off&mic=off" });
    await until(bob, "Ann", ({ frames }) => frames > 0, "no picture comes");
    await ann.evaluate(() => {
      const track = Reflect.get(globalThis, "crosspoint").localParticipant.publishedOf("camera").mediaStreamTrack;
      track.stop();
      track.dispatchEvent(new Event("ended"));
    });
    await ann.getByText("Your camera is gone.").waitFor();
    await ann.getByRole("button", { name: "Turn on the camera" }).waitFor();
    const isMuted = () => [...Reflect.get(globalThis, "crosspoint").participants.values()][0].trackOf("camera").muted;
    await bob.waitForFunction(isMuted);
    await ann.keyboard.press("v");
    await until(bob, "Ann", (now, first) => now.frames >= first.frames + 5, "no picture comes again");
    await close(ann, bob);
  });

  test("comes in with another camera when the one of the last visit is gone", async () => {
    const page = await open(browser, "about:blank");
    await page.addInitScript(() => {
      const gone = JSON.stringify({ camera: "unplugged", microphone: "unplugged" });
      if (location.origin !== "null") localStorage.setItem("crosspoint.room", gone);
    });
    await page.goto(`${server.url}/room/remembered?name=Ann&autojoin=1&height=270&fps=10`);
    await isIn(page);
    await page.waitForFunction(() => Reflect.get(globalThis, "crosspoint").localParticipant.published.length === 2);
    await close(page);
  });

  test("keeps the chosen microphone open while it is muted", async () => {
    const page = await open(browser, `${server.url}/room/kept?name=Ann&cam=off`);
    await page.locator("#lobby select[data-devices=microphones]").selectOption({ index: 2 });
    await page.getByRole("button", { name: "Join", exact: true }).click();
    await isIn(page);
    const isOn = () => page.getByRole("button", { name: "Turn off the microphone" }).waitFor();
    await isOn();
    const track = () => {
      const local = Reflect.get(globalThis, "crosspoint").localParticipant.publishedOf("microphone");
      return local.mediaStreamTrack.id;
    };
    const before = await page.evaluate(track);
    await page.keyboard.press("m");
    await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
    await page.keyboard.press("m");
    await isOn();
    assert.equal(await page.evaluate(track), before);
    await close(page);
  });

  test("reads what was written while the connection was lost", async () => {
    const page = await open(browser, "about:blank");
    const room = new FakeRoom([person("bob", "Bob")]);
    await room.serve(page.context());
    const from = { sid: "bob", identity: "bob", name: "Bob" };
    room.chat = [{ id: "1", from, text: "Are you there?", time: 1_000 }];
    await page.goto(`${server.url}/room/fake?name=Me&autojoin=1&cam=off&mic=off`);
    await isIn(page);
    room.chat = [...room.chat, { id: "2", from, text: "You are away.", time: 2_000 }];
    await room.hangUp();
    await page.getByRole("button", { name: "Chat, 1 unread" }).waitFor();
    await page.keyboard.press("c");
    assert.deepEqual(await page.locator("#messages .text").allInnerTexts(), ["Are you there?", "You are away."]);
    await close(page);
  });

  test("keeps no more of a long chat than one scrolls back", async () => {
    const page = await open(browser, "about:blank");
    const room = new FakeRoom([person("bob", "Bob")]);
    await room.serve(page.context());
    await page.goto(`${server.url}/room/fake?name=Me&autojoin=1&cam=off&mic=off`);
    await isIn(page);
    const from = { sid: "bob", identity: "bob", name: "Bob" };
    for (let id = 1; id <= 600; id++)
      room.tell("chat", { message: { id: String(id), from, text: `Message ${id}`, time: id * 200_000 } });
    await page.keyboard.press("c");
    await page.getByText("Message 600", { exact: true }).waitFor();
    assert.equal(await page.locator("#messages > *").count(), 1_000);
    await close(page);
  });

  test("leaves nothing behind in the page", async () => {
    const page = await open(browser, server.url);
    await page.evaluate(async (url) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room({ passphrase: "correct horse" });
      await room.localParticipant.setCameraEnabled(true);
      await room.connect(url, "", { name: "Gone" });
      await room.leave();
      Object.assign(globalThis, { left: [room, new Room()].map((one) => new WeakRef(one)) });
    }, `${server.url}/room/left`);
    const remain = () => Reflect.get(globalThis, "left").filter((/** @type {any} */ one) => one.deref()).length;
    const deadline = Date.now() + PATIENCE;
    while ((await page.evaluate(remain)) > 0 && Date.now() < deadline) {
      await page.requestGC();
      await page.waitForTimeout(250);
    }
    assert.deepEqual([await page.evaluate(remain), page.workers().length], [0, 0]);
    await close(page);
  });

  test("comes in from a frame that may store nothing", async (context) => {
    const own = await Server.start(["--auth-keys", KEY]);
    context.after(() => own.stop());
    // Symbols are not drawn in such a frame, and screens not kept awake.
    const page = await open(browser, "about:blank", { expected: /icons\.svg|wake-lock/ });
    const source = `${own.url}/room/framed?token=${KEY}&name=Framed&autojoin=1&cam=off&mic=off`;
    const body = `<iframe sandbox="allow-scripts allow-forms" src="${source}"></iframe>`;
    const app = "http://localhost:9/";
    await page.context().route(app, (route) => route.fulfill({ contentType: "text/html", body }));
    await page.goto(app);
    await page.frameLocator("iframe").locator("#call").waitFor({ timeout: PATIENCE });
    await close(page);
  });
});

/** Runs in the page. @param {string} url */
async function enter(url) {
  const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
  const room = new Room();
  Object.assign(globalThis, { crosspoint: room });
  await room.connect(url, "", { name: "Late" });
}

/**
 * The only other one publishes so many cameras.
 *
 * @param {import("./browser.js").Page} page
 * @param {number} count
 */
async function shows(page, count) {
  const cameras = () =>
    [...Reflect.get(globalThis, "crosspoint").participants.values()].flatMap(({ tracks }) =>
      [...tracks.values()].filter(({ source }) => source === "camera"),
    ).length;
  await page.waitForFunction(cameras, undefined, { timeout: PATIENCE });
  assert.equal(await page.evaluate(cameras), count);
  await until(page, "Late", ({ frames }) => frames > 0, "no picture comes");
}
