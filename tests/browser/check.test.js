// @ts-check
/** The page that checks the connection, against a server that can be reached, and one that cannot over TCP. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, launch, open, PATIENCE } from "./browser.js";
import { Server } from "./server.js";

/** Of IPv6, and of NAT: machines differ there; tests/network makes its own. */
const ANY = "*";

/** @type {{ name: string, args: string[], states: string[], verdict: RegExp, devices: RegExp }[]} */
const ROWS = [
  {
    name: "every way that is offered works",
    args: [],
    states: ["Works", ANY, "Works", "Works", "Works", "Not offered", ANY],
    verdict: /[45] of 6 ways work/,
    devices: /Camera and microphone work/,
  },
  {
    name: "what fails is named with its remedy",
    args: ["--set", "media.tcp=off", "--set", "turn.mode=off"],
    states: ["Works", ANY, "Not offered", "Not offered", "Not offered", "Not offered", ANY],
    verdict: /[12] of 6 ways work/,
    devices: /Camera and microphone work/,
  },
];

describe("the check page says", { timeout: 6 * PATIENCE }, () => {
  for (const { name, args, states, verdict, devices } of ROWS) {
    test(name, async () => {
      const server = await Server.start(args);
      const browser = await launch();
      try {
        const page = await open(browser, `${server.url}/check`);
        await page.locator("#verdict:not([data-tone=busy])").waitFor({ timeout: 2 * PATIENCE });
        const shown = await page.locator(".ways .state").allTextContents();
        assert.deepEqual(
          shown.map((state, index) => (states[index] === ANY ? ANY : state)),
          states,
        );
        assert.match((await page.locator("#verdict").textContent()) ?? "", verdict);
        const details = await page.locator(".ways .detail").allTextContents();
        assert.match(details[0] ?? "", /ms there and back/);
        if (states[2] === "Not offered") assert.match(details[2] ?? "", /media\.tcp is off/);
        await page.getByText("Try camera and microphone").click();
        await page.getByText(devices).waitFor({ timeout: PATIENCE });
        await close(page);
      } finally {
        await browser.close();
        await server.stop();
      }
    });
  }
});
