// @ts-check
/**
 * A room as a program sees it: connect, publish, and be told who comes, speaks and shows what. Comes back by itself
 * after the network or the server was away. Draws nothing and plays only sound.
 */

import { ENCRYPTABLE, Encryption } from "./encryption.js";
import { RoomError } from "./errors.js";
import { RoomEvent } from "./events.js";
import { LocalParticipant } from "./participant.js";
import { Paths } from "./paths.js";
import { keepPlace, takePlace } from "./resume.js";
import { Roster } from "./roster.js";
import { Sampler } from "../stats.js";
import { Signalling, socketAddress } from "./signalling.js";
import { Sound } from "./sound.js";
import { Transport } from "./transport.js";
import { Wishes } from "./wishes.js";

/** Pauses between attempts to come back; the last repeats. Longer is late after an outage, shorter floods servers. */
const BACKOFF = [100, 500, 1_000, 2_000, 4_000];
/** How long a restarted media path may take. Longer delays starting over, which works more often. Milliseconds. */
const RESTART_PATIENCE = 5_000;
/** Restarts before everything is built anew. */
const RESTARTS = 2;
/** Between reports of how smooth the pictures were. */
const REPORT_INTERVAL = 10_000;
/** Messages kept. Larger: more to scroll back; smaller: less memory. */
const MESSAGES = 500;
/** Reasons after which coming back is not wanted. */
const FINAL = ["kicked", "room_closed", "replaced", "duplicate_identity", "flooding", "left"];
/** Refusals that trying again does not change. */
const REFUSALS = ["unauthorized", "forbidden", "bad_request", "bad_offer", "unsupported", "not_found", "too_large"];
/** Below this width a page is taken for a phone's, which decodes fewer pictures. CSS pixels. */
const PHONE = 640;

/**
 * @typedef {object} Options
 * @property {number} [videoSlots] Pictures that can be received at once; 9, on phones 6.
 * @property {number} [audioSlots] Voices that can be heard at once; 4, on phones 3.
 * @property {Partial<import("./encodings.js").VideoSettings>} [video] How one's own pictures are encoded.
 * @property {string} [passphrase] Encrypts media end to end. All in the room need the same.
 *
 * @typedef {object} Introduction
 * @property {string} [name] For people.
 * @property {string} [identity] Who it is; a token decides instead, and without either the server makes one up.
 * @property {string} [metadata]
 * @property {Record<string, string>} [attributes]
 *
 * @typedef {"new" | "connecting" | "connected" | "reconnecting" | "closed"} State
 */

/**
 * A room and one's place in it.
 *
 * Events (`RoomEvent`, with the subject as properties):
 * `statechange`; `closed` (reason, text); `participantjoined`, `participantchange`, `participantleft` (participant);
 * `trackpublished`, `trackchange`, `trackunpublished` (participant, track); `trackstart`, `trackend` (media comes or no
 * longer comes); `localchange` (what one publishes); `speakers`; `quality` (participant); `chat` (message); `data`
 * (participant, data); `roomchange`; `pathchange`, `pathgap` (gap); `encryptionchange` (track); `soundblocked` (see `startSound`);
 * `muted` (reason: the track's source) by a moderator; `draining` (reason).
 */
