//! What crosses a link.

use std::sync::Arc;

use str0m::media::Rid;

use super::Act;
use super::media::{Medium, Opening, Place, Want};
use crate::forward::Urgency;
use crate::rtp::format::Format;
use crate::rtp::{Codec, LayerIndex, MediaKind};
use crate::sfu::outlet::DataMessage;
use crate::sfu::signal::{ChatMessage, Message, ParticipantInfo, RoomInfo};
use crate::sfu::{ShardIndex, TrackKey};

/// Something one half of a room says to another. Not to be lost, and in order.
#[derive(Debug)]
pub struct LinkParcel {
    pub(super) from: ShardIndex,
    pub(super) room: Arc<str>,
    pub(super) message: LinkMessage,
}

#[cfg(test)]
impl LinkParcel {
    /// One that says the least.
    pub(crate) fn bye(from: u16) -> Self {
        Self { from: ShardIndex(from), room: "room".into(), message: LinkMessage::Bye }
    }

    pub(crate) fn sender(&self) -> ShardIndex {
        self.from
    }
}

/// Something of a mirrored track. May be lost.
#[derive(Debug)]
pub struct LinkMedia {
    pub(super) to: Place,
    pub(super) medium: Medium,
}

#[derive(Debug)]
pub(super) enum LinkMessage {
    /// A half has opened and knows nothing yet.
    Hello,
    /// All that is known at home. Opens a half, or brings it up to date.
    State(Box<RoomState>),
    /// A half has closed.
    Bye,
    /// What members are told: to be told there, too, and noted.
    Told { message: Arc<Message>, beside: Beside },
    /// For these participants alone.
    Deliver { to: Vec<String>, message: Arc<Message> },
    /// A data message; `to` is everybody when it names nobody.
    Data { to: Option<Vec<String>>, message: Arc<DataMessage> },
    /// To be done where somebody is.
    Act(Act),
    /// What is wanted of a track there, where it is to go here, and how many are sent it here.
    Want { track: TrackKey, there: Place, want: Want, subscribers: u32 },
    /// Somebody waits for a key frame.
    Keyframe { track: TrackKey, layer: LayerIndex, urgency: Urgency },
    /// A track's packets come from now on; what was known of it before.
    Opening { to: Place, opening: Box<Opening> },
}

/// What a mirror has to know of an event beside what people are told.
#[derive(Debug, Clone, Default)]
pub(super) struct Beside {
    /// Of the tracks the event tells of.
    pub(super) lines: Vec<Line>,
}

/// A track for its mirrors.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) sid: String,
    /// Its key at the half that says this.
    pub(super) key: TrackKey,
    pub(super) kind: MediaKind,
    /// Its encodings, in the order of their indices.
    pub(super) rids: Vec<Option<Rid>>,
    pub(super) formats: Vec<Format>,
    /// What it is sent in, once known.
    pub(super) codec: Option<Codec>,
}

/// A room as its home knows it.
#[derive(Debug)]
pub(super) struct RoomState {
    pub(super) info: Option<RoomInfo>,
    /// Everybody who is not at the half this is for.
    pub(super) people: Vec<(ParticipantInfo, Beside)>,
    pub(super) chat: Vec<ChatMessage>,
    /// Sids of those who dominated, the latest first.
    pub(super) recent: Vec<String>,
}
