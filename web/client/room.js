// @ts-check
/**
 * A room as a program sees it: connect, publish, and be told who comes, speaks and shows what. Comes back by itself
 * after the network or the server was away. Draws nothing and plays only sound.
 */

import { Arrivals } from "./arrivals.js";
import { ENCRYPTABLE, Encryption } from "./encryption.js";
import { RoomError } from "./errors.js";
import { RoomEvent, RoomEventTarget } from "./events.js";
import { frame, hasRoom, unframe } from "./messages.js";
import { LocalParticipant, NOBODY } from "./participant.js";
import { Paths } from "./paths.js";
import { Reports } from "./reports.js";
import { Roster } from "./roster.js";
import { Session } from "./session.js";
import { Sampler } from "../stats.js";
import { Sound } from "./sound.js";
import { Transport } from "./transport.js";
import { Wishes } from "./wishes.js";

/** Messages kept. Larger: more to scroll back; smaller: less memory. */
const MESSAGES = 500;
/** Below this width a page is taken for a phone's, which decodes fewer pictures. CSS pixels. */
const PHONE = 640;

/**
 * @typedef {object} Options
 * @property {number} [videoSlots] Pictures that can be received at once; 9, on phones 6.
 * @property {number} [audioSlots] Voices that can be heard at once; 4, on phones 3.
 * @property {Partial<import("./encodings.js").VideoSettings>} [video] How one's own pictures are encoded.
 * @property {boolean} [redundantAudio] Sends one's sound twice, so that a lost packet is not heard, at twice the
 *   bitrate. Not together with a passphrase.
 * @property {string} [passphrase] Encrypts media end to end. All in the room need the same.
 *
 * @typedef {import("./session.js").Introduction} Introduction
 * @typedef {import("./session.js").State} State
 */

/** A room and one's place in it. Its events (`RoomEvent`, with the subject as properties) are in the README. */
export class Room extends RoomEventTarget {
  /** @type {import("../signalling.js").RoomInfo | null} */
  info = null;
  /** @type {import("./events.js").ChatMessage[]} Oldest first. */
  messages = [];
  /** @type {LocalParticipant} */
  localParticipant;
  /** The version of the server. */
  serverVersion = "";
  #options;
  #session;
  #roster;
  #wishes;
  #paths;
  #sound = new Sound();
  /** @type {Encryption | null} */
  #encryption = null;
  #passphrase;
  /** The room's path, which goes into the key of its encryption. */
  #name = "";
  #arrivals = new Arrivals((header, payload) => this.#receiveData(header, payload));
  /** Data messages that went over the socket and are not answered yet. */
  #onSocket = 0;
  #reports = new Reports();
  #sampler = new Sampler();

