// @ts-check
/** Accessibility by axe-core and screenshots, of every page in both themes, on a desktop and on a phone. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { close, open, plays, PATIENCE } from "./browser.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENS = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };
const PAGES = {
  home: { path: "/", ready: "text=Ways in, ways out" },
  publish: { path: "/publish/studio?source=pattern", ready: "text=Go live" },
  live: { path: "/publish/air-THEME-SCREEN?autostart=1&source=pattern&height=360&fps=15", ready: ".stage.live" },
  missing: { path: "/room/daily%20standup", ready: "text=Go to daily-standup" },
  check: { path: "/check", ready: "#verdict[data-tone=good]" },
  waiting: { path: "/watch/nobody", ready: "text=Waiting for the stream to start" },
  watch: { path: "/watch/show", ready: "#status[data-tone=live]" },
};

const { server, browser } = await start();

describe("every page", { timeout: 20 * PATIENCE }, () => {
  /** @type {import("./browser.js").Page} */
  let publisher;

  before(async () => {
    publisher = await open(
      browser,
      `${server.url}/publish/show?autostart=1&source=pattern&height=360&fps=15&simulcast=0`,
    );
    const viewer = await open(browser, `${server.url}/watch/show`);
    await plays(viewer);
    await close(viewer);
  });
  after(async () => {
    if (publisher) await close(publisher);
  });

  for (const theme of /** @type {const} */ (["light", "dark"])) {
    for (const [screen, viewport] of Object.entries(SCREENS)) {
      for (const [name, { path, ready }] of Object.entries(PAGES)) {
        test(`is accessible and fits: ${name}, ${theme}, ${screen}`, async () => {
          const url = server.url + path.replace("THEME", theme).replace("SCREEN", screen);
          // The browser's own line about the page that is missing.
          const expected = name === "missing" ? /status of 400/ : undefined;
          const page = await open(browser, url, { context: { viewport, colorScheme: theme }, expected });
          await page.locator(ready).first().waitFor({ timeout: PATIENCE });
          if (name === "watch") await page.keyboard.press("s");
          // Figures need two samples, the largest layer an estimate of the network.
          if (name === "live" || name === "watch") await page.waitForTimeout(5_000);
          await page.screenshot({ path: `${ARTEFACTS}${name}-${screen}-${theme}.png` });
          assert.deepEqual(await violations(page), []);
          const excess = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(excess <= 0, `the page is ${excess} pixels wider than the screen`);
          await close(page);
        });
      }
    }
  }

  test("keeps the theme that was chosen", async () => {
    const page = await open(browser, server.url, { context: { colorScheme: "light" } });
    await page.getByRole("button", { name: "Dark theme" }).click();
    await page.goto(`${server.url}/publish/theme`);
    assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
    await close(page);
  });
});

/**
 * @param {import("./browser.js").Page} page
 * @returns {Promise<string[]>} What is wrong and where.
 */
async function violations(page) {
  // Through the debugger, which the page's content security policy does not bind.
  await page.evaluate(AXE);
  return page.evaluate(async () => {
    const { violations } = await Reflect.get(globalThis, "axe").run();
    return violations.map(
      (/** @type {any} */ { id, nodes }) =>
        `${id}: ${nodes.map((/** @type {any} */ { html, failureSummary }) => `${html} ${failureSummary}`).join(" | ")}`,
    );
  });
}
