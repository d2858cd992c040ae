// @ts-check
/**
 * One WebSocket to a room: requests with replies, and the server's events. Knows the envelope of the messages and not
 * what they mean; coming back after a loss is the business of room.js.
 */

import { RoomError } from "./errors.js";
import { PATIENCE, Pending } from "./pending.js";

const PROTOCOL = "crosspoint.v1";
/** Between signs of life that are asked for. Longer notices a dead network later, shorter wakes phones more often. */
const PING_INTERVAL = 4_000;
/** Pings unanswered in a row after which the socket counts as dead: a frozen network closes no socket by itself. Not a
 * time: where a page sleeps or its timers are held back, a long silence says nothing. */
const UNANSWERED = 2;

/** @typedef {import("../signalling.js").Methods} Methods */

/**
 * Emits `message` (a CustomEvent of {event, data}) for what the server tells by itself, and `close` once when the
 * socket is gone, whoever ended it.
 */
export class Signalling extends EventTarget {
  /** @type {WebSocket} */
  #socket;
  #pending = new Pending();
  /** Pings since something was heard. */
  #unanswered = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} Unset once it has ended. */
  #heart;

  /** @param {WebSocket} socket An open one. */
  constructor(socket) {
    super();
    this.#socket = socket;
    socket.addEventListener("message", ({ data }) => this.#receive(data));
    socket.addEventListener("close", () => this.#ended(), { once: true });
    this.#heart = setInterval(() => this.#beat(), PING_INTERVAL);
  }

  /**
   * @param {URL} url As `socketAddress` makes it.
   * @param {AbortSignal} signal Its reason is what the promise then rejects with.
   * @returns {Promise<Signalling>}
   * @throws {RoomError}
   */
  static open(url, signal) {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      const socket = new WebSocket(url, PROTOCOL);
      const within = new AbortController();
      const end = (/** @type {unknown} */ problem) => {
        within.abort();
        socket.close();
        reject(problem);
      };
      const fail = (/** @type {string} */ message) => end(new RoomError("unreachable", message));
      const timer = setTimeout(() => fail("The server does not answer."), PATIENCE);
      within.signal.addEventListener("abort", () => clearTimeout(timer));
      signal.addEventListener("abort", () => end(signal.reason), { signal: within.signal });
      // A browser does not tell a page why a WebSocket was refused.
      const refused = () => fail("The server cannot be reached. It may be restarting, or this device may be offline.");
      socket.addEventListener("error", refused, { signal: within.signal });
      socket.addEventListener("close", refused, { signal: within.signal });
      const opened = () => {
        within.abort();
        resolve(new Signalling(socket));
      };
      socket.addEventListener("open", opened, { signal: within.signal });
    });
  }

  get isOpen() {
    return this.#socket.readyState === WebSocket.OPEN;
  }

  /**
   * @template {keyof Methods} M
   * @param {M} method
   * @param {Methods[M]["params"]} params
   * @returns {Promise<Methods[M]["result"]>}
   * @throws {RoomError}
   */
  request(method, params) {
    if (!this.isOpen) return Promise.reject(new RoomError("closed", "There is no connection to the room just now."));
    return this.#pending.ask((id) => this.#socket.send(JSON.stringify({ id, method, params })));
  }

  close() {
    this.#socket.close();
    this.#ended();
  }

  /** @param {unknown} text */
  #receive(text) {
    this.#unanswered = 0;
    const message = JSON.parse(String(text));
    if (typeof message.event === "string") {
      this.dispatchEvent(new CustomEvent("message", { detail: message }));
      return;
    }
    this.#pending.settle(message);
  }

  #beat() {
    if (this.#unanswered >= UNANSWERED) return this.close();
    this.#unanswered += 1;
    this.request("ping", {}).catch(() => {});
  }

  #ended() {
    if (this.#heart === undefined) return;
    clearInterval(this.#heart);
    this.#heart = undefined;
    this.#pending.end();
    this.dispatchEvent(new Event("close"));
  }
}

/**
 * @param {string | URL} room The room's address: `https://host/room/name`, as people open it.
 * @param {string} token Empty on an open server.
 * @returns {URL}
 */
export function socketAddress(room, token) {
  const url = new URL(room, globalThis.location?.href);
  url.protocol = url.protocol.replace("http", "ws");
  const name = url.pathname.split("/").filter(Boolean).pop() ?? "";
  const before = url.pathname.replace(/\/?rooms?\/[^/]*\/?$/, "");
  url.pathname = `${before}/rooms/${name}/ws`;
  url.search = url.hash = "";
  if (token) url.searchParams.set("token", token);
  return url;
}
