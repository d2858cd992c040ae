// @ts-check
/** Where tiles go: the largest that fit, computed from their number and the place there is. Pure. */

/** Between tiles, in CSS pixels. */
export const GAP = 10;
const WIDEST = 16 / 9;
const NARROWEST = 4 / 3;
/** Tiles on one page. More are too many to keep an eye on. */
const MOST_TILES = 49;
/** The shorter side of a tile, in CSS pixels. Less is too small to see a face on. */
const LEAST_SIDE = 96;
/** On a phone held upright people fit better into tall tiles than into letterboxes. */
const NARROWEST_UPRIGHT = 4 / 5;

/**
 * @typedef {object} Fit
 * @property {number} columns
 * @property {number} rows
 * @property {number} width Of a tile.
 * @property {number} height
 */

/**
 * @param {number} count Tiles.
 * @param {number} width Of the place.
 * @param {number} height
 * @returns {Fit} Of all numbers of columns the one with the largest tiles; on an upright stage, with the
 *   largest faces.
 */
export function bestFit(count, width, height) {
  const upright = height > width;
  let best = { columns: 1, rows: Math.max(1, count), width: 0, height: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.ceil(count / columns);
    // A row that could move up into the others' gaps is none.
    if ((columns - 1) * rows >= count && columns > 1) continue;
    const tile = shape((width - GAP * (columns - 1)) / columns, (height - GAP * (rows - 1)) / rows, upright);
    if (score(tile, upright) > score(best, upright)) best = { columns, rows, ...tile };
  }
  return best;
}

/**
 * @param {number} width Of the place.
 * @param {number} height
 * @returns {number} Tiles that fit on one page and are large enough.
 */
export function capacity(width, height) {
  for (let count = MOST_TILES; count > 1; count--) {
    const fit = bestFit(count, width, height);
    if (Math.min(fit.width, fit.height) >= LEAST_SIDE) return count;
  }
  return 1;
}

/**
 * Divides tiles into pages, in order. A page ends when it is full, or has as many pictures as are received at once: one
 * more would look as if its camera were off.
 *
 * @template T
 * @param {T[]} tiles
 * @param {{ capacity: number, pictures: number }} most On a page.
 * @param {(tile: T) => boolean} isPicture That is received.
 * @returns {T[][]} At least one page.
 */
export function paginate(tiles, { capacity, pictures }, isPicture) {
  /** @type {T[]} */
  let page = [];
  const pages = [page];
  for (const tile of tiles) {
    const isFull = page.length >= capacity || (isPicture(tile) && page.filter(isPicture).length >= pictures);
    if (isFull && page.length > 0) pages.push((page = []));
    page.push(tile);
  }
  return pages;
}

/**
 * @param {Fit} fit
 * @param {number} count
 * @param {number} fullWidth Of the place.
 * @param {number} fullHeight
 * @returns {{ left: number, top: number }[]} Of each tile; the last row is centred.
 */
export function places({ columns, rows, width, height }, count, fullWidth, fullHeight) {
  const top = (fullHeight - rows * height - (rows - 1) * GAP) / 2;
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = Math.min(columns, count - row * columns);
    const left = (fullWidth - inRow * width - (inRow - 1) * GAP) / 2;
    return { left: left + (index % columns) * (width + GAP), top: top + row * (height + GAP) };
  });
}

/**
 * Divides the place for one large tile and a strip of small ones.
 *
 * @param {number} width
 * @param {number} height
 * @param {boolean} hasStrip
 */
export function spotlight(width, height, hasStrip) {
  const whole = { left: 0, top: 0, width, height };
  if (!hasStrip) return { main: whole, strip: null };
  if (width > height) {
    const side = Math.round(Math.min(260, Math.max(150, width * 0.18)));
    return {
      main: { left: 0, top: 0, width: width - side - GAP, height },
      strip: { left: width - side, top: 0, width: side, height, upright: true, tile: side },
    };
  }
  const tile = Math.round(Math.min(180, Math.max(110, width * 0.34)));
  const strip = Math.round((tile * 3) / 4);
  return {
    main: { left: 0, top: 0, width, height: height - strip - GAP },
    strip: { left: 0, top: height - strip, width, height: strip, upright: false, tile },
  };
}

/**
 * @param {{ width: number, height: number }} tile
 * @param {boolean} upright
 */
function score({ width, height }, upright) {
  // A face is as large as the shorter side lets it be.
  return upright ? Math.min(width, height) : width * height;
}

/**
 * @param {number} width
 * @param {number} height
 * @param {boolean} upright
 */
function shape(width, height, upright) {
  if (width <= 0 || height <= 0) return { width: 0, height: 0 };
  const narrowest = upright ? NARROWEST_UPRIGHT : NARROWEST;
  const ratio = width / height;
  if (ratio > WIDEST) return { width: height * WIDEST, height };
  return ratio < narrowest ? { width, height: width / narrowest } : { width, height };
}
