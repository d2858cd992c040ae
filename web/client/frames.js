// @ts-check
/**
 * End-to-end encryption of encoded frames (in the manner of SFrame, RFC 9605). Pure; encryption-worker.js puts it
 * between encoder and packetizer.
 *
 *     | clear prefix | AES-GCM of the rest, tag of 16 bytes | salt 8 | counter 4 | length of the prefix 1 | mark 2 |
 *
 * The prefix is what a forwarding server and the browser's own packetizer read of a frame; it is authenticated. In H264
 * the receiver finds its end by itself and the length is 0. Each
 * sender has a random salt, from which and from the passphrase its key is derived, so a counter never meets the same
 * key twice. H264 is cut into packets at start codes, so what is encrypted there is escaped as any other payload is.
 */

const SALT = 8;
const TAG = 16;
const TRAILER = SALT + 4 + 1 + 2;
/** Ends every encrypted frame. Not a value that an encoder's frame ends in, except by chance. */
const MARK = 0xc5f1;
/** OWASP's advice for PBKDF2 with SHA-256. Larger slows guessing and joining, smaller speeds both up. */
const ITERATIONS = 600_000;

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/**
 * @param {string} passphrase
 * @param {string} room Its name, so that one passphrase gives other keys in other rooms.
 * @returns {Promise<CryptoKey>}
 */
export async function roomKey(passphrase, room) {
  const text = new TextEncoder();
  const secret = await crypto.subtle.importKey("raw", text.encode(passphrase.normalize("NFKC")), "PBKDF2", false, [
    "deriveBits",
  ]);
  const salt = text.encode(`crosspoint e2ee 1 ${room}`);
  const bits = await crypto.subtle.deriveBits(
    { name: "PBKDF2", hash: "SHA-256", salt, iterations: ITERATIONS },
    secret,
    256,
  );
  return crypto.subtle.importKey("raw", bits, "HKDF", false, ["deriveKey"]);
}

/**
 * @param {CryptoKey} room
 * @param {Bytes} salt
 * @returns {Promise<CryptoKey>}
 */
export function senderKey(room, salt) {
  const info = new TextEncoder().encode("crosspoint e2ee 1 sender");
  const derivation = { name: "HKDF", hash: "SHA-256", salt, info };
  return crypto.subtle.deriveKey(derivation, room, { name: "AES-GCM", length: 128 }, false, ["encrypt", "decrypt"]);
}

/** Seals the frames of one sender. */
export class Sealer {
  /** Random, in each sealed frame. */
  salt = crypto.getRandomValues(new Uint8Array(SALT));
  #counter = 0;
  #key;

  /** @param {CryptoKey} room */
  constructor(room) {
    this.#key = senderKey(room, this.salt);
  }

  /**
   * @param {Bytes} frame
   * @param {string} codec Lower-case name.
   * @param {boolean} isKey
   * @returns {Promise<Bytes>}
   */
  async seal(frame, codec, isKey) {
    const prefix = Math.min(clearBytes(frame, codec, isKey), frame.length);
    this.#counter += 1;
    const counter = this.#counter;
    const head = frame.subarray(0, prefix);
    const parameters = { name: "AES-GCM", iv: ivOf(counter), additionalData: authenticated(head, codec) };
    const sealed = await crypto.subtle.encrypt(parameters, await this.#key, frame.subarray(prefix));
    const rest = new Uint8Array(sealed.byteLength + TRAILER);
    rest.set(new Uint8Array(sealed));
    rest.set(this.salt, sealed.byteLength);
    const view = new DataView(rest.buffer, sealed.byteLength + SALT);
    view.setUint32(0, counter);
    view.setUint8(4, codec === "h264" ? 0 : prefix);
    view.setUint16(5, MARK);
    return join(head, codec === "h264" ? escape(rest, zerosAtEnd(head)) : rest);
  }
}

/** Opens the frames of every sender. */
export class Opener {
  #room;
  /** @type {Map<string, Promise<CryptoKey>>} By salt. */
  #keys = new Map();

  /** @param {CryptoKey} room */
  constructor(room) {
    this.#room = room;
  }

