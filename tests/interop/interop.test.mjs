// Each publishing stack, watched by every stack that can decode or count what it sends.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { ARTEFACTS, Server } from "../browser/server.js";
import { STACKS } from "./lib/stacks.mjs";

/** wrtc's build has no H264. */
const VIEWERS = {
  vp8: ["aiortc", "chromium", "gstreamer", "node-datachannel", "werift", "wrtc"],
  h264: ["aiortc", "chromium", "gstreamer", "node-datachannel", "werift"],
};

/** @type {{stack: string, codec: "h264" | "vp8", options: string[]}[]} */
const PUBLISHERS = [
  { stack: "node-datachannel", codec: "h264", options: [] },
  { stack: "node-datachannel", codec: "h264", options: ["--simulcast"] },
  { stack: "ffmpeg", codec: "h264", options: [] },
  { stack: "gstreamer", codec: "h264", options: ["--codec=h264"] },
  { stack: "gstreamer", codec: "vp8", options: ["--codec=vp8"] },
  { stack: "aiortc", codec: "vp8", options: ["--codec=vp8"] },
  { stack: "aiortc", codec: "h264", options: ["--codec=h264"] },
  { stack: "werift", codec: "vp8", options: [] },
  { stack: "wrtc", codec: "vp8", options: [] },
  { stack: "wrtc", codec: "vp8", options: ["--simulcast"] },
];

/** Viewers count for this long; the publisher sends until all are done, and this long at most. */
const WATCH_SECONDS = 4;
const PUBLISH_SECONDS = 75;

/** Larger: a stack that hangs holds the tests up for longer; smaller: a busy machine fails them. */
const START_SECONDS = 30;
const TEST_SECONDS = 90;
const LIMIT = { timeout: TEST_SECONDS * 1000 };

/**
 * What a viewer must have seen and heard: a tenth of what is sent in that time (15 pictures and 50 packets a second).
 * This is to tell media that flow from media that do not. A key frame may be a second away, and on a busy machine the
 * encoders and decoders of six programs do not keep up.
 */
const FRAMES = 6;
const AUDIO_PACKETS = 20;

/** @type {Server} */
let server;
before(async () => {
  server = await Server.start();
});
after(() => server?.stop());

describe("another WebRTC stack publishes and all others watch", () => {
  PUBLISHERS.forEach(({ stack, codec, options }, number) => {
    const name = `${stack} publishes ${codec} ${options.join(" ")}`.trim();
    test(name, LIMIT, async (context) => {
      const room = `interop-${number}`;
      const publisher = client(stack, "publish", `${server.url}/whip/${room}`, PUBLISH_SECONDS, options);
      context.after(publisher.stop);
      await publishing(room, publisher.report);
      const viewers = VIEWERS[codec].map((viewer) => ({
        viewer,
        run: client(viewer, "watch", `${server.url}/whep/${room}`, WATCH_SECONDS, []),
      }));
      for (const { viewer, run } of viewers) {
        await context.test(`${viewer} watches`, async () => judge(await run.report, codec));
      }
      publisher.stop();
      const report = await publisher.report;
      assert.deepEqual(report.errors, []);
    });
  });
});

test("a viewer without the published codec is refused with 406, not shown a black picture", LIMIT, async (context) => {
  const room = "interop-refused";
  const publisher = client("node-datachannel", "publish", `${server.url}/whip/${room}`, PUBLISH_SECONDS, []);
  context.after(publisher.stop);
  await publishing(room, publisher.report);
  const viewer = await client("wrtc", "watch", `${server.url}/whep/${room}`, 1, []).report;
  assert.match(viewer.errors.join(), /: 406 /);
  publisher.stop();
  await publisher.report;
});

/** Encoders for files, and what their publishers have to be told. */
const FLAWED = {
  "h264-sparse": ["has B-frames", "s apart and not on request"],
  "h264-bare": ["has B-frames", "without SPS and PPS", "(PLI) are not answered"],
};

