// @ts-check
/** A smoke test in Firefox: it publishes, watches, and meets somebody who has Chromium. */

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { close, PATIENCE } from "./browser.js";
import { EXECUTABLE, Firefox } from "./firefox.js";
import { comeIn, seesAndHears } from "./rooms.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const SMALL = "height=360&fps=15";
const skip = existsSync(EXECUTABLE) ? false : `${EXECUTABLE} is not installed`;

describe("Firefox", { timeout: 10 * PATIENCE, skip }, async () => {
  if (skip) return;
  const { server, browser } = await start();
  const firefox = await Firefox.launch();
  after(() => firefox.stop());

  for (const source of ["camera", "pattern"]) {
    test(`publishes the ${source} and watches it`, async () => {
      const publisher = await firefox.open(`${server.url}/publish/${source}?autostart=1&source=${source}&${SMALL}`);
      await publisher.becomes("globalThis.crosspoint?.state === 'connected'");
      const viewer = await firefox.open(`${server.url}/watch/${source}`);
      await viewer.becomes("document.querySelector('#status').dataset.tone === 'live'");
      await viewer.becomes("document.querySelector('video').videoHeight === 360");
      const frames = "(await crosspoint.stats()).video.frames";
      const before = await viewer.evaluate(`return ${frames}`);
      await viewer.becomes(`${frames} > ${before} + 15`);
      writeFileSync(`${ARTEFACTS}firefox-watch-${source}.png`, await viewer.screenshot());
      writeFileSync(`${ARTEFACTS}firefox-publish-${source}.png`, await publisher.screenshot());
      await viewer.close();
      await publisher.close();
    });
  }

  test("meets people who have Chromium", async () => {
    const ann = await comeIn(browser, server, "mixed", "Ann");
    const fay = await firefox.open(`${server.url}/room/mixed?name=Fay&autojoin=1&${SMALL}`);
    await fay.becomes("globalThis.crosspoint?.state === 'connected'");
    const bob = await comeIn(browser, server, "mixed", "Bob");
    await seesAndHears(ann, "Fay", "Bob");
    await seesAndHears(bob, "Fay", "Ann");
    const seen = "[...document.querySelectorAll('.tile:not(.self) video')].filter((one) => one.videoHeight > 0).length";
    await fay.becomes(`${seen} === 2`);
    writeFileSync(`${ARTEFACTS}firefox-room.png`, await fay.screenshot());
    assert.equal(await fay.evaluate("return document.querySelectorAll('.tile').length"), 3);
    await fay.close();
    await close(ann, bob);
  });
});
