// @ts-check
/** What a publisher's page sends when nobody, somebody and nobody again wants to see it large. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { choose, close, open, PATIENCE, plays, reaches, stood, watchPicture } from "./browser.js";
import { start } from "./stand.js";

const PUBLISHED = "autostart=1&source=pattern&height=540&fps=15&bitrate=1200000";
const ALL = ["h", "m", "l"];
/** Longest time a picture may stand while its sizes come and go, in milliseconds. */
const LONGEST_FREEZE = 1_000;

const { server, browser } = await start();

describe("a publisher's page", { timeout: 8 * PATIENCE }, () => {
  for (const codec of ["vp8", "h264"]) {
    test(`sends the sizes that somebody wants, and the smallest: ${codec}`, async (context) => {
      const publisher = await open(browser, `${server.url}/publish/${codec}?${PUBLISHED}&codec=${codec}`);
      await reaches(publisher, "connected");
      await encodes(publisher, ["l"]);
      const viewer = await open(browser, `${server.url}/watch/${codec}`);
      await encodes(publisher, ALL);
      await plays(viewer);
      const full = () => document.querySelector("video")?.videoHeight === 540;
      await viewer.waitForFunction(full, undefined, { timeout: PATIENCE });
      await watchPicture(viewer);
      // The largest one stays in the menu although it is not sent any more, and comes back when it is chosen.
      await choose(viewer, "270 lines");
      await encodes(publisher, ["m", "l"]);
      await viewer.waitForFunction(() => document.querySelector("video")?.videoHeight === 270);
      await choose(viewer, "540 lines");
      await viewer.waitForFunction(full, undefined, { timeout: PATIENCE });
      const { gap, freeze } = await stood(viewer);
      context.diagnostic(`longest: ${gap} ms between frames shown, ${freeze} ms of a freeze`);
      assert.ok(gap < LONGEST_FREEZE, `the picture stood for ${gap} ms`);
      await viewer.goto("about:blank");
      await encodes(publisher, ["l"]);
      await close(publisher, viewer);
    });
  }

  test("is told by a limit of its bitrate where it takes no events", async () => {
    const publisher = await open(browser, "about:blank", { expected: /ERR_FAILED/ });
    await publisher.context().route(/\/events/, (route) => route.abort());
    await publisher.goto(`${server.url}/publish/limited?${PUBLISHED}&codec=vp8`);
    await reaches(publisher, "connected");
    const viewer = await open(browser, `${server.url}/watch/limited`);
    await plays(viewer);
    const isHigh = (/** @type {number} */ lines) => document.querySelector("video")?.videoHeight === lines;
    await viewer.waitForFunction(isHigh, 540, { timeout: PATIENCE });
    await choose(viewer, "270 lines");
    await viewer.waitForFunction(isHigh, 270, { timeout: PATIENCE });
    await sends(publisher, "h", false);
    await choose(viewer, "540 lines");
    await sends(publisher, "h", true);
    await viewer.waitForFunction(isHigh, 540, { timeout: PATIENCE });
    await encodes(publisher, ALL); // Its page has not switched anything.
    await close(publisher, viewer);
  });
});

/**
 * Waits until these encodings, and no others, are active.
 *
 * @param {import("./browser.js").Page} publisher
 * @param {string[]} rids
 */
async function encodes(publisher, rids) {
  const active = (/** @type {string[]} */ rids) => {
    /** @type {RTCPeerConnection} */
    const pc = Reflect.get(globalThis, "crosspoint").pc;
    const sender = pc.getSenders().find(({ track }) => track?.kind === "video");
    const encodings = sender?.getParameters().encodings.filter(({ active }) => active) ?? [];
    return encodings.length === rids.length && encodings.every(({ rid }) => rids.includes(rid ?? ""));
  };
  await publisher.waitForFunction(active, rids, { timeout: PATIENCE });
}

/**
 * Waits for a second in which an encoding was made all the time, or never.
 *
 * @param {import("./browser.js").Page} publisher
 * @param {string} rid
 * @param {boolean} sent
 */
async function sends(publisher, rid, sent) {
  const frames = () =>
    publisher.evaluate(async (rid) => {
      /** @type {RTCPeerConnection} */
      const pc = Reflect.get(globalThis, "crosspoint").pc;
      const stats = [...(await pc.getStats()).values()];
      return stats.find((entry) => entry.type === "outbound-rtp" && entry.rid === rid)?.framesEncoded ?? 0;
    }, rid);
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const before = await frames();
    await publisher.waitForTimeout(1_000);
    const made = (await frames()) - before;
    if (sent ? made > 5 : made === 0) return;
    assert.ok(Date.now() < deadline, `${made} frames of ${rid} in the last second`);
  }
}
