// @ts-check
/**
 * A small internet on this machine: network namespaces joined by bridges, with NATs between them.
 *
 * The tests run inside a network namespace of their own (`tests/network/run`), which is "the internet": what they make
 * here is gone with them, and nothing of the machine's own network is touched. Linux and root only.
 */

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, createWriteStream, mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { EXECUTABLE } from "../browser/browser.js";

const folder = (/** @type {string} */ path) => fileURLToPath(new URL(path, import.meta.url));
const SERVER = process.env.CROSSPOINT_BIN ?? folder("../../target/debug/crosspoint");
const LOADTEST = process.env.LOADTEST_BIN ?? folder("../../target/debug/loadtest");
export const ARTEFACTS = folder("artefacts/");

const READY_WITHIN = 20_000;

/** @param {string} command @param {string[]} args @param {string} [input] */
function run(command, args, input) {
  return execFileSync(command, args, { input, encoding: "utf8", stdio: ["pipe", "pipe", "pipe"] });
}

/** @param {string} line */
function ip(line) {
  return run("ip", line.split(" "));
}

let links = 0;

/** @type {(Bridge | Host)[]} */
const made = [];

/** @type {{ host: Host, url: string }[]} Where servers run. */
const served = [];

/** Removes everything that was made: programs end, names are free again. */
export async function clear() {
  for (const one of made.splice(0).reverse()) await one.remove();
  served.length = 0;
}

/** A network without a router: everything attached reaches everything attached. */
export class Bridge {
  /** @param {string} name At most 15 characters. @param {string[]} addresses The tests' own in it. */
  constructor(name, ...addresses) {
    this.name = name;
    made.push(this);
    ip(`link add ${name} type bridge`);
    ip(`link set ${name} up`);
    for (const address of addresses) ip(`addr add ${address} dev ${name}${address.includes(":") ? " nodad" : ""}`);
  }

  remove() {
    ip(`link del ${this.name}`);
  }
}

/** A computer. */
export class Host {
  /** @type {import("node:child_process").ChildProcess[]} */
  #children = [];

  /** @type {string[]} */
  addresses = [];

  /** @param {string} name */
  constructor(name) {
    this.name = name;
    made.push(this);
    ip(`netns add ${name}`);
    ip(`-n ${name} link set lo up`);
    // A link's own address comes at once, not up to two seconds later: a new address makes Chromium drop its
    // connections, and with them a page's requests.
    this.exec("sysctl", ["-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"]);
  }

  /** Plugs it in. @param {Bridge} bridge @param {string[]} addresses With their prefix lengths. */
  attach(bridge, ...addresses) {
    // Unlike any name of the suite before: the kernel takes its time to remove what was in its namespaces.
    const [outer, inner] = [`v${process.pid}-${++links}`, `eth-${bridge.name}`];
    ip(`link add ${outer} type veth peer name ${inner} netns ${this.name}`);
    ip(`link set ${outer} master ${bridge.name} up`);
    for (const address of addresses) ip(`-n ${this.name} addr add ${address} dev ${inner}`);
    ip(`-n ${this.name} link set ${inner} up`);
    this.addresses.push(...addresses.map((address) => address.replace(/\/.*/, "")));
    return this;
  }

  /** What is nowhere else goes there. @param {string} gateway */
  route(gateway) {
    ip(`-n ${this.name} route add default via ${gateway}`);
    return this;
  }

