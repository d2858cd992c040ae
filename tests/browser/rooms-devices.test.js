// @ts-check
/** What becomes of a room when the browser refuses devices, shares a real tab, or somebody talks while muted. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, launch, open, PATIENCE } from "./browser.js";
import { comeIn, isIn, until } from "./rooms.js";
import { ARTEFACTS } from "./server.js";
import { start } from "./stand.js";

const { server, browser } = await start();

describe("somebody in a room", { timeout: 6 * PATIENCE }, () => {
  for (const { refusal, args, title } of [
    { refusal: "the person", args: ["--use-fake-device-for-media-stream"], title: "Permission for the camera and the" },
    { refusal: "the lack of any", args: ["--use-fake-ui-for-media-stream"], title: "No camera and no microphone" },
  ])
    test(`is told in one notice of both devices that are refused by ${refusal}, and comes in without`, async () => {
      const bare = await launch({ devices: false, args });
      const page = await open(bare, `${server.url}/room/refused?name=Ann`);
      await page.locator("#notice").getByText(title).waitFor();
      await page.locator("#notice").getByText("You can also come in without.").waitFor();
      await page.screenshot({ path: `${ARTEFACTS}room-refused.png` });
      await page.locator("#lobby-mic").click();
      await page.locator("#notice").getByText(title).waitFor();
      await page.getByRole("button", { name: "Join", exact: true }).click();
      await isIn(page);
      await page.keyboard.press("m");
      await page.locator(".toast").getByText("microphone").waitFor();
      await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
      await close(page);
      await bare.close();
    });

  test("shares a tab by the browser's own dialog until the browser ends it", async () => {
    const presenting = await launch({ devices: false, args: ["--auto-select-tab-capture-source-by-title=Slides"] });
    const ann = await open(presenting, `${server.url}/room/slides?name=Ann&autojoin=1&cam=off&mic=off`);
    await isIn(ann);
    const slides = await ann.context().newPage();
    await slides.setContent("<title>Slides</title><body style='background: #c00'><p></p>");
    await slides.evaluate(() => setInterval(() => (document.body.textContent = `Slide ${performance.now()}`), 50));
    const bob = await comeIn(browser, server, "slides", "Bob", { query: "&cam=off&mic=off" });
    await ann.getByRole("button", { name: "Share a screen" }).click();
    await bob.locator(".tile.screen.main").waitFor({ timeout: PATIENCE });
    await until(bob, "Ann", ({ screen }) => screen > 3, "the screen is not seen");
    const [red = 0, green = 255] = await bob.evaluate(colour);
    assert.ok(red > 150 && green < 60, `not the colour of the slides: ${red}, ${green}`);
    await bob.screenshot({ path: `${ARTEFACTS}room-slides.png` });
    await slides.close();
    await bob.locator(".tile.screen").waitFor({ state: "detached", timeout: PATIENCE });
    await ann.getByRole("button", { name: "Share a screen" }).waitFor();
    await close(ann, bob);
    await presenting.close();
  });

  test("is told of talking while muted, once", async () => {
    const page = await open(browser, "about:blank");
    await page.addInitScript(hum);
    await page.goto(`${server.url}/room/muted?name=Ann&autojoin=1&cam=off`);
    await isIn(page);
    const hint = page.locator(".toast").getByText("You are muted.");
    const hums = (/** @type {boolean} */ on) => page.evaluate((on) => Reflect.get(globalThis, "hums")(on), on);
    await hums(true);
    await page.keyboard.press("m");
    await hint.waitFor();
    await hint.waitFor({ state: "detached", timeout: PATIENCE });
    await page.keyboard.press("m");
    await page.getByRole("button", { name: "Turn off the microphone" }).waitFor();
    await hums(false);
    await page.keyboard.press("m");
    await page.getByRole("button", { name: "Turn on the microphone" }).waitFor();
    await hums(true);
    await hint.waitFor();
    await close(page);
  });
});

/** Runs in the page. @returns {number[]} Red and green in the middle of the shared screen. */
function colour() {
  const video = document.querySelector(".tile.screen video");
  const pen = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  if (!(video instanceof HTMLVideoElement) || !pen) return [];
  pen.drawImage(video, video.videoWidth / 2, video.videoHeight / 2, 1, 1, 0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
}

/** Runs in the page: a microphone whose owner hums, or does not. */
function hum() {
  navigator.mediaDevices.getUserMedia = async () => {
    const audio = new AudioContext();
    const voice = new OscillatorNode(audio, { frequency: 220 });
    const volume = new GainNode(audio, { gain: 0 });
    const microphone = new MediaStreamAudioDestinationNode(audio);
    voice.connect(volume).connect(microphone);
    voice.start();
    Object.assign(globalThis, { hums: (/** @type {boolean} */ on) => (volume.gain.value = on ? 0.5 : 0) });
    return microphone.stream;
  };
}
