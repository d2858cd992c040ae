// @ts-check
/**
 * Turns what is visible on the page into wishes: how tall each track's picture has to be. Hidden tabs and tiles
 * out of sight ask for nothing, so they cost nothing anywhere.
 */

/** Gathers changes of one layout into one message. Longer reacts later, shorter sends more messages. Milliseconds. */
const SETTLE = 60;
/** Sizes are rounded up to these lines, so that a window being dragged does not ask for something new at each pixel. */
const STEPS = [90, 180, 270, 360, 540, 720, 1080, 1440, 2160];

/**
 * @typedef {import("./track.js").RemoteTrack} RemoteTrack
 * @typedef {import("../signalling.js").Wish} Wish
 */

export class Wishes {
  /** @type {Map<HTMLVideoElement, RemoteTrack>} */
  #tracks = new Map();
  /** @type {Set<HTMLVideoElement>} A new element is in sight until the browser has looked: its picture comes sooner. */
  #outOfSight = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #wasUsed = false;
  #last = "";
  #touch = () => this.touch();
  #sizes = new ResizeObserver(() => this.touch());
  #sights = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) this.#outOfSight.delete(/** @type {HTMLVideoElement} */ (target));
      else this.#outOfSight.add(/** @type {HTMLVideoElement} */ (target));
    }
    this.touch();
  });
  /** @type {() => Iterable<RemoteTrack>} */
  #all;
  /** @type {(wishes: Wish[]) => Promise<void>} */
  #send;

  /**
   * @param {() => Iterable<RemoteTrack>} all Every video track in the room.
   * @param {(wishes: Wish[]) => Promise<void>} send
   */
  constructor(all, send) {
    this.#all = all;
    this.#send = send;
  }

  /** Looks at the page from now on. Until `stop` the page holds this, and with it the room. */
  start() {
    document.addEventListener("visibilitychange", this.#touch);
  }

  /** @param {RemoteTrack} track Whose elements or wish changed. */
  changed(track) {
    for (const [element, of] of this.#tracks) if (of === track && !track.elements.has(element)) this.#forget(element);
    for (const element of track.elements) {
      if (this.#tracks.get(element) === track) continue;
      this.#wasUsed = true;
      this.#tracks.set(element, track);
      this.#sizes.observe(element);
      this.#sights.observe(element);
    }
    this.touch();
  }

  /** Something that decides may have changed. */
  touch() {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#tell(false);
    }, SETTLE);
  }

  /** After a new join the server knows no wishes. */
  repeat() {
    return this.#tell(true);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    document.removeEventListener("visibilitychange", this.#touch);
  }

  /** @param {boolean} again */
  async #tell(again) {
    // A program that attaches nothing leaves the choice to the server.
    if (!this.#wasUsed) return;
    const wishes = [...this.#all()].map((track) => this.#wishFor(track));
    const text = JSON.stringify(wishes);
    if (text === this.#last && !again) return;
    this.#last = text;
    try {
      await this.#send(wishes);
    } catch {
      this.#last = ""; // The next change, or the next join, tells it again.
    }
  }

  /** @param {RemoteTrack} track */
  #wishFor(track) {
    const { priority = 50, pinned = false, paused = false, fps } = track.wish;
    const heights = [...track.elements].map((element) => this.#heightOf(element));
    const height = stepFor(Math.max(0, ...heights));
    return { track: track.sid, height, priority, pinned, paused, ...(fps ? { fps } : {}) };
  }

  /** @param {HTMLVideoElement} element @returns {number} Device pixels. */
  #heightOf(element) {
    const floating = document.pictureInPictureElement === element;
    if (floating) return 360;
    if (document.visibilityState === "hidden" || this.#outOfSight.has(element)) return 0;
    return element.clientHeight * devicePixelRatio;
  }

  /** @param {HTMLVideoElement} element */
  #forget(element) {
    this.#tracks.delete(element);
    this.#outOfSight.delete(element);
    this.#sizes.unobserve(element);
    this.#sights.unobserve(element);
  }
}

/** @param {number} height @returns {number} */
export function stepFor(height) {
  if (height <= 0) return 0;
  return STEPS.find((step) => step >= height) ?? STEPS[STEPS.length - 1] ?? 0;
}
