// @ts-check
/**
 * One's place in a room, kept over lost sockets, lost networks and reloads: the socket, the peer connection, and the
 * joins that bring both back. What is told and shown is the business of room.js.
 */

import { left, RoomError, sentence } from "./errors.js";
import { keepPlace, takePlace } from "./resume.js";
import { Signalling, socketAddress } from "./signalling.js";
import { Transport } from "./transport.js";
import { becomes, pause, spread, time } from "./waiting.js";

/** Of this SDK; the package has the same. */
export const VERSION = "0.1.0";

/** Pauses between attempts to come back; the last repeats. Longer is late after an outage, shorter floods servers. */
const BACKOFF = [100, 500, 1_000, 2_000, 4_000];
/** How long a restarted media path may take. Longer delays starting over, which works more often. Milliseconds. */
const RESTART_PATIENCE = 5_000;
/** Restarts before everything is built anew. */
const RESTARTS = 2;
/** Longest wait for the server to hear that one leaves, in milliseconds. Longer keeps people waiting who leave because
 * their network is gone; shorter has the others see somebody as lost whose messages are slow. */
const LEAVE_PATIENCE = 2_000;
/** Reasons after which coming back is not wanted. */
const FINAL = ["kicked", "room_closed", "replaced", "duplicate_identity", "flooding", "left"];
/** Refusals that trying again does not change. */
const REFUSALS = ["unauthorized", "forbidden", "bad_request", "bad_offer", "unsupported", "not_found", "too_large"];

/**
 * @typedef {import("./track.js").LocalTrack} LocalTrack
 * @typedef {import("../signalling.js").Joined} Joined
 *
 * @typedef {"new" | "connecting" | "connected" | "reconnecting" | "closed"} State
 *
 * @typedef {object} Introduction
 * @property {string} [name] For people.
 * @property {string} [identity] Who it is; a token decides instead, and without either the server makes one up.
 * @property {string} [metadata]
 * @property {Record<string, string>} [attributes]
 *
 * @typedef {object} Host What a session needs of its room, and tells it.
 * @property {(path: string) => Promise<void>} prepare What the room of this path needs before a transport is made.
 * @property {() => Promise<Transport>} makeTransport With everything that is published.
 * @property {(transport: Transport) => void} dropTransport It is closed already.
 * @property {(joined: Joined) => void} joined Called with the answer in place, before any event.
 * @property {(bindings: import("../signalling.js").Binding[]) => void} bound
 * @property {(message: { event: string, data: any }) => void} received
 * @property {() => number | null} latestData Number of the latest data message this page has, if it was in the room.
 * @property {(state: State) => void} changed
 * @property {(goodbye: { reason: string, text: string }) => void} ended Nothing brings it back.
 */

export class Session {
  /** @type {State} */
  state = "new";
  /** @type {Transport | null} */
  transport = null;
  /** @type {RTCIceServer[]} */
  iceServers = [];
  #host;
  /** @type {Signalling | null} */
  #signalling = null;
  /** @type {{ socket: URL, introduction: Introduction } | null} */
  #place = null;
  /** @type {{ id: string, resumeSecret: string } | null} */
  #known = null;
  #identity = "";
  /** @type {AbortController | null} */
  #running = null;
  /** @type {Promise<void>} Settles when nothing of the latest `open` is under way any more. */
  #opening = Promise.resolve();
  /** @type {{ reason: string, text: string } | null} What the server said before it closed the socket. */
  #goodbye = null;
  /** @type {Promise<unknown>} Offers go out one after another. */
  #offers = Promise.resolve();
  #mending = false;

  /** @param {Host} host */
  constructor(host) {
    this.#host = host;
  }

