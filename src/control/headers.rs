//! HTTP values read and written by hand: media types, entity tags, `Link`, names in paths, bodies with a bound.
//!
//! Only the forms RFC 9725 and its clients use. No SDP: bodies pass through as text.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use futures_util::StreamExt as _;

use super::IceServer;
use super::problem::Problem;
use crate::sfu::command::ExpectedIce;

/// The media type of offers and answers.
pub(super) const SDP: &str = "application/sdp";
/// The media type of trickle and restart fragments (RFC 8840).
pub(super) const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Which media types an endpoint takes in POST (W3C Linked Data Platform section 7.1, used by RFC 9725 section 4.2).
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
/// Which media types a session takes in PATCH (RFC 5789 section 3.1).
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// How long a request body may take to arrive. Larger: slow senders hold connections; smaller: poor networks fail.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How much of a body that is too long is read and thrown away. Larger: more traffic for nothing; smaller: senders of
/// large bodies see a broken connection rather than 413.
const DISCARDED: usize = 4 << 20;

/// Longest room or participant name, in characters. Larger: longer log lines and URLs; smaller: generated names no
/// longer fit.
const NAME_LENGTH: usize = 64;

/// The media type of a request, lower case and without parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    Some(essence.to_ascii_lowercase())
}

/// Reads a whole body as text.
///
/// # Errors
/// 413 beyond `limit` bytes, 408 when it does not arrive, 400 when it is not UTF-8 or breaks off.
pub(super) async fn read_text(body: Body, limit: usize) -> Result<String, Problem> {
    let late = |_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not arrive; send it again");
    let bytes = tokio::time::timeout(BODY_TIMEOUT, read(body, limit)).await.map_err(late)??;
    String::from_utf8(bytes).map_err(|_| Problem::bad_request("the body is not UTF-8 text"))
}

/// A body that is too long is read on for a while: a client that is still sending when the connection closes never sees
/// the answer.
async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut length) = (Vec::new(), 0);
    while length <= DISCARDED
        && let Some(chunk) = chunks.next().await
    {
        let chunk = chunk.map_err(|error| Problem::bad_request(format!("the body broke off: {error}")))?;
        length += chunk.len();
        if length <= limit {
            bytes.extend_from_slice(&chunk);
        }
    }
    if length > limit {
        let detail = format!("the body is longer than the {limit} bytes allowed (limits.offer_size)");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok(bytes)
}

/// Checks a room or participant name: 1 to 64 letters (of any script), digits, `.`, `_`, `~` or `-`.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), Problem> {
    let length = name.chars().count();
    let allowed = |character: char| character.is_alphanumeric() || "._~-".contains(character);
    // URL parsers take the segments `.` and `..` away before a server sees them.
    if (1..=NAME_LENGTH).contains(&length) && name.chars().all(allowed) && name != "." && name != ".." {
        return Ok(());
    }
    Err(Problem::bad_request(format!(
        "the {what} name must be 1 to {NAME_LENGTH} letters, digits, `.`, `_`, `~` or `-`; choose another"
    )))
}

/// The entity tag of an ICE generation: strong and quoted (RFC 9725 section 4.3.1).
pub(super) fn entity_tag(generation: u32) -> String {
    format!("\"g{generation}\"")
}

/// What an `If-Match` header expects.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Precondition {
    /// There is no such header.
    Missing,
    /// It may match.
    Expected(ExpectedIce),
    /// It holds no entity tag this server gives out.
    Unmatchable,
}

/// Reads `If-Match`. `"*"` counts as `*`: the example in RFC 9725 section 4.3.3 quotes it.
///
/// Of several tags the newest generation counts, for only that one can be the current one.
pub(super) fn if_match(headers: &HeaderMap) -> Precondition {
    let mut values = headers.get_all(header::IF_MATCH).iter().peekable();
    if values.peek().is_none() {
        return Precondition::Missing;
    }
    let tags: Vec<&str> =
        values.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim).collect();
    if tags.iter().any(|tag| matches!(*tag, "*" | "\"*\"")) {
        return Precondition::Expected(ExpectedIce::Any);
    }
    let newest = tags.iter().filter_map(|tag| generation(tag)).max();
    newest.map_or(Precondition::Unmatchable, |newest| Precondition::Expected(ExpectedIce::Generation(newest)))
}

