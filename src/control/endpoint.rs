//! The WHIP and WHEP endpoints: an offer in, a session out (RFC 9725 section 4.2, draft-ietf-wish-whep section 4).
//!
//! What an offer may contain is `sfu::negotiate`'s business; here are the status codes and headers around it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::auth::{Action, Permit};
use super::cors::is_preflight;
use super::events::EventName;
use super::headers::{ACCEPT_PATCH, ACCEPT_POST, SDP, SDP_FRAGMENT};
use super::headers::{append, check_name, entity_tag, link_ice_servers, media_type, read_text, set};
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::sessions::Refused;
use super::{Caller, Control, in_time, mint};
use crate::sfu::ShardIndex;
use crate::sfu::command::{Command, Credential, Join, Reply, Role, SessionId};

const ANSWER: &str = "SDP answer; `Location` is the session URL";
const COUNTER_OFFER: &str = "SDP counter-offer: answer it by PATCH on `Location`";

/// Publish to a room (WHIP)
#[utoipa::path(post, path = "/whip/{room}", tag = "whip",
    request_body(content = String, content_type = "application/sdp", description = "SDP offer"),
    responses(
        (status = 201, description = ANSWER, body = String, content_type = "application/sdp"),
        (status = 400, body = ProblemBody, description = "The offer is malformed"),
        (status = 401, body = ProblemBody, description = "No key or token, or an unknown one"),
        (status = 403, body = ProblemBody, description = "The key or token is not for this, or the room is for two"),
        (status = 409, body = ProblemBody, description = "Somebody else publishes here; `Retry-After`"),
        (status = 413, body = ProblemBody, description = "The offer is too long"),
        (status = 415, body = ProblemBody, description = "Not application/sdp"),
        (status = 422, body = ProblemBody, description = "The offer asks for what the server does not do"),
        (status = 429, body = ProblemBody, description = "Too many requests; `Retry-After`"),
        (status = 503, body = ProblemBody, description = "The server is full or stopping; `Retry-After`")))]
pub(super) async fn publish(
    State(control): State<Control>,
    permit: Permit,
    caller: Caller,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    join(control, permit, caller, &room, Role::Publish, &headers, body).await
}

/// Play a room (WHEP)
#[utoipa::path(post, path = "/whep/{room}", tag = "whep",
    request_body(content = String, content_type = "application/sdp", description = "SDP offer"),
    responses(
        (status = 201, description = ANSWER, body = String, content_type = "application/sdp"),
        (status = 406, description = COUNTER_OFFER, body = String, content_type = "application/sdp"),
        (status = "4XX", body = ProblemBody, description = "As for WHIP; 409 where viewers may not wait"),
        (status = 503, body = ProblemBody, description = "The server is full or stopping; `Retry-After`")))]
pub(super) async fn play_room(
    State(control): State<Control>,
    permit: Permit,
    caller: Caller,
    Path(room): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    join(control, permit, caller, &room, Role::Play { participant: None }, &headers, body).await
}

/// Play one participant of a room (WHEP)
#[utoipa::path(post, path = "/whep/{room}/{participant}", tag = "whep",
    request_body(content = String, content_type = "application/sdp", description = "SDP offer"),
    responses(
        (status = 201, description = ANSWER, body = String, content_type = "application/sdp"),
        (status = 406, description = COUNTER_OFFER, body = String, content_type = "application/sdp"),
        (status = "4XX", body = ProblemBody, description = "As for a room"),
        (status = 503, body = ProblemBody, description = "The server is full or stopping; `Retry-After`")))]
pub(super) async fn play_participant(
    State(control): State<Control>,
    permit: Permit,
    caller: Caller,
    Path((room, participant)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_name("participant", &participant)?;
    let role = Role::Play { participant: Some(participant.into()) };
    join(control, permit, caller, &room, role, &headers, body).await
}

/// Nothing to see: 204 (RFC 9725 section 4.1)
#[utoipa::path(get, path = "/whip/{room}", tag = "whip", responses((status = 204)))]
pub(super) async fn whip_exists(Path(room): Path<String>) -> Result<StatusCode, Problem> {
    check_name("room", &room)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Nothing to see: 204 (RFC 9725 section 4.1)
#[utoipa::path(get, path = "/whep/{room}", tag = "whep", params(("room" = String, Path)),
    responses((status = 204)))]
pub(super) async fn whep_exists(room: Path<String>) -> Result<StatusCode, Problem> {
    whip_exists(room).await
}

