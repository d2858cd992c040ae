// @ts-check
/**
 * The publish page: a capture (media.js), a connection (connection.js) and what a person sees of the two.
 *
 * For automation: `?autostart=1` goes live without a click; settings.js lists the other parameters. automation.js says
 * what the page exposes.
 */

import { ServerError } from "./api.js";
import { expose } from "./automation.js";
import { CaptureError, sentence } from "./client/errors.js";
import { Connection } from "./connection.js";
import { Health } from "./health.js";
import { LevelMeter } from "./level.js";
import { startCapture } from "./media.js";
import { addressOf, adoptToken, rememberToken, roomOfPath } from "./room.js";
import { parseLayers } from "./session.js";
import { lockSettings, putSource, refreshDevices, sendSettings, wireSettings, wishes } from "./settings.js";
import { Sampler } from "./stats.js";
import { announce, byId, clockText, setIconButton, showNotice, wireCopyButtons, wireTheme } from "./ui.js";
import { Publishing } from "./whip.js";

const STATS_INTERVAL = 1_000;
const CONNECTION_TEXT = {
  idle: ["", "Off air"],
  connecting: ["wait", "Connecting"],
  connected: ["live", "Live"],
  recovering: ["wait", "Reconnecting"],
  reconnecting: ["wait", "Reconnecting"],
  failed: ["bad", "Off air"],
};

const room = roomOfPath();
const health = new Health();
const meter = new LevelMeter(byId("level-bar"));
const sampler = new Sampler();
const preview = byId("preview", HTMLVideoElement);

/** @type {import("./media.js").Capture | null} */
let capture = null;
/** @type {Connection | null} */
let connection = null;
/** @type {Publishing | null} */
let publishing = null;
/** @type {WakeLockSentinel | null} */
let awake = null;
let liveSince = 0;
let muted = false;
let blanked = false;

expose(() => connection);
adoptToken(room);
document.title = `Publish ${room} · Crosspoint`;
byId("room-name").textContent = room;
byId("watch-url").textContent = addressOf("watch", room);
byId("open-watch", HTMLAnchorElement).href = addressOf("watch", room);
wireTheme();
wireCopyButtons();
wireSettings();
byId("start").addEventListener("click", () => (isRunning() ? stopLive() : goLive()));
byId("show-preview").addEventListener("click", () => recapture());
byId("mute").addEventListener("click", () => ((muted = !muted), applyMutes()));
byId("blank").addEventListener("click", () => ((blanked = !blanked), applyMutes()));
byId("settings").addEventListener("change", onSettingsChange);
document.addEventListener("visibilitychange", () => void stayAwake());
navigator.mediaDevices?.addEventListener("devicechange", () => void refreshDevices());
setInterval(showFigures, STATS_INTERVAL);
applyMutes();
await refreshDevices();
if (new URLSearchParams(location.search).get("autostart") === "1") await goLive();
else if (await mayPreviewUnasked()) await recapture();

/** Takes the picture if it is not there yet, and publishes it. */
async function goLive() {
  if (!capture && !(await recapture())) return;
  if (!capture || isRunning()) return;
  showNotice(byId("notice"), null);
  publishing = new Publishing(room, capture.stream, sendSettings());
  connection = new Connection(publishing);
  connection.addEventListener("state", showState);
  connection.addEventListener("server", onServerEvent);
  connection.start();
}

async function stopLive() {
  byId("viewers").hidden = true;
  await connection?.stop();
}

function isRunning() {
  return connection !== null && connection.state !== "idle" && connection.state !== "failed";
}

/**
 * Captures anew as the settings say, and swaps it into a running stream.
 *
 * @returns {Promise<boolean>} False when it did not work; the message is then on the page.
 */
async function recapture() {
  try {
    const fresh = await startCapture(wishes(room));
    capture?.stop();
    capture = fresh;
  } catch (problem) {
    if (!(problem instanceof CaptureError)) throw problem;
    // What is live goes on; off air the old picture would be mistaken for the source that was chosen.
    if (capture && isRunning()) putSource(capture.source);
    else clearCapture();
    showNotice(byId("notice"), {
      tone: "bad",
      title: problem.title,
      detail: problem.message,
      action: { label: "Try again", run: () => void recapture() },
    });
    return false;
  }
  showNotice(byId("notice"), null);
  showCapture(capture);
  await refreshDevices();
  if (isRunning() && !(await publishing?.replace(capture.stream))) {
    await stopLive();
    await goLive();
  }
  return true;
}

/** @param {import("./media.js").Capture} shown */
function showCapture(shown) {
  const [picture] = shown.stream.getVideoTracks();
  preview.srcObject = shown.stream;
  byId("stage").classList.toggle(
    "mirrored",
    shown.source === "camera" && picture?.getSettings().facingMode !== "environment",
  );
  byId("curtain").hidden = picture !== undefined;
  byId("curtain-icon").setAttribute("href", "/assets/icons.svg#mic");
  byId("curtain-text").textContent = "Sound only: viewers see no picture.";
  byId("show-preview").hidden = true;
  meter.listen(shown.stream);
  applyMutes();
  for (const track of shown.stream.getTracks())
    track.addEventListener("ended", () => shown === capture && onEnded(shown));
}

