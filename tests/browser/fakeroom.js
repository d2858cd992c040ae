// @ts-check
/**
 * A room without media for tests of the page alone: answers the page's WebSocket as the server does, with any number of
 * people. What is tested against it is what one sees and hears told, not the server.
 */

import assert from "node:assert/strict";
import { setTimeout as pass } from "node:timers/promises";
import { PATIENCE } from "./browser.js";

/** @typedef {import("../../web/signalling.js").ParticipantInfo} ParticipantInfo */

export class FakeRoom {
  /** @type {{ method: string, params: any }[]} What the page asked for. */
  requests = [];
  /** @type {import("../../web/signalling.js").ChatMessage[]} What was written before one comes in. */
  chat = [];
  /** @type {import("playwright-core").WebSocketRoute | null} */
  #socket = null;
  #people;

  /** @param {ParticipantInfo[]} people Who is there already. */
  constructor(people) {
    this.#people = people;
  }

  /** @param {import("playwright-core").BrowserContext} context Whose pages shall come into this room. */
  async serve(context) {
    await context.routeWebSocket(/\/rooms\/[^/]+\/ws/, (socket) => {
      this.#socket = socket;
      socket.onMessage((text) => this.#answer(JSON.parse(String(text))));
    });
  }

  /**
   * @param {string} event
   * @param {object} data
   */
  tell(event, data) {
    this.#socket?.send(JSON.stringify({ event, data }));
  }

  /**
   * Waits for a request: the page may show what it has asked for before that arrives.
   *
   * @param {string} method
   * @param {(params: any) => boolean} [holds]
   * @returns {Promise<any>} The parameters of the last such request.
   */
  async asked(method, holds = () => true) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const request = this.requests.findLast((one) => one.method === method && holds(one.params));
      if (request) return request.params;
      assert.ok(Date.now() < deadline, `no such ${method} among ${this.requests.map(({ method }) => method)}`);
      await pass(50);
    }
  }

  /** Loses the connection; the page comes back by itself. */
  async hangUp() {
    await this.#socket?.close();
  }

  /** @param {{ id: number, method: string, params: any }} request */
  #answer({ id, method, params }) {
    if (method !== "ping") this.requests.push({ method, params });
    this.#socket?.send(JSON.stringify({ id, result: this.#result(method, params) }));
  }

  /**
   * @param {string} method
   * @param {any} params
   */
  #result(method, params) {
    const self = person("self", params.name ?? "Guest");
    if (method === "join") {
      return {
        session: { id: "session", resumeSecret: "secret", resumeWindow: 10_000 },
        resumed: false,
        room: { sid: "RM", name: "fake", metadata: "", mode: "auto", path: "sfu", createdAt: 0 },
        participant: self,
        participants: this.#people,
        tracks: params.tracks.map((/** @type {any} */ { mid }) => ({ mid, sid: `own-${mid}` })),
        bindings: [],
        chat: this.chat,
        events: 0,
        iceServers: [],
        limits: { message: 131_072, videoSlots: 9, audioSlots: 4 },
        serverInfo: { version: "fake" },
      };
    }
    if (method === "chat") {
      const from = { sid: "self", identity: "self", name: self.name };
      return { message: { id: String(this.requests.length), from, text: params.text, time: Date.now() } };
    }
    if (method === "update") {
      this.tell("participantUpdated", { participant: { ...self, ...params } });
      return { participant: { ...self, ...params } };
    }
    return method === "subscribe" ? { bindings: [] } : {};
  }
}

/**
 * @param {string} sid
 * @param {string} name
 * @param {Partial<ParticipantInfo>} [more]
 * @returns {ParticipantInfo}
 */
export function person(sid, name, more = {}) {
  return {
    sid,
    identity: sid,
    name,
    metadata: "",
    attributes: {},
    kind: "standard",
    state: "active",
    joinedAt: 0,
    permissions: {
      canPublish: true,
      canSubscribe: true,
      canPublishData: true,
      canUpdateMetadata: true,
      admin: false,
      hidden: false,
    },
    quality: 5,
    tracks: [
      {
        sid: `${sid}-mic`,
        kind: "audio",
        source: "microphone",
        name: "",
        muted: false,
        codec: "opus",
        width: 0,
        height: 0,
        simulcast: false,
        encrypted: false,
      },
    ],
    ...more,
  };
}
