// @ts-check
/** Somebody in a room whose computer goes from one network to another, as a phone from Wi-Fi to mobile. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { close, launch, PATIENCE } from "../browser/browser.js";
import { comeIn, ownSid, seesAndHears, until } from "../browser/rooms.js";
import { Bridge, clear, home, Host } from "./machine.mjs";

describe("somebody in a room who changes networks", { timeout: 240_000 }, () => {
  const url = "http://203.0.113.1:8080";
  /** @type {ReturnType<typeof home>} */ let alpha;
  /** @type {import("../browser/browser.js").Browser[]} */ let browsers = [];

  before(async () => {
    const internet = new Bridge("internet", "203.0.113.254/24");
    const server = new Host("server").attach(internet, "203.0.113.1/24");
    alpha = home("alpha", internet, "203.0.113.11/24", "masquerade", 1);
    const beta = home("beta", internet, "203.0.113.12/24", "masquerade", 2);
    await server.serve(url, "rooms.mode=sfu");
    const args = [`--unsafely-treat-insecure-origin-as-secure=${url}`];
    for (const { host } of [alpha, beta]) browsers.push(await launch({ executable: host.browser(), args }));
  });
  after(async () => {
    for (const browser of browsers) await browser.close();
    await clear();
  });

  test("is reconnecting for the others, never gone, and goes on as the same person", async () => {
    const [one, other] = browsers;
    if (!one || !other) throw new Error("no browsers");
    const ann = await comeIn(one, { url }, "roaming", "Ann", { expected: /WebSocket|ERR_/ });
    const bob = await comeIn(other, { url }, "roaming", "Bob");
    await seesAndHears(bob, "Ann");
    await seesAndHears(ann, "Bob");
    const sid = await ownSid(ann);
    await bob.evaluate(noteWhatIsSaid);
    const line = "eth-in-alpha";
    alpha.host.exec("ip", ["link", "set", line, "down"]);
    await bob.locator(".tile").getByText("Reconnecting").waitFor({ timeout: PATIENCE });
    alpha.host.exec("ip", ["addr", "flush", "dev", line]);
    alpha.host.exec("ip", ["addr", "add", "10.1.0.3/24", "dev", line]);
    alpha.host.exec("ip", ["link", "set", line, "up"]);
    alpha.host.route("10.1.0.1");
    await until(bob, "Ann", ({ state }) => state === "active", "not active again");
    assert.equal(await ownSid(ann), sid);
    await seesAndHears(bob, "Ann");
    await seesAndHears(ann, "Bob");
    assert.deepEqual(await bob.evaluate(() => Reflect.get(globalThis, "said")), []);
    await close(ann, bob);
  });
});

/** Runs in the page: remembers who is said to have come or gone. */
function noteWhatIsSaid() {
  /** @type {string[]} */
  const said = [];
  Reflect.set(globalThis, "said", said);
  const room = Reflect.get(globalThis, "crosspoint");
  for (const type of ["participantleft", "participantjoined"])
    room.addEventListener(type, (/** @type {any} */ { participant }) => said.push(`${type} ${participant.name}`));
}
