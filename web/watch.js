// @ts-check
/**
 * The watch page: plays a room, waits for it to start, and comes back by itself after whatever broke.
 *
 * For embedding: `?muted=1` starts without sound and without asking for a click. automation.js says what the page
 * exposes.
 */

import { ServerError } from "./api.js";
import { expose } from "./automation.js";
import { Connection } from "./connection.js";
import { listFigures } from "./figures.js";
import { drawMatrix } from "./matrix.js";
import { Player } from "./player.js";
import { adoptToken, rememberToken, roomOfPath } from "./room.js";
import { parseLayers } from "./session.js";
import { Sampler } from "./stats.js";
import { announce, byId, showNotice, wireTheme } from "./ui.js";
import { Playing } from "./whep.js";

const STATS_INTERVAL = 1_000;
/** A stream that has sent nothing for so long is called paused. Shorter calls a network hiccup a pause. */
const QUIET_AFTER = 2_500;

const room = roomOfPath();
const sampler = new Sampler();
const player = new Player(() => void drawFigures());
const playing = new Playing(room, (stream) => show(stream));
const connection = new Connection(playing);

let seenMedia = false;
let lastMedia = 0;
let lastBytes = 0;
let soundOnly = false;
/** @type {import("./stats.js").Figures | null} */
let figures = null;

adoptToken(room);
expose(() => connection);
document.title = `${room} · Crosspoint`;
byId("room-name").textContent = room;
byId("art").append(
  drawMatrix({
    rows: ["", "", ""],
    columns: ["", "", "", "", ""],
    lit: [
      [1, 3],
      [0, 1],
      [2, 4],
    ],
    left: 10,
  }),
);
wireTheme();
player.wire();
byId("delay").addEventListener("change", () =>
  playing.setBuffer(Number(byId("delay", HTMLSelectElement).value) || null),
);
byId("quality").addEventListener("change", selectQuality);
connection.addEventListener("state", showState);
connection.addEventListener("server", onServerEvent);
setInterval(sample, STATS_INTERVAL);
connection.start();

/** @param {MediaStream} stream Of a new connection; its first packet has arrived. */
function show(stream) {
  byId("page").classList.add("theatre");
  seenMedia = true;
  lastMedia = performance.now();
  lastBytes = 0;
  player.play(stream);
  showState();
}

async function sample() {
  figures = await sampler.sample(connection.pc);
  if (!figures) return;
  if (figures.bytes > lastBytes) lastMedia = performance.now();
  lastBytes = figures.bytes;
  soundOnly = isFlowing() && (figures.video?.frames ?? 0) === 0 && (figures.audio?.bitrate ?? 0) > 0;
  showState();
  await drawFigures();
}

/** Asks the server only for those who look: each question is a request. */
async function drawFigures() {
  if (byId("figures").hidden || !figures) return;
  const list = byId("figure-list");
  if (list.childElementCount === 0) listFigures(list, figures, "Asking the server");
  const report = await connection.session?.report();
  listFigures(list, figures, report?.media.find(({ kind }) => kind === "video")?.reason ?? "");
}

function isFlowing() {
  return seenMedia && performance.now() - lastMedia < QUIET_AFTER;
}

function showState() {
  const { state, problem } = connection;
  const live = state === "connected" && isFlowing();
  const [title, text] = words(state, problem);
  const pill = byId("status");
  const status = { text: live ? "Live" : state === "connected" ? "Waiting" : title, tone: live ? "live" : "wait" };
  if (state === "failed") Object.assign(status, { text: "Stopped", tone: "bad" });
  if (pill.textContent !== status.text) announce(`${status.text}. ${live ? "" : text}`);
  pill.textContent = status.text;
  pill.dataset.tone = status.tone;
  byId("curtain").hidden = live && !soundOnly;
  put("curtain-title", title);
  put("curtain-text", text);
  player.mayRest(live);
  if (state !== "failed") showNotice(byId("notice"), null);
  // Once only: drawing it again would empty a key that is being typed.
  else if (byId("notice").hidden)
    showNotice(byId("notice"), isKeyProblem(problem) ? keyNotice(problem) : failureNotice(problem));
}

