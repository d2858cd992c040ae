// @ts-check
/** Starts the real server for a test: free ports, ready before use, its log kept in artefacts/. */

import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { createWriteStream, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

const BINARY = process.env.CROSSPOINT_BIN ?? fileURLToPath(new URL("../../target/debug/crosspoint", import.meta.url));
export const ARTEFACTS = fileURLToPath(new URL("artefacts/", import.meta.url));
const READY_WITHIN = 20_000;
const EXIT_WITHIN = 30_000;
/** Below those that Linux gives to outgoing connections, which begin at 32,768. */
const LOWEST_PORT = 20_000;
const PORTS = 12_000;

let started = 0;
/** The last port that was tried; a random one first, as other processes look for ports too. */
let tried = Math.floor(Math.random() * PORTS);

export class Server {
  /** @type {import("node:child_process").ChildProcess | null} */
  #child = null;
  #ports;
  #args;

  /**
   * @param {{ http: number, media: number }} ports
   * @param {string[]} args
   * @param {string} scheme
   */
  constructor(ports, args, scheme) {
    this.#ports = ports;
    this.#args = args;
    this.url = `${scheme}://127.0.0.1:${ports.http}`;
    this.media = ports.media;
  }

  /**
   * @param {string[]} [args] More flags of the server.
   * @param {"http" | "https"} [scheme] What they make it speak.
   */
  static async start(args = [], scheme = "http") {
    const server = new Server({ http: await freePort(), media: await freePort() }, args, scheme);
    await server.run();
    return server;
  }

  async run() {
    mkdirSync(ARTEFACTS, { recursive: true });
    const log = createWriteStream(`${ARTEFACTS}server-${process.pid}-${++started}.log`);
    const { http, media } = this.#ports;
    const flags = [
      "--http-listen",
      `127.0.0.1:${http}`,
      "--media-port",
      String(media),
      "--log-filter",
      "info,crosspoint=debug",
    ];
    const child = spawn(BINARY, [...flags, ...this.#args], { stdio: ["ignore", "pipe", "pipe"] });
    this.#child = child;
    child.stdout.pipe(log, { end: false });
    child.stderr.pipe(log, { end: false });
    child.on("error", (problem) => console.error(`cannot run ${BINARY}: ${problem.message}`));
    await this.#ready(child);
  }

  /** Ends it as an operator would; one that does not end is killed and fails the test. */
  async stop() {
    const child = this.#child;
    this.#child = null;
    if (!child || child.exitCode !== null) return;
    const exited = once(child, "exit");
    child.kill("SIGTERM");
    const timer = setTimeout(() => child.kill("SIGKILL"), EXIT_WITHIN);
    const [, signal] = await exited;
    clearTimeout(timer);
    if (signal === "SIGKILL") throw new Error(`the server was still there ${EXIT_WITHIN} ms after SIGTERM`);
  }

  /** Ends it as a crash would: nobody is told. */
  async kill() {
    const child = this.#child;
    this.#child = null;
    if (!child) return;
    const exited = once(child, "exit");
    child.kill("SIGKILL");
    await exited;
  }

  /** The network is gone: nothing is answered until `thaw`. */
  freeze() {
    this.#child?.kill("SIGSTOP");
  }

  thaw() {
    this.#child?.kill("SIGCONT");
  }

  /** @param {import("node:child_process").ChildProcess} child */
  async #ready(child) {
    const deadline = Date.now() + READY_WITHIN;
    while (Date.now() < deadline) {
      if (child.exitCode !== null)
        throw new Error(`the server exited with code ${child.exitCode}; its log is in ${ARTEFACTS}`);
      const ready = await fetch(`${this.url}/readyz`).catch(() => null);
      if (ready?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    throw new Error(`the server was not ready within ${READY_WITHIN} ms; its log is in ${ARTEFACTS}`);
  }
}

/**
 * A port that is free for TCP and for UDP: the server's media has both. None of those that the system gives to outgoing
 * connections: one of them may take it meanwhile, and keeps it from the server for a minute after it has ended.
 */
export async function freePort() {
  for (;;) {
    tried = (tried + 1) % PORTS;
    const port = LOWEST_PORT + tried;
    const [tcp, udp] = [createServer(), createSocket("udp4")];
    try {
      await once(tcp.listen(port, "127.0.0.1"), "listening");
      await once(udp.bind(port, "127.0.0.1"), "listening");
      return port;
    } catch {
      // Somebody has it.
    } finally {
      tcp.close();
      udp.close();
    }
  }
}
