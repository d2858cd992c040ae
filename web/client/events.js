// @ts-check
/** Events of a room: the platform's Event with the subject as properties. */

/**
 * @typedef {import("../signalling.js").ChatMessage} ChatMessage
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
