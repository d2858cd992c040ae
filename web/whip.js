// @ts-check
/**
 * The publishing side of a connection: which tracks go out, encoded as client/encodings.js decides. Where the pictures
 * come from is media.js; keeping the connection alive is connection.js.
 */

import { encodingsFor, preferCodec, repairSingleEncoding, setBitrates, topBitrate } from "./client/encodings.js";
import { addressOf, tokenFor } from "./room.js";

/** A publisher may take over its own dead session after 2 s of silence, so the first refusals are not the last word. */
const CONFLICT_TRIES = 5;
/** Opus at full band for music; more is not audible, less dulls cymbals and applause. */
const AUDIO_BITRATE = 128_000;

/** @typedef {import("./client/encodings.js").VideoSettings} VideoSettings */

/** @implements {Role} @typedef {import("./connection.js").Role} Role */
export class Publishing {
  conflictTries = CONFLICT_TRIES;
  /** @type {MediaStream} */
  #stream;
  /** @type {RTCPeerConnection | null} */
  #pc = null;
  /** How many encodings were offered. */
  #encodings = 0;

  /**
   * @param {string} room
   * @param {MediaStream} stream
   * @param {VideoSettings} settings
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
      const sendEncodings = video ? encodingsFor(track, this.settings) : [{ maxBitrate: AUDIO_BITRATE }];
      const streams = [this.#stream];
      const transceiver = pc.addTransceiver(track, { direction: "sendonly", streams, sendEncodings });
      if (!video) continue;
      this.#encodings = sendEncodings.length;
      preferCodec(transceiver, this.settings.codec);
    }
  }

  /** @param {RTCPeerConnection} pc */
  async negotiated(pc) {
    const sender = pc.getSenders().find(({ track }) => track?.kind === "video");
    if (sender?.track) await repairSingleEncoding(sender, topBitrate(sender.track, this.settings));
  }

  /**
   * Stops encoding the sizes that nobody wants, and encodes those again that somebody does.
   *
   * @param {import("./session.js").Layer[]} layers
   */
  async setWanted(layers) {
    const sender = this.#pc?.getSenders().find(({ track }) => track?.kind === "video");
    if (!sender) return;
    const parameters = sender.getParameters();
    const isWanted = (/** @type {string | undefined} */ rid) =>
      layers.find((layer) => layer.rid === rid)?.wanted ?? true;
    const changed = parameters.encodings.filter(({ rid, active }) => active !== isWanted(rid));
    for (const encoding of changed) encoding.active = !encoding.active;
    if (changed.length > 0) await sender.setParameters(parameters);
  }

  /**
   * Sends other tracks over the same session.
   *
   * @param {MediaStream} stream
   * @returns {Promise<boolean>} False when that needs a new session: for other kinds of tracks, or another number of
   *   layers.
   */
  async replace(stream) {
    const kinds = (/** @type {MediaStream} */ of) =>
      of
        .getTracks()
        .map(({ kind }) => kind)
        .sort()
        .join();
    if (kinds(stream) !== kinds(this.#stream)) return false;
    const [picture] = stream.getVideoTracks();
    if (picture && encodingsFor(picture, this.settings).length !== this.#encodings) return false;
    this.#stream = stream;
    for (const sender of this.#pc?.getSenders() ?? []) {
      const track = stream.getTracks().find(({ kind }) => kind === sender.track?.kind);
      await sender.replaceTrack(track ?? null);
      if (track?.kind === "video") await setBitrates(sender, encodingsFor(track, this.settings));
    }
    return true;
  }
}
