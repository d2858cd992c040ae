//! A room: who is in it, what is published, and which track goes into which slot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;
use slotmap::SlotMap;
use str0m::media::{Mid, Rid};
use str0m::rtp::Ssrc;
use tracing::{debug, info};

use super::command::{EventKind, MediaLayers, Role};
use super::conference::Conference;
use super::deadlines::{Alarm, Due, Patience};
use super::link::{Publisher, Spread};
use super::negotiate::NegotiatedMedia;
use super::participant::{Binding, DEFAULT_PRIORITY, MAX_SLOTS, Origin, Participant, Queued, Slot};
use super::playout::delay_of;
use super::signal::TrackSource;
use super::track::{Assembles, Track};
use super::{EarlyViewers, ParticipantKey, RoomKey, Sfu, TrackKey};
use crate::forward::{DropReason, Forwarder, Source, Urgency};
use crate::rtp::MediaKind;

/// How often a room looks at itself: viewer count, layers, expiry.
pub(super) const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// Clock rate of every video payload format (RFC 6184, 7741, 7798, 9628).
const VIDEO_CLOCK: u32 = 90_000;

/// Clock rate of Opus (RFC 7587).
const AUDIO_CLOCK: u32 = 48_000;

pub(super) struct Room {
    pub(super) name: Arc<str>,
    pub(super) participants: Vec<ParticipantKey>,
    pub(super) tracks: SlotMap<TrackKey, Track>,
    pub(super) alarm: Alarm,
    pub(super) conference: Conference,
    /// Since when nobody publishes.
    pub(super) unpublished_since: Option<Instant>,
    pub(super) viewers_told: u32,
    pub(super) layers_told: Vec<(TrackKey, Vec<super::command::LayerReport>)>,
    /// What it has for being spread over several shards, when it is.
    pub(super) spread: Option<Box<Spread>>,
}

impl Room {
    pub(super) fn new(name: Arc<str>, now: Instant, conference: Conference) -> Self {
        Self {
            name,
            participants: Vec::new(),
            tracks: SlotMap::with_key(),
            alarm: Alarm::default(),
            conference,
            unpublished_since: Some(now),
            viewers_told: 0,
            layers_told: Vec::new(),
            spread: None,
        }
    }

    /// Where an SSRC's packets belong; looked up in the engine only the first time. One that takes the place of another
    /// begins its encoding anew.
    pub(super) fn origin_of(&mut self, now: Instant, participant: &mut Participant, ssrc: Ssrc) -> Option<Origin> {
        if let Some(known) = participant.origin(ssrc) {
            return Some(known);
        }
        let (mid, rid) = participant.peer.origin(ssrc)?;
        let (key, layer) = participant.tracks.iter().find_map(|key| {
            let track = self.tracks.get(*key).filter(|track| track.mid == mid)?;
            Some((*key, track.layer_of(rid)?))
        })?;
        let track = self.tracks.get_mut(key)?;
        if track.nacks_without_rtx {
            participant.peer.nack_without_rtx(ssrc);
        }
        let (origin, before) = participant.learn_origin(ssrc, key, layer)?;
        if let Some(before) = before {
            participant.peer.retire(now, before);
            track.begin_anew(now, layer);
        }
        Some(origin)
    }
}

impl Sfu {
    /// The room of that name, made if need be.
    pub(super) fn open_room(&mut self, now: Instant, name: &Arc<str>) -> RoomKey {
        if let Some(key) = self.room_names.get(name) {
            return *key;
        }
        let delay = delay_of(&self.settings.playout_delays, name);
        let conference = Conference::new(now, self.settings.room_mode, delay);
        let key = self.rooms.insert(Room::new(Arc::clone(name), now, conference));
        self.room_names.insert(Arc::clone(name), key);
        if let Some(room) = self.rooms.get_mut(key) {
            self.deadlines.arm(&mut room.alarm, Due::Room(key), now + ROOM_INTERVAL, Patience::Prompt);
        }
        key
    }

