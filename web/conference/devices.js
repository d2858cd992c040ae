// @ts-check
/** Fills every device picker of the page alike, and remembers what was chosen. Opens nothing. */

import { listDevices } from "../client/devices.js";

const REMEMBERED = "crosspoint.room";

/**
 * @typedef {object} Choices
 * @property {string} name
 * @property {string} camera Device id; empty is the browser's choice.
 * @property {string} microphone
 * @property {string} speaker
 * @property {boolean} camOn
 * @property {boolean} micOn
 * @property {boolean} mirror
 */

/** @type {Choices} */
export const choices = {
  name: "",
  camera: "",
  microphone: "",
  speaker: "",
  camOn: true,
  micOn: true,
  mirror: true,
  ...remembered(),
};

/**
 * What the camera is asked for, when the address says it (`?height=360&fps=15`): for slow machines and test rigs.
 *
 * @param {URLSearchParams} address
 * @returns {MediaTrackConstraints | undefined}
 */
export function cameraSize(address) {
  const height = Number(address.get("height"));
  const frameRate = Number(address.get("fps"));
  if (!height && !frameRate) return undefined;
  const size = height ? { width: { ideal: Math.round((height * 16) / 9) }, height: { ideal: height } } : {};
  return { ...size, ...(frameRate ? { frameRate: { ideal: frameRate } } : {}) };
}

const KINDS = /** @type {const} */ ({ cameras: "camera", microphones: "microphone", speakers: "speaker" });
const NAMES = { cameras: "Camera", microphones: "Microphone", speakers: "Speaker" };

/** Keeps the choices for the next visit. */
export function keepChoices() {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify(choices));
  } catch {
    // Without storage they last until the page is left.
  }
}

/** Names appear once permission was given, so this is called again then. */
export async function refreshPickers() {
  const devices = await listDevices();
  for (const picker of pickers()) {
    const kind = kindOf(picker);
    const options = devices[kind].map(({ deviceId, label }, index) => ({
      value: deviceId,
      label: label || `${NAMES[kind]} ${index + 1}`,
    }));
    const known = options.filter(({ value }) => value !== "default");
    picker.replaceChildren(
      ...[{ value: "", label: `Default ${NAMES[kind].toLowerCase()}` }, ...known].map(
        ({ value, label }) => new Option(label, value),
      ),
    );
    const chosen = choices[KINDS[kind]];
    picker.value = known.some(({ value }) => value === chosen) ? chosen : "";
  }
  for (const part of document.querySelectorAll("[data-needs=speakers]"))
    part.toggleAttribute("hidden", devices.speakers.length === 0);
}

/** @param {(kind: "camera" | "microphone" | "speaker", deviceId: string) => void} chosen */
export function wirePickers(chosen) {
  for (const picker of pickers()) {
    picker.addEventListener("change", () => {
      const kind = KINDS[kindOf(picker)];
      choices[kind] = picker.value;
      keepChoices();
      for (const other of pickers()) if (kindOf(other) === kindOf(picker)) other.value = picker.value;
      chosen(kind, picker.value);
    });
  }
  navigator.mediaDevices?.addEventListener("devicechange", () => void refreshPickers());
}

/** @returns {HTMLSelectElement[]} */
function pickers() {
  return [...document.querySelectorAll("select[data-devices]")].filter((one) => one instanceof HTMLSelectElement);
}

/** @param {HTMLSelectElement} picker */
function kindOf(picker) {
  return /** @type {keyof typeof KINDS} */ (picker.dataset.devices);
}

/** @returns {Partial<Choices>} */
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}");
  } catch {
    return {};
  }
}
