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
    this.opened = Promise.all([this.#openCamera(), this.#openMicrophone()]).then(refreshPickers);
    return this.opened;
  }

  /** @param {"camera" | "microphone"} kind That another device was chosen for. */
  async change(kind) {
    if (!this.#open) return;
    if (kind === "camera") await this.#openCamera();
    else await this.#openMicrophone();
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
    if (which === "camOn") await this.#openCamera();
    else await this.#openMicrophone();
    await refreshPickers();
  }

  async #openCamera() {
    this.camera?.stop();
    this.camera = null;
    if (choices.camOn) this.camera = await this.#try(() => openCamera(choices.camera, this.#size), "camOn");
    this.#show();
  }

  async #openMicrophone() {
    this.microphone?.stop();
    this.microphone = null;
    if (choices.micOn) this.microphone = await this.#try(() => openMicrophone(choices.microphone), "micOn");
    this.#show();
  }

  /**
   * @param {() => Promise<MediaStreamTrack>} open
   * @param {"camOn" | "micOn"} which
   * @returns {Promise<MediaStreamTrack | null>}
   */
  async #try(open, which) {
    try {
      const track = await open();
      if (this.#open) showNotice(byId("notice"), null);
      return track;
    } catch (problem) {
      if (!(problem instanceof CaptureError)) throw problem;
      choices[which] = false;
      const detail = `${problem.message} You can also come in without.`;
      showNotice(byId("notice"), { tone: "note", title: problem.title, detail });
      return null;
    }
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
