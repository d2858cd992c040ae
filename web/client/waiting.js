// @ts-check
/** Pauses and waits that end early when there is a reason. */

/**
 * Resolves after the pause, or at once when the network comes back or the signal fires.
 *
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const within = new AbortController();
    const end = () => {
      within.abort();
      resolve();
    };
    setTimeout(end, milliseconds);
    addEventListener("online", end, { signal: within.signal });
    signal.addEventListener("abort", end, { signal: within.signal });
  });
}

/** @param {number} milliseconds @returns {Promise<void>} */
export function time(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** @param {number} milliseconds @returns {number} Spread by a fifth, so that a full room does not return as one. */
export function spread(milliseconds) {
  return milliseconds * (0.9 + 0.2 * Math.random());
}

/**
 * @param {EventTarget} target
 * @param {string} type
 * @param {() => boolean} isSo
 * @param {number} patience Milliseconds.
 * @returns {Promise<boolean>} Whether it is so, at the latest when patience ends.
 */
export function becomes(target, type, isSo, patience) {
  return new Promise((resolve) => {
    const within = new AbortController();
    const look = (/** @type {boolean} */ last) => {
      if (!isSo() && !last) return;
      within.abort();
      resolve(isSo());
    };
    target.addEventListener(type, () => look(false), { signal: within.signal });
    setTimeout(() => look(true), patience);
    look(false);
  });
}
