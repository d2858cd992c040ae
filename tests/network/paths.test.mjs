// @ts-check
/** The way a call finds through NATs, firewalls and networks: server and clients each on a host of their own. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { after, before, describe, test } from "node:test";
import { close, launch, open } from "../browser/browser.js";
import { decodes, pairOf, play, publish } from "../browser/call.js";
import { Bridge, clear, eventually, home, Host, masquerading, metric, publisher, sessions } from "./machine.mjs";

/** For as long as a client may run that its test stops. */
const LONG = "5m";

/** Pictures a viewer must have decoded. */
const ENOUGH = 60;

describe("a call", { timeout: 240_000 }, () => {
  /** @type {Bridge} */ let internet;
  /** @type {Host} */ let server;
  const url = "http://203.0.113.1:8080";

  before(async () => {
    internet = new Bridge("internet", "203.0.113.254/24", "2001:db8::fe/64");
    server = new Host("server").attach(internet, "203.0.113.1/24", "2001:db8::1/64");
    await server.serve(url);
  });
  after(clear);

  test("passes from one home to another, through the NATs of both", async () => {
    const alpha = home("alpha", internet, "203.0.113.11/24", "masquerade", 1);
    // Ports at random, as NATs do that depend on the destination.
    const beta = home("beta", internet, "203.0.113.12/24", "masquerade fully-random", 2);
    for (const [from, to] of [
      [alpha, beta],
      [beta, alpha],
    ]) {
      const stream = from.host.load("publish", `${url}/whip/homes`, LONG);
      assert.deepEqual(await callers(url, "homes", to.host), ["203.0.113.11", "203.0.113.12"]);
      await stream.stop();
    }
  });

  test("goes on when the NAT has forgotten its client and gives it another port", async () => {
    const moved = home("moved", internet, "203.0.113.13/24", "masquerade", 3);
    const watcher = new Host("watcher").attach(internet, "203.0.113.40/24");
    const stream = moved.host.load("publish", `${url}/whip/moved`, LONG);
    const viewer = watcher.load("watch", `${url}/whep/moved`, LONG);
    const before = await eventually(() => publisher(url, "moved"), "the publisher connects");
    await flows(url);
    const ports = "masquerade to :50000-50099";
    moved.nat.forward(masquerading(`meta l4proto udp ${ports}`));
    moved.nat.exec("conntrack", ["-F"]);
    const now = await eventually(async () => {
      const session = await publisher(url, "moved");
      return session?.connectivity.remote_address !== before.connectivity.remote_address && session;
    }, "the server takes note of the new port");
    assert.match(now.connectivity.remote_address, /^203\.0\.113\.13:500\d\d$/);
    await flows(url, 10 * ENOUGH);
    const { received } = await viewer.stop();
    assert.ok(received && received.video.frames > ENOUGH && received.violations === 0, JSON.stringify(received));
    await stream.stop();
  });

  test("needs no IPv4", async () => {
    const six = new Host("six").attach(internet, "2001:db8::6/64");
    const plain = "http://[2001:db8::1]:8080";
    const stream = six.load("publish", `${plain}/whip/six`, LONG);
    assert.deepEqual(await callers(plain, "six", six), ["[2001:db8::6]", "[2001:db8::6]"]);
    await stream.stop();
  });

  test("reaches a server of several networks at the address of each", async () => {
    const office = new Bridge("office");
    const [inner, outer] = ["192.0.2.1", "203.0.113.2"];
    const both = new Host("both").attach(office, `${inner}/24`).attach(internet, `${outer}/24`);
    const desk = new Host("desk").attach(office, "192.0.2.10/24");
    const traveller = new Host("traveller").attach(internet, "203.0.113.41/24");
    await both.serve(`http://${outer}:8080`);
    const stream = desk.load("publish", `http://${inner}:8080/whip/office`, LONG);
    assert.deepEqual(await callers(`http://${outer}:8080`, "office", traveller), ["192.0.2.10", "203.0.113.41"]);
    await stream.stop();
  });

  for (const [number, { name, nat }] of [
    {
      // Most clouds: the machine has an address of its own, which the network exchanges for the public one.
      name: "1:1 NAT",
      nat: (/** @type {string} */ address) => ["dnat to 172.16.0.2", `snat to ${address}`],
    },
    {
      // A container in a bridge network: -p 3478:3478/udp -p 3478:3478/tcp -p 8080:8080
      name: "published ports",
      nat: () => ["meta l4proto { tcp, udp } th dport { 3478, 8080 } dnat to 172.16.0.2", "masquerade"],
    },
  ].entries())
    test(`reaches a server behind ${name}`, async () => {
      const cloud = new Bridge(`cloud${number}`);
      const [address, caller] = [`203.0.113.2${number}`, `203.0.113.5${number}`];
      const [inwards, outwards] = nat(address);
      new Host(`edge${number}`).attach(internet, `${address}/24`).attach(cloud, "172.16.0.1/24").forward(`
        table ip nat {
          chain prerouting {
            type nat hook prerouting priority -100
            ip daddr ${address} ${inwards}
          }
          chain postrouting {
            type nat hook postrouting priority 100
            ip saddr 172.16.0.2 ${outwards}
          }
        }`);
      const instance = new Host(`instance${number}`).attach(cloud, "172.16.0.2/24").route("172.16.0.1");
      const roamer = new Host(`roamer${number}`).attach(internet, `${caller}/24`);
      const there = await instance.serve(`http://${address}:8080`, `media.public_ip=${address}`);
      const stream = roamer.load("publish", `${there}/whip/cloud`, LONG);
      assert.deepEqual(await callers(there, "cloud", roamer), [caller, caller]);
      const session = await publisher(there, "cloud");
      assert.deepEqual(session?.connectivity.local_candidates, [`${address}:3478`]);
      assert.equal(session.connectivity.carried_by, "udp");
      await stream.stop();
    });
});

