// @ts-check
/** Accessibility by axe-core and screenshots, of every page in both themes, on a desktop and on a phone. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { close, open, plays, PATIENCE } from "./browser.js";
import { SCREENS, looksRight } from "./looks.js";
import { start } from "./stand.js";

const PAGES = {
  home: { path: "/", ready: "text=Ways in, ways out" },
  publish: { path: "/publish/studio?source=pattern", ready: "text=Go live" },
  live: { path: "/publish/air?autostart=1&source=pattern&height=360&fps=15", ready: ".stage.live" },
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

  for (const [name, { path, ready }] of Object.entries(PAGES)) {
    test(`is accessible and fits, in both themes and on both screens: ${name}`, async () => {
      // The browser's own line about the page that is missing.
      const expected = name === "missing" ? /status of 400/ : undefined;
      const page = await open(browser, server.url + path, { context: { viewport: SCREENS.phone }, expected });
      await page.locator(ready).first().waitFor({ timeout: PATIENCE });
      if (name === "watch") await page.keyboard.press("s");
      // Figures need two samples, the largest layer an estimate of the network.
      if (name === "live" || name === "watch") await page.waitForTimeout(5_000);
      for (const [screen, viewport] of Object.entries(SCREENS)) {
        await page.setViewportSize(viewport);
        for (const colorScheme of /** @type {const} */ (["light", "dark"])) {
          await page.emulateMedia({ colorScheme });
          await looksRight(page, `${name}-${screen}-${colorScheme}`);
        }
      }
      await close(page);
    });
  }

  test("keeps the theme that was chosen", async () => {
    const page = await open(browser, server.url, { context: { colorScheme: "light" } });
    await page.getByRole("button", { name: "Dark theme" }).click();
    await page.goto(`${server.url}/publish/theme`);
    assert.equal(await page.locator("html").getAttribute("data-theme"), "dark");
    await close(page);
  });
});
