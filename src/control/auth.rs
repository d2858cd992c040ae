//! Who may do what: a bearer token becomes a [`Permit`], or a 401 or 403 that says how to do better.
//!
//! Tokens are compared by their keyed fingerprints in constant time and are kept nowhere else. No sessions, no cookies:
//! every request carries its token (RFC 9725 section 4.5), except the CORS preflight.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::hmac;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use super::sessions::Session;
use super::tokens::{self, Claims, Grant, Refusal, Signer};
use super::{Caller, Control, cors, forwarded};
use crate::sfu::command::Credential;
use crate::sfu::signal::{JoinRequest, Permissions};

/// Characters of a key that signs join tokens: whoever has a token can try keys at leisure (RFC 7518 section 3.2).
const SIGNING_KEY: usize = 32;

/// What the bearer of a token is told whose time is over.
const ENDED: &str = "this token has ended; ask for a new one";

/// How callers prove who they are.
#[derive(Debug, Clone)]
pub enum AuthMode {
    /// Everybody may publish and play; operators call from this machine. A token that is sent nevertheless tells
    /// callers apart (for take-overs).
    Open,
    /// Only holders of one of these keys.
    Keys(Vec<Key>),
}

/// One key and what it allows.
#[derive(Debug, Clone)]
pub struct Key {
    /// The secret: what the caller sends as its bearer token.
    pub key: String,
    /// Name its holder goes by in rooms; made up when absent.
    pub identity: Option<String>,
    /// May publish.
    pub publish: bool,
    /// May play.
    pub play: bool,
    /// May list rooms and end other people's sessions.
    pub admin: bool,
    /// Rooms it is good for: names in which `*` stands for any run of characters.
    pub rooms: Vec<String>,
}

/// What a caller wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Publish,
    Play,
}

/// What an authenticated caller may do.
#[derive(Debug, Clone)]
pub(super) struct Permit {
    pub(super) credential: Credential,
    pub(super) identity: Option<Arc<str>>,
    /// The `token=...` of the request's query, as it was written. A caller that authenticates by URL alone has nothing
    /// else to authenticate later requests with, so the URLs it is given carry it on.
    pub(super) query: Option<String>,
    grants: Arc<Grants>,
    /// An operator of the server.
    operator: bool,
    /// Place of the key among the keys.
    key: Option<usize>,
    /// What a join token says.
    claims: Option<Arc<Claims>>,
    /// That token's time is over.
    has_ended: bool,
}

impl Permit {
    /// Checks that `action` is allowed in `room` now.
    pub(super) fn require(&self, action: Action, room: &str) -> Result<(), Problem> {
        if self.has_ended {
            return Err(unauthorized(ENDED, Some("invalid_token")));
        }
        self.allows(action, room)
    }

