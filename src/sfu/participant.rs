//! A participant: who it is, its engine, what it publishes and the slots it receives on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use str0m::IceCreds;
use str0m::media::Mid;
use str0m::rtp::Ssrc;

use super::allocation::Allocation;
use super::clock::PublisherClock;
use super::command::{Credential, LayerSelection, Role, SessionId, SessionState};
use super::deadlines::Alarm;
use super::failure::Lost;
use super::flush::Ahead;
use super::member::{Member, Wanted};
use super::negotiate::{CounterOffer, Offer};
use super::outbox::{Outbox, Source};
use super::peer::{Peer, StreamSpec};
use super::track::{Assembles, Subscription};
use super::{RoomKey, ShardIndex, TrackKey};
use crate::forward::{Forwarder, Rewritten};
use crate::prefetch;
use crate::rtp::format::Format;
use crate::rtp::header::ExtensionIds;
use crate::rtp::{LayerIndex, MediaKind, Packet};

/// m-lines one participant receives on. Each costs 12 KB and a look in every drain of its engine. Larger: larger grids;
/// smaller: a client cannot take as much memory. As many as an offer may have.
pub(super) const MAX_SLOTS: usize = 32;

/// Tracks one participant publishes. Larger: more cameras; smaller: less memory for each participant.
const MAX_TRACKS: usize = 16;

/// SSRCs one participant may send media on at a time: four layers of two videos, and audio. A sender that makes up more
/// is ignored.
const MAX_ORIGINS: usize = 16;

/// Priority of what nobody said anything about.
pub(super) const DEFAULT_PRIORITY: u8 = 50;

/// Packets queued for one subscriber within a turn. Larger: a longer turn is absorbed; smaller: less memory. A turn
/// holds at most 64 receive buffers, so only a flood gets here.
const MAX_QUEUED: usize = 1024;

/// Addresses of a participant that other shards hand over at most: one for each path, unless one address leads to
/// several shards. Larger: memory; smaller: a client on many paths has to be learned anew.
const MAX_CROSSINGS: usize = 8;

pub(super) struct Participant {
    pub(super) session: SessionId,
    pub(super) identity: Arc<str>,
    pub(super) credential: Credential,
    pub(super) role: Role,
    pub(super) room: RoomKey,
    /// What it has for being a member of a conference.
    pub(super) member: Option<Box<Member>>,
    pub(super) peer: Peer,
    pub(super) tracks: ArrayVec<TrackKey, MAX_TRACKS>,
    /// At most [`MAX_SLOTS`].
    pub(super) slots: Vec<Slot>,
    pub(super) description: Description,
    /// The SDP answer to a member's latest offer.
    pub(super) answer: Option<String>,
    pub(super) created: Instant,
    /// When its engine was made.
    pub(super) negotiated_at: Instant,
    pub(super) connectivity: Connectivity,
    pub(super) clock: PublisherClock,
    pub(super) alarm: Alarm,
    pub(super) allocation: Allocation,
    /// Something it watches is being sent; viewers are told once.
    pub(super) watching: bool,
    /// Addresses other shards were told to hand over, and which shard.
    pub(super) crossings: ArrayVec<(Source, ShardIndex), MAX_CROSSINGS>,
    origins: ArrayVec<Origin, MAX_ORIGINS>,
    /// The SSRC its last authentic report came from, by which one that only receives is known.
    pub(super) reporter: Option<Ssrc>,
    queue: Vec<Queued>,
    /// It is not decided yet who writes what it is sent; until then it is sent nothing.
    pub(super) undecided: bool,
    dirty: bool,
}

/// What was negotiated, kept for ICE restarts and for people.
pub(super) struct Description {
    pub(super) offer: Offer,
    pub(super) credentials: IceCreds,
    pub(super) generation: u32,
    /// A counter-offer that waits for its answer. Until then the engine is the one made for the client's own offer.
    /// Boxed, because it holds an engine (10 KB), which hardly anybody needs.
    pub(super) counter_offer: Option<Box<Waiting>>,
    /// Host candidates it was told.
    pub(super) addresses: Vec<SocketAddr>,
}

/// A counter-offer that was made.
pub(super) struct Waiting {
    pub(super) offer: CounterOffer,
    pub(super) expires: Instant,
}

/// What happened on the network side so far.
#[derive(Debug, Default)]
pub(super) struct Connectivity {
    pub(super) checks_received: u64,
    pub(super) checks_refused: u64,
    pub(super) ice_connected: bool,
    /// ICE and DTLS came up once.
    pub(super) connected: bool,
    pub(super) error: Option<String>,
    /// How a member's media ended before. It keeps its place, and may offer anew.
    pub(super) lost: Option<Lost>,
    pub(super) rtt: Option<Duration>,
    /// Last time something authenticated arrived: a check, a packet, progress in a receiver report.
    pub(super) alive: Option<Instant>,
    pub(super) last_check: Option<Instant>,
    pub(super) last_media: Option<Instant>,
}

