// @ts-check
/**
 * Turns two successive `getStats()` reports into the figures a person wants: rates, losses and times. Pure apart from
 * asking the peer connection; draws nothing.
 */

/**
 * @typedef {object} LayerFigures One outgoing simulcast layer.
 * @property {string} rid
 * @property {number} width Pixels; 0 while it is not sent.
 * @property {number} height
 * @property {number} fps
 * @property {number | undefined} bitrate Bit/s.
 *
 * @typedef {object} VideoFigures
 * @property {string} codec
 * @property {number} width Pixels of the largest picture.
 * @property {number} height
 * @property {number} fps
 * @property {number | undefined} bitrate Bit/s of all layers together; undefined before there are two samples.
 * @property {number} frames Encoded or decoded since the start.
 * @property {number | undefined} loss Fraction of packets lost in the last interval.
 * @property {string} limitation What keeps the encoder from more: "cpu", "bandwidth" or "none".
 * @property {number | undefined} buffer Seconds media waits in the jitter buffer.
 * @property {number} freezes Since the start.
 * @property {LayerFigures[]} layers
 *
 * @typedef {object} AudioFigures
 * @property {string} codec
 * @property {number | undefined} bitrate Bit/s.
 * @property {number | undefined} loss
 * @property {number} energy Total audio energy received or captured since the start.
 *
 * @typedef {object} Figures
 * @property {number | undefined} rtt Seconds.
 * @property {number | undefined} available Bit/s the sender believes the path takes.
 * @property {string} path Transport and addresses, such as "udp 127.0.0.1:3478".
 * @property {number} bytes Of media, both ways, since the start.
 * @property {VideoFigures | null} video
 * @property {AudioFigures | null} audio
 */

/** @typedef {Record<string, any> & { id: string, type: string, timestamp: number }} Entry */

/** @typedef {{ getStats: () => Promise<RTCStatsReport>, connectionState?: string }} Source */

/** Remembers the previous report, since rates are differences. */
export class Sampler {
  /** @type {Source | null} */
  #source = null;
  /** @type {Map<string, Entry>} */
  #previous = new Map();

