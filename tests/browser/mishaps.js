// @ts-check
/** What tests have go wrong in a page and on its way to the server. */

/**
 * @typedef {object} Passing
 * @property {any} data
 * @property {() => void} pass
 * @property {() => void} cut
 * @property {(message: object) => void} answer
 *
 * Lets a test look at what passes between a page and the server, and decide what becomes of it.
 *
 * @param {import("./browser.js").Page} page
 * @param {(message: Passing) => unknown} act
 */
export async function onTheWay(page, act) {
  await page.context().routeWebSocket(/\/rooms\/[^/]+\/ws/, (socket) => {
    const server = socket.connectToServer();
    // What is passed on after the end, whoever made it, would reach a closed socket, and Chromium complains of that.
    let isCut = false;
    const cut = () => {
      isCut = true;
      void server.close();
      void socket.close();
    };
    socket.onClose(cut);
    server.onClose(cut);
    const answer = (/** @type {object} */ message) => socket.send(JSON.stringify(message));
    const look = (/** @type {string | Buffer} */ text, /** @type {{ send: (text: string | Buffer) => void }} */ to) =>
      void act({ data: JSON.parse(String(text)), pass: () => isCut || to.send(text), cut, answer });
    socket.onMessage((text) => look(text, server));
    server.onMessage((text) => look(text, socket));
  });
}

/** @returns {[Promise<void>, () => void]} A promise, and what resolves it. */
export function signal() {
  let give = () => {};
  return [new Promise((resolve) => (give = resolve)), () => give()];
}

/** Runs in the page. */
export async function publishDrawing() {
  const canvas = Object.assign(document.createElement("canvas"), { width: 320, height: 180 });
  const pen = canvas.getContext("2d");
  setInterval(() => pen?.fillRect(Math.random() * 300, Math.random() * 150, 9, 9), 100);
  const [track] = canvas.captureStream(10).getVideoTracks();
  await Reflect.get(globalThis, "crosspoint").localParticipant.publish(track, { source: "camera" });
}

/** Runs in the page: the browser asks the person, who allows everything when `allow` is called. */
export function askSlowly() {
  const real = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const allowed = new Promise((resolve) => Object.assign(globalThis, { allow: resolve }));
  /** @type {MediaStreamTrack[]} */
  const given = [];
  Object.assign(globalThis, { given });
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    await allowed;
    const stream = await real(wanted);
    given.push(...stream.getTracks());
    return stream;
  };
}
