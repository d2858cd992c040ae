// @ts-check
/**
 * A direct connection between the two members of a room, beside the one with the server. Descriptions and candidates
 * travel through the server's signalling. Each path is built while the other still carries the call: `ready` on both
 * sides comes before anything is taken down.
 */

import { encodingsFor, preferCodec, screenEncodings } from "./encodings.js";

/** What may be sent, in the order of the sections. Fixed, so that muting or sharing later needs no new offer. */
const SOURCES = /** @type {const} */ (["microphone", "camera", "screen_share_audio", "screen_share"]);
/** Longest wait for pictures on a new path before the old one is kept. Milliseconds. */
const PATIENCE = 12_000;
/** Pictures, or packets of sound, that have to come in a row before a path counts as flowing. Fewer, and the hiccups of
 * a new stream are seen; more, and the change takes longer. */
const FLOWING = 10;
/** A longer pause starts that row anew. Milliseconds; above the time between pictures of most cameras. */
const HICCUP = 160;
/** By how much that grows for each millisecond it takes: what goes on pausing comes from a slow camera, or to a busy
 * computer, and is no hiccup of the path. */
const TOLERANCE = 0.1;
/** Between looks at whether pictures arrive. */
const LOOK = 40;

/**
 * @typedef {import("./track.js").LocalTrack} LocalTrack
 * @typedef {import("./track.js").RemoteTrack} RemoteTrack
 *
 * @typedef {object} Context
 * @property {string} peer Its sid.
 * @property {number} epoch Which change of path this belongs to.
 * @property {boolean} offerer
 * @property {RTCIceServer[]} iceServers
 * @property {import("./encodings.js").VideoSettings} video
 * @property {import("./encryption.js").Encryption | null} encryption
 * @property {(payload: object) => Promise<unknown>} signal
 */

/** Emits `lost` when an established path broke. */
export class DirectPath extends EventTarget {
  pc;
  /** The peer has said that it receives on this path. */
  peerIsReady = false;
  wasConnected = false;
  #context;
  /** @type {RTCIceCandidateInit[]} That came before the description. */
  #early = [];
  /** @type {Promise<unknown>} Signals are handled one after another. */
  #queue = Promise.resolve();

  /**
   * @param {Context} context
   * @param {LocalTrack[]} published
   */
  constructor(context, published) {
    super();
    this.#context = context;
    this.pc = new RTCPeerConnection({ iceServers: context.iceServers, bundlePolicy: "max-bundle" });
    this.pc.addEventListener("icecandidate", ({ candidate }) => candidate && this.#tell({ candidate }));
    this.pc.addEventListener("connectionstatechange", () => {
      // Disconnected: nothing has come for seconds. It may come back, but the server's path is there now. "failed"
      // comes 10 to 20 seconds later.
      const state = this.pc.connectionState;
      if (state === "failed" || (state === "disconnected" && this.wasConnected)) this.dispatchEvent(new Event("lost"));
      this.wasConnected ||= state === "connected";
    });
    if (context.offerer) this.#inTurn(() => this.#offer(published));
    else this.#published = published;
  }

  get epoch() {
    return this.#context.epoch;
  }

  get peer() {
    return this.#context.peer;
  }

  /** @param {any} payload Of the peer's signal. */
  handle({ description, candidate, ready }) {
    if (ready) {
      this.peerIsReady = true;
      this.dispatchEvent(new Event("ready"));
    }
    if (description) void this.#inTurn(() => this.#describe(description));
    if (candidate) void this.#inTurn(() => this.#addCandidate(candidate));
  }

  /** @returns {Promise<unknown>} */
  sayReady() {
    return this.#tell({ ready: true });
  }

  /**
   * Sends what is published now; called again whenever that changes.
   *
   * @param {LocalTrack[]} published
   */
  async send(published) {
    this.#published = published;
    for (const [index, source] of SOURCES.entries()) {
      const transceiver = this.pc.getTransceivers()[index];
      const local = published.find((one) => one.source === source);
      const track = local && !local.muted ? local.mediaStreamTrack : null;
      if (!transceiver || transceiver.sender.track === track) continue;
      await transceiver.sender.replaceTrack(track);
      if (track?.kind === "video") await this.#limit(transceiver.sender, source, track);
    }
  }

  /** @param {RemoteTrack} track @returns {RTCRtpReceiver | null} Where it comes in, if this path carries its source. */
  receiverOf({ source }) {
    const index = SOURCES.findIndex((one) => one === source);
    return this.pc.getTransceivers()[index]?.receiver ?? null;
  }

  /**
   * @param {RemoteTrack[]} tracks Of the peer.
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} True once media of all of them has arrived here.
   */
  flows(tracks, signal) {
    return allFlow(
      () => (this.pc.connectionState === "connected" ? tracks.map((track) => this.receiverOf(track)) : null),
      signal,
    );
  }

  close() {
    this.pc.close();
  }

  /** @type {LocalTrack[]} */
  #published = [];

  /** @param {LocalTrack[]} published */
  async #offer(published) {
    for (const source of SOURCES) this.#addSection(source);
    await this.send(published);
    await this.pc.setLocalDescription();
    await this.#tell({ description: this.pc.localDescription });
  }

