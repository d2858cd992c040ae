//! `PATCH /api/v1/rooms/{room}`: what operators change about a room while somebody is in it. What a room begins with is
//! in the configuration.

use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};

use super::Control;
use super::auth::Permit;
use super::headers::{check_name, read_text};
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use crate::sfu::command::{Command, CommandError, Reply, RoomChange};
use crate::sfu::signal::PlayoutLimits;

/// Longest body in bytes: metadata of 4 KiB in which every character is escaped fits.
const CHANGE_BYTES: usize = 32 * 1024;

/// What changes about a room; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    /// Free text for the application, up to 4 KiB. Every member is told.
    metadata: Option<String>,
    /// How long receivers hold pictures back before they show them; `null`: as the configuration says.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<PlayoutLimits>)]
    playout_delay: Option<Option<PlayoutLimits>>,
}

/// Change a room that somebody is in (for operators)
#[utoipa::path(patch, path = "/api/v1/rooms/{room}", tag = "api",
    request_body = Change,
    responses((status = 204), (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(super) async fn change(
    State(control): State<Control>,
    permit: Permit,
    Path(room): Path<String>,
    body: Body,
) -> Result<StatusCode, Problem> {
    check_name("room", &room)?;
    permit.require_admin_of(&room)?;
    let text = read_text(body, CHANGE_BYTES).await?;
    let change: Change = serde_json::from_str(&text)
        .map_err(|error| Problem::bad_request(format!("send a JSON object such as {EXAMPLE}: {error}")))?;
    let playout_delay = match change.playout_delay {
        Some(Some(limits)) => Some(Some(limits.try_into().map_err(Problem::bad_request)?)),
        Some(None) => Some(None),
        None => None,
    };
    let home = control.sessions().home(&room);
    let home = home.ok_or_else(|| CommandError::UnknownRoom { room: room.as_str().into() })?;
    let change = RoomChange { metadata: change.metadata, playout_delay };
    match control.ask(home, Command::ChangeRoom { room: room.into(), change }).await? {
        Reply::Done => Ok(StatusCode::NO_CONTENT),
        other => Err(Problem::unexpected(&other)),
    }
}

const EXAMPLE: &str = r#"{"metadata": "stage=2", "playout_delay": {"min": 200, "max": 600}}"#;

/// Tells `null` from absence.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<PlayoutLimits>>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}
