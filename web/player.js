// @ts-check
/**
 * The controls of the watch page: playing, sound, full screen, picture in picture, keys, and resting when nobody moves.
 * Knows nothing of connections.
 */

import { byId, setIconButton } from "./ui.js";

/** Milliseconds without movement after which the controls leave the picture. */
const REST_AFTER = 3_000;

export class Player {
  #video = byId("video", HTMLVideoElement);
  #volume = byId("volume", HTMLInputElement);
  #live = false;
  #moved = 0;
  #figuresShown;

  /** @param {() => void} figuresShown Called when a person opens the figures. */
  constructor(figuresShown) {
    this.#figuresShown = figuresShown;
    this.#video.muted = new URLSearchParams(location.search).get("muted") === "1";
  }

  wire() {
    const video = this.#video;
    const on = (/** @type {string} */ id, /** @type {() => void} */ act) => byId(id).addEventListener("click", act);
    on("play", () => this.#togglePlay());
    on("mute", () => this.#setMuted(!video.muted));
    on("unmute", () => this.#setMuted(false));
    on("show-figures", () => this.#toggleFigures());
    on("pip", () => void this.#togglePip());
    on("full", () => void this.#toggleFull());
    this.#volume.addEventListener("input", () => {
      video.volume = Number(this.#volume.value);
      this.#setMuted(video.volume === 0);
    });
    video.addEventListener("click", () => matchMedia("(hover: hover)").matches && this.#togglePlay());
    video.addEventListener("dblclick", () => void this.#toggleFull());
    for (const name of ["play", "pause", "volumechange"]) video.addEventListener(name, () => this.#show());
    document.addEventListener("fullscreenchange", () => this.#show());
    document.addEventListener("keydown", (event) => this.#onKey(event));
    for (const name of ["pointermove", "pointerdown", "keydown", "focusin"]) {
      document.addEventListener(name, () => this.#wake(), { passive: true });
    }
    byId("pip").hidden = !document.pictureInPictureEnabled;
    setInterval(() => this.#rest(), 500);
    setIconButton(byId("open-menu"), "gear", "Quality and delay");
    setIconButton(byId("show-figures"), "stats", "Figures (S)");
    setIconButton(byId("pip"), "pip", "Picture in picture (P)");
    this.#show();
  }

  /** @param {MediaStream} stream */
  async play(stream) {
    this.#video.srcObject = stream;
    try {
      await this.#video.play();
    } catch (problem) {
      // Sound before the first click is refused: play silently and offer the sound.
      if (!(problem instanceof DOMException) || problem.name !== "NotAllowedError") return;
      this.#video.muted = true;
      byId("unmute").hidden = false;
      await this.#video.play().catch(() => {});
    }
  }

  /** @param {boolean} live The controls may leave the picture only while there is one. */
  mayRest(live) {
    this.#live = live;
  }

  #togglePlay() {
    // A live stream goes on meanwhile; playing again shows the present.
    if (this.#video.paused) void this.#video.play();
    else this.#video.pause();
  }

  /** @param {boolean} muted */
  #setMuted(muted) {
    this.#video.muted = muted;
    if (!muted && this.#video.volume === 0) this.#video.volume = 0.5;
    byId("unmute").hidden = true;
  }

  #toggleFigures() {
    const figures = byId("figures");
    figures.hidden = !figures.hidden;
    byId("show-figures").setAttribute("aria-pressed", String(!figures.hidden));
    if (!figures.hidden) this.#figuresShown();
  }

  async #togglePip() {
    if (document.pictureInPictureElement) await document.exitPictureInPicture();
    else await this.#video.requestPictureInPicture().catch(() => {});
  }

  async #toggleFull() {
    if (document.fullscreenElement) return document.exitFullscreen();
    if (document.documentElement.requestFullscreen) return document.documentElement.requestFullscreen().catch(() => {});
    // iPhones give full screen to a video element only.
    if ("webkitEnterFullscreen" in this.#video) /** @type {any} */ (this.#video).webkitEnterFullscreen();
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const busy = event.target instanceof Element && event.target.closest("input, select, textarea, button, a");
    if (event.ctrlKey || event.metaKey || event.altKey || (busy && event.key === " ")) return;
    if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
    /** @type {Record<string, () => void>} */
    const keys = {
      " ": () => this.#togglePlay(),
      k: () => this.#togglePlay(),
      m: () => this.#setMuted(!this.#video.muted),
      s: () => this.#toggleFigures(),
      f: () => void this.#toggleFull(),
      p: () => void this.#togglePip(),
      ArrowUp: () => this.#step(0.1),
      ArrowDown: () => this.#step(-0.1),
    };
    const act = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** @param {number} difference */
  #step(difference) {
    this.#video.volume = Math.min(1, Math.max(0, this.#video.volume + difference));
    this.#setMuted(this.#video.volume === 0);
  }

  #show() {
    const { paused, muted, volume } = this.#video;
    const full = document.fullscreenElement !== null;
    setIconButton(byId("play"), paused ? "play" : "pause", paused ? "Play (K)" : "Pause (K)");
    setIconButton(byId("mute"), muted ? "volume-off" : "volume", muted ? "Sound on (M)" : "Mute (M)");
    setIconButton(byId("full"), full ? "shrink" : "full", full ? "Leave full screen (F)" : "Full screen (F)");
    this.#volume.value = String(muted ? 0 : volume);
  }

  #wake() {
    this.#moved = performance.now();
    byId("page").classList.remove("resting");
  }

  #rest() {
    const still = performance.now() - this.#moved > REST_AFTER;
    const menuOpen = byId("menu").matches(":popover-open");
    byId("page").classList.toggle("resting", this.#live && still && !menuOpen && !this.#video.paused);
  }
}
