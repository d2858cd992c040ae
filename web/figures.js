// @ts-check
/** Writes the figures of stats.js into the watch page's overlay. */

import { bitrateText, millisecondsText, percentText } from "./ui.js";

/**
 * @param {HTMLElement} list A `dl`.
 * @param {import("./stats.js").Figures} figures
 * @param {import("./session.js").Report | null} [report] What the server says of the session.
 */
export function listFigures(list, { rtt, path, video, audio }, report) {
  // Half the round trip and the wait in the jitter buffer: the part of the delay between the server and this screen.
  const delay = rtt === undefined || video?.buffer === undefined ? undefined : rtt / 2 + video.buffer;
  const rows = [
    ["Picture", video?.height ? `${video.width} × ${video.height}` : "–"],
    ["Frames a second", video?.fps ? String(video.fps) : "–"],
    ["Video", [video?.codec, bitrateText(video?.bitrate)].filter(Boolean).join(" · ")],
    ["Sound", [audio?.codec, bitrateText(audio?.bitrate)].filter(Boolean).join(" · ")],
    ["Loss", percentText(video?.loss ?? audio?.loss)],
    ["Round trip", millisecondsText(rtt)],
    ["Buffer", millisecondsText(video?.buffer)],
    ["Server to screen, about", millisecondsText(delay)],
    ["Freezes", String(video?.freezes ?? 0)],
    ["Path", path || "–"],
    ["Why this size", report?.media.find(({ kind }) => kind === "video")?.reason ?? "–"],
  ];
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
