// @ts-check
/** Two people who are connected directly, and what happens when that connection breaks under them. */

import { after, before, describe, test } from "node:test";
import { close, launch, PATIENCE } from "../browser/browser.js";
import { comeIn, seesAndHears } from "../browser/rooms.js";
import { Bridge, clear, home, Host, masquerading } from "./machine.mjs";

/** What a home's NAT does not let through: the other home. */
const BLOCKED = "ip saddr { 203.0.113.11, 203.0.113.12 } drop; ip daddr { 203.0.113.11, 203.0.113.12 } drop";

describe("a direct call", { timeout: 240_000 }, () => {
  const url = "http://203.0.113.1:8080";
  /** @type {ReturnType<typeof home>} */ let alpha;
  /** @type {ReturnType<typeof home>} */ let beta;
  /** @type {import("../browser/browser.js").Browser[]} */ let browsers = [];

  before(async () => {
    const internet = new Bridge("internet", "203.0.113.254/24");
    const server = new Host("server").attach(internet, "203.0.113.1/24");
    alpha = home("alpha", internet, "203.0.113.11/24", "masquerade", 1);
    beta = home("beta", internet, "203.0.113.12/24", "masquerade", 2);
    // Without the relay, over which the two would find another direct path.
    await server.serve(url, "turn.mode=off");
    const args = [`--unsafely-treat-insecure-origin-as-secure=${url}`];
    for (const { host } of [alpha, beta]) browsers.push(await launch({ executable: host.browser(), args }));
  });
  after(async () => {
    for (const browser of browsers) await browser.close();
    await clear();
  });

  test("goes on through the server when its path breaks, and is direct again in another network", async () => {
    const [one, other] = browsers;
    if (!one || !other) throw new Error("no browsers");
    const ann = await comeIn(one, { url }, "direct", "Ann");
    const bob = await comeIn(other, { url }, "direct", "Bob");
    for (const page of [ann, bob]) await takes(page, "p2p", "Direct");
    await seesAndHears(ann, "Bob");
    await seesAndHears(bob, "Ann");
    for (const { nat } of [alpha, beta]) nat.forward(masquerading("masquerade", BLOCKED));
    for (const page of [ann, bob]) await takes(page, "sfu", "Through the server");
    await seesAndHears(ann, "Bob");
    await seesAndHears(bob, "Ann");
    for (const { nat } of [alpha, beta]) nat.forward(masquerading("masquerade"));
    const line = "eth-in-alpha";
    alpha.host.exec("ip", ["link", "set", line, "down"]);
    await ann.waitForFunction(() => !navigator.onLine);
    alpha.host.exec("ip", ["addr", "flush", "dev", line]);
    alpha.host.exec("ip", ["addr", "add", "10.1.0.3/24", "dev", line]);
    alpha.host.exec("ip", ["link", "set", line, "up"]);
    alpha.host.route("10.1.0.1");
    for (const page of [ann, bob]) await takes(page, "p2p", "Direct");
    await seesAndHears(ann, "Bob");
    await seesAndHears(bob, "Ann");
    await close(ann, bob);
  });
});

/**
 * @param {import("../browser/browser.js").Page} page
 * @param {"p2p" | "sfu"} path
 * @param {string} badge What the page says.
 */
async function takes(page, path, badge) {
  const on = (/** @type {string} */ path) => Reflect.get(globalThis, "crosspoint").path === path;
  await page.waitForFunction(on, path, { timeout: 2 * PATIENCE });
  await page.locator("#path").getByText(badge).waitFor();
}
