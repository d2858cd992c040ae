//! What the control plane asks of an [`Sfu`](super), what it answers, and what it tells unasked.
//!
//! All values: they cross a thread boundary. Delivery: commands and replies are reliable (a full mailbox refuses at
//! once); events are lossy for a reader that does not keep up, with the loss counted.

mod connectivity;
mod room;
mod session_id;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use connectivity::{CarriedBy, Connectivity};
pub use room::{RoomChange, RoomReport, RoomSession};
pub use session_id::{SessionId, UnparsableSessionId};

use super::failure::Failure;
use super::signal;
use crate::rtp::{Codec, MediaKind};

/// A request to one `Sfu`. The shell pairs it with its [`Reply`] by the id it was handed in with.
#[derive(Debug)]
pub enum Command {
    /// A WHIP or WHEP POST: negotiate and create the session. Answered by `Joined`, `CounterOffer` or `Failed`.
    Join(Box<Join>),
    /// The answer to a `CounterOffer` (draft-ietf-wish-whep section 4.2). Answered by `Done`.
    Answer {
        /// The session the counter-offer was made for.
        session: SessionId,
        /// The client's SDP answer.
        answer: String,
    },
    /// A trickle or ICE-restart PATCH (RFC 9725 section 4.3). Answered by `Done` (trickle) or `Restarted`.
    Patch {
        /// The session.
        session: SessionId,
        /// What the client says it believes the current ICE generation to be.
        expected: ExpectedIce,
        /// The body: application/trickle-ice-sdpfrag.
        fragment: String,
    },
    /// A member's `join`. Answered by `Done`, and by a message to its link, or by `Refused`.
    Enter(Box<super::conference::Enter>),
    /// What a member asks. Answered by `Done`, and by a message to its link.
    Request {
        /// The member.
        session: SessionId,
        /// Over which link it was asked.
        link: Link,
        /// Repeated in the answer.
        id: u64,
        /// What is asked.
        request: Box<signal::Request>,
    },
    /// A member's link is gone. Answered by `Done`.
    Unlinked {
        /// The member.
        session: SessionId,
        /// The link.
        link: Link,
        /// What it looked like.
        parting: Parting,
    },
    /// Somebody of this room, which is at home here, will be placed on another shard. Answered by `Done` when that
    /// shard has been sent what it needs to know.
    Spill {
        /// The room.
        room: Arc<str>,
        /// The other shard.
        to: super::ShardIndex,
    },
    /// Tell all members that the server will stop. Answered by `Done`.
    Drain {
        /// How long it stays.
        remaining: Duration,
    },
    /// End a session. Answered by `Done`.
    Leave {
        /// The session.
        session: SessionId,
        /// Why, for the log, the peer and the session's record.
        reason: EndReason,
    },
    /// The WHEP layer extension. Answered by `Done`.
    SelectLayer {
        /// The session.
        session: SessionId,
        /// What the viewer wants.
        selection: LayerSelection,
    },
    /// Change what a room that is at home here says of itself. Answered by `Done`.
    ChangeRoom {
        /// The room.
        room: Arc<str>,
        /// What changes.
        change: RoomChange,
    },
    /// Describe one session, living or recently ended. Answered by `Session`.
    Inspect {
        /// The session.
        session: SessionId,
    },
    /// Describe every room of this `Sfu`. Answered by `Rooms`.
    Rooms,
    /// Copy out the counters. Answered by `Stats`.
    Stats,
    /// End all sessions (DTLS close_notify to each) and refuse new ones. Answered by `Done` at once.
    Shutdown,
}

/// A participant that wants in.
#[derive(Debug, Clone)]
pub struct Join {
    /// Minted by the control plane: 128 random bits.
    pub session: SessionId,
    /// The room.
    pub room: Arc<str>,
    /// The shard it is at home on.
    pub home: super::ShardIndex,
    /// Publish or play.
    pub role: Role,
    /// Who it is; unique within a room. From the key, or made up.
    pub identity: Arc<str>,
    /// Stands for the credential used, so that the same one may take over from its own dead session.
    pub credential: Credential,
    /// The SDP offer.
    pub offer: String,
    /// Address the HTTP request came from: a caller on loopback gets loopback candidates.
    pub caller: Option<IpAddr>,
}

