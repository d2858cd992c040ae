// @ts-check
/** Sound over links that lose a tenth of it: frames that are repeated (RED, RFC 2198) fill what would be made up. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pass } from "node:timers/promises";
import { close, open, PATIENCE } from "./browser.js";
import { route, Shaper } from "./shaper.js";
import { start } from "./stand.js";

const LOSSY = { kbps: 5_000, delay: 20, loss: 0.12 };
/** Samples of sound that are looked at: five seconds of it. */
const HEARD = 5 * 48_000;
/** Frames that come twice before it is taken for repetition. */
const ENOUGH = 50;
/** Of the sound without repetition, at least this share is missing: most of what the link loses. */
const MISSING = 0.06;
/** And of the sound with it at most this share of that. */
const REMAINING = 0.5;

/**
 * `repeated`: frames thrown away, of which Chromium has each that comes a second time; it tells nothing else of RED.
 *
 * @typedef {{ packets: number, samples: number, concealed: number, repeated: number }} Sound
 */

const { server, browser } = await start(["--set", "rooms.mode=sfu"]);

describe("sound over a link with loss", { timeout: 8 * PATIENCE }, () => {
  for (const { name, codecs } of [
    { name: "its publisher sends it repeated", codecs: ["red", "opus"] },
    { name: "the server repeats it", codecs: ["opus"] },
  ]) {
    test(`is heard nearly whole where ${name}`, async (context) => {
      const room = `sound-${codecs.join("-")}`;
      const shaper = await Shaper.start(server.media, LOSSY);
      context.after(() => shaper.stop());
      const publisher = await open(browser, server.url);
      await publisher.evaluate(makeTone);
      await publisher.evaluate(publish, { room, codecs });
      const [repeated, plain] = [await open(browser, server.url), await open(browser, server.url)];
      for (const page of [repeated, plain]) await route(page.context(), shaper);
      await repeated.evaluate(play, { room, codecs: ["opus", "red"] });
      await plain.evaluate(play, { room, codecs: ["opus"] });
      const before = await sound(repeated);
      await becomes(repeated, (now) => now.repeated - before.repeated > ENOUGH, "no frame comes twice");
      const [whole, holed] = await Promise.all([concealed(repeated), concealed(plain)]);
      context.diagnostic(`made up: ${percent(whole)} with repetition, ${percent(holed)} without`);
      const { packets, repeated: again } = await sound(plain);
      assert.ok(again < packets * 0.1, `${again} frames too many in ${packets} packets for one who has no RED`);
      assert.ok(holed > MISSING, `the link loses too little for a test: ${percent(holed)}`);
      assert.ok(whole < holed * REMAINING, `${percent(whole)} is made up, of ${percent(holed)}`);
      await close(publisher, repeated, plain);
    });
  }

  test("is heard nearly whole in a room", async (context) => {
    const shaper = await Shaper.start(server.media, LOSSY);
    context.after(() => shaper.stop());
    const speaker = await open(browser, server.url);
    await speaker.evaluate(makeTone);
    await speaker.evaluate(speak);
    const listener = await open(browser, "about:blank");
    await route(listener.context(), shaper);
    await listener.context().addInitScript(() => {
      const { RTCPeerConnection } = globalThis;
      globalThis.RTCPeerConnection = class extends RTCPeerConnection {
        /** @param {RTCConfiguration} [configuration] */
        constructor(configuration) {
          super(configuration);
          Object.assign(globalThis, { pc: this });
        }
      };
    });
    await listener.goto(`${server.url}/room/sound?name=Bob&autojoin=1&cam=off&mic=off`);
    await becomes(listener, ({ repeated }) => repeated > ENOUGH, "no frame comes twice");
    const share = await concealed(listener);
    context.diagnostic(`made up: ${percent(share)}`);
    // Of five seconds some frames are lost both times, by chance more or fewer.
    assert.ok(share < MISSING, `${percent(share)} is made up`);
    await close(speaker, listener);
  });
});

/** @param {number} share */
function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/** Share of the sound from now on that was made up. @param {import("./browser.js").Page} page */
async function concealed(page) {
  const first = await sound(page);
  const now = await becomes(page, ({ samples }) => samples - first.samples >= HEARD, "no sound comes");
  return (now.concealed - first.concealed) / (now.samples - first.samples);
}

