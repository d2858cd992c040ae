// @ts-check
/** What most suites need: one server and one browser for all tests of a file. */

import { after } from "node:test";
import { launch } from "./browser.js";
import { Server } from "./server.js";

/**
 * Starts both. They end after the last test of the file that this is called in.
 *
 * @param {string[]} [args] More flags of the server.
 * @returns {Promise<{ server: Server, browser: import("./browser.js").Browser }>}
 */
export async function start(args) {
  const server = await Server.start(args);
  after(() => server.stop());
  const browser = await launch();
  after(() => browser.close());
  return { server, browser };
}