/// How somebody takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// A member of a conference: publishes and receives, over one connection, and speaks [`signal`](super::signal).
    Member,
    /// WHIP.
    Publish,
    /// WHEP.
    Play {
        /// Only this participant's tracks; `None` is whatever the room publishes.
        participant: Option<Arc<str>>,
    },
}

/// A fingerprint of the credential a request carried (not the credential). Requests without one are all `Anonymous`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// No credential: the server is open.
    Anonymous,
    /// Keyed hash of the token.
    Token([u8; 16]),
}

/// What an `If-Match` header said about the ICE generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedIce {
    /// `*`: whatever it is now.
    Any,
    /// This generation, from the ETag of an earlier answer.
    Generation(u32),
}

/// What a viewer wants to see (WHEP layer extension, both dialects reduced to one).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayerSelection {
    /// m-line index ("mediaId") it applies to; `None`: every video slot.
    pub media: Option<u8>,
    /// Encoding by its rid; `None`: automatic.
    pub rid: Option<String>,
    /// Cap on the picture width.
    pub max_width: Option<u32>,
    /// Cap on the picture height.
    pub max_height: Option<u32>,
    /// Cap or choice of the spatial layer.
    pub spatial: Option<u8>,
    /// Cap or choice of the temporal layer.
    pub temporal: Option<u8>,
}

/// The answer to a [`Command`].
#[derive(Debug)]
pub enum Reply {
    /// The session exists.
    Joined(Joined),
    /// None of the viewer's codecs fit what is published: here is what the server can send.
    CounterOffer {
        /// SDP offer of the server.
        offer: String,
        /// How long an answer is waited for.
        valid_for: Duration,
    },
    /// Done, nothing to say.
    Done,
    /// ICE was restarted.
    Restarted {
        /// The server's application/trickle-ice-sdpfrag.
        fragment: String,
        /// The new generation, for the ETag.
        generation: u32,
    },
    /// A session's description.
    Session(Box<SessionReport>),
    /// The rooms of this `Sfu`.
    Rooms(Vec<RoomReport>),
    /// Counters.
    Stats(Box<super::stats::Stats>),
    /// Refused.
    Failed(CommandError),
    /// A member was refused.
    Refused(signal::Failure),
}

/// A session that was created.
#[derive(Debug)]
pub struct Joined {
    /// The SDP answer.
    pub answer: String,
    /// ICE generation, for the ETag.
    pub generation: u32,
}

/// Why a command was refused. The text is for the person who sent it and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The offer (or answer) cannot be used.
    #[error(transparent)]
    Description(#[from] super::negotiate::DescriptionError),
    /// Somebody else publishes here.
    #[error(
        "room \"{room}\" already has a publisher{}; stop it first, or publish to another room",
        silent_hint(.silent_for)
    )]
    RoomTaken {
        /// The room.
        room: Arc<str>,
        /// How long the present publisher has sent nothing.
        silent_for: Option<Duration>,
    },
    /// Who publishes or watches over the server comes to a room for two.
    #[error("room \"{room}\" is for two people who join it, directly connected: its mode is p2p")]
    RoomForTwo {
        /// The room.
        room: Arc<str>,
    },
    /// Nothing is published and the configuration refuses viewers that come early.
    #[error("nobody publishes to room \"{room}\" yet; try again")]
    NothingPublished {
        /// The room.
        room: Arc<str>,
        /// When to try again.
        retry_after: Duration,
    },
    /// A limit was reached.
    #[error("the server is full: {limit} reached")]
    Full {
        /// Which limit, as a configuration key with its value.
        limit: String,
    },
    /// The node is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No such session here.
    #[error("no such session")]
    UnknownSession,
    /// Nobody is in that room.
    #[error("nobody is in the room \"{room}\"; it is there from the first session on")]
    UnknownRoom {
        /// The room.
        room: Arc<str>,
    },
    /// A text is longer than allowed.
    #[error("{what}")]
    TooLong {
        /// Which, and how much is allowed.
        what: String,
    },
    /// The ETag is not of the current ICE generation.
    #[error("the ETag is not of the current ICE session; the current generation is {current}")]
    StaleGeneration {
        /// What it is now.
        current: u32,
    },
    /// An SDP answer came without a counter-offer waiting for it, or too late.
    #[error("no counter-offer is waiting for an answer on this session")]
    NotExpectingAnswer,
    /// The layer asked for does not exist.
    #[error("no such layer: {what}")]
    UnknownLayer {
        /// What was asked for.
        what: String,
    },
}

