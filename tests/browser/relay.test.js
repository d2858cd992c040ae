// @ts-check
/** Publishing and watching through the server's own relay and over TCP: what is left when a network lets no UDP out. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as pass } from "node:timers/promises";
import { close, open, PATIENCE } from "./browser.js";
import { decodes, play, publish } from "./call.js";
import { Server } from "./server.js";
import { start } from "./stand.js";

/** @type {{ name: string, path: import("./call.js").Path, kind: string, relay?: string, protocol?: string }[]} */
const PATHS = [
  {
    name: "TURN over UDP",
    path: { policy: "relay", url: "transport=udp", candidates: "udp" },
    kind: "relay",
    relay: "udp",
  },
  {
    name: "TURN over TCP",
    path: { policy: "relay", url: "transport=tcp", candidates: "udp" },
    kind: "relay",
    relay: "tcp",
  },
  {
    name: "ICE over TCP",
    path: { policy: "all", url: "none", candidates: "tcptype passive" },
    kind: "",
    protocol: "tcp",
  },
];

/** Bytes that are more than handshakes and checks take. */
const ENOUGH = 10_000;

const { server, browser } = await start(["--set", "media.loopback=always"]);

describe("a stream without a direct path", { timeout: 6 * PATIENCE }, () => {
  for (const { name, path, kind, relay, protocol } of PATHS) {
    test(`is published and seen over ${name}`, async () => {
      const room = name.toLowerCase().replaceAll(" ", "-");
      const before = await relayed(server);
      const publisher = await open(browser, `${server.url}/`);
      const viewer = await open(browser, `${server.url}/`);
      const sent = await publish(publisher, room, path);
      const seen = await play(viewer, room, path);
      for (const pair of [sent, seen]) {
        if (kind) assert.equal(pair.local, kind, JSON.stringify(pair));
        if (relay) assert.equal(pair.relayProtocol, relay, JSON.stringify(pair));
        if (protocol) assert.equal(pair.protocol, protocol, JSON.stringify(pair));
      }
      await decodes(viewer);
      if (relay) await carries(server, before + ENOUGH);
      await close(publisher, viewer);
    });
  }
});

/** Media has gone through the server's allocations. @param {Server} server @param {number} bytes */
async function carries(server, bytes) {
  const deadline = Date.now() + PATIENCE;
  while ((await relayed(server)) < bytes) {
    assert.ok(Date.now() < deadline, `${await relayed(server)} bytes went through the relay, of ${bytes}`);
    await pass(100);
  }
}

/** Bytes that went through the server's allocations, both ways. @param {Server} server */
async function relayed(server) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const counters = [...text.matchAll(/^crosspoint_turn_bytes_\w+_clients_total (\d+)/gm)];
  return counters.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}
