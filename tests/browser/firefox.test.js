// @ts-check
/** A smoke test in Firefox: it publishes, watches, and meets somebody who has Chromium. */

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { after, describe, test } from "node:test";
import { close, PATIENCE } from "./browser.js";
import { EXECUTABLE, Firefox } from "./firefox.js";
import { comeIn, seesAndHears, until } from "./rooms.js";
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
    for (const name of ["Ann", "Bob"]) await fay.becomes(hears(name));
    await speaks(fay, ann);
    await comesBack(fay, ann);
    await fay.close();
    await close(ann, bob);
  });

  test("tells whoever refuses camera and microphone what to do, and lets them in", async () => {
    const refusing = await Firefox.launch({
      "media.navigator.permission.disabled": false,
      "permissions.default.camera": 2,
      "permissions.default.microphone": 2,
    });
    try {
      const page = await refusing.open(`${server.url}/room/refused?name=Fay`);
      const notice = "document.querySelector('#notice').innerText";
      await page.becomes(`${notice}.includes('Permission for the camera and the microphone was refused')`);
      await page.evaluate("document.querySelector('#join').click()");
      await page.becomes("globalThis.crosspoint?.state === 'connected'");
      writeFileSync(`${ARTEFACTS}firefox-refused.png`, await page.screenshot());
      await page.close();
    } finally {
      await refusing.stop();
    }
  });
});

/** @param {string} name @returns {string} An expression for whether sound of somebody comes while one looks. */
function hears(name) {
  return `await (async () => {
    const person = [...crosspoint.participants.values()].find((one) => one.name === "${name}");
    const energy = async () => (await person?.trackOf("microphone")?.stats())?.audio?.energy ?? 0;
    const before = await energy();
    await new Promise((resolve) => setTimeout(resolve, 600));
    return (await energy()) > before;
  })()`;
}

/**
 * Mutes and writes in both directions.
 *
 * @param {import("./firefox.js").Window} fay
 * @param {import("./browser.js").Page} ann
 */
async function speaks(fay, ann) {
  await fay.evaluate("document.querySelector('#mic').click()");
  await until(ann, "Fay", ({ muted }) => muted, "not told of the mute");
  await fay.evaluate("document.querySelector('#mic').click()");
  await until(ann, "Fay", (now, first) => !now.muted && now.energy > first.energy, "silent after unmuting");
  await fay.evaluate("await crosspoint.sendChat('From Firefox')");
  await ann.locator("#announce").getByText("Fay writes: From Firefox").waitFor();
  await ann.evaluate(() => Reflect.get(globalThis, "crosspoint").sendChat("From Chromium"));
  await fay.becomes("document.querySelector('#messages').textContent.includes('From Chromium')");
}

/**
 * A reload keeps one's place.
 *
 * @param {import("./firefox.js").Window} fay
 * @param {import("./browser.js").Page} ann
 */
async function comesBack(fay, ann) {
  const sid = "return crosspoint.localParticipant.sid";
  const before = await fay.evaluate(sid);
  await fay.command("WebDriver:Refresh", {});
  await fay.becomes("globalThis.crosspoint?.state === 'connected'");
  assert.equal(await fay.evaluate(sid), before);
  await seesAndHears(ann, "Fay");
  await fay.becomes(hears("Ann"));
}
