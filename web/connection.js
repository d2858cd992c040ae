// @ts-check
/**
 * Keeps one peer connection with the server alive: connects, notices trouble, restarts ICE, and when that does not help
 * starts over with growing pauses. What is sent or received is the business of its `Role` (whip.js, whep.js).
 *
 * `#run` is the whole story; the methods below it are in the order it calls them.
 */

import { ServerError, UnreachableError } from "./api.js";
import { sentence } from "./client/errors.js";
import { pause, spread } from "./client/waiting.js";
import { iceFragment, withIce } from "./sdp.js";
import { Session } from "./session.js";

/** Milliseconds. Longer gives slow networks a chance; shorter tells a person sooner that nothing arrives. */
const CONNECT_PATIENCE = 15_000;
/** Longer leaves a broken picture standing; shorter restarts ICE on a hiccup that would have passed. */
const DISCONNECTED_PATIENCE = 3_000;
/** How long a restarted ICE session may take. Longer delays starting over, which works more often. */
const RESTART_PATIENCE = 5_000;
/** How long the end of a session is waited for before media stops anyway. Longer sends on after a click on stop. */
const DELETE_PATIENCE = 1_000;
/** Between looks at a connection. Longer notices later that it is in trouble. */
const LOOK_INTERVAL = 1_000;
/** Pauses between questions to the server about a session in doubt; the last repeats. Longer sees its end later,
 * shorter asks needlessly where only the event stream does not get through. */
const DOUBTS = [1_000, 2_000, 4_000, 8_000, 16_000];
/** Pauses between attempts; the last repeats. Longer makes viewers late after an outage, shorter floods the server. */
const BACKOFF = [250, 1_000, 2_000, 4_000, 8_000];
/**
 * @typedef {object} Role What differs between publishing and playing.
 * @property {string} endpoint
 * @property {() => string} token
 * @property {(pc: RTCPeerConnection) => void} prepare Adds transceivers, before the offer.
 * @property {(pc: RTCPeerConnection) => Promise<void>} negotiated Called with the answer in place.
 * @property {number} conflictTries How many refusals with 409 in a row are taken before giving up.
 */

/**
 * @typedef {"idle" | "connecting" | "connected" | "recovering" | "reconnecting" | "failed"} State `recovering`: the
 *   media path broke and ICE restarts. `reconnecting`: a new session is made. `failed`: only a person can help.
 */

/** The HTTP part worked and no media path came up. */
export class NoPathError extends Error {
  /** @param {string} summary The server's view; may be empty. */
  constructor(summary) {
    const unknown = "No media path could be opened. A firewall may block UDP between this device and the server.";
    super(sentence(summary) || unknown);
    this.name = "NoPathError";
  }
}

/**
 * Emits `state` whenever `state` or `problem` changed, `server` (a CustomEvent of {name, data}) for what the server
 * tells about the session.
 */
export class Connection extends EventTarget {
  /** @type {State} */
  state = "idle";
  /** @type {Error | null} Why it is not connected. */
  problem = null;
  /** @type {RTCPeerConnection | null} */
  pc = null;
  /** @type {Session | null} */
  session = null;
  /** @type {Role} */
  #role;
  /** @type {AbortController | null} */
  #running = null;
  /** @type {EventSource | null} */
  #events = null;

  /** @param {Role} role */
  constructor(role) {
    super();
    this.#role = role;
  }

