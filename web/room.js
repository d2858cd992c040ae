// @ts-check
/**
 * The room a page is about: its name, its addresses, and the key this tab uses for it.
 *
 * A key given as `?token=` moves from the address bar to sessionStorage at once: the address bar is shown on
 * screen shares, lands in the history and is what people copy. It deliberately never goes into a link that this page
 * offers for copying.
 */

/** Longest room name, in characters. The server enforces the same. */
const LONGEST = 64;
const KEY_PREFIX = "crosspoint.token.";
/** @type {Map<string, string>} Keys of this page, where the browser refuses it storage: in some embedded frames. */
const unstored = new Map();

/**
 * @param {string} name
 * @returns {string} The name as it would be used: trimmed, spaces as hyphens.
 */
export function tidyRoomName(name) {
  return name.trim().replace(/\s+/g, "-");
}

/**
 * @param {string} name
 * @returns {string} What is wrong with it, as a sentence; empty when nothing is.
 */
export function roomNameProblem(name) {
  if (name === "") return "Give the room a name first.";
  if ([...name].length > LONGEST)
    return `A room name has at most ${LONGEST} characters; this one has ${[...name].length}.`;
  const odd = [...name].find((character) => !/[\p{L}\p{N}._~-]/u.test(character));
  return odd ? `A room name has letters, digits and . _ ~ - but not "${odd}".` : "";
}

/**
 * @param {string} [path] Of the form `/room/{room}`, `/publish/{room}` or `/watch/{room}`.
 * @returns {string} The decoded room name; empty when the path has none.
 */
export function roomOfPath(path = location.pathname) {
  const [, , segment = ""] = path.split("/");
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/**
 * @param {"room" | "publish" | "watch" | "whip" | "whep"} kind
 * @param {string} room
 * @returns {string} Absolute address on this server.
 */
export function addressOf(kind, room) {
  return new URL(`/${kind}/${encodeURIComponent(room)}`, location.href).href;
}

/**
 * Takes `?token=` out of the address bar and remembers it for the room ("" is every room), for this tab only.
 *
 * @param {string} room
 */
export function adoptToken(room) {
  const url = new URL(location.href);
  const token = url.searchParams.get("token");
  if (token === null) return;
  url.searchParams.delete("token");
  history.replaceState(history.state, "", url);
  rememberToken(room, token);
}

/**
 * @param {string} room
 * @returns {string} The key for the room, or the one for every room; empty when there is none.
 */
export function tokenFor(room) {
  return stored(KEY_PREFIX + room) ?? stored(KEY_PREFIX) ?? "";
}

/**
 * @param {string} room
 * @param {string} token
 */
export function rememberToken(room, token) {
  unstored.set(KEY_PREFIX + room, token.trim());
  try {
    sessionStorage.setItem(KEY_PREFIX + room, token.trim());
  } catch {
    // Then it is to be given again after a reload.
  }
}

/** @param {string} key */
function stored(key) {
  const kept = unstored.get(key) ?? null;
  try {
    // Storage that is full can be read and not written.
    return sessionStorage.getItem(key) ?? kept;
  } catch {
    return kept;
  }
}
