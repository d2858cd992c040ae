// @ts-check
/** The page that checks the connection: the browser calls itself over each way, and says what to do about failures. */

import { hello, ServerError } from "./api.js";
import { adoptToken, rememberToken, tokenFor } from "./room.js";
import { findNat, stunUrls } from "./nat.js";
import { callOneself, NotOffered } from "./selfcall.js";
import { byId, announce, showNotice, wireTheme } from "./ui.js";

/** @typedef {"good" | "bad" | "busy" | "none"} Tone */

/** @type {{ name: string, way: import("./selfcall.js").Way, remedy: string }[]} */
const WAYS = [
  {
    name: "Directly over UDP, IPv4",
    way: { policy: "all", relay: "", candidates: " udp ", family: 4 },
    remedy:
      "This network lets no UDP out, or the server tells a wrong address. Whoever runs it can set media.public_ip " +
      "and open its UDP port.",
  },
  {
    name: "Directly over UDP, IPv6",
    way: { policy: "all", relay: "", candidates: " udp ", family: 6 },
    remedy: "This network or the server's has no IPv6, or a firewall keeps UDP out of it. Calls then use IPv4.",
  },
  {
    name: "Directly over TCP",
    way: { policy: "all", relay: "", candidates: "tcptype passive" },
    remedy: "The server's TCP port is closed on the way, or media.tcp is off.",
  },
  {
    name: "Relayed over UDP",
    way: { policy: "relay", relay: "transport=udp", candidates: " udp " },
    remedy: "The relay does not answer over UDP, or turn.mode is off.",
  },
  {
    name: "Relayed over TCP",
    way: { policy: "relay", relay: "transport=tcp", candidates: " udp " },
    remedy: "The relay does not answer over TCP, or turn.mode is off.",
  },
  {
    name: "Relayed over TLS",
    way: { policy: "relay", relay: "turns:", candidates: " udp " },
    remedy: "The server offers no relay over TLS; it needs a certificate (http.tls_cert) and turn.host.",
  },
];

/** @type {Record<import("./nat.js").Nat, { tone: Tone, state: string, detail: string }>} */
const NATS = {
  none: { tone: "good", state: "None", detail: "The server sees this browser's own address." },
  independent: {
    tone: "good",
    state: "Easy",
    detail: "One outside address for everybody (endpoint-independent mapping): direct calls between browsers work.",
  },
  dependent: {
    tone: "bad",
    state: "Strict",
    detail:
      "Another outside port for everybody it talks to (symmetric NAT): calls through the server work, direct ones " +
      "with another browser often need the relay, so turn.mode should be on.",
  },
  some: {
    tone: "good",
    state: "Some",
    detail:
      "There is address translation. Which kind cannot be told with one STUN server; whoever runs the server can " +
      "name a second one in ice.servers.",
  },
  blocked: {
    tone: "bad",
    state: "Unknown",
    detail: "No STUN server answers: this network lets no UDP out, or the server's UDP port is closed.",
  },
  unasked: { tone: "none", state: "Unknown", detail: "The server names no STUN server that could tell." },
};

/** @type {Record<string, string>} */
const DEVICE_PROBLEMS = {
  NotAllowedError: "The browser was told not to: allow camera and microphone in the address bar, and in the system.",
  NotFoundError: "There is no camera or no microphone.",
  NotReadableError: "Another program holds the camera or the microphone: close it.",
  TypeError: "Browsers give camera and microphone only to HTTPS pages and to localhost.",
};

const ways = byId("ways", HTMLOListElement);
const again = byId("again", HTMLButtonElement);
const verdict = byId("verdict");

adoptToken("");
wireTheme();
again.addEventListener("click", () => void check());
byId("devices").addEventListener("click", () => void tryDevices());
byId("copy").addEventListener("click", () => void copyReport());
await check();

async function check() {
  again.disabled = true;
  showNotice(byId("notice"), null);
  say("busy", "Checking");
  const rows = WAYS.map(({ name }) => addRow(name));
  let works = 0;
  try {
    const { ice_servers: iceServers = [] } = await hello();
    for (const [index, { way, remedy }] of WAYS.entries()) {
      const row = rows[index];
      if (!row) continue;
      works += Number(await checkWay(row, way, remedy, iceServers));
    }
    await checkNat(iceServers);
    const some = `${works} of ${WAYS.length} ways work.`;
    if (works === 0) say("bad", "No call gets through from here.");
    else say("good", works === WAYS.length ? "Every way works." : `Calls get through: ${some}`);
  } catch (problem) {
    say("bad", problem instanceof Error ? problem.message : String(problem));
    if (problem instanceof ServerError && problem.status === 401) askForKey();
  }
  again.disabled = false;
}

