//! The messages of a room's members, version 1: what a client asks, what it is answered, what it is told.
//!
//! The one place they are defined. [`Request`] and [`Event`] are the core's own words, so the simulator speaks them too
//! and another protocol can be put beside this one; [`Message`] is how they travel as JSON over a WebSocket. The
//! TypeScript declarations for pages and SDK (`web/signalling.d.ts`) are made from these types by a test.
//!
//! Not here: what a request does (`conference`), sockets and limits on them (`control::rooms`).

mod data;
mod event;
mod reply;
mod request;
mod value;

pub use data::{DataAnswer, DataHeader, DataReceipt};
pub use event::{CloseReason, Event, LayerWish, SpeakerLevel};
pub use reply::{
    ChatSent, Joined, Offered, PublishedTrack, RoomLimits, ServerInfo, SessionInfo, SlotStats, Stats, Subscribed,
    TrackStats, Updated,
};
pub use request::{
    Chat, Data, JoinRequest, Kick, Mute, MuteOther, Nothing, OfferRequest, OwnTrack, PathReady, Reasoned, Report,
    Request, Response, Resume, SetMode, Signal, Subscribe, Trickle, Update, UpdateRoom,
};
pub use value::{
    Binding, ChatMessage, IceServer, MediaPath, ParticipantInfo, ParticipantKind, ParticipantState, Permissions,
    PlayoutLimits, RoomInfo, RoomMode, Sender, SubscriptionReason, TrackInfo, TrackSource, Wish,
};

use serde::Serialize;
use serde_json::Value;

/// The version a client must name when it joins.
pub const VERSION: u32 = 1;

/// What the server sends: one JSON object for each text frame.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Message {
    /// The answer to a request.
    Reply {
        /// The request's id.
        id: u64,
        /// What came of it.
        result: Box<Response>,
    },
    /// A request was refused.
    Refusal {
        /// The request's id; `null` when the message had none that could be read.
        id: Option<u64>,
        /// Why.
        error: Failure,
    },
    /// Something happened.
    Event(Box<Event>),
}

/// Why a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, thiserror::Error)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[error("{message}")]
pub struct Failure {
    /// For programs.
    pub code: ErrorCode,
    /// For people: what is wrong and what to do.
    pub message: String,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not a request, or its parameters are wrong.
    BadRequest,
    /// No token, or an unknown one.
    Unauthorized,
    /// The token does not allow it.
    Forbidden,
    /// No such participant, track or session.
    NotFound,
    /// The room has as many members as it may.
    RoomFull,
    /// The server has as many sessions as it may.
    ServerFull,
    /// Too many requests; slow down.
    RateLimited,
    /// A text or payload is longer than allowed.
    TooLarge,
    /// The request needs a `join` first.
    NotJoined,
    /// `join` was said already on this connection.
    AlreadyJoined,
    /// No such method or version, or something this room or server does not do.
    Unsupported,
    /// The SDP offer cannot be used.
    BadOffer,
    /// The server is stopping: join elsewhere.
    Draining,
    /// A defect of the server.
    Internal,
}

impl Failure {
    /// A refusal with its reason.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// A request as it arrives: `{"id": 7, "method": "subscribe", "params": {...}}`.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Chosen by the client, repeated in the answer.
    pub id: u64,
    /// The request.
    pub request: Request,
}

impl Envelope {
    /// Reads a text frame.
    ///
    /// # Errors
    /// With the id, where there is one, so that the refusal can be told apart.
    pub fn parse(text: &str) -> Result<Self, (Option<u64>, Failure)> {
        #[derive(serde::Deserialize)]
        struct Raw {
            id: Option<u64>,
            method: Option<String>,
            #[serde(default)]
            params: Value,
        }
        let bad = |message: String| Failure::new(ErrorCode::BadRequest, message);
        let raw: Raw = serde_json::from_str(text)
            .map_err(|error| (None, bad(format!("not a request: {error}; send {{\"id\", \"method\", \"params\"}}"))))?;
        let Some(id) = raw.id else {
            return Err((None, bad("a request needs an \"id\", a number; the answer repeats it".into())));
        };
        let Some(method) = raw.method else { return Err((Some(id), bad("a request needs a \"method\"".into()))) };
        let params = if raw.params.is_null() { Value::Object(serde_json::Map::new()) } else { raw.params };
        Request::parse(&method, params).map(|request| Self { id, request }).map_err(|failure| (Some(id), failure))
    }
}

#[cfg(test)]
mod tests;