  /** Connects, and stays connected until `stop`. */
  start() {
    if (this.#running) return;
    this.#running = new AbortController();
    const { signal } = this.#running;
    addEventListener("pagehide", () => void this.#release(), { signal });
    addEventListener("pageshow", (event) => event.persisted && void this.restart(), { signal });
    void this.#run(signal);
  }

  /** @returns {Promise<void>} Resolves when the server knows, so that the room is free. */
  stop() {
    this.#running?.abort();
    this.#running = null;
    const released = this.#release();
    this.#set("idle");
    return released;
  }

  async restart() {
    await this.stop();
    this.start();
  }

  /** @param {AbortSignal} signal */
  async #run(signal) {
    let failures = 0;
    this.#set("connecting");
    while (!signal.aborted) {
      try {
        const session = await this.#connect(signal);
        failures = 0;
        this.#set("connected");
        await this.#untilLost(session, signal);
        if (signal.aborted) return;
        this.#set("reconnecting");
        await this.#release();
      } catch (problem) {
        if (signal.aborted) return;
        const error = problem instanceof Error ? problem : new Error(String(problem));
        failures += 1;
        if (isFinal(error, failures, this.#role.conflictTries)) {
          void this.stop();
          this.#set("failed", error);
          return;
        }
        void this.#release();
        this.#set("reconnecting", error);
        await pause(pauseAfter(error, failures), signal);
      }
    }
  }

  /**
   * @param {AbortSignal} signal
   * @returns {Promise<Session>} Once media can flow.
   */
  async #connect(signal) {
    const pc = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.pc = pc;
    this.#role.prepare(pc);
    const offer = await pc.createOffer();
    // POST before setLocalDescription starts gathering: the answer may bring ICE servers, and an ICE-lite server needs
    // no candidates of ours.
    const session = await Session.create(this.#role.endpoint, offer.sdp ?? "", this.#role.token());
    if (signal.aborted) {
      void session.end();
      throw signal.reason;
    }
    this.session = session;
    if (session.iceServers.length > 0)
      pc.setConfiguration({ ...pc.getConfiguration(), iceServers: session.iceServers });
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: "answer", sdp: session.answer });
    await this.#role.negotiated(pc);
    if (!(await becomesConnected(pc, CONNECT_PATIENCE, signal))) throw new NoPathError(await session.summary());
    void this.#listen(session, signal);
    return session;
  }

  /**
   * @param {Session} session
   * @param {AbortSignal} signal
   */
  async #untilLost(session, signal) {
    const pc = this.pc;
    while (pc && (await trouble(pc, session, () => this.#events, signal)) === "path") {
      this.#set("recovering");
      if (!(await restartIce(pc, session, signal))) return;
      this.#set("connected");
    }
    this.session = null; // The server has ended it already.
  }

  /**
   * Passes on what the server tells. Its absence costs only comfort, so no failure here matters. The browser gives a
   * stream up for good when a proxy answers in the server's place: then it is asked for anew.
   *
   * @param {Session} session
   * @param {AbortSignal} signal
   */
  async #listen(session, signal) {
    for (let failures = 0; this.session === session; failures++) {
      try {
        const events = await session.events();
        if (this.session !== session) events?.close();
        if (!events || this.session !== session) return;
        this.#events = events;
        events.addEventListener("open", () => (failures = 0));
        this.#passOn(events);
        await givenUp(events, signal);
      } catch (problem) {
        if (signal.aborted) return;
        console.info("no server events for this session:", problem);
      }
      await pause(spread(BACKOFF[Math.min(failures, BACKOFF.length - 1)] ?? 0), signal);
    }
  }

  /** @param {EventSource} events */
  #passOn(events) {
    for (const name of ["active", "inactive", "layers", "warnings", "viewercount"]) {
      events.addEventListener(name, (event) => {
        const detail = { name, data: JSON.parse(event.data || "{}") };
        this.dispatchEvent(new CustomEvent("server", { detail }));
      });
    }
  }

  async #release() {
    const { pc, session } = this;
    this.#events?.close();
    this.#events = this.session = this.pc = null;
    // Closing DTLS first would overtake the DELETE, which then finds no session.
    await Promise.race([session?.end(), new Promise((resolve) => setTimeout(resolve, DELETE_PATIENCE))]);
    pc?.close();
  }

  /**
   * @param {State} state
   * @param {Error | null} [problem]
   */
  #set(state, problem = null) {
    this.state = state;
    this.problem = problem;
    this.dispatchEvent(new Event("state"));
  }
}

/**
 * @param {RTCPeerConnection} pc
 * @param {number} patience
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} False when it failed or took too long.
 */
function becomesConnected(pc, patience, signal) {
  return watch(signal, (done, within) => {
    const look = () => {
      if (pc.connectionState === "connected") done(true);
      if (pc.connectionState === "failed" || pc.connectionState === "closed") done(false);
    };
    pc.addEventListener("connectionstatechange", look, { signal: within });
    setTimeout(() => done(false), patience);
    look();
  });
}

/**
 * Waits for trouble: `path` is a broken media path that an ICE restart may mend, `gone` is the end of the session.
 *
 * @param {RTCPeerConnection} pc
 * @param {Session} session
 * @param {() => EventSource | null} events
 * @param {AbortSignal} signal
 * @returns {Promise<"path" | "gone">}
 */
