//! The sans-IO machine: rooms, participants, tracks, subscriptions (level 2). No sockets, clock, threads or locks.
//!
//! A shell hands in datagrams, commands and the time, and takes datagrams, replies and events out:
//!
//! ```text
//! handle(now, datagram)*  handle_crossing(now, value)*  command(now, command) -> reply
//! flush(now)   outbox()   deadline()
//! ```
//!
//! The way of a packet is [`Sfu::handle`] -> `receive` -> `on_packet` -> `Track::forward` -> [`Sfu::flush`]. Not here:
//! HTTP, sockets (`shard`), decisions about layers and numbers (`forward`).

mod allocation;
mod clock;
pub mod command;
pub mod conference;
mod deadlines;
mod demux;
pub mod extensions;
pub mod failure;
mod fan_out;
mod flaws;
mod flush;
mod housekeeping;
mod join;
mod link;
mod member;
pub mod negotiate;
mod outbox;
mod outlet;
mod participant;
mod peer;
mod playout;
mod proof;
mod quality;
mod relay;
mod report;
mod room;
mod session;
mod sid;
pub mod signal;
mod slots;
pub mod stats;
mod stray;
pub mod stun;
mod track;
mod writing;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustc_hash::FxHashMap;
use slotmap::SlotMap;
use str0m::RtcError;
use str0m::config::DtlsCert;
use str0m::rtp::RtpPacket;
use tracing::{debug, trace};

pub use self::flush::Flushed;
pub use self::link::{LinkMedia, LinkParcel};
pub use self::outbox::{Carried, Crossing, CrossingDatagram, Datagram, Outbox, Outgoing, Protocol, Source, Via};
pub use self::playout::RoomDelay;

use self::command::{EndReason, SessionId};
use self::deadlines::{Deadlines, Due, PATIENCE, Patience};
use self::demux::{AddressBook, Class, Owner, Route};
use self::participant::Participant;
use self::peer::{Check, PeerEvent, Received};
use self::report::Records;
use self::room::Room;
use self::stats::Stats;
use crate::rtp::Packet;
use crate::turn;

slotmap::new_key_type! {
    /// A participant of one `Sfu`.
    pub(crate) struct ParticipantKey;
    /// A room of one `Sfu`.
    pub(crate) struct RoomKey;
    /// A track of one room.
    pub(crate) struct TrackKey;
}

/// Which shard of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(pub u16);

/// What an `Sfu` is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its own index, which goes into its ICE ufrags.
    pub shard: ShardIndex,
    /// How many shards there are; routes to others are not ours.
    pub shards: u16,
    /// Addresses advertised as host candidates, best first.
    pub candidates: Vec<SocketAddr>,
    /// Additional ones for callers on the same machine.
    pub loopback_candidates: Vec<SocketAddr>,
    /// The node's DTLS certificate.
    pub certificate: DtlsCert,
    /// What happens to viewers that come before the publisher.
    pub early_viewers: EarlyViewers,
    /// How long viewers wait for a publisher that dropped, where early viewers are refused.
    pub resume_window: Duration,
    /// Silence after which the same credential may take a room over.
    pub takeover_after: Duration,
    /// A session that has not connected by then is ended.
    pub connect_timeout: Duration,
    /// A session from which nothing authenticated arrived for this long is ended (RFC 7675: 30 s).
    pub consent_timeout: Duration,
    /// Share of a layer's bytes that key frames made on request may take, 0 to 1.
    pub keyframe_share: f64,
    /// Bounds of the delay at receivers, by room; the first that fits counts.
    pub playout_delays: Vec<RoomDelay>,
    /// Sessions this `Sfu` holds.
    pub max_sessions: usize,
    /// Viewers per room.
    pub max_viewers: usize,
    /// Whether candidates are told for TCP as well: connections arrive at the same addresses and ports.
    pub tcp: bool,
    /// The STUN and TURN server.
    pub turn: turn::Settings,
    /// How the media of rooms is to travel until somebody changes it.
    pub room_mode: signal::RoomMode,
    /// Members per room.
    pub max_members: usize,
    /// Slots for pictures that members are told to offer.
    pub video_slots: u32,
    /// Slots for voices that members are told to offer.
    pub audio_slots: u32,
    /// How long the place of a member is kept whose link is gone.
    pub member_resume_window: Duration,
    /// An instant and what it is since 1970: messages carry times for people.
    pub clock: (Instant, Duration),
}

