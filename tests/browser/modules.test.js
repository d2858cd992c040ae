// @ts-check
/** The pages' pure functions, in tables. No browser and no server. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { rememberToken, roomNameProblem, roomOfPath, tidyRoomName, tokenFor } from "../../web/room.js";
import { iceFragment, withIce } from "../../web/sdp.js";
import { parseLayers, parseLinks } from "../../web/session.js";
import { figuresOf } from "../../web/stats.js";
import { sentence } from "../../web/client/errors.js";
import { bitrateText, clockText, percentText } from "../../web/ui.js";

test("a room's name is tidied, and what the server would refuse is named", () => {
  const rows = [
    ["  my room ", "my-room", ""],
    ["", "", "Give the room a name first."],
    ["Büro_1.~-", "Büro_1.~-", ""],
    ["a/b", "a/b", 'A room name has letters, digits and . _ ~ - but not "/".'],
    ["x".repeat(64), "x".repeat(64), ""],
    ["x".repeat(65), "x".repeat(65), "A room name has at most 64 characters; this one has 65."],
  ];
  for (const [typed = "", tidy = "", problem = ""] of rows) {
    assert.equal(tidyRoomName(typed), tidy);
    assert.equal(roomNameProblem(tidy), problem);
  }
});

test("the room is the second part of the path, decoded", () => {
  assert.equal(roomOfPath("/watch/studio"), "studio");
  assert.equal(roomOfPath("/publish/B%C3%BCro/"), "Büro");
  assert.equal(roomOfPath("/watch/%E0%A4"), "%E0%A4");
  assert.equal(roomOfPath("/"), "");
});

test("a key is remembered for this page where the browser's storage is full", () => {
  const full = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  Object.assign(globalThis, { sessionStorage: { getItem: () => null, setItem: full } });
  rememberToken("studio", " key ");
  assert.deepEqual([tokenFor("studio"), tokenFor("other")], ["key", ""]);
});

test("Link headers are read whether they came as one or joined", () => {
  const header =
    '</s/1/events>; rel="urn:ietf:params:whep:ext:core:server-sent-events"; events="active,layers", ' +
    '<turn:h:3478?transport=udp>; rel="ice-server"; username="u"; credential="p,;q"; ' +
    'credential-type="password", <x>;rel=y';
  assert.deepEqual(
    parseLinks(header, "http://h/whep/r").map(({ url, rel, parameters }) => [
      url,
      rel,
      parameters.events ?? parameters.credential,
    ]),
    [
      ["http://h/s/1/events", "urn:ietf:params:whep:ext:core:server-sent-events", "active,layers"],
      ["turn:h:3478?transport=udp", "ice-server", "p,;q"],
      ["http://h/whep/x", "y", undefined],
    ],
  );
  assert.deepEqual(parseLinks("", "http://h/"), []);
});

test("both dialects of the layers event say the same", () => {
  const today = {
    1: [
      { rid: "h", width: 1280, heigth: 720, bitrate: 9 },
      { rid: "l", spatialLayerId: 0, wanted: false },
    ],
  };
  const older = {
    1: {
      layers: [
        { encodingId: "h", width: 1280, height: 720, bitrate: 9 },
        { encodingId: "l", spatialLayerId: 0, wanted: false },
      ],
    },
  };
  const expected = [
    { mediaId: "1", rid: "h", spatial: undefined, width: 1280, height: 720, bitrate: 9, wanted: true },
    { mediaId: "1", rid: "l", spatial: 0, width: undefined, height: undefined, bitrate: 0, wanted: false },
  ];
  assert.deepEqual(parseLayers(today), expected);
  assert.deepEqual(parseLayers(older), expected);
  for (const nonsense of [null, "x", { 1: 3 }]) assert.deepEqual(parseLayers(nonsense), []);
});

const SECTION = (/** @type {string} */ ice) =>
  `m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n${ice}m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n${ice}`;

test("the fragment of an ICE restart names the bundle, its first section and the new credentials", () => {
  const offer = `v=0\r\na=group:BUNDLE 0 1\r\n${SECTION("a=ice-ufrag:new\r\na=ice-pwd:secret\r\n")}`;
  assert.equal(
    iceFragment(offer),
    "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:new\r\na=ice-pwd:secret\r\n",
  );
});

