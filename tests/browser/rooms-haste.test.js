// @ts-check
/** What becomes of whoever leaves, mutes or changes the passphrase while something else is still under way. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE } from "./browser.js";
import { askSlowly, onTheWay, signal } from "./mishaps.js";
import { comeIn, isIn, seesAndHears } from "./rooms.js";
import { Server } from "./server.js";
import { start } from "./stand.js";

/** The browser's own lines about a server that is not there. */
const OUTAGE = /WebSocket|ERR_|Failed to load resource/;

const { server, browser } = await start();

describe("somebody in a hurry", { timeout: 8 * PATIENCE }, () => {
  test("is muted while the browser still asks for the camera", async () => {
    const page = await comeIn(browser, server, "muting", "Ann", { query: "&cam=off" });
    await page.evaluate(askSlowly);
    await page.keyboard.press("v");
    await page.keyboard.press("m");
    await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
    await page.evaluate(() => Reflect.get(globalThis, "allow")());
    await page.getByRole("button", { name: "Turn off the camera" }).waitFor();
    await close(page);
  });

  test("leaves no camera on that the browser gives after one has left", async () => {
    const page = await comeIn(browser, server, "gone", "Ann", { query: "&cam=off&mic=off" });
    await page.evaluate(askSlowly);
    await page.keyboard.press("v");
    await page.evaluate(() => Reflect.get(globalThis, "crosspoint").leave());
    await page.evaluate(() => Reflect.get(globalThis, "allow")());
    await page.waitForFunction(() => Reflect.get(globalThis, "given")[0]?.readyState === "ended");
    assert.equal(await page.evaluate(() => Reflect.get(globalThis, "crosspoint").localParticipant.published.length), 0);
    assert.equal(await page.locator(".toast").count(), 0);
    await close(page);
  });

  test("does not come in who leaves before the key is there, and may come again", async () => {
    const page = await open(browser, server.url);
    const seen = await page.evaluate(async (url) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room({ passphrase: "correct horse" });
      const joined = room.connect(url).catch((/** @type {{ code: string }} */ { code }) => code);
      await room.leave();
      const states = [room.state, await joined];
      await room.connect(url);
      return [...states, room.state];
    }, `${server.url}/room/derived`);
    assert.deepEqual(seen, ["closed", "closed", "connected"]);
    await close(page);
  });

  test("does not come in who leaves while the offer is made", async () => {
    const page = await open(browser, server.url);
    /** @type {string[]} */
    const said = [];
    await onTheWay(page, ({ data, pass }) => {
      if (data.method) said.push(data.method);
      pass();
    });
    const code = await page.evaluate(async (url) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room();
      const real = RTCPeerConnection.prototype.createOffer;
      Object.assign(RTCPeerConnection.prototype, {
        /** @this {RTCPeerConnection} @param {RTCOfferOptions} options */
        createOffer(options) {
          void room.leave();
          return Reflect.apply(real, this, [options]);
        },
      });
      return room.connect(url).catch((/** @type {{ code: string }} */ { code }) => code);
    }, `${server.url}/room/offered`);
    assert.deepEqual([code, said], ["closed", ["leave"]]);
    await close(page);
  });

  test("is not kept waiting by a server that does not hear of the leaving", async () => {
    const page = await open(browser, server.url);
    await onTheWay(page, ({ data, pass }) => data.method === "leave" || pass());
    await page.evaluate(async (url) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room();
      await room.connect(url);
      // What waits longer waits for good.
      const real = setTimeout;
      Object.assign(globalThis, {
        setTimeout: (/** @type {() => void} */ act, /** @type {number} */ wait) => wait > 2_000 || real(act, wait),
      });
      await room.leave();
    }, `${server.url}/room/unheard`);
    await close(page);
  });

  test("publishes although the passphrase is changed while the offer is made", async () => {
    const ann = await comeIn(browser, server, "rekeyed", "Ann", { passphrase: "correct horse" });
    const page = await open(browser, server.url);
    const states = await page.evaluate(async (url) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room();
      await room.connect(url, "", { name: "Bob" });
      const real = RTCPeerConnection.prototype.createOffer;
      // What a connection has under way when it is closed never ends.
      const making = new Promise((resolve) => {
        const createOffer = () => new Promise(() => resolve(undefined));
        Object.assign(RTCPeerConnection.prototype, { createOffer });
      });
      const published = room.localParticipant.setMicrophoneEnabled(true);
      await making;
      RTCPeerConnection.prototype.createOffer = real;
      await room.setPassphrase("correct horse");
      await published;
      await room.localParticipant.setCameraEnabled(true);
      Object.assign(globalThis, { crosspoint: room });
      return [room.localParticipant.isMicrophoneEnabled, room.localParticipant.isCameraEnabled];
    }, `${server.url}/room/rekeyed`);
    assert.deepEqual(states, [true, true]);
    await isIn(page);
    await seesAndHears(ann, "Bob");
    await close(ann, page);
  });

  test("comes in although the passphrase is changed while one joins", async () => {
    const ann = await comeIn(browser, server, "joining", "Ann", { passphrase: "correct horse" });
    const page = await open(browser, server.url);
    const [asked, ask] = signal();
    const [changed, goOn] = signal();
    await onTheWay(page, async ({ data, pass }) => {
      if (data.method === "join") {
        ask();
        await changed;
      }
      pass();
    });
    const joined = page.evaluate(async (url) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      const room = new Room();
      Object.assign(globalThis, { crosspoint: room });
      await room.localParticipant.setCameraEnabled(true);
      await room.connect(url, "", { name: "Bob" });
      await room.localParticipant.setMicrophoneEnabled(true);
    }, `${server.url}/room/joining`);
    await asked;
    await page.evaluate(() => Reflect.get(globalThis, "crosspoint").setPassphrase("correct horse"));
    goOn();
    await joined;
    await seesAndHears(ann, "Bob");
    await close(ann, page);
  });

  test("turns devices on and off while there is no connection", async (context) => {
    const own = await Server.start();
    context.after(() => own.stop());
    const page = await comeIn(browser, own, "alone", "Ann", { expected: OUTAGE });
    await page.waitForFunction(() => Reflect.get(globalThis, "crosspoint").localParticipant.published.length === 2);
    await own.stop();
    await page.evaluate(async () => {
      const room = Reflect.get(globalThis, "crosspoint");
      await room.setPassphrase("correct horse");
      await room.localParticipant.setCameraEnabled(false);
      await room.localParticipant.setCameraEnabled(true);
    });
    await close(page);
  });

  test("keeps the name that was changed in the room when the server forgets it", async (context) => {
    const own = await Server.start();
    context.after(() => own.stop());
    const ann = await comeIn(browser, own, "renamed", "Ann", { query: "&cam=off&mic=off", expected: OUTAGE });
    const name = (/** @type {string} */ wanted) =>
      ann.waitForFunction((wanted) => {
        const { state, localParticipant } = Reflect.get(globalThis, "crosspoint");
        return state === "connected" && localParticipant.name === wanted;
      }, wanted);
    await name("Ann");
    await ann.evaluate(() => Reflect.get(globalThis, "crosspoint").localParticipant.setName("Dr Ann"));
    await name("Dr Ann");
    await own.stop();
    await ann.locator("#status").getByText("Reconnecting").waitFor();
    await own.run();
    await isIn(ann);
    await name("Dr Ann");
    await close(ann);
  });
});
