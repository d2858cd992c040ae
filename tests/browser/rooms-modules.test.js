// @ts-check
/** Pure functions of the rooms' SDK and page, in tables; and the package. No browser and no server. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mock, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Arrivals } from "../../web/client/arrivals.js";
import { explain } from "../../web/client/devices.js";
import { Opener, Sealer, clearBytes, escape, isSealed, roomKey, unescape } from "../../web/client/frames.js";
import { ReliableChannel } from "../../web/client/reliable.js";
import { standstill } from "../../web/client/reports.js";
import { Signalling, socketAddress } from "../../web/client/signalling.js";
import { midsOf } from "../../web/client/transport.js";
import { stepFor } from "../../web/client/wishes.js";
import { GAP, bestFit, paginate, places, spotlight } from "../../web/conference/layout.js";
import { noticeOf } from "../../web/conference/lobby.js";
import { sentence } from "../../web/conference/toasts.js";

const WEB = fileURLToPath(new URL("../../web/", import.meta.url));
const BIN = fileURLToPath(new URL("node_modules/.bin", import.meta.url));

test("the address of a room's socket follows from the address people open", () => {
  const rows = [
    ["http://a.test/room/standup", "", "ws://a.test/rooms/standup/ws"],
    ["https://a.test:8443/rooms/B%C3%BCro?name=Ann#x", "k+y", "wss://a.test:8443/rooms/B%C3%BCro/ws?token=k%2By"],
    ["https://a.test/media/room/x/", "", "wss://a.test/media/rooms/x/ws"],
  ];
  for (const [room = "", token = "", socket = ""] of rows) assert.equal(socketAddress(room, token).href, socket);
});

test("a socket counts as dead when pings stay unanswered, and not because timers were late", () => {
  mock.timers.enable({ apis: ["setInterval", "setTimeout"] });
  let now = 0;
  mock.method(performance, "now", () => now);
  Object.assign(globalThis, { WebSocket: { OPEN: 1 } });
  const socket = Object.assign(new EventTarget(), { readyState: 1, answers: true, send: answer, close: () => {} });
  /** @param {string} text */
  function answer(text) {
    const data = JSON.stringify({ id: JSON.parse(text).id, result: {} });
    if (socket.answers) socket.dispatchEvent(new MessageEvent("message", { data }));
  }
  const signalling = new Signalling(/** @type {any} */ (socket));
  let closed = false;
  signalling.addEventListener("close", () => (closed = true));
  const beat = (/** @type {number} */ late) => {
    now += 4_000 + late;
    mock.timers.tick(4_000);
  };
  for (let minute = 0; minute < 3; minute++) beat(56_000);
  assert.equal(closed, false);
  socket.answers = false;
  beat(0);
  beat(0);
  assert.equal(closed, false);
  beat(0);
  assert.equal(closed, true);
  mock.reset();
  mock.timers.reset();
});

test("reliable messages come in order, each once, and not before the events they are behind", () => {
  /** @type {string[]} */
  const heard = [];
  const arrivals = new Arrivals(({ topic }) => heard.push(topic));
  const take = (/** @type {string} */ topic, /** @type {object} */ numbers = {}) =>
    arrivals.take({ topic, ...numbers }, new Uint8Array());
  assert.equal(arrivals.latest, null, "a page that was loaded anew");
  arrivals.joined(100);
  take("over the socket");
  arrivals.told();
  take("ahead of an event", { seq: 7, after: 102 });
  take("behind that one", { seq: 8, after: 0 });
  assert.deepEqual(heard.splice(0), ["over the socket"]);
  arrivals.told();
  assert.deepEqual(heard.splice(0), ["ahead of an event", "behind that one"]);
  // The channel broke: what may not have come is told over the socket.
  for (const seq of [7, 8, 9]) take(String(seq), { seq });
  assert.deepEqual(heard.splice(0), ["9"]);
  take("told on a socket that is lost", { seq: 10, after: 150 });
  assert.deepEqual([heard.splice(0), arrivals.latest], [[], 9], "the server keeps it");
  arrivals.joined(160);
  assert.deepEqual([heard.splice(0), arrivals.latest], [["told on a socket that is lost"], 10]);
  // The next channel is quicker than what is told again over the socket before.
  take("13", { seq: 13, after: 162 });
  for (const seq of [11, 12]) {
    take(String(seq), { seq });
    arrivals.told();
  }
  assert.deepEqual(heard, ["11", "12", "13"]);
});

