// @ts-check
/** The people in a room: the others, and oneself with what one publishes. */

import { openCamera, openMicrophone, openScreen } from "./devices.js";
import { left, RoomError } from "./errors.js";
import { LocalTrack, RemoteTrack } from "./track.js";

/**
 * @typedef {import("./track.js").Source} Source
 * @typedef {import("../signalling.js").ParticipantInfo} ParticipantInfo
 * @typedef {import("./signalling.js").Signalling["request"]} Request
 */

/** Anybody in the room. Events of participants are the room's: see `Room`. */
export class Participant {
  /** Loudness now, from 0 to 1. */
  level = 0;
  isSpeaking = false;
  /** @type {Map<string, RemoteTrack>} By sid. One's own are in `LocalParticipant.published`. */
  tracks = new Map();

  /** @internal @param {ParticipantInfo} info */
  constructor(info) {
    this.info = info;
  }

  get sid() {
    return this.info.sid;
  }

  get identity() {
    return this.info.identity;
  }

  get name() {
    return this.info.name || this.info.identity;
  }

  get attributes() {
    return this.info.attributes;
  }

  /** Of the connection: 1 lost, 2 poor, 3 fair, 4 good, 5 excellent; 0 while unknown. */
  get quality() {
    return this.info.quality ?? 0;
  }

  get isReconnecting() {
    return this.info.state === "reconnecting";
  }

  /** When the hand was raised, in milliseconds since 1970; 0 while it is down. */
  get handRaised() {
    return Number(this.attributes.hand) || 0;
  }

  /** @param {Source} source @returns {RemoteTrack | undefined} */
  trackOf(source) {
    return [...this.tracks.values()].find((track) => track.source === source);
  }
}

/**
 * @typedef {object} Link What a local participant needs of its room.
 * @property {Request} request
 * @property {(local: LocalTrack, published: boolean) => Promise<void>} publish Adds to or takes from what is sent.
 * @property {(local: LocalTrack) => void} changed
 * @property {(source: Source) => void} deviceLost A camera or microphone has ended by itself.
 */

/** Oneself. */
export class LocalParticipant extends Participant {
  /** @type {LocalTrack[]} */
  published = [];
  #link;
  /**
   * Changes to what is published of one source happen one after another. Muting does not wait for the browser's
   * question about the camera to be answered.
   *
   * @type {Map<Source, Promise<unknown>>}
   */
  #queues = new Map();
  /** Aborted by leaving. */
  #visit = new AbortController();

  /**
   * @internal
   * @param {ParticipantInfo} info
   * @param {Link} link
   */
  constructor(info, link) {
    super(info);
    this.#link = link;
  }

  /** @param {Source} source @returns {LocalTrack | undefined} */
  publishedOf(source) {
    return this.published.find((local) => local.source === source);
  }

  get isCameraEnabled() {
    return this.#isOn("camera");
  }

  get isMicrophoneEnabled() {
    return this.#isOn("microphone");
  }

  get isScreenShareEnabled() {
    return this.#isOn("screen_share");
  }

