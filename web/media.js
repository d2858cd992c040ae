// @ts-check
/**
 * Where the publish page's pictures and sound come from: camera, microphone, screen or the test pattern.
 */

import { explain, insecure } from "./client/devices.js";
import { CaptureError } from "./client/errors.js";
import { TestPattern } from "./pattern.js";

/**
 * @typedef {"camera" | "microphone" | "screen" | "pattern"} Source
 *
 * @typedef {object} Wishes
 * @property {Source} source
 * @property {string} camera Device id; empty is the default one.
 * @property {string} microphone Device id; empty is the default one, "none" is no sound.
 * @property {number} height Lines of the picture.
 * @property {number} frameRate
 * @property {string} room Written into the test pattern.
 *
 * @typedef {object} Capture
 * @property {Source} source
 * @property {MediaStream} stream
 * @property {() => void} stop
 */

/**
 * @param {Wishes} wishes
 * @returns {Promise<Capture>}
 * @throws {CaptureError}
 */
export async function startCapture(wishes) {
  if (wishes.source === "pattern") {
    const pattern = new TestPattern(wishes.height, wishes.frameRate, wishes.room);
    return { source: "pattern", stream: pattern.stream, stop: () => pattern.stop() };
  }
  if (!navigator.mediaDevices) {
    const { title, message } = insecure();
    throw new CaptureError(title, `${message} The test pattern works here too.`);
  }
  try {
    const stream = wishes.source === "screen" ? await screen(wishes) : await devices(wishes);
    for (const track of stream.getVideoTracks()) track.contentHint = hintFor(wishes);
    return { source: wishes.source, stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
  } catch (problem) {
    const error = explain(problem, wishes.source);
    if (!/NotFound|Overconstrained/.test(error.reason)) throw error;
    throw new CaptureError(error.title, `${error.message} The test pattern works without any device.`);
  }
}

/** @param {Wishes} wishes */
function screen({ frameRate, height }) {
  return navigator.mediaDevices.getDisplayMedia({
    video: { frameRate: { ideal: frameRate }, height: { max: height } },
    audio: true,
  });
}

/** @param {Wishes} wishes */
async function devices({ source, camera, microphone, height, frameRate }) {
  const wantsVideo = source === "camera";
  const wantsAudio = microphone !== "none" || source === "microphone";
  // Asking for both fails as a whole when a computer has a camera and no microphone.
  const present = await navigator.mediaDevices.enumerateDevices();
  const hasMicrophone = present.some(({ kind }) => kind === "audioinput");
  return navigator.mediaDevices.getUserMedia({
    video: wantsVideo && {
      deviceId: camera ? { exact: camera } : undefined,
      width: { ideal: Math.round((height * 16) / 9) },
      height: { ideal: height },
      frameRate: { ideal: frameRate },
    },
    audio: wantsAudio &&
      (hasMicrophone || !wantsVideo) && {
        deviceId: microphone && microphone !== "none" ? { exact: microphone } : undefined,
      },
  });
}

/** @param {Wishes} wishes */
function hintFor({ source, frameRate }) {
  if (source === "screen") return frameRate > 15 ? "motion" : "detail";
  return "motion";
}