function trouble(pc, session, events, signal) {
  return watch(signal, (done, within) => {
    let since = 0;
    const doubt = { asked: 0, next: 0 };
    const look = async () => {
      const state = pc.connectionState;
      if (dtlsOf(pc)?.state === "closed") return done("gone");
      if (state === "failed") return done("path");
      since = state === "connected" ? 0 : since || performance.now();
      if (since && performance.now() - since >= DISCONNECTED_PATIENCE) return done("path");
      // The event stream breaks at once when the server stops; ICE takes half a minute to be sure.
      const inDoubt = since > 0 || (events() !== null && events()?.readyState !== EventSource.OPEN);
      if (!inDoubt) doubt.asked = 0;
      if (!inDoubt || performance.now() < doubt.next) return;
      doubt.next = performance.now() + (DOUBTS[Math.min(doubt.asked, DOUBTS.length - 1)] ?? 0);
      doubt.asked += 1;
      if (!(await session.isAlive().catch(() => true))) done("gone");
    };
    pc.addEventListener("connectionstatechange", look, { signal: within });
    dtlsOf(pc)?.addEventListener("statechange", look, { signal: within });
    const timer = setInterval(look, LOOK_INTERVAL);
    within.addEventListener("abort", () => clearInterval(timer));
  });
}

/**
 * @param {EventSource} events
 * @param {AbortSignal} signal
 * @returns {Promise<void>} Once the browser does not try again by itself.
 */
function givenUp(events, signal) {
  return watch(signal, (done, within) => {
    const look = () => events.readyState === EventSource.CLOSED && done(undefined);
    events.addEventListener("error", look, { signal: within });
  });
}

/** @param {RTCPeerConnection} pc */
function dtlsOf(pc) {
  const [first] = pc.getTransceivers();
  return first?.sender.transport ?? first?.receiver.transport;
}

/**
 * @param {RTCPeerConnection} pc
 * @param {Session} session
 * @param {AbortSignal} signal
 * @returns {Promise<boolean>} Whether media flows again.
 */
async function restartIce(pc, session, signal) {
  try {
    const offer = await pc.createOffer({ iceRestart: true });
    const fragment = await session.restartIce(iceFragment(offer.sdp ?? ""));
    await pc.setLocalDescription(offer);
    await pc.setRemoteDescription({ type: "answer", sdp: withIce(session.answer, fragment) });
  } catch (problem) {
    console.info("ICE restart did not work, starting over:", problem);
    return false;
  }
  return becomesConnected(pc, RESTART_PATIENCE, signal);
}

/**
 * Runs `setUp` with a `done` that settles the promise, and a signal that fires then. `signal` rejects the promise.
 *
 * @template T
 * @param {AbortSignal} signal
 * @param {(done: (value: T) => void, within: AbortSignal) => void} setUp
 * @returns {Promise<T>}
 */
function watch(signal, setUp) {
  return new Promise((resolve, reject) => {
    const within = new AbortController();
    const settle = (/** @type {() => void} */ how) => {
      within.abort();
      how();
    };
    if (signal.aborted) return reject(signal.reason);
    signal.addEventListener("abort", () => settle(() => reject(signal.reason)), { signal: within.signal });
    setUp((value) => settle(() => resolve(value)), within.signal);
  });
}

/**
 * @param {Error} error
 * @param {number} failures In a row.
 * @param {number} conflictTries
 * @returns {boolean} Whether trying again would only repeat it.
 */
function isFinal(error, failures, conflictTries) {
  if (error instanceof UnreachableError || error instanceof NoPathError) return false;
  if (!(error instanceof ServerError)) return true;
  if (error.status === 409) return failures >= conflictTries;
  // 406: nothing this browser decodes is published now; the publisher may change its codec.
  return error.status < 500 && ![406, 408, 425, 429].includes(error.status);
}

/**
 * @param {Error} error
 * @param {number} failures
 * @returns {number} Milliseconds, spread by a fifth so that a room's viewers do not all return in the same instant.
 */
function pauseAfter(error, failures) {
  const asked = error instanceof ServerError ? (error.retryAfter ?? 0) * 1000 : 0;
  const own = BACKOFF[Math.min(failures, BACKOFF.length) - 1] ?? 0;
  return spread(Math.max(asked, own));
}