  /** @param {(typeof SOURCES)[number]} source */
  #addSection(source) {
    const kind = source === "microphone" || source === "screen_share_audio" ? "audio" : "video";
    this.#prepare(this.pc.addTransceiver(kind, { direction: "sendrecv" }), kind);
  }

  /**
   * @param {RTCRtpTransceiver} transceiver
   * @param {"audio" | "video"} kind
   */
  #prepare(transceiver, kind) {
    const { encryption, video } = this.#context;
    if (kind === "video") preferCodec(transceiver, video.codec);
    encryption?.protectSender(transceiver.sender, kind);
    encryption?.protectReceiver(transceiver.receiver, kind);
  }

  /** @param {RTCSessionDescriptionInit} description */
  async #describe(description) {
    await this.pc.setRemoteDescription(description);
    for (const candidate of this.#early.splice(0)) await this.pc.addIceCandidate(candidate);
    if (description.type !== "offer") return;
    for (const transceiver of this.pc.getTransceivers()) {
      transceiver.direction = "sendrecv";
      this.#prepare(transceiver, transceiver.receiver.track.kind === "audio" ? "audio" : "video");
    }
    await this.send(this.#published);
    await this.pc.setLocalDescription();
    await this.#tell({ description: this.pc.localDescription });
  }

  /** @param {RTCIceCandidateInit} candidate */
  async #addCandidate(candidate) {
    if (this.pc.remoteDescription) await this.pc.addIceCandidate(candidate);
    else this.#early.push(candidate);
  }

  /**
   * @param {RTCRtpSender} sender
   * @param {(typeof SOURCES)[number]} source
   * @param {MediaStreamTrack} track
   */
  async #limit(sender, source, track) {
    const settings = { ...this.#context.video, simulcast: false };
    const [wanted] = source === "screen_share" ? screenEncodings(track, settings) : encodingsFor(track, settings);
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings) encoding.maxBitrate = wanted?.maxBitrate;
    await sender.setParameters(parameters);
  }

  /** @param {object} payload */
  #tell(payload) {
    // A signal that is lost with the socket ends in the wait for media, which keeps the old path.
    return this.#context.signal({ p2p: this.#context.epoch, ...payload }).catch(() => {});
  }

  /** @param {() => Promise<void>} step */
  #inTurn(step) {
    this.#queue = this.#queue.then(step).catch((problem) => {
      if (this.pc.connectionState !== "closed") console.info("the direct path cannot be built:", problem);
    });
    return this.#queue;
  }
}

/**
 * @param {() => (RTCRtpReceiver | null)[] | null} receivers Null: not yet connected.
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} True once each flows without hiccups; false when that took too long.
 */
export async function allFlow(receivers, signal) {
  const begin = performance.now();
  /** @type {Map<RTCRtpReceiver, Row>} */
  const rows = new Map();
  while (performance.now() < begin + PATIENCE && !signal.aborted) {
    const all = receivers();
    const hiccup = HICCUP + TOLERANCE * (performance.now() - begin);
    const flowing = await Promise.all((all ?? []).map((receiver) => receiver && goesOn(receiver, rows, hiccup)));
    if (all && flowing.every(Boolean)) return true;
    await new Promise((resolve) => setTimeout(resolve, LOOK));
  }
  return false;
}

/**
 * @typedef {object} Row What came without a hiccup.
 * @property {number} start The count at its beginning.
 * @property {number} count
 * @property {number} at When the count rose last.
 */

/**
 * @param {RTCRtpReceiver} receiver
 * @param {Map<RTCRtpReceiver, Row>} rows
 * @param {number} hiccup
 */
async function goesOn(receiver, rows, hiccup) {
  const count = await decoded(receiver);
  const now = performance.now();
  const row = rows.get(receiver) ?? { start: count, count, at: now };
  if (now - row.at > hiccup) row.start = count;
  if (count !== row.count) Object.assign(row, { count, at: now });
  rows.set(receiver, row);
  return count - row.start >= FLOWING;
}

/** @param {RTCRtpReceiver} receiver @returns {Promise<number>} Frames, or packets of sound. */
async function decoded(receiver) {
  let count = 0;
  (await receiver.getStats()).forEach((entry) => {
    if (entry.type === "inbound-rtp") count += entry.framesDecoded ?? entry.packetsReceived ?? 0;
  });
  return count;
}
