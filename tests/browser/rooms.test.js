// @ts-check
/** Three people in real Chromium meet on the real server. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { close, open, PATIENCE } from "./browser.js";
import { comeIn, isIn, ownSid, receptions, seesAndHears, until } from "./rooms.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const { server, browser } = await start();

describe("a room", { timeout: 20 * PATIENCE }, () => {
  /** @type {import("./browser.js").Page} */
  let ann;
  /** @type {import("./browser.js").Page} */
  let bob;
  /** @type {import("./browser.js").Page} */
  let cleo;

  before(async () => {
    ann = await comeIn(browser, server, "standup", "Ann");
    bob = await comeIn(browser, server, "standup", "Bob");
    cleo = await comeIn(browser, server, "standup", "Cleo");
  });
  after(async () => {
    if (cleo) await close(ann, bob, cleo);
  });

  test("lets three people see and hear each other, every pair", async () => {
    await seesAndHears(ann, "Bob", "Cleo");
    await seesAndHears(bob, "Ann", "Cleo");
    await seesAndHears(cleo, "Ann", "Bob");
    await ann.screenshot({ path: `${ARTEFACTS}room-real-3.png` });
  });

  test("tells everybody who is muted, and carries on when unmuted", async () => {
    await ann.keyboard.press("m");
    for (const page of [bob, cleo]) await until(page, "Ann", ({ muted }) => muted, "not told of the mute");
    await bob.getByRole("article", { name: /^Ann, muted/ }).waitFor();
    await ann.keyboard.press("m");
    await until(bob, "Ann", (now, first) => !now.muted && now.energy > first.energy, "silent after unmuting");
    await ann.keyboard.press("v");
    await bob.getByRole("article", { name: /^Ann.*no picture/ }).waitFor();
    await ann.keyboard.press("v");
    await until(bob, "Ann", (now, first) => now.frames > first.frames + 5, "no picture after the camera came back");
  });

  test("shows a canvas that is shared as a screen, large, until it ends", async () => {
    await shareCanvas(ann);
    for (const page of [bob, cleo]) {
      await page.locator(".tile.screen.main").waitFor();
      await until(page, "Ann", ({ screen }) => screen > 3, "the screen is not seen");
    }
    await bob.screenshot({ path: `${ARTEFACTS}room-real-screen.png` });
    await ann.evaluate(async () => {
      const { localParticipant } = Reflect.get(globalThis, "crosspoint");
      await localParticipant.unpublish(localParticipant.publishedOf("screen_share"));
    });
    for (const page of [bob, cleo]) await page.locator(".tile.screen").waitFor({ state: "detached" });
    await shareCanvas(ann);
    await until(bob, "Ann", ({ screen }) => screen > 3, "the screen is not seen a second time");
  });

  test("keeps the place of one who reloads", async () => {
    const sid = await ownSid(ann);
    await noteLeaving(bob);
    await ann.reload();
    await isIn(ann);
    assert.equal(await ownSid(ann), sid);
    await seesAndHears(ann, "Bob", "Cleo");
    await seesAndHears(bob, "Ann");
    assert.deepEqual(await left(bob), [], "the others saw a departure");
  });

  test("carries what one writes, and shows it to those who come later", async () => {
    await ann.keyboard.press("c");
    await ann.getByLabel("Message to everybody").fill("The notes are ready");
    await ann.keyboard.press("Enter");
    await ann.keyboard.press("Escape");
    await bob.getByRole("button", { name: "Chat, 1 unread" }).waitFor();
    const dan = await comeIn(browser, server, "standup", "Dan", { query: "&cam=off&mic=off" });
    await dan.keyboard.press("c");
    await dan.getByText("The notes are ready").waitFor();
    await bob.keyboard.press("h");
    await ann.locator("#announce").getByText("Bob raised a hand").waitFor();
    await dan.getByRole("button", { name: "Leave the room" }).click();
    await ann.locator("#announce").getByText("Dan has left").waitFor();
    await close(dan);
  });

  test("runs the example of the README", async () => {
    const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
    const example = /```html\n(<!doctype html>[\s\S]*?)```/.exec(readme)?.[1] ?? "";
    assert.equal(example.trim().split("\n").length, 20, "it is said to have twenty lines");
    const page = await open(browser, "about:blank");
    await page
      .context()
      .route("**/example.html", (route) => route.fulfill({ contentType: "text/html", body: example }));
    await page.goto(`${server.url}/example.html`);
    await page.getByRole("button", { name: "Join" }).click();
    await page.waitForFunction(() => (document.querySelector("video")?.videoWidth ?? 0) > 0, undefined, {
      timeout: PATIENCE,
    });
    const isNew = (/** @type {string} */ name) => !["Bob", "Cleo"].includes(name);
    await ann.waitForFunction(() => Reflect.get(globalThis, "crosspoint").participants.size === 3);
    await seesAndHears(ann, Object.keys(await receptions(ann)).find(isNew) ?? "");
    await close(page);
  });
});

/** @param {import("./browser.js").Page} page */
function shareCanvas(page) {
  return page.evaluate(async () => {
    const canvas = document.createElement("canvas");
    Object.assign(canvas, { width: 640, height: 360 });
    const pen = canvas.getContext("2d");
    let hue = 0;
    setInterval(() => {
      if (!pen) return;
      pen.fillStyle = `hsl(${(hue += 5)} 60% 50%)`;
      pen.fillRect(0, 0, 640, 360);
    }, 100);
    const [track] = canvas.captureStream(10).getVideoTracks();
    const room = Reflect.get(globalThis, "crosspoint");
    await room.localParticipant.publish(track, { source: "screen_share" });
  });
}

/** Remembers from now on who leaves. @param {import("./browser.js").Page} page */
function noteLeaving(page) {
  return page.evaluate(() => {
    /** @type {string[]} */
    const left = [];
    Reflect.set(globalThis, "left", left);
    const room = Reflect.get(globalThis, "crosspoint");
    room.addEventListener("participantleft", (/** @type {any} */ event) => left.push(event.participant.name));
  });
}

/** @param {import("./browser.js").Page} page @returns {Promise<string[]>} */
function left(page) {
  return page.evaluate(() => Reflect.get(globalThis, "left"));
}
