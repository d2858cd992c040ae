// @ts-check
/** Cameras, microphones and screens: listing and opening them, and what to tell a person when the browser refuses. */

import { CaptureError } from "./errors.js";

/** What a camera is asked for. A larger picture costs encoding time on the sending side even when nobody watches it. */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
/** More frames of a screen cost sharpness of its text. Its sound is music as often as speech, and left as it is. */
const SCREEN = {
  video: { frameRate: { ideal: 15, max: 30 }, width: { max: 2560 }, height: { max: 1440 } },
  audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  surfaceSwitching: "include",
};

/** What browsers call it when there is no such device. */
const GONE = ["NotFoundError", "OverconstrainedError"];

/**
 * @typedef {"camera" | "microphone" | "screen"} Thing
 *
 * @typedef {object} Devices Names are hidden until permission was given once.
 * @property {MediaDeviceInfo[]} cameras
 * @property {MediaDeviceInfo[]} microphones
 * @property {MediaDeviceInfo[]} speakers Empty where the browser lets no page choose.
 */

/** @returns {Promise<Devices>} */
export async function listDevices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  const of = (/** @type {MediaDeviceKind} */ wanted) =>
    all.filter(({ deviceId, kind }) => deviceId !== "" && kind === wanted);
  return { cameras: of("videoinput"), microphones: of("audioinput"), speakers: of("audiooutput") };
}

/**
 * @param {string} [deviceId] The one to take if it is there; empty is the browser's choice.
 * @param {MediaTrackConstraints} [constraints]
 * @returns {Promise<MediaStreamTrack>}
 * @throws {CaptureError}
 */
export async function openCamera(deviceId = "", constraints = CAMERA) {
  const stream = await openDevice("camera", deviceId, (device) => ({ video: { ...constraints, ...device } }));
  return firstOf(stream.getVideoTracks(), "motion");
}

/**
 * @param {string} [deviceId] The one to take if it is there; empty is the browser's choice.
 * @returns {Promise<MediaStreamTrack>}
 * @throws {CaptureError}
 */
export async function openMicrophone(deviceId = "") {
  const processing = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const stream = await openDevice("microphone", deviceId, (device) => ({ audio: { ...processing, ...device } }));
  return firstOf(stream.getAudioTracks(), "speech");
}

/**
 * @returns {Promise<{ picture: MediaStreamTrack, sound: MediaStreamTrack | null }>}
 * @throws {CaptureError}
 */
export async function openScreen() {
  const stream = await open("screen", () => navigator.mediaDevices.getDisplayMedia(SCREEN));
  return { picture: firstOf(stream.getVideoTracks(), "detail"), sound: stream.getAudioTracks()[0] ?? null };
}

/**
 * @param {unknown} problem What getUserMedia or getDisplayMedia rejected with.
 * @param {Thing} thing
 * @returns {CaptureError}
 */
export function explain(problem, thing) {
  const { name: reason, message: said } = problem instanceof DOMException ? problem : { name: "", message: "" };
  const error = (/** @type {string} */ title, /** @type {string} */ detail) => new CaptureError(title, detail, reason);
  switch (reason) {
    case "NotAllowedError":
      if (/system/i.test(said))
        return error(
          `The operating system refuses the ${thing}`,
          "Allow this browser to use it in the privacy settings of the operating system, then try again.",
        );
      if (thing === "screen")
        return error(
          "Screen sharing was cancelled",
          "Choose a screen, window or tab in the browser's dialog, and allow it.",
        );
      if (/dismissed/i.test(said))
        return error(`The ${thing} was not allowed yet`, "Try again, and choose to allow it when the browser asks.");
      return error(
        `Permission for the ${thing} was refused`,
        "Allow it in the browser's address bar (the camera or lock symbol), then try again. If nothing is blocked " +
          "there, look at the privacy settings of the operating system.",
      );
    case "NotFoundError":
    case "OverconstrainedError":
      return error(`No ${thing} was found`, `Plug a ${thing} in and try again, or choose another one.`);
    case "NotReadableError":
    case "AbortError":
      return error(
        `The ${thing} cannot be opened`,
        "Another program may be using it. Close that program and try again.",
      );
    default:
      return error(`The ${thing} does not work`, problem instanceof Error ? problem.message : String(problem));
  }
}

/** What to say where the page is not in a secure context. @returns {CaptureError} */
export function insecure() {
  return new CaptureError(
    "This page may not use the camera",
    "Browsers give camera, microphone and screen only to pages served over HTTPS or from localhost, and this one is " +
      `${location.origin}. Start the server with --lan and open the https link it prints, or open the page on the ` +
      "server's own computer as http://localhost.",
    "SecurityError",
  );
}

/**
 * @param {Thing} thing
 * @param {() => Promise<MediaStream>} ask
 */
async function open(thing, ask) {
  if (!navigator.mediaDevices) throw insecure();
  try {
    return await ask();
  } catch (problem) {
    throw explain(problem, thing);
  }
}

/**
 * Opens the device that is asked for. One that was chosen on an earlier visit may be unplugged: another is better than
 * none.
 *
 * @param {Thing} thing
 * @param {string} deviceId
 * @param {(device: MediaTrackConstraints) => MediaStreamConstraints} wanted
 */
async function openDevice(thing, deviceId, wanted) {
  const ask = (/** @type {MediaTrackConstraints} */ device) =>
    open(thing, () => navigator.mediaDevices.getUserMedia(wanted(device)));
  if (deviceId === "") return ask({});
  try {
    return await ask({ deviceId: { exact: deviceId } });
  } catch (problem) {
    if (problem instanceof CaptureError && GONE.includes(problem.reason)) return ask({});
    throw problem;
  }
}

/**
 * @param {MediaStreamTrack[]} tracks
 * @param {string} contentHint
 */
function firstOf([track], contentHint) {
  if (!track) throw new CaptureError("Nothing was captured", "The browser gave no track. Try again.");
  track.contentHint = contentHint;
  return track;
}
