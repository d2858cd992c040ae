// @roamhq/wrtc: libwebrtc, the engine of Chrome, Safari and Firefox's RTP stack, without a browser around it. It
// encodes and decodes for real; this build has VP8, VP9 and AV1 and no H264.

import wrtc from "@roamhq/wrtc";
import { connected, run, signal, wait } from "./lib/task.mjs";

const WIDTH = 320;
const HEIGHT = 180;
const SAMPLE_RATE = 48_000;

await run("wrtc", { publish, watch });

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function publish(task, report) {
  const peer = new wrtc.RTCPeerConnection();
  const picture = new wrtc.nonstandard.RTCVideoSource();
  const tone = new wrtc.nonstandard.RTCAudioSource();
  const rids = ["l", "m", "h"];
  const sendEncodings = rids.map((rid, index) => ({ rid, scaleResolutionDownBy: 2 ** (2 - index) }));
  peer.addTransceiver(tone.createTrack(), { direction: "sendonly" });
  peer.addTransceiver(picture.createTrack(), { direction: "sendonly", ...(task.simulcast ? { sendEncodings } : {}) });
  const end = await negotiate(peer, task, report);
  let number = 0;
  const frames = setInterval(() => picture.onFrame(movingPicture(number++)), 1000 / 15);
  let sample = 0;
  const samples = setInterval(() => tone.onData(sine((sample += SAMPLE_RATE / 100))), 10);
  await wait(task.seconds);
  clearInterval(frames);
  clearInterval(samples);
  const all = await peer.getStats();
  for (const stats of all.values()) {
    if (stats.type !== "outbound-rtp") continue;
    if (stats.kind === "audio") report.audio.packets += stats.packetsSent;
    if (stats.kind !== "video") continue;
    report.video.packets += stats.packetsSent;
    report.video.frames += stats.framesSent ?? 0;
    report.video.keyframes += stats.keyFramesEncoded ?? 0;
    report.video.width = Math.max(report.video.width ?? 0, stats.frameWidth ?? 0);
    report.video.codec = codecOf(all, stats.codecId);
  }
  peer.close();
  await end();
}

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function watch(task, report) {
  const peer = new wrtc.RTCPeerConnection();
  peer.addTransceiver("audio", { direction: "recvonly" });
  peer.addTransceiver("video", { direction: "recvonly" });
  /** @type {{stop: () => void}[]} */
  const sinks = [];
  peer.ontrack = ({ track }) => {
    if (track.kind !== "video") return;
    const sink = new wrtc.nonstandard.RTCVideoSink(track);
    // Decoded pictures, not packets.
    sink.onframe = (/** @type {{frame: {width: number}}} */ { frame }) => {
      report.video.frames += 1;
      report.video.width = frame.width;
    };
    sinks.push(sink);
  };
  const end = await negotiate(peer, task, report);
  await wait(task.seconds);
  const all = await peer.getStats();
  for (const stats of all.values()) {
    if (stats.type !== "inbound-rtp") continue;
    if (stats.kind === "audio") report.audio.packets = stats.packetsReceived;
    if (stats.kind !== "video") continue;
    report.video.packets = stats.packetsReceived;
    report.video.keyframes = stats.keyFramesDecoded ?? 0;
    report.video.codec = codecOf(all, stats.codecId);
  }
  for (const sink of sinks) sink.stop();
  peer.close();
  await end();
}

/**
 * @param {RTCPeerConnection} peer
 * @param {import("./lib/task.mjs").Task} task
 * @param {import("./lib/task.mjs").Report} report
 */
async function negotiate(peer, task, report) {
  await peer.setLocalDescription(await peer.createOffer());
  const { answer, end } = await signal(task, peer.localDescription?.sdp ?? "");
  await connected(report, (up, failed) => {
    peer.onconnectionstatechange = () => {
      if (peer.connectionState === "connected") up();
      if (peer.connectionState === "failed" || peer.connectionState === "closed") failed(peer.connectionState);
    };
    peer.setRemoteDescription({ type: "answer", sdp: answer }).catch((error) => failed(String(error)));
  });
  return end;
}

/** @param {RTCStatsReport} all @param {string} id */
function codecOf(all, id) {
  return all.get(id)?.mimeType.replace("video/", "").toLowerCase() ?? null;
}

/** A grey ramp that moves, as I420. @param {number} number */
function movingPicture(number) {
  const data = new Uint8Array((WIDTH * HEIGHT * 3) / 2).fill(128);
  for (let y = 0; y < HEIGHT; y += 1) {
    for (let x = 0; x < WIDTH; x += 1) data[y * WIDTH + x] = (x + y + 4 * number) & 0xff;
  }
  return { width: WIDTH, height: HEIGHT, data };
}

/** Ten milliseconds of 440 Hz. @param {number} from sample number */
function sine(from) {
  const samples = new Int16Array(SAMPLE_RATE / 100);
  for (let i = 0; i < samples.length; i += 1) {
    samples[i] = 8000 * Math.sin((2 * Math.PI * 440 * (from + i)) / SAMPLE_RATE);
  }
  return { samples, sampleRate: SAMPLE_RATE, bitsPerSample: 16, channelCount: 1, numberOfFrames: samples.length };
}
