// @ts-check
/**
 * What stands between this browser and the internet, as far as STUN servers show it (RFC 4787 section 4.1): one socket
 * asks several, and either all see it at the same outside address, or each at another. Knows no page.
 */

/** Longest wait for the servers' answers, in milliseconds. Larger: slow networks are seen, pages wait. */
const PATIENCE = 5_000;

/**
 * @typedef {"none" | "independent" | "dependent" | "some" | "blocked" | "unasked"} Nat `none`: the browser's own
 *   address is seen. `independent`: one outside address for all. `dependent`: another one for each. `some`: there is
 *   one, but its kind takes two servers to tell. `blocked`: nobody answers over UDP. `unasked`: nobody to ask.
 */

/**
 * What one gathering showed.
 *
 * @typedef {object} Seen
 * @property {string[]} outside `address port base` of each server-reflexive candidate, over IPv4.
 * @property {number} answered Servers that answered, as far as is known.
 */

/** @param {RTCIceServer[]} servers @returns {Promise<Nat>} */
export async function findNat(servers) {
  const urls = stunUrls(servers);
  return urls.length === 0 ? "unasked" : judge(await gather(urls), urls.length);
}

/** The STUN servers among them, each once. @param {RTCIceServer[]} servers */
export function stunUrls(servers) {
  const all = servers.flatMap(({ urls }) => [urls].flat()).filter((url) => url.startsWith("stun:"));
  return [...new Set(all)];
}

/**
 * @param {Seen} seen
 * @param {number} asked
 * @returns {Nat}
 */
export function judge({ outside, answered }, asked) {
  if (answered === 0) return "blocked";
  // A browser leaves out what equals the address it has anyway.
  if (outside.length === 0) return "none";
  const bases = new Map();
  for (const one of outside) {
    const [address, port, base] = one.split(" ");
    bases.set(base, (bases.get(base) ?? new Set()).add(`${address} ${port}`));
  }
  if ([...bases.values()].some((addresses) => addresses.size > 1)) return "dependent";
  return Math.min(answered, asked) > 1 ? "independent" : "some";
}

/**
 * Asks all of them from one socket.
 *
 * @param {string[]} urls
 * @returns {Promise<Seen>}
 */
async function gather(urls) {
  const connection = new RTCPeerConnection({ iceServers: [{ urls }] });
  connection.createDataChannel("nat");
  /** @type {Set<string>} */
  const outside = new Set();
  /** @type {Set<string>} */
  const silent = new Set();
  /** @type {Promise<boolean>} Whether all have answered, or were given up. */
  const complete = new Promise((resolve) => {
    setTimeout(() => resolve(false), PATIENCE);
    connection.addEventListener("icecandidate", ({ candidate }) => {
      if (!candidate?.candidate) return resolve(true);
      const { type, protocol, address, port, relatedPort } = candidate;
      if (type !== "srflx" || protocol !== "udp" || !address || address.includes(":")) return;
      outside.add(`${address} ${port} ${relatedPort}`);
    });
    // 701: the server was not reached from some address; from others of this computer it may have been.
    connection.addEventListener("icecandidateerror", ({ url }) => url && silent.add(url));
  });
  await connection.setLocalDescription();
  const answered = (await complete) ? urls.filter((url) => !silent.has(url)).length : 0;
  connection.close();
  return { outside: [...outside], answered: outside.size > 0 ? Math.max(answered, 1) : answered };
}