/**
 * @param {import("./browser.js").Page} page
 * @param {(sound: Sound) => boolean} isReached
 * @param {string} otherwise
 */
async function becomes(page, isReached, otherwise) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const now = await sound(page);
    if (isReached(now)) return now;
    assert.ok(Date.now() < deadline, `${otherwise}: ${JSON.stringify(now)}`);
    await pass(250);
  }
}

/** @param {import("./browser.js").Page} page @returns {Promise<Sound>} */
function sound(page) {
  return page.evaluate(async () => {
    /** @type {RTCPeerConnection | undefined} */
    const pc = Reflect.get(globalThis, "pc");
    const stats = [...((await pc?.getStats())?.values() ?? [])];
    // A member has slots that nothing comes on.
    const inbound = stats.find(({ type, packetsReceived }) => type === "inbound-rtp" && packetsReceived > 0) ?? {};
    return {
      packets: inbound.packetsReceived ?? 0,
      samples: inbound.totalSamplesReceived ?? 0,
      concealed: inbound.concealedSamples ?? 0,
      repeated: inbound.packetsDiscarded ?? 0,
    };
  });
}

/** Runs in the page: gives it a tone that never stands still, as `tone`. */
function makeTone() {
  const context = new AudioContext();
  const tone = new OscillatorNode(context, { type: "sawtooth", frequency: 220 });
  const wobble = new OscillatorNode(context, { frequency: 3 });
  wobble.connect(new GainNode(context, { gain: 60 })).connect(tone.frequency);
  const output = new MediaStreamAudioDestinationNode(context);
  tone.connect(output);
  tone.start();
  wobble.start();
  const [track] = output.stream.getTracks();
  Object.assign(globalThis, { tone: track });
}

/** Runs in the page: says a tone in a room, every frame of it twice. */
async function speak() {
  const { Room } = await import(/** @type {any} */ ("/assets/client.js"));
  const room = new Room({ redundantAudio: true });
  await room.localParticipant.publish(Reflect.get(globalThis, "tone"), { source: "microphone" });
  await room.connect("/room/sound", "", { name: "Ann" });
}

/**
 * Runs in the page: publishes a tone.
 *
 * @param {{ room: string, codecs: string[] }} wanted Codecs, the best first.
 */
async function publish({ room, codecs }) {
  const pc = new RTCPeerConnection();
  Object.assign(globalThis, { pc });
  const track = Reflect.get(globalThis, "tone");
  const transceiver = pc.addTransceiver(track, { direction: "sendonly" });
  const all = RTCRtpSender.getCapabilities("audio")?.codecs ?? [];
  transceiver.setCodecPreferences(
    codecs.flatMap((name) => all.filter(({ mimeType }) => mimeType.toLowerCase() === `audio/${name}`)),
  );
  await pc.setLocalDescription();
  const headers = { "content-type": "application/sdp" };
  const answer = await fetch(`/whip/${room}`, { method: "POST", headers, body: pc.localDescription?.sdp ?? "" });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
}

/**
 * Runs in the page: plays what is published, aloud, as nothing is decoded otherwise.
 *
 * @param {{ room: string, codecs: string[] }} wanted Codecs, the best first.
 */
async function play({ room, codecs }) {
  const pc = new RTCPeerConnection();
  Object.assign(globalThis, { pc });
  const transceiver = pc.addTransceiver("audio", { direction: "recvonly" });
  const all = RTCRtpReceiver.getCapabilities("audio")?.codecs ?? [];
  transceiver.setCodecPreferences(
    codecs.flatMap((name) => all.filter(({ mimeType }) => mimeType.toLowerCase() === `audio/${name}`)),
  );
  const audio = document.createElement("audio");
  audio.srcObject = new MediaStream([transceiver.receiver.track]);
  void audio.play();
  await pc.setLocalDescription();
  const headers = { "content-type": "application/sdp" };
  const answer = await fetch(`/whep/${room}`, { method: "POST", headers, body: pc.localDescription?.sdp ?? "" });
  await pc.setRemoteDescription({ type: "answer", sdp: await answer.text() });
}
