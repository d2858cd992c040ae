//! A room for operators: what there is, and what they and moderators change about it.

use super::SessionState;
use crate::rtp::PlayoutDelay;
use crate::sfu::signal::PlayoutLimits;

/// A change; what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoomChange {
    /// Free text for the application.
    pub metadata: Option<String>,
    /// How long receivers hold pictures back; `Some(None)`: as the configuration says.
    pub playout_delay: Option<Option<PlayoutDelay>>,
}

/// One room: `GET /api/v1/rooms`.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct RoomReport {
    /// Its name.
    pub name: String,
    /// Sessions that publish.
    pub publishers: u32,
    /// Sessions that play.
    pub viewers: u32,
    /// Members of its conference.
    pub members: u32,
    /// Free text for the application.
    pub metadata: String,
    /// How long receivers hold pictures back, when the room says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub playout_delay: Option<PlayoutLimits>,
    /// The sessions' ids and roles, for `GET /api/v1/sessions/{id}`.
    pub sessions: Vec<RoomSession>,
}

/// A session as listed in its room.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct RoomSession {
    /// Its id.
    pub id: String,
    /// `publish` or `play`.
    pub role: &'static str,
    /// Its participant's identity.
    pub identity: String,
    /// Where it stands.
    pub state: SessionState,
}
