// @ts-check
/**
 * Requests to the server, with its errors turned into two types that say what a person can do. Knows HTTP and
 * problem+json (RFC 9457); knows nothing of WebRTC.
 */

import { sentence } from "./client/errors.js";

/** Longest wait for an answer, in milliseconds: larger hides a dead server longer, smaller fails on slow links. */
const PATIENCE = 10_000;

/**
 * @typedef {object} Hello
 * @property {string} version
 * @property {boolean} auth_required Publishing and watching need a key.
 * @property {RTCIceServer[]} [ice_servers]
 * @property {{video_slots: number, audio_slots: number}} limits What a member is to receive at once.
 */

/** The server answered, with a status that is not success. */
export class ServerError extends Error {
  /**
   * @param {number} status
   * @param {string} title
   * @param {string} detail What to do about it, in the server's words.
   * @param {number | undefined} retryAfter Seconds.
   */
  constructor(status, title, detail, retryAfter) {
    super(detail || title);
    this.name = "ServerError";
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

/** No answer at all: the server is down, or the network between. */
export class UnreachableError extends Error {
  constructor() {
    super("The server does not answer. It may be restarting, or this device may be offline.");
    this.name = "UnreachableError";
  }
}

/**
 * @param {string | URL} url
 * @param {RequestInit & { token?: string }} [options] `token` goes out as a bearer token.
 * @returns {Promise<Response>} A successful answer.
 * @throws {ServerError | UnreachableError}
 */
export async function request(url, { token, ...init } = {}) {
  const headers = new Headers(init.headers);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  let response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE), cache: "no-store", ...init, headers });
  } catch {
    throw new UnreachableError();
  }
  if (response.ok) return response;
  throw await asError(response);
}

/** @returns {Promise<Hello>} What the server says about itself. */
export async function hello() {
  return (await request("/api/v1/hello")).json();
}

/** @param {Response} response */
async function asError(response) {
  const retryAfter = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
  const problem = response.headers.get("Content-Type")?.includes("problem+json") ? await readProblem(response) : {};
  return new ServerError(
    response.status,
    typeof problem.title === "string" ? problem.title : response.statusText || `HTTP ${response.status}`,
    typeof problem.detail === "string" ? sentence(problem.detail) : "",
    Number.isNaN(retryAfter) ? undefined : retryAfter,
  );
}

/**
 * @param {Response} response
 * @returns {Promise<Record<string, unknown>>}
 */
async function readProblem(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}