/// What happens to viewers that come before the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlyViewers {
    /// They are connected and wait.
    Accept,
    /// They are told to come back.
    Refuse,
}

/// The machine.
pub struct Sfu {
    settings: Settings,
    rng: StdRng,
    rooms: SlotMap<RoomKey, Room>,
    /// Looked up by name, never walked. Names come from callers: the standard library's seeded hash.
    room_names: HashMap<Arc<str>, RoomKey>,
    participants: SlotMap<ParticipantKey, Participant>,
    sessions: FxHashMap<SessionId, ParticipantKey>,
    records: Records,
    addresses: AddressBook,
    deadlines: Deadlines,
    /// Packets of this turn; queues refer to them by index.
    packets: Vec<Arc<Packet>>,
    dirty: Vec<ParticipantKey>,
    events: Vec<PeerEvent>,
    outbox: Outbox,
    turn: turn::Server,
    stats: Stats,
    /// When media of nobody was looked at last.
    stray_looked_at: Option<Instant>,
    next_source: u32,
    /// A flush has begun and is not done yet.
    flushing: bool,
    shutting_down: bool,
}

impl std::fmt::Debug for Sfu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sfu").field("shard", &self.settings.shard).finish_non_exhaustive()
    }
}

impl Sfu {
    /// An empty machine. The seed feeds its only source of randomness, from which ICE passwords come: in production it
    /// must be from the system.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            turn: turn::Server::new(settings.turn.clone(), rng.random()),
            settings,
            rng,
            rooms: SlotMap::with_key(),
            room_names: HashMap::new(),
            participants: SlotMap::with_key(),
            sessions: FxHashMap::default(),
            records: Records::default(),
            addresses: AddressBook::default(),
            deadlines: Deadlines::default(),
            packets: Vec::new(),
            dirty: Vec::new(),
            events: Vec::new(),
            outbox: Outbox::default(),
            stats: Stats::default(),
            stray_looked_at: None,
            next_source: 0,
            flushing: false,
            shutting_down: false,
        }
    }

    /// A datagram arrived at this shard's socket.
    pub fn handle(&mut self, now: Instant, datagram: &Datagram<'_>) {
        self.handle_from(now, datagram, self.settings.shard);
    }

    /// A value from another shard arrived.
    pub fn handle_crossing(&mut self, now: Instant, crossing: Crossing) {
        match crossing {
            Crossing::Datagrams { arrived_at, batch } => {
                for moved in batch {
                    let CrossingDatagram { remote, local_ip, via, contents } = &moved;
                    let datagram = Datagram { remote: *remote, local_ip: *local_ip, via: *via, contents };
                    self.handle_from(now, &datagram, arrived_at);
                }
            }
            Crossing::Learned { address, owner } => {
                self.addresses.learn(address, Owner::Shard(owner));
            }
            Crossing::Forgotten { address, owner } => self.addresses.forget(address, Owner::Shard(owner)),
            Crossing::Link(parcel) => self.on_link(now, parcel),
            Crossing::Media(batch) => batch.into_iter().for_each(|media| self.on_link_media(now, media)),
            Crossing::Carried(batch) => self.outbox.carried.extend(batch),
            Crossing::Relayed { from, to, contents } => self.handle_relayed(now, from, to, &contents),
        }
    }

    /// What is to be sent. The shell drains it.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// When [`flush`](Self::flush) must be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadlines.next().into_iter().chain(self.turn.deadline()).min()
    }

    /// A copy of the counters, with the gauges filled in.
    pub fn stats(&self) -> Stats {
        let count = |role: fn(&Participant) -> bool| self.participants.values().filter(|p| role(p)).count() as u64;
        let (publishers, members) = (count(Participant::is_publisher), count(|p| p.member.is_some()));
        Stats {
            rooms: self.rooms.values().filter(|room| room.is_home()).count() as u64,
            publishers,
            viewers: self.participants.len() as u64 - publishers - members,
            members,
            addresses: self.addresses.len() as u64,
            events_lost: self.outbox.events_lost,
            turn: self.turn.counters(),
            ..self.stats.clone()
        }
    }

    /// Nobody is here and nothing is remembered of anybody, but for the records of ended sessions.
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty()
            && self.participants.is_empty()
            && self.sessions.is_empty()
            && self.room_names.is_empty()
            && self.addresses.len() == 0
            && self.turn.is_empty()
    }

    fn handle_from(&mut self, now: Instant, datagram: &Datagram<'_>, arrived_at: ShardIndex) {
        match Class::of(datagram.contents) {
            Class::Media => match self.addresses.owner(datagram.source()) {
                Some(Owner::Participant(key)) => self.receive(now, key, datagram),
                Some(Owner::Shard(shard)) => self.hand_over(shard, arrived_at, datagram),
                None => self.on_stray(now, datagram, arrived_at),
            },
            Class::Stun => self.handle_stun(now, datagram, arrived_at),
            Class::Channel => self.serve_turn(now, datagram, arrived_at),
            Class::Unknown => self.stats.datagrams_unclassified += 1,
        }
    }

    /// Passes a datagram on, once: what arrives handed over and is not ours is dropped.
    fn hand_over(&mut self, to: ShardIndex, arrived_at: ShardIndex, datagram: &Datagram<'_>) {
        let here = self.settings.shard;
        if arrived_at == here && to != here && to.0 < self.settings.shards {
            self.stats.datagrams_handed_over += 1;
            self.outbox.hand_over(to, here, datagram);
        } else {
            self.stats.datagrams_unknown += 1;
        }
    }

    /// An ICE check names its session by our ufrag, which outranks what the address was last used for (NAT port reuse).
    /// What is not a check is for the STUN and TURN server.
    fn handle_stun(&mut self, now: Instant, datagram: &Datagram<'_>, arrived_at: ShardIndex) {
        let Some((local, _)) = stun::username(datagram.contents) else {
            return match self.addresses.owner(datagram.source()).filter(|_| stun::is_answer(datagram.contents)) {
                Some(Owner::Participant(key)) => self.on_answer(now, key, datagram, arrived_at),
                Some(Owner::Shard(shard)) => self.hand_over(shard, arrived_at, datagram),
                None => self.serve_turn(now, datagram, arrived_at),
            };
        };
        let Some(route) = Route::of_ufrag(local.as_bytes()) else {
            self.stats.datagrams_unknown += 1;
            return;
        };
        if route.shard != self.settings.shard {
            return self.hand_over(route.shard, arrived_at, datagram);
        }
        let key = route.participant;
        let Some(participant) = self.participants.get_mut(key) else {
            self.stats.datagrams_unknown += 1;
            return;
        };
        let mut events = std::mem::take(&mut self.events);
        let mut result = participant.peer.check(now, datagram, &mut self.outbox, &mut events);
        let completed = match result {
            Ok(Check::Refused) => stun::with_priority(datagram.contents, &participant.description.credentials.pass),
            _ => None,
        };
        let completed = completed.as_ref().map(|contents| Datagram { contents, ..*datagram });
        if let Some(completed) = &completed {
            result = participant.peer.check(now, completed, &mut self.outbox, &mut events);
        }
        let datagram = completed.as_ref().unwrap_or(datagram);
        match &result {
            Ok(Check::Accepted { evicted }) => self.on_check(now, key, datagram.source(), *evicted, arrived_at),
            Ok(Check::Unproven) => self.challenge(now, key, datagram, arrived_at),
            Ok(Check::Refused) => {
                participant.connectivity.checks_refused += 1;
                self.stats.checks_refused += 1;
                trace!(session = %participant.session, from = %datagram.remote, "ICE check refused");
            }
            Err(_) => {}
        }
        self.after(now, key, result.map(drop), events);
    }

    /// An authentic check: its source is the participant's from now on.
    fn on_check(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        remote: Source,
        evicted: Option<Source>,
        arrived_at: ShardIndex,
    ) {
        self.stats.checks_accepted += 1;
        let Some(participant) = self.participants.get_mut(key) else { return };
        let connectivity = &mut participant.connectivity;
        connectivity.checks_received += 1;
        connectivity.alive = Some(now);
        connectivity.last_check = Some(now);
        self.learn_address(key, remote, evicted, arrived_at);
    }

    /// What comes from there is the participant's, on every shard it may arrive at.
    fn learn_address(&mut self, key: ParticipantKey, remote: Source, evicted: Option<Source>, arrived_at: ShardIndex) {
        if let Some(evicted) = evicted {
            self.forget_address(key, evicted);
        }
        let Some(participant) = self.participants.get_mut(key) else { return };
        self.addresses.learn(remote, Owner::Participant(key));
        let here = self.settings.shard;
        if arrived_at != here {
            if let Some((address, shard)) = participant.note_crossing(remote, arrived_at) {
                self.outbox.crossings.push((shard, Crossing::Forgotten { address, owner: here }));
            }
            self.outbox.crossings.push((arrived_at, Crossing::Learned { address: remote, owner: here }));
        }
    }

    fn receive(&mut self, now: Instant, key: ParticipantKey, datagram: &Datagram<'_>) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let mut events = std::mem::take(&mut self.events);
        let asked = participant.peer.asked(datagram.source());
        participant.note_reporter(datagram.contents);
        let received = participant.peer.receive(now, datagram, &mut self.outbox, &mut events);
        if matches!(received, Ok(Received::Undrained)) {
            self.events = events;
            return self.mark_dirty(key);
        }
        self.after(now, key, received.map(drop), events);
        if let Some(transaction) = asked {
            self.ask_again(now, key, datagram, transaction);
        }
    }

    /// Deals with what an engine reported, and keeps the event vector's memory for the next call.
    fn after(&mut self, now: Instant, key: ParticipantKey, result: Result<(), RtcError>, mut events: Vec<PeerEvent>) {
        for event in events.drain(..) {
            self.on_event(now, key, event);
        }
        self.events = events;
        match result {
            Ok(()) => self.arm_participant(now, key),
            Err(error) => self.on_engine_error(now, key, &error),
        }
    }

    fn on_event(&mut self, now: Instant, key: ParticipantKey, event: PeerEvent) {
        match event {
            PeerEvent::Rtp(packet) => self.on_packet(now, key, packet),
            PeerEvent::KeyframeRequest(mid) => self.on_keyframe_request(now, key, mid),
            PeerEvent::Channel(event) => self.on_channel(now, key, event),
            PeerEvent::Closed if self.is_member(key) => self.lose_media(now, key, EndReason::PeerClosed),
            PeerEvent::Closed => self.end(now, key, EndReason::PeerClosed),
            other => self.on_report(now, key, &other),
        }
    }

    /// A packet from a publisher: read once, run past every subscription of its track.
    fn on_packet(&mut self, now: Instant, key: ParticipantKey, received: RtpPacket) {
        self.stats.packets_received += 1;
        self.stats.bytes_received += received.payload.len() as u64;
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.connectivity.alive = Some(now);
        participant.connectivity.last_media = Some(now);
        let Some(room) = self.rooms.get_mut(participant.room) else { return };
        let Some(origin) = room.origin_of(now, participant, received.header.ssrc) else { return };
        let Some(track) = room.tracks.get_mut(origin.track) else { return };
        let captured = participant.clock.captured(&received);
        if let Some(declared) = extensions::allocation(&received.header.ext_vals) {
            track.on_declared(origin.layer, &declared, &mut self.outbox);
        }
        let ingested = track.ingest(now, captured, origin.layer, received);
        let Some((packet, resolutions)) = ingested else { return };
        let room_key = participant.room;
        self.fan_out(now, room_key, origin.track, &packet, &resolutions);
    }

    fn on_engine_error(&mut self, now: Instant, key: ParticipantKey, error: &RtcError) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        debug!(session = %participant.session, %error, "engine error");
        participant.connectivity.error.get_or_insert_with(|| error.to_string());
        let reason = if matches!(error, RtcError::Dtls(_) | RtcError::RemoteSdp(_)) {
            EndReason::DtlsFailed
        } else {
            EndReason::Internal
        };
        if self.is_member(key) { self.lose_media(now, key, reason) } else { self.end(now, key, reason) }
    }

    fn is_member(&self, key: ParticipantKey) -> bool {
        self.participants.get(key).is_some_and(|participant| participant.member.is_some())
    }

    /// Makes sure the participant is woken in time.
    fn arm_participant(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let (engine, check) = (participant.peer.timeout, participant.next_check(now, &self.settings));
        // An estimator reads the time between its wake-ups.
        let waits = engine + PATIENCE <= check && !participant.allocation.is_estimating();
        let patience = if waits { participant.peer.patience(now) } else { Patience::Prompt };
        self.deadlines.arm(&mut participant.alarm, Due::Participant(key), engine.min(check), patience);
    }

    /// Has the participant visited by this turn's flush.
    fn mark_dirty(&mut self, key: ParticipantKey) {
        if self.participants.get_mut(key).is_some_and(Participant::mark_dirty) {
            self.dirty.push(key);
        }
    }
}