describe("a browser", { timeout: 240_000 }, () => {
  const secure = "https://203.0.113.1";
  /** A server without IPv4. */
  const six = "https://[2001:db8::6]";
  /** @type {Bridge} */ let internet;
  /** @type {Host} */ let server;
  /** @type {ReturnType<typeof home>} */ let guarded;
  /** @type {Host} */ let watcher;
  /** @type {import("../browser/browser.js").Browser} */ let inside;
  /** @type {import("../browser/browser.js").Browser} */ let outside;

  before(async () => {
    internet = new Bridge("internet", "203.0.113.254/24", "2001:db8::fe/64");
    server = new Host("server").attach(internet, "203.0.113.1/24");
    guarded = home("guarded", internet, "203.0.113.14/24", "masquerade", 4);
    watcher = new Host("watcher").attach(internet, "203.0.113.40/24", "2001:db8::40/64");
    const { settings, hash } = certify("203.0.113.1");
    await new Host("six").attach(internet, "2001:db8::6/64").serve(six, ...settings);
    // A second STUN server, for what one alone does not show.
    await new Host("second").attach(internet, "203.0.113.2/24").serve("http://203.0.113.2:8080");
    await server.serve(secure, "turn.host=203.0.113.1", "ice.servers=stun:203.0.113.2:3478", ...settings);
    const args = [`--ignore-certificate-errors-spki-list=${hash}`];
    inside = await launch({ executable: guarded.host.browser(), args });
    outside = await launch({ executable: watcher.browser(), args });
  });
  after(async () => {
    await inside?.close();
    await outside?.close();
    await clear();
  });

  for (const { name, refused, path, expected } of [
    {
      name: "without any obstacle uses UDP",
      refused: "",
      path: { policy: "all", url: "", candidates: "" },
      expected: { protocol: "udp", relayProtocol: undefined },
    },
    {
      name: "whose network lets no UDP out uses ICE over TCP",
      refused: "meta l4proto udp drop",
      path: { policy: "all", url: "none", candidates: "" },
      expected: { protocol: "tcp", relayProtocol: undefined },
    },
    {
      name: "whose network lets no UDP out may use TURN over TCP",
      refused: "meta l4proto udp drop",
      path: { policy: "relay", url: ":3478?transport=tcp", candidates: "" },
      expected: { local: "relay", relayProtocol: "tcp" },
    },
    {
      name: "whose network lets only HTTPS out uses TURN over TLS",
      refused: "tcp dport 443 accept; tcp sport 443 accept; meta l4proto { tcp, udp } drop",
      path: { policy: "all", url: "", candidates: "" },
      expected: { local: "relay", relayProtocol: "tls" },
    },
  ])
    test(name, async () => {
      guarded.nat.forward(masquerading("masquerade", refused));
      guarded.nat.exec("conntrack", ["-F"]);
      const room = name.replaceAll(" ", "-");
      const sender = await open(inside, `${secure}/`);
      const viewer = await open(outside, `${secure}/`);
      const way = /** @type {import("../browser/call.js").Path} */ (path);
      const pair = await publish(sender, room, way);
      const fits = (/** @type {object} */ pair) =>
        Object.entries(expected).every(([field, value]) => Reflect.get(pair, field) === value);
      // The first pair that works is used until a better one does.
      const what = `${JSON.stringify(expected)}, at first ${JSON.stringify(pair)}`;
      await eventually(async () => fits(await pairOf(sender)), what);
      await play(viewer, room, { policy: "all", url: "none", candidates: "udp" });
      await decodes(viewer);
      await close(sender, viewer);
    });

  test("uses a relay that has no IPv4", async () => {
    const sender = await open(outside, `${six}/`);
    const viewer = await open(outside, `${six}/`);
    const pair = await publish(sender, "six", { policy: "relay", url: ":3478?transport=tcp", candidates: "" });
    assert.deepEqual([pair.local, pair.address], ["relay", "2001:db8::6"]);
    await play(viewer, "six", { policy: "relay", url: ":3478?transport=tcp", candidates: "" });
    await decodes(viewer);
    await close(sender, viewer);
  });

  test("goes on when the NAT has forgotten it and gives it another port, sending and receiving", async () => {
    guarded.nat.forward(masquerading("masquerade"));
    guarded.nat.exec("conntrack", ["-F"]);
    const pages = [];
    const viewers = [];
    for (const [room, from, to] of /** @type {const} */ ([
      ["moved-sender", inside, outside],
      ["moved-viewer", outside, inside],
    ])) {
      const sender = await open(from, `${secure}/`);
      const viewer = await open(to, `${secure}/`);
      pages.push(sender, viewer);
      viewers.push(viewer);
      await publish(sender, room, { policy: "all", url: "none", candidates: "udp" });
      await play(viewer, room, { policy: "all", url: "none", candidates: "udp" });
      await decodes(viewer);
    }
    guarded.nat.forward(masquerading("meta l4proto udp masquerade to :50000-50099"));
    guarded.nat.exec("conntrack", ["-F"]);
    for (const room of ["moved-sender", "moved-viewer"])
      await eventually(async () => {
        const remotes = (await sessions(secure, room)).map(({ connectivity }) => connectivity.remote_address);
        return remotes.some((remote) => /^203\.0\.113\.14:500\d\d$/.test(remote));
      }, `the server takes note of the new port in ${room}`);
    for (const viewer of viewers) await decodes(viewer);
    await close(...pages);
  });

  test("is told which NAT it is behind", async () => {
    /** @type {[string, import("../../web/nat.js").Nat][]} */
    const kinds = [
      ["masquerade", "independent"],
      ["masquerade fully-random", "dependent"],
    ];
    for (const [translation, kind] of kinds) {
      guarded.nat.forward(masquerading(translation));
      guarded.nat.exec("conntrack", ["-F"]);
      assert.equal(await natOf(inside), kind);
    }
    guarded.nat.forward(masquerading("masquerade", "meta l4proto udp drop"));
    assert.equal(await natOf(inside), "blocked");
    assert.equal(await natOf(outside), "none");
  });

  /** What the check page finds. @param {import("../browser/browser.js").Browser} browser */
  async function natOf(browser) {
    const page = await open(browser, `${secure}/check`);
    const nat = await page.evaluate(async () => {
      const module = "/assets/nat.js";
      const { findNat } = await import(module);
      const { ice_servers: servers } = await (await fetch("/api/v1/hello")).json();
      return findNat(servers);
    });
    await page.context().close();
    return nat;
  }
});

