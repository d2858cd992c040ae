// @ts-check
/**
 * Moves the call between the server and a direct path, as the server says when. The new path carries pictures before
 * the old one is left, and both sides have said so before anything is taken down.
 */

import { DirectPath, allFlow } from "./direct.js";
import { Gap } from "./gap.js";

/** Longest wait for the peer's word before the old path is left anyway. Milliseconds. */
const PEER_PATIENCE = 5_000;

/**
 * @typedef {import("./track.js").RemoteTrack} RemoteTrack
 *
 * @typedef {import("../signalling.js").MediaPath} MediaPath
 *
 * @typedef {object} Order The server's `path` event.
 * @property {MediaPath} path
 * @property {number} epoch
 * @property {string} [peer]
 * @property {boolean} [offerer]
 *
 * @typedef {object} Surroundings
 * @property {() => RemoteTrack[]} tracks Of the others.
 * @property {() => import("./track.js").LocalTrack[]} published
 * @property {() => import("./transport.js").Transport | null} transport
 * @property {() => RTCIceServer[]} iceServers
 * @property {import("./signalling.js").Signalling["request"]} request
 * @property {() => import("./encodings.js").VideoSettings} video
 * @property {() => import("./encryption.js").Encryption | null} encryption
 * @property {() => void} changed Media takes the new path.
 * @property {(gap: number | undefined) => void} measured How long the picture stood still meanwhile, in milliseconds.
 */

export class Paths {
  /** @type {MediaPath} Where this side's pictures come from. */
  current = "sfu";
  /** @type {DirectPath | null} */
  direct = null;
  #around;
  #epoch = 0;
  /** @type {Set<number>} Epochs of which the peer has said that it is ready. */
  #peerReady = new Set();
  #news = new EventTarget();
  #turn = new AbortController();

  /** @param {Surroundings} around */
  constructor(around) {
    this.#around = around;
  }

  /** @param {Order} order */
  async follow(order) {
    if (order.epoch < this.#epoch) return;
    this.#epoch = order.epoch;
    this.#turn.abort();
    this.#turn = new AbortController();
    const { signal } = this.#turn;
    if (order.path === "p2p") await this.#goDirect(order, signal);
    else await this.#goBack(order, signal);
  }

  /**
   * @param {string} from
   * @param {any} payload
   */
  signalled(from, payload) {
    if (this.direct?.peer !== from || !payload) return;
    if (payload.ready) {
      this.#peerReady.add(payload.p2p);
      this.#news.dispatchEvent(new Event("ready"));
    }
    if (this.direct.epoch === payload.p2p) this.direct.handle(payload);
  }

  /**
   * The server has told where the room's media goes. It is back on the server without an order when the peer gave the
   * direct path up.
   *
   * @param {MediaPath} before
   * @param {MediaPath} now
   */
  settled(before, now) {
    const { direct } = this;
    if (direct && this.current === "p2p" && before === "p2p" && now === "sfu") void this.#giveUp(direct);
  }

  /** What is published changed. */
  async republish() {
    await this.direct?.send(this.#around.published());
  }

  /** @param {RemoteTrack} track New in the room. */
  adopt(track) {
    if (this.current === "p2p" && this.direct?.peer === track.participant.sid)
      track._carry(this.direct.receiverOf(track));
  }

  /** Goes back to the server, where what a direct path was built with does not hold any more. */
  async abandon() {
    if (this.direct) await this.#giveUp(this.direct);
  }

  stop() {
    this.#turn.abort();
    for (const track of this.#around.tracks()) track._carry(null);
    this.direct?.close();
    this.direct = null;
    this.current = "sfu";
    this.#epoch = 0;
    this.#peerReady.clear();
  }

  /**
   * @param {Order} order
   * @param {AbortSignal} signal
   */
  async #goDirect({ epoch, peer = "", offerer = false }, signal) {
    this.direct?.close();
    const { iceServers, video, encryption, request, published } = this.#around;
    const send = (/** @type {object} */ payload) => request("signal", { to: peer, payload });
    const context = {
      peer,
      epoch,
      offerer,
      iceServers: iceServers(),
      video: video(),
      encryption: encryption(),
      signal: send,
    };
    const direct = new DirectPath(context, published());
    this.direct = direct;
    direct.addEventListener("lost", () => void this.#giveUp(direct));
    const tracks = () => this.#around.tracks().filter(({ participant }) => participant.sid === peer);
    if (!(await direct.flows(tracks().filter(live), signal))) {
      if (!signal.aborted) await this.#giveUp(direct);
      return;
    }
    this.#switch("p2p", tracks(), (track) => track._carry(direct.receiverOf(track)));
    await direct.sayReady();
    await request("pathReady", { path: "p2p", epoch }).catch(() => {});
    await this.#untilPeerReady(epoch, signal);
    if (!signal.aborted) await this.#around.transport()?.setSending(false);
  }

  /**
   * @param {Order} order
   * @param {AbortSignal} signal
   */
  async #goBack({ epoch }, signal) {
    const { request, tracks, transport } = this.#around;
    const { direct } = this;
    await transport()?.setSending(true);
    if (!direct) return void (await request("pathReady", { path: "sfu", epoch }).catch(() => {}));
    const carried = () => tracks().filter(({ participant }) => participant.sid === direct.peer);
    const slots = () =>
      transport()?.isConnected
        ? carried()
            .filter(live)
            .map(({ _slot }) => _slot)
        : null;
    const flows = await allFlow(slots, signal);
    if (signal.aborted) return;
    if (!flows) console.info("the server's path brings no pictures yet; leaving the direct one all the same");
    this.#switch("sfu", carried(), (track) => track._carry(null));
    await request("signal", { to: direct.peer, payload: { p2p: epoch, ready: true } }).catch(() => {});
    await request("pathReady", { path: "sfu", epoch }).catch(() => {});
    await this.#untilPeerReady(epoch, signal);
    direct.close();
    if (this.direct === direct) this.direct = null;
  }

  /** The direct path never came up, or broke. @param {DirectPath} direct */
  async #giveUp(direct) {
    if (this.direct !== direct) return;
    const { request, tracks, transport } = this.#around;
    this.direct = null;
    await transport()?.setSending(true);
    if (this.current === "p2p") this.#switch("sfu", tracks(), (track) => track._carry(null));
    direct.close();
    await request("pathReady", { path: "sfu", epoch: direct.epoch }).catch(() => {});
  }

  /**
   * @param {MediaPath} path
   * @param {RemoteTrack[]} tracks
   * @param {(track: RemoteTrack) => void} move
   */
  #switch(path, tracks, move) {
    const gap = new Gap(tracks);
    for (const track of tracks) move(track);
    this.current = path;
    this.#around.changed();
    // What follows must not wait for the measurement: the peer does.
    void gap.measured().then(this.#around.measured);
  }

  /**
   * @param {number} epoch
   * @param {AbortSignal} signal
   */
  #untilPeerReady(epoch, signal) {
    return new Promise((resolve) => {
      const look = () => this.#peerReady.has(epoch) && resolve(undefined);
      this.#news.addEventListener("ready", look, { signal });
      signal.addEventListener("abort", () => resolve(undefined));
      setTimeout(() => resolve(undefined), PEER_PATIENCE);
      look();
    });
  }
}

/** @param {RemoteTrack} track Whether media of it is to be expected. */
function live({ muted }) {
  return !muted;
}
