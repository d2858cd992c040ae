// coturn's client tools against the server's STUN and TURN service, over every transport; nothing may be lost.

import assert from "node:assert/strict";
import { execFile, execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, before, describe, test } from "node:test";
import { connect as connectTcp } from "node:net";
import { connect as connectTls } from "node:tls";
import { ARTEFACTS, Server } from "../browser/server.js";

const SECRET = "0123456789abcdef0123456789abcdef";

/** Where coturn's echo peer listens, on both loopback addresses; relaying there is opened for the test. */
const PEER_PORT = 13_489;

const FLAGS = [
  ["media.loopback", "always"],
  // A port above is reserved on the shard of its pair, and uclient's second socket may arrive at another one.
  ["media.shards", "1"],
  ["turn.secret", SECRET],
  ["turn.allow_peers", "127.0.0.0/8,::1"],
  ["turn.allocations_per_user", "100"],
];

const PEER4 = ["-e", "127.0.0.1", "-r", String(PEER_PORT)];
const PEER6 = ["-x", "-e", "::1", "-r", String(PEER_PORT)];

/** @type {[string, string[], string][]} Name, flags of turnutils_uclient, address of the server. */
const RUNS = [
  ["channels, with an even port and its reserved neighbour", ["-n", "20", ...PEER4], "127.0.0.1"],
  ["channels, 20 clients", ["-c", "-n", "50", "-m", "20", ...PEER4], "127.0.0.1"],
  ["Send and Data indications", ["-c", "-s", "-n", "20", "-m", "5", ...PEER4], "127.0.0.1"],
  ["don't fragment", ["-c", "-g", "-n", "20", ...PEER4], "127.0.0.1"],
  ["extra requests", ["-c", "-n", "20", "-m", "2", "-G", ...PEER4], "127.0.0.1"],
  ["client to client", ["-c", "-y", "-n", "20", "-m", "4"], "127.0.0.1"],
  ["client to client by indications", ["-c", "-y", "-s", "-n", "20", "-m", "4"], "127.0.0.1"],
  ["IPv6", ["-c", "-n", "20", "-m", "2", ...PEER6], "::1"],
  ["IPv6, client to client", ["-c", "-y", "-x", "-n", "20", "-m", "2"], "::1"],
  ["TCP, 20 clients", ["-c", "-t", "-n", "50", "-m", "20", ...PEER4], "127.0.0.1"],
  ["TCP, indications", ["-c", "-t", "-s", "-n", "20", "-m", "2", ...PEER4], "127.0.0.1"],
  // For each connection uclient picks one of TLS 1.0 to 1.3 at random, and tries again when that is refused.
  ["TLS", ["-c", "-S", "-t", "-n", "20", "-m", "2", ...PEER4], "127.0.0.1"],
  ["TCP, client to client", ["-c", "-t", "-y", "-n", "20", "-m", "2"], "127.0.0.1"],
];