/// Nothing to see: 204 (RFC 9725 section 4.1)
#[utoipa::path(get, path = "/whep/{room}/{participant}", tag = "whep", responses((status = 204)))]
pub(super) async fn participant_exists(
    Path((room, participant)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    check_name("participant", &participant)?;
    whip_exists(Path(room)).await
}

/// This is a WHEP endpoint: 200 with `Content-Type: application/sdp`
#[utoipa::path(head, path = "/whep/{room}", tag = "whep", params(("room" = String, Path)),
    responses((status = 200)))]
pub(super) async fn whep_head() -> impl IntoResponse {
    [(header::CONTENT_TYPE, SDP)]
}

/// This is a WHEP endpoint: 200 with `Content-Type: application/sdp`
#[utoipa::path(head, path = "/whep/{room}/{participant}", tag = "whep",
    params(("room" = String, Path), ("participant" = String, Path)),
    responses((status = 200)))]
pub(super) async fn participant_head() -> impl IntoResponse {
    [(header::CONTENT_TYPE, SDP)]
}

/// Who asks what an endpoint takes.
#[derive(FromRequestParts)]
#[from_request(state(Control))]
pub(super) struct Asked {
    #[from_request(via(State))]
    control: Control,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
}

/// What this endpoint takes, and the ICE servers
#[utoipa::path(options, path = "/whip/{room}", tag = "whip", params(("room" = String, Path)),
    responses((status = 200)))]
pub(super) async fn whip_options(asked: Asked) -> Response {
    options(&asked)
}

/// What this endpoint takes, and the ICE servers
#[utoipa::path(options, path = "/whep/{room}", tag = "whep", params(("room" = String, Path)),
    responses((status = 200)))]
pub(super) async fn whep_options(asked: Asked) -> Response {
    options(&asked)
}

/// What this endpoint takes, and the ICE servers
#[utoipa::path(options, path = "/whep/{room}/{participant}", tag = "whep",
    params(("room" = String, Path), ("participant" = String, Path)),
    responses((status = 200)))]
pub(super) async fn participant_options(asked: Asked) -> Response {
    options(&asked)
}

/// Everything between an offer and its answer.
async fn join(
    control: Control,
    permit: Permit,
    caller: Caller,
    room: &str,
    role: Role,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    check_name("room", room)?;
    let publishes = role == Role::Publish;
    permit.require(if publishes { Action::Publish } else { Action::Play }, room)?;
    if media_type(headers).as_deref() != Some(SDP) {
        let detail = "send the offer with `Content-Type: application/sdp`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with_header(ACCEPT_POST, SDP));
    }
    let offer = read_text(body, control.settings().offer_bytes).await?;
    if control.stopping().is_cancelled() {
        return Err(Problem::unavailable("the server is shutting down"));
    }
    let session = mint()?;
    let urls = SessionUrls { session, query: permit.query.clone() };
    let request = Join {
        session,
        room: room.into(),
        // Not known before the session is opened.
        home: ShardIndex(0),
        identity: identity(&permit, publishes, session),
        role,
        credential: permit.credential,
        offer,
        caller: caller.0,
    };
    let reply = create(&control, request).await?;
    let extensions = Extensions::of(publishes, headers);
    let servers = &control.ice_servers(session, caller.0);
    match reply {
        Reply::Joined(joined) => {
            let mut response = (StatusCode::CREATED, joined.answer).into_response();
            describe(response.headers_mut(), &urls, servers, extensions);
            set(response.headers_mut(), header::ETAG, &entity_tag(joined.generation));
            Ok(response)
        }
        Reply::CounterOffer { offer, valid_for } => {
            let mut response = (StatusCode::NOT_ACCEPTABLE, offer).into_response();
            describe(response.headers_mut(), &urls, servers, extensions);
            let until = httpdate::fmt_http_date(SystemTime::now() + valid_for);
            let content_type = format!("{SDP}; valid-until=\"{until}\"");
            set(response.headers_mut(), header::CONTENT_TYPE, &content_type);
            Ok(response)
        }
        other => Err(Problem::unexpected(&other)),
    }
}