  /** Lets it pass packets on. @param {string} rules For nft, in place of those it had. */
  forward(rules) {
    this.exec("sysctl", ["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
    this.exec("nft", ["-f", "-"], `flush ruleset\n${rules}`);
    return this;
  }

  /** @param {string} command @param {string[]} args @param {string} [input] */
  exec(command, args, input) {
    return run("ip", ["netns", "exec", this.name, command, ...args], input);
  }

  /**
   * Starts a program here; its errors are kept in artefacts/.
   *
   * @param {string} command
   * @param {string[]} args
   */
  spawn(command, args) {
    mkdirSync(ARTEFACTS, { recursive: true });
    const log = createWriteStream(`${ARTEFACTS}${this.name}.log`, { flags: "a" });
    const child = spawn("ip", ["netns", "exec", this.name, command, ...args], { stdio: ["ignore", "pipe", "pipe"] });
    child.stderr.pipe(log);
    this.#children.push(child);
    return child;
  }

  /**
   * Starts the server here, HTTP on every address.
   *
   * @param {string} url Where the tests reach it.
   * @param {string[]} settings key=value
   */
  async serve(url, ...settings) {
    const { protocol, port } = new URL(url);
    const listen = `[::]:${port || (protocol === "https:" ? 443 : 80)}`;
    const set = [`http.listen=${listen}`, "auth.mode=open", "media.shards=2", ...settings];
    const flags = ["--log-filter", "info,crosspoint=debug", ...set.flatMap((setting) => ["--set", setting])];
    served.push({ host: this, url });
    const child = this.spawn(SERVER, flags);
    child.stdout.resume();
    const deadline = Date.now() + READY_WITHIN;
    while (!(await fetch(`${url}/readyz`).catch(() => null))?.ok) {
      if (child.exitCode !== null) throw new Error(`the server ended; its log is in ${ARTEFACTS}`);
      if (Date.now() > deadline) throw new Error(`no server at ${url}; its log is in ${ARTEFACTS}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return url;
  }

  /**
   * Runs the load generator's client until the end or `stop`.
   *
   * @param {"publish" | "watch"} what
   * @param {string} url
   * @param {string} time
   */
  load(what, url, time) {
    const child = this.spawn(LOADTEST, [what, "--url", url, "--for", time, "--json"]);
    let text = "";
    child.stdout.on("data", (data) => (text += data));
    const closed = once(child, "close");
    /** @returns {Promise<Load>} What it reports. */
    const stop = async () => {
      child.kill("SIGINT");
      await closed;
      return JSON.parse(text);
    };
    return { stop };
  }

  /** A program that runs the browser here. */
  browser() {
    const program = `${mkdtempSync(`${tmpdir()}/browser-`)}/chromium`;
    writeFileSync(program, `#!/bin/sh\nexec ip netns exec ${this.name} ${EXECUTABLE} "$@"\n`);
    chmodSync(program, 0o755);
    return program;
  }

  async remove() {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const closed = once(child, "exit");
      child.kill("SIGKILL");
      await closed;
    }
    ip(`netns del ${this.name}`);
  }
}

/**
 * @typedef {{ connected: number, failures: Record<string, number>, received?: { video: { frames: number,
 *   undecodable: number, lost: number }, violations: number } }} Load What the load generator says of a run.
 */

/**
 * A home: a computer behind a NAT.
 *
 * @param {string} name
 * @param {Bridge} internet
 * @param {string} outside The NAT's address there.
 * @param {string} translation What it does to what goes out: "masquerade", with its flags.
 * @param {number} number Of its network.
 */
export function home(name, internet, outside, translation, number) {
  const inside = new Bridge(`in-${name}`);
  const nat = new Host(`nat-${name}`).attach(internet, outside).attach(inside, `10.${number}.0.1/24`);
  nat.forward(masquerading(translation));
  const host = new Host(name).attach(inside, `10.${number}.0.2/24`).route(`10.${number}.0.1`);
  return { host, nat };
}

/** Rules of a home's NAT. @param {string} translation @param {string} [refused] What does not get through. */
export function masquerading(translation, refused = "") {
  return `
    table ip nat {
      chain postrouting {
        type nat hook postrouting priority 100
        oifname "eth-internet" ${translation}
      }
    }
    table inet filter {
      chain input {
        # As home routers do. Without it a packet for nobody leaves a trace that takes the port from the home's own.
        type filter hook input priority 0
        iifname "eth-internet" ct state new drop
      }
      chain forward {
        type filter hook forward priority 0
        ${refused}
      }
    }
  `;
}

/**
 * Looks again and again until there is something to see.
 *
 * @template T
 * @param {() => Promise<T | null | undefined | false>} look
 * @param {string} what
 * @param {number} [patience]
 * @returns {Promise<T>}
 */
export async function eventually(look, what, patience = 30_000) {
  const deadline = Date.now() + patience;
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A counter of the server. @param {string} url @param {string} name */
export async function metric(url, name) {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)`, "m").exec(text)?.[1] ?? Number.NaN);
}

/**
 * Reports of the sessions in a room.
 *
 * @param {string} url
 * @param {string} room
 * @returns {Promise<Session[]>}
 */
export async function sessions(url, room) {
  /** @type {{ name: string, sessions: { id: string }[] }[]} */
  const rooms = lookUp(url, "/api/v1/rooms");
  const listed = rooms.find(({ name }) => name === room)?.sessions ?? [];
  return listed.map(({ id }) => lookUp(url, `/api/v1/sessions/${id}`));
}

/** What the server's machine is told, as nobody else without a key is. @param {string} url @param {string} path */
function lookUp(url, path) {
  const { protocol, hostname, port } = new URL(url);
  const address = hostname.replace(/[[\]]/g, "");
  const server = served.find(({ host, url: own }) => own === url || host.addresses.includes(address));
  if (!server) throw new Error(`no server at ${url}`);
  const place = `${protocol}//127.0.0.1${port ? `:${port}` : ""}${path}`;
  const program = "fetch(process.argv[1]).then((answer) => answer.text()).then(console.log)";
  return JSON.parse(server.host.exec(process.execPath, ["-e", program, place]));
}

/** The report of who publishes in a room. @param {string} url @param {string} room */
export async function publisher(url, room) {
  return (await sessions(url, room)).find(({ role, state }) => role === "publish" && state === "connected");
}

/**
 * @typedef {object} Session As far as these tests look at it.
 * @property {string} role
 * @property {string} state
 * @property {{ remote_address: string, carried_by: string, local_candidates: string[] }} connectivity
 * @property {{ kind: string, packets: number }[]} media
 */
