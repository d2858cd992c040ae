// @ts-check
/** What every page must satisfy by its looks: accessible by axe-core, no wider than the screen; screenshots to see. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { ARTEFACTS } from "./server.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const SCREENS = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

/**
 * Keeps a screenshot and fails on what is not accessible, or wider than the screen.
 *
 * @param {import("./browser.js").Page} page
 * @param {string} name Of the screenshot.
 */
export async function looksRight(page, name) {
  await page.screenshot({ path: `${ARTEFACTS}${name}.png` });
  // Through the debugger, which the page's content security policy does not bind.
  await page.evaluate(AXE);
  const wrong = await page.evaluate(async () => {
    const { violations } = await Reflect.get(globalThis, "axe").run();
    return violations.map(
      (/** @type {any} */ { id, nodes }) =>
        `${id}: ${nodes.map((/** @type {any} */ { html, failureSummary }) => `${html} ${failureSummary}`).join(" | ")}`,
    );
  });
  assert.deepEqual(wrong, []);
  const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(excess <= 0, `the page is ${excess} pixels wider than the screen`);
}
