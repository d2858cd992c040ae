// @ts-check
/** Draws the figures of stats.js on the publish page: tiles, the bitrate's last minute, and the layers being sent. */

import { sumOf } from "./stats.js";
import { bitrateText, byId, millisecondsText, percentText } from "./ui.js";

/** Samples in the line: one a second, so this is how far back a person sees. */
const HISTORY = 60;

const LIMITS = /** @type {Record<string, string>} */ ({
  none: "Nothing",
  bandwidth: "Network",
  cpu: "Processor",
  other: "Something else",
});

/** @typedef {import("./stats.js").Figures} Figures */

export class Health {
  /** @type {number[]} */
  #bitrates = [];

  /** @param {Figures} figures */
  show({ rtt, video, audio }) {
    const bitrate = sumOf([video?.bitrate, audio?.bitrate]);
    if (bitrate !== undefined) this.#bitrates = [...this.#bitrates, bitrate].slice(-HISTORY);
    const loss = video?.loss ?? audio?.loss;
    const limit = video?.limitation ?? "none";
    put("s-bitrate", bitrateText(bitrate));
    put("s-picture", video?.height ? `${video.width} × ${video.height}` : "–");
    put("s-fps", video?.fps ? String(video.fps) : "–");
    put("s-rtt", millisecondsText(rtt), rtt !== undefined && rtt > 0.4);
    put("s-loss", percentText(loss), loss !== undefined && loss > 0.05);
    put("s-codec", [video?.codec, audio?.codec].filter(Boolean).join(" · ") || "–");
    put("s-limit", LIMITS[limit] ?? limit, limit !== "none");
    this.#drawLine();
    showLayers(video?.layers ?? []);
  }

  clear() {
    this.#bitrates = [];
    showLayers([]);
  }

  #drawLine() {
    const top = Math.max(...this.#bitrates, 1);
    const points = this.#bitrates.map((value, index) => {
      const x = 120 - ((this.#bitrates.length - 1 - index) * 120) / (HISTORY - 1);
      return `${x.toFixed(1)} ${(30 - (value / top) * 27).toFixed(1)}`;
    });
    byId("spark-line").setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  }
}

/**
 * @param {string} id
 * @param {string} text
 * @param {boolean} [bad]
 */
function put(id, text, bad = false) {
  const place = byId(id);
  place.textContent = text;
  place.classList.toggle("bad", bad);
}

/** @param {import("./stats.js").LayerFigures[]} layers */
function showLayers(layers) {
  byId("layers").hidden = layers.length < 2;
  byId("layer-rows").replaceChildren(
    ...layers.map(({ rid, width, height, fps, bitrate }) => {
      const row = document.createElement("tr");
      // Before it is measured the size alone tells.
      const sent = bitrate !== 0 && height > 0;
      row.className = sent ? "" : "off";
      const picture = sent ? `${width} × ${height}, ${fps} a second` : "not sent now";
      for (const text of [rid, picture, sent ? bitrateText(bitrate) : ""]) row.insertCell().textContent = text;
      return row;
    }),
  );
}
