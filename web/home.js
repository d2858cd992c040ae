// @ts-check
/** The home page: a room name, the three doors, and every address of the room ready to copy. */

import { hello } from "./api.js";
import { drawMatrix } from "./matrix.js";
import { addressOf, adoptToken, roomNameProblem, tidyRoomName, tokenFor } from "./room.js";
import { byId, wireCopyButtons, wireTheme } from "./ui.js";

const FALLBACK_ROOM = "studio";
const FFMPEG = "ffmpeg -re -i input.mp4 -c:v libx264 -bf 0 -g 30 -tune zerolatency -c:a libopus -ar 48000 -f whip";
const FRAME = 'allow="autoplay; fullscreen; picture-in-picture" width="640" height="360"';
const HINT = "Letters, digits and . _ ~ - up to 64 characters.";

const input = byId("room", HTMLInputElement);

adoptToken("");
wireTheme();
wireCopyButtons();
drawHero();
showAddresses();
input.addEventListener("input", showAddresses);
byId("enter", HTMLFormElement).addEventListener("submit", enter);
await showServer();

/** @param {SubmitEvent} event */
function enter(event) {
  event.preventDefault();
  const room = tidyRoomName(input.value) || FALLBACK_ROOM;
  if (showProblem(room)) {
    input.focus();
    return;
  }
  const door = event.submitter instanceof HTMLButtonElement ? event.submitter.value : "room";
  location.assign(addressOf(/** @type {"room" | "publish" | "watch"} */ (door), room));
}

function showAddresses() {
  const typed = tidyRoomName(input.value);
  const room = typed || FALLBACK_ROOM;
  if (showProblem(room)) return;
  const texts = {
    "room-echo": room,
    whip: addressOf("whip", room),
    whep: addressOf("whep", room),
    "room-url": addressOf("room", room),
    "watch-url": addressOf("watch", room),
    ffmpeg: `${FFMPEG} ${addressOf("whip", room)}`,
    embed: `<iframe src="${addressOf("watch", room)}?muted=1" ${FRAME}></iframe>`,
    pattern: `${addressOf("publish", room)}?autostart=1&source=pattern`,
  };
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
}

/**
 * @param {string} room
 * @returns {boolean} Whether the name cannot be used.
 */
function showProblem(room) {
  const problem = roomNameProblem(room);
  const hint = byId("room-hint");
  hint.textContent = problem || HINT;
  hint.classList.toggle("bad", problem !== "");
  input.setAttribute("aria-invalid", String(problem !== ""));
  return problem !== "";
}

async function showServer() {
  const server = byId("server");
  try {
    const { version, auth_required: asksForKey } = await hello();
    server.textContent = asksForKey ? "Ready, asks for a key" : "Ready";
    server.dataset.tone = "good";
    byId("version").textContent = `Crosspoint ${version}`;
    byId("obs-key").textContent = asksForKey ? tokenFor("") || "your key" : "leave empty";
    byId("copy-key").hidden = !asksForKey || !tokenFor("");
  } catch (problem) {
    server.textContent = "The server does not answer";
    server.dataset.tone = "bad";
    server.title = problem instanceof Error ? problem.message : "";
  }
}

function drawHero() {
  byId("art").replaceChildren(
    drawMatrix({
      rows: ["Camera", "OBS", "Screen", "Phone", "FFmpeg"],
      columns: ["", "", "", "", "", ""],
      lit: [
        [0, 1],
        [1, 0],
        [1, 3],
        [2, 5],
        [3, 2],
        [1, 4],
      ],
    }),
  );
}
