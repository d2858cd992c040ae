// @ts-check
/**
 * The conference page: a lobby, a room (client.js), and what a person sees of it.
 *
 * For embedding and automation: `?name=Ann&autojoin=1&cam=off&mic=on` skips the lobby. `slots` is how many pictures are
 * received at once, `codec` what one's own is sent in.
 * `globalThis.crosspoint` is the room, for programs that drive the page.
 */

import { hello } from "../api.js";
import { CaptureError, RoomError } from "../client/errors.js";
import { Room } from "../client/room.js";
import { adoptToken, rememberToken, roomOfPath, tokenFor } from "../room.js";
import { announce, byId, icon, showNotice, wireCopyButtons, wireTheme } from "../ui.js";
import { cameraSize, choices, keepChoices, refreshPickers, wirePickers } from "./devices.js";
import { Lobby } from "./lobby.js";
import { Side } from "./side.js";
import { Stage } from "./stage.js";
import { part } from "./tile.js";
import { clearMessage, toast, toastMessage, toastOf } from "./toasts.js";
import { REACTIONS, showToolbar, wireToolbar } from "./toolbar.js";
import { Unheard } from "./unheard.js";

/** @typedef {import("../client/events.js").RoomEventType} EventType */

const STATS_INTERVAL = 1_000;
/** From so many others on, who comes and goes is told to screen readers only. */
const CROWD = 12;
/** Longest wait for camera and microphone before one comes in without. Milliseconds. Longer keeps people waiting who
 * have not allowed them yet; shorter has more come in as a black tile for a moment. */
const DEVICES_PATIENCE = 1_500;
/** Longest wait for the operator's settings. Milliseconds. Longer keeps people waiting who have a slow server; shorter
 * has more of them receive as much as the SDK thinks right. */
const GREETING_PATIENCE = 1_500;
/** What a phone receives at most, below this width: more it would have to decode for tiles too small to see. */
const PHONE = { width: 640, videoSlots: 6, audioSlots: 3 };

const name = roomOfPath();
const address = new URL(location.href);
const parameter = (/** @type {string} */ key) => address.searchParams.get(key);
const size = cameraSize(address.searchParams);
const onOff = (/** @type {string} */ key) => (parameter(key) === null ? undefined : parameter(key) !== "off");

adoptToken(name);
const room = new Room(options(await greeting()));
const stage = new Stage(room);
const side = new Side(room);
/** @type {Lobby} */
let lobby;
/** @type {Map<string, number>} Hands that were told, by sid. */
const hands = new Map();
let hasLeft = false;
/** Unmuted only while a key is held. */
let talking = false;
const unheard = new Unheard(() => {
  announce("You are muted");
  toast("You are muted. Turn the microphone on to be heard.");
});
/** @type {WakeLockSentinel | null | undefined} */
let awake = null;

Object.defineProperty(globalThis, "crosspoint", { value: room });
document.title = `${name} · Crosspoint`;
for (const id of ["room-name", "lobby-room", "call-title"]) byId(id).textContent = name;
for (const id of ["link", "people-link"]) byId(id).textContent = new URL(location.pathname, location.href).href;
wireTheme();
wireCopyButtons();
wireRoom();
wireToolbar(
  {
    mic: () => attempt(() => self().setMicrophoneEnabled(!self().isMicrophoneEnabled, deviceOf("microphone"))),
    cam: () =>
      attempt(() => self().setCameraEnabled(!self().isCameraEnabled, { ...deviceOf("camera"), constraints: size })),
    screen: () => attempt(() => self().setScreenShareEnabled(!self().isScreenShareEnabled)),
    hand: () => attempt(() => self().raiseHand(!self().handRaised)),
    chat: () => side.toggle("chat"),
    people: () => side.toggle("people"),
    layout: changeLayout,
    back: () => stage.turn(-1),
    on: () => stage.turn(1),
    full: () => void (document.fullscreenElement ? document.exitFullscreen() : byId("call").requestFullscreen()),
    figures: showAllFigures,
    settings: openSettings,
    keys: () => byId("shortcuts", HTMLDialogElement).showModal(),
    leave: () => void room.leave(),
    react,
  },
  (held) => void talk(held),
);
wireSettings();
side.addEventListener("change", () => {
  if (side.open === "chat") clearMessage();
  showControls();
});
byId("entrance", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  void comeIn();
});
byId("join", HTMLButtonElement).disabled = false;
byId("rejoin").addEventListener("click", () => location.reload());
setInterval(() => void stage.refreshStats(), STATS_INTERVAL);
document.addEventListener("visibilitychange", () => void stayAwake());
await enterLobby();

