// @ts-check
/** Events of a room: the platform's Event with the subject as properties. */

/**
 * @typedef {import("../signalling.js").ChatMessage} ChatMessage
 *
 * @typedef {"statechange" | "closed" | "participantjoined" | "participantchange" | "participantleft" | "trackpublished"
 *   | "trackchange" | "trackunpublished" | "trackstart" | "trackend" | "localchange" | "speakers" | "quality" | "chat"
 *   | "data" | "roomchange" | "pathchange" | "pathgap" | "encryptionchange" | "soundblocked" | "muted" | "devicelost"
 *   | "draining"} RoomEventType
 *
 * @typedef {((event: RoomEvent) => void) | { handleEvent: (event: RoomEvent) => void } | null} Listener
 *
 * @typedef {object} Details
 * @property {import("./participant.js").Participant} [participant]
 * @property {import("./track.js").RemoteTrack} [track]
 * @property {ChatMessage} [message]
 * @property {{ topic: string, payload: Uint8Array<ArrayBuffer> }} [data]
 * @property {string} [reason] Why something ended or cannot be done; of `closed` the server's word.
 * @property {string} [text] A sentence about it for a person.
 * @property {number} [gap] Milliseconds without a new picture while the path changed.
 */

export class RoomEvent extends Event {
  /**
   * @param {string} type
   * @param {Details} [details]
   */
  constructor(type, details = {}) {
    super(type);
    this.participant = details.participant;
    this.track = details.track;
    this.message = details.message;
    this.data = details.data;
    this.reason = details.reason ?? "";
    this.text = details.text ?? "";
    this.gap = details.gap;
  }
}

/** Emits room events, and has listeners know which there are. */
export class RoomEventTarget extends EventTarget {
  /**
   * @param {RoomEventType} type
   * @param {Listener} listener
   * @param {boolean | AddEventListenerOptions} [options]
   * @override
   */
  addEventListener(type, listener, options) {
    super.addEventListener(type, /** @type {EventListenerOrEventListenerObject | null} */ (listener), options);
  }

  /**
   * @param {RoomEventType} type
   * @param {Listener} listener
   * @param {boolean | EventListenerOptions} [options]
   * @override
   */
  removeEventListener(type, listener, options) {
    super.removeEventListener(type, /** @type {EventListenerOrEventListenerObject | null} */ (listener), options);
  }
}
