// @ts-check
/** Runs between encoder and packetizer, and between depacketizer and decoder: seals and opens frames (frames.js). */

import { Opener, Sealer } from "./frames.js";

/** Between reports about frames that cannot be shown. Milliseconds. */
const REPORT_INTERVAL = 1_000;

/** @type {CryptoKey | null} Null: nothing is sent, and of what comes only plain frames pass. */
let key = null;
/** @type {Opener | null} */
let opener = null;

/** @param {MessageEvent<{ key: CryptoKey | null }>} event */
self.onmessage = ({ data }) => {
  key = data.key;
  opener = key && new Opener(key);
};

self.addEventListener("rtctransform", (event) => {
  const { transformer } = /** @type {any} */ (event);
  const { side, kind, id } = transformer.options;
  const transform = side === "send" ? sealing(kind) : opening(kind, id);
  transformer.readable
    .pipeThrough(new TransformStream({ transform }))
    .pipeTo(transformer.writable)
    .catch(() => {
      // Ends with its sender or receiver.
    });
});

/** @param {"audio" | "video"} kind */
function sealing(kind) {
  /** @type {Sealer | null} */
  let sealer = null;
  /** @type {CryptoKey | null} */
  let sealedFor = null;
  return async (/** @type {any} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    if (!key) return;
    if (sealedFor !== key || !sealer) sealer = new Sealer(key);
    sealedFor = key;
    const data = new Uint8Array(frame.data);
    frame.data = (await sealer.seal(data, codecOf(frame, kind), frame.type === "key")).slice().buffer;
    controller.enqueue(frame);
  };
}

/**
 * @param {"audio" | "video"} kind
 * @param {string} id Of the receiver, for reports.
 */
function opening(kind, id) {
  let reported = 0;
  let last = "";
  return async (/** @type {any} */ frame, /** @type {TransformStreamDefaultController} */ controller) => {
    const opened = opener ? await opener.open(new Uint8Array(frame.data), codecOf(frame, kind)) : "plain";
    const state = typeof opened === "string" ? opened : "opened";
    const now = performance.now();
    if (state !== last || now - reported > REPORT_INTERVAL) {
      self.postMessage({ id, state });
      reported = now;
      last = state;
    }
    if (state === "refused") return;
    if (typeof opened !== "string") frame.data = opened.slice().buffer;
    controller.enqueue(frame);
  };
}

/**
 * @param {any} frame
 * @param {"audio" | "video"} kind
 */
function codecOf(frame, kind) {
  const type = frame.getMetadata().mimeType ?? (kind === "audio" ? "audio/opus" : "video/vp8");
  return String(type).split("/")[1]?.toLowerCase() ?? "";
}