/**
 * @param {import("./connection.js").State} state
 * @param {Error | null} problem
 * @returns {[string, string]} What the curtain says: a title and a line under it.
 */
function words(state, problem) {
  if (state === "failed") return [isKeyProblem(problem) ? "This room is locked" : "This stream cannot be played", ""];
  if (state === "connecting" || state === "idle") return ["Connecting", ""];
  if (state === "reconnecting" && problem instanceof ServerError && problem.status === 409) return waiting();
  if (problem instanceof ServerError && problem.status === 406) {
    return [
      "This browser cannot decode the stream",
      "Its publisher uses a codec that is missing here. Another browser may have it.",
    ];
  }
  if (state === "reconnecting") return ["Reconnecting", problem?.message ?? "The connection was lost."];
  if (state === "recovering") return ["Reconnecting", "The network path broke and is being repaired."];
  if (soundOnly) return ["Sound only", "The publisher sends no picture."];
  return seenMedia ? ["The stream has paused", "It continues here by itself."] : waiting();
}

/** @returns {[string, string]} */
function waiting() {
  return ["Waiting for the stream to start", "Leave this page open: it plays by itself."];
}

/**
 * @param {Error | null} problem
 * @returns {problem is ServerError}
 */
function isKeyProblem(problem) {
  return problem instanceof ServerError && (problem.status === 401 || problem.status === 403);
}

/** @param {ServerError} problem */
function keyNotice(problem) {
  return {
    tone: /** @type {const} */ ("note"),
    title: problem.status === 401 ? "Watching this room needs a key" : "This key may not watch this room",
    detail: problem.detail || "Ask whoever sent you the link for it.",
    withKey: (/** @type {string} */ key) => {
      rememberToken(room, key);
      connection.start();
    },
  };
}

/** @param {Error | null} problem */
function failureNotice(problem) {
  return {
    tone: /** @type {const} */ ("bad"),
    title: problem instanceof ServerError ? problem.title : "Something went wrong",
    detail: problem?.message ?? "",
    action: { label: "Try again", run: () => connection.start() },
  };
}

/** @param {Event} event */
function onServerEvent(event) {
  const { name, data } = /** @type {CustomEvent} */ (event).detail;
  if (name === "viewercount") {
    byId("viewers").hidden = false;
    put("viewer-count", String(data.viewercount));
  }
  if (name === "inactive") {
    lastMedia = -Infinity;
    showState();
  }
  if (name === "layers") showLayers(data);
}

/** @param {unknown} data */
function showLayers(data) {
  const layers = parseLayers(data).filter(
    // One that nobody wanted until now is sent when it is chosen.
    ({ rid, spatial, bitrate, wanted }) => (rid !== "" || spatial !== undefined) && (bitrate > 0 || !wanted),
  );
  const select = byId("quality", HTMLSelectElement);
  const { value } = select;
  select.replaceChildren(
    new Option("Automatic", ""),
    ...layers.map(({ mediaId, rid, spatial, height, bitrate }) => {
      const size = height ? `${height} lines` : `Layer ${rid || spatial}`;
      const layer = rid === "" ? { spatial } : { rid, spatial };
      const cost = bitrate > 0 ? `, ${(bitrate / 1e6).toFixed(1)} Mbit/s` : "";
      return new Option(size + cost, JSON.stringify([mediaId, layer]));
    }),
  );
  if ([...select.options].some((option) => option.value === value)) select.value = value;
  byId("quality-field").hidden = layers.length < 2 || !connection.session?.hasLayers;
}

async function selectQuality() {
  const select = byId("quality", HTMLSelectElement);
  const choices = [...select.options].map((option) => option.value).filter(Boolean);
  const [mediaId, layer] = JSON.parse(select.value || choices[0] || "[]");
  try {
    await connection.session?.selectLayer(mediaId, select.value ? layer : null);
  } catch (problem) {
    select.value = "";
    announce(problem instanceof Error ? problem.message : "");
  }
}

/**
 * Writes only what changed: a status region is read aloud at every write.
 *
 * @param {string} id
 * @param {string} text
 */
function put(id, text) {
  const place = byId(id);
  if (place.textContent !== text) place.textContent = text;
}