    /// Forgets a room nobody is in, on any shard. A half of one closes in its own time.
    pub(super) fn close_room_if_empty(&mut self, key: RoomKey) {
        if let Some(room) = self.rooms.get(key).filter(|room| room.participants.is_empty() && !room.is_spread()) {
            debug!(room = %room.name, "room closed");
            self.room_names.remove(&room.name);
            self.rooms.remove(key);
        }
    }

    /// Turns negotiated m-lines into tracks and slots, and binds what fits together.
    pub(super) fn add_media(&mut self, now: Instant, key: ParticipantKey, media: &[NegotiatedMedia]) {
        for line in media {
            if line.direction.is_sending() {
                self.add_slot(key, line);
            } else if let Some(track) = self.add_track(key, line) {
                self.label_ingress(key, track);
            }
        }
        let Some(room_key) = self.participants.get(key).map(|participant| participant.room) else { return };
        if self.participants.get(key).is_some_and(|participant| !participant.tracks.is_empty()) {
            self.bind_room(now, room_key);
        }
        self.announce(now, key);
        self.review_path(now, room_key);
    }

    /// A WHIP publisher says nothing of its tracks: they are shown as camera and microphone.
    fn label_ingress(&mut self, key: ParticipantKey, track: TrackKey) {
        let room = self.participants.get(key).and_then(|participant| self.rooms.get_mut(participant.room));
        if let Some(track) = room.and_then(|room| room.tracks.get_mut(track)) {
            track.published.source = match track.kind {
                MediaKind::Audio => TrackSource::Microphone,
                MediaKind::Video => TrackSource::Camera,
            };
        }
    }

    pub(super) fn add_track(&mut self, key: ParticipantKey, line: &NegotiatedMedia) -> Option<TrackKey> {
        let source = Source::new(self.next_source);
        self.next_source = self.next_source.wrapping_add(1);
        let participant = self.participants.get_mut(key)?;
        let room = self.rooms.get_mut(participant.room)?;
        let mut track = Track::new(Publisher::Here(key), source, line, self.settings.keyframe_share);
        track.playout_delay = room.playout_delay();
        let track = room.tracks.insert(track);
        if participant.tracks.try_push(track).is_err() {
            room.tracks.remove(track);
            return None;
        }
        room.unpublished_since = None;
        Some(track)
    }

    pub(super) fn add_slot(&mut self, key: ParticipantKey, line: &NegotiatedMedia) {
        let first_sequence = (self.rng.next_u32() & 0x7fff) as u16;
        let room = self.participants.get(key).and_then(|participant| self.rooms.get(participant.room));
        let has_choice = room.is_some_and(|room| room.tracks.values().any(|track| track.layers.len() > 1));
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some((ssrc, repair)) = participant.peer.prepare_sending(line.mid, line.kind) else { return };
        let clock = match line.kind {
            MediaKind::Audio => AUDIO_CLOCK,
            MediaKind::Video => VIDEO_CLOCK,
        };
        let slot = Slot {
            mid: line.mid,
            original_mid: line.original_mid.clone(),
            media_index: line.index,
            kind: line.kind,
            ssrc,
            repair,
            extensions: line.extensions,
            formats: line.formats.clone(),
            assembles: Assembles::of(line),
            wish: Default::default(),
            priority: DEFAULT_PRIORITY,
            pinned: false,
            max_frame_rate: None,
            held: false,
            bound_at: None,
            binding: Binding::Free(
                Box::new(Forwarder::new(line.kind, clock, first_sequence)),
                "nothing is published yet",
            ),
            loss: None,
            reported: None,
            highest_sequence: None,
            packets: 0,
            bytes: 0,
        };
        if participant.slots.len() < MAX_SLOTS {
            participant.slots.push(slot);
            if participant.allocation.is_resting() && line.kind == MediaKind::Video {
                participant.peer.keep_from_padding(line.mid, ssrc);
            }
            if participant.member.is_none() && !has_choice {
                participant.undecided = true;
                participant.peer.withhold(ssrc);
            }
        }
    }