test("a reliable channel sends as fast as it may, and rejects what is refused or lost", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  mock.method(performance, "now", () => now);
  /** @type {any[]} */
  const sent = [];
  const send = (/** @type {Uint8Array | string} */ data) => {
    const text = typeof data === "string" ? data : new TextDecoder().decode(data).split("\n")[0];
    sent.push(JSON.parse(text ?? ""));
  };
  const channel = Object.assign(new EventTarget(), { readyState: "open", bufferedAmount: 0, send });
  const say = (/** @type {string} */ text) =>
    channel.dispatchEvent(new MessageEvent("message", { data: new TextEncoder().encode(text).buffer }));
  const reliable = new ReliableChannel(/** @type {any} */ (channel));
  reliable.latest = () => 6;
  /** @type {any[]} */
  const outcomes = [];
  for (let index = 0; index < 150; index++)
    reliable.send({ topic: String(index) }, new Uint8Array()).then(
      () => outcomes.push(index),
      ({ code }) => outcomes.push(code),
    );
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  now = 9_000;
  mock.timers.tick(9_000);
  assert.equal(sent.length, 100, "a burst, which a slow line may still have");
  for (const { id } of sent.slice(0, 60)) say(`{"id":${id}}`);
  await settled();
  assert.equal(sent.length, 100, "all came at once");
  channel.bufferedAmount = 1_000_000;
  now += 700;
  mock.timers.tick(700);
  assert.equal(sent.length, 100, "the channel is full");
  channel.bufferedAmount = 0;
  channel.dispatchEvent(new Event("bufferedamountlow"));
  assert.deepEqual(
    sent.map(({ topic }) => topic),
    Array.from({ length: 150 }, (_, index) => String(index)),
  );
  say(`{"id":${sent[60].id}}`);
  say(`{"id":${sent[61].id},"error":{"code":"not_found","message":"x is not in the room"}}`);
  say('{"topic":"t","seq":5,"after":0}\n');
  say('{"topic":"t","seq":6,"after":0}\n');
  mock.timers.tick(100);
  assert.deepEqual(sent.splice(150), [{ received: 6 }]);
  reliable.close();
  await settled();
  const answered = Array.from({ length: 61 }, (_, index) => index);
  assert.deepEqual(outcomes, [...answered, "not_found", ...Array(88).fill("closed")]);
  mock.reset();
  mock.timers.reset();
});

test("mids are read in the order of the media sections, without the data channel", () => {
  const sdp = "v=0\r\nm=audio 9\r\na=mid:0\r\nm=application 9\r\na=mid:d\r\nm=video 9\r\na=rtcp-mux\r\na=mid:v1\r\n";
  assert.deepEqual(midsOf(sdp), ["0", "v1"]);
});

