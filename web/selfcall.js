// @ts-check
/**
 * A call of the browser to itself through the server, over one way only: it publishes a small moving picture by WHIP,
 * plays it by WHEP, and measures. Knows no page.
 */

import { request } from "./api.js";

/** Longest wait for a connection, and how long is measured, in milliseconds. Larger: slow paths pass, pages wait. */
const CONNECT = 8_000;
const MEASURE = 2_000;

/**
 * One way to the server.
 *
 * @typedef {object} Way
 * @property {"all" | "relay"} policy `relay`: only through the server's TURN service.
 * @property {string} relay What the URLs of its TURN servers contain; empty for none.
 * @property {string} candidates What a candidate of the server must contain to be used.
 * @property {4 | 6} [family] Of its addresses; any if not given.
 */

/** The server has no candidate for this way. */
export class NotOffered extends Error {}

/**
 * @typedef {object} Measured
 * @property {number} rtt Round trip in milliseconds.
 * @property {number} loss Fraction of packets lost.
 * @property {string} local This browser's address as the connection uses it.
 */

/**
 * @param {Way} way
 * @param {{ iceServers: RTCIceServer[], token: string, room: string }} setting `iceServers`: those of the way.
 * @returns {Promise<Measured>}
 * @throws {NotOffered}
 * @throws {Error} It did not connect.
 */
export async function callOneself(way, { iceServers, token, room }) {
  const configuration = { iceServers, iceTransportPolicy: way.policy };
  const [sender, receiver] = [new RTCPeerConnection(configuration), new RTCPeerConnection(configuration)];
  const stopPicture = addMovingPicture(sender);
  receiver.addTransceiver("video", { direction: "recvonly" });
  /** @type {string[]} */
  const sessions = [];
  try {
    await negotiate(sender, `/whip/${room}`, { token, way, sessions });
    await negotiate(receiver, `/whep/${room}`, { token, way, sessions });
    await Promise.all([connected(sender), connected(receiver)]);
    await new Promise((resolve) => setTimeout(resolve, MEASURE));
    return await measure(sender, receiver);
  } finally {
    stopPicture();
    for (const url of sessions) void request(url, { method: "DELETE", token }).catch(() => {});
    sender.close();
    receiver.close();
  }
}

/** @param {RTCPeerConnection} connection */
function addMovingPicture(connection) {
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d");
  const timer = setInterval(() => {
    if (!context) return;
    context.fillStyle = `hsl(${Math.random() * 360} 60% 50%)`;
    context.fillRect(Math.random() * 300, Math.random() * 150, 40, 40);
  }, 50);
  const stream = canvas.captureStream(20);
  const [track = "video"] = stream.getTracks();
  connection.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  return () => {
    clearInterval(timer);
    stream.getTracks().forEach((track) => track.stop());
  };
}

/**
 * @param {RTCPeerConnection} connection
 * @param {string} url
 * @param {{ token: string, way: Way, sessions: string[] }} setting `sessions`: gets the session's URL.
 */
async function negotiate(connection, url, { token, way, sessions }) {
  await connection.setLocalDescription();
  const body = connection.localDescription?.sdp ?? "";
  const response = await request(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body, token });
  sessions.push(response.headers.get("Location") ?? "");
  const lines = (await response.text()).split("\r\n");
  const isCandidate = (/** @type {string} */ line) => line.startsWith("a=candidate");
  const kept = lines.filter((line) => !isCandidate(line) || serves(way, line));
  if (!kept.some(isCandidate)) throw new NotOffered();
  await connection.setRemoteDescription({ type: "answer", sdp: kept.join("\r\n") });
}

/** Whether a candidate of the server belongs to a way. @param {Way} way @param {string} line */
function serves(way, line) {
  const [, , , , address = ""] = line.split(" ");
  const family = address.includes(":") ? 6 : 4;
  return line.includes(way.candidates) && (way.family ?? family) === family;
}

/** @param {RTCPeerConnection} connection @returns {Promise<void>} */
function connected(connection) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("no connection came about")), CONNECT);
    const look = () => {
      if (connection.connectionState !== "connected") return;
      clearTimeout(timer);
      resolve();
    };
    connection.addEventListener("connectionstatechange", look);
    look();
  });
}

/**
 * @param {RTCPeerConnection} sender
 * @param {RTCPeerConnection} receiver
 * @returns {Promise<Measured>}
 */
async function measure(sender, receiver) {
  const sent = [...(await sender.getStats()).values()];
  const received = [...(await receiver.getStats()).values()];
  const transport = sent.find(({ type }) => type === "transport");
  const pair = sent.find(({ id }) => id === transport?.selectedCandidatePairId);
  const local = sent.find(({ id }) => id === pair?.localCandidateId);
  const inbound = received.find(({ type }) => type === "inbound-rtp");
  const packets = inbound?.packetsReceived ?? 0;
  if (packets === 0) throw new Error("it connected, but no picture came back");
  const lost = Math.max(inbound?.packetsLost ?? 0, 0);
  return {
    rtt: (pair?.currentRoundTripTime ?? 0) * 1000,
    loss: lost / (packets + lost),
    local: local ? `${local.address ?? "a hidden address"} (${local.candidateType}, ${local.protocol})` : "unknown",
  };
}
