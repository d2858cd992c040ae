// @ts-check
/** What the publish page says of a stream that viewers suffer from: of Chromium's, spoiled on its way out. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { close, open, PATIENCE, reaches } from "./browser.js";
import { SCREENS, looksRight } from "./looks.js";
import { start } from "./stand.js";

const PUBLISHED = "autostart=1&source=pattern&height=360&fps=15&codec=vp8&simulcast=0";

const { server, browser } = await start();

describe("the publish page", { timeout: 4 * PATIENCE }, () => {
  for (const [screen, viewport] of Object.entries(SCREENS)) {
    test(`says that no key frame comes on request, and what to do: ${screen}`, async () => {
      // The page has no worker that spoils its stream, and its policy allows no other.
      const publisher = await open(browser, "about:blank", { context: { viewport, bypassCSP: true } });
      await publisher.context().addInitScript(dropKeyFrames);
      await publisher.goto(`${server.url}/publish/deaf-${screen}?${PUBLISHED}`);
      await reaches(publisher, "connected");
      // Somebody has to want a picture.
      const viewer = await open(browser, `${server.url}/watch/deaf-${screen}`);
      const notice = publisher.locator("#notice");
      await notice.getByText("Viewers will have trouble with this stream").waitFor({ timeout: PATIENCE });
      const said = /Key frame requests \(PLI\) are not answered.*keep the key frame interval at 1 or 2 s\./s;
      assert.match(await notice.innerText(), said);
      await looksRight(publisher, `lint-${screen}`);
      await close(publisher, viewer);
    });
  }
});

/** Runs in the page: takes every key frame out of what its connections send. */
function dropKeyFrames() {
  const drop = () => {
    // The DOM's types do not know workers.
    Object.assign(globalThis, {
      onrtctransform: (/** @type {any} */ { transformer }) => {
        const transform = (/** @type {RTCEncodedVideoFrame} */ frame, /** @type {any} */ out) => {
          if (frame.type !== "key") out.enqueue(frame);
        };
        void transformer.readable.pipeThrough(new TransformStream({ transform })).pipeTo(transformer.writable);
      },
    });
  };
  const { addTransceiver } = RTCPeerConnection.prototype;
  /** @this {RTCPeerConnection} @param {Parameters<typeof addTransceiver>} given */
  RTCPeerConnection.prototype.addTransceiver = function (...given) {
    const transceiver = addTransceiver.apply(this, given);
    const code = URL.createObjectURL(new Blob([`(${drop})()`], { type: "text/javascript" }));
    if (transceiver.receiver.track.kind === "video")
      transceiver.sender.transform = new RTCRtpScriptTransform(new Worker(code));
    return transceiver;
  };
}
