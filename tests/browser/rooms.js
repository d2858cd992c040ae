// @ts-check
/** People in a room of the real server, and what a test asks of them. */

import assert from "node:assert/strict";
import { open, PATIENCE } from "./browser.js";
import { ARTEFACTS } from "./server.js";

/** Small pictures: several software encoders share the machine. */
const SMALL = "height=270&fps=10";

/** @typedef {import("./browser.js").Page} Page */

/**
 * Opens the conference page and comes in without a click.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {{ url: string }} server
 * @param {string} room
 * @param {string} name
 * @param {{ context?: import("playwright-core").BrowserContextOptions, query?: string, passphrase?: string,
 *   expected?: RegExp }} [options]
 * @returns {Promise<Page>}
 */
export async function comeIn(browser, server, room, name, { context, query = "", passphrase, expected } = {}) {
  const auto = passphrase === undefined ? "&autojoin=1" : "";
  const parameters = new URLSearchParams(`name=${name}&${SMALL}${auto}`);
  for (const [key, value] of new URLSearchParams(query)) parameters.set(key, value);
  const url = `${server.url}/room/${room}?${parameters}`;
  const page = await open(browser, url, { context, expected });
  if (passphrase !== undefined) {
    await page.getByText("End-to-end encryption").click();
    await page.locator("#passphrase").fill(passphrase);
    await page.getByRole("button", { name: "Join" }).click();
  }
  await isIn(page);
  return page;
}

/** @param {Page} page */
export async function isIn(page) {
  try {
    await page.waitForFunction(() => Reflect.get(globalThis, "crosspoint")?.state === "connected", undefined, {
      timeout: PATIENCE,
    });
  } catch {
    assert.fail(`nobody came in; the page shows: ${await page.locator("body").innerText()}`);
  }
}

/**
 * @typedef {object} Reception Of one participant.
 * @property {string} sid
 * @property {number} frames Decoded of its camera.
 * @property {number} energy Of its sound.
 * @property {number} height Of its picture.
 * @property {number} screen Frames decoded of its screen.
 * @property {string} state
 * @property {boolean} muted
 * @property {string} sealed
 */

/**
 * @param {Page} page
 * @returns {Promise<Record<string, Reception>>} By name.
 */
export function receptions(page) {
  return page.evaluate(async () => {
    /** @type {import("../../web/client/room.js").Room} */
    const room = Reflect.get(globalThis, "crosspoint");
    /** @type {Record<string, any>} */
    const all = {};
    for (const participant of room.participants.values()) {
      const [camera, microphone, screen] = await Promise.all(
        /** @type {const} */ (["camera", "microphone", "screen_share"]).map((source) =>
          participant.trackOf(source)?.stats(),
        ),
      );
      all[participant.name] = {
        sid: participant.sid,
        frames: camera?.video?.frames ?? 0,
        energy: microphone?.audio?.energy ?? 0,
        height: camera?.video?.height ?? 0,
        screen: screen?.video?.frames ?? 0,
        state: participant.info.state,
        muted: participant.trackOf("microphone")?.muted ?? true,
        sealed: participant.trackOf("camera")?.sealed ?? "",
      };
    }
    return all;
  });
}

/**
 * Waits until what somebody sees and hears satisfies a condition, which is given the first look as well: counters only
 * mean something by their growth.
 *
 * @param {Page} page
 * @param {string} name
 * @param {(now: Reception, first: Reception) => boolean} holds
 * @param {string} what For the message.
 * @returns {Promise<Reception>}
 */
export async function until(page, name, holds, what) {
  const deadline = Date.now() + PATIENCE;
  /** @type {Reception | undefined} */
  let first;
  /** @type {Reception | undefined} */
  let now;
  while (Date.now() < deadline) {
    now = (await receptions(page))[name];
    // Another slot, or a new connection, counts from zero.
    if (!first || (now && (now.frames < first.frames || now.energy < first.energy))) first = now;
    if (now && first && holds(now, first)) return now;
    await page.waitForTimeout(150);
  }
  await page.screenshot({ path: `${ARTEFACTS}room-failed.png` });
  return assert.fail(`${what} (${name}): ${JSON.stringify(now)}; the page shows: ${await shown(page)}`);
}

/** Pictures and sound have gone on from now. @param {Page} page @param {string[]} names */
export async function seesAndHears(page, ...names) {
  for (const name of names) {
    await until(page, name, (now, first) => now.frames >= first.frames + 5, "no pictures come");
    await until(page, name, (now, first) => now.energy > first.energy, "no sound comes");
  }
}

/** @param {Page} page */
async function shown(page) {
  return (await page.locator("body").innerText()).replace(/\s+/g, " ").slice(0, 500);
}

/** @param {Page} page @returns {Promise<string>} One's own sid. */
export function ownSid(page) {
  return page.evaluate(() => Reflect.get(globalThis, "crosspoint").localParticipant.sid);
}

/**
 * Fills a room with people who publish a small drawn picture and no sound, all from one page.
 *
 * @param {import("playwright-core").Browser} browser
 * @param {{ url: string }} server
 * @param {string} room
 * @param {string[]} names
 * @returns {Promise<Page>}
 */
export async function crowd(browser, server, room, names) {
  const page = await open(browser, server.url);
  await page.evaluate(
    async ({ room, names }) => {
      const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
      for (const [index, name] of names.entries()) {
        const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
        const pen = canvas.getContext("2d");
        let turn = index;
        setInterval(() => {
          if (!pen) return;
          pen.fillStyle = `hsl(${index * 47} 35% 30%)`;
          pen.fillRect(0, 0, 320, 180);
          pen.fillStyle = `hsl(${index * 47} 60% 75%)`;
          pen.beginPath();
          pen.arc(160 + 50 * Math.cos((turn += 0.2)), 90 + 40 * Math.sin(turn), 36, 0, 7);
          pen.fill();
        }, 200);
        const [track] = canvas.captureStream(5).getVideoTracks();
        const member = new Room({ videoSlots: 0, audioSlots: 0 });
        await member.localParticipant.publish(track, { source: "camera" });
        await member.connect(`/room/${room}`, "", { name });
      }
    },
    { room, names },
  );
  return page;
}