    /// Why a new place in a room is refused although the caller may have had one.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        self.has_ended.then_some(ENDED)
    }

    fn allows(&self, action: Action, room: &str) -> Result<(), Problem> {
        let (granted, verb) = match action {
            Action::Publish => (self.grants.publish, "publish"),
            Action::Play => (self.grants.play, "play"),
        };
        if !granted {
            return Err(forbidden(match self.claims.is_some() {
                true => format!("this token may not {verb}; ask for one that may"),
                false => format!("this key may not {verb}; use one with `{verb} = true`"),
            }));
        }
        if self.covers(room) { Ok(()) } else { Err(self.not_for(room)) }
    }

    /// What the caller may do as a member of `room`, whose place may be older than the end of its token.
    pub(super) fn permissions(&self, room: &str) -> Result<Permissions, Problem> {
        let action = if self.grants.publish { Action::Publish } else { Action::Play };
        self.allows(action, room)?;
        let token = self.claims.as_ref().map(|claims| &claims.video);
        Ok(Permissions {
            can_publish: self.grants.publish,
            can_subscribe: self.grants.play,
            can_publish_data: token.is_none_or(|grant| grant.can_publish_data.unwrap_or(grant.publishes())),
            can_update_metadata: token.is_none_or(|grant| grant.can_update_own_metadata),
            admin: token.map_or(self.grants.admin, |grant| grant.room_admin),
            hidden: token.is_some_and(|grant| grant.hidden),
        })
    }

    /// Has a join say of its member what the token says. What a token leaves open, members say themselves if they may.
    pub(super) fn introduce(&self, request: &mut JoinRequest) {
        let Some(claims) = self.claims.as_deref() else { return };
        request.name = claims.name.clone().or(request.name.take());
        let is_free = claims.video.can_update_own_metadata;
        request.metadata = claims.metadata.clone().or(request.metadata.take().filter(|_| is_free));
        request.attributes = claims.attributes.clone().or(request.attributes.take().filter(|_| is_free));
    }

    /// Checks that the caller is an operator: has a key that says so, or calls from this machine where nobody needs a
    /// key. Lists show session ids, which are all that protects the sessions of others there.
    pub(super) fn require_admin(&self) -> Result<(), Problem> {
        if self.operator {
            return Ok(());
        }
        let open = if self.grants.admin {
            "; without keys in the configuration, call from the server's machine, and not by way of a proxy or of \
             another site's page"
        } else {
            ""
        };
        Err(forbidden(format!("this needs a key with `admin = true`{open}")))
    }

    /// The same for one room: an operator's key is good for its rooms only.
    pub(super) fn require_admin_of(&self, room: &str) -> Result<(), Problem> {
        self.require_admin()?;
        if self.covers(room) { Ok(()) } else { Err(self.not_for(room)) }
    }

    /// Whether the caller's key or token is good for this room.
    pub(super) fn covers(&self, room: &str) -> bool {
        self.grants.rooms.iter().any(|pattern| matches(pattern, room))
    }

    fn not_for(&self, room: &str) -> Problem {
        forbidden(match self.claims.is_some() {
            true => format!("this token is not for room \"{room}\"; ask for one that is"),
            false => format!("this key is not for room \"{room}\"; see its `rooms` in the configuration"),
        })
    }

    /// Checks that the caller may touch a session: its own, or any of its rooms for an operator. In open mode the
    /// session URL is the capability, so whoever knows it may.
    pub(super) fn require_owner(&self, session: &Session) -> Result<(), Problem> {
        if self.credential == session.owner || (self.grants.admin && self.covers(&session.room)) {
            return Ok(());
        }
        Err(forbidden("this session was created with another key or token; use that one".into()))
    }
}

/// The table of keys.
#[derive(Debug)]
pub(super) struct Auth {
    fingerprint_key: hmac::Key,
    mode: Mode,
}

#[derive(Debug)]
enum Mode {
    Open(Arc<Grants>),
    Keys(Vec<KnownKey>),
}

#[derive(Debug)]
struct KnownKey {
    fingerprint: Fingerprint,
    identity: Option<Arc<str>>,
    grants: Arc<Grants>,
    /// Signs join tokens, if it may.
    signer: Option<Signer>,
}

#[derive(Debug)]
struct Grants {
    publish: bool,
    play: bool,
    admin: bool,
    rooms: Vec<String>,
}

type Fingerprint = [u8; 32];

impl Auth {
    /// `secret` is random and lives as long as the process.
    pub(super) fn new(mode: AuthMode, secret: [u8; 32]) -> Self {
        let fingerprint_key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let mode = match mode {
            AuthMode::Open => {
                Mode::Open(Arc::new(Grants { publish: true, play: true, admin: true, rooms: vec!["*".into()] }))
            }
            AuthMode::Keys(keys) => Mode::Keys(
                keys.into_iter()
                    .map(|Key { key, identity, publish, play, admin, rooms }| {
                        let grants = Arc::new(Grants { publish, play, admin, rooms });
                        let signer = (admin && key.len() >= SIGNING_KEY).then(|| Signer::new(&key));
                        let fingerprint = fingerprint(&fingerprint_key, &key);
                        KnownKey { fingerprint, identity: identity.map(Arc::from), grants, signer }
                    })
                    .collect(),
            ),
        };
        Self { fingerprint_key, mode }
    }

    /// Whether callers need a key.
    pub(super) fn required(&self) -> bool {
        matches!(self.mode, Mode::Keys(_))
    }

