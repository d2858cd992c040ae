// @ts-check
/** A worker that says "now" at the interval it is told: a hidden tab's own timers slow down to one per second. */

let timer = 0;

/** @param {MessageEvent<number>} event Milliseconds. */
self.onmessage = ({ data }) => {
  clearInterval(timer);
  timer = Number(setInterval(() => self.postMessage(0), data));
};
