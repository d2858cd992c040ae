// @ts-check
/** Debian's Chromium driven by the tests, and what a test asks of a page. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

export const EXECUTABLE = process.env.CHROMIUM ?? "/usr/bin/chromium";
const ARGUMENTS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const FAKE_DEVICES = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"];

/** Set to work on the pages without building the server for each change: they are then read from this folder. */
const PAGES_FROM = process.env.CROSSPOINT_PAGES;

const TYPES = /** @type {Record<string, string>} */ ({
  css: "text/css",
  html: "text/html",
  js: "text/javascript",
  svg: "image/svg+xml",
});

/** Longest wait for anything a page should do. Software encoders on two cores need some of it. */
export const PATIENCE = 30_000;

/**
 * @param {{ devices?: boolean, autoplay?: boolean, args?: string[], executable?: string }} [options] `devices`: a fake
 *   camera and microphone that are always allowed. `autoplay`: sound may start without a click. `executable`: a program
 *   that runs the browser.
 */
export function launch(options = {}) {
  return chromium.launch({ executablePath: options.executable ?? EXECUTABLE, args: flags(options) });
}

/**
 * The same for a test that touches the browser's processes.
 *
 * @returns {Promise<{ browser: import("playwright-core").Browser, pid: number, end: () => Promise<void> }>}
 */
export async function launchProcess() {
  const server = await chromium.launchServer({ executablePath: EXECUTABLE, args: flags({}) });
  const browser = await chromium.connect(server.wsEndpoint());
  return { browser, pid: server.process().pid ?? 0, end: () => server.close() };
}

/** @param {{ devices?: boolean, autoplay?: boolean, args?: string[] }} options */
function flags({ devices = true, autoplay = true, args = [] }) {
  return [
    ...ARGUMENTS,
    ...(devices ? FAKE_DEVICES : []),
    // Pages that a test answers itself come from no address, so the browser takes the server for a stranger's.
    "--disable-features=LocalNetworkAccessChecks",
    `--autoplay-policy=${autoplay ? "no-user-gesture-required" : "document-user-activation-required"}`,
    ...args,
  ];
}

/** @typedef {import("playwright-core").Page & { errors: string[] }} Page */
/** @typedef {import("playwright-core").Browser} Browser */

/**
 * Opens a page in a context of its own and collects what it reports as errors.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {string} url
 * @param {{ context?: import("playwright-core").BrowserContextOptions, expected?: RegExp }} [options] `expected`:
 *   console errors that belong to the test, such as the browser's own line about a 401.
 * @returns {Promise<Page>}
 */
export async function open(browser, url, { context, expected } = {}) {
  const page = await (await browser.newContext(context)).newPage();
  /** @type {string[]} */
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => {
    const text = `${message.text()} (${message.location().url})`;
    if (message.type() === "error" && !expected?.test(text)) errors.push(text);
  });
  if (PAGES_FROM)
    await page.context().route(/\/(assets\/|publish\/|room\/|watch\/|$)/, (route) => fromFolder(route, PAGES_FROM));
  await page.goto(url);
  return Object.assign(page, { errors });
}

/** Closes pages and fails on what they complained of. @param {Page[]} pages */
export async function close(...pages) {
  for (const page of pages) await page.context().close();
  assert.deepEqual(
    pages.flatMap(({ errors }) => errors),
    [],
    "a page reported errors on its console",
  );
}

/**
 * @param {Page} page
 * @param {string} state Of its connection.
 */
export async function reaches(page, state) {
  try {
    await page.waitForFunction((state) => Reflect.get(globalThis, "crosspoint")?.state === state, state, {
      timeout: PATIENCE,
    });
  } catch {
    assert.fail(`the page did not become "${state}"; it shows: ${await page.locator("body").innerText()}`);
  }
}

/** @param {Page} page @returns {Promise<import("../../web/stats.js").Figures | null>} */
export function figures(page) {
  return page.evaluate(() => Reflect.get(globalThis, "crosspoint").stats());
}

/**
 * Waits for a condition without the click that Playwright's own waiting counts as: the page would be allowed sound.
 *
 * @param {Page} page
 * @param {string} expression
 */
export async function becomes(page, expression) {
  const debug = await page.context().newCDPSession(page);
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    if ((await debug.send("Runtime.evaluate", { expression })).result.value === true) return;
    await page.waitForTimeout(100);
  }
  assert.fail(`never true: ${expression}`);
}