test("freezes count where the connection caused them, and by the picture that froze least", () => {
  const picture = (/** @type {string} */ id, /** @type {number[]} */ [frames, seconds, lost, nacks]) => ({
    id,
    type: "inbound-rtp",
    kind: "video",
    framesDecoded: frames,
    freezeCount: seconds ? 1 : 0,
    totalFreezesDuration: seconds,
    packetsLost: lost,
    nackCount: nacks,
  });
  const report = (/** @type {number[][]} */ pictures, rtt = 0.02) => [
    { id: "pair", type: "candidate-pair", currentRoundTripTime: rtt },
    ...pictures.map((values, index) => picture(`${index}`, values)),
  ];
  const still = [100, 0, 0, 0];
  const rows = /** @type {[string, number[][], number, number][]} */ ([
    ["smooth", [[200, 0, 0, 0]], 0.02, 0],
    ["a slow encoder", [[140, 3, 0, 0]], 0.02, 0],
    ["packets lost", [[140, 3, 5, 0]], 0.02, 3000],
    ["packets repeated too late", [[140, 3, 0, 4]], 0.02, 3000],
    ["a long way", [[140, 3, 0, 0]], 0.4, 3000],
    ["all pictures", [[140, 3, 5, 0], [140, 2, 5, 0]], 0.02, 2000],
    ["one sender alone", [[140, 3, 5, 0], [200, 0, 0, 0]], 0.02, 0],
    ["one that is no longer sent tells nothing", [[140, 3, 5, 0], still], 0.02, 3000],
    ["nothing is shown", [], 0.02, 0],
  ]);
  for (const [what, pictures, rtt, freezeMs] of rows) {
    const before = report(pictures.map(() => still));
    const after = report(pictures, rtt);
    assert.equal(standstill(/** @type {any} */ (before), /** @type {any} */ (after)).freezeMs, freezeMs, what);
  }
});

