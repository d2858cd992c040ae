// @ts-check
/** The buttons below the stage, the menu behind "more", and the keys for all of them. Knows no room. */

import { byId, icon, setIconButton } from "../ui.js";
import { showSwitch } from "./lobby.js";
import { part } from "./tile.js";

/** Symbols of icons.svg and what they mean. Drawn, not typed: an emoji looks different everywhere, or is missing. */
export const REACTIONS = { thumb: "Thumbs up", heart: "Heart", laugh: "Laughing", spark: "Bravo" };

/**
 * @typedef {object} Commands
 * @property {() => void} mic
 * @property {() => void} cam
 * @property {() => void} screen
 * @property {() => void} hand
 * @property {() => void} chat
 * @property {() => void} people
 * @property {() => void} layout
 * @property {() => void} back
 * @property {() => void} on
 * @property {() => void} full
 * @property {() => void} figures
 * @property {() => void} settings
 * @property {() => void} keys
 * @property {() => void} leave
 * @property {(name: string) => void} react
 */

/** Keys, what they do, and the command. */
const KEYS = /** @type {[string, string, keyof Commands][]} */ ([
  ["m", "Microphone on or off", "mic"],
  ["v", "Camera on or off", "cam"],
  ["s", "Share a screen, or stop sharing", "screen"],
  ["h", "Raise or lower your hand", "hand"],
  ["c", "Open or close the chat", "chat"],
  ["p", "Open or close the list of people", "people"],
  ["l", "Grid or speaker's view", "layout"],
  ["pageup", "People before these", "back"],
  ["pagedown", "More people", "on"],
  ["f", "Full screen", "full"],
  ["i", "Show or hide all figures", "figures"],
  ["?", "This list", "keys"],
]);
/** Held: the microphone is on. */
const TALK = " ";

const MENU = /** @type {[string, string, keyof Commands, boolean][]} Symbol, text, command, only on phones. */ ([
  ["screen", "Share a screen", "screen", true],
  ["hand", "Raise hand", "hand", true],
  ["people", "People", "people", true],
  ["spotlight", "Change the layout", "layout", false],
  ["full", "Full screen", "full", false],
  ["stats", "Figures of all", "figures", false],
  ["gear", "Settings", "settings", false],
  ["keyboard", "Keyboard shortcuts", "keys", false],
]);

/**
 * @param {Commands} commands
 * @param {(held: boolean) => void} talk
 */
export function wireToolbar(commands, talk) {
  const buttons = /** @type {[string, keyof Commands][]} */ ([
    ["mic", "mic"],
    ["cam", "cam"],
    ["screen", "screen"],
    ["hand", "hand"],
    ["open-chat", "chat"],
    ["open-people", "people"],
    ["leave", "leave"],
  ]);
  for (const [id, command] of buttons) byId(id).addEventListener("click", () => run(commands, command));
  setIconButton(byId("react"), "smile", "Send a reaction");
  setIconButton(byId("more"), "more", "More");
  setIconButton(byId("leave"), "leave", "Leave the room");
  setIconButton(byId("side-close"), "close", "Close the side panel");
  setIconButton(byId("send"), "send", "Send the message");
  for (const close of document.querySelectorAll("[data-close]")) close.replaceChildren(icon("close"));
  drawMenu(commands);
  drawReactions(commands);
  drawKeys();
  wireKeys(commands, talk);
}

/**
 * @param {object} now
 * @param {boolean} now.mic
 * @param {boolean} now.cam
 * @param {boolean} now.sharing
 * @param {boolean} now.hand
 * @param {string} now.panel Open one; empty is none.
 * @param {number} now.unread
 * @param {number} now.people
 */
export function showToolbar({ mic, cam, sharing, hand, panel, unread, people }) {
  showSwitch("mic", mic, "mic", "microphone", "m");
  showSwitch("cam", cam, "camera", "camera", "v");
  const toggle = (/** @type {string} */ id, /** @type {boolean} */ on, /** @type {string[]} */ [symbol, off, text]) => {
    setIconButton(byId(id), symbol ?? "", (on ? text : off) ?? "");
    byId(id).setAttribute("aria-pressed", String(on));
  };
  toggle("screen", sharing, ["screen", "Share a screen (s)", "Stop sharing your screen (s)"]);
  toggle("hand", hand, ["hand", "Raise your hand (h)", "Lower your hand (h)"]);
  setIconButton(byId("open-chat"), "chat", unread ? `Chat, ${unread} unread` : "Chat (c)");
  byId("open-chat").dataset.count = unread ? String(unread) : "";
  setIconButton(byId("open-people"), "people", `People, ${people} here`);
  byId("open-people").dataset.count = String(people);
  byId("open-chat").setAttribute("aria-expanded", String(panel === "chat"));
  byId("open-people").setAttribute("aria-expanded", String(panel === "people"));
}

/** @param {Commands} commands */
function drawMenu(commands) {
  for (const [symbol, text, command, phoneOnly] of MENU) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = phoneOnly ? "quiet phone-only" : "quiet";
    button.append(icon(symbol), part("span", "", text));
    button.addEventListener("click", () => {
      byId("menu").hidePopover();
      run(commands, command);
    });
    byId("menu").append(button);
  }
}

/** @param {Commands} commands */
function drawReactions(commands) {
  for (const [name, text] of Object.entries(REACTIONS)) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "icon-button quiet";
    setIconButton(button, name, text);
    button.addEventListener("click", () => {
      byId("reactions").hidePopover();
      commands.react(name);
    });
    byId("reactions").append(button);
  }
}

function drawKeys() {
  const rows = [...KEYS.map(([key, text]) => [key, text]), ["space", "Hold to talk while muted"]];
  for (const [key = "", text = ""] of rows) {
    const term = part("dt", "");
    term.append(part("kbd", "", key.replace("page", "page ")));
    byId("keys").append(term, part("dd", "", text));
  }
}

/**
 * @param {Commands} commands
 * @param {(held: boolean) => void} talk
 */
function wireKeys(commands, talk) {
  let held = false;
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || byId("call").hidden) return;
    if (document.querySelector("dialog[open]")) return;
    // A button that was reached by the keyboard is pressed by this key; one that was clicked is not meant.
    const pressed =
      event.target instanceof HTMLElement && event.target.matches("button:focus-visible, a:focus-visible");
    if (event.key === TALK && !pressed) {
      event.preventDefault();
      if (!held) talk(true);
      held = true;
      return;
    }
    const found = KEYS.find(([key]) => key === event.key.toLowerCase());
    if (!found || event.repeat) return;
    event.preventDefault();
    run(commands, found[2]);
  });
  const release = () => {
    if (held) talk(false);
    held = false;
  };
  addEventListener("keyup", (event) => event.key === TALK && release());
  addEventListener("blur", release);
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && target.matches("input, textarea, select, [contenteditable]");
}

/**
 * @param {Commands} commands
 * @param {keyof Commands} command
 */
function run(commands, command) {
  if (command !== "react") commands[command]();
}
