// @ts-check
/**
 * Data messages as they travel on a data channel: a line of JSON (`DataHeader` of signalling.d.ts), a line feed, and
 * the payload as it is.
 */

/** Label of the channel for what is worth more new than complete. */
export const LABEL = "data";

/** Bytes that may wait in the browser there. More, and what is sent now arrives late; less, and bursts are dropped. */
const MOST_WAITING = 16_384;

/** @typedef {import("../signalling.js").DataHeader} DataHeader */

/**
 * @param {RTCDataChannel} channel
 * @returns {boolean} Whether a message would go out over it soon.
 */
export function hasRoom({ bufferedAmount }) {
  return bufferedAmount < MOST_WAITING;
}

/**
 * @param {DataHeader} header
 * @param {Uint8Array} payload
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function frame(header, payload) {
  const head = new TextEncoder().encode(`${JSON.stringify(header)}\n`);
  const message = new Uint8Array(head.length + payload.length);
  message.set(head);
  message.set(payload, head.length);
  return message;
}

/**
 * @param {ArrayBuffer} message
 * @returns {{ header: DataHeader, payload: Uint8Array<ArrayBuffer> } | null} Null when it is none.
 */
export function unframe(message) {
  const bytes = new Uint8Array(message);
  const feed = bytes.indexOf(10);
  const end = feed < 0 ? bytes.length : feed;
  try {
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
    return { header, payload: bytes.slice(end + 1) };
  } catch {
    return null;
  }
}
