// Chromium as a viewer, without our pages: the decoder most viewers have. tests/browser publishes from it.

import { chromium } from "playwright-core";
import { run } from "./lib/task.mjs";

await run("chromium", { publish: () => Promise.reject(new Error("tests/browser publishes")), watch });

/** @param {import("./lib/task.mjs").Task} task @param {import("./lib/task.mjs").Report} report */
async function watch(task, report) {
  const browser = await chromium.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
  });
  try {
    const page = await browser.newPage();
    await page.goto(new URL("/", task.url).href);
    const seen = await page.evaluate(play, task);
    Object.assign(report, { connected: seen.connected, connect_ms: seen.connect_ms });
    report.audio.packets = seen.audio?.packetsReceived ?? 0;
    report.video.packets = seen.video?.packetsReceived ?? 0;
    report.video.frames = seen.video?.framesDecoded ?? 0;
    report.video.keyframes = seen.video?.keyFramesDecoded ?? 0;
    report.video.width = seen.video?.frameWidth ?? null;
    report.video.codec = seen.codec?.replace("video/", "").toLowerCase() ?? null;
  } finally {
    await browser.close();
  }
}

/**
 * Runs inside the page: plays, waits, and gives back what getStats says.
 * @param {import("./lib/task.mjs").Task} task
 */
async function play(task) {
  /** @type {Record<string, string>} */
  const authorization = task.token ? { Authorization: `Bearer ${task.token}` } : {};
  const started = performance.now();
  const peer = new RTCPeerConnection();
  peer.addTransceiver("audio", { direction: "recvonly" });
  peer.addTransceiver("video", { direction: "recvonly" });
  await peer.setLocalDescription();
  const headers = { ...authorization, "Content-Type": "application/sdp" };
  const response = await fetch(task.url, { method: "POST", headers, body: peer.localDescription?.sdp });
  if (response.status !== 201) throw new Error(`POST ${task.url}: ${response.status} ${await response.text()}`);
  await peer.setRemoteDescription({ type: "answer", sdp: await response.text() });
  await new Promise((resolve) => {
    peer.onconnectionstatechange = () => peer.connectionState !== "connecting" && resolve(undefined);
    setTimeout(resolve, 30_000);
  });
  const connected = peer.connectionState === "connected";
  const connect_ms = Math.round(performance.now() - started);
  if (connected) await new Promise((resolve) => setTimeout(resolve, task.seconds * 1000));
  /** @type {any[]} */
  const stats = [...(await peer.getStats()).values()];
  const inbound = (/** @type {string} */ kind) => stats.find((one) => one.type === "inbound-rtp" && one.kind === kind);
  const video = inbound("video");
  const codec = stats.find((one) => one.id === video?.codecId)?.mimeType;
  peer.close();
  await fetch(response.headers.get("Location") ?? "", { method: "DELETE", headers: authorization });
  return { connected, connect_ms, audio: inbound("audio"), video, codec };
}