/// An m-line the participant receives on.
pub(super) struct Slot {
    pub(super) mid: Mid,
    /// The client's name of it.
    pub(super) original_mid: String,
    pub(super) media_index: u8,
    pub(super) kind: MediaKind,
    pub(super) ssrc: Ssrc,
    /// SSRC of retransmissions, where they were agreed on.
    pub(super) repair: Option<Ssrc>,
    pub(super) extensions: ExtensionIds,
    /// Formats the client takes; none while it has the slot closed.
    pub(super) formats: Vec<Format>,
    pub(super) assembles: Assembles,
    pub(super) wish: LayerSelection,
    /// 0 to 100: what is wanted more gets bandwidth first.
    pub(super) priority: u8,
    /// Comes before everything else.
    pub(super) pinned: bool,
    /// Pictures per second that suffice.
    pub(super) max_frame_rate: Option<u32>,
    /// The viewer wants nothing sent for now, but keeps the track in this slot.
    pub(super) held: bool,
    pub(super) binding: Binding,
    /// Since when it carries its track.
    pub(super) bound_at: Option<Instant>,
    pub(super) loss: Option<f32>,
    /// When its receiver last reported that more of it came.
    pub(super) reported: Option<Instant>,
    pub(super) highest_sequence: Option<u64>,
    /// Sent on earlier bindings.
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

/// What a slot shows. Its forwarder carries the numbers on from one track to the next.
pub(super) enum Binding {
    /// Nothing; why.
    Free(Box<Forwarder>, &'static str),
    /// This track, whose subscription holds the forwarder.
    Bound(TrackKey),
}

impl Binding {
    /// The track that is bound.
    pub(super) fn track(&self) -> Option<TrackKey> {
        match self {
            Binding::Free(..) => None,
            Binding::Bound(track) => Some(*track),
        }
    }
}

impl Slot {
    /// Takes a subscription's numbers back when its track goes.
    pub(super) fn take_back(&mut self, subscription: Subscription, why: &'static str) {
        self.packets += subscription.packets;
        self.bytes += subscription.bytes;
        let mut forwarder = subscription.forwarder;
        forwarder.select(None);
        self.binding = Binding::Free(Box::new(forwarder), why);
        self.bound_at = None;
    }

    /// Its stream, as it is written without the engine.
    pub(super) fn as_stream(&self, slot: u8) -> StreamSpec<'_> {
        StreamSpec {
            slot,
            mid: self.mid,
            kind: self.kind,
            ssrc: *self.ssrc,
            repair: self.repair.map(|ssrc| *ssrc),
            extensions: self.extensions,
            formats: &self.formats,
        }
    }

    /// Takes over how a member wishes to see what this slot shows.
    pub(super) fn take_wish(&mut self, wish: Option<&Wanted>) {
        // The next larger picture is sent up to a third above the tile's height.
        let cap = wish.map(|wish| wish.height.saturating_add(wish.height / 3));
        self.wish = LayerSelection { max_height: cap, ..LayerSelection::default() };
        self.priority = wish.map_or(DEFAULT_PRIORITY, |wish| wish.priority);
        self.pinned = wish.is_some_and(|wish| wish.pinned);
        self.max_frame_rate = wish.and_then(|wish| wish.fps);
        self.held = wish.is_some_and(|wish| wish.paused);
    }
}

/// Where an SSRC's packets belong.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    ssrc: Ssrc,
    pub(super) track: TrackKey,
    pub(super) layer: LayerIndex,
}

/// A packet decided on in this turn, to be written when the participant is flushed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Queued {
    /// Index into the turn's packets.
    pub(super) packet: u32,
    pub(super) slot: u8,
    pub(super) payload_type: u8,
    pub(super) rewritten: Rewritten,
}

impl Participant {
    #[expect(clippy::too_many_arguments, reason = "one place makes participants, from values it just made")]
    pub(super) fn new(
        session: SessionId,
        identity: Arc<str>,
        credential: Credential,
        role: Role,
        room: RoomKey,
        peer: Peer,
        description: Description,
        now: Instant,
    ) -> Self {
        Self {
            session,
            identity,
            credential,
            role,
            room,
            member: None,
            peer,
            tracks: ArrayVec::new(),
            slots: Vec::new(),
            description,
            answer: None,
            created: now,
            negotiated_at: now,
            connectivity: Connectivity::default(),
            clock: PublisherClock::default(),
            alarm: Alarm::default(),
            allocation: Allocation::default(),
            watching: false,
            crossings: ArrayVec::new(),
            origins: ArrayVec::new(),
            reporter: None,
            queue: Vec::new(),
            undecided: false,
            dirty: false,
        }
    }