test("a refused device is explained by who refused it, and what to do", () => {
  for (const [name, said, thing, title, advice] of /** @type {const} */ ([
    ["NotAllowedError", "Permission denied", "camera", "Permission for the camera was refused", /address bar/],
    ["NotAllowedError", "Permission dismissed", "microphone", "The microphone was not allowed yet", /choose to allow/],
    ["NotAllowedError", "Permission denied by system", "camera", "The operating system refuses the camera", /privacy/],
    ["NotAllowedError", "Permission denied by system", "screen", "The operating system refuses the screen", /privacy/],
    ["NotAllowedError", "Permission denied", "screen", "Screen sharing was cancelled", /browser's dialog/],
    ["NotFoundError", "", "microphone", "No microphone was found", /Plug a microphone in/],
    ["NotReadableError", "", "camera", "The camera cannot be opened", /Another program/],
  ])) {
    const problem = explain(new DOMException(said, name), thing);
    assert.deepEqual([problem.title, problem.reason], [title, name]);
    assert.match(problem.message, advice);
  }
});

test("two refused devices are told of in one notice", () => {
  const refusal = (/** @type {string} */ name, /** @type {"camera" | "microphone"} */ thing) =>
    explain(new DOMException("", name), thing);
  for (const [camera, microphone, title] of /** @type {const} */ ([
    ["NotAllowedError", "NotAllowedError", "Permission for the camera and the microphone was refused"],
    ["NotFoundError", "NotFoundError", "No camera and no microphone was found"],
    ["NotReadableError", "NotFoundError", "The camera cannot be opened, and no microphone was found"],
  ]))
    assert.equal(noticeOf(refusal(camera, "camera"), refusal(microphone, "microphone"))?.title, title);
  const both = noticeOf(refusal("NotAllowedError", "camera"), refusal("NotAllowedError", "microphone"));
  assert.equal(both?.detail.match(/address bar/g)?.length, 1, "the same advice twice");
  assert.equal(noticeOf(undefined, refusal("NotFoundError", "microphone"))?.title, "No microphone was found");
  assert.equal(noticeOf(), null);
});

test("wished heights are rounded up, and nothing shown is nothing wished", () => {
  const rows = [
    [0, 0],
    [-3, 0],
    [1, 90],
    [181, 270],
    [720, 720],
    [9_000, 2160],
  ];
  for (const [height = 0, step = 0] of rows) assert.equal(stepFor(height), step);
});

test("tiles of every number fit on every screen, do not overlap, and waste no whole row", () => {
  for (const [width, height] of /** @type {const} */ ([
    [1440, 780],
    [390, 700],
    [844, 300],
    [200, 200],
  ])) {
    for (let count = 1; count <= 49; count++) {
      const fit = bestFit(count, width, height);
      const spots = places(fit, count, width, height);
      const about = `${count} tiles on ${width} x ${height}`;
      assert.ok(fit.width > 8 && fit.height > 8, about);
      assert.ok(fit.columns * (fit.rows - 1) < count && fit.columns * fit.rows >= count, about);
      for (const [index, { left, top }] of spots.entries()) {
        assert.ok(left > -0.01 && left + fit.width < width + 0.01, about);
        assert.ok(top > -0.01 && top + fit.height < height + 0.01, about);
        const next = spots[index + 1];
        const apart = !next || next.top > top + fit.height + GAP - 0.01 || next.left > left + fit.width + GAP - 0.01;
        assert.ok(apart, about);
      }
    }
  }
});

test("the grid takes the shape a person would choose", () => {
  const columns = (/** @type {number} */ count, /** @type {number} */ width, /** @type {number} */ height) =>
    bestFit(count, width, height).columns;
  assert.deepEqual(
    [1, 2, 4, 9, 16, 25].map((count) => columns(count, 1440, 780)),
    [1, 2, 2, 3, 4, 5],
  );
  assert.deepEqual(
    [1, 2, 4, 8].map((count) => columns(count, 390, 700)),
    [1, 1, 2, 2],
  );
});

test("a page ends when it is full, or has as many pictures as are received at once", () => {
  // Letters are people with a camera, dots those without.
  const rows = /** @type {[string, number, number, string][]} */ ([
    ["", 4, 2, ""],
    ["abc", 4, 9, "abc"],
    ["abcde", 4, 9, "abcd e"],
    ["abcde", 9, 2, "ab cd e"],
    ["a..b.c.", 9, 2, "a..b. c."],
    ["......", 4, 2, ".... .."],
    ["a.b", 9, 0, "a. b"],
  ]);
  for (const [people, capacity, pictures, expected] of rows) {
    const pages = paginate([...people], { capacity, pictures }, (person) => person !== ".");
    assert.equal(pages.map((page) => page.join("")).join(" "), expected, `${people} ${capacity} ${pictures}`);
  }
});

test("who comes together is told of together", () => {
  const rows = /** @type {[string[], string][]} */ ([
    [["Ann"], "Ann has left"],
    [["Ann", "Bob"], "Ann and Bob have left"],
    [["Ann", "Bob", "Cai", "Dev"], "Ann and 3 others have left"],
  ]);
  for (const [names, text] of rows) assert.equal(sentence(names, "left"), text);
});

test("the strip stands beside a wide stage and below a tall one", () => {
  assert.equal(spotlight(1200, 700, true).strip?.upright, true);
  assert.equal(spotlight(390, 700, true).strip?.upright, false);
  assert.equal(spotlight(390, 700, false).strip, null);
});

test("what the server needs of a frame stays readable", () => {
  const h264 = bytes(0, 0, 0, 1, 0x67, 1, 2, 0, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65, 0x88, 9, 9, 9);
  assert.equal(clearBytes(h264, "h264", true), 18);
  assert.equal(clearBytes(bytes(1, 2, 3), "vp8", true), 10);
  assert.equal(clearBytes(bytes(1, 2, 3), "vp8", false), 3);
  assert.equal(clearBytes(bytes(1, 2, 3), "opus", false), 1);
});

test("escaped bytes hold no start code, and come back", () => {
  const rows = [bytes(0, 0, 0, 0, 1, 2, 3), bytes(0, 0, 3, 0, 0, 2), bytes(0, 0, 1), bytes(), bytes(0, 1, 0, 0, 4)];
  for (const zeros of [0, 1, 2]) {
    for (const row of rows) {
      const escaped = escape(row, zeros);
      assert.doesNotMatch([...Array(zeros).fill(0), ...escaped].join(), /(^|,)0,0,[0-2](,|$)/);
      assert.deepEqual([...unescape(escaped, zeros)], [...row]);
    }
  }
});

test("frames open with the same passphrase only, and only unchanged", async () => {
  const [same, other] = [await roomKey("correct horse", "/r"), await roomKey("battery staple", "/r")];
  const h264 = bytes(0, 0, 0, 1, 0x67, 7, 0, 0, 0, 1, 0x65, 0, ...Array(400).fill(0), 5);
  const rows = /** @type {const} */ ([
    ["vp8", bytes(...Array(300).keys())],
    ["h264", h264],
    ["opus", bytes(0x78, 1, 2, 3)],
    ["vp9", bytes(9)],
  ]);
  for (const [codec, frame] of rows) {
    const sealed = await new Sealer(same).seal(frame, codec, true);
    assert.ok(isSealed(sealed), codec);
    assert.equal(await new Opener(other).open(sealed, codec), "refused", codec);
    assert.deepEqual(await new Opener(same).open(sealed, codec), new Uint8Array(frame), codec);
    assert.equal(await new Opener(same).open(frame, codec), "plain", codec);
    const changed = sealed.slice();
    const at = clearBytes(frame, codec, true);
    changed[at] = (changed[at] ?? 0) ^ 0x55;
    assert.equal(await new Opener(same).open(changed, codec), "refused", codec);
  }
});

test("no two frames of a sender, and no two senders, are sealed alike", async () => {
  const key = await roomKey("correct horse", "/r");
  const sealer = new Sealer(key);
  const frame = bytes(...Array(50).fill(7));
  const sealed = [await sealer.seal(frame, "vp9", false), await sealer.seal(frame, "vp9", false)];
  sealed.push(await new Sealer(key).seal(frame, "vp9", false));
  assert.equal(new Set(sealed.map((one) => one.subarray(0, 50).join())).size, 3);
});

test("the folder packs for npm with its types, which a program in strict TypeScript can use", () => {
  const env = { ...process.env, PATH: `${BIN}:${process.env.PATH}` };
  const folder = mkdtempSync(join(tmpdir(), "crosspoint-client-"));
  try {
    const packed = execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: WEB, env });
    const home = join(folder, "node_modules/crosspoint-client");
    mkdirSync(home, { recursive: true });
    const tarball = join(folder, String(packed).trim().split("\n").pop() ?? "");
    execFileSync("tar", ["-xzf", tarball, "--strip-components=1"], { cwd: home });
    for (const name of ["LICENSE-MIT", "LICENSE-APACHE"])
      assert.equal(readFileSync(join(home, name), "utf8"), readFileSync(join(WEB, "..", name), "utf8"));
    const sdk = readFileSync(join(WEB, "client/session.js"), "utf8");
    const { version } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
    assert.ok(sdk.includes(`VERSION = "${version}"`), "the SDK says another version than its package");
    const program = `import { Room, RoomEvent } from "crosspoint-client";
      const room: Room = new Room({ videoSlots: 4 });
      room.addEventListener("trackpublished", (event: RoomEvent) => console.log(event.track?.sid.length));
      room.addEventListener("chat", ({ message }) => console.log(message?.text.length, room.metadata.length));
      // @ts-expect-error No such event.
      room.addEventListener("tracks", () => {});
      const left: Promise<void> = room.leave();
      // @ts-expect-error No such option.
      new Room({ slots: 4 });
      export { left };`;
    writeFileSync(join(folder, "program.ts"), program);
    writeFileSync(
      join(folder, "tsconfig.json"),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          noEmit: true,
          target: "es2024",
          module: "esnext",
          moduleResolution: "bundler",
          lib: ["es2024", "dom"],
          types: [],
        },
        files: ["program.ts"],
      }),
    );
    execFileSync("tsc", ["--project", folder], { env, encoding: "utf8" });
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** @param {number[]} values */
function bytes(...values) {
  return new Uint8Array(values);
}