test("an answer takes the server's new credentials in each section, and no candidate of the old ones stays", () => {
  const old = "a=ice-ufrag:old\r\na=ice-pwd:old\r\na=candidate:1 1 udp 1 1.1.1.1 1 typ host\r\na=end-of-candidates\r\n";
  const fresh = "a=ice-ufrag:new\r\na=ice-pwd:new\r\na=candidate:2 1 udp 1 2.2.2.2 2 typ host\r\n";
  const answer = `v=0\r\na=ice-lite\r\n${SECTION(old)}`;
  const fragment = `a=ice-lite\nm=audio 9 X 0\na=mid:0\n${fresh.replaceAll("\r", "")}`;
  assert.equal(withIce(answer, fragment), `v=0\r\na=ice-lite\r\n${SECTION(fresh)}`);
});

test("rates and losses are differences between two reports", () => {
  const report = (/** @type {number} */ step) =>
    new Map(
      [
        { id: "T", type: "transport", selectedCandidatePairId: "P" },
        { id: "P", type: "candidate-pair", currentRoundTripTime: 0.02, remoteCandidateId: "R" },
        { id: "R", type: "remote-candidate", protocol: "udp", address: "192.0.2.1", port: 3478 },
        { id: "C", type: "codec", mimeType: "video/VP8" },
        {
          id: "V",
          type: "inbound-rtp",
          kind: "video",
          codecId: "C",
          bytesReceived: 1000 + step * 125_000,
          packetsReceived: 100 + step * 95,
          packetsLost: step * 5,
          framesDecoded: step * 30,
          framesPerSecond: 30,
          frameWidth: 1280,
          frameHeight: 720,
          jitterBufferDelay: step * 3,
          jitterBufferEmittedCount: step * 30,
        },
      ].map((entry) => [entry.id, { ...entry, timestamp: 5000 + step * 1000 }]),
    );
  const { rtt, path, video, audio } = figuresOf(report(2), report(1));
  assert.deepEqual([rtt, path, audio], [0.02, "udp 192.0.2.1:3478", null]);
  assert.deepEqual([video?.codec, video?.bitrate, video?.loss, video?.buffer], ["VP8", 1_000_000, 0.05, 0.1]);
  assert.equal(figuresOf(report(1), new Map()).video?.bitrate, undefined);
});

test("outgoing layers are listed largest first, and the largest one gives the picture", () => {
  const layer = (/** @type {string} */ rid, /** @type {number} */ height) => ({
    id: rid,
    type: "outbound-rtp",
    kind: "video",
    rid,
    frameWidth: height * 2,
    frameHeight: height,
    timestamp: 0,
    remoteId: `r${rid}`,
  });
  const entries = [
    layer("l", 90),
    layer("h", 360),
    layer("m", 180),
    { id: "rh", type: "remote-inbound-rtp", fractionLost: 0.25, timestamp: 0 },
  ];
  const { video } = figuresOf(new Map(entries.map((entry) => [entry.id, entry])), new Map());
  assert.deepEqual(
    video?.layers.map(({ rid }) => rid),
    ["h", "m", "l"],
  );
  assert.deepEqual([video?.height, video?.loss], [360, 0.25]);
});

test("what a server says is read as sentences", () => {
  const said = ["", "the room is full", "Wait.", "really?", "not \"/\""].map(sentence);
  assert.deepEqual(said, ["", "The room is full.", "Wait.", "Really?", "Not \"/\"."]);
});

test("figures are written in a fitting unit", () => {
  assert.deepEqual([undefined, 0, 640_000, 994_000, 2_500_000, 12_340_000].map(bitrateText), [
    "–",
    "0 kbit/s",
    "640 kbit/s",
    "994 kbit/s",
    "2.50 Mbit/s",
    "12.3 Mbit/s",
  ]);
  assert.deepEqual([undefined, 0, 0.004, 0.5].map(percentText), ["–", "0 %", "0.4 %", "50 %"]);
  assert.deepEqual([0, 61_000, 3_725_000].map(clockText), ["00:00", "01:01", "1:02:05"]);
});
