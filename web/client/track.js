// @ts-check
/** Tracks of a room: those that others publish, and one's own. What carries them is transport.js and direct.js. */

import { Sampler } from "../stats.js";

/**
 * @typedef {import("../signalling.js").TrackSource} Source
 * @typedef {import("../signalling.js").TrackInfo} TrackInfo
 *
 * @typedef {"opened" | "plain" | "refused"} Sealed What became of encrypted frames: `plain` were not encrypted,
 *   `refused` were with another key.
 *
 * @typedef {object} Wish What a listener would like of a track; sizes follow from the elements by themselves.
 * @property {number} [priority] 0 to 100, 50 when absent: who gets bandwidth first.
 * @property {boolean} [pinned] Keeps a slot whoever speaks.
 * @property {boolean} [paused] Not wanted now.
 * @property {number} [fps] At most so many frames a second.
 */

/**
 * What another participant publishes. It has media while the server binds one of this client's slots to it.
 *
 * Events: `change` (muted, size, media came or went).
 */
export class RemoteTrack extends EventTarget {
  /** Stable over the track's life: its media comes and goes inside. */
  stream = new MediaStream();
  #reason = "";
  /** @type {Sealed | ""} Empty while nothing is known, or this room is not encrypted. */
  sealed = "";
  /** @type {Wish} */
  wish = {};
  /** @type {Set<HTMLVideoElement>} */
  elements = new Set();
  /** @type {RTCRtpReceiver | null} The slot it is bound to. */
  #slot = null;
  /** @type {RTCRtpReceiver | null} Where it comes in on a direct path, which then wins. */
  #direct = null;
  #sampler = new Sampler();
  /** @type {(track: RemoteTrack) => void} */
  #wishChanged;

  /**
   * @internal
   * @param {TrackInfo} info
   * @param {import("./participant.js").Participant} participant
   * @param {(track: RemoteTrack) => void} wishChanged
   */
  constructor(info, participant, wishChanged) {
    super();
    /** @type {TrackInfo} */
    this.info = info;
    this.participant = participant;
    this.#wishChanged = wishChanged;
  }

  get sid() {
    return this.info.sid;
  }

  get kind() {
    return this.info.kind;
  }

  get source() {
    return this.info.source;
  }

  get muted() {
    return this.info.muted;
  }

  /** Why there is no media now, in the server's word: "paused", "no_bandwidth", ...; empty while there is. */
  get reason() {
    return this.#direct ? "" : this.#reason;
  }

  get encrypted() {
    return this.info.encrypted;
  }

  /** @returns {RTCRtpReceiver | null} Null while no media comes. */
  get receiver() {
    return this.#direct ?? this.#slot;
  }

  /** Whether media can be had from it now. */
  get isBound() {
    return this.receiver !== null;
  }

  /**
   * Shows it in an element. The element's size and visibility on the page decide how large a picture is asked for.
   *
   * @param {HTMLVideoElement} element
   */
  attach(element) {
    if (element.srcObject !== this.stream) element.srcObject = this.stream;
    this.elements.add(element);
    this.#wishChanged(this);
  }

  /** @param {HTMLVideoElement} [element] Absent: from all. */
  detach(element) {
    for (const one of element ? [element] : [...this.elements]) {
      if (one.srcObject === this.stream) one.srcObject = null;
      this.elements.delete(one);
    }
    this.#wishChanged(this);
  }

  /** @param {Wish} wish Replaces the former. */
  setWish(wish) {
    this.wish = wish;
    this.#wishChanged(this);
  }

  /** @returns {Promise<import("../stats.js").Figures | null>} Rates since the last call; null without media. */
  async stats() {
    const { receiver } = this;
    return receiver && this.#sampler.sample(receiver);
  }

  /** @internal @param {TrackInfo} info */
  _update(info) {
    this.info = info;
    this.dispatchEvent(new Event("change"));
  }

  /** @internal @param {RTCRtpReceiver | null} receiver @param {string} [reason] */
  _bind(receiver, reason = "") {
    const changed = receiver !== this.#slot || reason !== this.#reason;
    this.#slot = receiver;
    this.#reason = reason;
    if (changed) this.#refill();
  }

  /** @internal @param {RTCRtpReceiver | null} receiver Of a direct path; null gives way to the slot. */
  _carry(receiver) {
    if (receiver === this.#direct) return;
    this.#direct = receiver;
    this.#refill();
  }

  /** @internal @returns {RTCRtpReceiver | null} */
  get _slot() {
    return this.#slot;
  }

  /** The new medium goes in before the old one leaves, so that an element never runs dry. */
  #refill() {
    const fresh = this.receiver?.track;
    const old = this.stream.getTracks().filter((track) => track !== fresh);
    if (fresh) this.stream.addTrack(fresh);
    for (const track of old) this.stream.removeTrack(track);
    this.dispatchEvent(new Event("change"));
  }
}

/** What one publishes oneself. */
export class LocalTrack {
  /** Given by the server once it is published; empty before. */
  sid = "";
  muted = false;
  /** @type {RTCRtpTransceiver | null} */
  _transceiver = null;
  /** @type {RTCRtpEncodingParameters[]} */
  _encodings = [];
  /** @type {Map<string, { active: boolean, maxFps?: number }>} What subscribers want of each encoding, by rid. */
  _wanted = new Map();
  #sampler = new Sampler();

  /**
   * @internal
   * @param {MediaStreamTrack} mediaStreamTrack
   * @param {Source} source
   * @param {string} name
   */
  constructor(mediaStreamTrack, source, name) {
    /** @type {MediaStreamTrack | null} Null while a muted camera is closed. */
    this.mediaStreamTrack = mediaStreamTrack;
    this.kind = /** @type {"audio" | "video"} */ (mediaStreamTrack.kind);
    this.source = source;
    this.name = name;
    /** Its own, so that one's picture can be shown. */
    this.stream = new MediaStream([mediaStreamTrack]);
  }

  /** @returns {Promise<import("../stats.js").Figures | null>} Rates since the last call; null before it is sent. */
  async stats() {
    return this._transceiver && this.#sampler.sample(this._transceiver.sender);
  }

  /** @internal @param {MediaStreamTrack | null} fresh */
  _replace(fresh) {
    for (const track of this.stream.getTracks()) this.stream.removeTrack(track);
    if (fresh) this.stream.addTrack(fresh);
    this.mediaStreamTrack = fresh;
  }
}
