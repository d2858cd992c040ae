// @ts-check
/** One stream to or from the server, over the candidates a test allows. */

import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";
import { PATIENCE } from "./browser.js";

/**
 * @typedef {{ policy: RTCIceTransportPolicy, url: string, candidates: string }} Path `url`: ending of the TURN servers
 *   that may be used; empty for all that WHIP and WHEP tell. `candidates`: what the server's must contain to be used.
 */

/**
 * @typedef {{ local: string, relayProtocol: string | undefined, protocol: string, address: string | undefined }} Pair
 *   The local candidate in use; a relayed one with how the relay is reached.
 */

/** Publishes a moving picture. @param {import("./browser.js").Page} page @param {string} room @param {Path} path */
export function publish(page, room, path) {
  return page.evaluate(connect, { url: `/whip/${room}`, send: true, path });
}

/** Plays; see `decodes`. @param {import("./browser.js").Page} page @param {string} room @param {Path} path */
export function play(page, room, path) {
  return page.evaluate(connect, { url: `/whep/${room}`, send: false, path });
}

/** The pair in use now. @param {import("./browser.js").Page} page @returns {Promise<Pair>} */
export function pairOf(page) {
  return page.evaluate(() => Reflect.get(globalThis, "pair")());
}

/** Waits until some more pictures were decoded. @param {import("./browser.js").Page} page */
export async function decodes(page) {
  /** @type {() => Promise<number>} */
  const frames = () => page.evaluate(() => Reflect.get(globalThis, "decoded")());
  const wanted = (await frames()) + 15;
  const deadline = Date.now() + PATIENCE;
  while ((await frames()) < wanted) {
    assert.ok(Date.now() < deadline, `no picture: ${await frames()} decoded, of ${wanted}`);
    await pass(100);
  }
}

/**
 * Runs in the page: publishes or plays, and tells which candidate pair is used.
 *
 * @param {{ url: string, send: boolean, path: Path }} wanted
 * @returns {Promise<Pair>}
 */
async function connect({ url, send, path }) {
  const told = async () => {
    const link = (await fetch(url, { method: "OPTIONS" })).headers.get("link") ?? "";
    const relays = [...link.matchAll(/<(turns?:[^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"/g)];
    return relays.map(([, urls = "", username, credential]) => ({ urls, username, credential }));
  };
  const chosen = async () => {
    /** @type {{ ice_servers: RTCIceServer[] }} */
    const hello = await (await fetch("/api/v1/hello")).json();
    const all = hello.ice_servers.flatMap((server) => [server.urls].flat().map((urls) => ({ ...server, urls })));
    return all.filter(({ urls }) => urls.startsWith("turn") && urls.endsWith(path.url));
  };
  const iceServers = await (path.url === "" ? told() : chosen());
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
  const pair = async () => {
    const stats = [...(await connection.getStats()).values()];
    const transport = stats.find(({ type }) => type === "transport");
    const used = stats.find(({ id }) => id === transport?.selectedCandidatePairId);
    const local = stats.find(({ id }) => id === used?.localCandidateId);
    const { candidateType, relayProtocol, protocol, address } = local ?? {};
    return { local: candidateType, relayProtocol, protocol, address };
  };
  const decoded = async () => {
    const inbound = [...(await connection.getStats()).values()].find(({ type }) => type === "inbound-rtp");
    return inbound?.framesDecoded ?? 0;
  };
  Object.assign(globalThis, { decoded, pair });
  return pair();
}
