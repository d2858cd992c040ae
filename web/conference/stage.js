// @ts-check
/**
 * The stage: a tile for each person and each shared screen, laid out as a grid, or as one large tile and a strip. What
 * is large, visible and spoken on decides what the server sends (client/wishes.js).
 */

import { byId } from "../ui.js";
import { GAP, bestFit, capacity, paginate, places, spotlight } from "./layout.js";
import { Pages } from "./pages.js";
import { Tile } from "./tile.js";

/** Priorities of wishes: who gets bandwidth first. */
const PRIORITY = { main: 90, speaker: 70, other: 40 };

/**
 * @typedef {import("../client/room.js").Room} Room
 * @typedef {import("../client/participant.js").Participant} Participant
 * @typedef {"grid" | "speaker"} Layout
 */

export class Stage {
  /** @type {Layout} */
  layout = "grid";
  #room;
  #place = byId("tiles");
  /** @type {Map<string, Tile>} By sid of the person, and by sid and "screen" of what it shows. */
  #tiles = new Map();
  /** @type {Tile[]} In the order they are seated: who speaks takes the place of somebody on the first page. */
  #seats = [];
  /** @type {Tile[]} On the first page of the grid. */
  #front = [];
  /** @type {Participant | null} Stays large while nobody else speaks. */
  #lastSpeaker = null;
  /** @type {number} */
  #frame = 0;
  #pages = new Pages(() => this.touch());

