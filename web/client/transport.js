// @ts-check
/**
 * The peer connection with the server: one's own senders, a fixed pool of receiving slots, and the offers that
 * describe them. The client always offers, one offer at a time; room.js carries them to the server.
 */

import {
  acceptLayers,
  encodingsFor,
  preferCodec,
  preferRepetition,
  repairSingleEncoding,
  roomCodecs,
  screenEncodings,
  topBitrate,
} from "./encodings.js";
import { RoomError } from "./errors.js";
import { LABEL } from "./messages.js";
import { LABEL as RELIABLE, ReliableChannel } from "./reliable.js";

/** Longer leaves a broken picture standing; shorter restarts ICE on a hiccup that would have passed. Milliseconds. */
const DISCONNECTED_PATIENCE = 3_000;
/** Speech is transparent at this; music in a meeting is rare. */
const AUDIO_BITRATE = 48_000;

/**
 * @typedef {import("./track.js").LocalTrack} LocalTrack
 *
 * @typedef {object} Settings
 * @property {number} videoSlots
 * @property {number} audioSlots
 * @property {boolean} redundantAudio
 * @property {import("./encodings.js").VideoSettings} video
 *
 * @typedef {object} Slot
 * @property {"audio" | "video"} kind
 * @property {RTCRtpTransceiver} transceiver
 *
 * @typedef {object} Offer
 * @property {RTCSessionDescriptionInit} description
 * @property {import("../signalling.js").OwnTrack[]} tracks
 * @property {LocalTrack[]} published In the order of `tracks`.
 */

/**
 * Emits `trouble` when the media path broke and an ICE restart may mend it, `connected` when media can flow, `data` (a
 * MessageEvent) for what comes over the data channel for what need not be complete.
 */
export class Transport extends EventTarget {
  pc;
  /** For messages of which newer ones are worth more than all. */
  channel;
  /** For messages that are all to arrive. */
  reliable;
  /** @type {Slot[]} */
  slots = [];
  #settings;
  /** @type {import("./encryption.js").Encryption | null} */
  #encryption;
  /** @type {RTCRtpTransceiver[]} Senders without a track, to be used again: descriptions must not grow for ever. */
  #spare = [];
  /** @type {Set<LocalTrack>} */
  #senders = new Set();
  /** What is sent was changed since the latest offer was made. */
  needsOffer = false;
  #sending = true;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patience;
  #closing = new AbortController();

