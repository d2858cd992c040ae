// @ts-check
/** Spatial layers in the quality menu: a fixed one, and what the server chooses. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { choose, close, open, PATIENCE, plays } from "./browser.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const PUBLISHED = "autostart=1&source=pattern&height=360&fps=15&bitrate=1200000";

const { server, browser } = await start();

describe("the quality menu", { timeout: 8 * PATIENCE }, () => {
  test("has three sizes of a camera of 720 lines within one stream of vp9, and frame rates of one size", async () => {
    const camera = "autostart=1&source=camera&height=720&fps=10&codec=vp9";
    const publisher = await open(browser, `${server.url}/publish/three?${camera}&svc=L3T3_KEY`);
    const viewer = await open(browser, `${server.url}/watch/three`);
    await plays(viewer);
    for (const lines of [180, 360, 720]) {
      await choose(viewer, `${lines} lines`);
      await becomesHigh(viewer, lines);
    }
    await close(publisher);
    const single = await open(browser, `${server.url}/publish/three?${camera}&svc=L1T3`);
    await plays(viewer);
    await becomesHigh(viewer, 720);
    assert.equal(await viewer.locator("#quality-field").isVisible(), false, "there is nothing to choose");
    await close(single, viewer);
  });

  for (const codec of ["vp9", "av1"]) {
    test(`has the sizes within one stream of ${codec}`, async () => {
      const publisher = await open(browser, `${server.url}/publish/${codec}?${PUBLISHED}&codec=${codec}&svc=L2T3_KEY`);
      const viewer = await open(browser, `${server.url}/watch/${codec}`);
      await plays(viewer);
      await becomesHigh(viewer, 360);
      await choose(viewer, "180 lines");
      await becomesHigh(viewer, 180);
      await choose(viewer, "360 lines");
      await becomesHigh(viewer, 360);
      await choose(viewer, "Automatic");
      await viewer.keyboard.press("s");
      await viewer.locator("#figure-list").getByText("Why this size").waitFor();
      await viewer.screenshot({ path: `${ARTEFACTS}layers-${codec}.png` });
      await publisher.screenshot({ path: `${ARTEFACTS}layers-${codec}-publish.png`, fullPage: true });
      assert.equal(await publisher.locator("#svc-field").isVisible(), true);
      await close(publisher, viewer);
    });
  }
});

/**
 * @param {import("./browser.js").Page} viewer
 * @param {number} height Lines of its picture.
 */
async function becomesHigh(viewer, height) {
  const isHigh = (/** @type {number} */ height) => document.querySelector("video")?.videoHeight === height;
  await viewer.waitForFunction(isHigh, height, { timeout: PATIENCE });
}
