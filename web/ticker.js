// @ts-check
/** A worker that says "now" at the interval it is told: a page's own timers slow down to one per second in a hidden tab. */

let timer = 0;

/** @param {MessageEvent<number>} event Milliseconds. */
self.onmessage = ({ data }) => {
  clearInterval(timer);
  timer = Number(setInterval(() => self.postMessage(0), data));
};
