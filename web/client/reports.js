// @ts-check
/**
 * Tells the server how smooth the pictures were, which it cannot see from its side: only what the connection did to
 * them. A sender that encodes slowly, or a machine that decodes slowly, says nothing of a connection.
 */

/** Between reports. Milliseconds. */
const INTERVAL = 10_000;
/** A round trip that takes longer makes frames late by itself. Seconds. */
const LATE = 0.15;

export class Reports {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  /** @type {RTCStatsReport | undefined} */
  #last;

  /**
   * @param {() => RTCPeerConnection | null} connection Null: nothing to tell now.
   * @param {(report: import("../signalling.js").Report) => Promise<unknown>} tell
   */
  start(connection, tell) {
    this.stop();
    this.#timer = setInterval(async () => {
      const now = await connection()?.getStats();
      // One that is lost is made up for by the next.
      if (now && this.#last) await tell({ ...standstill(this.#last, now), intervalMs: INTERVAL }).catch(() => {});
      this.#last = now;
    }, INTERVAL);
  }

  stop() {
    clearInterval(this.#timer);
  }
}

/**
 * How long pictures stood still because of the connection. Counts only where packets were missing or the round trip is
 * long, and of all pictures the one that froze least: one that freezes alone was lost on its sender's side.
 *
 * @param {Pick<RTCStatsReport, "forEach">} before
 * @param {Pick<RTCStatsReport, "forEach">} after
 */
export function standstill(before, after) {
  const counts = (/** @type {any} */ entry) => ({
    freezes: entry.freezeCount ?? 0,
    ms: (entry.totalFreezesDuration ?? 0) * 1000,
    frames: entry.framesDecoded ?? 0,
    missing: (entry.packetsLost ?? 0) + (entry.nackCount ?? 0),
  });
  /** @type {Map<string, ReturnType<typeof counts>>} */
  const earlier = new Map();
  before.forEach((entry) => void (isPicture(entry) && earlier.set(entry.id, counts(entry))));
  let isLate = false;
  after.forEach((entry) => void (isLate ||= (entry.type === "candidate-pair" && entry.currentRoundTripTime > LATE)));
  let least = { freezes: 0, freezeMs: Infinity };
  after.forEach((entry) => {
    const was = isPicture(entry) && earlier.get(entry.id);
    if (!was) return;
    const is = counts(entry);
    if (is.frames === was.frames && is.freezes === was.freezes) return;
    const counted = isLate || is.missing > was.missing;
    const freezeMs = counted ? Math.max(0, Math.round(is.ms - was.ms)) : 0;
    if (freezeMs < least.freezeMs) least = { freezes: counted ? Math.max(0, is.freezes - was.freezes) : 0, freezeMs };
  });
  return least.freezeMs === Infinity ? { freezes: 0, freezeMs: 0 } : least;
}

/** @param {any} entry */
function isPicture(entry) {
  return entry.type === "inbound-rtp" && entry.kind === "video";
}
