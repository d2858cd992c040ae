// @ts-check
/**
 * How a picture is encoded: in which codec, in how many sizes and at which bitrates. Decides and sets; sends nothing.
 */

/** Bits per pixel at which VP8 and H264 look right for camera pictures; newer codecs look better for the same. */
const BITS_PER_PIXEL = 0.08;
/** Screens change rarely, and what changes has to be sharp at once. */
const SCREEN_BITS_PER_PIXEL = 0.1;
/**
 * Of a small picture, in bit/s. Chromium probes the network for twice what all layers may use, as a rule once: with
 * less, one bad probe left the largest AV1 layer off for good.
 */
const LEAST_BITRATE = 600_000;

/**
 * Simulcast layers, smallest first: the order every application lists them in. Chromium keeps the first one when an
 * answer refuses simulcast.
 */
const LAYERS = [
  { rid: "l", scale: 4, share: 0.08, fromPixels: 960 * 540 },
  { rid: "m", scale: 2, share: 0.25, fromPixels: 480 * 270 },
  { rid: "h", scale: 1, share: 1, fromPixels: 0 },
];

const DEPENDENCY_DESCRIPTOR = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/**
 * @typedef {object} Negotiating A transceiver of WebRTC-Extensions.
 * @property {() => { uri: string, direction: string }[]} [getHeaderExtensionsToNegotiate]
 * @property {(extensions: { uri: string, direction: string }[]) => void} setHeaderExtensionsToNegotiate
 */

/** Codecs of which one encoding can hold several sizes (SVC), as long as it is not asked for one. */
export const SCALABLE = ["vp9", "av1"];

/**
 * @typedef {object} VideoSettings
 * @property {string} codec Lower-case name such as "vp9"; "auto" is the browser's choice.
 * @property {boolean} simulcast Several sizes at once.
 * @property {number} bitrate Of the largest picture, in bit/s; 0 follows from its size.
 * @property {boolean | string} [svc] The sizes within one stream where the codec can (VP9, AV1), instead of one stream
 *   each: true, or the scalability mode.
 */

/**
 * @param {MediaStreamTrack} track
 * @param {VideoSettings} settings
 * @returns {RTCRtpEncodingParameters[]}
 */
export function encodingsFor(track, settings) {
  const bitrate = topBitrate(track, settings);
  if (!settings.simulcast) return [{ maxBitrate: bitrate }];
  const scalable = SCALABLE.includes(settings.codec);
  if (settings.svc && scalable) {
    const fitting = settings.svc === true ? `L${layersFor(track).length}T2_KEY` : settings.svc;
    return [{ maxBitrate: bitrate, ...mode(fitting) }];
  }
  // VP9 and AV1 take several encodings for spatial layers of one stream unless each says that it is one layer.
  return layersFor(track).map(({ rid, scale, share }) => ({
    rid,
    scaleResolutionDownBy: scale,
    maxBitrate: Math.round(bitrate * share),
    ...(scalable ? mode("L1T2") : {}),
  }));
}

/**
 * One size only: text made smaller cannot be read.
 *
 * @param {MediaStreamTrack} track
 * @param {VideoSettings} settings
 * @returns {RTCRtpEncodingParameters[]}
 */
export function screenEncodings(track, { bitrate, codec }) {
  const { width = 1920, height = 1080, frameRate = 15 } = track.getSettings();
  const maxBitrate = bitrate || Math.max(LEAST_BITRATE, Math.round(width * height * frameRate * SCREEN_BITS_PER_PIXEL));
  return [{ maxBitrate, ...(SCALABLE.includes(codec) ? mode("L1T3") : {}) }];
}

/**
 * @param {MediaStreamTrack} track
 * @param {{ bitrate: number }} settings
 * @returns {number} Bit/s.
 */
export function topBitrate(track, { bitrate }) {
  const { width = 1280, height = 720, frameRate = 30 } = track.getSettings();
  return bitrate || Math.max(LEAST_BITRATE, Math.round(width * height * frameRate * BITS_PER_PIXEL));
}

/**
 * @param {RTCRtpSender} sender
 * @param {RTCRtpEncodingParameters[]} encodings
 */
