// @ts-check
/** The panel beside the stage: the chat and the list of people. */

import { announce, byId, icon, setIconButton } from "../ui.js";
import { hueOf, initialsOf, part } from "./tile.js";

/** Messages of one person within this are drawn as one block. Milliseconds. */
const SAME_BLOCK = 120_000;
/** Lines kept: messages and whom they are from. More to scroll back takes more memory in long meetings. */
const LINES = 1_000;

/**
 * @typedef {import("../client/room.js").Room} Room
 * @typedef {import("../client/events.js").ChatMessage} ChatMessage
 * @typedef {import("../client/participant.js").Participant} Participant
 */

/** Emits `change` when it opens, closes, or something was read. */
export class Side extends EventTarget {
  /** @type {"" | "chat" | "people"} */
  open = "";
  unread = 0;
  #room;
  /** @type {ChatMessage | null} */
  #last = null;

  /** @param {Room} room */
  constructor(room) {
    super();
    this.#room = room;
    byId("tab-chat").addEventListener("click", () => this.show("chat"));
    byId("tab-people").addEventListener("click", () => this.show("people"));
    byId("side-close").addEventListener("click", () => this.show(""));
    byId("side").addEventListener("keydown", (event) => this.#key(event));
    byId("compose", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send();
    });
    byId("message", HTMLTextAreaElement).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      void this.#send();
    });
  }

  /** @param {"" | "chat" | "people"} panel */
  show(panel) {
    const before = this.open;
    this.open = panel;
    byId("side").hidden = panel === "";
    for (const name of /** @type {const} */ (["chat", "people"])) {
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === panel));
      byId(`${name}-panel`).hidden = name !== panel;
    }
    if (panel === "chat") {
      this.unread = 0;
      byId("message").focus();
      byId("messages").scrollTop = byId("messages").scrollHeight;
    }
    if (panel === "people") {
      this.listPeople();
      byId("tab-people").focus();
    }
    if (panel === "" && before) byId(`open-${before}`).focus();
    this.dispatchEvent(new Event("change"));
  }

  /** @param {"chat" | "people"} panel */
  toggle(panel) {
    this.show(this.open === panel ? "" : panel);
  }

  /** After a join: what was written before. */
  refill() {
    byId("messages").replaceChildren();
    this.#last = null;
    for (const message of this.#room.messages) this.#append(message);
  }

  /** @param {ChatMessage} message @returns {boolean} Whether it is not seen yet. */
  receive(message) {
    this.#append(message);
    const own = message.from.sid === this.#room.localParticipant.sid;
    if (own) return false;
    announce(`${message.from.name || message.from.identity} writes: ${message.text}`);
    if (this.open === "chat") return false;
    this.unread += 1;
    this.dispatchEvent(new Event("change"));
    return true;
  }

  /** Draws the list of people, if it is open. */
  listPeople() {
    if (this.open !== "people") return;
    const { localParticipant, participants } = this.#room;
    const people = [localParticipant, ...participants.values()];
    // Raised hands first, in the order they were raised.
    people.sort((a, b) => (a.handRaised || Infinity) - (b.handRaised || Infinity) || 0);
    byId("people").replaceChildren(...people.map((person) => this.#row(person)));
  }

  /** @param {Participant} person */
  #row(person) {
    const { localParticipant } = this.#room;
    const isSelf = person === localParticipant;
    const row = document.createElement("li");
    const face = part("span", "face", initialsOf(person.name || "You"));
    face.style.setProperty("--hue", String(hueOf(person.identity || person.name)));
    const name = part("span", "person-name", isSelf ? `${person.name} (you)` : person.name);
    const detail = detailOf(person);
    if (detail) name.append(part("small", "soft", detail));
    row.append(face, name);
    if (person.handRaised) row.append(marked("hand", "hand raised"));
    const muted = isSelf ? !localParticipant.isMicrophoneEnabled : (person.trackOf("microphone")?.muted ?? true);
    row.append(marked(muted ? "mic-off" : "mic", muted ? "muted" : "microphone on"));
    if (localParticipant.info.permissions.admin && !isSelf) row.append(...this.#moderation(person));
    return row;
  }

  /** @param {Participant} person */
  #moderation(person) {
    const button = (/** @type {string} */ symbol, /** @type {string} */ label, /** @type {() => void} */ act) => {
      const made = document.createElement("button");
      made.type = "button";
      made.className = "icon-button quiet";
      setIconButton(made, symbol, label);
      made.addEventListener("click", act);
      return made;
    };
    const microphone = person.trackOf("microphone");
    const remove = button("remove", `Remove ${person.name}`, () => this.#remove(person));
    if (!microphone || microphone.muted) return [remove];
    return [button("volume-off", `Mute ${person.name}`, () => void this.#room.muteOther(microphone)), remove];
  }

  /** One who was removed by mistake is not easily asked back. @param {Participant} person */
  #remove(person) {
    if (confirm(`Remove ${person.name} from the room?`)) void this.#room.kick(person);
  }

  async #send() {
    const field = byId("message", HTMLTextAreaElement);
    const text = field.value.trim();
    if (text === "") return;
    field.value = "";
    try {
      await this.#room.sendChat(text);
    } catch (problem) {
      field.value = text;
      const failed = part("p", "failed", `Not sent. ${problem instanceof Error ? problem.message : ""}`);
      failed.setAttribute("role", "alert");
      byId("messages").append(failed);
    }
  }

  /** @param {ChatMessage} message */
  #append(message) {
    const place = byId("messages");
    const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 60;
    const { from, text, time } = message;
    const last = this.#last;
    const same = last && last.from.sid === from.sid && time - last.time < SAME_BLOCK;
    if (!same) {
      const head = part("p", "from", from.name || from.identity);
      const clock = new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
      head.append(part("time", "soft", clock));
      place.append(head);
    }
    const body = part("p", from.sid === this.#room.localParticipant.sid ? "text own" : "text");
    body.append(...withLinks(text));
    place.append(body);
    while (place.childElementCount > LINES) place.firstElementChild?.remove();
    this.#last = message;
    if (atEnd) place.scrollTop = place.scrollHeight;
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") this.show("");
    const onTab = event.target instanceof HTMLElement && event.target.role === "tab";
    if (onTab && /^Arrow(Left|Right)$/.test(event.key)) {
      this.show(this.open === "chat" ? "people" : "chat");
      byId(`tab-${this.open}`).focus();
    }
  }
}

/** @param {Participant} person */
function detailOf({ info, isReconnecting, quality }) {
  if (isReconnecting) return "reconnecting";
  if (info.kind === "ingress") return "from an encoder";
  if (info.kind === "egress") return "watching";
  if (quality > 0 && quality < 3) return "poor connection";
  return "";
}

/**
 * @param {string} symbol
 * @param {string} label
 */
function marked(symbol, label) {
  const mark = part("span", `mark ${symbol}`);
  mark.append(icon(symbol), part("span", "sr-only", label));
  return mark;
}

/** @param {string} text @returns {(string | HTMLElement)[]} */
function withLinks(text) {
  return text.split(/(https?:\/\/[^\s<>"]+)/).map((piece, index) => {
    if (index % 2 === 0) return piece;
    const link = document.createElement("a");
    Object.assign(link, { href: piece, target: "_blank", rel: "noopener noreferrer", textContent: piece });
    return link;
  });
}
