// @ts-check
/** Requests that wait for their answers, whichever way they went. */

import { RoomError } from "./errors.js";

/** Longest wait for an answer, in milliseconds. Longer hides a dead server, shorter fails on slow links. */
export const PATIENCE = 10_000;

/**
 * @typedef {object} Waiting
 * @property {(result: any) => void} resolve
 * @property {(problem: Error) => void} reject
 * @property {ReturnType<typeof setTimeout>} timer
 *
 * @typedef {object} Answer
 * @property {number} id
 * @property {any} [result]
 * @property {import("../signalling.js").Failure} [error]
 */

export class Pending {
  /** @type {Map<number, Waiting>} */
  #waiting = new Map();
  #lastId = 0;

  /**
   * @param {(id: number) => void} send
   * @returns {Promise<any>} The result.
   * @throws {RoomError}
   */
  ask(send) {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(new RoomError("timeout", "The server did not answer in time."));
      }, PATIENCE);
      this.#waiting.set(id, { resolve, reject, timer });
      send(id);
    });
  }

  /** @param {Answer} answer */
  settle({ id, result, error }) {
    const waiting = this.#waiting.get(id);
    if (!waiting) return;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(new RoomError(error.code, error.message));
    else waiting.resolve(result);
  }

  /** No answer will come any more. */
  end() {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(new RoomError("closed", "The connection to the room was lost."));
    }
    this.#waiting.clear();
  }
}