for (const [codec, flaws] of Object.entries(FLAWED)) {
  test(`a publisher is told what is wrong with its encoder: ${codec}`, LIMIT, async (context) => {
    const room = `interop-${codec}`;
    const options = [`--codec=${codec}`];
    const publisher = client("gstreamer", "publish", `${server.url}/whip/${room}`, PUBLISH_SECONDS, options);
    context.after(publisher.stop);
    const session = await publishing(room, publisher.report);
    // Each viewer that comes has the server ask for a key frame.
    for (let left = flaws; left.length > 0; ) {
      await client("node-datachannel", "watch", `${server.url}/whep/${room}`, 1, []).report;
      const { warnings } = await (await fetch(`${server.url}/api/v1/sessions/${session}`)).json();
      left = flaws.filter((flaw) => !warnings.some((/** @type {string} */ warning) => warning.includes(flaw)));
    }
    const log = readdirSync(ARTEFACTS).filter((name) => name.startsWith(`server-${process.pid}-`));
    const text = log.map((name) => readFileSync(`${ARTEFACTS}${name}`, "utf8")).join();
    for (const flaw of flaws) assert.ok(text.includes(flaw), `the log does not say: ${flaw}`);
    publisher.stop();
    await publisher.report;
  });
}

/**
 * @param {import("./lib/task.mjs").Report} report
 * @param {string} codec
 */
function judge(report, codec) {
  const told = `${JSON.stringify(report)}; the server's log is in ${ARTEFACTS}`;
  assert.deepEqual(report.errors, [], told);
  assert.equal(report.connected, true, told);
  assert.equal(report.video.codec ?? codec, codec, told);
  assert.ok(report.video.frames >= FRAMES, told);
  assert.ok(report.audio.packets >= AUDIO_PACKETS, told);
}

/**
 * Starts a script and reads its one line.
 * @param {string} stack
 * @param {string} role
 * @param {string} url
 * @param {number} seconds
 * @param {string[]} options
 */
function client(stack, role, url, seconds, options) {
  const [program, script] = STACKS[stack];
  const child = spawn(program, [script, role, url, String(seconds), ...options], {
    cwd: new URL(".", import.meta.url),
    stdio: ["ignore", "pipe", "pipe"],
    timeout: (seconds + START_SECONDS + 15) * 1000,
    killSignal: "SIGKILL",
  });
  let out = "";
  let noise = "";
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (noise += text));
  /** @type {Promise<import("./lib/task.mjs").Report>} */
  const report = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", () => {
      const line = out.trim().split("\n").pop() ?? "";
      try {
        resolve(JSON.parse(line));
      } catch {
        reject(new Error(`${stack} ${role} gave no report\n${out}${noise}`));
      }
    });
  });
  return { report, stop: () => child.kill("SIGTERM") };
}

/**
 * Waits until the room is being published to, or the publisher has given up.
 *
 * @returns {Promise<string>} The publisher's session.
 * @param {string} room
 * @param {Promise<import("./lib/task.mjs").Report>} publisher
 */
async function publishing(room, publisher) {
  let ended = /** @type {import("./lib/task.mjs").Report | null} */ (null);
  publisher.then((report) => (ended = report)).catch(() => {});
  const deadline = performance.now() + START_SECONDS * 1000;
  while (performance.now() < deadline) {
    if (ended) throw new Error(`the publisher ended: ${JSON.stringify(ended)}; the server's log is in ${ARTEFACTS}`);
    const rooms = await (await fetch(`${server.url}/api/v1/rooms`)).json();
    const sessions = rooms.find((/** @type {{name: string}} */ one) => one.name === room)?.sessions ?? [];
    const connected = sessions.find((/** @type {{state: string}} */ session) => session.state === "connected");
    if (connected) return connected.id;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`nobody publishes to ${room} after ${START_SECONDS} s; the server's log is in ${ARTEFACTS}`);
}