    /// Turns a request's token into a permit.
    pub(super) fn permit(&self, headers: &HeaderMap, uri: &Uri) -> Result<Permit, Problem> {
        let Presented { token, query } = Presented::read(headers, uri);
        let fingerprint = token.as_deref().map(|token| fingerprint(&self.fingerprint_key, token));
        let permit = |credential, grants: &Arc<Grants>| Permit {
            credential,
            identity: None,
            query: query.clone(),
            grants: Arc::clone(grants),
            operator: false,
            key: None,
            claims: None,
            has_ended: false,
        };
        match (&self.mode, fingerprint) {
            (Mode::Open(grants), None) => Ok(permit(Credential::Anonymous, grants)),
            (Mode::Open(grants), Some(fingerprint)) => Ok(permit(credential(&fingerprint), grants)),
            (Mode::Keys(_), None) => Err(unauthorized("send your key or token as `Authorization: Bearer <key>`", None)),
            (Mode::Keys(keys), Some(presented)) => {
                // Every key is compared, so that the time taken does not say how far down the list a match was.
                let is_it = |key: &KnownKey| bool::from(key.fingerprint.ct_eq(&presented));
                let found = keys
                    .iter()
                    .enumerate()
                    .fold(None, |found, (at, key)| if is_it(key) { Some((at, key)) } else { found });
                if let Some((at, known)) = found {
                    let permit = permit(credential(&known.fingerprint), &known.grants);
                    let (identity, operator) = (known.identity.clone(), known.grants.admin);
                    return Ok(Permit { identity, operator, key: Some(at), ..permit });
                }
                let (claims, grants) = self.read_token(keys, token.as_deref().unwrap_or_default())?;
                let identity = claims.sub.clone().filter(|identity| !identity.is_empty());
                // The same person with another token is the same person.
                let bearer = identity.as_ref().map(|identity| format!("token\n{}\n{identity}", claims.video.room));
                let bearer = bearer.map_or(presented, |bearer| self::fingerprint(&self.fingerprint_key, &bearer));
                let permit = permit(credential(&bearer), &Arc::new(grants));
                let has_ended = claims.has_ended(SystemTime::now());
                Ok(Permit { identity: identity.map(Arc::from), claims: Some(Arc::new(claims)), has_ended, ..permit })
            }
        }
    }

    /// Reads a join token that one of the keys has signed, and what it grants of what that key may grant.
    fn read_token(&self, keys: &[KnownKey], token: &str) -> Result<(Claims, Grants), Problem> {
        let foreign = "this key or token is not known here; check it for typing errors";
        let refused = |detail: &str| unauthorized(detail, Some("invalid_token"));
        if !tokens::is_signed(token) {
            return Err(refused(foreign));
        }
        let now = SystemTime::now();
        for known in keys {
            let Some(signer) = &known.signer else { continue };
            let claims = match tokens::verify(signer, token, now) {
                Ok(claims) => claims,
                Err(Refusal::Foreign) => continue,
                Err(Refusal::Invalid(why)) => return Err(refused(&format!("this token {why}"))),
            };
            let Grant { room, can_subscribe: play, .. } = &claims.video;
            if !known.grants.rooms.iter().any(|pattern| matches(pattern, room)) {
                return Err(forbidden(format!("this token was signed with a key that is not for room \"{room}\"")));
            }
            let grants =
                Grants { publish: claims.video.publishes(), play: *play, admin: false, rooms: vec![room.clone()] };
            return Ok((claims, grants));
        }
        Err(refused("this token was signed with no key of this server that has `admin = true`"))
    }

    /// The key of an operator that signs tokens for a room.
    pub(super) fn signer(&self, permit: &Permit, room: &str) -> Result<&Signer, Problem> {
        let Mode::Keys(keys) = &self.mode else {
            let detail = "there are no keys, so everybody may join without a token; see [auth] in the configuration";
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        };
        let known = permit.key.and_then(|at| keys.get(at));
        let known = known.filter(|known| known.grants.rooms.iter().any(|pattern| matches(pattern, room)));
        let Some(known) = known else {
            let detail = format!("this key is not for room \"{room}\"; see its `rooms` in the configuration");
            return Err(forbidden(detail));
        };
        known.signer.as_ref().ok_or_else(|| {
            forbidden(format!(
                "this key is too short to sign with: who has a token could find it by trying; give it {SIGNING_KEY} \
                 random characters (`openssl rand -hex {}`)",
                SIGNING_KEY / 2
            ))
        })
    }
}

