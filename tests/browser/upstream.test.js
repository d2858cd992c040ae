// @ts-check
/** What a publisher's page sends when nobody, somebody and nobody again wants to see it large. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { choose, close, figures, open, PATIENCE, plays, reaches } from "./browser.js";
import { start } from "./stand.js";

const PUBLISHED = "autostart=1&source=pattern&height=540&fps=15&bitrate=1200000";
const ALL = ["h", "m", "l"];

const { server, browser } = await start();

describe("a publisher's page", { timeout: 8 * PATIENCE }, () => {
  for (const codec of ["vp8", "h264"]) {
    test(`sends the sizes that somebody wants, and the smallest: ${codec}`, async () => {
      const publisher = await open(browser, `${server.url}/publish/${codec}?${PUBLISHED}&codec=${codec}`);
      await reaches(publisher, "connected");
      await encodes(publisher, ["l"]);
      const viewer = await open(browser, `${server.url}/watch/${codec}`);
      await encodes(publisher, ALL);
      await plays(viewer);
      const full = () => document.querySelector("video")?.videoHeight === 540;
      await viewer.waitForFunction(full, undefined, { timeout: PATIENCE });
      // The largest one stays in the menu although it is not sent any more, and comes back when it is chosen.
      await choose(viewer, "270 lines");
      await encodes(publisher, ["m", "l"]);
      await viewer.waitForFunction(() => document.querySelector("video")?.videoHeight === 270);
      await choose(viewer, "540 lines");
      await viewer.waitForFunction(full, undefined, { timeout: PATIENCE });
      assert.ok(((await figures(viewer))?.video?.freezes ?? 0) <= 1);
      await viewer.goto("about:blank");
      await encodes(publisher, ["l"]);
      await close(publisher, viewer);
    });
  }
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