  /** @param {Options} [options] */
  constructor(options = {}) {
    super();
    const phone = innerWidth < PHONE;
    const video = { codec: "auto", simulcast: true, bitrate: 0, ...options.video };
    this.#options = { videoSlots: phone ? 6 : 9, audioSlots: phone ? 3 : 4, redundantAudio: false, ...options, video };
    this.#passphrase = options.passphrase ?? "";
    this.#session = this.#makeSession();
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
      publish: (local, isNew) => this.#session.publish(local, isNew),
      changed: () => this.#localChanged(),
      deviceLost: (source) => this.#emit("devicelost", { reason: source }),
    });
    this.#paths = this.#makePaths();
    this.#sound.addEventListener("blocked", () => this.#emit("soundblocked"));
  }

  /** Pictures that can be received at once. */
  get videoSlots() {
    return this.#options.videoSlots;
  }

  /** @returns {State} */
  get state() {
    return this.#session.state;
  }

  /** @returns {Map<string, import("./participant.js").Participant>} The others, by sid. */
  get participants() {
    return this.#roster.others;
  }

  /** @returns {import("./participant.js").Participant[]} Who speaks now, loudest first; oneself included. */
  get speakers() {
    return this.#roster.speakers;
  }

  /** What the application has written about the room; `roomchange` tells when it was changed. */
  get metadata() {
    return this.info?.metadata ?? "";
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
    return this.#session.transport?.pc ?? null;
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
    this.#wishes.start();
    await this.#session.open(url, token, introduction);
    const connection = () => (this.state === "connected" ? this.peerConnection : null);
    this.#reports.start(connection, (report) => this.#request("report", report));
  }

  /** Leaves, and stops every device that this room opened. */
  async leave() {
    if (this.state === "new" || this.state === "closed") return;
    this.localParticipant._end();
    await this.#session.leave();
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
   * @returns {Promise<void>} Of what is reliable: once the server has passed it on.
   * @throws {RoomError}
   */
  async sendData(topic, payload, { to, reliable = true } = {}) {
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const header = { topic, reliable, ...(to ? { to } : {}) };
    const { channel, reliable: complete } = this.#session.transport ?? {};
    if (!reliable && channel?.readyState === "open") {
      // Over the socket it would come late as well, and hold up what has to arrive.
      if (hasRoom(channel)) channel.send(frame(header, bytes));
      return;
    }
    // On two ways at once one would overtake the other.
    if (reliable && complete?.isOpen && this.#onSocket === 0) return complete.send(header, bytes);
    this.#onSocket += 1;
    const payloadText = btoa(String.fromCharCode(...bytes));
    await this.#request("data", { ...header, payload: payloadText }).finally(() => (this.#onSocket -= 1));
  }

  /** @param {import("../signalling.js").RoomMode} mode */
  async setMode(mode) {
    await this.#request("setMode", { mode });
  }

  /** Writes what `metadata` is for everybody; for admins. @param {string} metadata Up to 4 KiB. */
  async setMetadata(metadata) {
    await this.#request("updateRoom", { metadata });
  }

  /** Removes everybody; for admins. @param {string} [reason] */
  async close(reason) {
    await this.#request("closeRoom", reason ? { reason } : {});
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
    // Its senders and receivers were made with encryption, or without.
    if (switches) await this.#paths.abandon();
    await this.#prepareEncryption();
    if (switches) this.#session.rebuild();
    this.#emit("encryptionchange");
  }

  /** @returns {Promise<import("../signalling.js").Stats>} How the server sees one's connection. */
  serverStats() {
    return this.#request("stats", {});
  }

  /** @returns {Promise<import("../stats.js").Figures | null>} Round trip, bitrates and losses of one's connection. */
  stats() {
    return this.#sampler.sample(this.#paths.direct?.pc ?? this.#session.transport?.pc ?? null);
  }

  /** @type {import("./signalling.js").Signalling["request"]} */
  #request(method, params) {
    return this.#session.request(method, params);
  }

  #makeSession() {
    return new Session({
      prepare: (path) => {
        this.#name = path;
        return this.#prepareEncryption();
      },
      makeTransport: () => this.#makeTransport(),
      dropTransport: () => this.#dropTransport(),
      joined: (joined) => this.#joined(joined),
      bound: (bindings) => this.#bind(bindings),
      received: (message) => {
        this.#receive(message);
        this.#arrivals.told();
      },
      latestData: () => this.#arrivals.latest,
      changed: (state) => this.#changed(state),
      ended: (goodbye) => {
        this.localParticipant._end();
        this.#emit("closed", goodbye);
      },
    });
  }

  /** @param {import("../signalling.js").Joined} joined */
  #joined(joined) {
    if (!joined.resumed) this.#paths.stop();
    this.info = joined.room;
    this.serverVersion = joined.serverInfo.version;
    this.localParticipant.info = joined.participant;
    this.#roster.replace(joined.participants);
    this.#bind(joined.bindings);
    if (this.state === "connecting") this.messages = joined.chat;
    // Written while one was away.
    else joined.chat.forEach((message) => this.#keepMessage(message));
    this.#emit("roomchange");
    this.#emit("participantchange", { participant: this.localParticipant });
    this.#arrivals.joined(joined.events);
  }

  /** @param {State} state */
  #changed(state) {
    if (state === "connected") void this.#wishes.repeat();
    if (state === "closed") {
      this.#reports.stop();
      this.#paths.stop();
      this.#roster.replace([]);
      this.#wishes.stop();
      this.#encryption?.stop();
      this.#encryption = null;
    }
    this.#emit("statechange");
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
        this.#session.introduce(introductionOf(self.info));
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
        participant.info.quality = data.score;
        return this.#emit("quality", { participant });
      }
      case "chat":
        return this.#keepMessage(data.message);
      case "data":
        return this.#arrivals.take(
          data,
          Uint8Array.from(atob(data.payload), (letter) => letter.charCodeAt(0)),
        );
      case "roomUpdated":
        this.#paths.settled(this.info?.path ?? "sfu", data.room.path);
        this.info = data.room;
        return this.#emit("roomchange");
      case "muted": {
        const source = this.localParticipant.published.find(({ sid }) => sid === data.track)?.source;
        void this.localParticipant._mutedByOther(data.track);
        return this.#emit("muted", { reason: source, participant: this.#who(data.by) });
      }
      case "draining":
        return this.#emit("draining", { reason: data.reason });
    }
  }

  /**
   * @param {import("../signalling.js").DataHeader} header
   * @param {Uint8Array<ArrayBuffer>} payload
   */
  #receiveData({ topic, from = "" }, payload) {
    // Over a channel it may come behind the word that its sender has left.
    const participant = this.#who(from) ?? this.#roster.whoLeft(from);
    this.#emit("data", { participant, data: { topic, payload } });
  }

  /** @param {string} sid */
  #who(sid) {
    return sid === this.localParticipant.sid ? this.localParticipant : this.#roster.others.get(sid);
  }

  /** @param {import("../signalling.js").Binding[]} bindings */
  #bind(bindings) {
    const { transport } = this.#session;
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
    if (local) this.#session.transport?.setWanted(local, wanted).catch(console.info);
  }

  async #makeTransport() {
    const transport = new Transport({ ...this.#options, video: this.#video }, this.#encryption);
    for (const local of this.localParticipant.published) await transport.add(local);
    transport.addEventListener("data", (event) => {
      const message = unframe(/** @type {MessageEvent} */ (event).data);
      if (message) this.#receiveData(message.header, message.payload);
    });
    transport.reliable.latest = () => this.#arrivals.latest ?? 0;
    transport.reliable.addEventListener("message", (event) => {
      const { header, payload } = /** @type {CustomEvent} */ (event).detail;
      this.#arrivals.take(header, payload);
    });
    for (const { kind, transceiver } of transport.slots)
      if (kind === "audio") this.#sound.play(transceiver.receiver.track);
    return transport;
  }

  #dropTransport() {
    this.#sound.stopAll();
    for (const local of this.localParticipant.published) {
      local._transceiver = null;
      // What the server said of the tracks of one connection does not hold for those of the next.
      local._wanted.clear();
    }
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
    await this.#encryption.setPassphrase(this.#passphrase, this.#name);
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
      transport: () => this.#session.transport,
      iceServers: () => this.#session.iceServers,
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
    // Ids are unique in a room; one that was made anew counts from the beginning.
    if (this.messages.some(({ id, time }) => id === message.id && time === message.time)) return;
    this.messages = [...this.messages, message].slice(-MESSAGES);
    this.#emit("chat", { message, participant: this.#who(message.from.sid) });
  }

  /**
   * @param {string} type
   * @param {import("./events.js").Details} [details]
   */
  #emit(type, details) {
    this.dispatchEvent(new RoomEvent(type, details));
  }
}

/** @param {import("../signalling.js").ParticipantInfo} info @returns {Introduction} What one may have changed. */
function introductionOf({ name, metadata, attributes }) {
  return { name, metadata, attributes };
}
