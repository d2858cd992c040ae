// @ts-check
/**
 * The data channel for messages that are to be complete: sends them one after the other, each answered by the server,
 * no faster than channel and server take them; and says what came, which the server keeps until then.
 */

import { RoomError } from "./errors.js";
import { frame, unframe } from "./messages.js";
import { Pending } from "./pending.js";

/** Label of the channel. */
export const LABEL = "reliable";

/** Bytes that may wait in the browser. More, and more is lost when the channel closes; less, and a fast line idles. */
const MOST_WAITING = 65_536;
/** Messages that may be sent at once, and in a second. The server refuses what exceeds 120, receipts among it. */
const BURST = 100;
/** How long a receipt may wait for others, in milliseconds. Longer has the server keep more, shorter sends more. */
const RECEIPT_DELAY = 100;
/** Bytes after which it does not wait. The server keeps 16 MiB at most. */
const RECEIPT_BYTES = 262_144;

/**
 * @typedef {import("./messages.js").DataHeader} DataHeader
 *
 * @typedef {object} Queued
 * @property {DataHeader} header
 * @property {Uint8Array} payload
 * @property {(result: any) => void} resolve
 * @property {(problem: any) => void} reject
 */

/** Emits `message` (a CustomEvent of {header, payload}) for what others sent. */
export class ReliableChannel extends EventTarget {
  #channel;
  #pending = new Pending();
  /** @type {Queued[]} */
  #queue = [];
  #unanswered = 0;
  /** Messages answered, less what time has forgiven since, and when that was counted. */
  #spent = 0;
  #counted = performance.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause;
  /** Up to which number all messages were delivered; those behind it the server keeps. */
  latest = () => 0;
  /** Bytes that came since the last receipt. */
  #owed = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #receipt;

  /** @param {RTCDataChannel} channel An ordered one. */
  constructor(channel) {
    super();
    this.#channel = channel;
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = MOST_WAITING / 2;
    channel.addEventListener("message", ({ data }) => this.#receive(data));
    channel.addEventListener("bufferedamountlow", () => this.#write());
    channel.addEventListener("close", () => this.close());
  }

  get isOpen() {
    return this.#channel.readyState === "open";
  }

  /**
   * Sends a message behind those before.
   *
   * @param {DataHeader} header
   * @param {Uint8Array} payload Copied.
   * @returns {Promise<void>} Once the server has passed it on.
   * @throws {RoomError}
   */
  send(header, payload) {
    return new Promise((resolve, reject) => {
      this.#queue.push({ header, payload: payload.slice(), resolve, reject });
      this.#write();
    });
  }

  /** Nothing more is sent or answered. */
  close() {
    clearTimeout(this.#pause);
    clearTimeout(this.#receipt);
    this.#pending.end();
    for (const { reject } of this.#queue.splice(0))
      reject(new RoomError("closed", "The connection to the room was lost."));
  }

  #write() {
    clearTimeout(this.#pause);
    while (this.#queue.length > 0 && this.isOpen && this.#channel.bufferedAmount < MOST_WAITING) {
      if (this.#unanswered >= BURST) return;
      const wait = this.#wait();
      if (wait > 0) {
        this.#pause = setTimeout(() => this.#write(), wait);
        return;
      }
      const next = this.#queue.shift();
      if (!next) return;
      this.#unanswered += 1;
      const send = (/** @type {number} */ id) => this.#channel.send(frame({ ...next.header, id }, next.payload));
      this.#pending
        .ask(send)
        .finally(() => this.#answered())
        .then(next.resolve, next.reject);
    }
  }

  #answered() {
    this.#wait();
    this.#unanswered -= 1;
    this.#spent += 1;
    this.#write();
  }

  /**
   * Time counts from the answer: what a slow line delays reaches the server at once, and would be too much for it.
   *
   * @returns {number} Milliseconds until the server takes another.
   */
  #wait() {
    const now = performance.now();
    this.#spent = Math.max(0, this.#spent - ((now - this.#counted) * BURST) / 1_000);
    this.#counted = now;
    return Math.max(0, ((this.#unanswered + this.#spent + 1 - BURST) * 1_000) / BURST);
  }

  /** @param {ArrayBuffer} data */
  #receive(data) {
    const message = unframe(data);
    if (!message) return;
    const { header, payload } = message;
    if (header.seq === undefined) {
      const { id, error } = /** @type {import("../signalling.js").DataAnswer} */ (/** @type {unknown} */ (header));
      return this.#pending.settle({ id, ...(error ? { error } : {}) });
    }
    this.#owed += data.byteLength;
    this.dispatchEvent(new CustomEvent("message", { detail: { header, payload } }));
    if (this.#owed > RECEIPT_BYTES) this.#acknowledge();
    else this.#receipt ??= setTimeout(() => this.#acknowledge(), RECEIPT_DELAY);
  }

  #acknowledge() {
    clearTimeout(this.#receipt);
    this.#receipt = undefined;
    this.#owed = 0;
    if (this.isOpen) this.#channel.send(JSON.stringify({ received: this.latest() }));
  }
}
