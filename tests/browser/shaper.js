// @ts-check
/**
 * A thin link for tests: a UDP relay between browsers and the server that limits, delays and loses what goes to the
 * browsers, with a seed. (The kernels that tests run on have no `tc netem`.)
 */

import { createSocket } from "node:dgram";
import { once } from "node:events";

/** What the queue in front of the bottleneck holds. Longer: a fuller queue delays more before anything is lost. */
const QUEUE_MS = 300;

/** @typedef {{ kbps: number, delay?: number, loss?: number }} Link */

export class Shaper {
  /** @type {Map<string, import("node:dgram").Socket>} Towards the server, by browser. */
  #inner = new Map();
  #free = 0;
  #state;
  #outer;
  #server;

  /**
   * @param {import("node:dgram").Socket} outer Faces the browsers.
   * @param {number} server Media port of the server on 127.0.0.1.
   * @param {Link} link
   * @param {number} seed
   */
  constructor(outer, server, link, seed) {
    this.#outer = outer;
    this.#server = server;
    this.link = link;
    this.#state = seed;
    this.port = outer.address().port;
    outer.on("message", (data, { address, port }) => this.#up(data, address, port));
  }

  /** @param {number} server @param {Link} link */
  static async start(server, link, seed = 1) {
    const outer = createSocket("udp4").bind(0, "127.0.0.1");
    await once(outer, "listening");
    return new Shaper(outer, server, link, seed);
  }

  stop() {
    for (const socket of [this.#outer, ...this.#inner.values()]) socket.close();
    this.#inner.clear();
  }

  /** @param {Buffer} data @param {string} address @param {number} port */
  #up(data, address, port) {
    const key = `${address}:${port}`;
    let socket = this.#inner.get(key);
    if (!socket) {
      socket = createSocket("udp4").on("message", (answer) => this.#down(answer, address, port));
      this.#inner.set(key, socket);
    }
    socket.send(data, this.#server, "127.0.0.1");
  }

  /** @param {Buffer} data @param {string} address @param {number} port */
  #down(data, address, port) {
    const now = performance.now();
    const { kbps, delay = 10, loss = 0 } = this.link;
    const starts = Math.max(now, this.#free);
    if (starts - now > QUEUE_MS || this.#random() < loss) return;
    this.#free = starts + (data.length * 8) / kbps;
    setTimeout(() => this.#inner.size > 0 && this.#outer.send(data, port, address), this.#free - now + delay);
  }

  /** Between 0 and 1 (mulberry32). */
  #random() {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 4294967296;
  }
}

/**
 * Has a page's sessions and rooms go through the relay: the server's answers name it in place of the server.
 *
 * @param {import("playwright-core").BrowserContext} context
 * @param {Shaper} shaper
 */
export async function route(context, shaper) {
  await context.route(/\/whep\//, async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: through(await response.text(), shaper) });
  });
  await context.routeWebSocket(/\/rooms\/[^/]+\/ws/, (socket) => {
    const server = socket.connectToServer();
    server.onMessage((message) => socket.send(through(String(message), shaper)));
  });
}

/**
 * @param {string} answer SDP, or a message of JSON that holds it.
 * @param {Shaper} shaper
 */
function through(answer, { port }) {
  return answer.replace(/a=candidate:[^\r\n\\]*(?:\r\n|\\r\\n)/g, (line) =>
    / udp .* 127\.0\.0\.1 \d+ typ/.test(line) ? line.replace(/(127\.0\.0\.1) \d+ typ/, `$1 ${port} typ`) : "",
  );
}
