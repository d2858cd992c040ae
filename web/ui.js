// @ts-check
/**
 * Small pieces of interface that every page uses: finding elements, icons, the theme toggle, copy buttons, messages and
 * the way figures are written. No page's own logic.
 */

/**
 * @template {HTMLElement} [T=HTMLElement]
 * @param {string} id
 * @param {new () => T} [type] Checked, so that a typing mistake in the page fails at once.
 * @returns {T}
 */
export function byId(id, type) {
  const found = document.getElementById(id);
  if (!found || (type && !(found instanceof type))) throw new Error(`the page has no fitting element #${id}`);
  return /** @type {T} */ (found);
}

/**
 * @param {string} name A symbol of icons.svg.
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `/assets/icons.svg#${name}`);
  svg.append(use);
  return svg;
}

/**
 * @param {HTMLElement} button
 * @param {string} symbol
 * @param {string} label What it does, for the tooltip and for screen readers.
 */
export function setIconButton(button, symbol, label) {
  // Each new symbol is a request in Chromium, and some buttons are shown anew ten times a second.
  if (button.dataset.icon !== symbol) button.replaceChildren(icon(symbol));
  button.dataset.icon = symbol;
  button.setAttribute("aria-label", label);
  button.title = label;
}

/** Wires the header's theme toggle. The first theme is set by theme.js before the page is drawn. */
export function wireTheme() {
  const button = byId("theme", HTMLButtonElement);
  const show = () => {
    const dark = document.documentElement.dataset.theme === "dark";
    setIconButton(button, dark ? "sun" : "moon", dark ? "Light theme" : "Dark theme");
  };
  button.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem("crosspoint.theme", next);
    } catch {
      // Without storage the choice lasts until the page is left.
    }
    show();
  });
  show();
}

/** Wires every `<button data-copy="id" data-what="name">`: copies that element's text. */
export function wireCopyButtons() {
  for (const button of document.querySelectorAll("button[data-copy]")) {
    if (!(button instanceof HTMLButtonElement)) continue;
    const what = button.dataset.what ?? "text";
    button.setAttribute("aria-label", `Copy the ${what}`);
    button.addEventListener("click", async () => {
      const copied = await copyText(byId(button.dataset.copy ?? ""));
      button.textContent = copied ? "Copied" : "Selected";
      announce(copied ? `Copied the ${what}.` : `The ${what} is selected; copy it with the keyboard.`);
      setTimeout(() => (button.textContent = "Copy"), 1600);
    });
  }
}

/** Tells screen readers something that sighted people see happen. @param {string} text */
export function announce(text) {
  byId("announce").textContent = text;
}

/**
 * @typedef {object} Notice
 * @property {"bad" | "note"} tone
 * @property {string} title
 * @property {string} detail What to do about it.
 * @property {{ label: string, run: () => void }} [action]
 * @property {(key: string) => void} [withKey] Present: asks for a key and passes it on.
 */

/**
 * Shows a message in place of what the element held; `null` clears it.
 *
 * @param {HTMLElement} place
 * @param {Notice | null} notice
 */
export function showNotice(place, notice) {
  const isNews = place.hidden;
  place.hidden = notice === null;
  place.replaceChildren();
  if (!notice) return;
  place.dataset.tone = notice.tone;
  const title = document.createElement("strong");
  title.textContent = notice.title;
  const detail = document.createElement("p");
  detail.textContent = notice.detail;
  const body = document.createElement("div");
  body.className = "body";
  body.append(title, detail);
  if (notice.action) body.append(actionButton(notice.action));
  if (notice.withKey) body.append(keyForm(notice.withKey));
  place.append(icon(notice.withKey ? "key" : "alert"), body);
  // In a low window it would be out of sight, under the picture.
  if (isNews) place.scrollIntoView({ block: "nearest" });
}

/** @param {number | undefined} bitsPerSecond */
export function bitrateText(bitsPerSecond) {
  if (bitsPerSecond === undefined) return "–";
  if (bitsPerSecond >= 995_000) return `${(bitsPerSecond / 1e6).toFixed(bitsPerSecond < 9.95e6 ? 2 : 1)} Mbit/s`;
  return `${Math.round(bitsPerSecond / 1000)} kbit/s`;
}

/** @param {number | undefined} seconds */
export function millisecondsText(seconds) {
  return seconds === undefined ? "–" : `${Math.round(seconds * 1000)} ms`;
}

/** @param {number | undefined} fraction */
export function percentText(fraction) {
  if (fraction === undefined) return "–";
  return `${(fraction * 100).toFixed(fraction > 0 && fraction < 0.0995 ? 1 : 0)} %`;
}

/** @param {number} milliseconds Since the stream went live. */
export function clockText(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const two = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${two(minutes)}:${two(seconds % 60)}`;
  return `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(seconds % 60)}`;
}

/**
 * @param {HTMLElement} element
 * @returns {Promise<boolean>} False where the page may not write the clipboard; the text is then selected instead.
 */
async function copyText(element) {
  try {
    // Absent on plain http except on localhost.
    await navigator.clipboard.writeText(element.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}

/** @param {{ label: string, run: () => void }} action */
function actionButton(action) {
  const row = document.createElement("div");
  row.className = "actions";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = action.label;
  button.addEventListener("click", action.run);
  row.append(button);
  return row;
}

/** @param {(key: string) => void} use */
function keyForm(use) {
  const form = document.createElement("form");
  form.className = "key-form";
  const input = document.createElement("input");
  input.type = "password";
  input.name = "key";
  input.placeholder = "Key";
  input.autocomplete = "off";
  input.setAttribute("aria-label", "Key for this room");
  const button = document.createElement("button");
  button.className = "primary";
  button.textContent = "Use this key";
  form.append(input, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim()) use(input.value.trim());
  });
  return form;
}
