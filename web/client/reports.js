// @ts-check
/** Tells the server how smooth the pictures were, which it cannot see from its side. */

/** Between reports. Milliseconds. */
const INTERVAL = 10_000;

export class Reports {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #told = { freezes: 0, freezeMs: 0 };

  /**
   * @param {() => RTCPeerConnection | null} connection Null: nothing to tell now.
   * @param {(report: import("../signalling.js").Report) => Promise<unknown>} tell
   */
  start(connection, tell) {
    this.stop();
    this.#timer = setInterval(async () => {
      const pc = connection();
      // One that is lost is made up for by the next.
      if (pc) await tell(await this.#since(pc)).catch(() => {});
    }, INTERVAL);
  }

  stop() {
    clearInterval(this.#timer);
  }

  /** @param {RTCPeerConnection} pc */
  async #since(pc) {
    const total = { freezes: 0, freezeMs: 0 };
    (await pc.getStats()).forEach((entry) => {
      total.freezes += entry.freezeCount ?? 0;
      total.freezeMs += (entry.totalFreezesDuration ?? 0) * 1000;
    });
    const freezes = Math.max(0, total.freezes - this.#told.freezes);
    const freezeMs = Math.max(0, Math.round(total.freezeMs - this.#told.freezeMs));
    this.#told = total;
    return { freezes, freezeMs, intervalMs: INTERVAL };
  }
}