export class Room extends EventTarget {
  /** @type {State} */
  state = "new";
  /** @type {import("../signalling.js").RoomInfo | null} */
  info = null;
  /** @type {import("./events.js").ChatMessage[]} Oldest first. */
  messages = [];
  /** @type {LocalParticipant} */
  localParticipant;
  /** The version of the server. */
  serverVersion = "";
  #options;
  #roster;
  #wishes;
  #paths;
  #sound = new Sound();
  /** @type {Encryption | null} */
  #encryption = null;
  #passphrase;
  /** @type {Signalling | null} */
  #signalling = null;
  /** @type {Transport | null} */
  #transport = null;
  /** @type {{ url: URL, token: string, introduction: Introduction } | null} */
  #place = null;
  /** @type {import("../signalling.js").SessionInfo | null} */
  #session = null;
  /** @type {RTCIceServer[]} */
  #iceServers = [];
  /** @type {AbortController | null} */
  #running = null;
  /** @type {{ reason: string, text: string } | null} What the server said before it closed the socket. */
  #goodbye = null;
  /** @type {Promise<unknown>} Offers go out one after another. */
  #offers = Promise.resolve();
  #mending = false;
  #reported = { freezes: 0, freezeMs: 0 };
  #sampler = new Sampler();

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    const phone = innerWidth < PHONE;
    const video = { codec: "auto", simulcast: true, bitrate: 0, ...options.video };
    this.#options = { videoSlots: phone ? 6 : 9, audioSlots: phone ? 3 : 4, ...options, video };
    this.#passphrase = options.passphrase ?? "";
    this.#roster = new Roster({
      emit: (type, details) => this.#heard(type, details),
      wishChanged: (track) => this.#wishes.changed(track),
    });
    this.#wishes = new Wishes(
      () => this.#roster.tracks.filter(({ kind }) => kind === "video"),
      async (wishes) => this.#bind((await this.#request("subscribe", { wishes })).bindings),
    );
    this.localParticipant = new LocalParticipant(NOBODY, {
      request: (method, params) => this.#request(method, params),
      publish: (local, isNew) => this.#publish(local, isNew),
      changed: () => this.#localChanged(),
    });
    this.#paths = this.#makePaths();
    this.#sound.addEventListener("blocked", () => this.#emit("soundblocked"));
  }

  /** @returns {Map<string, import("./participant.js").Participant>} The others, by sid. */
  get participants() {
    return this.#roster.others;
  }

  /** @returns {import("./participant.js").Participant[]} Who speaks now, loudest first; oneself included. */
  get speakers() {
    return this.#roster.speakers;
  }

  get dominantSpeaker() {
    return this.#roster.dominant;
  }

  /** Where pictures and sound travel: through the server, or straight to the only other one. */
  get path() {
    return this.#paths.current;
  }

  get isEncrypted() {
    return this.#passphrase !== "";
  }

  /** The browser wants a click before it plays sound: call `startSound` within it. */
  get isSoundBlocked() {
    return this.#sound.isBlocked;
  }

  /** @returns {RTCPeerConnection | null} The connection with the server, to look at. */
  get peerConnection() {
    return this.#transport?.pc ?? null;
  }

  /** @returns {RTCPeerConnection | null} The direct connection, while there is one. */
  get directConnection() {
    return this.#paths.direct?.pc ?? null;
  }

  /**
   * Comes in. What was published before goes out with the same round trip.
   *
   * @param {string | URL} url The room's address: `https://host/room/name`.
   * @param {string} [token] Empty on an open server.
   * @param {Introduction} [introduction]
   * @returns {Promise<void>} Once the room is joined; media follows.
   * @throws {RoomError}
   */
  async connect(url, token = "", introduction = {}) {
    if (this.#running) throw new RoomError("already_joined", "This room is connected already; leave it first.");
    const place = { url: socketAddress(url, ""), token, introduction };
    this.#place = place;
    this.#running = new AbortController();
    const { signal } = this.#running;
    this.#setState("connecting");
    await this.#prepareEncryption();
    const kept = takePlace(place.url);
    if (kept) this.#session = { id: kept.session, resumeSecret: kept.secret, resumeWindow: 0 };
    if (kept?.identity) place.introduction = { ...introduction, identity: introduction.identity ?? kept.identity };
    try {
      await this.#join(url, signal);
    } catch (problem) {
      this.#end();
      this.#setState("closed");
      throw problem;
    }
    addEventListener("pagehide", () => this.#keepPlace(), { signal });
    addEventListener("online", () => void this.#mend(), { signal });
    const timer = setInterval(() => void this.#report(), REPORT_INTERVAL);
    signal.addEventListener("abort", () => clearInterval(timer));
    void this.#stay(url, signal);
  }

  /** Leaves, and stops every device that this room opened. */
  async leave() {
    if (!this.#running) return;
    const said = this.#request("leave", {}).catch(() => {});
    for (const { mediaStreamTrack } of this.localParticipant.published) mediaStreamTrack?.stop();
    this.#running.abort();
    await said;
    this.#end();
    this.localParticipant.published = [];
    this.#setState("closed");
    this.#emit("closed", { reason: "left" });
  }

  /**
   * @param {string} text
   * @param {{ to?: string[] }} [options] `to`: sids; absent: everybody.
   */
  async sendChat(text, { to } = {}) {
    const { message } = await this.#request("chat", { text, ...(to ? { to } : {}) });
    this.#keepMessage(message);
  }

  /**
   * @param {string} topic
   * @param {Uint8Array | string} payload
   * @param {{ to?: string[], reliable?: boolean }} [options] Not reliable: newer matters more than complete.
   */
  async sendData(topic, payload, { to, reliable = true } = {}) {
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const base64 = btoa(String.fromCharCode(...bytes));
    await this.#request("data", { topic, payload: base64, reliable, ...(to ? { to } : {}) });
  }

  /** @param {import("../signalling.js").RoomMode} mode */
  async setMode(mode) {
    await this.#request("setMode", { mode });
  }

  /** Removes somebody; for admins. @param {{ sid: string }} participant @param {string} [reason] */
  async kick({ sid }, reason) {
    await this.#request("kick", { participant: sid, ...(reason ? { reason } : {}) });
  }

  /** Mutes somebody's track; for admins. @param {{ sid: string }} track */
  async muteOther({ sid }) {
    await this.#request("muteOther", { track: sid });
  }

  /** Within a click or a key press, when the browser held the sound back. */
  startSound() {
    return this.#sound.unblock();
  }

  /** @param {string} deviceId A speaker or headphones of `listDevices`; empty is the system's choice. */
  setSoundOutput(deviceId) {
    return this.#sound.setOutput(deviceId);
  }

  /**
   * Turns end-to-end encryption on, off, or to another passphrase. Media starts anew for a moment.
   *
   * @param {string} passphrase Empty turns it off.
   */
  async setPassphrase(passphrase) {
    const switches = (passphrase === "") !== (this.#passphrase === "");
    this.#passphrase = passphrase;
    await this.#prepareEncryption();
    if (switches) this.#rebuild();
    this.#emit("encryptionchange");
  }

  /** @returns {Promise<import("../signalling.js").Stats>} How the server sees one's connection. */
  serverStats() {
    return this.#request("stats", {});
  }

  /** @returns {Promise<import("../stats.js").Figures | null>} Round trip, bitrates and losses of one's connection. */
  stats() {
    return this.#sampler.sample(this.#paths.direct?.pc ?? this.#transport?.pc ?? null);
  }

  /** @type {Signalling["request"]} */
  #request(method, params) {
    if (!this.#signalling) return Promise.reject(new RoomError("closed", "This room is not connected."));
    return this.#signalling.request(method, params);
  }

  /**
   * @param {string | URL} url
   * @param {AbortSignal} signal
   */
  async #join(url, signal) {
    const place = this.#place;
    if (!place) return;
    const signalling = await Signalling.open(url, place.token, signal);
    /** @type {any[]} */
    const early = [];
    /** @type {(message: any) => void} */
    let handle = (message) => early.push(message);
    signalling.addEventListener("message", (event) => handle(/** @type {CustomEvent} */ (event).detail));
    this.#goodbye = null;
    this.#signalling = signalling;
    try {
      const transport = (this.#transport ??= await this.#makeTransport());
      const offer = await transport.offer({ restart: transport.pc.remoteDescription !== null });
      const joined = await signalling.request("join", {
        version: 1,
        ...place.introduction,
        offer: offer.description.sdp ?? "",
        tracks: offer.tracks,
        ...(this.#session ? { resume: { session: this.#session.id, secret: this.#session.resumeSecret } } : {}),
        clientInfo: { sdk: "js", version: VERSION, browser: navigator.userAgent.slice(0, 200) },
      });
      await this.#accept(transport, offer, joined);
    } catch (problem) {
      signalling.close();
      this.#forget(problem);
      throw problem;
    }
    handle = (message) => this.#receive(message);
    for (const message of early) handle(message);
    this.#setState("connected");
    await this.#wishes.repeat();
  }

  /**
   * @param {Transport} transport
   * @param {import("./transport.js").Offer} offer
   * @param {import("../signalling.js").Joined} joined
   */
  async #accept(transport, offer, joined) {
    if (!joined.resumed) this.#paths.stop();
    this.#session = joined.session;
    this.#iceServers = joined.iceServers;
    this.info = joined.room;
    this.serverVersion = joined.serverInfo.version;
    this.localParticipant.info = joined.participant;
    this.messages = joined.chat;
    transport.useIceServers(joined.iceServers);
    if (joined.answer) await transport.accept(offer, joined.answer);
    learnSids(offer, joined.tracks);
    this.#roster.replace(joined.participants);
    this.#bind(joined.bindings);
    this.#emit("roomchange");
    this.#emit("participantchange", { participant: this.localParticipant });
  }

  /**
   * Comes back whenever the socket is lost, until one leaves or the server means it.
   *
   * @param {string | URL} url
   * @param {AbortSignal} signal
   */
  async #stay(url, signal) {
    while (!signal.aborted) {
      await closeOf(this.#signalling);
      if (signal.aborted) return;
      if (this.#goodbye && FINAL.includes(this.#goodbye.reason)) return this.#finish(this.#goodbye);
      this.#setState("reconnecting");
      for (let failures = 0; !signal.aborted && this.state === "reconnecting"; failures++) {
        try {
          await this.#join(url, signal);
        } catch (problem) {
          if (signal.aborted) return;
          const { code = "internal", message = "" } = problem instanceof RoomError ? problem : {};
          if (REFUSALS.includes(code) && failures > 1) return this.#finish({ reason: code, text: message });
          await pause(BACKOFF[Math.min(failures, BACKOFF.length - 1)] ?? 0, signal);
        }
      }
    }
  }

  /** @param {{ event: string, data: any }} message */
  #receive({ event, data }) {
    const roster = this.#roster;
    const self = this.localParticipant;
    switch (event) {
      case "participantJoined":
        return roster.join(data.participant);
      case "participantUpdated":
        if (data.participant.sid !== self.sid) return roster.update(data.participant);
        self.info = data.participant;
        return this.#emit("participantchange", { participant: self });
      case "participantState":
        return roster.setState(data.sid, data.state);
      case "participantLeft":
        return roster.leave(data.sid, data.reason);
      case "trackPublished":
        return roster.publish(data.participant, data.track);
      case "trackUpdated":
        return roster.updateTrack(data.participant, data.track);
      case "trackUnpublished":
        return roster.unpublish(data.participant, data.track);
      case "bindings":
        return this.#bind(data.bindings);
      case "speakers":
        return roster.setSpeakers(data.speakers, data.dominant, self);
      case "layers":
        return this.#dim(data.track, data.wanted);
      case "path":
        return void this.#paths.follow(data);
      case "signal":
        return this.#paths.signalled(data.from, data.payload);
      default:
        this.#receiveNews(event, data);
    }
  }

  /**
   * @param {string} event
   * @param {any} data
   */
  #receiveNews(event, data) {
    switch (event) {
      case "quality": {
        const participant = this.#who(data.sid);
        if (!participant) return;
        participant.quality = data.score;
        return this.#emit("quality", { participant });
      }
      case "chat":
        return this.#keepMessage(data.message);
      case "data": {
        const payload = Uint8Array.from(atob(data.payload), (letter) => letter.charCodeAt(0));
        return this.#emit("data", { participant: this.#who(data.from), data: { topic: data.topic, payload } });
      }
      case "roomUpdated":
        this.info = data.room;
        return this.#emit("roomchange");
      case "muted": {
        const source = this.localParticipant.published.find(({ sid }) => sid === data.track)?.source;
        void this.localParticipant._mutedByOther(data.track);
        return this.#emit("muted", { reason: source, participant: this.#who(data.by) });
      }
      case "draining":
        return this.#emit("draining", { reason: data.reason });
      case "closed":
        this.#goodbye = { reason: data.reason, text: data.message };
    }
  }

  /** @param {string} sid */
  #who(sid) {
    return sid === this.localParticipant.sid ? this.localParticipant : this.#roster.others.get(sid);
  }

  /** @param {import("../signalling.js").Binding[]} bindings */
  #bind(bindings) {
    const transport = this.#transport;
    if (transport) this.#roster.setBindings(bindings, (mid) => transport.receiverOf(mid));
  }

  /**
   * What the roster tells goes out as events, after what has to follow from it.
   *
   * @param {string} type
   * @param {import("./events.js").Details} [details]
   */
  #heard(type, details) {
    if (type === "trackpublished" && details?.track) this.#paths.adopt(details.track);
    if (type === "trackpublished" || type === "trackunpublished") this.#wishes.touch();
    this.#emit(type, details);
    if (/^track/.test(type)) this.#listen();
  }

  /** Sound of a direct path has no slot; and what is encrypted is only noise to those without the passphrase. */
  #listen() {
    for (const { kind, receiver, encrypted, _slot } of this.#roster.tracks) {
      if (kind !== "audio" || !receiver) continue;
      if (receiver !== _slot) this.#sound.play(receiver.track);
      this.#sound.silence(receiver.track, encrypted && this.#encryption === null);
    }
  }

  /**
   * @param {string} sid
   * @param {import("../signalling.js").LayerWish[]} wanted
   */
  #dim(sid, wanted) {
    const local = this.localParticipant.published.find((one) => one.sid === sid);
    if (local) this.#transport?.setWanted(local, wanted).catch(console.info);
  }

  /**
   * @param {import("./track.js").LocalTrack} local
   * @param {boolean} published
   */
  async #publish(local, published) {
    const transport = this.#transport;
    if (!transport) return; // Goes out with the join.
    if (published) await transport.add(local);
    else await transport.remove(local);
    await this.#renegotiate();
  }

  /** @param {{ restart?: boolean }} [options] */
  #renegotiate(options) {
    const step = async () => {
      const { state } = this;
      const transport = this.#transport;
      if (!transport || state !== "connected") return; // The next join tells it.
      const offer = await transport.offer(options);
      const { answer, tracks, bindings } = await this.#request("offer", {
        offer: offer.description.sdp ?? "",
        tracks: offer.tracks,
      });
      // Before the next event can bring newer ones.
      this.#bind(bindings);
      learnSids(offer, tracks);
      await transport.accept(offer, answer);
    };
    const result = this.#offers.then(step);
    this.#offers = result.catch(() => {});
    return result;
  }

  async #makeTransport() {
    const transport = new Transport({ ...this.#options, video: this.#video }, this.#encryption);
    transport.addEventListener("trouble", () => void this.#mend());
    for (const local of this.localParticipant.published) {
      local._transceiver = null;
      await transport.add(local);
    }
    for (const { kind, transceiver } of transport.slots)
      if (kind === "audio") this.#sound.play(transceiver.receiver.track);
    return transport;
  }

  /** Restarts ICE; when that does not help, everything starts over. */
  async #mend() {
    const transport = this.#transport;
    if (this.#mending || this.state !== "connected" || !transport || transport.isConnected) return;
    this.#mending = true;
    for (let tries = 0; tries < RESTARTS && this.#transport === transport; tries++) {
      await this.#renegotiate({ restart: true }).catch(() => {});
      if (await becomesConnected(transport)) break;
    }
    this.#mending = false;
    if (this.#transport === transport && this.state === "connected" && !transport.isConnected) this.#rebuild();
  }

  /** Takes one's own place over with a new peer connection. */
  #rebuild() {
    this.#dropTransport();
    this.#signalling?.close();
  }

  #dropTransport() {
    this.#sound.stopAll();
    this.#transport?.close();
    this.#transport = null;
  }

  /** What a refused join teaches. @param {unknown} problem */
  #forget(problem) {
    if (!(problem instanceof RoomError)) return this.#dropTransport();
    if (!REFUSALS.includes(problem.code)) return;
    // Perhaps only the place is gone: then the next attempt is a new arrival.
    this.#session = null;
    this.#dropTransport();
  }

  async #prepareEncryption() {
    if (this.#passphrase === "") {
      this.#encryption?.stop();
      this.#encryption = null;
      return;
    }
    if (!Encryption.isSupported)
      throw new RoomError("unsupported", "This browser cannot encrypt end to end. Use a newer one, over HTTPS.");
    if (!this.#encryption) {
      this.#encryption = new Encryption();
      this.#encryption.addEventListener("state", (event) => this.#sealed(/** @type {CustomEvent} */ (event).detail));
    }
    const name = this.#place?.url.pathname ?? "";
    await this.#encryption.setPassphrase(this.#passphrase, name);
  }

  /** @param {{ id: string, state: import("./track.js").Sealed }} report Of a receiver. */
  #sealed({ id, state }) {
    const track = this.#roster.tracks.find(({ receiver }) => receiver && this.#encryption?.idOf(receiver) === id);
    if (!track || track.sealed === state) return;
    track.sealed = state;
    this.#emit("encryptionchange", { track, participant: track.participant });
  }

  /** How pictures are encoded now. @returns {import("./encodings.js").VideoSettings} */
  get #video() {
    const { video } = this.#options;
    // Left to the browser it might be one that cannot be encrypted.
    return this.#encryption && !ENCRYPTABLE.includes(video.codec) ? { ...video, codec: "vp8" } : video;
  }

  #makePaths() {
    return new Paths({
      tracks: () => this.#roster.tracks,
      published: () => this.localParticipant.published,
      transport: () => this.#transport,
      iceServers: () => this.#iceServers,
      request: (method, params) => this.#request(method, params),
      video: () => this.#video,
      encryption: () => this.#encryption,
      changed: () => {
        this.#listen();
        this.#emit("pathchange");
      },
      measured: (gap) => this.#emit("pathgap", { gap }),
    });
  }

  #localChanged() {
    void this.#paths.republish();
    this.#emit("localchange");
  }

  /** @param {import("./events.js").ChatMessage} message */
  #keepMessage(message) {
    if (this.messages.some(({ id }) => id === message.id)) return;
    this.messages = [...this.messages, message].slice(-MESSAGES);
    this.#emit("chat", { message, participant: this.#who(message.from.sid) });
  }

  #keepPlace() {
    const session = this.#session;
    if (!this.#place || !session || this.state === "closed") return;
    const { identity } = this.localParticipant;
    keepPlace(this.#place.url, { session: session.id, secret: session.resumeSecret, identity });
  }

  async #report() {
    const pc = this.#transport?.pc;
    if (!pc || this.state !== "connected") return;
    const total = { freezes: 0, freezeMs: 0 };
    (await pc.getStats()).forEach((entry) => {
      total.freezes += entry.freezeCount ?? 0;
      total.freezeMs += (entry.totalFreezesDuration ?? 0) * 1000;
    });
    const freezes = Math.max(0, total.freezes - this.#reported.freezes);
    const freezeMs = Math.max(0, Math.round(total.freezeMs - this.#reported.freezeMs));
    this.#reported = total;
    await this.#request("report", { freezes, freezeMs, intervalMs: REPORT_INTERVAL }).catch(() => {});
  }

  /** @param {{ reason: string, text: string }} goodbye */
  #finish(goodbye) {
    for (const { mediaStreamTrack } of this.localParticipant.published) mediaStreamTrack?.stop();
    this.#running?.abort();
    this.#end();
    this.#setState("closed");
    this.#emit("closed", goodbye);
  }

  #end() {
    this.#running?.abort();
    this.#running = null;
    this.#session = null;
    this.#paths.stop();
    this.#roster.replace([]);
    this.#dropTransport();
    this.#signalling?.close();
    this.#signalling = null;
  }

  /** @param {State} state */
  #setState(state) {
    if (state === this.state) return;
    this.state = state;
    this.#emit("statechange");
  }

  /**
   * @param {string} type
   * @param {import("./events.js").Details} [details]
   */
  #emit(type, details) {
    this.dispatchEvent(new RoomEvent(type, details));
  }
}

