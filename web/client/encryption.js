// @ts-check
/**
 * End-to-end encryption of a room's media by encoded transforms (W3C WebRTC Encoded Transform). The key follows from a
 * passphrase, which never leaves this page; forwarding, layers and speakers need nothing that is encrypted.
 */

import { roomKey } from "./frames.js";

/** Codecs whose packetizer does not look into the frame beyond what stays readable. AV1's cuts at its units. */
export const ENCRYPTABLE = ["vp8", "vp9", "h264"];

/** Emits `state` (a CustomEvent of {id, state}) when a receiver's frames are opened, plain or refused. */
export class Encryption extends EventTarget {
  #worker;
  /** @type {WeakMap<RTCRtpReceiver, string>} */
  #ids = new WeakMap();
  #lastId = 0;

  /** Whether this browser can do it at all. */
  static get isSupported() {
    return "RTCRtpScriptTransform" in globalThis && "subtle" in (globalThis.crypto ?? {});
  }

  constructor() {
    super();
    this.#worker = makeWorker(new URL("./encryption-worker.js", import.meta.url));
    this.#worker.addEventListener("message", ({ data }) =>
      this.dispatchEvent(new CustomEvent("state", { detail: data })),
    );
  }

  /**
   * @param {string} passphrase
   * @param {string} room
   */
  async setPassphrase(passphrase, room) {
    this.#worker.postMessage({ key: await roomKey(passphrase, room) });
  }

  /**
   * @param {RTCRtpSender} sender
   * @param {"audio" | "video"} kind
   */
  protectSender(sender, kind) {
    sender.transform = new RTCRtpScriptTransform(this.#worker, { side: "send", kind });
  }

  /**
   * @param {RTCRtpReceiver} receiver
   * @param {"audio" | "video"} kind
   */
  protectReceiver(receiver, kind) {
    this.#lastId += 1;
    const id = String(this.#lastId);
    this.#ids.set(receiver, id);
    receiver.transform = new RTCRtpScriptTransform(this.#worker, { side: "receive", kind, id });
  }

  /** @param {RTCRtpReceiver} receiver @returns {string} As `state` events name it. */
  idOf(receiver) {
    return this.#ids.get(receiver) ?? "";
  }

  stop() {
    this.#worker.terminate();
  }
}

/** @param {URL} url */
function makeWorker(url) {
  if (url.origin === location.origin) return new Worker(url, { type: "module" });
  // A page may not start a worker of another origin, but one of its own may import from there.
  const own = new Blob([`import ${JSON.stringify(url.href)};`], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(own), { type: "module" });
}
