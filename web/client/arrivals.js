// @ts-check
/**
 * Reliable data messages in the order in which the server has them, each once, whichever way they come. A channel may
 * be quicker than the socket: then a message waits for the events that were told before it, so that one has heard of
 * whoever sent it. And what may have been lost with a channel comes once more, over the next one or the socket.
 */

/**
 * @typedef {import("../signalling.js").DataHeader} DataHeader
 * @typedef {Uint8Array<ArrayBuffer>} Payload
 */

export class Arrivals {
  /** @type {number | null} Up to this number all was delivered; null before one was in a room. */
  latest = null;
  #events = 0;
  /** @type {{ header: DataHeader, payload: Payload }[]} What came before its time, by number. */
  #early = [];
  #deliver;

  /** @param {(header: DataHeader, payload: Payload) => void} deliver */
  constructor(deliver) {
    this.#deliver = deliver;
  }

  /**
   * One is in the room, anew or again, and knows who else is.
   *
   * @param {number} events Where the count of those that are told stands.
   */
  joined(events) {
    this.latest ??= 0;
    this.#events = events;
    this.#release();
  }

  /** An event was told over the socket, and taken in. */
  told() {
    this.#events += 1;
    this.#release();
  }

  /**
   * @param {DataHeader} header
   * @param {Payload} payload
   */
  take(header, payload) {
    const { seq } = header;
    if (seq === undefined) return this.#deliver(header, payload);
    if (seq <= (this.latest ?? 0) || this.#early.some((known) => known.header.seq === seq)) return;
    // What was told over the socket before it may come only now.
    const behind = this.#early.findLastIndex((known) => (known.header.seq ?? 0) < seq);
    this.#early.splice(behind + 1, 0, { header, payload });
    this.#release();
  }

  #release() {
    while ((this.#early[0]?.header.after ?? 0) <= this.#events) {
      const next = this.#early.shift();
      if (!next) return;
      this.latest = next.header.seq ?? this.latest;
      this.#deliver(next.header, next.payload);
    }
  }
}
