// @ts-check
/** Encoders and players as members of a room: WHIP gives a tile, WHEP sees who speaks, or a gallery. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE, plays, reaches } from "./browser.js";
import { comeIn, crowd, until } from "./rooms.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const PUBLISHED = "autostart=1&source=pattern&height=360&fps=15&simulcast=0";

const { server, browser } = await start();

describe("a room", { timeout: 6 * PATIENCE }, () => {
  test("shows an encoder as a tile, and is watched by a player", async () => {
    const ann = await comeIn(browser, server, "guests", "Ann");
    const encoder = await open(browser, `${server.url}/publish/guests?${PUBLISHED}`);
    await reaches(encoder, "connected");
    const tile = ann.locator(".tile.person:not(.self)");
    await tile.waitFor({ timeout: PATIENCE });
    await ann.waitForFunction(
      () => [...document.querySelectorAll("video")].filter(({ videoHeight }) => videoHeight > 0).length >= 2,
      undefined,
      { timeout: PATIENCE },
    );
    await ann.keyboard.press("p");
    await ann.locator("#people").getByText("from an encoder").waitFor();
    const player = await open(browser, `${server.url}/watch/guests`);
    await plays(player);
    await ann.locator("#people").getByText("watching").waitFor();
    assert.equal(await ann.locator(".tile").count(), 2, "who only watches has no tile");
    await ann.screenshot({ path: `${ARTEFACTS}room-guests.png` });
    await close(encoder);
    await tile.waitFor({ state: "detached", timeout: PATIENCE });
    await close(ann, player);
  });

  test("shows a player who speaks", async () => {
    const ann = await comeIn(browser, server, "speaks", "Ann", { query: "&height=360" });
    const others = await crowd(browser, server, "speaks", ["Bea", "Cai"]);
    const player = await open(browser, `${server.url}/watch/speaks`);
    // The crowd is silent and 180 lines high; whoever is heard is Ann.
    const isAnn = () => document.querySelector("video")?.videoHeight === 360;
    await player.waitForFunction(isAnn, undefined, { timeout: PATIENCE });
    await plays(player);
    await close(player, others, ann);
  });

  test("fills a player's gallery", async () => {
    const ann = await comeIn(browser, server, "gallery", "Ann");
    const others = await crowd(browser, server, "gallery", ["Bea", "Cai"]);
    await until(ann, "Bea", ({ frames }) => frames > 0, "the crowd is not there");
    const player = await open(browser, server.url);
    await player.evaluate(playGallery, "/whep/gallery");
    await player.waitForFunction(() => Reflect.get(globalThis, "seen")() === 3, undefined, { timeout: PATIENCE });
    await close(player, others, ann);
  });
});

/** Runs in the page: plays a room in three pictures. @param {string} url */
async function playGallery(url) {
  const connection = new RTCPeerConnection();
  const videos = ["video", "video", "video"].map((kind) => {
    const { receiver } = connection.addTransceiver(kind, { direction: "recvonly" });
    const element = document.createElement("video");
    Object.assign(element, { autoplay: true, muted: true, srcObject: new MediaStream([receiver.track]) });
    document.body.append(element);
    return element;
  });
  await connection.setLocalDescription();
  const headers = { "content-type": "application/sdp" };
  const response = await fetch(url, { method: "POST", headers, body: connection.localDescription?.sdp ?? "" });
  await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
  Object.assign(globalThis, { seen: () => videos.filter(({ videoHeight }) => videoHeight > 0).length });
}