/** What the server says of itself, if it says so soon: nobody is to wait in front of a dead page. */
function greeting() {
  const late = new Promise((resolve) => setTimeout(resolve, GREETING_PATIENCE, null));
  return /** @type {Promise<import("../api.js").Hello | null>} */ (Promise.race([hello().catch(() => null), late]));
}

/**
 * What the operator has set, or the address says.
 *
 * @param {import("../api.js").Hello | null} greeting
 * @returns {import("../client/room.js").Options}
 */
function options(greeting) {
  const video = { codec: parameter("codec")?.toLowerCase() ?? "auto" };
  const slots = Number(parameter("slots") ?? Number.NaN);
  const wished = Number.isInteger(slots) ? { videoSlots: slots } : {};
  if (!greeting) return { video, ...wished };
  const { video_slots: videoSlots, audio_slots: audioSlots } = greeting.limits;
  if (innerWidth >= PHONE.width) return { video, videoSlots, audioSlots, ...wished };
  const [pictures, voices] = [Math.min(videoSlots, PHONE.videoSlots), Math.min(audioSlots, PHONE.audioSlots)];
  return { video, videoSlots: pictures, audioSlots: voices, ...wished };
}

async function enterLobby() {
  const named = parameter("name");
  if (named) choices.name = named;
  lobby = new Lobby({ cam: onOff("cam"), mic: onOff("mic"), size });
  wirePickers(changeDevice);
  await refreshPickers();
  await lobby.start();
  if (parameter("autojoin") === "1") await comeIn();
}

/** Takes the lobby's tracks into the room. */
async function comeIn() {
  const button = byId("join", HTMLButtonElement);
  choices.name = byId("name", HTMLInputElement).value.trim();
  keepChoices();
  button.disabled = true;
  button.textContent = "Joining";
  try {
    // Who is quicker than the devices, or has not allowed them yet, comes in without, and they follow.
    await Promise.race([lobby.opened, new Promise((resolve) => setTimeout(resolve, DEVICES_PATIENCE))]);
    await publishOpened();
    await room.setPassphrase(byId("passphrase", HTMLInputElement).value);
    await room.connect(address, tokenFor(name), choices.name ? { name: choices.name } : {});
    if (choices.speaker) await room.setSoundOutput(choices.speaker).catch(() => {});
    lobby.end();
    void lobby.opened.then(publishOpened).then(showControls);
    byId("lobby").hidden = true;
    byId("call").hidden = false;
    side.refill();
    stage.touch();
    showControls();
    byId("controls").focus();
    announce(`You are in the room ${name} with ${room.participants.size} others.`);
  } catch (problem) {
    // The lobby may change them before the next attempt.
    for (const local of [...self().published]) await self().unpublish(local);
    showNotice(byId("notice"), await describe(problem));
  } finally {
    button.disabled = false;
    button.textContent = "Join";
  }
}

/** Publishes what the lobby has opened. */
async function publishOpened() {
  for (const kind of /** @type {const} */ (["microphone", "camera"])) {
    const track = lobby[kind];
    const published = self().publishedOf(kind);
    if (!track || track === published?.mediaStreamTrack) continue;
    // Too late: one has left again, or has opened another meanwhile.
    if (hasLeft || published) track.stop();
    else await self().publish(track, { source: kind });
  }
}

function self() {
  return room.localParticipant;
}

/** @param {"camera" | "microphone"} kind */
function deviceOf(kind) {
  return choices[kind] ? { deviceId: choices[kind] } : {};
}

function wireRoom() {
  const on = (
    /** @type {string} */ types,
    /** @type {(event: import("../client/events.js").RoomEvent) => void} */ act,
  ) => types.split(" ").forEach((type) => room.addEventListener(/** @type {EventType} */ (type), act));
  on("participantjoined participantleft participantchange", () => stage.touch());
  on("trackpublished trackunpublished trackchange localchange", () => stage.touch());
  on("trackstart trackend quality encryptionchange", () => stage.refresh());
  on("participantjoined participantleft participantchange trackchange trackpublished localchange quality", () => {
    side.listPeople();
    showControls();
  });
  on("participantjoined", ({ participant }) => come(participant?.name ?? "", "joined"));
  on("participantleft", ({ participant }) => come(participant?.name ?? "", "left"));
  on("participantchange", ({ participant }) => participant && noteHand(participant));
  on("trackpublished", ({ participant, track }) => {
    if (track?.source === "screen_share") say(`${participant?.name} shares a screen`);
  });
  on("speakers", () => stage.hear());
  on("chat", ({ message }) => {
    if (message && side.receive(message)) toastMessage(message, () => side.show("chat"));
  });
  on("data", ({ participant, data }) => data?.topic === "reaction" && showReaction(participant, data.payload));
  on("muted", ({ reason, participant }) => toast(`${participant?.name ?? "A moderator"} turned off your ${reason}.`));
  on("devicelost", ({ reason }) => toast(`Your ${reason} is gone. Plug it in or choose another one, and turn it on.`));
  on("soundblocked", () => showSound());
  on("pathchange roomchange encryptionchange participantjoined participantleft", showBadges);
  on("draining", () => showAway("This server is restarting. You come back by yourself as soon as it is there again."));
  on("statechange", showState);
  on("closed", ({ reason, text }) => sayGoodbye(reason, text));
}

