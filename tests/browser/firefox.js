// @ts-check
/**
 * Debian's Firefox driven by Marionette, the remote control that is built into it: commands of WebDriver as JSON over a
 * socket. As much of it as a smoke test needs.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pass } from "node:timers/promises";
import { freePort } from "./server.js";

export const EXECUTABLE = process.env.FIREFOX ?? "/usr/bin/firefox-esr";
/** Starting it takes most of this on a busy machine. Milliseconds. */
const PATIENCE = 60_000;

/** Fake devices that are always allowed, sound without a click, candidates on loopback, and no calls home. */
const PREFERENCES = {
  "media.navigator.streams.fake": true,
  "media.navigator.permission.disabled": true,
  "media.autoplay.default": 0,
  "media.peerconnection.ice.loopback": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "dom.min_background_timeout_value": 4,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "datareporting.policy.dataSubmissionEnabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "app.normandy.enabled": false,
  "extensions.update.enabled": false,
};

export class Firefox {
  #child;
  #socket;
  #profile;
  #waiting = Buffer.alloc(0);
  #lastId = 0;
  /** The window it began with, which others are opened from. */
  #first = "";
  /** @type {Promise<unknown>} Only one window can be spoken to at a time. */
  #turn = Promise.resolve();
  /** @type {Map<number, { resolve: (value: any) => void, reject: (problem: Error) => void }>} */
  #pending = new Map();

  /**
   * @param {import("node:child_process").ChildProcess} child
   * @param {import("node:net").Socket} socket
   * @param {string} profile
   */
  constructor(child, socket, profile) {
    this.#child = child;
    this.#socket = socket;
    this.#profile = profile;
    socket.on("data", (data) => this.#read(Buffer.from(data)));
  }

  /** @param {Record<string, boolean | number>} [more] Preferences. */
  static async launch(more = {}) {
    const port = await freePort();
    const profile = mkdtempSync(join(tmpdir(), "crosspoint-firefox-"));
    const preferences = Object.entries({ ...PREFERENCES, ...more, "marionette.port": port });
    const lines = preferences.map(([name, value]) => `user_pref(${JSON.stringify(name)}, ${JSON.stringify(value)});\n`);
    writeFileSync(join(profile, "user.js"), lines.join(""));
    const flags = ["--headless", "--marionette", "--no-remote", "--profile", profile, "about:blank"];
    const child = spawn(EXECUTABLE, flags, { stdio: "ignore", env: { ...process.env, MOZ_HEADLESS_WIDTH: "1280" } });
    const firefox = new Firefox(child, await reach(port), profile);
    await firefox.#command("WebDriver:NewSession", {});
    firefox.#first = (await firefox.#command("WebDriver:GetWindowHandle", {})).value;
    return firefox;
  }

  /**
   * Opens a window of its own, so that nothing in it is throttled.
   *
   * @param {string} url
   * @returns {Promise<Window>}
   */
  async open(url) {
    const { handle } = await this.#within(this.#first, "WebDriver:NewWindow", { type: "window" });
    const window = new Window((name, parameters) => this.#within(handle, name, parameters));
    await window.command("WebDriver:Navigate", { url });
    return window;
  }

  async stop() {
    const exited = once(this.#child, "exit");
    await this.#command("Marionette:Quit", { flags: ["eForceQuit"] }).catch(() => this.#child.kill("SIGKILL"));
    await exited;
    this.#socket.destroy();
    rmSync(this.#profile, { recursive: true, force: true });
  }

  /**
   * @param {string} handle
   * @param {string} name
   * @param {object} parameters
   * @returns {Promise<any>}
   */
  #within(handle, name, parameters) {
    const result = this.#turn.then(async () => {
      await this.#command("WebDriver:SwitchToWindow", { handle });
      return this.#command(name, parameters);
    });
    this.#turn = result.catch(() => {});
    return result;
  }

  /**
   * @param {string} name
   * @param {object} parameters
   * @returns {Promise<any>}
   */
  #command(name, parameters) {
    this.#lastId += 1;
    const text = JSON.stringify([0, this.#lastId, name, parameters]);
    this.#socket.write(`${Buffer.byteLength(text)}:${text}`);
    return new Promise((resolve, reject) => this.#pending.set(this.#lastId, { resolve, reject }));
  }

  /** Messages are `length:JSON`. @param {Buffer} data */
  #read(data) {
    this.#waiting = Buffer.concat([this.#waiting, data]);
    for (;;) {
      const colon = this.#waiting.indexOf(":");
      const length = Number(this.#waiting.subarray(0, colon));
      if (colon < 0 || this.#waiting.length < colon + 1 + length) return;
      const message = JSON.parse(String(this.#waiting.subarray(colon + 1, colon + 1 + length)));
      this.#waiting = this.#waiting.subarray(colon + 1 + length);
      if (!Array.isArray(message)) continue; // Its greeting.
      const [, id, problem, result] = message;
      const pending = this.#pending.get(id);
      this.#pending.delete(id);
      if (problem) pending?.reject(new Error(`${problem.error}: ${problem.message}`));
      else pending?.resolve(result);
    }
  }
}

/** A window of Firefox. */
export class Window {
  /** @param {(name: string, parameters: object) => Promise<any>} command */
  constructor(command) {
    this.command = command;
  }

  /**
   * @param {string} script Body of an async function.
   * @returns {Promise<any>} What it returns.
   */
  async evaluate(script) {
    const wrapped = `const done = arguments[0]; (async () => { ${script} })().then(done, (e) => done("failed: " + e));`;
    const parameters = { script: wrapped, args: [], sandbox: null, scriptTimeout: 30_000 };
    return (await this.command("WebDriver:ExecuteAsyncScript", parameters)).value;
  }

  /**
   * @param {string} expression
   * @returns {Promise<void>} Once it is true.
   */
  async becomes(expression) {
    const deadline = Date.now() + PATIENCE;
    while (Date.now() < deadline) {
      if ((await this.evaluate(`return Boolean(${expression})`)) === true) return;
      await pass(200);
    }
    const shown = await this.evaluate("return document.body.innerText");
    throw new Error(`never true: ${expression}; the page shows: ${shown.replace(/\s+/g, " ").slice(0, 600)}`);
  }

  /** @returns {Promise<Buffer>} PNG. */
  async screenshot() {
    const { value } = await this.command("WebDriver:TakeScreenshot", { full: false, hash: false });
    return Buffer.from(value, "base64");
  }

  close() {
    return this.command("WebDriver:CloseWindow", {});
  }
}

/** @param {number} port @returns {Promise<import("node:net").Socket>} */
async function reach(port) {
  const deadline = Date.now() + PATIENCE;
  while (Date.now() < deadline) {
    const socket = connect(port, "127.0.0.1");
    try {
      await once(socket, "connect");
      return socket;
    } catch {
      await pass(200);
    }
  }
  throw new Error(`${EXECUTABLE} did not start within ${PATIENCE} ms`);
}