/// Opens the session here and on its shard. Runs to its end even when the caller hangs up, so that the two never
/// disagree.
async fn create(control: &Control, mut join: Join) -> Result<Reply, Problem> {
    let (session, room, publishes) = (join.session, Arc::clone(&join.room), join.role == Role::Publish);
    let opened = control.sessions().open(session, &room, publishes, join.credential, Instant::now());
    let opened = match opened {
        Ok(opened) => opened,
        Err(Refused::Full | Refused::Gone) => {
            let limit = control.settings().sessions;
            return Err(Problem::unavailable(format!("the server is full: {limit} sessions (limits.sessions)")));
        }
    };
    tracing::debug!(%session, %room, identity = &*join.identity, publishes, caller = ?join.caller, "session opened");
    let control = control.clone();
    let asked = tokio::spawn(async move {
        let reply = match control.prepare(&opened).await {
            Ok(home) => {
                join.home = home;
                control.ask_patiently(opened.shard, Command::Join(Box::new(join))).await
            }
            Err(problem) => Err(problem),
        };
        if !matches!(reply, Ok(Reply::Joined(_) | Reply::CounterOffer { .. })) {
            control.sessions().abandon(session);
        }
        if let Err(problem) = &reply {
            tracing::info!(%room, publishes, why = problem.detail(), "offer refused");
        }
        reply
    });
    in_time(async { asked.await.unwrap_or_else(|_| Err(Problem::unavailable("the server is shutting down"))) }).await
}

/// The name a participant goes by. Publishers keep theirs across reconnects, so that who watches them by name still
/// does; viewers are many to a key, so theirs are made unique.
fn identity(permit: &Permit, publishes: bool, session: SessionId) -> Arc<str> {
    match (&permit.identity, publishes, permit.credential) {
        (Some(identity), true, _) => Arc::clone(identity),
        (None, true, Credential::Anonymous) => "publisher".into(),
        (None, true, Credential::Token(token)) => format!("publisher-{}", short(&token)).into(),
        (Some(identity), false, _) => format!("{identity}-{}", short(&session.0)).into(),
        (None, false, _) => format!("viewer-{}", short(&session.0)).into(),
    }
}

/// The first 30 bits in six letters: enough to tell names in one room apart, too few to be of use as a secret.
fn short(bytes: &[u8; 16]) -> String {
    data_encoding::BASE32_NOPAD.encode(bytes).to_ascii_lowercase().chars().take(6).collect()
}

/// The URLs of one session, as absolute paths (OBS and Eyevinn's player resolve nothing else right).
struct SessionUrls {
    session: SessionId,
    query: Option<String>,
}

impl SessionUrls {
    fn path(&self, below: &str) -> String {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        format!("/sessions/{}{below}{query}", self.session)
    }
}

/// The headers a created session is described with.
fn describe(headers: &mut HeaderMap, urls: &SessionUrls, servers: &[super::IceServer], extensions: Extensions) {
    set(headers, header::CONTENT_TYPE, SDP);
    set(headers, header::CACHE_CONTROL, "no-store");
    set(headers, ACCEPT_PATCH, SDP_FRAGMENT);
    set(headers, header::LOCATION, &urls.path(""));
    link_ice_servers(headers, servers);
    let mut link = |protocol: &str, name: &str, path: &str, parameters: &str| {
        let rel = format!("urn:ietf:params:{protocol}:ext:core:{name}");
        append(headers, header::LINK, &format!("<{}>; rel=\"{rel}\"{parameters}", urls.path(path)));
    };
    let events = format!("; events=\"{}\"", EventName::ALL.map(EventName::as_str).join(","));
    match extensions {
        Extensions::None => {}
        Extensions::Publisher => link("whip", "server-sent-events", "/events", &events),
        Extensions::Viewer => {
            link("whep", "server-sent-events", "/events", &events);
            link("whep", "layer", "/layer", "");
        }
    }
}

/// The protocol extensions a client is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extensions {
    /// OBS takes any `Link` for an ICE server and complains about it.
    None,
    /// A publisher in a browser can be told how many watch.
    Publisher,
    Viewer,
}

impl Extensions {
    /// Browsers, and only they, send `Origin` with every POST (Fetch standard section 3.2).
    fn of(publishes: bool, request: &HeaderMap) -> Self {
        match (publishes, request.contains_key(header::ORIGIN)) {
            (false, _) => Self::Viewer,
            (true, true) => Self::Publisher,
            (true, false) => Self::None,
        }
    }
}

/// OPTIONS. ICE servers are named to those who may use them, and not on a preflight (RFC 9725 section 4.6).
fn options(Asked { control, method, headers, uri }: &Asked) -> Response {
    const ALLOW: (HeaderName, &str) = (header::ALLOW, "OPTIONS, GET, HEAD, POST");
    let mut response = ([(ACCEPT_POST, SDP), ALLOW], ()).into_response();
    if !is_preflight(method, headers) && control.auth().permit(headers, uri).is_ok() {
        // No session is being created: the credential counts for itself.
        let servers = mint().map(|somebody| control.ice_servers(somebody, None)).unwrap_or_default();
        link_ice_servers(response.headers_mut(), &servers);
    }
    response
}