  /** @param {Room} room */
  constructor(room) {
    this.#room = room;
    new ResizeObserver(() => this.touch()).observe(this.#place);
  }

  /** @returns {Tile[]} */
  get tiles() {
    return [...this.#tiles.values()];
  }

  /** @param {Layout} layout */
  setLayout(layout) {
    this.layout = layout;
    this.touch();
  }

  /** @param {Tile} tile */
  togglePin(tile) {
    const pinned = !tile.isPinned;
    for (const other of this.tiles) other.isPinned = false;
    tile.isPinned = pinned;
    this.touch();
  }

  /** Draws the next frame anew. */
  touch() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  /** @param {number} step To another page of the grid. */
  turn(step) {
    this.#pages.turn(step);
  }

  /** Only marks and frames; nothing moves. */
  refresh() {
    for (const tile of this.tiles) tile.show();
  }

  /** Who is heard comes to the first page of the grid, and is large in the speaker's view. */
  hear() {
    const now = Date.now();
    const { dominantSpeaker, localParticipant } = this.#room;
    for (const tile of this.tiles) tile.hear(now);
    const moved = dominantSpeaker && dominantSpeaker !== localParticipant && dominantSpeaker !== this.#lastSpeaker;
    if (moved) this.#lastSpeaker = dominantSpeaker;
    if (moved && (this.layout === "speaker" || this.#bringForward(dominantSpeaker))) this.touch();
  }

  /**
   * All others stay where they are: people are looked for where they were.
   *
   * @param {Participant} speaker
   * @returns {boolean} Whether it has changed places.
   */
  #bringForward(speaker) {
    const tile = this.#tiles.get(speaker.sid);
    if (!tile || this.#front.length === 0 || this.#front.includes(tile)) return false;
    const others = this.#front.filter(({ kind, isSelf, participant }) => {
      return kind === "person" && !isSelf && !participant.isSpeaking;
    });
    const [quietest] = others.sort((a, b) => a.heard - b.heard);
    if (!quietest) return false;
    const [from, to] = [this.#seats.indexOf(tile), this.#seats.indexOf(quietest)];
    [this.#seats[from], this.#seats[to]] = [quietest, tile];
    return true;
  }

  /**
   * @param {Participant | undefined} participant
   * @param {string} name
   */
  react(participant, name) {
    if (participant) this.#tiles.get(participant.sid)?.react(name);
  }

  async refreshStats() {
    const looked = this.tiles.filter((tile) => tile.showsStats);
    if (looked.length === 0) return;
    const server = this.#room.path === "sfu" ? await this.#room.serverStats().catch(() => null) : null;
    await Promise.all(looked.map((tile) => tile.refreshStats(server)));
  }

  clear() {
    for (const tile of this.tiles) tile.release();
    this.#tiles.clear();
    [this.#seats, this.#front] = [[], []];
    this.#place.replaceChildren();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#place;
    if (width === 0 || height === 0) return;
    this.#match();
    const pages = this.#paginate(width, height);
    const tiles = pages.flat();
    const main = this.#mainOf(tiles);
    const self = tiles.find(({ isSelf, kind }) => isSelf && kind === "person");
    for (const tile of tiles) tile.element.classList.remove("main", "floating", "strip");
    if (main) this.#pages.hide();
    const grid = main ? [] : this.#pages.open(pages);
    this.#front = main || pages.length === 1 ? [] : (pages[0] ?? []);
    const shown = main ? this.#drawSpotlight(main, tiles, width, height) : grid;
    if (!main && tiles.length === 2 && self) this.#drawPair(tiles, self, width, height);
    else if (!main) this.#drawGrid(grid, width, height);
    for (const tile of tiles) tile.element.hidden = !shown.includes(tile);
    this.#wish(main);
    this.refresh();
    byId("invite").hidden = this.#room.participants.size > 0;
  }

  /** Makes and removes tiles until there is one for each person and each screen. */
  #match() {
    const wanted = new Map();
    const self = this.#room.localParticipant;
    for (const participant of [self, ...this.#room.participants.values()]) {
      // Those who only watch by WHEP have nothing to show.
      if (participant.info.kind === "egress" || participant.info.permissions.hidden) continue;
      const isSelf = participant === self;
      const of = (/** @type {import("../client/track.js").Source} */ source) =>
        (isSelf ? self.publishedOf(source) : participant.trackOf(source)) ?? null;
      wanted.set(participant.sid, {
        participant,
        isSelf,
        kind: "person",
        track: of("camera") ?? anyVideo(participant),
      });
      const screen = of("screen_share");
      if (screen) wanted.set(`${participant.sid} screen`, { participant, isSelf, kind: "screen", track: screen });
    }
    for (const [key, tile] of this.#tiles) {
      if (wanted.get(key)?.participant === tile.participant) continue;
      tile.release();
      tile.element.remove();
      this.#tiles.delete(key);
      this.#seats = this.#seats.filter((other) => other !== tile);
    }
    for (const [key, { participant, kind, isSelf, track }] of wanted) {
      let tile = this.#tiles.get(key);
      if (!tile) {
        tile = new Tile(participant, kind, isSelf, {
          pin: (one) => this.togglePin(one),
          hasPassphrase: () => this.#room.isEncrypted,
        });
        this.#tiles.set(key, tile);
        this.#seats.push(tile);
        this.#place.append(tile.element);
      }
      tile.setTrack(track);
    }
  }

  /**
   * Screens first, oneself last; of several pages oneself on the first.
   *
   * @param {number} width
   * @param {number} height
   */
  #paginate(width, height) {
    const most = { capacity: capacity(width, height), pictures: this.#room.videoSlots };
    const divided = (/** @type {number} */ own) => {
      const rank = (/** @type {Tile} */ { kind, isSelf }) => (kind === "screen" ? 0 : isSelf ? own : 2);
      const tiles = [...this.#seats].sort((a, b) => rank(a) - rank(b));
      return paginate(tiles, most, (tile) => tile.wantsSlot);
    };
    const pages = divided(3);
    return pages.length > 1 ? divided(1) : pages;
  }

  /** @param {Tile[]} tiles @returns {Tile | null} The one that is shown large; null: all alike. */
  #mainOf(tiles) {
    const pinned = tiles.find(({ isPinned }) => isPinned);
    const screen = tiles.find(({ kind, isSelf }) => kind === "screen" && !isSelf);
    if (pinned || screen) return pinned ?? screen ?? null;
    if (this.layout !== "speaker" || tiles.length < 2) return null;
    // Who is about to come back has nothing to show.
    const others = tiles.filter(({ kind, isSelf }) => kind === "person" && !isSelf);
    const people = others.filter(({ participant }) => !participant.isReconnecting);
    return people.find(({ participant }) => participant === this.#lastSpeaker) ?? people[0] ?? null;
  }

  /**
   * @param {Tile[]} tiles
   * @param {number} width
   * @param {number} height
   */
  #drawGrid(tiles, width, height) {
    const fit = bestFit(tiles.length, width, height);
    const spots = places(fit, tiles.length, width, height);
    for (const [index, tile] of tiles.entries()) put(tile, { ...fit, ...(spots[index] ?? { left: 0, top: 0 }) });
  }

  /**
   * Two people: the other fills the stage, oneself is in its corner.
   *
   * @param {Tile[]} tiles
   * @param {Tile} self
   * @param {number} width
   * @param {number} height
   */
  #drawPair(tiles, self, width, height) {
    const other = tiles.find((tile) => tile !== self);
    if (other) put(other, { left: 0, top: 0, width, height });
    const small = Math.round(Math.min(280, Math.max(112, width * 0.2)));
    const tall = width < height ? Math.round(small * 1.25) : Math.round((small * 9) / 16);
    self.element.classList.add("floating");
    put(self, { left: width - small - 14, top: height - tall - 14, width: small, height: tall });
  }

  /**
   * @param {Tile} main
   * @param {Tile[]} tiles
   * @param {number} width
   * @param {number} height
   * @returns {Tile[]} Those that are shown: what does not fit into the strip waits until it is heard.
   */
  #drawSpotlight(main, tiles, width, height) {
    const others = tiles.filter((tile) => tile !== main);
    const { main: large, strip } = spotlight(width, height, others.length > 0);
    main.element.classList.add("main");
    put(main, large);
    if (!strip) return [main];
    const tall = strip.upright ? Math.round((strip.tile * 9) / 16) : strip.height;
    const step = (strip.upright ? tall : strip.tile) + GAP;
    const full = strip.upright ? height : width;
    const fitting = Math.max(1, Math.floor((full + GAP) / step));
    const shown = others.length > fitting ? others.sort((a, b) => b.heard - a.heard).slice(0, fitting) : others;
    const start = Math.max(0, (full - shown.length * step + GAP) / 2);
    for (const [index, tile] of shown.entries()) {
      tile.element.classList.add("strip");
      const along = start + index * step;
      const spot = strip.upright ? { left: strip.left, top: along } : { left: along, top: strip.top };
      put(tile, { ...spot, width: strip.tile, height: tall });
    }
    return [main, ...shown];
  }

  /** @param {Tile | null} main */
  #wish(main) {
    for (const tile of this.tiles) {
      const { track } = tile;
      if (!track || !("setWish" in track)) continue;
      const priority = tile === main ? PRIORITY.main : tile.participant.isSpeaking ? PRIORITY.speaker : PRIORITY.other;
      if (track.wish.priority === priority && track.wish.pinned === tile.isPinned) continue;
      track.setWish({ ...track.wish, priority, pinned: tile.isPinned });
    }
  }
}

/**
 * @param {Tile} tile
 * @param {{ left: number, top: number, width: number, height: number }} spot
 */
function put({ element }, { left, top, width, height }) {
  const round = (/** @type {number} */ value) => `${Math.round(value)}px`;
  Object.assign(element.style, {
    transform: `translate(${round(left)}, ${round(top)})`,
    width: round(width),
    height: round(height),
  });
  element.classList.toggle("tiny", width < 200);
}

/**
 * @param {Participant} participant
 * @returns {import("../client/track.js").RemoteTrack | null} Of an encoder by WHIP.
 */
function anyVideo({ tracks }) {
  return [...tracks.values()].find(({ kind, source }) => kind === "video" && source === "unknown") ?? null;
}
