// @ts-check
/** One tile of the stage: a person's picture or initials, or a shared screen, with what one should know about it. */

import { LocalParticipant } from "../client/participant.js";
import { RemoteTrack } from "../client/track.js";
import { listFigures } from "../figures.js";
import { icon, setIconButton } from "../ui.js";

const QUALITY = [
  "",
  "Connection lost",
  "Poor connection",
  "Fair connection",
  "Good connection",
  "Excellent connection",
];
/** Longer than the animation of a reaction in tiles.css. */
const REACTION_SHOWN = 3_200;

/**
 * @typedef {import("../client/participant.js").Participant} Participant
 * @typedef {import("../client/track.js").LocalTrack} LocalTrack
 *
 * @typedef {object} Actions
 * @property {(tile: Tile) => void} pin
 * @property {() => boolean} hasPassphrase
 */

export class Tile {
  element = document.createElement("article");
  video = document.createElement("video");
  isPinned = false;
  /** When its person was heard last; recent speakers are shown first. */
  heard = 0;
  /** @type {RemoteTrack | LocalTrack | null} */
  #track = null;
  #avatar = part("div", "avatar");
  #name = part("span", "who");
  #marks = part("span", "marks");
  #bars = part("span", "bars");
  #veil = part("div", "veil");
  #figures = document.createElement("dl");
  #pin = document.createElement("button");
  #stats = document.createElement("button");
  /** @type {Actions} */
  #actions;
  /** What the marks were drawn for. */
  #marked = "";