describe("coturn's tools", { timeout: 240_000 }, () => {
  /** @type {Server} */
  let server;
  /** @type {import("node:child_process").ChildProcess[]} */
  let peers = [];
  before(async () => {
    const directory = mkdtempSync(`${tmpdir()}/relay-`);
    const [certificate, key] = [`${directory}/certificate.pem`, `${directory}/key.pem`];
    const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const named = ["-subj", "/CN=localhost", "-keyout", key, "-out", certificate];
    execFileSync("openssl", [...made, ...named], { stdio: "pipe" });
    const flags = [...FLAGS, ["http.tls_cert", certificate], ["http.tls_key", key]];
    // The readiness check of the pages' tests asks over HTTP without TLS; this one asks for a certificate nobody knows.
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    server = await Server.start(flags.flatMap(([name, value]) => ["--set", `${name}=${value}`]), "https");
    peers = ["127.0.0.1", "::1"].map((address) =>
      spawn("turnutils_peer", ["-L", address, "-p", String(PEER_PORT)], { stdio: "ignore", cwd: ARTEFACTS }),
    );
    // The second port is where uclient sends what stands for RTCP.
    for (const address of ["127.0.0.1", "::1"])
      for (const port of [PEER_PORT, PEER_PORT + 1]) await echoed(address, port);
  });
  after(async () => {
    peers.forEach((peer) => peer.kill());
    await server?.stop();
  });

  for (const [name, flags, address] of RUNS) {
    test(`relay ${name} without loss`, async () => {
      const output = await uclient(["-W", SECRET, ...flags, address]);
      assert.match(output, /Total lost packets 0 \(0\.0+%\)/, output);
    });
  }

  test("are refused with another secret", async () => {
    const output = await uclient(["-W", "another secret of that length!!!", "-c", "-n", "5", ...PEER4, "127.0.0.1"]);
    assert.match(output, /Cannot complete Allocation/);
  });

  test("are refused a peer inside the network", async () => {
    const output = await uclient(["-W", SECRET, "-c", "-n", "5", "-e", "10.0.0.1", "-r", "9", "127.0.0.1"]);
    assert.match(output, /403 \(Forbidden\)/);
  });

  test("learn their address by STUN", async () => {
    for (const address of ["127.0.0.1", "::1"]) {
      const output = await run("turnutils_stunclient", ["-p", String(server.media), address]);
      assert.match(output, new RegExp(`UDP reflexive addr: ${address}:\\d+`), output);
    }
  });

  test("and every TCP port answer STUN, inside TLS too", async () => {
    const https = Number(new URL(server.url).port);
    const host = "127.0.0.1";
    const connections = {
      "the media port": () => connectTcp(server.media, host),
      "TLS on the media port": () => connectTls({ port: server.media, host, rejectUnauthorized: false }),
      "HTTPS' port": () => connectTls({ port: https, host, rejectUnauthorized: false }),
      "HTTPS' port without TLS": () => connectTcp(https, host),
    };
    for (const [name, open] of Object.entries(connections)) assert.equal(await binding(open()), 0x0101, name);
  });

  /**
   * Once in 16,384 clients uclient draws one number for two channels of an allocation, which has to be refused, and
   * gives up before it has sent anything; then it is run again.
   *
   * @param {string[]} flags
   */
  async function uclient(flags) {
    const arguments_ = ["-u", "alice", "-p", String(server.media), ...flags];
    const output = await run("turnutils_uclient", arguments_);
    const drewTwice = output.includes("channel bind: error 400") && !output.includes("Total lost packets");
    return drewTwice ? run("turnutils_uclient", arguments_) : output;
  }
});

/**
 * Waits until what is sent there comes back.
 *
 * @param {string} address
 * @param {number} port
 */
async function echoed(address, port) {
  const socket = createSocket(address.includes(":") ? "udp6" : "udp4");
  const answered = new Promise((resolve) => socket.once("message", resolve));
  const asking = setInterval(() => socket.send("?", port, address), 50);
  try {
    await answered;
  } finally {
    clearInterval(asking);
    socket.close();
  }
}

/**
 * Runs a tool to its end; what it says matters, not its exit code.
 *
 * @param {string} tool
 * @param {string[]} flags
 * @returns {Promise<string>}
 */
function run(tool, flags) {
  return new Promise((resolve) => {
    const options = { timeout: 60_000, maxBuffer: 1 << 24, cwd: ARTEFACTS };
    execFile(tool, flags, options, (_, stdout, stderr) => resolve(stdout + stderr));
  });
}

/**
 * Sends a Binding request in two pieces and reads the type of the answer.
 *
 * @param {import("node:net").Socket} socket
 * @returns {Promise<number>}
 */
function binding(socket) {
  const request = Buffer.concat([Buffer.from([0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]), Buffer.alloc(12, 7)]);
  return new Promise((resolve, reject) => {
    socket.setTimeout(30_000, () => reject(new Error("no answer")));
    socket.on("error", reject);
    socket.on("data", (answer) => resolve(Buffer.from(answer).readUInt16BE(0)));
    socket.write(request.subarray(0, 9));
    setTimeout(() => socket.write(request.subarray(9)), 20);
  }).finally(() => socket.destroy());
}