/**
 * Waits until pictures and sound have visibly gone on from now.
 *
 * @param {Page} page A watch page.
 * @returns {Promise<import("../../web/stats.js").Figures>}
 */
export async function plays(page) {
  const deadline = Date.now() + PATIENCE;
  /** @type {import("../../web/stats.js").Figures | null} */
  let first = null;
  let last = null;
  while (Date.now() < deadline) {
    last = await figures(page).catch(() => null);
    // A new connection counts from zero again.
    if (!first || (last?.video?.frames ?? 0) < (first.video?.frames ?? 0)) first = last;
    const frames = (last?.video?.frames ?? 0) - (first?.video?.frames ?? 0);
    const energy = (last?.audio?.energy ?? 0) - (first?.audio?.energy ?? 0);
    if (last && frames >= 15 && energy > 0) return last;
    await page.waitForTimeout(250);
  }
  return assert.fail(
    `nothing plays: ${JSON.stringify(last)}; the page shows: ${await page.locator("body").innerText()}`,
  );
}

/**
 * Has a watch page remember from now on how long its picture stood; see `stood`.
 *
 * @param {Page} viewer
 */
export async function watchPicture(viewer) {
  await viewer.evaluate(async () => {
    const stood = { gap: 0, freeze: 0, frozen: 0 };
    Reflect.set(globalThis, "stood", stood);
    /** @type {RTCPeerConnection} */
    const pc = Reflect.get(globalThis, "crosspoint").pc;
    const read = async () => {
      const stats = [...(await pc.getStats()).values()];
      const { totalFreezesDuration = 0, freezeCount = 0 } =
        stats.find(({ type, kind }) => type === "inbound-rtp" && kind === "video") ?? {};
      return { time: Math.round(totalFreezesDuration * 1000), count: freezeCount };
    };
    const first = await read();
    let before = first;
    setInterval(async () => {
      const now = await read();
      // Where readings are late, several may have ended since the last one.
      stood.freeze = Math.max(stood.freeze, (now.time - before.time) / Math.max(now.count - before.count, 1));
      stood.frozen = now.time - first.time;
      before = now;
    }, 100);
    const video = document.querySelector("video");
    let last = performance.now();
    const note = (/** @type {number} */ now) => {
      stood.gap = Math.max(stood.gap, Math.round(now - last));
      last = now;
      video?.requestVideoFrameCallback(note);
    };
    video?.requestVideoFrameCallback(note);
  });
}

/**
 * How long the picture of a watch page stood, in milliseconds: `gap` between two frames shown, `freeze` of one freeze
 * as getStats counts them, `frozen` of all these together.
 *
 * @param {Page} viewer
 * @returns {Promise<{ gap: number, freeze: number, frozen: number }>}
 */
export function stood(viewer) {
  return viewer.evaluate(() => Reflect.get(globalThis, "stood"));
}

/**
 * Chooses of the quality menu as soon as it has this.
 *
 * @param {Page} viewer
 * @param {string} label How the choice begins.
 */
export async function choose(viewer, label) {
  await viewer.waitForFunction(
    (label) => {
      const select = document.querySelector("#quality");
      if (!(select instanceof HTMLSelectElement)) return false;
      const option = [...select.options].find(({ text }) => text.startsWith(label));
      if (!option) return false;
      select.value = option.value;
      select.dispatchEvent(new Event("change"));
      return true;
    },
    label,
    { timeout: PATIENCE },
  );
}

/**
 * Answers with a file of the folder under the headers that the server gave.
 *
 * @param {import("playwright-core").Route} route
 * @param {string} folder
 */
async function fromFolder(route, folder) {
  const url = new URL(route.request().url());
  url.hostname = "127.0.0.1"; // Names that only the browser knows lead there.
  const [, kind = "", ...rest] = url.pathname.split("/");
  const file = kind === "assets" ? rest.join("/") : `${kind || "index"}.html`;
  const headers = { ...route.request().headers(), "if-none-match": "" };
  const response = await route.fetch({ url: url.href, headers }).catch(() => null);
  if (!response) return; // The page was closed meanwhile.
  const body = await readFile(`${folder}/${file}`);
  // A file that the binary does not have yet gets a 404 from it.
  await route.fulfill({ response, status: 200, contentType: TYPES[file.split(".").pop() ?? ""], body });
}
