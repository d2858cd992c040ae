// @ts-check
/**
 * The few lines of SDP that an ICE restart by PATCH exchanges (RFC 9725 section 4.3, RFC 8840). Everything else in a
 * description is the browser's business.
 */

/** Lines of an answer that an ICE restart replaces; candidates of the old generation must not survive. */
const ICE_LINE = /^a=(ice-ufrag|ice-pwd|candidate|end-of-candidates)\b/;

/**
 * @param {string} offer Made with `iceRestart: true`.
 * @returns {string} Body of the PATCH, application/trickle-ice-sdpfrag. No candidates: the server is ICE-lite and
 *   learns ours from the checks.
 */
export function iceFragment(offer) {
  const lines = linesOf(offer);
  const first = (/** @type {string} */ start) => lines.find((line) => line.startsWith(start)) ?? "";
  const fragment = [first("a=group:BUNDLE"), first("m="), first("a=mid:"), first("a=ice-ufrag:"), first("a=ice-pwd:")];
  return fragment.filter((line) => line !== "").join("\r\n") + "\r\n";
}

/**
 * @param {string} answer The description in force.
 * @param {string} fragment What the server answered to the PATCH.
 * @returns {string} The description with the server's new credentials and candidates in each of its sections.
 */
export function withIce(answer, fragment) {
  const fresh = linesOf(fragment).filter((line) => ICE_LINE.test(line));
  const kept = linesOf(answer).filter((line) => !ICE_LINE.test(line));
  const result = [];
  for (const [index, line] of kept.entries()) {
    result.push(line);
    const endsSection = index + 1 === kept.length || (kept[index + 1] ?? "").startsWith("m=");
    if (endsSection && kept.slice(0, index + 1).some((earlier) => earlier.startsWith("m="))) result.push(...fresh);
  }
  return result.join("\r\n") + "\r\n";
}

/** @param {string} text */
function linesOf(text) {
  return text.split(/\r?\n/).filter((line) => line !== "");
}
