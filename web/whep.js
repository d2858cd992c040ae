// @ts-check
/**
 * The playing side of a connection: asks for one audio and one video track and gathers what arrives into a stream.
 * Keeping the connection alive is connection.js; showing the stream is watch.js.
 */

import { acceptLayers } from "./client/encodings.js";
import { addressOf, tokenFor } from "./room.js";

/** @implements {Role} @typedef {import("./connection.js").Role} Role */
export class Playing {
  /** A room without a publisher is worth waiting for. */
  conflictTries = Infinity;
  /** Milliseconds a receiver should hold media back before showing it; null is the browser's judgement. */
  /** @type {number | null} */
  #buffer = null;
  /** @type {RTCPeerConnection | null} */
  #pc = null;

  /**
   * @param {string} room
   * @param {(stream: MediaStream) => void} onMedia Called for each new connection when its first packet has arrived.
   */
  constructor(room, onMedia) {
    this.room = room;
    this.endpoint = addressOf("whep", room);
    this.onMedia = onMedia;
  }

  token() {
    return tokenFor(this.room);
  }

  /** @param {RTCPeerConnection} pc */
  prepare(pc) {
    this.#pc = pc;
    const stream = new MediaStream();
    let told = false;
    // A track is muted until its first packet: only then may the new stream replace the last picture of the old one.
    const tell = () => {
      if (told) return;
      told = true;
      this.onMedia(stream);
    };
    for (const kind of ["audio", "video"]) {
      const transceiver = pc.addTransceiver(kind, { direction: "recvonly" });
      if (kind === "video") acceptLayers(transceiver);
      const { track } = transceiver.receiver;
      stream.addTrack(track);
      track.addEventListener("unmute", tell);
    }
    this.setBuffer(this.#buffer);
  }

  async negotiated() {}

  /** @param {number | null} milliseconds */
  setBuffer(milliseconds) {
    this.#buffer = milliseconds;
    for (const receiver of this.#pc?.getReceivers() ?? []) {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = milliseconds;
    }
  }
}
