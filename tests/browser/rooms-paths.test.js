// @ts-check
/** What happens to a call under way: the network goes and comes back, two talk directly, media is encrypted. */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { close, launchProcess, PATIENCE } from "./browser.js";
import { comeIn, isIn, ownSid, seesAndHears, until } from "./rooms.js";
import { start } from "./stand.js";

/** Milliseconds of an outage. Real time: how long a network is away is what is tested. */
const OUTAGE = 5_000;
/** Between two pictures there is less time than in the gap that is measured. */
const FLUENT = "&fps=30";
/** What a change of path may add to the time between two pictures, in milliseconds: the product's promise. */
const LONGEST_GAP = 100;
/** Packets of padding a second on a connection that nothing is sent on. Left alone the engine makes 200. */
const PADDING = 60;

const { server, browser } = await start();

describe("a call", { timeout: 20 * PATIENCE }, () => {
  test("goes on after one was offline for 5 seconds, as the same person", async () => {
    const own = await launchProcess();
    const ann = await comeIn(own.browser, server, "outage", "Ann", { expected: /WebSocket|ERR_/ });
    const bob = await comeIn(browser, server, "outage", "Bob");
    const cleo = await comeIn(browser, server, "outage", "Cleo");
    await seesAndHears(bob, "Ann");
    await seesAndHears(ann, "Bob", "Cleo");
    const sid = await ownSid(ann);
    const network = networkOf(own.pid);
    process.kill(network, "SIGSTOP");
    await ann.waitForTimeout(OUTAGE);
    process.kill(network, "SIGKILL"); // All its sockets are gone, as after a change of networks.
    await until(bob, "Ann", ({ state }) => state === "active", "not active again");
    await isIn(ann);
    assert.equal(await ownSid(ann), sid);
    await seesAndHears(ann, "Bob", "Cleo");
    await seesAndHears(bob, "Ann");
    await close(ann, bob, cleo);
    await own.end();
  });

  test("of two goes directly, and through the server again when a third comes", async (context) => {
    const ann = await comeIn(browser, server, "direct", "Ann", { query: FLUENT });
    const bob = await comeIn(browser, server, "direct", "Bob", { query: FLUENT });
    await ann.evaluate(() => Reflect.get(globalThis, "crosspoint").setMode("auto"));
    for (const page of [ann, bob]) await takes(page, "p2p", "Direct");
    await seesAndHears(ann, "Bob");
    await seesAndHears(bob, "Ann");
    await forwardsNothing(ann, bob);
    for (const page of [ann, bob]) await noteGaps(page);
    const cleo = await comeIn(browser, server, "direct", "Cleo");
    for (const page of [ann, bob]) await takes(page, "sfu", "Through the server");
    await seesAndHears(ann, "Bob", "Cleo");
    await seesAndHears(cleo, "Ann", "Bob");
    await cleo.getByRole("button", { name: "Leave the room" }).click();
    for (const page of [ann, bob]) await takes(page, "p2p", "Direct");
    await seesAndHears(ann, "Bob");
    for (const page of [ann, bob]) {
      const isMeasured = () => Reflect.get(globalThis, "gaps").length === 2;
      await page.waitForFunction(isMeasured, undefined, { timeout: PATIENCE });
    }
    // The third one's arrival keeps both processors busy: what is late at either end adds up.
    const busy = (await noted(ann, "own")) + (await noted(bob, "own"));
    for (const page of [ann, bob]) {
      /** @type {(number | undefined)[]} */
      const gaps = await noted(page, "gaps");
      context.diagnostic(`the picture stood for ${gaps} ms at the changes, their own for up to ${busy} ms together`);
      for (const gap of gaps) assert.ok(gap === undefined || gap < LONGEST_GAP + busy, `${gaps}, ${busy} ms`);
    }
    await close(ann, bob, cleo);
  });

  test("is encrypted end to end for those who know the words, and only for them", async () => {
    const ann = await comeIn(browser, server, "secret", "Ann", { passphrase: "correct horse" });
    const bob = await comeIn(browser, server, "secret", "Bob", { passphrase: "correct horse" });
    const cleo = await comeIn(browser, server, "secret", "Cleo", { passphrase: "battery staple" });
    const dan = await comeIn(browser, server, "secret", "Dan", { query: "&cam=off&mic=off" });
    await seesAndHears(bob, "Ann");
    await seesAndHears(ann, "Bob");
    await until(bob, "Ann", ({ sealed }) => sealed === "opened", "not opened");
    await bob.getByText("Encrypted end to end").waitFor();
    const refused = await until(cleo, "Ann", ({ sealed }) => sealed === "refused", "not refused");
    assert.equal(refused.frames, 0, "decoded without the key");
    await cleo.getByText("Encrypted with another passphrase").first().waitFor();
    await dan.getByText("Encrypted. Enter the passphrase in the settings.").first().waitFor();
    await close(ann, bob, cleo, dan);
  });

  test("goes on through the server when two who talk directly turn encryption off, or on", async () => {
    const ann = await comeIn(browser, server, "opened", "Ann", { passphrase: "correct horse" });
    const bob = await comeIn(browser, server, "opened", "Bob", { passphrase: "correct horse" });
    for (const page of [ann, bob]) await takes(page, "p2p", "Direct");
    for (const passphrase of ["", "battery staple"]) {
      const change = async (/** @type {string} */ words) => {
        const room = Reflect.get(globalThis, "crosspoint");
        await room.setPassphrase(words);
        return room.path;
      };
      for (const page of [ann, bob]) assert.equal(await page.evaluate(change, passphrase), "sfu");
      const state = passphrase ? "opened" : "";
      await until(bob, "Ann", ({ sealed }) => sealed === state, `not ${state}`);
      await seesAndHears(ann, "Bob");
      await seesAndHears(bob, "Ann");
    }
    await close(ann, bob);
  });

  test("is encrypted end to end in H264, too", async () => {
    const query = "&codec=h264";
    const ann = await comeIn(browser, server, "h264", "Ann", { passphrase: "correct horse", query });
    const bob = await comeIn(browser, server, "h264", "Bob", { passphrase: "correct horse", query });
    const cleo = await comeIn(browser, server, "h264", "Cleo", { passphrase: "battery staple", query });
    await seesAndHears(bob, "Ann");
    await seesAndHears(ann, "Bob");
    await until(bob, "Ann", ({ sealed }) => sealed === "opened", "not opened");
    const codec = await bob.evaluate(async () => {
      const people = [...Reflect.get(globalThis, "crosspoint").participants.values()];
      const ann = people.find(({ name }) => name === "Ann");
      return (await ann.trackOf("camera").stats()).video.codec;
    });
    assert.equal(codec, "H264");
    const refused = await until(cleo, "Ann", ({ sealed }) => sealed === "refused", "not refused");
    assert.equal(refused.frames, 0, "decoded without the key");
    await close(ann, bob, cleo);
  });
});

