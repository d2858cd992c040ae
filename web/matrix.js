// @ts-check
/**
 * Draws a crosspoint matrix: sources come in on rows, viewers leave on columns, and where a crossing is lit the signal
 * turns. Decoration only: hidden from assistive technology, still when reduced motion is asked for (style.css).
 */

const NS = "http://www.w3.org/2000/svg";

/**
 * @typedef {object} Plan
 * @property {string[]} rows Labels of the sources; empty strings draw none.
 * @property {string[]} columns Labels of the viewers.
 * @property {[number, number][]} lit Crossings that are on, as [row, column].
 * @property {number} [left] Room for the row labels, in user units.
 */

const PITCH_X = 74;
const PITCH_Y = 64;
const TOP = 28;
const UNITS_PER_SECOND = 190;

/**
 * @param {Plan} plan
 * @returns {SVGSVGElement}
 */
export function drawMatrix({ rows, columns, lit, left = 96 }) {
  const x = (/** @type {number} */ column) => left + 46 + column * PITCH_X;
  const y = (/** @type {number} */ row) => TOP + row * PITCH_Y;
  const right = x(columns.length - 1) + 46;
  const bottom = y(rows.length - 1) + 58;
  const svg = element("svg", { class: "matrix", viewBox: `0 0 ${right} ${bottom + 40}`, "aria-hidden": "true" });

  rows.forEach((_, row) => svg.append(element("path", { class: "wire", d: `M${left} ${y(row)}H${right}` })));
  columns.forEach((_, column) => svg.append(element("path", { class: "wire", d: `M${x(column)} 0V${bottom}` })));
  rows.forEach((_, row) => columns.forEach((_, column) => svg.append(dot("open", x(column), y(row), 4.5))));
  lit.forEach(([row, column], index) => {
    const d = `M${left} ${y(row)}H${x(column)}V${bottom}`;
    const length = x(column) - left + bottom - y(row);
    svg.append(element("path", { class: "way", d }), pulse(d, length, index), dot("halo", x(column), y(row), 15));
  });
  lit.forEach(([row, column]) => svg.append(dot("lit", x(column), y(row), 8)));
  rows.forEach((label, row) => svg.append(dot("end", left, y(row), 5), text(label, left - 16, y(row) + 5, "end")));
  columns.forEach((label, column) =>
    svg.append(dot("end", x(column), bottom, 5), text(label, x(column), bottom + 28, "middle")),
  );
  return svg;
}

/**
 * @param {string} d
 * @param {number} length
 * @param {number} index
 */
function pulse(d, length, index) {
  const path = element("path", { class: "pulse", d });
  path.style.setProperty("--length", `${length}px`);
  path.style.setProperty("--time", `${(length / UNITS_PER_SECOND).toFixed(2)}s`);
  path.style.setProperty("--delay", `${(-index * 0.83).toFixed(2)}s`);
  return path;
}

/**
 * @param {string} name
 * @param {number} cx
 * @param {number} cy
 * @param {number} r
 */
function dot(name, cx, cy, r) {
  return element("circle", { class: name, cx: `${cx}`, cy: `${cy}`, r: `${r}` });
}

/**
 * @param {string} label
 * @param {number} x
 * @param {number} y
 * @param {"end" | "middle"} anchor
 */
function text(label, x, y, anchor) {
  const node = element("text", { x: `${x}`, y: `${y}`, "text-anchor": anchor });
  node.textContent = label;
  return node;
}

/**
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} name
 * @param {Record<string, string>} attributes
 * @returns {SVGElementTagNameMap[K]}
 */
function element(name, attributes) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