function wireSettings() {
  const mirror = byId("set-mirror", HTMLInputElement);
  mirror.checked = choices.mirror;
  document.body.classList.toggle("mirrors", choices.mirror);
  mirror.addEventListener("change", () => {
    choices.mirror = mirror.checked;
    document.body.classList.toggle("mirrors", choices.mirror);
    keepChoices();
  });
  const named = byId("set-name", HTMLInputElement);
  named.addEventListener("change", () => {
    choices.name = named.value.trim();
    keepChoices();
    void attempt(() => self().setName(choices.name));
  });
  const mode = byId("set-mode", HTMLSelectElement);
  const setMode = () => room.setMode(/** @type {import("../signalling.js").RoomMode} */ (mode.value));
  mode.addEventListener("change", () => attempt(setMode));
  byId("apply-passphrase").addEventListener("click", () => {
    const words = byId("set-passphrase", HTMLInputElement).value;
    void attempt(() => room.setPassphrase(words));
    byId("settings", HTMLDialogElement).close();
  });
}

function openSettings() {
  byId("set-name", HTMLInputElement).value = self().info.name;
  byId("settings", HTMLDialogElement).showModal();
}

/**
 * @param {"camera" | "microphone" | "speaker"} kind
 * @param {string} deviceId
 */
async function changeDevice(kind, deviceId) {
  if (kind === "speaker") return attempt(() => room.setSoundOutput(deviceId));
  if (room.state === "new" || room.state === "closed") return lobby.change(kind);
  const local = self();
  if (kind === "camera" && local.isCameraEnabled)
    await attempt(() => local.setCameraEnabled(true, { deviceId, constraints: size }));
  if (kind === "microphone") await attempt(() => local.setMicrophoneEnabled(local.isMicrophoneEnabled, { deviceId }));
}

/** @param {() => Promise<unknown>} change What a person asked for; told when it does not work. */
async function attempt(change) {
  try {
    await change();
  } catch (problem) {
    // Closing the browser's own dialog is an answer, not a fault, and so is leaving.
    if (hasLeft) return;
    if (problem instanceof CaptureError && problem.title === "Screen sharing was cancelled") return;
    const { title, detail } = await describe(problem);
    toast(detail ? `${title}. ${detail}` : title);
  }
  showControls();
}

function showControls() {
  const local = self();
  const microphone = local.publishedOf("microphone");
  unheard.listen((!hasLeft && microphone?.muted && microphone.mediaStreamTrack) || null);
  showToolbar({
    mic: local.isMicrophoneEnabled,
    cam: local.isCameraEnabled,
    sharing: local.isScreenShareEnabled,
    hand: local.handRaised > 0,
    panel: side.open,
    unread: side.unread,
    people: room.participants.size + 1,
  });
  byId("call").classList.toggle("with-side", side.open !== "");
}

function showState() {
  const texts = { connecting: "Connecting", reconnecting: "Reconnecting" };
  const text = Reflect.get(texts, room.state) ?? "";
  byId("status").hidden = text === "";
  byId("status").textContent = text;
  if (text) announce(text);
  else if (room.state === "connected") announce("Connected");
  if (room.state === "reconnecting") showAway("The connection is lost. You come back as soon as it is there again.");
  else document.getElementById("away")?.remove();
  showBadges();
  void stayAwake();
}

function showBadges() {
  const connected = room.state === "connected";
  const badge = (
    /** @type {string} */ id,
    /** @type {boolean} */ shown,
    /** @type {string[]} */ [symbol, text, why],
  ) => {
    const place = byId(id);
    place.hidden = !shown;
    place.replaceChildren(icon(symbol ?? ""), part("span", "", text));
    place.title = why ?? "";
  };
  const direct = ["direct", "Direct", "Sound and pictures go straight to the other person."];
  const served = ["server", "Through the server", "The server forwards sound and pictures."];
  badge("path", connected && room.participants.size > 0, room.path === "p2p" ? direct : served);
  badge("sealed", connected && room.isEncrypted, ["lock", "Encrypted end to end", "Only those with the passphrase."]);
  if (room.info) byId("set-mode", HTMLSelectElement).value = room.info.mode;
}

/** @param {string} text For the eye briefly, and for screen readers. */
function say(text) {
  announce(text);
  if (room.participants.size < CROWD) toast(text);
}

