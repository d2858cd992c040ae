// @ts-check
/** A room whose receivers are told to hold pictures back. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { close, figures, open, PATIENCE, plays } from "./browser.js";
import { start } from "./stand.js";

const SMALL = "autostart=1&source=pattern&height=360&fps=15&simulcast=0";

const { server, browser } = await start(["--set", "rooms.playout_delays=late: 700ms-1500ms"]);

test("a room's playout delay, and a new one, is kept by its viewers' browsers", { timeout: 4 * PATIENCE }, async () => {
  for (const [room, least, most] of /** @type {[string, number, number][]} */ ([
    ["late", 0.6, 2],
    ["usual", 0, 0.6],
  ])) {
    const publisher = await open(browser, `${server.url}/publish/${room}?${SMALL}`);
    const viewer = await open(browser, `${server.url}/watch/${room}`);
    await plays(viewer);
    const buffer = (await figures(viewer))?.video?.buffer ?? -1;
    assert.ok(least <= buffer && buffer <= most, `${room}: pictures wait ${buffer} s`);
    if (room === "usual") {
      const body = JSON.stringify({ playout_delay: { min: 700, max: 1500 } });
      const { status } = await fetch(`${server.url}/api/v1/rooms/usual`, { method: "PATCH", body });
      assert.equal(status, 204);
      const deadline = Date.now() + PATIENCE;
      const waits = async () => (await figures(viewer))?.video?.buffer ?? 0;
      while ((await waits()) < 0.6) {
        assert.ok(Date.now() < deadline, "the room's new delay is not kept");
        await viewer.waitForTimeout(500);
      }
    }
    await close(publisher, viewer);
  }
});
