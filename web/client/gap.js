// @ts-check
/** Measures how long a picture stands still while the path under it is changed. */

/** How many new pictures count as going on. */
const PICTURES = 5;
/** Longest wait for them. Milliseconds. */
const PATIENCE = 3_000;

export class Gap {
  /** @type {Promise<number | undefined>} */
  #result;

  /** @param {import("./track.js").RemoteTrack[]} tracks Before the change. The first that is shown is measured. */
  constructor(tracks) {
    const element = tracks
      .filter(({ kind, muted }) => kind === "video" && !muted)
      .flatMap(({ elements }) => [...elements])
      .find((one) => one.videoWidth > 0 && one.getBoundingClientRect().width > 0);
    this.#result =
      element && document.visibilityState === "visible" ? longestPause(element) : Promise.resolve(undefined);
  }

  /** @returns {Promise<number | undefined>} Milliseconds; undefined when no picture was on the screen. */
  measured() {
    return this.#result;
  }
}

/** @param {HTMLVideoElement} element @returns {Promise<number | undefined>} */
function longestPause(element) {
  return new Promise((resolve) => {
    let last = performance.now();
    let longest = 0;
    let pictures = 0;
    const timer = setTimeout(() => resolve(Math.round(Math.max(longest, performance.now() - last))), PATIENCE);
    const next = (/** @type {number} */ now) => {
      longest = Math.max(longest, now - last);
      last = now;
      pictures += 1;
      if (pictures < PICTURES) return void element.requestVideoFrameCallback(next);
      clearTimeout(timer);
      resolve(Math.round(longest));
    };
    element.requestVideoFrameCallback(next);
  });
}