fn silent_hint(silent_for: &Option<Duration>) -> String {
    match silent_for {
        Some(silent) => format!(" (it has been silent for {:.1} s)", silent.as_secs_f32()),
        None => String::new(),
    }
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The client said DELETE.
    Deleted,
    /// The peer closed its side (DTLS close_notify).
    PeerClosed,
    /// Nothing arrived any more (consent expired, RFC 7675).
    Timeout,
    /// It never connected.
    NeverConnected,
    /// The same credential published anew, or the same identity joined anew.
    TakenOver,
    /// A member said goodbye, or did not come back.
    Left,
    /// A member asked for more than is bearable.
    Flooding,
    /// An operator ended it.
    Kicked,
    /// Nobody published any more and the configuration lets no viewers wait.
    NothingPublished,
    /// The server is stopping.
    Shutdown,
    /// DTLS failed.
    DtlsFailed,
    /// The engine reported an error that ends the session.
    Internal,
}

/// Something a session's watchers (SSE) and the log want to know.
#[derive(Debug, Clone)]
pub struct Event {
    /// The session it concerns.
    pub session: SessionId,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a session.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// ICE and DTLS are up.
    Connected,
    /// What a viewer watches started to be published.
    Active,
    /// What a viewer watches is no longer published.
    Inactive,
    /// Layers of what is watched or published changed.
    Layers(Vec<MediaLayers>),
    /// All that is wrong with what is published, a sentence each; sent when another flaw is found.
    Warnings(Vec<String>),
    /// How many people watch this room; sent to all its sessions, at most once a second.
    ViewerCount(u32),
    /// A message for members. The event's own session is the first of them.
    Message {
        /// Who is told, and over which links. In a room of hundreds, one event for each would be too many.
        to: Vec<(SessionId, Link)>,
        /// The message.
        message: Arc<signal::Message>,
    },
    /// The session is over; nothing follows.
    Ended(EndReason),
}

/// How a member's link ended, as far as it can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// Without a word, or by an error: the member may have no network.
    Lost,
    /// Its page was closed, or is loaded anew.
    PageLeft,
}

/// One connection of a member's signalling: a member that comes back has another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub u64);

/// Layers of one m-line.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct MediaLayers {
    /// m-line index in the session's description.
    pub media: u8,
    /// Its layers, best first.
    pub layers: Vec<LayerReport>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct LayerReport {
    /// Its rid, where the publisher uses simulcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Up to which spatial layer, where its stream has several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spatial: Option<u8>,
    /// Measured bitrate in bit/s; 0 is inactive.
    pub bitrate: u64,
    /// Picture width in pixels, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Picture height in pixels, once known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Packets arrive.
    pub live: bool,
    /// Whether anybody wants it sent; absent: its publisher was told nothing, so it sends all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<bool>,
}

/// Everything known about one session: `GET /api/v1/sessions/{id}`.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct SessionReport {
    /// Its id.
    pub id: String,
    /// Its room.
    pub room: String,
    /// Its participant's identity.
    pub identity: String,
    /// `publish` or `play`.
    pub role: &'static str,
    /// `connecting`, `connected` or `ended`.
    pub state: SessionState,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndReason>,
    /// What failed, if it ended by a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// One sentence for a person: why it does not (or did not) connect, or that all is well.
    pub summary: String,
    /// What is wrong with the streams it publishes, a sentence each that says what to change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Milliseconds since it was created.
    pub age_ms: u64,
    /// Connectivity facts.
    pub connectivity: Connectivity,
    /// Each m-line.
    pub media: Vec<MediaReport>,
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionState {
    /// Not yet connected.
    Connecting,
    /// Media can flow.
    Connected,
    /// Over.
    Ended,
}

/// One m-line of a session.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub struct MediaReport {
    /// Its mid.
    pub mid: String,
    /// Audio or video.
    #[schema(value_type = String)]
    pub kind: MediaKind,
    /// Codec in use, once packets flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub codec: Option<Codec>,
    /// Layers received (publisher).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<LayerReport>,
    /// The layer sent (viewer).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sending: Option<LayerReport>,
    /// The estimate from which something better is sent, in bit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<u64>,
    /// Why that layer, or why nothing is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Packets received or sent.
    pub packets: u64,
    /// Payload bytes received or sent.
    pub bytes: u64,
    /// Fraction lost, as last reported by RTCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f32>,
}