  /**
   * @param {Source | null} source A connection, or one of its senders or receivers.
   * @returns {Promise<Figures | null>} Null without one.
   */
  async sample(source) {
    if (!source || source.connectionState === "closed") return null;
    if (source !== this.#source) this.#previous = new Map();
    this.#source = source;
    /** @type {Map<string, Entry>} */
    const entries = new Map();
    (await source.getStats()).forEach((entry) => entries.set(entry.id, entry));
    const figures = figuresOf(entries, this.#previous);
    this.#previous = entries;
    return figures;
  }
}

/**
 * @param {Map<string, Entry>} now
 * @param {Map<string, Entry>} before
 * @returns {Figures}
 */
export function figuresOf(now, before) {
  const all = [...now.values()];
  const of = (/** @type {string} */ kind) =>
    all.filter(({ type, kind: of }) => (type === "inbound-rtp" || type === "outbound-rtp") && of === kind);
  const pair = selectedPair(all, now);
  const remote = now.get(pair?.remoteCandidateId);
  const reported = all.find(({ type, roundTripTime }) => type === "remote-inbound-rtp" && roundTripTime !== undefined);
  return {
    rtt: reported?.roundTripTime ?? pair?.currentRoundTripTime,
    available: pair?.availableOutgoingBitrate,
    path: remote ? `${remote.protocol} ${hostOf(remote.address)}:${remote.port}` : "",
    bytes: [...of("video"), ...of("audio")].reduce((sum, entry) => sum + mediaBytes(entry), 0),
    video: videoFigures(of("video"), now, before),
    audio: audioFigures(of("audio"), now, before),
  };
}

/**
 * @param {Entry[]} all
 * @param {Map<string, Entry>} now
 */
function selectedPair(all, now) {
  const transport = all.find(({ type }) => type === "transport");
  return (
    now.get(transport?.selectedCandidatePairId) ??
    all.find(({ type, nominated }) => type === "candidate-pair" && nominated)
  );
}

/**
 * @param {Entry[]} streams
 * @param {Map<string, Entry>} now
 * @param {Map<string, Entry>} before
 * @returns {VideoFigures | null}
 */
function videoFigures(streams, now, before) {
  const layers = streams.map((entry) => ({ entry, bitrate: bitrateOf(entry, before) }));
  const largest = layers.reduce(
    (best, layer) => (area(layer.entry) > area(best.entry) ? layer : best),
    layers[0] ?? null,
  );
  if (!largest) return null;
  const { entry } = largest;
  return {
    codec: codecOf(entry, now),
    width: entry.frameWidth ?? 0,
    height: entry.frameHeight ?? 0,
    fps: Math.round(entry.framesPerSecond ?? 0),
    bitrate: sumOf(layers.map(({ bitrate }) => bitrate)),
    frames: entry.framesDecoded ?? entry.framesEncoded ?? 0,
    loss: lossOf(entry, now, before),
    limitation: entry.qualityLimitationReason ?? "none",
    buffer: bufferOf(entry, before),
    freezes: entry.freezeCount ?? 0,
    layers: layers
      .filter(({ entry: { rid } }) => rid !== undefined)
      .map(({ entry: { rid, frameWidth, frameHeight, framesPerSecond }, bitrate }) => ({
        rid: String(rid),
        width: frameWidth ?? 0,
        height: frameHeight ?? 0,
        fps: Math.round(framesPerSecond ?? 0),
        bitrate,
      }))
      // One that is not sent has no size: as a rule the largest, which is the first to be left out.
      .sort((a, b) => (b.width || Infinity) - (a.width || Infinity)),
  };
}

/**
 * @param {Entry[]} streams
 * @param {Map<string, Entry>} now
 * @param {Map<string, Entry>} before
 * @returns {AudioFigures | null}
 */
function audioFigures(streams, now, before) {
  const [entry] = streams;
  if (!entry) return null;
  return {
    codec: codecOf(entry, now),
    bitrate: bitrateOf(entry, before),
    loss: lossOf(entry, now, before),
    energy: entry.totalAudioEnergy ?? now.get(entry.mediaSourceId)?.totalAudioEnergy ?? 0,
  };
}

/** @param {string} [address] Browsers hide those they found by themselves. */
function hostOf(address = "hidden") {
  return address.includes(":") ? `[${address}]` : address;
}

/** @param {Entry} entry */
function area({ frameWidth = 0, frameHeight = 0 }) {
  return frameWidth * frameHeight;
}

/** @param {Entry} entry */
function mediaBytes({ bytesSent, bytesReceived }) {
  return bytesSent ?? bytesReceived ?? 0;
}

/** @param {(number | undefined)[]} rates @returns {number | undefined} Of those that are known, if any is. */
export function sumOf(rates) {
  const known = rates.filter((rate) => rate !== undefined);
  return known.length > 0 ? known.reduce((sum, rate) => sum + rate, 0) : undefined;
}

/**
 * @param {Entry} entry
 * @param {Map<string, Entry>} before
 */
function bitrateOf(entry, before) {
  const earlier = before.get(entry.id);
  const milliseconds = earlier ? entry.timestamp - earlier.timestamp : 0;
  return earlier && milliseconds > 0
    ? Math.max(0, ((mediaBytes(entry) - mediaBytes(earlier)) * 8000) / milliseconds)
    : undefined;
}

/**
 * @param {Entry} entry
 * @param {Map<string, Entry>} now
 */
function codecOf({ codecId }, now) {
  return String(now.get(codecId)?.mimeType ?? "").split("/")[1] ?? "";
}

/**
 * @param {Entry} entry
 * @param {Map<string, Entry>} now
 * @param {Map<string, Entry>} before
 */
function lossOf(entry, now, before) {
  if (entry.type === "outbound-rtp") return now.get(entry.remoteId)?.fractionLost;
  const earlier = before.get(entry.id);
  const lost = (entry.packetsLost ?? 0) - (earlier?.packetsLost ?? 0);
  const received = (entry.packetsReceived ?? 0) - (earlier?.packetsReceived ?? 0);
  return received > 0 ? Math.max(0, lost) / (Math.max(0, lost) + received) : undefined;
}

/**
 * @param {Entry} entry
 * @param {Map<string, Entry>} before
 */
function bufferOf(entry, before) {
  const earlier = before.get(entry.id);
  const emitted = (entry.jitterBufferEmittedCount ?? 0) - (earlier?.jitterBufferEmittedCount ?? 0);
  if (emitted <= 0) return undefined;
  return (entry.jitterBufferDelay - (earlier?.jitterBufferDelay ?? 0)) / emitted;
}
