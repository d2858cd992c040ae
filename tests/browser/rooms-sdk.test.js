// @ts-check
/** What programs do with the SDK: examples, late cameras, data, what is said of the room, a server that restarts. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { close, open, PATIENCE } from "./browser.js";
import { comeIn, isIn, seesAndHears, until } from "./rooms.js";
import { ARTEFACTS, Server } from "./server.js";
import { start } from "./stand.js";

/** Without devices: only messages count. */
const QUIET = "&cam=off&mic=off";
/** The browser's own lines about a server that is not there. */
const OUTAGE = /WebSocket|ERR_|Failed to load resource/;

const { server, browser } = await start();

describe("the SDK", { timeout: 10 * PATIENCE }, () => {
  test("shows everybody a camera that is switched on later, directly and through the server", async () => {
    const ann = await comeIn(browser, server, "late", "Ann", { query: "&cam=off&mic=off" });
    const bob = await comeIn(browser, server, "late", "Bob");
    await bob.locator("#path").getByText("Direct").waitFor({ timeout: PATIENCE });
    await ann.keyboard.press("v");
    await until(bob, "Ann", (now, first) => now.frames >= first.frames + 5, "no picture comes directly");
    const cleo = await comeIn(browser, server, "late", "Cleo", { query: "&cam=off&mic=off" });
    await ann.keyboard.press("m");
    await cleo.keyboard.press("v");
    await cleo.keyboard.press("m");
    await seesAndHears(cleo, "Ann", "Bob");
    await seesAndHears(bob, "Ann", "Cleo");
    await seesAndHears(ann, "Bob", "Cleo");
    await close(ann, bob, cleo);
  });

  test("lets one in who is quicker than the camera, which follows", async () => {
    const ann = await comeIn(browser, server, "quick", "Ann");
    const cleo = await comeIn(browser, server, "quick", "Cleo");
    const page = await open(browser, "about:blank");
    await page.addInitScript(() => {
      const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
      const opened = new Promise((resolve) => Object.assign(globalThis, { openDevices: resolve }));
      navigator.mediaDevices.getUserMedia = async (wanted) => {
        await opened;
        return real(wanted);
      };
    });
    await page.goto(`${server.url}/room/quick?name=Quick&autojoin=0&height=270&fps=10`);
    await page.getByRole("button", { name: "Join" }).click();
    await isIn(page);
    assert.equal(await page.evaluate(() => Reflect.get(globalThis, "crosspoint").localParticipant.published.length), 0);
    await page.evaluate(() => Reflect.get(globalThis, "openDevices")());
    await seesAndHears(ann, "Quick");
    await page.getByRole("button", { name: "Turn off the camera" }).waitFor();
    await close(ann, cleo, page);
  });

  test("publishes later what it does not receive", async () => {
    const bob = await comeIn(browser, server, "deaf", "Bob", { query: "&cam=off&mic=off" });
    const cleo = await comeIn(browser, server, "deaf", "Cleo", { query: "&cam=off&mic=off" });
    const ann = await open(browser, server.url);
    await ann.evaluate(async () => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room({ videoSlots: 0, audioSlots: 0 });
      await room.connect("/room/deaf", "", { name: "Ann" });
      const [track] = (await navigator.mediaDevices.getUserMedia({ video: { height: 270 } })).getVideoTracks();
      await room.localParticipant.publish(track, { source: "camera" });
    });
    await until(bob, "Ann", (now, first) => now.frames >= first.frames + 5, "no pictures come");
    await close(ann, bob, cleo);
  });

  test("goes on when what is sent, or what can be decoded, changes its codec in the middle of a call", async () => {
    const ann = await comeIn(browser, server, "codecs", "Ann");
    const bob = await comeIn(browser, server, "codecs", "Bob", { query: "&cam=off&mic=off" });
    await ann.evaluate(() => Reflect.get(globalThis, "crosspoint").setMode("sfu"));
    await seesAndHears(bob, "Ann");
    await ann.evaluate(offerWith, { direction: "sendonly", codecs: ["vp9", "rtx"] });
    await bob.waitForFunction(codecOfCamera, { name: "Ann", codec: "vp9" }, { timeout: PATIENCE });
    await seesAndHears(bob, "Ann");
    await bob.evaluate(offerWith, { direction: "recvonly", codecs: ["vp8", "rtx"] });
    await bob.getByText("This browser cannot decode this picture").waitFor();
    await bob.evaluate(offerWith, { direction: "recvonly", codecs: ["vp8", "rtx", "vp9"] });
    await seesAndHears(bob, "Ann");
    await bob.getByText("This browser cannot decode this picture").waitFor({ state: "hidden" });
    await close(ann, bob);
  });

  test("tells everybody what moderators and operators say of the room", async () => {
    const ann = await comeIn(browser, server, "stage", "Ann");
    const bob = await comeIn(browser, server, "stage", "Bob");
    await ann.evaluate(() => Reflect.get(globalThis, "crosspoint").setMetadata("act=1"));
    await says(bob, "act=1");
    await fetch(`${server.url}/api/v1/rooms/stage`, { method: "PATCH", body: '{"metadata": "act=2"}' });
    await says(ann, "act=2");
    await says(bob, "act=2");
    await close(ann, bob);
  });

  test("has a camera send no more frames than anybody wishes for", async () => {
    const ann = await comeIn(browser, server, "calm", "Ann");
    const [bob, cleo] = [await comeIn(browser, server, "calm", "Bob"), await comeIn(browser, server, "calm", "Cleo")];
    await seesAndHears(bob, "Ann");
    await seesAndHears(cleo, "Ann");
    const wish = (/** @type {import("./browser.js").Page} */ page, /** @type {number} */ fps) =>
      page.evaluate((fps) => {
        const people = [...Reflect.get(globalThis, "crosspoint").participants.values()];
        const track = people.find(({ name }) => name === "Ann").trackOf("camera");
        track.setWish({ ...track.wish, fps });
      }, fps);
    const sends = (/** @type {number | undefined} */ most) =>
      ann.waitForFunction(
        (most) => {
          const local = Reflect.get(globalThis, "crosspoint").localParticipant.publishedOf("camera");
          return local._transceiver.sender.getParameters().encodings[0].maxFramerate === most;
        },
        most,
        { timeout: PATIENCE },
      );
    await bob.keyboard.press("i");
    await bob.locator(".tile:not(.self)").first().getByText("Why this size").waitFor();
    await wish(bob, 3);
    await wish(cleo, 5);
    await sends(5);
    await wish(cleo, 0);
    await sends(undefined);
    await close(ann, bob, cleo);
  });

  test("carries data to everybody or to some, over the two data channels", async () => {
    const ann = await comeIn(browser, server, "data", "Ann");
    const [bob, cleo] = [await comeIn(browser, server, "data", "Bob"), await comeIn(browser, server, "data", "Cleo")];
    for (const page of [bob, cleo]) await noteData(page);
    for (const page of [ann, bob, cleo]) await hasChannels(page, 2);
    await ann.evaluate(async () => {
      const room = Reflect.get(globalThis, "crosspoint");
      const [bob] = [...room.participants.values()].filter(({ name }) => name === "Bob");
      await room.sendData("all", new Uint8Array([0, 10, 255]));
      await room.sendData("one", "psst", { to: [bob.sid] });
      // Some of those may be lost; on one machine none is.
      await room.sendData("fast", "move", { reliable: false });
      await room.sendData("fast one", "move", { reliable: false, to: [bob.sid] });
    });
    const toAll = ["Ann all 0,10,255", "Ann fast 109,111,118,101"];
    await heard(bob, [...toAll, "Ann fast one 109,111,118,101", "Ann one 112,115,115,116"]);
    await heard(cleo, toAll);
    // Of what is reliable ann has the answers.
    await counts(ann, 2, 2);
    await counts(bob, 2, 2);
    await counts(cleo, 1, 1);
    const refused = await ann.evaluate(() =>
      Reflect.get(globalThis, "crosspoint")
        .sendData("nobody", "psst", { to: ["PA_nobody"] })
        .catch((/** @type {any} */ { code }) => code),
    );
    assert.equal(refused, "not_found");
    await counts(ann, 2, 3);
    // What would have to wait is dropped, and not sent the other way: all that follows overtakes nothing.
    await ann.evaluate(async () => {
      const room = Reflect.get(globalThis, "crosspoint");
      const { get = () => 0 } = Object.getOwnPropertyDescriptor(RTCDataChannel.prototype, "bufferedAmount") ?? {};
      const isFull = (/** @type {() => number} */ get) =>
        Object.defineProperty(RTCDataChannel.prototype, "bufferedAmount", { get, configurable: true });
      isFull(() => 1_000_000);
      await room.sendData("fast", "too much", { reliable: false });
      isFull(get);
      await room.sendData("last", "end");
    });
    await heard(cleo, [...toAll, "Ann last 101,110,100"]);
    await close(ann, bob, cleo);
  });

  test("brings a flood of long messages complete and in order", async () => {
    const ann = await comeIn(browser, server, "flood", "Ann", { query: QUIET });
    const bob = await comeIn(browser, server, "flood", "Bob", { query: QUIET });
    await noteData(bob);
    for (const page of [ann, bob]) await hasChannels(page, 1);
    const outcomes = await sendMany(ann, 0, 200, 20_480);
    assert.deepEqual(new Set(outcomes), new Set(["sent"]));
    await bob.waitForFunction(() => Reflect.get(globalThis, "heard").length >= 200);
    assert.deepEqual(await numbersOf(bob), upTo(200));
    await close(ann, bob);
  });

  test("loses and doubles no data when a page builds its connection anew", async () => {
    const ann = await comeIn(browser, server, "anew", "Ann", { query: QUIET });
    const bob = await comeIn(browser, server, "anew", "Bob", { query: QUIET });
    await noteData(bob);
    for (const page of [ann, bob]) await hasChannels(page, 1);
    const rebuild = (/** @type {import("./browser.js").Page} */ page) =>
      page.evaluate(() => Reflect.get(globalThis, "crosspoint").setPassphrase("words"));
    const sending = sendMany(ann, 0, 250, 2_000);
    await bob.waitForFunction(() => Reflect.get(globalThis, "heard").length >= 50);
    await rebuild(bob);
    assert.deepEqual(new Set(await sending), new Set(["sent"]));
    await bob.waitForFunction(() => Reflect.get(globalThis, "heard").length >= 250);
    assert.deepEqual(await numbersOf(bob), upTo(250));
    await hasChannels(bob, 1);
    // Now the sender: what is not answered is refused, as a request is when the socket goes.
    const rest = sendMany(ann, 250, 250, 2_000);
    await bob.waitForFunction(() => Reflect.get(globalThis, "heard").length >= 300);
    await rebuild(ann);
    const outcomes = await rest;
    assert.deepEqual(new Set(outcomes), new Set(["sent", "closed"]));
    await hasChannels(ann, 1);
    await sendMany(ann, 500, 1, 1);
    await bob.waitForFunction(() => Reflect.get(globalThis, "heard").at(-1)?.startsWith("Ann 500 "));
    const numbers = await numbersOf(bob);
    const more = outcomes.flatMap((outcome, index) => (outcome === "sent" ? [250 + index] : []));
    const passed = [...upTo(250), ...more, 500];
    // Answers may be lost with the connection, messages that were answered may not.
    assert.deepEqual(
      passed.filter((number) => !numbers.includes(number)),
      [],
    );
    assert.deepEqual(
      numbers,
      [...new Set(numbers)].sort((a, b) => a - b),
    );
    await close(ann, bob);
  });

  test("runs the examples of its README, of which the project's has the first", async () => {
    const read = (/** @type {string} */ path) => readFileSync(new URL(path, import.meta.url), "utf8");
    const examples = (/** @type {string} */ text) =>
      [...text.matchAll(/```html\n([\s\S]*?)```/g)].map(([, body]) => body);
    const [first, audience = ""] = examples(read("../../web/README.md"));
    assert.deepEqual([first], examples(read("../../README.md")));
    const ann = await comeIn(browser, server, "standup", "Ann");
    const page = await open(browser, "about:blank");
    await page
      .context()
      .route("**/audience.html", (route) => route.fulfill({ contentType: "text/html", body: audience }));
    await page.goto(`${server.url}/audience.html`);
    await page.locator("#who").getByText("Ann").waitFor({ timeout: PATIENCE });
    const isSeen = () => (document.querySelector("video")?.videoWidth ?? 0) > 0;
    await page.waitForFunction(isSeen, undefined, { timeout: PATIENCE });
    await page.getByRole("textbox").fill("Well said!");
    await page.getByRole("button", { name: "Send" }).click();
    await page.getByText("Audience: Well said!").waitFor();
    await ann.keyboard.press("c");
    await ann.locator("#messages").getByText("Well said!").waitFor();
    await close(ann, page);
  });

  test("serves a page of another origin, end to end encrypted", async (context) => {
    const app = "http://localhost:9";
    const own = await Server.start(["--set", `http.allowed_origins=${app}`]);
    context.after(() => own.stop());
    const ann = await comeIn(browser, own, "foreign", "Ann", { passphrase: "correct horse" });
    const page = await open(browser, "about:blank");
    const html = { contentType: "text/html", body: "<canvas></canvas>" };
    await page.context().route(`${app}/`, (route) => route.fulfill(html));
    await page.goto(app);
    await page.evaluate(async (server) => {
      const { Room } = await import(`${server}/assets/client.js`);
      const room = new Room({ passphrase: "correct horse" });
      const canvas = document.querySelector("canvas");
      setInterval(() => canvas?.getContext("2d")?.fillRect(Math.random() * 300, Math.random() * 150, 9, 9), 50);
      await room.localParticipant.publish(canvas?.captureStream(10).getVideoTracks()[0], { source: "camera" });
      await room.connect(`${server}/room/foreign`, "", { name: "Foreigner" });
      Object.assign(globalThis, { crosspoint: room });
    }, own.url);
    const seen = (/** @type {{ frames: number }} */ now, /** @type {{ frames: number }} */ first) =>
      now.frames >= first.frames + 5;
    await until(ann, "Foreigner", seen, "nothing comes from the foreign page");
    await until(page, "Ann", seen, "nothing comes to the foreign page");
    await until(page, "Ann", ({ sealed }) => sealed === "opened", "not opened");
    await close(ann, page);
  });

  test("says that the server restarts, and brings everybody back", async (context) => {
    const own = await Server.start();
    context.after(() => own.stop());
    const ann = await comeIn(browser, own, "restart", "Ann", { expected: OUTAGE });
    const bob = await comeIn(browser, own, "restart", "Bob", { expected: OUTAGE });
    const cleo = await comeIn(browser, own, "restart", "Cleo", { expected: OUTAGE });
    await seesAndHears(bob, "Ann", "Cleo");
    await own.stop();
    await ann.getByText("This server is restarting. You come back").first().waitFor();
    await ann.locator("#status").getByText("Reconnecting").waitFor();
    await ann.screenshot({ path: `${ARTEFACTS}room-restarting.png` });
    await own.run();
    for (const page of [ann, bob, cleo]) await page.locator("#away").waitFor({ state: "detached", timeout: PATIENCE });
    await seesAndHears(ann, "Bob", "Cleo");
    await seesAndHears(cleo, "Ann", "Bob");
    await close(ann, bob, cleo);
  });
});

