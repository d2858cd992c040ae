// @ts-check
/**
 * Remembers one's place in a room over a reload of the page, so that the others see the same person. Written when the
 * page is left and taken out when it is read: a duplicated tab finds nothing and becomes somebody else.
 */

const PREFIX = "crosspoint.place.";

/**
 * @typedef {object} Place
 * @property {string} session
 * @property {string} secret
 * @property {string} identity
 */

/** @param {URL} socket @param {Place} place */
export function keepPlace(socket, place) {
  try {
    sessionStorage.setItem(PREFIX + socket.pathname, JSON.stringify(place));
  } catch {
    // Without storage a reload is a new arrival.
  }
}

/** @param {URL} socket @returns {Place | null} */
export function takePlace(socket) {
  try {
    const text = sessionStorage.getItem(PREFIX + socket.pathname);
    sessionStorage.removeItem(PREFIX + socket.pathname);
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}
