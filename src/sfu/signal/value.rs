//! The things messages are about: rooms, participants, tracks, bindings, wishes, chat. The words are LiveKit's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rtp::MediaKind;

/// A room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct RoomInfo {
    /// Differs for each time a room of this name is opened.
    pub sid: String,
    /// Its name.
    pub name: String,
    /// Free text for the application.
    pub metadata: String,
    /// How media is to travel.
    pub mode: RoomMode,
    /// How media travels now.
    pub path: MediaPath,
    /// Milliseconds since 1970.
    pub created_at: u64,
    /// How long receivers hold pictures back, when the room says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub playout_delay: Option<PlayoutLimits>,
}

/// Bounds within which receivers choose how long they hold pictures back before they show them, in milliseconds. A
/// larger least is smoother on bad networks, and later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct PlayoutLimits {
    /// The least.
    pub min: u32,
    /// The most, up to 40950.
    pub max: u32,
}

/// How a room's media is to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum RoomMode {
    /// Directly while two members are alone, else over the server.
    Auto,
    /// Over the server.
    #[default]
    Sfu,
    /// Directly between two members; nobody else may come.
    P2p,
}

/// A way media travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum MediaPath {
    /// Over the server.
    Sfu,
    /// Directly.
    P2p,
}

/// Somebody in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct ParticipantInfo {
    /// Names this stay of the participant.
    pub sid: String,
    /// Names the participant; one stay at a time.
    pub identity: String,
    /// For people.
    pub name: String,
    /// Free text for the application.
    pub metadata: String,
    /// Small values for the application. `hand` is the time a hand was raised, in milliseconds since 1970.
    pub attributes: BTreeMap<String, String>,
    /// How it takes part.
    pub kind: ParticipantKind,
    /// Whether it is reachable.
    pub state: ParticipantState,
    /// Milliseconds since 1970.
    pub joined_at: u64,
    /// What it may do.
    pub permissions: Permissions,
    /// Of its connection: 5 excellent, 4 good, 3 fair, 2 poor, 1 lost; 0 for who is not a member.
    #[serde(default)]
    pub quality: u8,
    /// What it publishes.
    pub tracks: Vec<TrackInfo>,
}

/// How a participant takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum ParticipantKind {
    /// A member: it speaks this protocol.
    Standard,
    /// A WHIP publisher.
    Ingress,
    /// A WHEP viewer.
    Egress,
}

/// Whether a participant is reachable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "lowercase")]
pub enum ParticipantState {
    /// It is.
    Active,
    /// Its connection is lost; its place is kept for a while.
    Reconnecting,
}

/// What a participant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct Permissions {
    /// Publish tracks.
    pub can_publish: bool,
    /// Receive tracks.
    pub can_subscribe: bool,
    /// Send chat and data messages.
    pub can_publish_data: bool,
    /// Change its own name, metadata and attributes, and the room's mode.
    pub can_update_metadata: bool,
    /// Mute and remove others, close the room.
    pub admin: bool,
    /// Is not shown to others, and publishes nothing.
    pub hidden: bool,
}

/// A published track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "camelCase")]
pub struct TrackInfo {
    /// Names the track within its room.
    pub sid: String,
    /// Audio or video.
    #[cfg_attr(test, ts(type = "\"audio\" | \"video\""))]
    pub kind: MediaKind,
    /// What it shows.
    pub source: TrackSource,
    /// For people.
    pub name: String,
    /// Nothing is sent on it for now.
    pub muted: bool,
    /// `opus`, `vp8`, `vp9`, `h264`, `h265`, `av1`; empty before the first packet.
    pub codec: String,
    /// Width in pixels of its best layer, 0 before it is known.
    pub width: u16,
    /// Height in pixels of its best layer, 0 before it is known.
    pub height: u16,
    /// It has several encodings.
    pub simulcast: bool,
    /// Its payload is encrypted end to end.
    pub encrypted: bool,
}

/// What a track shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum TrackSource {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen.
    ScreenShare,
    /// The sound of a shared screen.
    ScreenShareAudio,
    /// Something else.
    #[default]
    Unknown,
}

/// What a receiving slot carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Binding {
    /// The slot: the mid of its m-line.
    pub mid: String,
    /// Audio or video.
    #[cfg_attr(test, ts(type = "\"audio\" | \"video\""))]
    pub kind: MediaKind,
    /// The track it carries, or would if the subscriber could decode it.
    pub track: Option<String>,
    /// Whose track that is.
    pub participant: Option<String>,
    /// Why nothing is sent although a track is bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, ts(optional))]
    pub reason: Option<SubscriptionReason>,
}

/// Why a bound track is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionReason {
    /// The subscriber asked for that.
    Paused,
    /// The subscriber's bandwidth is used up by what it wants more.
    NoBandwidth,
    /// The publisher muted it.
    Muted,
    /// The subscriber cannot decode what the track is sent in.
    NoCodec,
}

/// How a member wants to see a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wish {
    /// The track's sid.
    pub track: String,
    /// Height in pixels of its tile on the screen (device pixels); 0 is not shown.
    pub height: u32,
    /// Frames per second that suffice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<u32>,
    /// 0 to 100; 50 unless said otherwise. What is wanted more gets bandwidth first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Comes before everything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    /// Keep the slot, send nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
}

/// A chat message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct ChatMessage {
    /// Names it within the room.
    pub id: String,
    /// Who wrote it.
    pub from: Sender,
    /// What was written.
    pub text: String,
    /// The participants it is for; without: everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<String>>,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// Who wrote a message; it may have left since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct Sender {
    /// Its sid.
    pub sid: String,
    /// Its identity.
    pub identity: String,
    /// Its name.
    pub name: String,
}

/// A STUN or TURN server to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct IceServer {
    /// As in `RTCIceServer`.
    pub urls: Vec<String>,
    /// As in `RTCIceServer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// As in `RTCIceServer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Only for a direct connection with another member. The server's relay stands where the server itself does, and a
    /// browser that uses it over UDP hears nothing else from there.
    pub peers_only: bool,
}