/** Of this SDK; the package has the same. */
export const VERSION = "0.1.0";

/** Oneself before the server has said who that is. */
const NOBODY = {
  sid: "",
  identity: "",
  name: "",
  metadata: "",
  attributes: {},
  kind: /** @type {const} */ ("standard"),
  state: /** @type {const} */ ("active"),
  joinedAt: 0,
  permissions: {
    canPublish: true,
    canSubscribe: true,
    canPublishData: true,
    canUpdateMetadata: true,
    admin: false,
    hidden: false,
  },
  tracks: [],
};

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

/** @param {Transport} transport @returns {Promise<boolean>} False when it took too long. */
function becomesConnected(transport) {
  return new Promise((resolve) => {
    if (transport.isConnected) return resolve(true);
    transport.addEventListener("connected", () => resolve(true), { once: true });
    setTimeout(() => resolve(transport.isConnected), RESTART_PATIENCE);
  });
}

/**
 * Resolves after the pause, or at once when the network comes back or one leaves.
 *
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const within = new AbortController();
    const end = () => {
      within.abort();
      resolve();
    };
    setTimeout(end, milliseconds * (0.9 + 0.2 * Math.random()));
    addEventListener("online", end, { signal: within.signal });
    signal.addEventListener("abort", end, { signal: within.signal });
  });
}
