// @ts-check
/**
 * The publishing side of a connection: which tracks go out, in which codec, in how many sizes and at which bitrate.
 * Where the pictures come from is media.js; keeping the connection alive is connection.js.
 */

import { addressOf, tokenFor } from "./room.js";

/** Bits per pixel at which VP8 and H264 look right for camera pictures; newer codecs look better for the same. */
const BITS_PER_PIXEL = 0.08;
/** A publisher may take over its own dead session after 2 s of silence, so the first refusals are not the last word. */
const CONFLICT_TRIES = 5;
/** Opus at full band for music; more is not audible, less dulls cymbals and applause. */
const AUDIO_BITRATE = 128_000;

/**
 * Simulcast layers, smallest first: the order every application lists them in. Chromium keeps the first one when an
 * answer refuses simulcast.
 */
const LAYERS = [
  { rid: "l", scale: 4, share: 0.08 },
  { rid: "m", scale: 2, share: 0.25 },
  { rid: "h", scale: 1, share: 1 },
];

/**
 * @typedef {object} Settings
 * @property {string} codec Lower-case name such as "vp9"; "auto" is the browser's choice.
 * @property {boolean} simulcast Several sizes at once.
 * @property {number} bitrate Of the largest picture, in bit/s; 0 follows from its size.
 */

/** @implements {Role} @typedef {import("./connection.js").Role} Role */
export class Publishing {
  conflictTries = CONFLICT_TRIES;
  /** @type {MediaStream} */
  #stream;
  /** @type {RTCPeerConnection | null} */
  #pc = null;

  /**
   * @param {string} room
   * @param {MediaStream} stream
   * @param {Settings} settings
   */
  constructor(room, stream, settings) {
    this.room = room;
    this.endpoint = addressOf("whip", room);
    this.settings = settings;
    this.#stream = stream;
  }

  token() {
    return tokenFor(this.room);
  }

  /** @param {RTCPeerConnection} pc */
  prepare(pc) {
    this.#pc = pc;
    for (const track of this.#stream.getTracks()) {
      const video = track.kind === "video";
      const transceiver = pc.addTransceiver(track, {
        direction: "sendonly",
        streams: [this.#stream],
        sendEncodings: video ? encodingsFor(track, this.settings) : [{ maxBitrate: AUDIO_BITRATE }],
      });
      if (video) preferCodec(transceiver, this.settings.codec);
    }
  }

  /** @param {RTCPeerConnection} pc */
  async negotiated(pc) {
    const sender = pc.getSenders().find(({ track }) => track?.kind === "video");
    const parameters = sender?.getParameters();
    if (!sender?.track || parameters?.encodings.length !== 1 || !parameters.encodings[0]) return;
    // Without simulcast in the answer Chromium keeps only the smallest layer: make it the full picture.
    Object.assign(parameters.encodings[0], {
      scaleResolutionDownBy: 1,
      maxBitrate: topBitrate(sender.track, this.settings),
    });
    await sender.setParameters(parameters);
  }

  /**
   * Sends other tracks over the same session.
   *
   * @param {MediaStream} stream
   * @returns {Promise<boolean>} False when it has other kinds of tracks: that needs a new session.
   */
  async replace(stream) {
    const kinds = (/** @type {MediaStream} */ of) =>
      of
        .getTracks()
        .map(({ kind }) => kind)
        .sort()
        .join();
    if (kinds(stream) !== kinds(this.#stream)) return false;
    this.#stream = stream;
    for (const sender of this.#pc?.getSenders() ?? []) {
      const track = stream.getTracks().find(({ kind }) => kind === sender.track?.kind);
      if (track) await sender.replaceTrack(track);
    }
    return true;
  }
}

/** @returns {{ name: string, label: string }[]} Video codecs this browser can send, each once, in its own order. */
export function sendableCodecs() {
  const helpers = /^(rtx|red|ulpfec|flexfec-03)$/;
  const names = RTCRtpSender.getCapabilities("video")?.codecs.map(({ mimeType }) => mimeType.split("/")[1] ?? "") ?? [];
  return [...new Set(names)]
    .filter((label) => label !== "" && !helpers.test(label.toLowerCase()))
    .map((label) => ({ name: label.toLowerCase(), label: label === "AV1X" ? "AV1" : label }));
}

/**
 * @param {MediaStreamTrack} track
 * @param {Settings} settings
 * @returns {RTCRtpEncodingParameters[]}
 */
function encodingsFor(track, settings) {
  const bitrate = topBitrate(track, settings);
  if (!settings.simulcast) return [{ maxBitrate: bitrate }];
  // VP9 and AV1 take several encodings for spatial layers of one stream unless each says that it is one layer.
  const scalable = settings.codec === "vp9" || settings.codec === "av1" ? { scalabilityMode: "L1T2" } : {};
  return layersFor(track.getSettings().height ?? 720).map(({ rid, scale, share }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: Math.round(bitrate * share),
    ...scalable,
  }));
}

/**
 * @param {number} height
 * @returns {typeof LAYERS} Those that leave a picture of at least 90 lines.
 */
function layersFor(height) {
  return LAYERS.filter(({ scale }) => scale === 1 || height / scale >= 90);
}

/**
 * @param {MediaStreamTrack} track
 * @param {Settings} settings
 * @returns {number} Bit/s.
 */
function topBitrate(track, { bitrate }) {
  const { width = 1280, height = 720, frameRate = 30 } = track.getSettings();
  return bitrate || Math.max(300_000, Math.round(width * height * frameRate * BITS_PER_PIXEL));
}

/**
 * @param {RTCRtpTransceiver} transceiver
 * @param {string} name
 */
function preferCodec(transceiver, name) {
  if (name === "auto") return;
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const is = (/** @type {string} */ wanted) =>
    codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${wanted}`);
  // Only the chosen one and retransmission: with an alternative in the offer the server might answer with that.
  if (is(name).length > 0) transceiver.setCodecPreferences([...is(name), ...is("rtx")]);
}
