// @ts-check
/** What the others see of somebody whose tab is closed, or only frozen. A reload is in rooms.test.js. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, PATIENCE } from "./browser.js";
import { comeIn, ownSid } from "./rooms.js";
import { start } from "./stand.js";

// Whoever only loses the network has longer than any test waits.
const { server, browser } = await start(["--set", "rooms.member_resume_window=10m"]);

describe("somebody in a room", { timeout: 6 * PATIENCE }, () => {
  test("has left soon after the tab was closed", async () => {
    const ann = await comeIn(browser, server, "closing", "Ann", { query: "&cam=off&mic=off" });
    const bob = await comeIn(browser, server, "closing", "Bob", { query: "&cam=off&mic=off" });
    await ann.locator("#announce").getByText("Bob has joined").waitFor();
    await bob.close();
    await ann.locator("#announce").getByText("Bob has left").waitFor({ timeout: PATIENCE });
    await close(ann);
  });

  test("stays while the tab is frozen for a moment, as phones do it", async () => {
    const ann = await comeIn(browser, server, "hiding", "Ann", { query: "&cam=off&mic=off" });
    const bob = await comeIn(browser, server, "hiding", "Bob", { query: "&cam=off&mic=off" });
    const sid = await ownSid(bob);
    await ann.waitForFunction((sid) => Reflect.get(globalThis, "crosspoint").participants.has(sid), sid);
    await ann.evaluate(() => {
      const room = Reflect.get(globalThis, "crosspoint");
      const note = (/** @type {any} */ { type, participant }) =>
        Reflect.set(globalThis, "seen", `${type} ${participant.isReconnecting}`);
      for (const type of ["participantleft", "participantchange"]) room.addEventListener(type, note);
    });
    const lifecycle = await bob.context().newCDPSession(bob);
    await lifecycle.send("Page.setWebLifecycleState", { state: "frozen" });
    // Goes behind whatever the server has heard of Bob until now.
    await ann.evaluate(() => Reflect.get(globalThis, "crosspoint").sendChat("Still there?"));
    await lifecycle.send("Page.setWebLifecycleState", { state: "active" });
    await bob.waitForFunction(() => Reflect.get(globalThis, "crosspoint").messages.length === 1);
    assert.equal(await ann.evaluate(() => Reflect.get(globalThis, "seen")), undefined);
    assert.equal(await ownSid(bob), sid);
    await close(ann, bob);
  });
});
