//! What members are told unasked.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::value::{Binding, ChatMessage, MediaPath, ParticipantInfo, ParticipantState, RoomInfo, TrackInfo};

/// Something happened in the room: `{"event": "participantJoined", "data": {...}}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(tag = "event", content = "data", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// Somebody came.
    ParticipantJoined {
        /// Who.
        participant: ParticipantInfo,
    },
    /// Somebody changed name, metadata, attributes or permissions. Told to that participant, too.
    ParticipantUpdated {
        /// As it is now.
        participant: ParticipantInfo,
    },
    /// Somebody left.
    ParticipantLeft {
        /// Who.
        sid: String,
        /// Why, in a word.
        reason: String,
    },
    /// Somebody's connection was lost or came back.
    ParticipantState {
        /// Who.
        sid: String,
        /// Reachable or not.
        state: ParticipantState,
    },
    /// A track is published.
    TrackPublished {
        /// Whose.
        participant: String,
        /// The track.
        track: TrackInfo,
    },
    /// A track was muted or unmuted, or its codec or size became known. Told to its publisher, too.
    TrackUpdated {
        /// Whose.
        participant: String,
        /// As it is now.
        track: TrackInfo,
    },
    /// A track is no longer published.
    TrackUnpublished {
        /// Whose.
        participant: String,
        /// Its sid.
        track: String,
    },
    /// What the slots carry: always all of them.
    Bindings {
        /// One for each slot.
        bindings: Vec<Binding>,
    },
    /// Who speaks; at most five times a second.
    Speakers {
        /// Those who can be heard, loudest first.
        speakers: Vec<SpeakerLevel>,
        /// The dominant speaker.
        dominant: Option<String>,
    },
    /// The quality of somebody's connection changed.
    Quality {
        /// Whose.
        sid: String,
        /// 5 excellent, 4 good, 3 fair, 2 poor, 1 lost.
        score: u8,
    },
    /// Which encodings of an own track anybody wants: the others need not be sent.
    Layers {
        /// The track.
        track: String,
        /// Each encoding.
        wanted: Vec<LayerWish>,
    },
    /// Somebody wrote.
    Chat {
        /// What.
        message: ChatMessage,
    },
    /// A data message.
    Data {
        /// What it is about.
        topic: String,
        /// Base64.
        payload: String,
        /// Sender's sid.
        from: String,
        /// It was sent reliably.
        reliable: bool,
        /// As in `DataHeader`, for one who has had a channel labelled `reliable`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<u64>,
    },
    /// A message of another member about a direct connection.
    Signal {
        /// Sender's sid.
        from: String,
        /// As it was sent.
        #[cfg_attr(test, ts(type = "unknown"))]
        payload: Value,
    },
    /// Start switching to another path: build it, and keep the old one until frames flow on the new.
    Path {
        /// The path to build.
        path: MediaPath,
        /// Counts the switches; `pathReady` repeats it.
        epoch: u32,
        /// The other member of a direct path.
        #[serde(skip_serializing_if = "Option::is_none")]
        peer: Option<String>,
        /// This side makes the offer.
        #[serde(skip_serializing_if = "Option::is_none")]
        offerer: Option<bool>,
    },
    /// The room's metadata, mode or path changed.
    RoomUpdated {
        /// As it is now.
        room: RoomInfo,
    },
    /// A moderator muted one of your tracks: stop sending.
    Muted {
        /// The track.
        track: String,
        /// The moderator's sid.
        by: String,
    },
    /// The server will stop: reconnect elsewhere soon.
    Draining {
        /// Milliseconds left.
        deadline: u64,
        /// Why.
        reason: String,
    },
    /// The last message before the connection closes.
    Closed {
        /// For programs.
        reason: CloseReason,
        /// For people.
        message: String,
    },
}

/// How loud somebody is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct SpeakerLevel {
    /// Who.
    pub sid: String,
    /// 0 (silent) to 1.
    pub level: f32,
    /// Speaks now.
    pub active: bool,
}

/// Whether an encoding is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
#[serde(rename_all = "camelCase")]
pub struct LayerWish {
    /// The encoding; empty for a track without simulcast.
    pub rid: String,
    /// Somebody wants it.
    pub active: bool,
    /// Frames per second that suffice for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_fps: Option<u32>,
}

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// A moderator removed you.
    Kicked,
    /// A moderator closed the room.
    RoomClosed,
    /// Another connection resumed this session.
    Replaced,
    /// Messages came faster than they were read.
    SlowReader,
    /// The server is stopping.
    ServerStopping,
    /// Somebody joined under the same identity.
    DuplicateIdentity,
    /// Too many requests.
    Flooding,
    /// Nothing was heard for too long.
    Timeout,
    /// You left.
    Left,
}