/**
 * @param {number} browser Its process.
 * @returns {number} The process that holds its sockets.
 */
function networkOf(browser) {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const command = readFileSync(`/proc/${name}/cmdline`, "utf8");
      const status = readFileSync(`/proc/${name}/status`, "utf8");
      const parent = Number(/^PPid:\s*(\d+)/m.exec(status)?.[1]);
      if (command.includes("network.mojom.NetworkService") && parent === browser) return Number(name);
    } catch {
      // It ended meanwhile.
    }
  }
  return assert.fail("the browser has no network process");
}

/**
 * @param {import("./browser.js").Page} page
 * @param {"p2p" | "sfu"} path
 * @param {string} badge What the page says.
 */
async function takes(page, path, badge) {
  await page.waitForFunction((path) => Reflect.get(globalThis, "crosspoint").path === path, path, {
    timeout: PATIENCE,
  });
  await page.locator("#path").getByText(badge).waitFor();
}

/**
 * Remembers from now on how long the other's picture stands still at each change, as `gaps`, and how long one's own
 * ever does, as `own`: it goes over no network, and stands still when the computer is busy.
 *
 * @param {import("./browser.js").Page} page
 */
async function noteGaps(page) {
  await page.evaluate(() => {
    /** @type {(number | undefined)[]} */
    const gaps = [];
    Object.assign(globalThis, { gaps, own: 0 });
    Reflect.get(globalThis, "crosspoint").addEventListener("pathgap", (/** @type {any} */ { gap }) => gaps.push(gap));
    const video = document.querySelector(".tile.self video");
    if (!(video instanceof HTMLVideoElement)) throw new Error("one's own picture is not shown");
    let last = performance.now();
    const next = (/** @type {number} */ now) => {
      Reflect.set(globalThis, "own", Math.max(Reflect.get(globalThis, "own"), Math.round(now - last)));
      last = now;
      video.requestVideoFrameCallback(next);
    };
    video.requestVideoFrameCallback(next);
  });
}

/**
 * @param {import("./browser.js").Page} page
 * @param {string} name Of what `noteGaps` remembers.
 */
function noted(page, name) {
  return page.evaluate((name) => Reflect.get(globalThis, name), name);
}

/**
 * Waits until nothing but reports and padding goes over the connections with the server.
 *
 * @param {import("./browser.js").Page[]} pages
 */
async function forwardsNothing(...pages) {
  for (const page of pages) {
    const still = async () => {
      const before = await received(page);
      await page.waitForTimeout(1_000);
      const after = await received(page);
      return after.bytes === before.bytes && after.packets - before.packets <= PADDING;
    };
    const deadline = Date.now() + PATIENCE;
    while (!(await still())) assert.ok(Date.now() < deadline, "media still comes from the server");
  }
}

/**
 * What came from the server: bytes of media, and packets, those of padding among them.
 *
 * @param {import("./browser.js").Page} page
 */
function received(page) {
  return page.evaluate(async () => {
    /** @type {RTCPeerConnection} */
    const pc = Reflect.get(globalThis, "crosspoint").peerConnection;
    const sum = { bytes: 0, packets: 0 };
    (await pc.getStats()).forEach((entry) => {
      if (entry.type !== "inbound-rtp") return;
      sum.bytes += entry.bytesReceived;
      sum.packets += entry.packetsReceived;
    });
    return sum;
  });
}
