// @ts-check
/** Spatial layers in the quality menu: a fixed one, and what the server chooses. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { choose, close, launch, open, PATIENCE, plays } from "./browser.js";
import { ARTEFACTS, Server } from "./server.js";

const PUBLISHED = "autostart=1&source=pattern&height=360&fps=15&bitrate=1200000";

describe("the quality menu", { timeout: 8 * PATIENCE }, () => {
  /** @type {Server} */
  let server;
  /** @type {import("playwright-core").Browser} */
  let browser;

  before(async () => {
    server = await Server.start();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
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
