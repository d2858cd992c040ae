// @ts-check
/** Notices that somebody talks while muted. Listens to a copy of the microphone's track, which goes nowhere else. */

import { loudness } from "../level.js";

/** Louder is talking, in decibels below full scale. Higher misses who speaks softly, lower hears keyboards. */
const TALKING = -38;
/** Between looks, in milliseconds. */
const LOOK = 100;
/** Looks that are remembered, and how many of them have to be loud. Fewer, and a cough is taken for a sentence. */
const ROW = 20;
const LOUD = 8;

export class Unheard {
  #tell;
  /** @type {MediaStreamTrack | null} Whose copy is listened to. */
  #track = null;
  /** @type {(() => void) | null} */
  #end = null;

  /** @param {() => void} tell Called once for each time that one is muted. */
  constructor(tell) {
    this.#tell = tell;
  }

  /** @param {MediaStreamTrack | null} track Of a muted microphone; null while it is on, or closed. */
  listen(track) {
    if (track === this.#track) return;
    this.#end?.();
    this.#end = null;
    this.#track = track;
    if (track) this.#end = this.#follow(track);
  }

  /** @param {MediaStreamTrack} track @returns {() => void} Ends it. */
  #follow(track) {
    const copy = track.clone();
    copy.enabled = true;
    const audio = new AudioContext();
    const analyser = new AnalyserNode(audio, { fftSize: 2048 });
    audio.createMediaStreamSource(new MediaStream([copy])).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    /** @type {boolean[]} */
    let row = [];
    const end = () => {
      clearInterval(timer);
      copy.stop();
      void audio.close();
    };
    const timer = setInterval(() => {
      row = [...row, loudness(analyser, samples) > TALKING].slice(-ROW);
      if (row.filter(Boolean).length < LOUD) return;
      end();
      this.#end = null;
      this.#tell();
    }, LOOK);
    return end;
  }
}
