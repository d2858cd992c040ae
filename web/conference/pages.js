// @ts-check
/** Leafs through a grid that has more tiles than can be told apart: two buttons, two keys, and a swipe. */

import { announce, byId, setIconButton } from "../ui.js";

/** Shorter movements of a finger are taps. CSS pixels. */
const SWIPE = 60;

export class Pages {
  #page = 0;
  #count = 1;
  #turned;

  /** @param {() => void} turned Called when another page is to be shown. */
  constructor(turned) {
    this.#turned = turned;
    for (const [id, step, label] of /** @type {const} */ ([
      ["page-back", -1, "People before these (Page up)"],
      ["page-on", 1, "More people (Page down)"],
    ])) {
      setIconButton(byId(id), "arrow", label);
      byId(id).addEventListener("click", () => this.turn(step));
    }
    this.#wireSwipe();
  }

  /**
   * @template T
   * @param {T[][]} pages
   * @returns {T[]} The page that is open. Shows the buttons when there is more than one.
   */
  open(pages) {
    this.#count = pages.length;
    this.#page = Math.min(this.#page, this.#count - 1);
    byId("pager").hidden = this.#count === 1;
    byId("stage").classList.toggle("paged", this.#count > 1);
    byId("page-of").textContent = `${this.#page + 1} of ${this.#count}`;
    byId("page-back", HTMLButtonElement).disabled = this.#page === 0;
    byId("page-on", HTMLButtonElement).disabled = this.#page === this.#count - 1;
    return pages[this.#page] ?? [];
  }

  /** Where nothing is leafed through. */
  hide() {
    byId("pager").hidden = true;
    byId("stage").classList.remove("paged");
  }

  /** @param {number} step */
  turn(step) {
    const page = this.#page + step;
    if (page < 0 || page >= this.#count) return;
    this.#page = page;
    this.#turned();
    announce(`Page ${page + 1} of ${this.#count}`);
  }

  #wireSwipe() {
    /** @type {number | undefined} Not of two fingers, which enlarge. */
    let start;
    const begin = (/** @type {TouchEvent} */ { touches }) =>
      (start = touches.length === 1 ? touches[0]?.clientX : undefined);
    byId("tiles").addEventListener("touchstart", begin, { passive: true });
    byId("tiles").addEventListener("touchend", ({ changedTouches }) => {
      const end = changedTouches[0]?.clientX;
      if (start === undefined || end === undefined) return;
      if (Math.abs(end - start) > SWIPE) this.turn(end < start ? 1 : -1);
      start = undefined;
    });
  }
}