/**
 * Lets a viewer on that host see the stream of a room.
 *
 * @param {string} url
 * @param {string} room
 * @param {Host} host
 * @returns {Promise<(string | undefined)[]>} The addresses both clients are seen at.
 */
async function callers(url, room, host) {
  const viewer = host.load("watch", `${url}/whep/${room}`, LONG);
  const plays = async () => {
    const all = await sessions(url, room);
    const viewer = all.find(({ role }) => role === "play");
    return viewer?.media.some(({ kind, packets }) => kind === "video" && packets > 6 * ENOUGH) && all;
  };
  const reports = await eventually(plays, `a picture for ${host.name}`);
  const { received } = await viewer.stop();
  assert.ok(received && received.video.frames >= ENOUGH && received.violations === 0, JSON.stringify(received));
  return reports.map(({ connectivity }) => /^(.*):\d+$/.exec(connectivity.remote_address)?.[1]).sort();
}

/** More media arrives at the server. @param {string} url @param {number} [count] Packets. */
async function flows(url, count = ENOUGH) {
  const packets = () => metric(url, "crosspoint_packets_received_total");
  const before = await packets();
  await eventually(async () => (await packets()) > before + count, "media flows");
}

/**
 * A certificate for a name or an address, and the hash of its key by which a browser is told to accept it.
 *
 * @param {string} address
 */
function certify(address) {
  const directory = mkdtempSync(`${tmpdir()}/certificate-`);
  const [certificate, key] = [`${directory}/certificate.pem`, `${directory}/key.pem`];
  const made = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const named = ["-subj", "/CN=test", "-addext", `subjectAltName=IP:${address}`, "-keyout", key, "-out", certificate];
  execFileSync("openssl", [...made, ...named], { stdio: "pipe" });
  const public_key = execFileSync("openssl", ["pkey", "-in", key, "-pubout", "-outform", "DER"]);
  const hash = createHash("sha256").update(public_key).digest("base64");
  return { settings: [`http.tls_cert=${certificate}`, `http.tls_key=${key}`], hash };
}
