//! Join tokens: what an application signs for one person and one room, so that nobody has to be given a key.
//!
//! JSON Web Tokens (RFC 7519) signed by HMAC-SHA-256 (`HS256`, RFC 7518 section 3.2) with a key that has `admin =
//! true`, made here on request or by the application itself. The claims are those of LiveKit's access tokens, so its
//! server libraries make them, too. Not here: what a permit allows where ([`super::auth`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use super::Control;
use super::auth::Permit;
use super::headers::{check_name, read_text};
use super::problem::{Problem, ProblemBody};
use crate::sfu::conference::check_introduction;

/// Bytes of a token. The longest metadata fits, and half of the attributes a participant may have. Larger: more is read
/// before the signature is known; smaller: applications can say less of a person.
const MAX_TOKEN: usize = 32_768;

/// How far the clocks of who signs and who checks may be apart (RFC 7519 section 4.1.4 allows for some minutes).
/// Larger: tokens live longer than they say; smaller: a machine whose clock is off signs what is not good yet.
const LEEWAY: Duration = Duration::from_secs(10);

/// How long a token is good when nobody says.
const LIFETIME: u64 = 6 * 60 * 60;

/// How long a token made here may be good: 30 days. Longer: what was given away cannot be taken back.
const LONGEST: u64 = 30 * 24 * 60 * 60;

const EXAMPLE: &str = r#"{"room": "studio", "identity": "ann", "name": "Ann", "metadata": "seat 7"}"#;

/// What a token says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Claims {
    /// When it ends, in seconds since 1970.
    exp: u64,
    /// When it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    /// Identity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sub: Option<String>,
    /// Name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Free text for the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<String>,
    /// Small values for the application.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attributes: Option<BTreeMap<String, String>>,
    pub(super) video: Grant,
}

impl Claims {
    /// The token's time is over: its bearer may not come any more, but stay, and come back after losing the network.
    pub(super) fn has_ended(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now >= Duration::from_secs(self.exp).saturating_add(LEEWAY)
    }
}

/// What a token allows, by LiveKit's names. What is not said is allowed where that is `true` here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Grant {
    pub(super) room: String,
    pub(super) room_join: bool,
    pub(super) can_publish: bool,
    pub(super) can_subscribe: bool,
    /// Unsaid: who may publish.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) can_publish_data: Option<bool>,
    pub(super) can_update_own_metadata: bool,
    /// Moderates the room.
    pub(super) room_admin: bool,
    pub(super) hidden: bool,
    /// Of LiveKit's; not kept to here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    can_publish_sources: Vec<String>,
}

impl Grant {
    /// May publish. What is published is seen, so nobody does who is not to be.
    pub(super) fn publishes(&self) -> bool {
        self.can_publish && !self.hidden
    }
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            room: String::new(),
            room_join: false,
            can_publish: true,
            can_subscribe: true,
            can_publish_data: None,
            can_update_own_metadata: false,
            room_admin: false,
            hidden: false,
            can_publish_sources: Vec::new(),
        }
    }
}