export async function setBitrates(sender, encodings) {
  const parameters = sender.getParameters();
  for (const [index, encoding] of parameters.encodings.entries()) encoding.maxBitrate = encodings[index]?.maxBitrate;
  await sender.setParameters(parameters);
}

/**
 * Without simulcast in the answer Chromium keeps only the smallest layer: makes it the full picture.
 *
 * @param {RTCRtpSender} sender
 * @param {number} bitrate Bit/s.
 */
export async function repairSingleEncoding(sender, bitrate) {
  const parameters = sender.getParameters();
  const [only, ...others] = parameters.encodings;
  if (!only || others.length > 0) return;
  Object.assign(only, { scaleResolutionDownBy: 1, maxBitrate: bitrate });
  await sender.setParameters(parameters);
}

/**
 * @param {RTCRtpTransceiver} transceiver
 * @param {string} name Lower-case; "auto" leaves the browser's order.
 */
export function preferCodec(transceiver, name) {
  if (name === "auto") return;
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  const is = (/** @type {string} */ wanted) =>
    codecs.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${wanted}`);
  // Only the chosen one and retransmission: with an alternative in the offer the server might answer with that.
  if (is(name).length > 0) transceiver.setCodecPreferences([...is(name), ...is("rtx")]);
}

/**
 * Has a sender of sound send each frame once more with the next (RED, RFC 2198), where the browser can.
 *
 * @param {RTCRtpTransceiver} transceiver
 */
export function preferRepetition(transceiver) {
  const codecs = RTCRtpSender.getCapabilities("audio")?.codecs ?? [];
  const is = (/** @type {string} */ wanted) => codecs.filter(({ mimeType }) => mimeType.toLowerCase() === wanted);
  transceiver.setCodecPreferences([...is("audio/red"), ...is("audio/opus")]);
}

/**
 * What a room's track may come in: each codec in the profiles that senders use. Without this Chromium describes 20
 * formats in every section, and an offer with 16 slots is longer than the server takes (64 KiB).
 *
 * @param {"audio" | "video"} kind
 * @param {boolean} encrypted End to end: then nobody but the sender can repeat frames.
 * @returns {RTCRtpCodec[]}
 */
export function roomCodecs(kind, encrypted) {
  const codecs = RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [];
  return codecs.filter(({ mimeType, sdpFmtpLine = "" }) => {
    const name = mimeType.split("/")[1]?.toLowerCase() ?? "";
    if (name === "h264") return /packetization-mode=1/.test(sdpFmtpLine);
    if (name === "vp9") return /profile-id=0/.test(sdpFmtpLine) || sdpFmtpLine === "";
    if (name === "av1") return /profile=0/.test(sdpFmtpLine) || sdpFmtpLine === "";
    if (name === "red") return kind === "audio" && !encrypted;
    return ["opus", "vp8", "h265", "rtx"].includes(name);
  });
}

/**
 * Has a receiver offer the dependency descriptor, which Chromium does not by itself: without it pictures of AV1 that
 * have spatial layers are not put together, so the server sends the lowest layer only.
 *
 * @param {RTCRtpTransceiver} transceiver
 */
export function acceptLayers(transceiver) {
  // Not in every browser yet, nor in the DOM's types.
  const extended = /** @type {Negotiating} */ (/** @type {unknown} */ (transceiver));
  const extensions = extended.getHeaderExtensionsToNegotiate?.() ?? [];
  for (const extension of extensions) if (extension.uri === DEPENDENCY_DESCRIPTOR) extension.direction = "recvonly";
  if (extensions.length > 0) extended.setHeaderExtensionsToNegotiate(extensions);
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
 * Chromium sends three layers only from 960 x 540 on, two from 480 x 270 on, and drops the last ones offered, which are
 * the largest: so no more may be offered.
 *
 * @param {MediaStreamTrack} track
 * @returns {typeof LAYERS}
 */
function layersFor(track) {
  const { width = 1280, height = 720 } = track.getSettings();
  return LAYERS.filter(({ fromPixels }) => width * height >= fromPixels);
}

/**
 * @param {string} scalabilityMode Of WebRTC-SVC; not in every version of the DOM's types.
 * @returns {{}}
 */
function mode(scalabilityMode) {
  return { scalabilityMode };
}
