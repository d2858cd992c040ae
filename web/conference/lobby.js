// @ts-check
/**
 * Before one comes in: a mirror, a meter, the devices and a name. What is opened here is what the room publishes, so
 * that joining asks for nothing twice.
 */

import { openCamera, openMicrophone } from "../client/devices.js";
import { CaptureError } from "../client/errors.js";
import { LevelMeter } from "../level.js";
import { byId, setIconButton, showNotice } from "../ui.js";
import { choices, keepChoices, refreshPickers } from "./devices.js";

export class Lobby {
  /** @type {MediaStreamTrack | null} */
  camera = null;
  /** @type {MediaStreamTrack | null} */
  microphone = null;
  /** @type {Promise<unknown>} Once what is wanted was opened or refused: a person may take a while to allow it. */
  opened = Promise.resolve();
  #meter = new LevelMeter(byId("meter"));
  #preview = byId("preview", HTMLVideoElement);
  #open = true;
  /** How often each was opened or closed: an answer of the browser to an earlier wish comes too late. */
  #turns = { camera: 0, microphone: 0 };
  /** @type {Map<"camera" | "microphone", CaptureError>} What the browser refused, and nobody has asked for again. */
  #refused = new Map();

  /** @type {MediaTrackConstraints | undefined} */
  #size;

  /**
   * @param {{ cam?: boolean, mic?: boolean, size?: MediaTrackConstraints }} wanted By the address; absent: as last
   *   time.
   */
  constructor({ cam = choices.camOn, mic = choices.micOn, size }) {
    this.#size = size;
    choices.camOn = cam;
    choices.micOn = mic;
    byId("name", HTMLInputElement).value = choices.name;
    byId("lobby-mic").addEventListener("click", () => this.#set("micOn", !choices.micOn));
    byId("lobby-cam").addEventListener("click", () => this.#set("camOn", !choices.camOn));
    this.#show();
  }

  /** Opens what is wanted. A refusal is told and leaves that device off. */
  start() {
    return this.#follow(Promise.all([this.#reopen("camera"), this.#reopen("microphone")]));
  }

  /** @param {"camera" | "microphone"} kind That another device was chosen for. */
  async change(kind) {
    if (this.#open) await this.#follow(this.#reopen(kind));
  }

  /** Lets go of the mirror; the tracks stay open for whoever took them. */
  end() {
    this.#open = false;
    this.#preview.srcObject = null;
    this.#meter.listen(new MediaStream());
  }

  /**
   * @param {"camOn" | "micOn"} which
   * @param {boolean} on
   */
  async #set(which, on) {
    choices[which] = on;
    keepChoices();
    await this.#follow(this.#reopen(which === "camOn" ? "camera" : "microphone"));
  }

  /** @param {Promise<unknown>} opening */
  #follow(opening) {
    this.opened = Promise.all([this.opened, opening]).then(refreshPickers);
    return this.opened;
  }

  /** @param {"camera" | "microphone"} kind */
  async #reopen(kind) {
    this.#turns[kind] += 1;
    const turn = this.#turns[kind];
    const isLatest = () => turn === this.#turns[kind];
    this[kind]?.stop();
    this[kind] = null;
    this.#tell(kind, null);
    const wanted = kind === "camera" ? choices.camOn : choices.micOn;
    if (wanted) {
      const track = await this.#try(kind, isLatest);
      // It was switched off, or another one chosen, while the browser asked for permission.
      if (!isLatest()) return track?.stop();
      this[kind] = track;
    }
    this.#show();
  }

  /**
   * @param {"camera" | "microphone"} kind
   * @param {() => boolean} isWanted Still.
   * @returns {Promise<MediaStreamTrack | null>}
   */
  async #try(kind, isWanted) {
    try {
      return await (kind === "camera" ? openCamera(choices.camera, this.#size) : openMicrophone(choices.microphone));
    } catch (problem) {
      if (!(problem instanceof CaptureError)) throw problem;
      if (!isWanted()) return null;
      choices[kind === "camera" ? "camOn" : "micOn"] = false;
      this.#tell(kind, problem);
      return null;
    }
  }

  /**
   * @param {"camera" | "microphone"} kind
   * @param {CaptureError | null} problem
   */
  #tell(kind, problem) {
    if (!problem && !this.#refused.delete(kind)) return;
    if (problem) this.#refused.set(kind, problem);
    if (this.#open) showNotice(byId("notice"), noticeOf(this.#refused.get("camera"), this.#refused.get("microphone")));
  }

  #show() {
    if (!this.#open) return;
    this.#preview.srcObject = this.camera && new MediaStream([this.camera]);
    this.#preview.classList.toggle("mirrored", choices.mirror);
    byId("preview-note").hidden = this.camera !== null;
    byId("preview-note").textContent = choices.camOn ? "Your camera is starting." : "Your camera is off.";
    this.#meter.listen(new MediaStream(this.microphone ? [this.microphone] : []));
    showSwitch("lobby-mic", choices.micOn, "mic", "microphone");
    showSwitch("lobby-cam", choices.camOn, "camera", "camera");
  }
}

/**
 * @param {CaptureError} [camera]
 * @param {CaptureError} [microphone]
 * @returns {import("../ui.js").Notice | null} One for both.
 */
export function noticeOf(camera, microphone) {
  const refused = [camera, microphone].filter((one) => one !== undefined);
  const [first, second] = refused;
  if (!first) return null;
  const details = [...new Set(refused.map(({ message }) => message)), "You can also come in without."];
  const title = second ? titleOfBoth(first, second) : first.title;
  return { tone: "note", title, detail: details.join(" ") };
}

/**
 * @param {CaptureError} camera
 * @param {CaptureError} microphone
 */
function titleOfBoth(camera, microphone) {
  if (camera.reason !== microphone.reason)
    return `${camera.title}, and ${microphone.title.charAt(0).toLowerCase()}${microphone.title.slice(1)}`;
  const none = camera.title.replace("No camera", "No camera and no microphone");
  return none.replace(/the camera/i, "$& and the microphone");
}

/**
 * @param {string} id
 * @param {boolean} on
 * @param {string} symbol
 * @param {string} thing
 * @param {string} [key] Its shortcut.
 */
export function showSwitch(id, on, symbol, thing, key = "") {
  const button = byId(id);
  const label = `Turn ${on ? "off" : "on"} the ${thing}`;
  setIconButton(button, on ? symbol : `${symbol}-off`, label);
  if (key) button.title = `${label} (${key})`;
  button.setAttribute("aria-pressed", String(!on));
}