/**
 * @param {HTMLElement} row
 * @param {import("./selfcall.js").Way} way
 * @param {string} remedy
 * @param {RTCIceServer[]} servers
 * @returns {Promise<boolean>} Whether it works.
 */
async function checkWay(row, way, remedy, servers) {
  const offered = servers.filter(({ urls }) => [urls].flat().some((url) => isFor(url, way)));
  if (way.policy === "relay" && offered.length === 0) {
    show(row, "none", "Not offered", remedy);
    return false;
  }
  show(row, "busy", "Checking", "");
  const usable = (/** @type {RTCIceServer} */ { urls }) => [urls].flat().filter((url) => isFor(url, way));
  const iceServers = offered.map((server) => ({ ...server, urls: usable(server) }));
  const room = `check-${crypto.randomUUID().slice(0, 8)}`;
  try {
    const { rtt, loss, local } = await callOneself(way, { iceServers, token: tokenFor(""), room });
    const lost = loss > 0 ? `${(loss * 100).toFixed(1)} % lost` : "nothing lost";
    show(row, "good", "Works", `${rtt.toFixed(0)} ms there and back, ${lost}; from ${local}.`);
    return true;
  } catch (problem) {
    if (problem instanceof ServerError) throw problem;
    if (problem instanceof NotOffered) {
      show(row, "none", "Not offered", remedy);
      return false;
    }
    const what = problem instanceof Error ? problem.message : String(problem);
    show(row, "bad", "Fails", `${what[0]?.toUpperCase()}${what.slice(1)}. ${remedy}`);
    return false;
  }
}

/** Which kind of NAT is in between. @param {RTCIceServer[]} servers */
async function checkNat(servers) {
  const row = addRow("Address translation (NAT)");
  show(row, "busy", "Checking", "");
  const { tone, state, detail } = NATS[await findNat(servers)];
  const asked = stunUrls(servers).length;
  show(row, tone, state, asked > 1 ? `${detail} ${asked} STUN servers were asked.` : detail);
}

/** `turns:` servers have `transport=tcp`, too. @param {string} url @param {import("./selfcall.js").Way} way */
function isFor(url, way) {
  const scheme = way.relay === "turns:" ? "turns:" : "turn:";
  return way.relay !== "" && url.startsWith(scheme) && url.includes(way.relay);
}

/** @param {string} name */
function addRow(name) {
  const existing = [...ways.children].find((row) => row.querySelector(".name")?.textContent === name);
  const row = existing instanceof HTMLElement ? existing : document.createElement("li");
  if (!existing) {
    for (const part of ["state", "name", "detail"]) {
      const cell = document.createElement("span");
      cell.className = part;
      if (part === "name") cell.textContent = name;
      row.append(cell);
    }
    ways.append(row);
  }
  show(row, "none", "Waits", "");
  return row;
}

/** @param {HTMLElement} row @param {Tone} tone @param {string} state @param {string} detail */
function show(row, tone, state, detail) {
  row.dataset.tone = tone;
  const [stateCell, , detailCell] = row.children;
  if (stateCell) stateCell.textContent = state;
  if (detailCell) detailCell.textContent = detail;
}

/** @param {Tone} tone @param {string} text */
function say(tone, text) {
  verdict.dataset.tone = tone;
  verdict.textContent = text;
}

function askForKey() {
  showNotice(byId("notice"), {
    tone: "note",
    title: "This server asks for a key",
    detail: "A key that may publish and play lets the check call through it.",
    withKey: (key) => {
      rememberToken("", key);
      void check();
    },
  });
}

async function tryDevices() {
  const result = byId("devices-result");
  result.textContent = "Asking the browser";
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true, video: true });
    const names = stream.getTracks().map((track) => track.label || track.kind);
    stream.getTracks().forEach((track) => track.stop());
    result.textContent = `Camera and microphone work: ${names.join(", ")}.`;
  } catch (problem) {
    const name = problem instanceof Error ? problem.name : "";
    result.textContent = `${DEVICE_PROBLEMS[name] ?? "The browser cannot open them."} (${name || "no mediaDevices"})`;
  }
}

async function copyReport() {
  const rows = [...ways.children].map((row) => [...row.children].map((cell) => cell.textContent).join(": "));
  const text = [verdict.textContent, ...rows, navigator.userAgent].join("\n");
  try {
    await navigator.clipboard.writeText(text);
    announce("Copied the report.");
    byId("copy").textContent = "Copied";
  } catch {
    byId("copy").textContent = "The browser does not allow copying here";
  }
}