function clearCapture() {
  capture?.stop();
  capture = null;
  preview.srcObject = null;
  byId("curtain").hidden = false;
  byId("curtain-icon").setAttribute("href", "/assets/icons.svg#camera");
  byId("curtain-text").textContent = "Your picture appears here.";
  byId("show-preview").hidden = false;
}

/** The browser's "stop sharing" bar, or a device that was unplugged. @param {import("./media.js").Capture} ended */
function onEnded(ended) {
  const wasLive = isRunning();
  void stopLive();
  clearCapture();
  const screen = ended.source === "screen";
  showNotice(byId("notice"), {
    tone: "note",
    title: screen ? "Screen sharing has ended" : "The device is gone",
    detail: wasLive ? "The stream has stopped. Choose a source and go live again." : "Choose a source.",
  });
}

/** @param {Event} event */
async function onSettingsChange(event) {
  const fields = ["source", "camera", "microphone", "height", "frameRate"];
  const { target } = event;
  if (!(target instanceof HTMLElement) || !fields.includes(target.getAttribute("name") ?? "")) return;
  // Choosing the screen opens a dialog: off air that waits for a click on the preview.
  const source = wishes(room).source;
  if (isRunning() || source === "pattern" || (capture && source !== "screen") || (await mayPreviewUnasked()))
    await recapture();
}

/** Whether a preview can start without the browser asking the person something. */
async function mayPreviewUnasked() {
  const { source } = wishes(room);
  if (source === "pattern") return true;
  if (source === "screen" || !navigator.mediaDevices) return false;
  try {
    const name = /** @type {PermissionName} */ (source === "camera" ? "camera" : "microphone");
    return (await navigator.permissions.query({ name })).state === "granted";
  } catch {
    return false; // Firefox before 132 knows no such permission.
  }
}

function applyMutes() {
  for (const track of capture?.stream.getTracks() ?? []) track.enabled = !(track.kind === "audio" ? muted : blanked);
  byId("mute").setAttribute("aria-pressed", String(muted));
  byId("blank").setAttribute("aria-pressed", String(blanked));
  setIconButton(byId("mute"), muted ? "mic-off" : "mic", "Mute the sound");
  setIconButton(byId("blank"), blanked ? "camera-off" : "camera", "Hide the picture");
}

function showState() {
  if (!connection) return;
  const { state, problem } = connection;
  if (state === "connected" && !liveSince) liveSince = Date.now();
  if (!isRunning()) liveSince = 0;
  showStatus();
  const label = isRunning() ? "Stop" : "Go live";
  byId("start").classList.toggle("danger", isRunning());
  byId("start").classList.toggle("primary", !isRunning());
  byId("start").lastElementChild?.replaceChildren(label);
  byId("start")
    .querySelector("use")
    ?.setAttribute("href", `/assets/icons.svg#${isRunning() ? "stop" : "broadcast"}`);
  byId("stage").classList.toggle("live", state === "connected");
  byId("health").hidden = state === "idle" || state === "failed";
  if (!isRunning()) health.clear();
  lockSettings(isRunning());
  showNotice(byId("notice"), problem && describe(problem, state));
  announce(byId("status").textContent ?? "");
  void stayAwake();
}

function showStatus() {
  const [tone = "", text = ""] = CONNECTION_TEXT[connection?.state ?? "idle"];
  byId("status").dataset.tone = tone;
  byId("status").textContent = tone === "live" ? `Live ${clockText(Date.now() - liveSince)}` : text;
}

/**
 * @param {Error} problem
 * @param {import("./connection.js").State} state
 * @returns {import("./ui.js").Notice}
 */
function describe(problem, state) {
  const waits = state === "reconnecting" ? " Trying again by itself." : "";
  if (problem instanceof ServerError && (problem.status === 401 || problem.status === 403)) {
    return {
      tone: "bad",
      title: problem.status === 401 ? "Publishing here needs a key" : "This key may not publish to this room",
      detail: problem.detail || "Ask whoever runs this server for it.",
      withKey: (key) => {
        rememberToken(room, key);
        void goLive();
      },
    };
  }
  const title = problem instanceof ServerError ? problem.title : "No connection to the server";
  return { tone: state === "failed" ? "bad" : "note", title, detail: problem.message + waits };
}

/** @param {Event} event */
function onServerEvent(event) {
  const { name, data } = /** @type {CustomEvent} */ (event).detail;
  if (name === "warnings" && data.warnings.length > 0) {
    const title = "Viewers will have trouble with this stream";
    showNotice(byId("notice"), { tone: "note", title, detail: data.warnings.map(sentence).join(" ") });
  }
  if (name === "layers") void publishing?.setWanted(parseLayers(data));
  if (name !== "viewercount") return;
  byId("viewers").hidden = false;
  byId("viewer-count").textContent = String(data.viewercount);
}

async function showFigures() {
  if (connection?.state !== "connected") return;
  showStatus();
  const figures = await sampler.sample(connection.pc);
  if (figures) health.show(figures);
}

/** Keeps a phone from sleeping in the middle of its stream. */
async function stayAwake() {
  const wanted = isRunning() && document.visibilityState === "visible";
  if (!wanted) {
    await awake?.release();
    awake = null;
  } else if (!awake || awake.released) {
    awake = await navigator.wakeLock?.request("screen").catch(() => null);
  }
}