/**
 * @param {string} name
 * @param {"joined" | "left"} did
 */
function come(name, did) {
  if (room.state !== "connected") return;
  announce(`${name} has ${did}`);
  if (room.participants.size < CROWD) toastOf(name, did);
}

/** @param {import("../client/participant.js").Participant} participant */
function noteHand(participant) {
  const { handRaised, sid, name } = participant;
  const before = hands.get(sid) ?? 0;
  hands.set(sid, handRaised);
  if (handRaised && !before && participant !== self()) say(`${name} raised a hand`);
}

/** Says why nothing moves, until it does again. The first reason stays. @param {string} text */
function showAway(text) {
  if (document.getElementById("away")) return;
  const shown = part("p", "toast", text);
  shown.id = "away";
  byId("toasts").prepend(shown);
  announce(text);
}

/** @param {string} name */
function react(name) {
  stage.react(self(), name);
  void attempt(() => room.sendData("reaction", name, { reliable: false }));
}

/**
 * @param {import("../client/participant.js").Participant | undefined} participant
 * @param {Uint8Array} payload
 */
function showReaction(participant, payload) {
  const name = new TextDecoder().decode(payload);
  const meaning = Reflect.get(REACTIONS, name);
  if (!meaning) return;
  stage.react(participant, name);
  announce(`${participant?.name}: ${meaning}`);
}

/** The browser plays sound only after a click on the page. */
function showSound() {
  document.getElementById("sound")?.remove();
  if (!room.isSoundBlocked) return;
  const button = document.createElement("button");
  Object.assign(button, { id: "sound", type: "button", className: "primary", textContent: "Turn on the sound" });
  button.addEventListener("click", () => void room.startSound());
  byId("toasts").prepend(button);
}

function changeLayout() {
  stage.setLayout(stage.layout === "grid" ? "speaker" : "grid");
  announce(stage.layout === "grid" ? "Grid" : "Speaker's view");
}

function showAllFigures() {
  const shown = stage.tiles.some(({ element }) => element.querySelector(".tile-figures[hidden]"));
  for (const tile of stage.tiles) void tile.showStats(shown);
}

/** @param {boolean} held */
async function talk(held) {
  if (held === talking || (held && self().isMicrophoneEnabled)) return;
  talking = held;
  await attempt(() => self().setMicrophoneEnabled(held, deviceOf("microphone")));
}

/**
 * @param {string} reason
 * @param {string} text
 */
function sayGoodbye(reason, text) {
  hasLeft = true;
  unheard.listen(null);
  stage.clear();
  byId("call").hidden = true;
  byId("lobby").hidden = true;
  byId("goodbye").hidden = false;
  const titles = {
    left: "You have left",
    kicked: "You were removed",
    room_closed: "The meeting has ended",
    replaced: "You are here in another window",
    duplicate_identity: "You are here in another window",
  };
  byId("goodbye-title").textContent = Reflect.get(titles, reason) ?? "The connection has ended";
  byId("goodbye-text").textContent = text || `The room is ${name}.`;
  byId("rejoin").focus();
  announce(byId("goodbye-title").textContent ?? "");
}

/**
 * @param {unknown} problem
 * @returns {Promise<import("../ui.js").Notice>}
 */
async function describe(problem) {
  if (problem instanceof CaptureError) return { tone: "bad", title: problem.title, detail: problem.message };
  if (!(problem instanceof RoomError)) {
    return { tone: "bad", title: "Something unexpected went wrong", detail: String(problem) };
  }
  if (await wantsKey(problem)) {
    return {
      tone: "bad",
      title: tokenFor(name) ? "This key does not open this room" : "This room needs a key",
      detail: "Ask whoever runs this server for it.",
      withKey: (key) => {
        rememberToken(name, key);
        void comeIn();
      },
    };
  }
  const titles = {
    room_full: "The room is full",
    server_full: "The server is full",
    unreachable: "The room cannot be reached",
    draining: "The server is restarting",
  };
  const title = Reflect.get(titles, problem.code) ?? "That did not work";
  return { tone: "bad", title, detail: problem.message };
}

/** A browser tells no page why a socket was refused, so the server is asked. @param {RoomError} problem */
async function wantsKey({ code }) {
  if (code === "unauthorized" || code === "forbidden") return true;
  if (code !== "unreachable") return false;
  const greeting = await hello().catch(() => null);
  return greeting?.auth_required ?? false;
}

/** Keeps a phone from sleeping in the middle of the talk. */
async function stayAwake() {
  const wanted = room.state === "connected" && document.visibilityState === "visible";
  if (!wanted) {
    await awake?.release();
    awake = null;
  } else if (!awake || awake.released) {
    awake = await navigator.wakeLock?.request("screen").catch(() => null);
  }
}
