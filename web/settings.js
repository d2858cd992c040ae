// @ts-check
/**
 * The settings form of the publish page: filled from what the browser can do, from the last visit, and from the address
 * (`?source=pattern&codec=vp9&height=720&fps=30&bitrate=2500000&simulcast=0`; `svc=1` for one stream that holds all
 * sizes, or its scalability mode, such as `svc=L3T3`). Starts nothing.
 */

import { listDevices } from "./client/devices.js";
import { SCALABLE, sendableCodecs } from "./client/encodings.js";
import { byId } from "./ui.js";

const REMEMBERED = "crosspoint.publish";
/** Address parameters and the fields they set. */
const PARAMETERS = { source: "source", codec: "codec", height: "height", fps: "frameRate", bitrate: "bitrate" };
/** What a session is negotiated with; the rest can change while it is live. */
const FIXED_WHILE_LIVE = ["codec", "bitrate", "simulcast", "svc"];
/** How the address names a scalability mode of WebRTC-SVC. */
const MODE = /^[LS]\dT\d(_KEY)?$/;

const form = byId("settings", HTMLFormElement);

/** @typedef {import("./media.js").Wishes} Wishes */
/** @typedef {import("./client/encodings.js").VideoSettings} Settings */

/** Fills the form and keeps it in step with itself. */
export function wireSettings() {
  fill(byId("codec", HTMLSelectElement), [
    { value: "auto", label: "Automatic" },
    ...sendableCodecs().map(({ name, label }) => ({ value: name, label })),
  ]);
  for (const [name, value] of Object.entries(remembered())) put(name, value);
  const address = new URLSearchParams(location.search);
  // Without a secure context the browser has no devices at all: start where something works.
  if (!navigator.mediaDevices && !address.has("source")) put("source", "pattern");
  for (const [parameter, field] of Object.entries(PARAMETERS)) put(field, address.get(parameter)?.toLowerCase());
  for (const name of ["simulcast", "svc"]) if (address.has(name)) put(name, address.get(name) !== "0");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", () => {
    remember();
    showFitting();
  });
  showFitting();
}

/** Lists cameras and microphones; their names appear once permission was given. */
export async function refreshDevices() {
  const { cameras, microphones } = await listDevices();
  const named = (/** @type {MediaDeviceInfo[]} */ devices, /** @type {string} */ kind) =>
    devices.map(({ deviceId, label }, index) => ({ value: deviceId, label: label || `${kind} ${index + 1}` }));
  fill(byId("camera", HTMLSelectElement), [{ value: "", label: "Default camera" }, ...named(cameras, "Camera")]);
  fill(byId("microphone", HTMLSelectElement), [
    { value: "", label: "Default microphone" },
    ...named(microphones, "Microphone"),
    { value: "none", label: "No sound" },
  ]);
  // A device chosen on an earlier visit is in the list only now.
  for (const id of ["camera", "microphone"]) if (byId(id, HTMLSelectElement).value === "") put(id, remembered()[id]);
}

/**
 * @param {string} room
 * @returns {Wishes}
 */
export function wishes(room) {
  const data = new FormData(form);
  const text = (/** @type {string} */ name) => String(data.get(name) ?? "");
  return {
    source: /** @type {import("./media.js").Source} */ (text("source")),
    camera: text("camera"),
    microphone: text("microphone"),
    height: Number(text("height")),
    frameRate: Number(text("frameRate")),
    room,
  };
}

/** @returns {Settings} */
export function sendSettings() {
  const field = (/** @type {string} */ id) => byId(id, HTMLSelectElement).value;
  const mode = new URLSearchParams(location.search).get("svc") ?? "";
  return {
    codec: field("codec"),
    simulcast: byId("simulcast", HTMLInputElement).checked,
    svc: byId("svc", HTMLInputElement).checked && (MODE.test(mode) ? mode : true),
    bitrate: Number(field("bitrate")),
  };
}

/** @param {import("./media.js").Source} source */
export function putSource(source) {
  put("source", source);
  showFitting();
}

/** @param {boolean} live */
export function lockSettings(live) {
  for (const id of FIXED_WHILE_LIVE) byId(id).toggleAttribute("disabled", live);
  byId("fixed-note").hidden = !live;
}

/** Shows only the fields that the chosen source has. */
function showFitting() {
  const source = String(new FormData(form).get("source"));
  for (const part of form.querySelectorAll("[data-for]")) {
    if (part instanceof HTMLElement) part.hidden = !part.dataset.for?.split(" ").includes(source);
  }
  const { codec, simulcast } = sendSettings();
  byId("svc-field").hidden = source === "microphone" || !simulcast || !SCALABLE.includes(codec);
}

/**
 * @param {HTMLSelectElement} select
 * @param {{ value: string, label: string }[]} options
 */
function fill(select, options) {
  const { value } = select;
  select.replaceChildren(...options.map(({ value, label }) => new Option(label, value)));
  if (options.some((option) => option.value === value)) select.value = value;
}

/**
 * Sets a field if it exists and has such a choice; a link with an unknown value then behaves as without it.
 *
 * @param {string} name
 * @param {string | boolean | undefined} value
 */
function put(name, value) {
  const field = form.elements.namedItem(name);
  if (value === undefined) return;
  if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = value === true;
  if (field instanceof HTMLSelectElement && [...field.options].some((option) => option.value === value)) {
    field.value = String(value);
  }
  if (
    field instanceof RadioNodeList &&
    [...field].some((radio) => /** @type {HTMLInputElement} */ (radio).value === value)
  ) {
    field.value = String(value);
  }
}

function remember() {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify({ ...wishes(""), ...sendSettings() }));
  } catch {
    // Without storage the choices last until the page is left.
  }
}

/** @returns {Record<string, string | boolean>} The fields as they were at the last visit. */
function remembered() {
  try {
    const saved = Object.entries(JSON.parse(localStorage.getItem(REMEMBERED) ?? "{}"));
    return Object.fromEntries(saved.map(([name, value]) => [name, typeof value === "boolean" ? value : String(value)]));
  } catch {
    return {};
  }
}
