// @ts-check
/** Who is in the room and what they publish, kept as the server tells it. Emits what changed; sends nothing. */

import { Participant } from "./participant.js";
import { RemoteTrack } from "./track.js";

/** People remembered after they left. More, and what they sent is known as theirs however late; fewer: less memory. */
const LEFT = 16;

/**
 * @typedef {import("../signalling.js").ParticipantInfo} ParticipantInfo
 * @typedef {import("../signalling.js").TrackInfo} TrackInfo
 * @typedef {import("../signalling.js").Binding} Binding
 *
 * @typedef {object} Events What happens outside when something changes here.
 * @property {(type: string, details?: import("./events.js").Details) => void} emit
 * @property {(track: RemoteTrack) => void} wishChanged
 */

export class Roster {
  /** @type {Map<string, Participant>} The others, by sid, in the order they came. */
  others = new Map();
  /** @type {Map<string, Participant>} Who left last. */
  #left = new Map();
  /** @type {Participant[]} Loudest first. */
  speakers = [];
  /** @type {Participant | null} */
  dominant = null;
  /** @type {Binding[]} */
  #bindings = [];
  /** @type {(mid: string) => RTCRtpReceiver | null} */
  #receiverOf = () => null;
  #events;

  /** @param {Events} events */
  constructor(events) {
    this.#events = events;
  }

  /** @param {string} sid @returns {Participant | undefined} One who has just left. */
  whoLeft(sid) {
    return this.#left.get(sid);
  }

  /** @param {string} sid @returns {RemoteTrack | undefined} */
  track(sid) {
    for (const { tracks } of this.others.values()) if (tracks.has(sid)) return tracks.get(sid);
    return undefined;
  }

  /** @returns {RemoteTrack[]} */
  get tracks() {
    return [...this.others.values()].flatMap(({ tracks }) => [...tracks.values()]);
  }

  /** After a join: makes this what the server says, telling of each difference. @param {ParticipantInfo[]} infos */
  replace(infos) {
    const present = new Set(infos.map(({ sid }) => sid));
    for (const sid of [...this.others.keys()]) if (!present.has(sid)) this.leave(sid, "");
    for (const info of infos) {
      const known = this.others.get(info.sid);
      if (!known) this.join(info);
      else this.#refresh(known, info);
    }
  }

  /** @param {ParticipantInfo} info */
  join(info) {
    const known = this.others.get(info.sid);
    if (known) return this.#refresh(known, info);
    const participant = new Participant(info);
    this.others.set(info.sid, participant);
    this.#events.emit("participantjoined", { participant });
    for (const track of info.tracks) this.publish(info.sid, track);
  }

  /** @param {ParticipantInfo} info */
  update(info) {
    const participant = this.others.get(info.sid);
    if (participant) this.#refresh(participant, info);
  }

  /**
   * @param {string} sid
   * @param {ParticipantInfo["state"]} state
   */
  setState(sid, state) {
    const participant = this.others.get(sid);
    if (!participant) return;
    participant.info.state = state;
    this.#events.emit("participantchange", { participant });
  }

  /**
   * @param {string} sid
   * @param {string} reason
   */
  leave(sid, reason) {
    const participant = this.others.get(sid);
    if (!participant) return;
    for (const track of [...participant.tracks.keys()]) this.unpublish(sid, track);
    this.others.delete(sid);
    this.#left.set(sid, participant);
    for (const old of [...this.#left.keys()].slice(0, -LEFT)) this.#left.delete(old);
    this.speakers = this.speakers.filter((one) => one !== participant);
    if (this.dominant === participant) this.dominant = null;
    this.#events.emit("participantleft", { participant, reason });
  }

  /**
   * @param {string} sid
   * @param {TrackInfo} info
   */
  publish(sid, info) {
    const participant = this.others.get(sid);
    if (!participant) return;
    const known = participant.tracks.get(info.sid);
    if (known) return this.updateTrack(sid, info);
    const track = new RemoteTrack(info, participant, this.#events.wishChanged);
    participant.tracks.set(info.sid, track);
    this.#events.emit("trackpublished", { participant, track });
    // A binding may have been told before the track it is to.
    this.#bind(track);
  }

  /**
   * @param {string} sid
   * @param {TrackInfo} info
   */
  updateTrack(sid, info) {
    const participant = this.others.get(sid);
    const track = participant?.tracks.get(info.sid);
    if (!track) return;
    track._update(info);
    this.#events.emit("trackchange", { participant, track });
  }

  /**
   * @param {string} sid
   * @param {string} trackSid
   */
  unpublish(sid, trackSid) {
    const participant = this.others.get(sid);
    const track = participant?.tracks.get(trackSid);
    if (!track) return;
    participant?.tracks.delete(trackSid);
    track._carry(null);
    track._bind(null);
    track.detach();
    this.#events.emit("trackunpublished", { participant, track });
  }

  /**
   * @param {Binding[]} bindings All of them.
   * @param {(mid: string) => RTCRtpReceiver | null} receiverOf
   */
  setBindings(bindings, receiverOf) {
    this.#bindings = bindings;
    this.#receiverOf = receiverOf;
    for (const track of this.tracks) this.#bind(track);
  }

  /**
   * @param {import("../signalling.js").SpeakerLevel[]} speakers
   * @param {string | undefined} dominant
   * @param {Participant} self
   */
  setSpeakers(speakers, dominant, self) {
    const of = (/** @type {string | undefined} */ sid) =>
      sid === self.sid ? self : (this.others.get(sid ?? "") ?? null);
    const levels = new Map(speakers.map((speaker) => [speaker.sid, speaker]));
    for (const participant of [self, ...this.others.values()]) {
      const speaker = levels.get(participant.sid);
      participant.level = speaker?.level ?? 0;
      participant.isSpeaking = speaker?.active ?? false;
    }
    this.speakers = speakers.filter(({ active }) => active).flatMap(({ sid }) => of(sid) ?? []);
    this.dominant = of(dominant);
    this.#events.emit("speakers");
  }

  /**
   * @param {Participant} participant
   * @param {ParticipantInfo} info
   */
  #refresh(participant, info) {
    participant.info = info;
    this.#events.emit("participantchange", { participant });
    const present = new Set(info.tracks.map(({ sid }) => sid));
    for (const sid of [...participant.tracks.keys()]) if (!present.has(sid)) this.unpublish(participant.sid, sid);
    for (const track of info.tracks) this.publish(participant.sid, track);
  }

  /** @param {RemoteTrack} track */
  #bind(track) {
    const binding = this.#bindings.find((one) => one.track === track.sid);
    const receiver = binding && !binding.reason ? this.#receiverOf(binding.mid) : null;
    const before = track.isBound;
    track._bind(receiver, binding?.reason ?? "");
    if (before === track.isBound) return;
    this.#events.emit(track.isBound ? "trackstart" : "trackend", { participant: track.participant, track });
  }
}