  /**
   * @param {Settings} settings
   * @param {import("./encryption.js").Encryption | null} encryption
   */
  constructor(settings, encryption) {
    super();
    this.#settings = settings;
    this.#encryption = encryption;
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc.addEventListener("connectionstatechange", () => this.#look());
    this.channel = this.pc.createDataChannel(LABEL, { ordered: false, maxRetransmits: 0 });
    this.channel.binaryType = "arraybuffer";
    this.channel.addEventListener("message", ({ data }) => this.dispatchEvent(new MessageEvent("data", { data })));
    this.reliable = new ReliableChannel(this.pc.createDataChannel(RELIABLE));
    for (let count = 0; count < settings.audioSlots; count++) this.#addSlot("audio");
    for (let count = 0; count < settings.videoSlots; count++) this.#addSlot("video");
    for (const kind of /** @type {const} */ (["audio", "video"])) {
      // A connection keeps the formats of its first offer, and something of this kind may be published later.
      if (!this.slots.some((slot) => slot.kind === kind)) this.#name(kind);
    }
  }

  get isConnected() {
    return this.pc.connectionState === "connected";
  }

  /** @param {LocalTrack} local */
  async add(local) {
    if (this.#senders.has(local)) return;
    this.#senders.add(local);
    this.needsOffer = true;
    const track = local.mediaStreamTrack;
    // A closed camera has no size: what it was published with is right when it opens again.
    if (track) local._encodings = this.#encodingsOf(local, track);
    const sendEncodings = local._encodings;
    const spare = this.#takeSpare(local, sendEncodings.length);
    if (spare) {
      local._transceiver = spare;
      spare.direction = "sendonly";
      await spare.sender.replaceTrack(track);
    } else {
      const streams = [local.stream];
      local._transceiver = this.pc.addTransceiver(track ?? local.kind, {
        direction: "sendonly",
        streams,
        sendEncodings,
      });
      if (local.kind === "video") preferCodec(local._transceiver, this.#settings.video.codec);
      else if (this.#settings.redundantAudio && !this.#encryption) preferRepetition(local._transceiver);
      this.#encryption?.protectSender(local._transceiver.sender, local.kind);
    }
  }

  /** @param {LocalTrack} local */
  async remove(local) {
    const transceiver = local._transceiver;
    if (!this.#senders.delete(local) || !transceiver) return;
    this.needsOffer = true;
    local._transceiver = null;
    transceiver.direction = "inactive";
    this.#spare.push(transceiver);
    await transceiver.sender.replaceTrack(null);
  }

  /**
   * @param {{ restart?: boolean }} [options] `restart`: with new ICE credentials.
   * @returns {Promise<Offer>} To be taken to the server, and `accept`ed with its answer.
   * @throws {RoomError} `closed`, when it is closed meanwhile.
   */
  async offer({ restart = false } = {}) {
    this.needsOffer = false;
    const description = await this.#whileOpen(this.pc.createOffer({ iceRestart: restart }));
    const mids = midsOf(description.sdp ?? "");
    const places = this.pc.getTransceivers();
    const midOf = (/** @type {LocalTrack} */ { _transceiver }) =>
      mids[places.findIndex((place) => place === _transceiver)] ?? "";
    // What was added while the offer was made may not be in it.
    const published = [...this.#senders].filter((local) => midOf(local) !== "");
    const tracks = published.map((local) => ({
      mid: midOf(local),
      source: local.source,
      name: local.name,
      muted: local.muted,
      encrypted: this.#encryption !== null,
    }));
    return { description, tracks, published };
  }

  /**
   * @param {Offer} offer
   * @param {string} answer SDP.
   * @throws {RoomError} `closed`, when it is closed meanwhile.
   */
  async accept({ description, published }, answer) {
    // Gathering starts here and not before: the answer came with the ICE servers.
    await this.#whileOpen(this.pc.setLocalDescription(description));
    await this.#whileOpen(this.pc.setRemoteDescription({ type: "answer", sdp: answer }));
    for (const local of published) {
      const { kind, mediaStreamTrack: track, _transceiver } = local;
      if (kind !== "video" || !track || !_transceiver) continue;
      await repairSingleEncoding(_transceiver.sender, topBitrate(track, this.#settings.video));
      await this.#applyWanted(local);
    }
  }

  /** @param {import("../signalling.js").IceServer[]} servers */
  useIceServers(servers) {
    const iceServers = servers.filter(({ peersOnly }) => !peersOnly);
    if (iceServers.length > 0) this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers });
  }

  /** @param {string} mid @returns {RTCRtpReceiver | null} */
  receiverOf(mid) {
    return this.slots.find(({ transceiver }) => transceiver.mid === mid)?.transceiver.receiver ?? null;
  }

  /**
   * Stops encoding what nobody watches.
   *
   * @param {LocalTrack} local
   * @param {import("../signalling.js").LayerWish[]} wanted
   */
  async setWanted(local, wanted) {
    local._wanted = new Map(wanted.map(({ rid, ...rest }) => [rid, rest]));
    await this.#applyWanted(local);
  }

  /** @param {boolean} sending False: media runs elsewhere, and the connection stays only to be come back to. */
  async setSending(sending) {
    this.#sending = sending;
    for (const local of this.#senders) await this.#applyWanted(local);
  }

  close() {
    clearTimeout(this.#patience);
    this.reliable.close();
    this.pc.close();
    this.#closing.abort(new RoomError("closed", "The connection was closed meanwhile."));
  }

  /**
   * What a peer connection has under way when it is closed settles never (WebRTC section 4.4.1.2), and who waited for
   * it would do so for good.
   *
   * @template T
   * @param {Promise<T>} step
   * @returns {Promise<T>}
   */
  #whileOpen(step) {
    const { signal } = this.#closing;
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
      step.then(resolve, reject);
      if (signal.aborted) reject(signal.reason);
    });
  }

  /** @param {"audio" | "video"} kind */
  #addSlot(kind) {
    const transceiver = this.pc.addTransceiver(kind, { direction: "recvonly" });
    transceiver.setCodecPreferences(roomCodecs(kind, this.#encryption !== null));
    if (kind === "video") acceptLayers(transceiver);
    this.slots.push({ kind, transceiver });
    this.#encryption?.protectReceiver(transceiver.receiver, kind);
  }

  /** Names the formats of a kind, without receiving any of it. @param {"audio" | "video"} kind */
  #name(kind) {
    const transceiver = this.pc.addTransceiver(kind, { direction: "inactive" });
    transceiver.setCodecPreferences(roomCodecs(kind, this.#encryption !== null));
  }

  /**
   * @param {LocalTrack} local
   * @param {MediaStreamTrack} track
   */
  #encodingsOf({ kind, source }, track) {
    if (kind === "audio") return [{ maxBitrate: AUDIO_BITRATE }];
    const { video } = this.#settings;
    return source === "screen_share" ? screenEncodings(track, video) : encodingsFor(track, video);
  }

  /**
   * @param {LocalTrack} local
   * @param {number} encodings
   */
  #takeSpare({ kind }, encodings) {
    const fits = this.#spare.findIndex(
      ({ sender, receiver }) => receiver.track.kind === kind && sender.getParameters().encodings.length === encodings,
    );
    return fits < 0 ? null : (this.#spare.splice(fits, 1)[0] ?? null);
  }

  /** @param {LocalTrack} local */
  async #applyWanted({ _transceiver, _wanted }) {
    const sender = _transceiver?.sender;
    const parameters = sender?.getParameters();
    if (!sender || !parameters?.encodings.length) return;
    const [only] = _wanted.values();
    for (const encoding of parameters.encodings) {
      const wanted = parameters.encodings.length === 1 ? only : _wanted.get(encoding.rid ?? "");
      encoding.active = this.#sending && (wanted?.active ?? true);
      if (wanted?.maxFps) encoding.maxFramerate = wanted.maxFps;
      else delete encoding.maxFramerate;
    }
    await sender.setParameters(parameters);
  }

  #look() {
    clearTimeout(this.#patience);
    const state = this.pc.connectionState;
    const trouble = () => this.dispatchEvent(new Event("trouble"));
    if (state === "connected") this.dispatchEvent(new Event("connected"));
    if (state === "failed") trouble();
    if (state === "disconnected") this.#patience = setTimeout(trouble, DISCONNECTED_PATIENCE);
  }
}

/**
 * @param {string} sdp An offer of this browser.
 * @returns {string[]} The mids of its audio and video sections. Their order is that of the transceivers.
 */
export function midsOf(sdp) {
  return sdp
    .split(/\r?\n(?=m=)/)
    .filter((section) => /^m=(audio|video)/.test(section))
    .map((section) => /^a=mid:(.*?)\r?$/m.exec(section)?.[1] ?? "");
}