  /**
   * @param {Bytes} frame
   * @param {string} codec
   * @returns {Promise<Bytes | "plain" | "refused">} `plain`: nobody encrypted it. `refused`: with another key, or
   *   somebody changed it.
   */
  async open(frame, codec) {
    const { head, rest } = codec === "h264" ? splitH264(frame) : { head: frame.subarray(0, 0), rest: frame };
    if (!isSealed(rest)) return "plain";
    const end = rest.length - TRAILER;
    const view = new DataView(rest.buffer, rest.byteOffset + end + SALT);
    const prefix = view.getUint8(4);
    if (prefix > end - TAG) return "refused";
    const clear = codec === "h264" ? head : rest.subarray(0, prefix);
    const iv = ivOf(view.getUint32(0));
    try {
      const key = await this.#keyFor(rest.slice(end, end + SALT));
      const parameters = { name: "AES-GCM", iv, additionalData: authenticated(clear, codec) };
      return join(clear, new Uint8Array(await crypto.subtle.decrypt(parameters, key, rest.subarray(prefix, end))));
    } catch {
      return "refused";
    }
  }

  /** @param {Bytes} salt */
  #keyFor(salt) {
    const name = salt.join();
    let key = this.#keys.get(name);
    if (!key) {
      // Whoever sends many salts fills this map; a room has few senders, so a full one starts over.
      if (this.#keys.size >= 1000) this.#keys.clear();
      key = senderKey(this.#room, salt);
      this.#keys.set(name, key);
    }
    return key;
  }
}

/** @param {Bytes} frame @returns {boolean} */
export function isSealed(frame) {
  const { length } = frame;
  return length >= TRAILER + TAG && ((frame[length - 2] ?? 0) << 8) + (frame[length - 1] ?? 0) === MARK;
}

/**
 * @param {Bytes} frame
 * @param {string} codec
 * @param {boolean} isKey
 * @returns {number} How many bytes at its start stay readable.
 */
export function clearBytes(frame, codec, isKey) {
  if (codec === "opus") return 1; // The table of contents: whether this is silence.
  if (codec === "vp8") return isKey ? 10 : 3; // RFC 6386 section 9.1: key frame bit, start code, size.
  if (codec === "h264") return firstSlice(frame) + 2; // Up to the slice's own header (RFC 6184 section 5.3).
  return 0; // VP9 and AV1 are described by their packets' descriptors.
}

/** @param {Bytes} frame @returns {number} Where the header byte of the first picture NAL unit is. */
function firstSlice(frame) {
  for (let at = 0; at + 3 < frame.length; at++) {
    if (frame[at] !== 0 || frame[at + 1] !== 0 || frame[at + 2] !== 1) continue;
    const type = (frame[at + 3] ?? 0) & 0x1f;
    if (type === 1 || type === 5) return at + 3;
  }
  return 0;
}

/** @param {number} counter @returns {Bytes} 12 bytes. */
function ivOf(counter) {
  const iv = new Uint8Array(12);
  new DataView(iv.buffer).setUint32(8, counter);
  return iv;
}

/**
 * @param {Bytes} first
 * @param {Bytes} second
 */
function join(first, second) {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/**
 * What of the prefix is authenticated. Of H264 only the slice's two bytes: browsers rewrite parameter sets and start
 * codes on the way.
 *
 * @param {Bytes} head
 * @param {string} codec
 */
function authenticated(head, codec) {
  return codec === "h264" ? head.slice(-2) : head;
}

/** @param {Bytes} frame */
function splitH264(frame) {
  const prefix = Math.min(firstSlice(frame) + 2, frame.length);
  const head = frame.subarray(0, prefix);
  return { head, rest: unescape(frame.subarray(prefix), zerosAtEnd(head)) };
}

/** @param {Bytes} bytes */
function zerosAtEnd(bytes) {
  let zeros = 0;
  while (zeros < 2 && bytes[bytes.length - 1 - zeros] === 0) zeros += 1;
  return zeros;
}

/**
 * Puts a 3 before what would look like a start code (H.264 section 7.4.1).
 *
 * @param {Bytes} bytes
 * @param {number} zeros How many stand before them.
 * @returns {Bytes}
 */
export function escape(bytes, zeros) {
  const out = new Uint8Array(Math.ceil(bytes.length * 1.5) + 1);
  let length = 0;
  for (const byte of bytes) {
    if (zeros >= 2 && byte <= 3) {
      out[length++] = 3;
      zeros = 0;
    }
    out[length++] = byte;
    zeros = byte === 0 ? zeros + 1 : 0;
  }
  return out.subarray(0, length);
}

/**
 * Undoes `escape`.
 *
 * @param {Bytes} bytes
 * @param {number} zeros
 * @returns {Bytes}
 */
export function unescape(bytes, zeros) {
  const out = new Uint8Array(bytes.length);
  let length = 0;
  for (const byte of bytes) {
    const inserted = zeros >= 2 && byte === 3;
    zeros = inserted ? 0 : byte === 0 ? zeros + 1 : 0;
    if (!inserted) out[length++] = byte;
  }
  return out.subarray(0, length);
}