/// Signs join tokens, and checks them.
pub(super) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Signer {
    pub(super) fn new(key: &str) -> Self {
        let key = key.as_bytes();
        Self { encoding: EncodingKey::from_secret(key), decoding: DecodingKey::from_secret(key) }
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// Why a token is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is none, or signed with another key.
    Foreign,
    /// Signed with a key of this server, and yet: why.
    Invalid(Cow<'static, str>),
}

impl Refusal {
    fn invalid(why: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(why.into())
    }
}

/// Whether a bearer token may be a signed one: keys may have dots, too.
pub(super) fn is_signed(token: &str) -> bool {
    token.len() <= MAX_TOKEN && token.split('.').count() == 3
}

/// Reads a token, if it is signed with this key and its time has begun; whether that is over, [`Claims`] tell.
pub(super) fn verify(signer: &Signer, token: &str, now: SystemTime) -> Result<Claims, Refusal> {
    decode_header(token).map_err(|_| Refusal::Foreign)?;
    // Times are checked below, against a clock that is handed in.
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let claims = decode::<Claims>(token, &signer.decoding, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidAlgorithm => Refusal::invalid("is not signed by HS256"),
        ErrorKind::Json(_) => Refusal::invalid("has claims of other types than are understood here"),
        _ => Refusal::Foreign,
    })?;
    let claims = claims.claims;
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if claims.exp == 0 {
        return Err(Refusal::invalid("does not say when it ends (exp)"));
    }
    if claims.nbf.is_some_and(|begins| now + LEEWAY < Duration::from_secs(begins)) {
        return Err(Refusal::invalid("is not good yet (nbf)"));
    }
    if !claims.video.room_join || claims.video.room.is_empty() || claims.video.room.contains('*') {
        return Err(Refusal::invalid("names no room to join (video.roomJoin and video.room)"));
    }
    if !claims.video.can_publish_sources.is_empty() {
        return Err(Refusal::invalid("limits what may be published (video.canPublishSources), which is not kept here"));
    }
    // Everybody in the room is told these, by whichever door the bearer comes.
    let Claims { sub, name, metadata, attributes, .. } = &claims;
    check_introduction(sub.as_deref(), name.as_deref(), metadata.as_deref(), attributes.as_ref())
        .map_err(|failure| Refusal::invalid(format!("says too much: {}", failure.message)))?;
    Ok(claims)
}

/// Signs what a token is to say.
pub(super) fn sign(signer: &Signer, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
    encode(&Header::new(Algorithm::HS256), claims, &signer.encoding)
}

/// A join token to make.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// The room it is for.
    room: String,
    /// Who its bearer is. Two with the same identity are the same person: the later takes the earlier's place.
    identity: Option<String>,
    /// Name for people.
    name: Option<String>,
    /// Free text for the application, which everybody in the room is told.
    metadata: Option<String>,
    /// Small values for the application, told likewise.
    attributes: Option<BTreeMap<String, String>>,
    /// May publish; true unless said otherwise, and never for who is hidden.
    publish: Option<bool>,
    /// May receive; true unless said otherwise.
    play: Option<bool>,
    /// May send messages, which say from whom they are; true unless said otherwise, or hidden.
    data: Option<bool>,
    /// May change its name, metadata and attributes; false unless said otherwise.
    update_metadata: Option<bool>,
    /// Moderates the room; false unless said otherwise.
    moderator: Option<bool>,
    /// Nobody sees that it is there; false unless said otherwise. Not together with `publish`.
    hidden: Option<bool>,
    /// Seconds until it ends; six hours unless said otherwise, 30 days at most. Who is in the room then stays, and may
    /// come back after losing the network; clocks may be 10 s apart.
    lifetime: Option<u64>,
}

/// A join token.
#[derive(Serialize, utoipa::ToSchema)]
pub(super) struct Token {
    /// To be sent as `Authorization: Bearer <token>`, or as `?token=` in a link.
    token: String,
    /// When it ends, in seconds since 1970.
    expires: u64,
}

/// Make a join token for one person and one room (for operators)
#[utoipa::path(post, path = "/api/v1/tokens", tag = "api", request_body = Order,
    responses((status = 201, body = Token), (status = "4XX", body = ProblemBody)))]
