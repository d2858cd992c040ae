// @ts-check
/** A viewer on a link that becomes thin and wide again: the picture follows, and does not stand still meanwhile. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE, plays, reaches } from "./browser.js";
import { route, Shaper } from "./shaper.js";
import { start } from "./stand.js";

const WIDE = { kbps: 3000, delay: 20, loss: 0.002 };
const THIN = { kbps: 500, delay: 20, loss: 0.002 };
/** Three sizes of the test picture, of which the largest does not fit the thin link. */
const FULL = 360;
const PUBLISHED = `autostart=1&source=pattern&height=${FULL}&fps=15&bitrate=1200000`;
/** Longest time a picture may stand, in milliseconds. */
const LONGEST_FREEZE = 1_000;
const STREAMS = [
  { name: "VP8 simulcast", codec: "codec=vp8" },
  { name: "VP9 simulcast", codec: "codec=vp9" },
  { name: "VP9 layers that meet at key frames", codec: "codec=vp9&svc=L3T3_KEY" },
  { name: "VP9 layers", codec: "codec=vp9&svc=L3T3" },
  { name: "AV1 layers that meet at key frames", codec: "codec=av1&svc=L3T3_KEY" },
  { name: "AV1 layers", codec: "codec=av1&svc=L3T3" },
];

const { server, browser } = await start();

describe("a viewer's link that becomes thin and wide again", { timeout: 20 * PATIENCE }, () => {
  for (const { name, codec } of STREAMS) {
    test(`is followed by the picture: ${name}`, async (context) => {
      const room = name.replaceAll(" ", "-");
      // One for each: what is still sent to a viewer that is gone would take its share of the next one's link.
      const shaper = await Shaper.start(server.media, WIDE);
      context.after(() => shaper.stop());
      const publisher = await open(browser, `${server.url}/publish/${room}?${PUBLISHED}&${codec}`);
      await reaches(publisher, "connected");
      const viewer = await open(browser, "about:blank");
      await route(viewer.context(), shaper);
      await viewer.goto(`${server.url}/watch/${room}`);
      await plays(viewer);
      await becomesHigh(viewer, FULL, FULL);
      await watchGaps(viewer);
      shaper.link = THIN;
      await becomesHigh(viewer, 1, FULL - 1);
      await plays(viewer);
      shaper.link = WIDE;
      await becomesHigh(viewer, FULL, FULL);
      const gap = await viewer.evaluate(() => Reflect.get(globalThis, "longestGap"));
      context.diagnostic(`longest pause ${Math.round(gap)} ms`);
      assert.ok(gap < LONGEST_FREEZE, `the picture stood for ${Math.round(gap)} ms`);
      await close(publisher, viewer);
    });
  }
});

/**
 * @param {import("./browser.js").Page} viewer
 * @param {number} least Lines of its picture.
 * @param {number} most
 */
async function becomesHigh(viewer, least, most) {
  const isHigh = (/** @type {number[]} */ [least = 0, most = 0]) => {
    const height = document.querySelector("video")?.videoHeight ?? 0;
    return least <= height && height <= most;
  };
  try {
    await viewer.waitForFunction(isHigh, [least, most], { timeout: PATIENCE });
  } catch {
    const report = await viewer.evaluate(() => Reflect.get(globalThis, "crosspoint").session.report());
    assert.fail(`never ${least} to ${most} lines: ${JSON.stringify(report.media)}`);
  }
}

/** Has the page remember the longest time a picture stood from now on. @param {import("./browser.js").Page} viewer */
async function watchGaps(viewer) {
  await viewer.evaluate(() => {
    const video = document.querySelector("video");
    let last = performance.now();
    Reflect.set(globalThis, "longestGap", 0);
    const note = (/** @type {number} */ now) => {
      Reflect.set(globalThis, "longestGap", Math.max(now - last, Reflect.get(globalThis, "longestGap")));
      last = now;
      video?.requestVideoFrameCallback(note);
    };
    video?.requestVideoFrameCallback(note);
  });
}
