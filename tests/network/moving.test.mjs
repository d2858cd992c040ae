// @ts-check
/**
 * Clients of other stacks whose NAT gives them another port in the middle of a call. Media goes on after the client's
 * next check, which the server believes once the client has answered one of the server's own from there.
 */

import assert from "node:assert/strict";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import { STACKS } from "../interop/lib/stacks.mjs";
import { Bridge, clear, eventually, home, Host, masquerading, publisher } from "./machine.mjs";

const SCRIPTS = dirname(fileURLToPath(import.meta.resolve("../interop/lib/task.mjs"))) + "/..";

/** Longest that a client publishes, in seconds. */
const PUBLISHES = "100";

/** Packets of a picture and sound that flow for a second or two. */
const ENOUGH = 60;

describe("a publisher whose NAT gives it another port", { timeout: 240_000 }, () => {
  /** @type {Bridge} */ let internet;
  const url = "http://203.0.113.1:8080";

  before(async () => {
    internet = new Bridge("internet", "203.0.113.254/24");
    await new Host("server").attach(internet, "203.0.113.1/24").serve(url);
  });
  after(clear);

  for (const [number, { stack, library, codec }] of [
    { stack: "aiortc", library: "aioice", codec: "vp8" },
    { stack: "node-datachannel", library: "libjuice", codec: "h264" },
    { stack: "gstreamer", library: "libnice", codec: "vp8" },
  ].entries())
    test(`is followed: ${library}, of ${stack}`, async () => {
      const outside = `203.0.113.6${number}`;
      const { host, nat } = home(`mover${number}`, internet, `${outside}/24`, "masquerade", 60 + number);
      const [program = "", script] = STACKS[stack] ?? [];
      const room = `moving-${number}`;
      const task = ["publish", `${url}/whip/${room}`, PUBLISHES, `--codec=${codec}`];
      const child = host.spawn(program, [`${SCRIPTS}/${script}`, ...task]);
      child.stdout.resume();
      const flows = async (/** @type {string} */ what) => {
        const packets = async () => {
          const { media = [] } = (await publisher(url, room)) ?? {};
          return media.reduce((sum, { packets }) => sum + packets, 0);
        };
        const before = await packets();
        await eventually(async () => (await packets()) > before + ENOUGH, what);
      };
      await flows("media flows");
      const first = await eventually(() => publisher(url, room), "the publisher is connected");
      nat.forward(masquerading("meta l4proto udp masquerade to :50000-50099"));
      nat.exec("conntrack", ["-F"]);
      const moved = await eventually(async () => {
        const session = await publisher(url, room);
        return session?.connectivity.remote_address !== first.connectivity.remote_address && session;
      }, "the server takes note of the new port");
      assert.match(moved.connectivity.remote_address, /:500\d\d$/);
      await flows("media flows from there");
      child.kill("SIGTERM");
    });
});