/**
 * @param {import("./browser.js").Page} page
 * @param {string} metadata
 */
async function says(page, metadata) {
  await page.waitForFunction((metadata) => Reflect.get(globalThis, "crosspoint").metadata === metadata, metadata);
}

/** Remembers from now on what data comes. @param {import("./browser.js").Page} page */
function noteData(page) {
  return page.evaluate(() => {
    /** @type {string[]} */
    const heard = [];
    Reflect.set(globalThis, "heard", heard);
    const room = Reflect.get(globalThis, "crosspoint");
    room.addEventListener("data", (/** @type {any} */ { participant, data }) =>
      heard.push(`${participant.name} ${data.topic} ${data.payload.join()}`),
    );
  });
}

/**
 * @param {import("./browser.js").Page} page
 * @param {string[]} expected Sorted: the two ways are not in step.
 */
async function heard(page, expected) {
  await page.waitForFunction((count) => Reflect.get(globalThis, "heard").length >= count, expected.length);
  assert.deepEqual(await page.evaluate(() => Reflect.get(globalThis, "heard").sort()), expected);
}

/** @param {number} end @returns {number[]} From 0 on. */
function upTo(end) {
  return Array.from({ length: end }, (_, index) => index);
}

/**
 * @param {import("./browser.js").Page} page
 * @param {number} others
 */
