// @ts-check
/**
 * Plays what arrives in the audio slots. The loudest few share these few players, so nothing is created or destroyed
 * when people take turns.
 */

export class Sound extends EventTarget {
  /** @type {Map<MediaStreamTrack, HTMLAudioElement>} */
  #players = new Map();
  #output = "";
  /** The browser wants a click before it plays sound. `blocked` is emitted when this changes. */
  isBlocked = false;

  /** @param {MediaStreamTrack} track */
  play(track) {
    if (this.#players.has(track)) return;
    // Those of a connection that was closed: browsers allow a page only so many players.
    for (const one of [...this.#players.keys()]) if (one.readyState === "ended") this.stop(one);
    const player = document.createElement("audio");
    player.srcObject = new MediaStream([track]);
    this.#players.set(track, player);
    void this.#direct(player);
    void this.#start(player);
  }

  /** @param {MediaStreamTrack} track */
  stop(track) {
    const player = this.#players.get(track);
    if (!player) return;
    player.srcObject = null;
    this.#players.delete(track);
  }

  stopAll() {
    for (const track of [...this.#players.keys()]) this.stop(track);
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {boolean} silent
   */
  silence(track, silent) {
    const player = this.#players.get(track);
    if (player) player.muted = silent;
  }

  /** Within a click or a key press. */
  async unblock() {
    this.#setBlocked(false);
    await Promise.all([...this.#players.values()].map((player) => this.#start(player)));
  }

  /** @param {string} deviceId Empty is the system's choice. */
  async setOutput(deviceId) {
    this.#output = deviceId;
    await Promise.all([...this.#players.values()].map((player) => this.#direct(player)));
  }

  /** @param {HTMLAudioElement} player */
  async #direct(player) {
    if (this.#output || "sinkId" in player) await player.setSinkId?.(this.#output);
  }

  /** @param {HTMLAudioElement} player */
  async #start(player) {
    try {
      await player.play();
    } catch (problem) {
      if (problem instanceof DOMException && problem.name === "NotAllowedError") this.#setBlocked(true);
    }
  }

  /** @param {boolean} blocked */
  #setBlocked(blocked) {
    if (blocked === this.isBlocked) return;
    this.isBlocked = blocked;
    this.dispatchEvent(new Event("blocked"));
  }
}
