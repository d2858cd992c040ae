// @ts-check
/** What a page tells a program that drives it: `globalThis.crosspoint`. The tests and load tools read it. */

import { Sampler } from "./stats.js";

/** @param {() => import("./connection.js").Connection | null} connection */
export function expose(connection) {
  const value = {
    /** @returns {import("./connection.js").State} */
    get state() {
      return connection()?.state ?? "idle";
    },
    get pc() {
      return connection()?.pc ?? null;
    },
    get session() {
      return connection()?.session ?? null;
    },
    /** Totals since the connection began; rates are zero, since they need two samples. */
    stats: () => new Sampler().sample(connection()?.pc ?? null),
  };
  Object.defineProperty(globalThis, "crosspoint", { value });
}