async function hasChannels(page, others) {
  await page.waitForFunction(async (others) => {
    const room = Reflect.get(globalThis, "crosspoint");
    let open = 0;
    // There is none while it is being built anew.
    (await room.peerConnection?.getStats())?.forEach((/** @type {any} */ entry) => {
      if (entry.type === "data-channel" && entry.state === "open") open += 1;
    });
    return open === 2 && room.participants.size === others;
  }, others);
}

/**
 * Waits until a page, by the browser's own count, has sent or received so many messages over the one channel, and
 * received so many over the other, over which it also says what came. The browser's figures are late by some 50 ms.
 *
 * @param {import("./browser.js").Page} page
 * @param {number} data
 * @param {number} reliable
 */
async function counts(page, data, reliable) {
  await page.waitForFunction(
    async (expected) => {
      const counts = { data: 0, reliable: 0 };
      (await Reflect.get(globalThis, "crosspoint").peerConnection.getStats()).forEach((/** @type {any} */ entry) => {
        if (entry.type !== "data-channel") return;
        if (entry.label === "data") counts.data += entry.messagesSent + entry.messagesReceived;
        if (entry.label === "reliable") counts.reliable += entry.messagesReceived;
      });
      return counts.data === expected.data && counts.reliable === expected.reliable;
    },
    { data, reliable },
    { timeout: PATIENCE },
  );
}

