//! The REST API for programs and operators: rooms, sessions, health, what the pages need to know, and its own
//! description (OpenAPI). Lists are for operators; a session's id is a capability, so its report is for whoever knows
//! it.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::header};
use futures_util::TryFutureExt as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};

use super::auth::Permit;
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::{Caller, Control, IceServer, mint, pages, session as sessions};
use crate::sfu::command::{Command, EndReason, Reply, RoomReport, SessionReport};

/// The head of the OpenAPI description; the handlers add themselves.
#[derive(utoipa::OpenApi)]
#[openapi(modifiers(&Keys), info(
    title = "Crosspoint",
    description = "A Selective Forwarding Unit. Media goes in by WHIP (RFC 9725) and out by WHEP \
                   (draft-ietf-wish-whep). Errors are application/problem+json (RFC 9457). Where keys are configured, \
                   send one as `Authorization: Bearer <key>`."
))]
pub(super) struct Documentation;

/// Says that requests may carry a key or token, so that generated clients can send one.
struct Keys;

impl utoipa::Modify for Keys {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        openapi.components.get_or_insert_default().add_security_scheme(KEY, scheme);
        // An open server wants none.
        let none = SecurityRequirement::default();
        openapi.security = Some(vec![SecurityRequirement::new(KEY, [""; 0]), none]);
    }
}

/// Name of the scheme.
const KEY: &str = "key";

/// What a page needs to know before it starts.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(super) struct Hello {
    /// Version of the server.
    version: &'static str,
    /// A key is needed to publish and to play.
    auth_required: bool,
    /// Servers for `RTCPeerConnection`; empty for a caller that needs a key and has none.
    ice_servers: Vec<IceServer>,
    /// Limits a client can run into.
    limits: Limits,
}

/// Limits a client can run into.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Limits {
    /// Longest offer, answer or fragment in bytes.
    offer_bytes: usize,
    /// Living sessions the server holds at most.
    sessions: usize,
    /// Pictures that a member is to offer slots for.
    video_slots: u32,
    /// Voices that a member is to offer slots for.
    audio_slots: u32,
}

/// What a page needs to know before it starts
#[utoipa::path(get, path = "/api/v1/hello", tag = "api",
    responses((status = 200, body = Hello), (status = "4XX", body = ProblemBody)))]
pub(super) async fn hello(
    State(control): State<Control>,
    caller: Caller,
    headers: HeaderMap,
    uri: Uri,
) -> impl IntoResponse {
    let settings = control.settings();
    // TURN credentials are worth something, so they are not for passers-by.
    let permitted = control.auth().permit(&headers, &uri).is_ok();
    let hello = Hello {
        version: env!("CARGO_PKG_VERSION"),
        auth_required: control.auth().required(),
        ice_servers: mint()
            .ok()
            .filter(|_| permitted)
            .map(|visitor| control.ice_servers(visitor, caller.0))
            .unwrap_or_default(),
        limits: Limits {
            offer_bytes: settings.offer_bytes,
            sessions: settings.sessions,
            video_slots: settings.slots.0,
            audio_slots: settings.slots.1,
        },
    };
    ([(header::CACHE_CONTROL, "no-store")], Json(hello))
}

/// The rooms of this node that the key is for (for operators)
#[utoipa::path(get, path = "/api/v1/rooms", tag = "api",
    responses((status = 200, body = Vec<RoomReport>), (status = "4XX", body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub(super) async fn rooms(State(control): State<Control>, permit: Permit) -> Result<Json<Vec<RoomReport>>, Problem> {
    permit.require_admin()?;
    let mut rooms = Vec::new();
    for reply in control.ask_all(|| Command::Rooms).await? {
        match reply {
            Reply::Rooms(some) => rooms.extend(some.into_iter().filter(|room| permit.covers(&room.name))),
            other => return Err(Problem::unexpected(&other)),
        }
    }
    rooms.sort_by(|a: &RoomReport, b| a.name.cmp(&b.name));
    Ok(Json(rooms.into_iter().fold(Vec::new(), join_halves)))
}

/// Makes one of two reports of the same room, which is spread over shards.
fn join_halves(mut rooms: Vec<RoomReport>, room: RoomReport) -> Vec<RoomReport> {
    match rooms.last_mut().filter(|last| last.name == room.name) {
        Some(last) => {
            last.publishers += room.publishers;
            last.viewers += room.viewers;
            last.members += room.members;
            last.sessions.extend(room.sessions);
        }
        None => rooms.push(room),
    }
    rooms
}

/// Everything about one session, living or recently ended
#[utoipa::path(get, path = "/api/v1/sessions/{session}", tag = "api",
    responses((status = 200, body = SessionReport), (status = "4XX", body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub(super) async fn session(
    State(control): State<Control>,
    Path(session): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let known = session.parse().ok().and_then(|id| control.sessions().find(id)).ok_or_else(Problem::unknown_session)?;
    match control.ask(known.shard, Command::Inspect { session: known.id }).await? {
        Reply::Session(report) => Ok(([(header::CACHE_CONTROL, "no-store")], Json(report))),
        other => Err(Problem::unexpected(&other)),
    }
}

/// End somebody's session (for operators)
#[utoipa::path(delete, path = "/api/v1/sessions/{session}", tag = "api",
    responses((status = 200), (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(super) async fn kick(
    State(control): State<Control>,
    permit: Permit,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    permit.require_admin()?;
    let session = sessions::living(&control, &session)?;
    permit.require_admin_of(&session.room)?;
    sessions::leave(&control, &session, EndReason::Kicked).await
}

/// The process is alive
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// New sessions are welcome: every shard answers, and the server is not stopping
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, body = String), (status = "4XX", body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub(super) async fn ready(State(control): State<Control>) -> Result<&'static str, Problem> {
    if control.stopping().is_cancelled() {
        return Err(Problem::unavailable("the server is shutting down"));
    }
    control.ask_all(|| Command::Stats).map_ok(|_| "ready\n").await
}

/// The OpenAPI description.
pub(super) async fn openapi(description: utoipa::openapi::OpenApi) -> Json<utoipa::openapi::OpenApi> {
    Json(description)
}

/// 404 for paths that do not exist.
pub(super) async fn not_found(headers: HeaderMap) -> Result<Response, Problem> {
    let detail =
        "nothing here; publish at /whip/{room}, play at /whep/{room}, and see /api/v1/openapi.json for the rest";
    pages::missing(Problem::new(StatusCode::NOT_FOUND, detail), &headers)
}

/// 405; the router adds `Allow`.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this URL does not take that method; the Allow header says which it takes",
    )
}