/// The generation of a tag made by [`entity_tag`].
fn generation(tag: &str) -> Option<u32> {
    tag.strip_prefix("\"g")?.strip_suffix('"')?.parse().ok()
}

/// Adds one `Link` line per URL of the ICE servers that are of use with this server (RFC 9725 section 4.6). Never
/// joined by commas, and the parameters in this order: OBS and MediaMTX's page read nothing else.
pub(super) fn link_ice_servers(headers: &mut HeaderMap, servers: &[IceServer]) {
    for server in servers.iter().filter(|server| !server.peers_only) {
        for url in &server.urls {
            let mut link = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                let (username, credential) = (quoted(username), quoted(credential));
                link.push_str(&format!("; username={username}; credential={credential}; credential-type=\"password\""));
            }
            append(headers, header::LINK, &link);
        }
    }
}

/// Sets a header, in place of lines it had; a value no header can hold is left out.
pub(super) fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Adds a header line; a value no header can hold is left out.
pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.append(name, value);
    }
}

/// A quoted-string (RFC 9110 section 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_is_read_in_the_shapes_clients_send() {
        let any = Precondition::Expected(ExpectedIce::Any);
        let at = |generation| Precondition::Expected(ExpectedIce::Generation(generation));
        let rows: [(&[&str], Precondition); 10] = [
            (&[], Precondition::Missing),
            (&["*"], any),
            (&["\"*\""], Precondition::Expected(ExpectedIce::Any)),
            (&["\"g0\""], at(0)),
            (&["\"g4294967295\""], at(u32::MAX)),
            (&["\"g1\", \"g7\", \"other\""], at(7)),
            (&["\"g1\"", "\"g2\""], at(2)),
            (&["W/\"g1\""], Precondition::Unmatchable),
            (&["g1"], Precondition::Unmatchable),
            (&["\"g-1\""], Precondition::Unmatchable),
        ];
        for (values, expected) in rows {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| append(&mut headers, header::IF_MATCH, value));
            assert_eq!(if_match(&headers), expected, "{values:?}");
        }
    }

    #[test]
    fn an_entity_tag_is_read_back_as_it_was_written() {
        assert_eq!(generation(&entity_tag(17)), Some(17));
    }

    #[test]
    fn each_ice_server_url_has_a_link_line_of_its_own_in_the_order_obs_and_mediamtx_read() {
        let plain = IceServer { urls: vec!["stun:a:3478".into(), "stun:b:3478".into()], ..IceServer::default() };
        let turn = IceServer {
            urls: vec!["turn:c:3478".into()],
            username: Some("u\"x".into()),
            credential: Some("p".into()),
            ..IceServer::default()
        };
        let peers_only = IceServer { peers_only: true, ..turn.clone() };
        let mut headers = HeaderMap::new();
        link_ice_servers(&mut headers, &[plain, peers_only, turn]);
        let lines: Vec<_> = headers.get_all(header::LINK).iter().map(|value| value.to_str().unwrap()).collect();
        let expected = [
            r#"<stun:a:3478>; rel="ice-server""#,
            r#"<stun:b:3478>; rel="ice-server""#,
            r#"<turn:c:3478>; rel="ice-server"; username="u\"x"; credential="p"; credential-type="password""#,
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn names_are_letters_digits_and_the_unreserved_marks() {
        let long = "a".repeat(NAME_LENGTH);
        let too_long = "a".repeat(NAME_LENGTH + 1);
        let good = ["a", "studio-1", "A.b_c~d", "студия", "会議", "...", &long];
        let bad = ["", ".", "..", "a b", "a/b", "a\0", "<x>", "a%", "\u{202e}x", &too_long];
        for name in good {
            assert!(check_name("room", name).is_ok(), "{name:?}");
        }
        for name in bad {
            assert!(check_name("room", name).is_err(), "{name:?}");
        }
    }
}