/**
 * Has a page send numbered messages to all without waiting for one before the next.
 *
 * @param {import("./browser.js").Page} page
 * @param {number} first
 * @param {number} count
 * @param {number} bytes Of each.
 * @returns {Promise<string[]>} What came of each: "sent", or the code of the refusal.
 */
function sendMany(page, first, count, bytes) {
  return page.evaluate(
    ({ first, count, bytes }) => {
      const room = Reflect.get(globalThis, "crosspoint");
      const send = (/** @type {number} */ index) =>
        room.sendData(String(first + index), new Uint8Array(bytes)).then(
          () => "sent",
          (/** @type {any} */ { code }) => code,
        );
      return Promise.all(Array.from({ length: count }, (_, index) => send(index)));
    },
    { first, count, bytes },
  );
}

/** @param {import("./browser.js").Page} page @returns {Promise<number[]>} The numbers of the messages that came. */
function numbersOf(page) {
  return page.evaluate(() =>
    Reflect.get(globalThis, "heard").map((/** @type {string} */ line) => Number(line.split(" ")[1])),
  );
}

/**
 * Runs in the page: leaves these codecs to all video sections of a direction, and makes another offer.
 *
 * @param {{ direction: string, codecs: string[] }} wanted
 */
async function offerWith({ direction, codecs }) {
  /** @type {import("../../web/client/room.js").Room} */
  const room = Reflect.get(globalThis, "crosspoint");
  const { codecs: all } = (direction === "sendonly" ? RTCRtpSender : RTCRtpReceiver).getCapabilities("video") ?? {};
  const kept = all?.filter(({ mimeType }) => codecs.includes(mimeType.toLowerCase().replace("video/", ""))) ?? [];
  for (const transceiver of room.peerConnection?.getTransceivers() ?? [])
    if (transceiver.direction === direction && transceiver.receiver.track.kind === "video")
      transceiver.setCodecPreferences(kept);
  const [track] = new MediaStreamAudioDestinationNode(new AudioContext()).stream.getTracks();
  if (track) await room.localParticipant.publish(track, { source: "unknown" });
}

/**
 * Runs in the page.
 *
 * @param {{ name: string, codec: string }} wanted
 */
function codecOfCamera({ name, codec }) {
  /** @type {import("../../web/client/room.js").Room} */
  const room = Reflect.get(globalThis, "crosspoint");
  const people = [...room.participants.values()];
  return people.find((participant) => participant.name === name)?.trackOf("camera")?.info.codec === codec;
}
