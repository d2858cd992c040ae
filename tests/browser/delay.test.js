// @ts-check
/** A room whose receivers are told to hold pictures back. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { close, figures, launch, open, PATIENCE, plays } from "./browser.js";
import { Server } from "./server.js";

const SMALL = "autostart=1&source=pattern&height=360&fps=15&simulcast=0";

test("a room's playout delay is kept by its viewers' browsers", { timeout: 4 * PATIENCE }, async (context) => {
  const server = await Server.start(["--set", "rooms.playout_delays=late: 700ms-1500ms"]);
  context.after(() => server.stop());
  const browser = await launch();
  context.after(() => browser.close());
  for (const [room, least, most] of /** @type {[string, number, number][]} */ ([
    ["late", 0.6, 2],
    ["usual", 0, 0.6],
  ])) {
    const publisher = await open(browser, `${server.url}/publish/${room}?${SMALL}`);
    const viewer = await open(browser, `${server.url}/watch/${room}`);
    await plays(viewer);
    const buffer = (await figures(viewer))?.video?.buffer ?? -1;
    assert.ok(least <= buffer && buffer <= most, `${room}: pictures wait ${buffer} s`);
    await close(publisher, viewer);
  }
});
