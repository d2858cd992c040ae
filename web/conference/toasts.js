// @ts-check
/** Short messages over the stage. Who comes or goes together is told of in one. */

import { byId } from "../ui.js";
import { part } from "./tile.js";

const MESSAGE = "latest-message";
/** Longer reads better, shorter clears the picture sooner. */
const SHOWN = 6_000;

/** @type {Map<string, { names: string[], shown: HTMLElement }>} What people did of late, by what it is. */
const recent = new Map();

/** @param {string} text */
export function toast(text) {
  const shown = part("p", "toast", text);
  byId("toasts").append(shown);
  setTimeout(() => shown.remove(), SHOWN);
  return shown;
}

/**
 * Shows what somebody has written; only the latest message.
 *
 * @param {import("../client/events.js").ChatMessage} message
 * @param {() => void} open
 */
export function toastMessage({ from, text }, open) {
  clearMessage();
  const shown = document.createElement("button");
  Object.assign(shown, { type: "button", id: MESSAGE, className: "toast message" });
  shown.append(part("strong", "", from.name || from.identity), part("span", "", text));
  shown.addEventListener("click", open);
  byId("toasts").append(shown);
  setTimeout(() => shown.remove(), SHOWN);
}

export function clearMessage() {
  document.getElementById(MESSAGE)?.remove();
}

/**
 * @param {string} name
 * @param {"joined" | "left"} did
 */
export function toastOf(name, did) {
  const known = recent.get(did);
  if (known?.shown.isConnected) {
    known.names.push(name);
    known.shown.textContent = sentence(known.names, did);
  } else {
    recent.set(did, { names: [name], shown: toast(sentence([name], did)) });
  }
}

/**
 * @param {string[]} names
 * @param {string} did
 */
export function sentence([first = "", second = "", ...more], did) {
  if (!second) return `${first} has ${did}`;
  return `${first} and ${more.length > 0 ? `${more.length + 1} others` : second} have ${did}`;
}
