// Plays clips in real time.

import { clip } from "./rtp.mjs";
import { wait } from "./task.mjs";

/** Of the clips in media/. */
export const VIDEO_RATE = 15;
export const AUDIO_RATE = 50;

/**
 * Calls `video(frames, timestamp)` at each video frame (one frame per named clip) and `audio(frame, timestamp)` each
 * 20 ms, until the time is over or SIGTERM comes. Frames that fall due together are sent together: no drift.
 * @param {number} seconds
 * @param {string[]} videoClips
 * @param {(frames: Buffer[], timestamp: number) => void} video
 * @param {(frame: Buffer, timestamp: number) => void} audio
 */
export async function play(seconds, videoClips, video, audio) {
  const pictures = videoClips.map(clip);
  const tone = clip("opus");
  const started = performance.now();
  let shown = 0;
  let heard = 0;
  const timer = setInterval(() => {
    const elapsed = (performance.now() - started) / 1000;
    for (; heard < elapsed * AUDIO_RATE; heard += 1) audio(tone[heard % tone.length], heard * 960);
    for (; shown < elapsed * VIDEO_RATE; shown += 1) {
      video(pictures.map((frames) => frames[shown % frames.length]), shown * (90_000 / VIDEO_RATE));
    }
  }, 10);
  await wait(seconds);
  clearInterval(timer);
}