  /**
   * Opens or closes the camera. Closed, its light is off and the others see that it is muted.
   *
   * @param {boolean} enabled
   * @param {{ deviceId?: string, constraints?: MediaTrackConstraints }} [options]
   * @returns {Promise<void>}
   * @throws {import("./errors.js").CaptureError}
   */
  setCameraEnabled(enabled, { deviceId, constraints } = {}) {
    return this.#inTurn("camera", async (visit) => {
      const local = this.publishedOf("camera");
      if (!enabled) {
        local?.mediaStreamTrack?.stop();
        if (local) await this.#setMuted(local, true, null);
        return;
      }
      if (local && !local.muted && isFrom(local.mediaStreamTrack, deviceId)) return;
      const track = await openCamera(deviceId, constraints);
      stopIfLeft(visit, track);
      local?.mediaStreamTrack?.stop();
      if (local) await this.#setMuted(local, false, track);
      else await this.#publishOpened(track, "camera");
    });
  }

  /**
   * Muted, the microphone stays open and sends nothing, so that it is there at once when it is unmuted.
   *
   * @param {boolean} enabled
   * @param {{ deviceId?: string }} [options]
   * @returns {Promise<void>}
   * @throws {import("./errors.js").CaptureError}
   */
  setMicrophoneEnabled(enabled, { deviceId } = {}) {
    return this.#inTurn("microphone", async (visit) => {
      const local = this.publishedOf("microphone");
      let track = local?.mediaStreamTrack ?? null;
      if (enabled && !isFrom(track, deviceId)) {
        const fresh = await openMicrophone(deviceId);
        stopIfLeft(visit, fresh);
        track?.stop();
        track = fresh;
      }
      if (track) track.enabled = enabled;
      if (local) await this.#setMuted(local, !enabled, track);
      else if (track) await this.#publishOpened(track, "microphone");
    });
  }

  /**
   * @param {boolean} enabled True opens the browser's dialog.
   * @returns {Promise<void>}
   * @throws {import("./errors.js").CaptureError}
   */
  setScreenShareEnabled(enabled) {
    return this.#inTurn("screen_share", async (visit) => {
      if (enabled === this.isScreenShareEnabled) return;
      if (!enabled) {
        for (const source of /** @type {const} */ (["screen_share", "screen_share_audio"])) {
          const local = this.publishedOf(source);
          local?.mediaStreamTrack?.stop();
          if (local) await this.#unpublish(local);
        }
        return;
      }
      const { picture, sound } = await openScreen();
      stopIfLeft(visit, picture, sound);
      // The browser has its own button for it.
      picture.addEventListener("ended", () => void this.setScreenShareEnabled(false));
      try {
        await this.#publishOpened(picture, "screen_share");
        if (sound) await this.#publishOpened(sound, "screen_share_audio");
      } catch (problem) {
        sound?.stop();
        throw problem;
      }
    });
  }

  /**
   * Publishes any track: of a canvas, a file, an audio graph.
   *
   * @param {MediaStreamTrack} track
   * @param {{ source?: Source, name?: string }} [options]
   * @returns {Promise<LocalTrack>}
   */
  publish(track, { source = "unknown", name = "" } = {}) {
    return this.#inTurn(source, () => this.#publish(track, source, name));
  }

  /**
   * Does not stop the track.
   *
   * @param {LocalTrack} local
   * @returns {Promise<void>}
   */
  unpublish(local) {
    return this.#inTurn(local.source, () => this.#unpublish(local));
  }

  /** @param {string} name */
  async setName(name) {
    await this.#link.request("update", { name });
  }

  /** @param {string} metadata */
  async setMetadata(metadata) {
    await this.#link.request("update", { metadata });
  }

  /** @param {Record<string, string>} attributes Merged with the present ones; an empty value removes one. */
  async setAttributes(attributes) {
    await this.#link.request("update", { attributes });
  }

  /** @param {boolean} raised */
  async raiseHand(raised) {
    await this.setAttributes({ hand: raised ? String(Date.now()) : "" });
  }

  /** @internal @param {string} sid What an admin muted. */
  async _mutedByOther(sid) {
    const local = this.published.find((one) => one.sid === sid);
    if (local?.source === "camera") await this.setCameraEnabled(false);
    else if (local?.source === "microphone") await this.setMicrophoneEnabled(false);
    else if (local) await this.unpublish(local);
  }

  /** @internal Stops all that is published, and what is opened for it just now. */
  _end() {
    this.#visit.abort(left());
    this.#visit = new AbortController();
    for (const { mediaStreamTrack } of this.published) mediaStreamTrack?.stop();
    this.published = [];
  }

  /** @param {Source} source */
  #isOn(source) {
    const local = this.publishedOf(source);
    return local !== undefined && !local.muted;
  }

  /**
   * What was opened for it is closed when it cannot be published: no light stays on for nothing.
   *
   * @param {MediaStreamTrack} track
   * @param {Source} source
   */
  async #publishOpened(track, source) {
    try {
      await this.#publish(track, source, "");
    } catch (problem) {
      track.stop();
      throw problem;
    }
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {Source} source
   * @param {string} name
   */
  async #publish(track, source, name) {
    if (source !== "unknown" && this.publishedOf(source))
      throw new RoomError("bad_request", `A ${source.replace("_", " ")} is published already; unpublish it first.`);
    const local = new LocalTrack(track, source, name);
    this.published.push(local);
    try {
      await this.#link.publish(local, true);
    } catch (problem) {
      this.published = this.published.filter((one) => one !== local);
      throw problem;
    }
    this.#heed(local, track);
    this.#link.changed(local);
    return local;
  }

  /**
   * Mutes a camera or microphone whose track ends by itself: it was unplugged, or its permission taken back.
   *
   * @param {LocalTrack} local
   * @param {MediaStreamTrack} track
   */
  #heed(local, track) {
    const { source } = local;
    if (source !== "camera" && source !== "microphone") return;
    const lose = async () => {
      // Another device may have taken its place meanwhile.
      if (local.mediaStreamTrack !== track || !this.published.includes(local)) return;
      await this.#setMuted(local, true, null);
      this.#link.deviceLost(source);
    };
    track.addEventListener("ended", () => void this.#inTurn(source, lose), { once: true });
  }

  /** @param {LocalTrack} local */
  async #unpublish(local) {
    this.published = this.published.filter((one) => one !== local);
    await this.#link.publish(local, false);
    this.#link.changed(local);
  }

  /**
   * @param {LocalTrack} local
   * @param {boolean} muted
   * @param {MediaStreamTrack | null} track What is sent from now on.
   */
  async #setMuted(local, muted, track) {
    const replaced = track !== local.mediaStreamTrack;
    local._replace(track);
    local.muted = muted;
    if (replaced && track) this.#heed(local, track);
    if (replaced) await local._transceiver?.sender.replaceTrack(track);
    this.#link.changed(local);
    // Lost while reconnecting: the next join tells it.
    if (local.sid) await this.#link.request("mute", { track: local.sid, muted }).catch(() => {});
  }

  /**
   * @template T
   * @param {Source} source
   * @param {(visit: AbortSignal) => Promise<T>} change
   * @returns {Promise<T>}
   */
  #inTurn(source, change) {
    const { signal } = this.#visit;
    const result = (this.#queues.get(source) ?? Promise.resolve()).then(() => {
      signal.throwIfAborted();
      return change(signal);
    });
    this.#queues.set(
      source,
      result.catch(() => {}),
    );
    return result;
  }
}

/**
 * No light stays on for somebody who has left.
 *
 * @param {AbortSignal} visit
 * @param {(MediaStreamTrack | null)[]} opened
 */
function stopIfLeft(visit, ...opened) {
  if (visit.aborted) opened.forEach((track) => track?.stop());
  visit.throwIfAborted();
}

/**
 * @param {MediaStreamTrack | null} track
 * @param {string} [deviceId] Absent: any.
 * @returns {boolean} Whether it is alive and comes from this device.
 */
function isFrom(track, deviceId) {
  return track?.readyState === "live" && (!deviceId || track.getSettings().deviceId === deviceId);
}

/** Oneself before the server has said who that is. @type {ParticipantInfo} */
export const NOBODY = {
  sid: "",
  identity: "",
  name: "",
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
  quality: 0,
  tracks: [],
};
