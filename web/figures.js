// @ts-check
/** Writes the figures of stats.js into an overlay of a picture. What is not known, or does not apply, has no line. */

import { bitrateText, millisecondsText, percentText } from "./ui.js";

/**
 * @param {HTMLElement} list A `dl`.
 * @param {import("./stats.js").Figures} figures
 * @param {string} why What the server says of the size; empty when it says nothing.
 */
export function listFigures(list, { rtt, path, video, audio }, why) {
  // Half the round trip and the wait in the jitter buffer: the part of the delay between the server and this screen.
  const delay = rtt === undefined || video?.buffer === undefined ? undefined : rtt / 2 + video.buffer;
  const rows = [
    ["Picture", video ? (video.height ? `${video.width} × ${video.height}` : "none now") : ""],
    ["Frames a second", video?.fps ? String(video.fps) : ""],
    ["Video", streamText(video)],
    ["Sound", streamText(audio)],
    ["Loss", percentText(video?.loss ?? audio?.loss)],
    ["Round trip", millisecondsText(rtt)],
    ["Buffer", video?.buffer === undefined ? "" : millisecondsText(video.buffer)],
    ["Server to screen, about", delay === undefined ? "" : millisecondsText(delay)],
    ["Freezes", video?.buffer === undefined ? "" : String(video.freezes)],
    ["Path", path],
    ["Why this size", why],
  ].filter(([, value]) => value !== "");
  list.replaceChildren(
    ...rows.flatMap(([name = "", value = ""]) => {
      const term = document.createElement("dt");
      term.textContent = name;
      const figure = document.createElement("dd");
      figure.textContent = value;
      return [term, figure];
    }),
  );
}

/** @param {{ codec: string, bitrate: number | undefined } | null} stream */
function streamText(stream) {
  if (!stream) return "";
  const { codec, bitrate } = stream;
  return [codec, bitrate === undefined ? "" : bitrateText(bitrate)].filter(Boolean).join(" · ");
}