    /// Puts a track into a free slot. False when it is not free.
    pub(super) fn bind_slot(
        &mut self,
        now: Instant,
        room: RoomKey,
        key: ParticipantKey,
        index: usize,
        track_key: TrackKey,
    ) -> bool {
        let track = self.rooms.get(room).and_then(|room| room.tracks.get(track_key));
        if track.is_some_and(Track::is_layered) {
            self.let_engine_write(key);
        }
        let Ok(number) = u8::try_from(index) else { return false };
        self.prepare_slot(key, number);
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track_key)) else {
            return false;
        };
        let Some(viewer) = self.participants.get_mut(key) else { return false };
        let Some(slot) = viewer.slots.get_mut(index) else { return false };
        match std::mem::replace(&mut slot.binding, Binding::Bound(track_key)) {
            Binding::Free(forwarder, _) => {
                viewer.allocation.forget(number);
                let steering = viewer.allocation.first_steering();
                track.subscribe(now, (key, number, steering), *forwarder, slot);
                true
            }
            bound => {
                slot.binding = bound;
                false
            }
        }
    }

    /// Takes a participant's tracks out of its room. The slots that showed them keep their numbers for the next track.
    pub(super) fn unpublish(&mut self, now: Instant, room_key: RoomKey, tracks: &[TrackKey]) {
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        for key in tracks {
            let Some(track) = room.tracks.remove(*key) else { continue };
            room.conference.voices.forget_track(*key);
            room.layers_told.retain(|(told, _)| told != key);
            for subscription in track.subscriptions {
                let Some(viewer) = self.participants.get_mut(subscription.subscriber) else { continue };
                let Some(slot) = viewer.slots.get_mut(usize::from(subscription.slot)) else { continue };
                slot.take_back(subscription, "the publisher has left");
                if std::mem::replace(&mut viewer.watching, false) {
                    self.outbox.event(super::command::Event { session: viewer.session, kind: EventKind::Inactive });
                }
            }
        }
        if room.tracks.is_empty() && room.unpublished_since.is_none() {
            room.unpublished_since = Some(now);
        }
    }

    /// Takes a participant's subscriptions out of its room's tracks.
    pub(super) fn unsubscribe(&mut self, room: RoomKey, key: ParticipantKey, slots: &[Slot]) {
        let Some(room) = self.rooms.get_mut(room) else { return };
        for slot in slots {
            if let Binding::Bound(track) = slot.binding
                && let Some(track) = room.tracks.get_mut(track)
                && let Some(position) = track.subscriptions.iter().position(|s| s.subscriber == key)
            {
                track.subscriptions.swap_remove(position);
            }
        }
    }

    /// The first packet of a track: its subscribers see something from now on.
    pub(super) fn on_track_started(&mut self, now: Instant, room_key: RoomKey, track_key: TrackKey) {
        let Some(room) = self.rooms.get(room_key) else { return };
        let Some(track) = room.tracks.get(track_key) else { return };
        if let Some(publisher) = track.publisher.here().and_then(|key| self.participants.get(key)) {
            let session = publisher.session;
            info!(room = %room.name, %session, kind = ?track.kind, codec = ?track.codec, "media flows");
        }
        let subscribers: Vec<_> = track.subscriptions.iter().map(|subscription| subscription.subscriber).collect();
        for subscriber in subscribers {
            self.tell_active(room_key, subscriber, track_key);
        }
        self.tell_track(now, room_key, track_key);
        self.bind_recoded(now, room_key);
        self.request_keyframes(now, room_key, track_key);
    }

    /// Tells a viewer, once, that what it watches is being sent.
    pub(super) fn tell_active(&mut self, room: RoomKey, key: ParticipantKey, track: TrackKey) {
        let flows = self.rooms.get(room).and_then(|room| room.tracks.get(track)).is_some_and(|track| track.packets > 0);
        let Some(viewer) = self.participants.get_mut(key).filter(|viewer| flows && !viewer.watching) else { return };
        viewer.watching = true;
        self.outbox.event(super::command::Event { session: viewer.session, kind: EventKind::Active });
    }

    /// Gets a track's subscriptions the key frames they wait for: those there are, by replay, else by asking for them.
    /// Comes back while any still waits.
    pub(super) fn request_keyframes(&mut self, now: Instant, room_key: RoomKey, track_key: TrackKey) {
        self.replay(now, room_key, track_key);
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        // What a mirrored track opens with may be enough.
        if track.upstream.as_ref().is_some_and(|upstream| !upstream.is_open()) {
            return;
        }
        let mut wanted = arrayvec::ArrayVec::<_, { crate::forward::MAX_LAYERS }>::new();
        let again = track.request_keyframes(now, |rid, urgency| wanted.push((rid, urgency)));
        if let Some(again) = again {
            self.deadlines.arm(&mut track.alarm, Due::Track(room_key, track_key), again, Patience::Prompt);
        }
        for (rid, urgency) in wanted {
            self.ask_keyframe(room_key, track_key, rid, urgency);
        }
    }

    /// Queues the next step of a track's replays.
    pub(super) fn replay(&mut self, now: Instant, room_key: RoomKey, track_key: TrackKey) {
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        let (participants, packets) = (&mut self.participants, &mut self.packets);
        let (dirty, stats) = (&mut self.dirty, &mut self.stats);
        let mut dropped = [0u64; DropReason::ALL.len()];
        let again = track.replay(
            now,
            |subscriber, slot, payload_type, rewritten, packet| {
                let Some(viewer) = participants.get_mut(subscriber) else { return };
                let Ok(index) = u32::try_from(packets.len()) else { return };
                if viewer.enqueue(Queued { packet: index, slot, payload_type, rewritten }) {
                    packets.push(Arc::clone(packet));
                    stats.packets_forwarded += 1;
                    stats.bytes_forwarded += packet.payload.len() as u64;
                    if viewer.mark_dirty() {
                        dirty.push(subscriber);
                    }
                }
            },
            |reason| {
                if let Some(count) = dropped.get_mut(reason as usize) {
                    *count += 1;
                }
            },
        );
        for (total, more) in stats.packets_dropped.iter_mut().zip(dropped) {
            *total += more;
        }
        if let Some(again) = again {
            self.deadlines.arm(&mut track.alarm, Due::Track(room_key, track_key), again, Patience::Prompt);
        }
    }

    /// A subscriber's decoder asked for a key frame.
    pub(super) fn on_keyframe_request(&mut self, now: Instant, key: ParticipantKey, mid: Mid) {
        self.stats.keyframe_requests += 1;
        let Some(viewer) = self.participants.get(key) else { return };
        let Some(slot) = viewer.slot_of(mid) else { return };
        let Some(Binding::Bound(track)) = viewer.slots.get(usize::from(slot)).map(|slot| &slot.binding) else { return };
        let (room, track_key) = (viewer.room, *track);
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        if let Some(rid) = track.keyframe_wanted(now, key, slot) {
            self.ask_keyframe(room, track_key, rid, Urgency::Needed);
        }
    }

    fn ask_keyframe(&mut self, room: RoomKey, key: TrackKey, rid: Option<Rid>, urgency: Urgency) {
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(key)) else { return };
        let (mid, layer) = (track.mid, track.layer_of(rid));
        let Publisher::Here(publisher) = track.publisher else {
            layer.into_iter().for_each(|layer| self.ask_upstream(room, key, layer, urgency));
            return;
        };
        let Some(participant) = self.participants.get_mut(publisher) else { return };
        if participant.peer.request_keyframe(mid, rid) {
            self.stats.keyframes_requested += 1;
            self.mark_dirty(publisher);
        }
    }

    /// Once a second per room: tells viewer counts and layers that changed, follows codecs that did, ends what has
    /// waited too long.
    pub(super) fn on_room_alarm(&mut self, now: Instant, key: RoomKey) {
        self.tell_viewers(key);
        self.tell_layers(now, key);
        self.tell_flaws(now, key);
        self.tell_tracks(now, key);
        self.bind_recoded(now, key);
        self.want_encodings_of_room(now, key);
        self.tell_qualities(now, key);
        self.retry_path(now, key);
        self.close_half_if_idle(now, key);
        let Some(room) = self.rooms.get_mut(key) else { return };
        self.deadlines.arm(&mut room.alarm, Due::Room(key), now + ROOM_INTERVAL, Patience::Prompt);
        let expired = room
            .unpublished_since
            .is_some_and(|since| now.saturating_duration_since(since) >= self.settings.resume_window);
        if expired && self.settings.early_viewers == EarlyViewers::Refuse {
            let viewers = room.participants.iter().copied();
            let plays =
                |key: &ParticipantKey| self.participants.get(*key).is_some_and(|p| matches!(p.role, Role::Play { .. }));
            let viewers: Vec<_> = viewers.filter(plays).collect();
            for viewer in viewers {
                self.end(now, viewer, super::command::EndReason::NothingPublished);
            }
        }
    }

    fn tell_viewers(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let people = room.participants.iter().filter_map(|key| self.participants.get(*key));
        let viewers = people.clone().filter(|participant| matches!(participant.role, Role::Play { .. })).count();
        let elsewhere =
            room.spread.iter().flat_map(|spread| spread.people()).filter(|remote| remote.is_viewer()).count();
        let viewers = u32::try_from(viewers + elsewhere).unwrap_or(u32::MAX);
        if std::mem::replace(&mut room.viewers_told, viewers) != viewers {
            for participant in people {
                let kind = EventKind::ViewerCount(viewers);
                self.outbox.event(super::command::Event { session: participant.session, kind });
            }
        }
    }

    pub(super) fn tell_layers(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let mut changed = Vec::new();
        for (track_key, track) in room.tracks.iter().filter(|(_, track)| track.kind == MediaKind::Video) {
            let report = track.report(now);
            let told = room.layers_told.iter_mut().find(|(told, _)| *told == track_key);
            let same = told.as_ref().is_some_and(|(_, before)| alike(before, &report));
            if same {
                continue;
            }
            match told {
                Some((_, before)) => before.clone_from(&report),
                None => room.layers_told.push((track_key, report.clone())),
            }
            let publisher = track.publisher.here().map(|key| (key, track.media_index, report)).into_iter();
            let viewers = track.subscriptions.iter().filter_map(|subscription| {
                let viewer = self.participants.get(subscription.subscriber)?;
                let slot = viewer.slots.get(usize::from(subscription.slot))?;
                let layers = track.report_for(now, subscription.assembles);
                Some((subscription.subscriber, slot.media_index, layers))
            });
            changed.extend(publisher.chain(viewers));
        }
        for (key, media, layers) in changed {
            let Some(participant) = self.participants.get(key) else { continue };
            let kind = EventKind::Layers(vec![MediaLayers { media, layers }]);
            self.outbox.event(super::command::Event { session: participant.session, kind });
        }
    }
}

/// True when nothing a person would act on differs: the same layers, living, in the same sizes, within a third of the
/// bitrate.
fn alike(before: &[super::command::LayerReport], after: &[super::command::LayerReport]) -> bool {
    let near = |a: u64, b: u64| a.abs_diff(b) * 3 <= a.max(b);
    before.len() == after.len()
        && before.iter().zip(after).all(|(a, b)| {
            let flags = |layer: &super::command::LayerReport| (layer.spatial, layer.live, layer.wanted);
            (&a.rid, flags(a), a.width, a.height) == (&b.rid, flags(b), b.width, b.height) && near(a.bitrate, b.bitrate)
        })
}