  /**
   * @param {string | URL} url The room's address.
   * @param {string} token
   * @param {Introduction} introduction
   * @throws {RoomError}
   */
  async open(url, token, introduction) {
    if (this.#running) throw new RoomError("already_joined", "This room is connected already; leave it first.");
    const socket = socketAddress(url, token);
    const kept = takePlace(socket);
    const identity = introduction.identity ?? kept?.identity;
    this.#known = kept && { id: kept.session, resumeSecret: kept.secret };
    this.#place = { socket, introduction: { ...introduction, ...(identity ? { identity } : {}) } };
    this.#running = new AbortController();
    const { signal } = this.#running;
    this.#set("connecting");
    try {
      this.#opening = this.#comeIn(socket, signal);
      await this.#opening;
    } catch (problem) {
      this.close();
      throw problem;
    }
    addEventListener("pagehide", () => this.#keepPlace(), { signal });
    addEventListener("online", () => void this.#mend(), { signal });
    void this.#stay(signal);
  }

  /** What to say of oneself if one has to come anew. @param {Introduction} introduction */
  introduce(introduction) {
    if (this.#place) Object.assign(this.#place.introduction, introduction);
  }

  /** Tells the server, and ends. */
  async leave() {
    this.#running?.abort(left());
    await Promise.race([this.request("leave", {}), time(LEAVE_PATIENCE)]).catch(() => {});
    this.close();
    await this.#opening.catch(() => {});
  }

  close() {
    this.#running?.abort(left());
    this.#running = this.#known = null;
    this.#dropTransport();
    this.#signalling?.close();
    this.#signalling = null;
    this.#set("closed");
  }

  /** @type {Signalling["request"]} */
  request(method, params) {
    if (!this.#signalling) return Promise.reject(new RoomError("closed", "This room is not connected."));
    return this.#signalling.request(method, params);
  }

  /**
   * @param {LocalTrack} local
   * @param {boolean} isNew False: no longer published.
   */
  async publish(local, isNew) {
    const { transport } = this;
    if (!transport) return; // Goes out with the join.
    if (isNew) await transport.add(local);
    else await transport.remove(local);
    try {
      await this.#renegotiate();
    } catch (problem) {
      // What was refused must not go out with the next offer.
      if (isNew) await transport.remove(local).catch(() => {});
      throw problem;
    }
  }

  /** Takes one's own place over with a new peer connection. */
  rebuild() {
    if (this.#running === null) return;
    this.#dropTransport();
    this.#signalling?.close();
  }

  /**
   * With a place that is no longer known the first attempt fails and the second is a new arrival.
   *
   * @param {URL} socket
   * @param {AbortSignal} signal
   */
  async #comeIn(socket, signal) {
    await this.#host.prepare(socket.pathname);
    signal.throwIfAborted();
    const resumes = this.#known !== null;
    try {
      await this.#join(signal);
    } catch (problem) {
      if (signal.aborted || !(isLost(problem) || (resumes && isRefusal(problem)))) throw problem;
      await this.#join(signal);
    }
  }

  /** @param {AbortSignal} signal @returns {Promise<void>} */
  async #join(signal) {
    const place = this.#place;
    if (!place) return;
    const signalling = await Signalling.open(place.socket, signal);
    /** @type {any[]} */
    const early = [];
    /** @type {(message: any) => void} */
    let handle = (message) => early.push(message);
    signalling.addEventListener("message", (event) => handle(/** @type {CustomEvent} */ (event).detail));
    this.#goodbye = null;
    this.#signalling = signalling;
    try {
      const transport = (this.transport ??= await this.#makeTransport());
      const restart = transport.pc.remoteDescription !== null;
      const offer = await transport.offer({ restart });
      signal.throwIfAborted();
      const joined = await signalling.request("join", {
        version: 1,
        ...place.introduction,
        offer: offer.description.sdp ?? "",
        tracks: offer.tracks,
        ...(this.#known ? { resume: this.#resume(this.#known) } : {}),
        clientInfo: { sdk: "js", version: VERSION, browser: navigator.userAgent.slice(0, 200) },
      });
      this.#known = joined.session;
      this.#identity = joined.participant.identity;
      this.iceServers = joined.iceServers;
      transport.useIceServers(joined.iceServers);
      if (restart && !joined.resumed) return await this.#joinWithNewTransport(signal);
      if (joined.answer) await transport.accept(offer, joined.answer);
      learnSids(offer, joined.tracks);
      signal.throwIfAborted();
      this.#host.joined(joined);
    } catch (problem) {
      signalling.close();
      this.#learnFrom(problem);
      if (signal.aborted) this.#dropTransport();
      throw problem;
    }
    handle = (message) => this.#receive(message);
    for (const message of early) handle(message);
    this.#set("connected");
    // Published or taken back while the join was on its way.
    if (this.transport?.needsOffer) void this.#renegotiate().catch(console.info);
  }

  /** @param {{ id: string, resumeSecret: string }} known @returns {import("../signalling.js").Resume} */
  #resume({ id, resumeSecret }) {
    const received = this.#host.latestData();
    return { session: id, secret: resumeSecret, ...(received === null ? {} : { received }) };
  }

  /**
   * Once more, when a server that was restarted has answered: browsers name the encoding in a stream's packets only
   * until a receiver has acknowledged it, so nothing could be made of those that began with the former one.
   *
   * @param {AbortSignal} signal
   * @returns {Promise<void>}
   */
  #joinWithNewTransport(signal) {
    this.#dropTransport();
    this.#signalling?.close();
    return this.#join(signal);
  }

  /** What a refused join teaches. @param {unknown} problem */
  #learnFrom(problem) {
    if (problem instanceof RoomError && !isRefusal(problem)) return;
    // Perhaps only the place is gone: then the next attempt is a new arrival.
    this.#known = null;
    this.#dropTransport();
  }

  /**
   * Comes back whenever the socket is lost, until one leaves or the server means it.
   *
   * @param {AbortSignal} signal
   */
  async #stay(signal) {
    while (!signal.aborted) {
      await closeOf(this.#signalling);
      if (signal.aborted) return;
      if (this.#goodbye && FINAL.includes(this.#goodbye.reason)) return this.#finish(this.#goodbye);
      this.#set("reconnecting");
      for (let failures = 0; !signal.aborted && this.state === "reconnecting"; failures++) {
        try {
          await this.#join(signal);
        } catch (problem) {
          if (signal.aborted) return;
          const { code = "internal", message = "" } = problem instanceof RoomError ? problem : {};
          if (isRefusal(problem) && failures > 1) return this.#finish({ reason: code, text: message });
          await pause(spread(BACKOFF[Math.min(failures, BACKOFF.length - 1)] ?? 0), signal);
        }
      }
    }
  }

  /** @param {{ event: string, data: any }} message */
  #receive(message) {
    const { event, data } = message;
    if (event === "closed") this.#goodbye = { reason: data.reason, text: sentence(data.message) };
    else this.#host.received(message);
  }

  /** @param {{ restart?: boolean }} [options] */
  #renegotiate(options) {
    const step = async () => {
      const { transport } = this;
      if (!transport || this.state !== "connected") return; // The next join tells it.
      try {
        await this.#offer(transport, options);
      } catch (problem) {
        // Where the socket or the transport is lost, the next join tells it.
        if (!isLost(problem) || !this.#running) throw problem;
      }
    };
    const result = this.#offers.then(step);
    this.#offers = result.catch(() => {});
    return result;
  }

  /**
   * @param {Transport} transport
   * @param {{ restart?: boolean }} [options]
   */
  async #offer(transport, options) {
    const offer = await transport.offer(options);
    const params = { offer: offer.description.sdp ?? "", tracks: offer.tracks };
    const { answer, tracks, bindings } = await this.request("offer", params);
    // Before the next event can bring newer ones.
    this.#host.bound(bindings);
    learnSids(offer, tracks);
    await transport.accept(offer, answer);
  }

  /** Restarts ICE; when that does not help, everything starts over. */
  async #mend() {
    const { transport } = this;
    const wanted = () => this.transport === transport && this.state === "connected";
    if (this.#mending || !transport || transport.isConnected || !wanted()) return;
    this.#mending = true;
    for (let tries = 0; tries < RESTARTS && wanted() && !transport.isConnected; tries++) {
      await this.#renegotiate({ restart: true }).catch(() => {});
      await becomes(transport, "connected", () => transport.isConnected, RESTART_PATIENCE);
    }
    this.#mending = false;
    if (wanted() && !transport.isConnected) this.rebuild();
  }

  async #makeTransport() {
    const transport = await this.#host.makeTransport();
    transport.addEventListener("trouble", () => void this.#mend());
    return transport;
  }

  #dropTransport() {
    const { transport } = this;
    this.transport = null;
    transport?.close();
    if (transport) this.#host.dropTransport(transport);
  }

  #keepPlace() {
    if (!this.#place || !this.#known || this.state === "closed") return;
    const { id, resumeSecret } = this.#known;
    keepPlace(this.#place.socket, { session: id, secret: resumeSecret, identity: this.#identity });
  }

  /** @param {{ reason: string, text: string }} goodbye */
  #finish(goodbye) {
    this.close();
    this.#host.ended(goodbye);
  }

  /** @param {State} state */
  #set(state) {
    if (state === this.state) return;
    this.state = state;
    this.#host.changed(state);
  }
}

/** @param {unknown} problem */
function isRefusal(problem) {
  return problem instanceof RoomError && REFUSALS.includes(problem.code);
}

/** @param {unknown} problem Whether what it was to travel over is gone. */
function isLost(problem) {
  return problem instanceof RoomError && ["closed", "not_joined"].includes(problem.code);
}

/**
 * @param {import("./transport.js").Offer} offer
 * @param {import("../signalling.js").PublishedTrack[]} published
 */
function learnSids({ tracks, published: locals }, published) {
  for (const [index, local] of locals.entries())
    local.sid = published.find(({ mid }) => mid === tracks[index]?.mid)?.sid ?? local.sid;
}

/** @param {Signalling | null} signalling @returns {Promise<unknown>} */
function closeOf(signalling) {
  if (!signalling?.isOpen) return Promise.resolve();
  return new Promise((resolve) => signalling.addEventListener("close", resolve, { once: true }));
}
