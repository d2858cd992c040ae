// @ts-check
/**
 * A viewer on a link that becomes thin and wide again: the picture follows, and does not stand still meanwhile, by the
 * browser's own figures (getStats) and by the frames that reach the screen.
 */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE, plays, reaches, stood, watchPicture } from "./browser.js";
import { route, Shaper } from "./shaper.js";
import { start } from "./stand.js";

const WIDE = { kbps: 3000, delay: 20, loss: 0.002 };
const THIN = { kbps: 500, delay: 20, loss: 0.002 };
/** Three sizes of the test picture, of which the largest does not fit the thin link. */
const FULL = 360;
const PUBLISHED = `autostart=1&source=pattern&height=${FULL}&fps=15&bitrate=1200000`;
/** Longest time the picture of a size that is sent by itself may stand, in milliseconds: 570 on a busy machine. */
const LONGEST_FREEZE = 1_000;
/**
 * The same of layers within one stream, where a lost packet of any may hold the picture up until it is repeated: 370 ms
 * on an idle machine, 1.7 s beside other programs. Shorter times are tested where no machine is busy, in
 * tests/sim/network.rs.
 */
const LONGEST_REPAIR = 2_000;
const STREAMS = [
  { name: "VP8 simulcast", codec: "codec=vp8", most: LONGEST_FREEZE },
  { name: "VP9 simulcast", codec: "codec=vp9", most: LONGEST_FREEZE },
  { name: "VP9 layers that meet at key frames", codec: "codec=vp9&svc=L3T3_KEY", most: LONGEST_REPAIR },
  { name: "VP9 layers", codec: "codec=vp9&svc=L3T3", most: LONGEST_REPAIR },
  { name: "AV1 simulcast", codec: "codec=av1", most: LONGEST_FREEZE },
  { name: "AV1 layers that meet at key frames", codec: "codec=av1&svc=L3T3_KEY", most: LONGEST_REPAIR },
  { name: "AV1 layers", codec: "codec=av1&svc=L3T3", most: LONGEST_REPAIR },
];

const { server, browser } = await start();

describe("a viewer's link that becomes thin and wide again", { timeout: 20 * PATIENCE }, () => {
  for (const { name, codec, most } of STREAMS) {
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
      await watchPicture(viewer);
      await watchEncoder(publisher);
      shaper.link = THIN;
      await becomesHigh(viewer, 1, FULL - 1);
      await plays(viewer);
      shaper.link = WIDE;
      await becomesHigh(viewer, FULL, FULL);
      const { gap, freeze, frozen } = await stood(viewer);
      const unmade = await publisher.evaluate(() => Reflect.get(globalThis, "unmade"));
      context.diagnostic(`longest: ${gap} ms between frames shown, ${freeze} ms of a freeze; ${frozen} ms in all`);
      context.diagnostic(`the publisher made no frame for ${unmade} ms at most`);
      assert.ok(gap < most, `the picture stood for ${gap} ms`);
      assert.ok(freeze < most, `the picture stood for ${freeze} ms, says getStats`);
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
  const isHigh = async (/** @type {number[]} */ [least = 0, most = 0]) => {
    /** @type {RTCPeerConnection | null} */
    const pc = Reflect.get(globalThis, "crosspoint").pc;
    const stats = [...((await pc?.getStats())?.values() ?? [])];
    const height = stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "video")?.frameHeight ?? 0;
    return least <= height && height <= most;
  };
  try {
    await viewer.waitForFunction(isHigh, [least, most], { timeout: PATIENCE, polling: 100 });
  } catch {
    const report = await viewer.evaluate(() => Reflect.get(globalThis, "crosspoint").session.report());
    assert.fail(`never ${least} to ${most} lines: ${JSON.stringify(report.media)}`);
  }
}

/**
 * Has a publisher's page remember as `unmade` for how many milliseconds its encoder made no frame: what a viewer misses
 * because the computer is busy is not the server's.
 *
 * @param {import("./browser.js").Page} publisher
 */
async function watchEncoder(publisher) {
  await publisher.evaluate(() => {
    Reflect.set(globalThis, "unmade", 0);
    let [made, at] = [0, performance.now()];
    const look = async () => {
      /** @type {RTCPeerConnection} */
      const pc = Reflect.get(globalThis, "crosspoint").pc;
      const stats = [...(await pc.getStats()).values()];
      const count = stats.reduce((sum, { framesEncoded = 0 }) => sum + framesEncoded, 0);
      const now = performance.now();
      if (count > made) {
        Reflect.set(globalThis, "unmade", Math.max(Reflect.get(globalThis, "unmade"), Math.round(now - at)));
        [made, at] = [count, now];
      }
    };
    setInterval(look, 50);
  });
}
