// @ts-check
/** Rooms with more people than are looked at: what is shown larger is sent larger. */

import { describe, test } from "node:test";
import { close, PATIENCE } from "./browser.js";
import { comeIn, crowd, until } from "./rooms.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const NAMES = "Bea Cai Dev Eli Fay Gil Hana Ida Jon Kim Leo Mia Ned Ora Pia".split(" ");

const { server, browser } = await start();

describe("a room with many people", { timeout: 10 * PATIENCE }, () => {
  test("sends the larger picture to whom pins it", async () => {
    // Small enough for the smallest layer in the grid, and the middle one pinned: the largest needs a fast machine.
    const context = { viewport: { width: 700, height: 500 } };
    const large = await comeIn(browser, server, "pinning", "Ann", { query: "&height=720" });
    const viewer = await comeIn(browser, server, "pinning", "Bob", { context });
    const others = await crowd(browser, server, "pinning", NAMES.slice(0, 4));
    // Until the page's wishes have arrived, a larger one may come.
    const small = await until(viewer, "Ann", ({ height }) => height > 0 && height <= 180, "no small pictures come");
    await viewer.getByRole("article", { name: /^Ann/ }).hover();
    await viewer.getByRole("button", { name: "Pin Ann" }).click();
    await until(viewer, "Ann", ({ height }) => height > small.height, `pinned, it stays at ${small.height} lines`);
    await close(large, viewer, others);
  });

  test("shows sixteen people on pages of as many pictures as the server's operator or the address says", async () => {
    const context = { viewport: { width: 1440, height: 900 } };
    const others = await crowd(browser, server, "full", NAMES);
    for (const { query, pages } of [{ query: "", pages: [9, 6] }, { query: "&slots=15", pages: [15] }]) {
      const page = await comeIn(browser, server, "full", "Ann", { context, query });
      for (const [index, pictures] of pages.entries()) {
        const expected = pictures + (index === 0 ? 1 : 0);
        await page.waitForFunction(
          (count) => {
            const tiles = [...document.querySelectorAll(".tile:not([hidden])")];
            return tiles.length === count && tiles.every((tile) => !tile.classList.contains("dark"));
          },
          expected,
          { timeout: PATIENCE },
        );
        await page.screenshot({ path: `${ARTEFACTS}room-real-16-${pictures}.png` });
        await page.keyboard.press("PageDown");
      }
      await close(page);
    }
    await close(others);
  });
});