    pub(super) fn is_publisher(&self) -> bool {
        self.role == Role::Publish
    }

    pub(super) fn state(&self) -> SessionState {
        if self.connectivity.connected { SessionState::Connected } else { SessionState::Connecting }
    }

    /// How long nothing authenticated arrived.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.connectivity.alive.unwrap_or(self.created))
    }

    /// How long no media arrived.
    pub(super) fn mute_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.connectivity.last_media.unwrap_or(self.created))
    }

    /// Where an SSRC's packets belong, if it was seen before.
    pub(super) fn origin(&self, ssrc: Ssrc) -> Option<Origin> {
        self.origins.iter().find(|origin| origin.ssrc == ssrc).copied()
    }

    /// Forgets the SSRCs of tracks that are gone: one that comes back on the same m-line is another track.
    pub(super) fn forget_origins(&mut self, tracks: &[TrackKey]) {
        self.origins.retain(|origin| !tracks.contains(&origin.track));
    }

    /// Forgets what was to be written: the engine it was meant for goes.
    pub(super) fn clear_queue(&mut self) {
        self.queue.clear();
    }

    /// Notes where an SSRC's packets belong. Gives the SSRC that they came from before, if there was one; `None` when
    /// there are too many.
    pub(super) fn learn_origin(
        &mut self,
        ssrc: Ssrc,
        track: TrackKey,
        layer: LayerIndex,
    ) -> Option<(Origin, Option<Ssrc>)> {
        let origin = Origin { ssrc, track, layer };
        let mut known = self.origins.iter_mut();
        if let Some(known) = known.find(|known| (known.track, known.layer) == (track, layer)) {
            return Some((origin, Some(std::mem::replace(known, origin).ssrc)));
        }
        self.origins.try_push(origin).ok()?;
        Some((origin, None))
    }

    /// Notes that another shard hands over what comes from an address. Gives the oldest such, if it has to make room.
    pub(super) fn note_crossing(&mut self, address: Source, shard: ShardIndex) -> Option<(Source, ShardIndex)> {
        if self.crossings.contains(&(address, shard)) {
            return None;
        }
        let oldest = self.crossings.is_full().then(|| self.crossings.remove(0));
        self.crossings.push((address, shard));
        oldest
    }

    /// Queues a packet. Returns false when the queue is full.
    pub(super) fn enqueue(&mut self, queued: Queued) -> bool {
        let room = self.queue.len() < MAX_QUEUED;
        if room {
            self.queue.push(queued);
        }
        room
    }

    /// Marks the participant as having something to flush. True the first time in a turn.
    pub(super) fn mark_dirty(&mut self) -> bool {
        !std::mem::replace(&mut self.dirty, true)
    }

    /// Asks for memory that [`write_queue`](Self::write_queue) reads.
    pub(super) fn fetch(&self, what: Ahead) {
        match what {
            Ahead::Itself => {
                prefetch::read(&self.queue);
                prefetch::read(&self.dirty);
                prefetch::read(&self.room);
            }
            Ahead::Behind => prefetch::read(self.queue.as_slice()),
            Ahead::Streams => {}
        }
        self.peer.fetch(what);
    }

    /// It is about to be sent something for the first time.
    pub(super) fn begins(&self) -> bool {
        self.undecided && !self.queue.is_empty()
    }

    /// Writes everything queued, or has the engine write it.
    pub(super) fn write_queue(&mut self, now: Instant, packets: &[Arc<Packet>], outbox: &mut Outbox) {
        self.dirty = false;
        if self.queue.is_empty() {
            return;
        }
        if self.peer.writes() {
            return self.peer.send(now, self.queue.drain(..), packets, outbox);
        }
        let writes_sound = self.peer.writes_sound();
        if writes_sound {
            let kind = |queued: &Queued| self.slots.get(usize::from(queued.slot)).map(|slot| slot.kind);
            let sound = self.queue.iter().filter(|queued| kind(queued) == Some(MediaKind::Audio));
            self.peer.send(now, sound.copied(), packets, outbox);
        }
        for queued in self.queue.drain(..) {
            if let Some(packet) = packets.get(queued.packet as usize)
                && let Some(slot) = self.slots.get(usize::from(queued.slot))
                && !(self.undecided || writes_sound && slot.kind == MediaKind::Audio)
            {
                self.peer.write(slot.ssrc, queued.payload_type, &queued.rewritten, packet);
            }
        }
    }

    /// The slot of an m-line.
    pub(super) fn slot_of(&self, mid: Mid) -> Option<u8> {
        self.slots.iter().position(|slot| slot.mid == mid).and_then(|index| u8::try_from(index).ok())
    }
}