impl FromRequestParts<Control> for Permit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Problem> {
        let mut permit = control.auth().permit(&parts.headers, &parts.uri)?;
        let Ok(Caller(caller)) = Caller::from_request_parts(parts, control).await;
        let is_here = caller.is_none_or(|ip| ip.is_loopback()) && !forwarded::is_passed_on(&parts.headers);
        let is_asked_for = cors::is_trusted(&control.settings().allowed_origins, &parts.headers);
        permit.operator |= !control.auth().required() && is_here && is_asked_for;
        Ok(permit)
    }
}

/// A token as a request carried it.
struct Presented {
    token: Option<String>,
    query: Option<String>,
}

#[derive(serde::Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

impl Presented {
    fn read(headers: &HeaderMap, uri: &Uri) -> Self {
        if let Some(token) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(bearer) {
            return Self { token: Some(token.to_owned()), query: None };
        }
        let token = Query::<TokenQuery>::try_from_uri(uri).ok().and_then(|Query(query)| query.token);
        let token = token.filter(|token| !token.is_empty());
        let written = uri.query().and_then(|query| query.split('&').find(|pair| pair.starts_with("token=")));
        Self { query: token.is_some().then(|| written.map(str::to_owned)).flatten(), token }
    }
}

/// The token of an `Authorization` header: `Bearer <token>` with the scheme in any case (RFC 9110 section 11.1), or the
/// bare token, which is what Eyevinn's player sends.
fn bearer(value: &str) -> Option<&str> {
    let value = value.trim();
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        Some(_) => None,
        None if value.eq_ignore_ascii_case("bearer") => None,
        None => Some(value),
    }
    .filter(|token| !token.is_empty())
}

fn fingerprint(key: &hmac::Key, token: &str) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hmac::sign(key, token.as_bytes()).as_ref());
    bytes
}

fn credential(fingerprint: &Fingerprint) -> Credential {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&fingerprint[..16]);
    Credential::Token(bytes)
}

/// Whether `pattern`, in which `*` stands for any run of characters, covers the whole of `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(tail, &rest[at..]))
        }),
    }
}

fn forbidden(detail: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, detail)
}

fn unauthorized(detail: &str, error: Option<&str>) -> Problem {
    let mut challenge = r#"Bearer realm="crosspoint""#.to_owned();
    if let Some(error) = error {
        challenge.push_str(&format!(r#", error="{error}""#));
    }
    Problem::new(StatusCode::UNAUTHORIZED, detail).with_header(header::WWW_AUTHENTICATE, challenge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_from_the_shapes_clients_send() {
        let rows = [
            (Some("Bearer abc"), "/", Some("abc")),
            (Some("bearer abc"), "/", Some("abc")),
            (Some("BEARER   abc "), "/", Some("abc")),
            (Some("abc"), "/", Some("abc")),
            (Some("Bearer"), "/", None),
            (Some("Bearer "), "/", None),
            (Some("Basic YWJj"), "/", None),
            (None, "/", None),
            (None, "/?token=abc", Some("abc")),
            (None, "/?a=b&token=a%20c", Some("a c")),
            (None, "/?token=", None),
            (Some("Bearer abc"), "/?token=other", Some("abc")),
        ];
        for (authorization, uri, expected) in rows {
            let mut headers = HeaderMap::new();
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            }
            let token = Presented::read(&headers, &uri.parse().unwrap()).token;
            assert_eq!(token.as_deref(), expected, "{authorization:?} {uri}");
        }
    }

    #[test]
    fn a_room_pattern_covers_whole_names() {
        let rows = [
            ("*", "anything", true),
            ("studio", "studio", true),
            ("studio", "studio2", false),
            ("studio-*", "studio-1", true),
            ("studio-*", "other-1", false),
            ("*-live", "news-live", true),
            ("*-live", "news-live-2", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("über*", "übermut", true),
            ("", "x", false),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
