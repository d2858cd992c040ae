// @ts-check
/** Publishing and watching through the server's own relay and over TCP: what is left when a network lets no UDP out. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pass } from "node:timers/promises";
import { close, launch, open, PATIENCE } from "./browser.js";
import { Server } from "./server.js";

/**
 * @typedef {{ policy: RTCIceTransportPolicy, url: string, candidates: string }} Path `url`: ending of the TURN servers
 *   that may be used. `candidates`: what the server's candidates must contain to be used.
 */

/** @type {{ name: string, path: Path, kind: string, relay?: string, protocol?: string }[]} */
const PATHS = [
  {
    name: "TURN over UDP",
    path: { policy: "relay", url: "transport=udp", candidates: "udp" },
    kind: "relay",
    relay: "udp",
  },
  {
    name: "TURN over TCP",
    path: { policy: "relay", url: "transport=tcp", candidates: "udp" },
    kind: "relay",
    relay: "tcp",
  },
  {
    name: "ICE over TCP",
    path: { policy: "all", url: "none", candidates: "tcptype passive" },
    kind: "",
    protocol: "tcp",
  },
];

/** Bytes that are more than handshakes and checks take. */
const ENOUGH = 10_000;

describe("a stream without a direct path", { timeout: 6 * PATIENCE }, () => {
  /** @type {Server} */
  let server;
  /** @type {import("playwright-core").Browser} */
  let browser;

  before(async () => {
    server = await Server.start(["--set", "media.loopback=always"]);
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  for (const { name, path, kind, relay, protocol } of PATHS) {
    test(`is published and seen over ${name}`, async () => {
      const room = name.toLowerCase().replaceAll(" ", "-");
      const before = await relayed(server);
      const publisher = await open(browser, `${server.url}/`);
      const viewer = await open(browser, `${server.url}/`);
      const sent = await publisher.evaluate(connect, { url: `/whip/${room}`, send: true, path });
      const seen = await viewer.evaluate(connect, { url: `/whep/${room}`, send: false, path });
      for (const pair of [sent, seen]) {
        if (kind) assert.equal(pair.local, kind, JSON.stringify(pair));
        if (relay) assert.equal(pair.relayProtocol, relay, JSON.stringify(pair));
        if (protocol) assert.equal(pair.protocol, protocol, JSON.stringify(pair));
      }
      const decodes = () => Reflect.get(globalThis, "decodes")();
      await viewer.waitForFunction(decodes, undefined, { timeout: PATIENCE });
      if (relay) await carries(server, before + ENOUGH);
      await close(publisher, viewer);
    });
  }
});

/** Media has gone through the server's allocations. @param {Server} server @param {number} bytes */
async function carries(server, bytes) {
  const deadline = Date.now() + PATIENCE;
  while ((await relayed(server)) < bytes) {
    assert.ok(Date.now() < deadline, `${await relayed(server)} bytes went through the relay, of ${bytes}`);
    await pass(100);
  }
}

/** Bytes that went through the server's allocations, both ways. @param {Server} server */
async function relayed(server) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const counters = [...text.matchAll(/^crosspoint_turn_bytes_\w+_clients_total (\d+)/gm)];
  return counters.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

/**
 * Runs in the page: publishes or plays, and tells which candidate pair is used.
 *
 * @param {{ url: string, send: boolean, path: Path }} wanted
 */
async function connect({ url, send, path }) {
  const offered = (await fetch(url, { method: "OPTIONS" })).headers.get("link") ?? "";
  const relays = [...offered.matchAll(/<(turn:[^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"/g)];
  const iceServers = relays
    .map(([, urls = "", username, credential]) => ({ urls, username, credential }))
    .filter((server) => server.urls.endsWith(path.url));
  const connection = new RTCPeerConnection({ iceServers, iceTransportPolicy: path.policy });
  if (send) {
    const canvas = document.createElement("canvas");
    const context = canvas.getContext("2d");
    setInterval(() => context?.fillRect(Math.random() * 300, Math.random() * 150, 9, 9), 50);
    const [track = "video"] = canvas.captureStream(20).getTracks();
    connection.addTransceiver(track, { direction: "sendonly" });
  } else {
    connection.addTransceiver("video", { direction: "recvonly" });
  }
  await connection.setLocalDescription();
  const response = await fetch(url, {
    method: "POST",
    headers: { "content-type": "application/sdp" },
    body: connection.localDescription?.sdp ?? "",
  });
  const usable = (/** @type {string} */ line) => !line.startsWith("a=candidate") || line.includes(path.candidates);
  const sdp = (await response.text()).split("\r\n").filter(usable).join("\r\n");
  const session = response.headers.get("location") ?? "";
  connection.onicecandidate = ({ candidate }) => {
    if (!candidate?.candidate) return;
    const sdp = connection.localDescription?.sdp ?? "";
    const [ufrag] = sdp.match(/a=ice-ufrag:.*/) ?? [""];
    const [pwd] = sdp.match(/a=ice-pwd:.*/) ?? [""];
    void fetch(session, {
      method: "PATCH",
      headers: { "content-type": "application/trickle-ice-sdpfrag", "if-match": "*" },
      body: `${ufrag}\r\n${pwd}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=${candidate.candidate}\r\n`,
    });
  };
  await connection.setRemoteDescription({ type: "answer", sdp });
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`not connected but ${connection.connectionState}; ${sdp}`)), 20_000);
    connection.onconnectionstatechange = () => connection.connectionState === "connected" && resolve(null);
  });
  const stats = [...(await connection.getStats()).values()];
  const transport = stats.find(({ type }) => type === "transport");
  const pair = stats.find(({ id }) => id === transport?.selectedCandidatePairId);
  const local = stats.find(({ id }) => id === pair?.localCandidateId);
  const decodes = async () => {
    const inbound = [...(await connection.getStats()).values()].find(({ type }) => type === "inbound-rtp");
    return (inbound?.framesDecoded ?? 0) >= 15;
  };
  Object.assign(globalThis, { decodes });
  return { local: local?.candidateType, relayProtocol: local?.relayProtocol, protocol: local?.protocol };
}
