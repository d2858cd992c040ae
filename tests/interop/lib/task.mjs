// The contract every client script keeps: `<script> publish|watch URL SECONDS [--token=T] [--codec=C] [--simulcast]`
// prints one line of JSON and exits 0 when it connected and media flowed. SIGTERM ends it before its time, in order.
// Also its HTTP half: the POST of the offer and the DELETE of the session (RFC 9725), without trickle, as most clients
// do it.

/**
 * @typedef {object} Task
 * @property {"publish" | "watch"} role
 * @property {string} url WHIP or WHEP endpoint
 * @property {number} seconds how long media shall flow
 * @property {string} token bearer token, or empty
 * @property {string} codec video codec to publish or to ask for: "h264", "vp8"; empty is the stack's own choice
 * @property {boolean} simulcast publish three layers
 */

/**
 * @typedef {object} Report
 * @property {string} stack
 * @property {string} role
 * @property {boolean} connected
 * @property {number | null} connect_ms from the POST to the connected state
 * @property {{packets: number}} audio sent or received
 * @property {{packets: number, frames: number, keyframes: number, codec: string | null, width: number | null}} video
 *   codec: of the media that flowed, null where the stack does not tell; frames: decoded ones, where it decodes
 * @property {string[]} errors
 */

/** Larger: a client that cannot connect holds the tests up for longer; smaller: a busy machine fails them. */
const CONNECT_SECONDS = 30;

/**
 * Runs one role of one stack and ends the process.
 * @param {string} stack
 * @param {Record<"publish" | "watch", (task: Task, report: Report) => Promise<void>>} roles
 */
export async function run(stack, roles) {
  const task = parse(process.argv.slice(2));
  /** @type {Report} */
  const report = {
    stack,
    role: task.role,
    connected: false,
    connect_ms: null,
    audio: { packets: 0 },
    video: { packets: 0, frames: 0, keyframes: 0, codec: null, width: null },
    errors: [],
  };
  try {
    await roles[task.role](task, report);
  } catch (error) {
    report.errors.push(error instanceof Error ? error.message : String(error));
  }
  const flowed = report.video.packets + report.video.frames + report.audio.packets > 0;
  process.stdout.write(JSON.stringify(report) + "\n", () => {
    // Native stacks keep threads alive; the work is done.
    process.exit(report.connected && flowed && report.errors.length === 0 ? 0 : 1);
  });
}

/**
 * Posts the offer. `end` deletes the session: after the connection was closed, as OBS does, which takes anything but
 * 200 for a failure.
 * @param {Task} task
 * @param {string} offer
 * @returns {Promise<{answer: string, end: () => Promise<void>}>}
 */
export async function signal(task, offer) {
  /** @type {Record<string, string>} */
  const headers = task.token ? { Authorization: `Bearer ${task.token}` } : {};
  const response = await fetch(task.url, {
    method: "POST",
    headers: { ...headers, "Content-Type": "application/sdp" },
    body: offer,
  });
  const body = await response.text();
  if (response.status !== 201) throw new Error(`POST ${task.url}: ${response.status} ${body}`);
  const session = new URL(response.headers.get("Location") ?? "", response.url);
  return {
    answer: body,
    end: async () => {
      const ended = await fetch(session, { method: "DELETE", headers });
      if (ended.status !== 200) throw new Error(`DELETE ${session}: ${ended.status} ${await ended.text()}`);
    },
  };
}

/**
 * Resolves when the stack says that it is connected.
 * @param {Report} report
 * @param {(connected: () => void, failed: (state: string) => void) => void} subscribe
 */
export async function connected(report, subscribe) {
  const started = performance.now();
  await new Promise((resolve, reject) => {
    const problem = new Error(`not connected after ${CONNECT_SECONDS} s`);
    const late = setTimeout(() => reject(problem), CONNECT_SECONDS * 1000);
    const failed = (/** @type {string} */ state) => reject(new Error(`connection ${state}`));
    subscribe(() => {
      clearTimeout(late);
      resolve(undefined);
    }, failed);
  });
  report.connected = true;
  report.connect_ms = Math.round(performance.now() - started);
}

/** Resolves after the time, or at SIGTERM. @param {number} seconds */
export function wait(seconds) {
  return new Promise((resolve) => {
    setTimeout(resolve, seconds * 1000);
    process.once("SIGTERM", resolve);
  });
}

/**
 * @param {string[]} words
 * @returns {Task}
 */
function parse(words) {
  const [role, url, seconds] = words.filter((word) => !word.startsWith("--"));
  if ((role !== "publish" && role !== "watch") || !url || !(Number(seconds) > 0)) {
    console.error("usage: publish|watch URL SECONDS [--token=T] [--codec=h264|vp8] [--simulcast]");
    process.exit(2);
  }
  const value = (/** @type {string} */ name) =>
    words.find((word) => word.startsWith(`--${name}=`))?.slice(name.length + 3) ?? "";
  const simulcast = words.includes("--simulcast");
  return { role, url, seconds: Number(seconds), token: value("token"), codec: value("codec"), simulcast };
}
