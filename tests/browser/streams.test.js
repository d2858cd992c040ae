// @ts-check
/** Streams through the real pages, the real server and a real browser. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { becomes, close, launch, open, plays, reaches, figures, PATIENCE } from "./browser.js";
import { Server } from "./server.js";
import { start } from "./stand.js";

/** Small, so that three software encoders and a decoder keep up on two cores. */
const SMALL = "height=360&fps=15";
const LIVE = `autostart=1&source=camera&${SMALL}`;
/** The browser's own lines about requests that a stopped server refuses. */
const OUTAGE = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED_ENCODING|ERR_EMPTY_RESPONSE/;

const { server, browser } = await start();

describe("a stream", { timeout: 8 * PATIENCE }, () => {
  for (const codec of ["VP8", "VP9", "H264", "AV1"]) {
    test(`published as ${codec} is seen and heard`, async () => {
      const publisher = await open(browser, `${server.url}/publish/${codec}?${LIVE}&codec=${codec}`);
      await reaches(publisher, "connected");
      const viewer = await open(browser, `${server.url}/watch/${codec}`);
      const { video, audio } = await plays(viewer);
      assert.equal(video?.codec, codec);
      assert.equal(audio?.codec, "opus");
      // The smaller sizes come first; the full one follows when the browser has measured the network.
      const full = () => document.querySelector("video")?.videoHeight === 360;
      await viewer.waitForFunction(full, undefined, { timeout: PATIENCE });
      await viewer.locator("#curtain").waitFor({ state: "hidden" });
      assert.equal(await viewer.locator("#status").textContent(), "Live");
      await close(publisher, viewer);
    });
  }

  test("of a single size is seen and heard", async () => {
    const publisher = await open(browser, `${server.url}/publish/single?${LIVE}&simulcast=0`);
    const viewer = await open(browser, `${server.url}/watch/single`);
    const { video } = await plays(viewer);
    assert.equal(video?.height, 360);
    await close(publisher, viewer);
  });

  test("of the test picture is seen and heard without a device", async () => {
    const publisher = await open(browser, `${server.url}/publish/pattern?autostart=1&source=pattern&${SMALL}`);
    const viewer = await open(browser, `${server.url}/watch/pattern`);
    await plays(viewer);
    await close(publisher, viewer);
  });

  test("starts by itself for a viewer who came first", async () => {
    const viewer = await open(browser, `${server.url}/watch/early`);
    await viewer.getByText("Waiting for the stream to start").waitFor({ timeout: PATIENCE });
    await reaches(viewer, "connected");
    const publisher = await open(browser, `${server.url}/publish/early?${LIVE}`);
    await plays(viewer);
    await close(publisher, viewer);
  });

  test("goes on for a viewer on the same connection when the publisher's page is reloaded", async () => {
    const publisher = await open(browser, `${server.url}/publish/reload?${LIVE}`);
    const viewer = await open(browser, `${server.url}/watch/reload`);
    await plays(viewer);
    const session = await sessionOf(viewer);
    await publisher.reload();
    await reaches(publisher, "connected");
    await plays(viewer);
    assert.equal(await sessionOf(viewer), session, "the viewer had to connect again");
    await close(publisher, viewer);
  });

  test("goes on for a viewer on the same connection when the publisher comes back with another codec", async () => {
    const publisher = await open(browser, `${server.url}/publish/codecs?${LIVE}&codec=vp8`);
    const viewer = await open(browser, `${server.url}/watch/codecs`);
    await plays(viewer);
    const session = await sessionOf(viewer);
    await publisher.goto(`${server.url}/publish/codecs?${LIVE}&codec=vp9`);
    await reaches(publisher, "connected");
    const { video } = await plays(viewer);
    assert.equal(video?.codec, "VP9");
    assert.equal(await sessionOf(viewer), session, "the viewer had to connect again");
    await close(publisher, viewer);
  });

  test("can change its source while it is live", async () => {
    const publisher = await open(browser, `${server.url}/publish/source?${LIVE}`);
    const viewer = await open(browser, `${server.url}/watch/source`);
    await plays(viewer);
    const session = await sessionOf(publisher);
    await publisher.getByRole("radio", { name: "Test picture" }).check();
    await plays(viewer);
    assert.equal(await sessionOf(publisher), session, "a change of source needs no new session");
    await close(publisher, viewer);
  });

  test("goes on when its picture grows to a size that needs another session", async () => {
    const publisher = await open(browser, `${server.url}/publish/growing?autostart=1&source=pattern&${SMALL}`);
    const viewer = await open(browser, `${server.url}/watch/growing`);
    await plays(viewer);
    const session = await sessionOf(publisher);
    await publisher.getByLabel("Picture", { exact: true }).selectOption("540");
    await publisher.waitForFunction((old) => Reflect.get(globalThis, "crosspoint").session?.url !== old, session);
    const full = () => document.querySelector("video")?.videoHeight === 540;
    await viewer.waitForFunction(full, undefined, { timeout: PATIENCE });
    await close(publisher, viewer);
  });

  test("shows its publisher how many watch", async () => {
    const publisher = await open(browser, `${server.url}/publish/counted?${LIVE}`);
    const viewers = [
      await open(browser, `${server.url}/watch/counted`),
      await open(browser, `${server.url}/watch/counted`),
    ];
    await publisher.locator("#viewer-count").getByText("2").waitFor({ timeout: PATIENCE });
    await close(publisher, ...viewers);
  });

  test("goes on being told of after a proxy has answered in the server's place", async () => {
    const publisher = await open(browser, `${server.url}/publish/proxied?${LIVE}`);
    const viewer = await open(browser, "about:blank", { expected: /502/ });
    let refusals = 0;
    await viewer.context().route(/\/events\//, (route) => {
      refusals += 1;
      return refusals < 3 ? route.fulfill({ status: 502 }) : route.fallback();
    });
    await viewer.goto(`${server.url}/watch/proxied`);
    await viewer.locator("#viewers").waitFor({ timeout: PATIENCE });
    await viewer.locator("#viewer-count").getByText("1").waitFor();
    assert.equal(refusals, 3);
    await plays(viewer);
    await close(publisher, viewer);
  });

  test("ends for the server when the publisher presses stop", async () => {
    const publisher = await open(browser, `${server.url}/publish/stopping?${LIVE}`);
    const viewer = await open(browser, `${server.url}/watch/stopping`);
    await plays(viewer);
    const session = await sessionOf(publisher);
    await publisher.getByRole("button", { name: "Stop" }).click();
    await reaches(publisher, "idle");
    await viewer.getByText("The stream has paused").waitFor({ timeout: PATIENCE });
    assert.equal((await fetch(session)).status, 404);
    await close(publisher, viewer);
  });

  test("tells a second publisher that the room is taken", async () => {
    const first = await open(browser, `${server.url}/publish/taken?${LIVE}`);
    await reaches(first, "connected");
    const second = await open(browser, `${server.url}/publish/taken?${LIVE}`, { expected: /409/ });
    await reaches(second, "failed");
    await second.getByText("already has a publisher").waitFor();
    await close(first, second);
  });

  test("goes on in the same session by an ICE restart after the network was away for a while", async () => {
    const own = await Server.start();
    const publisher = await open(browser, `${own.url}/publish/outage?${LIVE}`);
    const viewer = await open(browser, `${own.url}/watch/outage`);
    await plays(viewer);
    const session = await sessionOf(viewer);
    const ufrag = await ufragOf(viewer);
    own.freeze();
    await reaches(viewer, "recovering");
    own.thaw();
    await reaches(viewer, "connected");
    await plays(viewer);
    assert.equal(await sessionOf(viewer), session, "the viewer had to connect again");
    assert.notEqual(await ufragOf(viewer), ufrag, "ICE was not restarted");
    await close(publisher, viewer);
    await own.stop();
  });

  test("comes back by itself on both sides after the server crashed", async () => {
    const own = await Server.start();
    const publisher = await open(browser, `${own.url}/publish/crash?${LIVE}`, { expected: OUTAGE });
    const viewer = await open(browser, `${own.url}/watch/crash`, { expected: OUTAGE });
    await plays(viewer);
    const session = await sessionOf(viewer);
    await own.kill();
    await own.run();
    await viewer.waitForFunction(
      (old) => ![null, undefined, old].includes(Reflect.get(globalThis, "crosspoint").session?.url),
      session,
      { timeout: 2 * PATIENCE },
    );
    await plays(viewer);
    await close(publisher, viewer);
    await own.stop();
  });

  test("plays silently and offers its sound where the browser wants a click first", async () => {
    const strict = await launch({ autoplay: false });
    const publisher = await open(browser, `${server.url}/publish/quiet?${LIVE}`);
    const viewer = await open(strict, `${server.url}/watch/quiet`);
    await becomes(viewer, "document.getElementById('unmute').hidden === false");
    await viewer.getByRole("button", { name: "Turn on the sound" }).click();
    assert.equal(
      await viewer.locator("#video").evaluate((video) => /** @type {HTMLVideoElement} */ (video).muted),
      false,
    );
    assert.ok(((await figures(viewer))?.video?.frames ?? 0) > 0);
    await close(publisher, viewer);
    await strict.close();
  });
});

/** @param {import("./browser.js").Page} page @returns {Promise<string>} The address of its session. */
function sessionOf(page) {
  return page.evaluate(() => Reflect.get(globalThis, "crosspoint").session.url);
}

/** @param {import("./browser.js").Page} page @returns {Promise<string>} The server's ICE credentials. */
function ufragOf(page) {
  return page.evaluate(
    () => /a=ice-ufrag:(.*)/.exec(Reflect.get(globalThis, "crosspoint").pc.remoteDescription.sdp)?.[1] ?? "",
  );
}
