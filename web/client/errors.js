// @ts-check
/** What can go wrong, as two types whose messages a page may show to a person as they are. */

/**
 * What the server says, and what the client finds out by itself.
 *
 * @typedef {import("../signalling.js").ErrorCode | "unreachable" | "timeout" | "closed"} ErrorCode
 */

/** The room or its server refused something, or cannot be reached. */
export class RoomError extends Error {
  /**
   * @param {ErrorCode} code
   * @param {string} message A sentence that says what to do.
   */
  constructor(code, message) {
    super(sentence(message));
    this.name = "RoomError";
    this.code = code;
  }
}

/** What ends whatever is under way when one leaves. */
export function left() {
  return new RoomError("closed", "The room was left meanwhile.");
}

/** The browser refused a camera, a microphone or a screen. */
export class CaptureError extends Error {
  /**
   * @param {string} title What happened.
   * @param {string} detail What to do about it.
   * @param {string} [reason] The browser's own name for it, such as "NotAllowedError".
   */
  constructor(title, detail, reason = "") {
    super(detail);
    this.name = "CaptureError";
    this.title = title;
    this.reason = reason;
  }
}

/**
 * What a server says, as a person reads it: its logs and interfaces have such texts without capital and full stop.
 *
 * @param {string} text
 */
export function sentence(text) {
  const end = text === "" || /[.!?]$/.test(text) ? "" : ".";
  return text.charAt(0).toUpperCase() + text.slice(1) + end;
}
