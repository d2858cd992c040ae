// @ts-check
/** Shows how loud a stream is, so that a person sees that the microphone works before going live. */

/** Quietest sound shown, in decibels below full scale. */
const FLOOR = -60;

export class LevelMeter {
  /** @type {AudioContext | null} */
  #audio = null;
  /** @type {MediaStreamAudioSourceNode | null} */
  #source = null;
  /** @type {AnalyserNode | null} */
  #analyser = null;
  #bar;

  /** @param {HTMLElement} bar Gets `--level` from 0 to 1. */
  constructor(bar) {
    this.#bar = bar;
  }

  /** @param {MediaStream} stream */
  listen(stream) {
    this.#source?.disconnect();
    this.#source = null;
    if (stream.getAudioTracks().length === 0) return this.#show(0);
    if (!this.#audio || !this.#analyser) {
      this.#audio = new AudioContext();
      this.#analyser = new AnalyserNode(this.#audio, { fftSize: 1024 });
      this.#draw(this.#analyser, new Float32Array(this.#analyser.fftSize));
      // Held back until the first touch where the browser wants one.
      addEventListener("pointerdown", () => void this.#audio?.resume(), { once: true });
    }
    this.#source = this.#audio.createMediaStreamSource(stream);
    this.#source.connect(this.#analyser);
  }

  /**
   * @param {AnalyserNode} analyser
   * @param {Float32Array<ArrayBuffer>} samples
   */
  #draw(analyser, samples) {
    const decibels = loudness(analyser, samples);
    this.#show(this.#source ? Math.max(0, 1 - decibels / FLOOR) : 0);
    requestAnimationFrame(() => this.#draw(analyser, samples));
  }

  /** @param {number} level */
  #show(level) {
    this.#bar.style.setProperty("--level", level.toFixed(3));
  }
}

/**
 * @param {AnalyserNode} analyser
 * @param {Float32Array<ArrayBuffer>} samples To be overwritten; as long as the analyser's window.
 * @returns {number} Of the latest moment, in decibels below full scale; `FLOOR` in silence.
 */
export function loudness(analyser, samples) {
  analyser.getFloatTimeDomainData(samples);
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return power > 0 ? Math.max(FLOOR, 10 * Math.log10(power)) : FLOOR;
}
