// @ts-check
/**
 * One WHIP or WHEP session as seen over HTTP (RFC 9725, draft-ietf-wish-whep): created by a POST, restarted by a PATCH,
 * ended by a DELETE, with the extensions its Link headers offer. Knows nothing of media; connection.js drives it.
 */

import { request, ServerError } from "./api.js";

const EVENTS = "server-sent-events";
const LAYER = "layer";

/**
 * @typedef {object} Link
 * @property {string} url
 * @property {string} rel
 * @property {Record<string, string>} parameters
 */

/**
 * @typedef {object} Layer
 * @property {string} mediaId Index of the m-line, as the layer extension wants it.
 * @property {string} rid
 * @property {number} [spatial] Up to this spatial layer of the stream, where it has several.
 * @property {number} [width] Pixels.
 * @property {number} [height] Pixels.
 * @property {number} bitrate Bit/s; 0 is a layer that is not being sent.
 * @property {boolean} wanted False: nobody wants it, so its publisher need not send it.
 */

/**
 * What the server tells of a session, as far as the pages use it.
 *
 * @typedef {object} Report
 * @property {string} summary One sentence on the connection.
 * @property {{ kind: "audio" | "video", reason?: string, sending?: { rid?: string, height?: number } }[]} media
 */

export class Session {
  /** @type {Link[]} */
  #links;
  /** @type {string} */
  #token;

  /**
   * @param {string} url
   * @param {string} answer
   * @param {Link[]} links
   * @param {string} token
   */
  constructor(url, answer, links, token) {
    /** Absolute; the last segment is the session's id. */
    this.url = url;
    /** The server's SDP answer. */
    this.answer = answer;
    this.#links = links;
    this.#token = token;
  }

  /**
   * @param {string} endpoint
   * @param {string} offer SDP.
   * @param {string} token
   * @returns {Promise<Session>}
   */
  static async create(endpoint, offer, token) {
    const headers = { "Content-Type": "application/sdp" };
    const response = await request(endpoint, { method: "POST", headers, body: offer, token });
    const place = response.headers.get("Location");
    if (!place)
      throw new ServerError(response.status, "No session address", "The answer has no Location header.", undefined);
    const links = parseLinks(response.headers.get("Link") ?? "", response.url);
    return new Session(new URL(place, response.url).href, await response.text(), links, token);
  }

  /** STUN and TURN servers the answer came with. @returns {RTCIceServer[]} */
  get iceServers() {
    return this.#links
      .filter((link) => link.rel === "ice-server")
      .map(({ url, parameters: { username, credential } }) => ({ urls: url, username, credential }));
  }

  /** The server takes a wish for one of several layers. */
  get hasLayers() {
    return this.#link(LAYER) !== undefined;
  }

  /**
   * @param {string} fragment application/trickle-ice-sdpfrag with new credentials.
   * @returns {Promise<string>} The server's fragment.
   */
  async restartIce(fragment) {
    const headers = { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*" };
    return (await this.#request(this.url, { method: "PATCH", headers, body: fragment })).text();
  }

  /** @returns {Promise<boolean>} False once the server no longer knows the session. Rejects when it cannot be asked. */
  async isAlive() {
    try {
      await this.#request(this.url);
      return true;
    } catch (problem) {
      if (problem instanceof ServerError && problem.status < 500) return false;
      throw problem;
    }
  }

  /** @returns {Promise<string>} The server's sentence on why the session does not connect; empty if it has none. */
  async summary() {
    return (await this.report())?.summary ?? "";
  }

  /** @returns {Promise<Report | null>} Everything the server knows about this session; null if it does not say. */
  async report() {
    const id = new URL(this.url).pathname.split("/").pop() ?? "";
    try {
      return await (await this.#request(new URL(`/api/v1/sessions/${id}`, this.url))).json();
    } catch {
      return null;
    }
  }

  /**
   * Subscribes to what the server offers to tell.
   *
   * @returns {Promise<EventSource | null>} Null when it offers nothing.
   */
  async events() {
    const link = this.#link(EVENTS);
    if (!link) return null;
    // One name the server does not know makes it refuse the whole list, so ask only for what it advertises.
    const known = ["active", "inactive", "layers", "warnings", "viewercount"];
    const wanted = (link.parameters.events ?? known.join(",")).split(",").filter((name) => known.includes(name));
    const headers = { "Content-Type": "application/json" };
    const response = await this.#request(link.url, { method: "POST", headers, body: JSON.stringify(wanted) });
    const place = response.headers.get("Location");
    return place ? new EventSource(new URL(place, response.url)) : null;
  }

  /**
   * @param {string} mediaId
   * @param {{ rid?: string, spatial?: number } | null} layer Null: the server decides.
   */
  async selectLayer(mediaId, layer) {
    const link = this.#link(LAYER);
    if (!link) return;
    const body = JSON.stringify({ mediaId, rid: layer?.rid, spatialLayerId: layer?.spatial });
    await this.#request(link.url, { method: "POST", headers: { "Content-Type": "application/json" }, body });
  }

  /** Ends it; resolves in any case. The request outlives the page (keepalive). @returns {Promise<void>} */
  async end() {
    await this.#request(this.url, { method: "DELETE", keepalive: true }).catch(() => {});
  }

  /** @param {string} name Last part of the extension's URN: those of WHIP and WHEP differ only before it. */
  #link(name) {
    return this.#links.find(({ rel }) =>
      rel.startsWith("urn:ietf:params:whe") || rel.startsWith("urn:ietf:params:whi") ? rel.endsWith(`:${name}`) : false,
    );
  }

  /**
   * @param {string | URL} url
   * @param {RequestInit} [options]
   */
  #request(url, options = {}) {
    return request(url, { ...options, token: this.#token });
  }
}

/**
 * @param {string} header One Link header, or several joined by commas as fetch joins them (RFC 8288).
 * @param {string} base
 * @returns {Link[]}
 */
export function parseLinks(header, base) {
  const links = [];
  for (const [, target = "", rest = ""] of header.matchAll(
    /<([^>]*)>((?:\s*;\s*[^\s=;,]+(?:=(?:"[^"]*"|[^\s;,]+))?)*)/g,
  )) {
    /** @type {Record<string, string>} */
    const parameters = {};
    for (const [, name = "", quoted, plain] of rest.matchAll(/;\s*([^\s=;,]+)(?:=(?:"([^"]*)"|([^\s;,]+)))?/g)) {
      parameters[name.toLowerCase()] = quoted ?? plain ?? "";
    }
    const isIce = /^(stuns?|turns?):/.test(target);
    links.push({ url: isIce ? target : new URL(target, base).href, rel: parameters.rel ?? "", parameters });
  }
  return links;
}

/**
 * @param {unknown} data Of a `layers` event: an object keyed by m-line, in today's dialect or the older one that nests
 *   the list under `layers` and says `encodingId` for the rid.
 * @returns {Layer[]} Best first, as the server lists them.
 */
export function parseLayers(data) {
  if (typeof data !== "object" || data === null) return [];
  return Object.entries(data).flatMap(([mediaId, value]) => {
    const list = Array.isArray(value) ? value : Array.isArray(value?.layers) ? value.layers : [];
    return list.map((/** @type {Record<string, any>} */ layer) => ({
      mediaId,
      rid: String(layer.rid ?? layer.encodingId ?? ""),
      spatial: layer.spatialLayerId,
      width: layer.width,
      // The draft's own spelling is "heigth".
      height: layer.height ?? layer.heigth,
      bitrate: layer.bitrate ?? 0,
      wanted: layer.wanted !== false,
    }));
  });
}