  /**
   * @param {Participant} participant
   * @param {"person" | "screen"} kind
   * @param {boolean} isSelf
   * @param {Actions} actions
   */
  constructor(participant, kind, isSelf, actions) {
    this.participant = participant;
    this.kind = kind;
    this.isSelf = isSelf;
    this.#actions = actions;
    this.element.className = `tile ${kind}${isSelf ? " self" : ""}`;
    Object.assign(this.video, { autoplay: true, playsInline: true, muted: true, disablePictureInPicture: false });
    // A picture is one once its first frame is there; until then one sees who it will be.
    for (const type of ["resize", "emptied"]) this.video.addEventListener(type, () => this.show());
    if (kind === "screen") this.#avatar.append(icon("screen"));
    this.#figures.className = "tile-figures";
    this.#figures.hidden = true;
    for (const button of [this.#pin, this.#stats]) Object.assign(button, { type: "button", className: "small" });
    this.#pin.addEventListener("click", () => actions.pin(this));
    this.#stats.addEventListener("click", () => void this.showStats(this.#figures.hidden === true));
    this.video.addEventListener("dblclick", () => actions.pin(this));
    const tools = part("div", "tools");
    tools.append(this.#stats, this.#pin);
    const plate = part("div", "plate");
    plate.append(this.#marks, this.#name, this.#bars);
    this.element.append(this.#avatar, this.video, this.#veil, this.#figures, tools, plate);
    this.show();
  }

  /** Whether a picture can be seen. */
  get hasPicture() {
    const track = this.#track;
    if (!track || track.muted) return false;
    if (track instanceof RemoteTrack) {
      return track.isBound && this.video.videoWidth > 0 && (!track.encrypted || track.sealed === "opened");
    }
    return track.mediaStreamTrack !== null;
  }

  /** Whether there is a picture that takes one of the slots. */
  get wantsSlot() {
    return this.#track instanceof RemoteTrack && !this.#track.muted;
  }

  /** @returns {RemoteTrack | LocalTrack | null} */
  get track() {
    return this.#track;
  }

  /** @param {RemoteTrack | LocalTrack | null} track */
  setTrack(track) {
    if (track === this.#track) return;
    this.release();
    this.#track = track;
    if (!track) return;
    if (track instanceof RemoteTrack) track.attach(this.video);
    else this.video.srcObject = track.stream;
  }

  release() {
    if (this.#track instanceof RemoteTrack) this.#track.detach(this.video);
    this.video.srcObject = null;
    this.#track = null;
  }

  /** Draws who speaks, and nothing else: it changes several times a second. @param {number} now */
  hear(now) {
    const { isSpeaking } = this.participant;
    if (isSpeaking) this.heard = now;
    this.element.classList.toggle("speaking", this.kind === "person" && isSpeaking);
  }

  /** Draws what may have changed about its person. */
  show() {
    const { participant, element, isSelf, kind } = this;
    const { name } = participant;
    const label = isSelf ? "You" : name || "Guest";
    const isScreen = kind === "screen";
    this.#name.textContent = isScreen ? (isSelf ? "Your screen" : `${label}'s screen`) : label;
    element.classList.toggle("dark", !this.hasPicture);
    element.classList.toggle("upright", this.video.videoHeight > this.video.videoWidth);
    element.classList.toggle("speaking", !isScreen && participant.isSpeaking);
    element.classList.toggle("pinned", this.isPinned);
    element.style.setProperty("--hue", String(hueOf(participant.identity || name)));
    if (!isScreen) this.#avatar.textContent = initialsOf(name || "You");
    this.#showMarks(isScreen);
    this.#showVeil();
    setIconButton(this.#pin, this.isPinned ? "unpin" : "pin", `${this.isPinned ? "Unpin" : "Pin"} ${this.#label}`);
    setIconButton(this.#stats, "stats", `Figures of ${this.#label}`);
    this.#stats.setAttribute("aria-expanded", String(!this.#figures.hidden));
    element.setAttribute("aria-label", this.#description());
  }

  /** @param {boolean} shown */
  async showStats(shown) {
    this.#figures.hidden = !shown;
    this.show();
    await this.refreshStats();
  }

  get showsStats() {
    return !this.#figures.hidden;
  }

  /** @param {import("../signalling.js").Stats | null} [server] What it says of this connection. */
  async refreshStats(server) {
    if (!this.showsStats) return;
    const track = this.#track;
    const figures = track && (await track.stats());
    const slot = server?.slots.find((one) => track && one.track === track.sid);
    if (figures) listFigures(this.#figures, figures, slot?.explanation ?? "");
    else this.#figures.replaceChildren(part("dt", "", "No picture is being received."));
  }

  /** Lets a reaction rise over the tile. @param {string} name Of its icon. */
  react(name) {
    const rising = part("span", "rising");
    rising.append(icon(name));
    rising.style.setProperty("--drift", `${Math.round(Math.random() * 40 - 20)}px`);
    this.element.append(rising);
    setTimeout(() => rising.remove(), REACTION_SHOWN);
  }

  get #label() {
    return this.#name.textContent ?? "";
  }

  /** @param {boolean} isScreen */
  #showMarks(isScreen) {
    const { participant } = this;
    const wanted = [this.isMuted, participant.handRaised, participant.info.kind, participant.quality].join();
    if (wanted === this.#marked) return;
    this.#marked = wanted;
    this.#marks.replaceChildren();
    if (isScreen) this.#marks.append(icon("screen"));
    if (!isScreen && this.isMuted) this.#marks.append(mark("mic-off", "muted"));
    if (!isScreen && participant.handRaised) this.#marks.append(mark("hand", "hand"));
    if (participant.info.kind === "ingress") this.#marks.append(mark("broadcast", ""));
    const { quality } = participant;
    this.#bars.hidden = quality === 0 || isScreen;
    this.#bars.dataset.quality = String(quality);
    this.#bars.title = QUALITY[quality] ?? "";
    const lit = quality > 3 ? 3 : quality === 3 ? 2 : 1;
    this.#bars.replaceChildren(...[1, 2, 3].map((bar) => part("i", bar <= lit ? "on" : "")));
  }

  #showVeil() {
    const track = this.#track;
    const text = this.participant.isReconnecting
      ? "Reconnecting"
      : track instanceof RemoteTrack
        ? veilOf(track, this.#actions)
        : "";
    this.#veil.hidden = text === "";
    this.element.classList.toggle("veiled", text !== "");
    this.#veil.textContent = text;
  }

  get isMuted() {
    if (this.participant instanceof LocalParticipant) return !this.participant.isMicrophoneEnabled;
    return this.participant.trackOf("microphone")?.muted ?? true;
  }

  #description() {
    const { participant } = this;
    const words = [this.#label];
    if (this.kind === "person") {
      words.push(this.isMuted ? "muted" : "microphone on", this.hasPicture ? "camera on" : "no picture");
      if (participant.handRaised) words.push("hand raised");
      if (participant.quality > 0 && participant.quality < 3) words.push(QUALITY[participant.quality] ?? "");
    }
    if (this.isPinned) words.push("pinned");
    return words.join(", ");
  }
}

/**
 * @param {RemoteTrack} track
 * @param {Actions} actions
 */
function veilOf(track, { hasPassphrase }) {
  if (track.muted) return "";
  if (track.encrypted && !hasPassphrase()) return "Encrypted. Enter the passphrase in the settings.";
  if (track.sealed === "refused") return "Encrypted with another passphrase";
  if (track.reason === "no_bandwidth") return "Your connection is too slow for this picture";
  if (track.reason === "no_codec") return "This browser cannot decode this picture";
  return "";
}

/**
 * @param {string} symbol
 * @param {string} className
 */
function mark(symbol, className) {
  const drawn = icon(symbol);
  drawn.classList.add(...(className ? [className] : []));
  return drawn;
}

/**
 * @param {string} name
 * @returns {string} Up to two letters.
 */
export function initialsOf(name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const letters = [words[0], words.length > 1 ? words[words.length - 1] : ""].map((word) => [...(word ?? "")][0] ?? "");
  return letters.join("").toUpperCase();
}

/** @param {string} text @returns {number} A colour's hue in degrees: the same person has the same on every screen. */
export function hueOf(text) {
  let sum = 7;
  for (const letter of text) sum = (Math.imul(sum, 31) + (letter.codePointAt(0) ?? 0)) >>> 0;
  // The golden angle's fraction spreads neighbours over the whole circle.
  return Math.round(((sum * 0.618034) % 1) * 360);
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [text]
 */
export function part(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}
