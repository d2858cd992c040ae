//! What requests are answered.

use serde::{Deserialize, Serialize};

use super::value::{Binding, ChatMessage, IceServer, ParticipantInfo, RoomInfo, SubscriptionReason};

/// The reply to `join`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// To resume by.
    pub session: SessionInfo,
    /// The place was taken up again; tracks and slots of other m-lines than in this offer are gone.
    pub resumed: bool,
    /// The room.
    pub room: RoomInfo,
    /// You.
    pub participant: ParticipantInfo,
    /// The others.
    pub participants: Vec<ParticipantInfo>,
    /// SDP, when there was an offer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// Sids of the own tracks, by m-line.
    pub tracks: Vec<PublishedTrack>,
    /// What the slots carry.
    pub bindings: Vec<Binding>,
    /// The latest messages to everybody.
    pub chat: Vec<ChatMessage>,
    /// Where the count of the events that are told stands, which `after` of data messages names. It never goes back.
    pub events: u64,
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Bounds.
    pub limits: RoomLimits,
    /// The server.
    pub server_info: ServerInfo,
}

/// What a session is resumed by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Its id.
    pub id: String,
    /// Proves that it is yours.
    pub resume_secret: String,
    /// Milliseconds a lost connection's place is kept.
    pub resume_window: u64,
}

/// An own track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PublishedTrack {
    /// Its m-line.
    pub mid: String,
    /// What others know it by.
    pub sid: String,
}

/// Bounds a client should know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct RoomLimits {
    /// Bytes of a message.
    pub message: u32,
    /// Video slots that are worth offering.
    pub video_slots: u32,
    /// Audio slots that are worth offering.
    pub audio_slots: u32,
}

/// The server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
}

/// The reply to `offer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Offered {
    /// SDP.
    pub answer: String,
    /// Sids of the own tracks, by m-line.
    pub tracks: Vec<PublishedTrack>,
    /// What the slots carry.
    pub bindings: Vec<Binding>,
}

/// The reply to `subscribe`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Subscribed {
    /// What the slots carry now.
    pub bindings: Vec<Binding>,
}

/// The reply to `update`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Updated {
    /// As it is now.
    pub participant: ParticipantInfo,
}

/// The reply to `chat`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct ChatSent {
    /// As it was sent.
    pub message: ChatMessage,
}

/// The server's view of a member's media.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Milliseconds, from RTCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f32>,
    /// Estimated bandwidth to this member in bit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
    /// 5 excellent to 1 lost.
    pub score: u8,
    /// Each receiving slot.
    pub slots: Vec<SlotStats>,
    /// Each own track.
    pub tracks: Vec<TrackStats>,
}

/// A receiving slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct SlotStats {
    /// Its m-line.
    pub mid: String,
    /// The track it carries.
    pub track: Option<String>,
    /// Encoding that is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Height in pixels of what is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Bit/s of what is sent.
    pub bitrate: u64,
    /// Packets sent on it so far.
    pub packets: u64,
    /// Fraction lost, as the client reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f32>,
    /// Why nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<SubscriptionReason>,
    /// Why it is this layer, for people.
    pub explanation: String,
}

/// An own track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct TrackStats {
    /// Its sid.
    pub sid: String,
    /// Packets received.
    pub packets: u64,
    /// Fraction lost on the way to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f32>,
    /// Who receives it.
    pub subscribers: u32,
}