pub(super) async fn make(
    State(control): State<Control>,
    permit: Permit,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    permit.require_admin()?;
    let text = read_text(body, MAX_TOKEN).await?;
    let order: Order = serde_json::from_str(&text)
        .map_err(|error| Problem::bad_request(format!("send a JSON object such as {EXAMPLE}: {error}")))?;
    check_name("room", &order.room)?;
    let signer = control.auth().signer(&permit, &order.room)?;
    let lifetime = order.lifetime.unwrap_or(LIFETIME);
    if lifetime == 0 || lifetime > LONGEST {
        return Err(Problem::bad_request(format!("`lifetime` is in seconds, from 1 to {LONGEST}")));
    }
    let hidden = order.hidden.unwrap_or_default();
    if hidden && order.publish == Some(true) {
        return Err(Problem::bad_request(
            "who is `hidden` cannot `publish`: others would see it; leave one of them out",
        ));
    }
    let Order { identity, name, metadata, attributes, .. } = &order;
    check_introduction(identity.as_deref(), name.as_deref(), metadata.as_deref(), attributes.as_ref())
        .map_err(|failure| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, failure.message))?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let expires = now.as_secs() + lifetime;
    let grant = Grant {
        room: order.room,
        room_join: true,
        can_publish: order.publish.unwrap_or(!hidden),
        can_subscribe: order.play.unwrap_or(true),
        can_publish_data: Some(order.data.unwrap_or(!hidden)),
        can_update_own_metadata: order.update_metadata.unwrap_or_default(),
        room_admin: order.moderator.unwrap_or_default(),
        hidden,
        can_publish_sources: Vec::new(),
    };
    let Order { identity: sub, name, metadata, attributes, .. } = order;
    let claims = Claims { exp: expires, nbf: None, sub, name, metadata, attributes, video: grant };
    let token = sign(signer, &claims).map_err(|error| Problem::bad_request(error.to_string()))?;
    if token.len() > MAX_TOKEN {
        let detail = format!("the token would have {} bytes; {MAX_TOKEN} are allowed: say less", token.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(Token { token, expires })))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use data_encoding::BASE64URL_NOPAD;

    use super::*;

    fn encoded(bytes: &[u8]) -> String {
        BASE64URL_NOPAD.encode(bytes)
    }

    fn key(secret: &str) -> Signer {
        Signer::new(secret)
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn claims() -> Claims {
        let video = Grant { room: "studio".into(), room_join: true, ..Grant::default() };
        Claims { exp: 1000, sub: Some("ann".into()), metadata: Some("{}".into()), video, ..Claims::default() }
    }

    #[test]
    fn a_token_is_read_as_it_was_signed_and_refused_when_it_was_not() {
        let (ours, theirs) = (key("secret-of-this-server"), key("another"));
        let token = sign(&ours, &claims()).unwrap();
        assert!(is_signed(&token) && !is_signed("a-key.with-a-dot"));
        assert_eq!(verify(&ours, &token, at(999)), Ok(claims()));
        assert_eq!(verify(&theirs, &token, at(999)), Err(Refusal::Foreign));
        let mut forged = token.clone().into_bytes();
        for index in 0..forged.len() {
            forged[index] ^= 1;
            let text = String::from_utf8(forged.clone()).unwrap();
            assert_eq!(verify(&ours, &text, at(999)), Err(Refusal::Foreign), "byte {index}");
            forged[index] ^= 1;
        }
    }

    #[test]
    fn what_a_token_must_say_is_asked_for() {
        let key = key("secret-of-this-server");
        type Change = fn(&mut Claims);
        let rows: [(&str, Change, u64, &str); 8] = [
            ("endless", |claims| claims.exp = 0, 500, "does not say when"),
            ("early", |claims| claims.nbf = Some(600), 589, "is not good yet"),
            ("no room", |claims| claims.video.room = String::new(), 500, "names no room"),
            ("all rooms", |claims| claims.video.room = "*".into(), 500, "names no room"),
            ("sources", |claims| claims.video.can_publish_sources = vec!["camera".into()], 500, "limits what"),
            ("no join", |claims| claims.video.room_join = false, 500, "names no room"),
            ("long identity", |claims| claims.sub = Some("x".repeat(129)), 500, "says too much: the identity has 129"),
            ("long name", |claims| claims.name = Some("x".repeat(129)), 500, "says too much: the name has 129"),
        ];
        for (name, change, now, expected) in rows {
            let mut claims = claims();
            change(&mut claims);
            let refused = verify(&key, &sign(&key, &claims).unwrap(), at(now)).unwrap_err();
            assert!(matches!(&refused, Refusal::Invalid(why) if why.starts_with(expected)), "{name}: {refused:?}");
        }
        let begins = Claims { nbf: Some(600), ..claims() };
        verify(&key, &sign(&key, &begins).unwrap(), at(590)).unwrap();
        let claims = verify(&key, &sign(&key, &claims()).unwrap(), at(2000)).unwrap();
        assert!(!claims.has_ended(at(1009)), "clocks are not the same everywhere");
        assert!(claims.has_ended(at(1010)));
    }

    #[test]
    fn tokens_of_livekits_libraries_are_understood() {
        // As its access tokens are written, and signed with HMAC-SHA-256 over the first two parts.
        let body = br#"{"exp":1000,"iss":"APIxyz","nbf":10,"sub":"ann","name":"Ann",
            "video":{"room":"studio","roomJoin":true,"canPublishData":false}}"#;
        let hmac = hmac::Key::new(hmac::HMAC_SHA256, b"secret-of-this-server");
        let key = key("secret-of-this-server");
        let signed = |header: &str| format!("{}.{}", encoded(header.as_bytes()), encoded(body));
        let token = |signed: &str| format!("{signed}.{}", encoded(hmac::sign(&hmac, signed.as_bytes()).as_ref()));
        let claims = verify(&key, &token(&signed(r#"{"alg":"HS256"}"#)), at(500)).unwrap();
        let may = (claims.video.publishes(), claims.video.can_publish_data);
        assert_eq!((claims.name.as_deref(), may), (Some("Ann"), (true, Some(false))));
        assert!(!Grant { hidden: true, ..claims.video }.publishes(), "others would see what it publishes");
        for (header, expected) in [
            (r#"{"alg":"none"}"#, Refusal::Foreign),
            (r#"{"alg":"HS512"}"#, Refusal::invalid("is not signed by HS256")),
        ] {
            let signed = signed(header);
            assert_eq!(verify(&key, &token(&signed), at(500)).unwrap_err(), expected, "{header}");
            assert_eq!(verify(&key, &format!("{signed}."), at(500)).unwrap_err(), expected, "{header} unsigned");
        }
    }
}
