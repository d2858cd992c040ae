// @ts-check
/**
 * Where pictures and sound come from: camera, microphone, screen or the test pattern; and what to tell a person when
 * the browser will not give them.
 */

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

/** What the browser refused, as a title and what to do about it. */
export class CaptureError extends Error {
  /**
   * @param {string} title
   * @param {string} detail
   */
  constructor(title, detail) {
    super(detail);
    this.name = "CaptureError";
    this.title = title;
  }
}

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
  if (!navigator.mediaDevices) throw insecure();
  try {
    const stream = wishes.source === "screen" ? await screen(wishes) : await devices(wishes);
    for (const track of stream.getVideoTracks()) track.contentHint = hintFor(wishes);
    return { source: wishes.source, stream, stop: () => stream.getTracks().forEach((track) => track.stop()) };
  } catch (problem) {
    throw explain(problem, wishes.source);
  }
}

/**
 * @returns {Promise<{ cameras: MediaDeviceInfo[], microphones: MediaDeviceInfo[], }>} Names are hidden until
 *   permission was given once.
 */
export async function listDevices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const usable = all.filter(({ deviceId }) => deviceId !== "");
  return {
    cameras: usable.filter(({ kind }) => kind === "videoinput"),
    microphones: usable.filter(({ kind }) => kind === "audioinput"),
  };
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

function insecure() {
  const { origin } = location;
  return new CaptureError(
    "This page may not use the camera",
    "Browsers give camera, microphone and screen only to pages served over HTTPS or from localhost, and this one is " +
      `${origin}. Start the server with --lan and open the https link it prints, or open the page on the server's ` +
      "own computer as http://localhost. The test pattern works here too.",
  );
}

/**
 * @param {unknown} problem
 * @param {Source} source
 */
function explain(problem, source) {
  const thing = { camera: "camera", microphone: "microphone", screen: "screen", pattern: "test pattern" }[source];
  const name = problem instanceof DOMException ? problem.name : "";
  if (name === "NotAllowedError" && source === "screen") {
    return new CaptureError(
      "Screen sharing was cancelled",
      "Choose a screen, window or tab in the browser's dialog, and allow it.",
    );
  }
  if (name === "NotAllowedError") {
    return new CaptureError(
      `Permission for the ${thing} was refused`,
      "Allow it in the browser's address bar (the camera or lock symbol), then try again. If nothing is blocked " +
        "there, look at the privacy settings of the operating system.",
    );
  }
  if (name === "NotFoundError" || name === "OverconstrainedError") {
    return new CaptureError(
      `No ${thing} was found`,
      `Plug a ${thing} in and try again, or choose another source: the test pattern works without any device.`,
    );
  }
  if (name === "NotReadableError" || name === "AbortError") {
    return new CaptureError(
      `The ${thing} cannot be opened`,
      "Another program may be using it. Close that program and try again.",
    );
  }
  return new CaptureError(`The ${thing} does not work`, problem instanceof Error ? problem.message : String(problem));
}
