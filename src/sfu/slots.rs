//! Which track goes into which slot: what a viewer wishes, else the latest speakers, and the loudest voices.
//!
//! Slots are negotiated once and re-pointed here. A plan is made from the whole state each time it may have changed
//! (somebody published, spoke, wished), keeps what may stay where it is, and costs nothing per packet.

use std::time::Instant;

use arrayvec::ArrayVec;

use super::command::{LayerSelection, Role};
use super::conference::Voices;
use super::link::Publisher;
use super::member::Wanted;
use super::participant::{Binding, MAX_SLOTS, Participant, Slot};
use super::room::Room;
use super::signal::{self, Event, TrackSource};
use super::track::{Steering, Track};
use super::{ParticipantKey, RoomKey, Sfu, TrackKey};
use crate::forward::loudness::{Seat, contest};
use crate::rtp::MediaKind;

/// What every slot is to carry; `None` is nothing.
type Plan = ArrayVec<Option<TrackKey>, MAX_SLOTS>;

/// Why a slot is free.
const NOTHING_PUBLISHED: &str = "nothing is published yet";
const NO_COMMON_CODEC: &str = "the viewer understands none of the codecs that are published";
const NOT_CHOSEN: &str = "other tracks are shown in this viewer's slots";

impl Sfu {
    /// Decides anew what the slots of everyone in a room carry.
    pub(super) fn bind_room(&mut self, now: Instant, room: RoomKey) {
        let everyone = self.rooms.get(room).map(|room| room.participants.clone()).unwrap_or_default();
        for key in everyone {
            self.bind(now, room, key);
        }
    }

    /// Decides anew what a participant's slots carry. Not before it is connected: what an engine is given earlier, it
    /// would keep.
    pub(super) fn bind(&mut self, now: Instant, room_key: RoomKey, key: ParticipantKey) {
        let connected = self.participants.get(key).filter(|participant| participant.connectivity.connected);
        if let (Some(participant), Some(room)) = (connected, self.rooms.get(room_key)) {
            let plan = self.plan(now, room, key, participant);
            self.carry_out(now, room_key, key, &plan);
        }
        self.tell_bindings(key);
    }

    /// Decides anew who is shown what, if a track is sent in another codec than when that was decided, and that makes a
    /// difference to somebody.
    pub(super) fn bind_recoded(&mut self, now: Instant, room_key: RoomKey) {
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        let people = || room.participants.iter().filter_map(|key| self.participants.get(*key));
        let mut differs = false;
        for track in room.tracks.values_mut().filter(|track| track.bound_by != track.codec) {
            let before = std::mem::replace(&mut track.bound_by, track.codec);
            let mut slots = people().flat_map(|participant| &participant.slots).filter(|slot| slot.kind == track.kind);
            differs |= slots.any(|slot| track.serves_as(before, &slot.formats) != track.serves(&slot.formats));
        }
        if differs {
            self.bind_room(now, room_key);
        }
    }

    /// Decides anew where a track that was muted or not makes a difference: who wishes for nothing particular is shown
    /// muted pictures last. Who has it in a slot is told why nothing comes.
    pub(super) fn bind_muted(&mut self, now: Instant, room_key: RoomKey, track: TrackKey) {
        let Some(room) = self.rooms.get(room_key) else { return };
        let Some(track) = room.tracks.get(track) else { return };
        let subscribers: Vec<_> = track.subscriptions.iter().map(|subscription| subscription.subscriber).collect();
        let leaves_choice = |key: &ParticipantKey| {
            let viewer = self.participants.get(*key).filter(|_| track.kind == MediaKind::Video);
            viewer.is_some_and(|viewer| viewer.member.as_ref().is_none_or(|member| member.wishes.is_none()))
        };
        let choosing: Vec<_> = room.participants.iter().copied().filter(leaves_choice).collect();
        for key in choosing {
            self.bind(now, room_key, key);
        }
        for key in subscribers {
            self.tell_bindings(key);
        }
    }

    /// Gives the audio slots of everyone to the voices that have become loud, where there are more voices than slots.
    pub(super) fn contest_room(&mut self, now: Instant, room_key: RoomKey) {
        let Some(room) = self.rooms.get(room_key) else { return };
        let voices = room.tracks.values().filter(|track| track.kind == MediaKind::Audio).count();
        let contested = |key: &ParticipantKey| {
            let slots = self.participants.get(*key).map(|participant| participant.slots.iter());
            let slots = slots.map_or(0, |slots| slots.filter(|slot| slot.kind == MediaKind::Audio).count());
            (1..voices).contains(&slots)
        };
        let moved = |key: &ParticipantKey| {
            let Some(listener) = self.participants.get(*key).filter(|p| p.connectivity.connected) else { return false };
            let winners = self.wanted_audio(now, room, *key, listener);
            let bound = listener.slots.iter().filter_map(|slot| slot.binding.track());
            winners.iter().any(|winner| bound.clone().all(|bound| bound != *winner))
        };
        let everyone: Vec<_> = room.participants.iter().copied().filter(contested).filter(moved).collect();
        for key in everyone {
            self.bind(now, room_key, key);
        }
    }

    /// The pictures somebody would be shown who could decode them, the most wanted first.
    pub(super) fn undecodable(&self, key: ParticipantKey) -> Vec<TrackKey> {
        let Some(viewer) = self.participants.get(key) else { return Vec::new() };
        let Some(room) = self.rooms.get(viewer.room) else { return Vec::new() };
        let is_free = |slot: &Slot| slot.kind == MediaKind::Video && slot.binding.track().is_none();
        if !viewer.slots.iter().any(is_free) {
            return Vec::new();
        }
        let decodes = |track: &Track| viewer.slots.iter().any(|slot| track.serves(&slot.formats));
        let mut wanted = wanted_video(room, key, viewer, &self.participants);
        wanted.retain(|track| room.tracks.get(*track).is_some_and(|track| !decodes(track)));
        wanted
    }

    fn plan(&self, now: Instant, room: &Room, key: ParticipantKey, viewer: &Participant) -> Plan {
        let mut plan: Plan = viewer.slots.iter().map(|slot| slot.binding.track()).collect();
        let video = wanted_video(room, key, viewer, &self.participants);
        assign(&mut plan, viewer, MediaKind::Video, &video, room);
        let audio = self.wanted_audio(now, room, key, viewer);
        assign(&mut plan, viewer, MediaKind::Audio, &audio, room);
        plan
    }

    /// All voices where they fit into the slots, else the winners of the contest.
    fn wanted_audio(&self, now: Instant, room: &Room, key: ParticipantKey, viewer: &Participant) -> Vec<TrackKey> {
        let paused = |track: TrackKey| {
            let wish = viewer.member.as_ref().and_then(|member| member.wish(track));
            wish.is_some_and(|wish| wish.paused)
        };
        let voices =
            choosable(room, key, viewer, MediaKind::Audio, &self.participants).filter(|(key, _)| !paused(*key));
        let mut voices: Vec<(TrackKey, &Track)> = voices.collect();
        voices.sort_by_key(|(_, track)| track.source.track());
        let slots = viewer.slots.iter().filter(|slot| slot.kind == MediaKind::Audio && !slot.formats.is_empty());
        let mut seats: ArrayVec<Seat<TrackKey>, MAX_SLOTS> =
            slots.map(|slot| Seat { holder: slot.binding.track(), since: slot.bound_at }).collect();
        if voices.len() <= seats.len() {
            return voices.into_iter().map(|(key, _)| key).collect();
        }
        let known: &Voices = &room.conference.voices;
        let candidates: Vec<_> = voices.into_iter().map(|(key, _)| (key, known.loudness(key))).collect();
        contest(now, &mut seats, &candidates);
        seats.into_iter().filter_map(|seat| seat.holder).collect()
    }

    fn carry_out(&mut self, now: Instant, room_key: RoomKey, key: ParticipantKey, plan: &Plan) {
        // First all that end, so that a track can move from one slot to another.
        for (index, track) in plan.iter().enumerate() {
            let bound = self.bound_track(key, index);
            if bound.is_some() && bound != *track {
                self.free_slot(room_key, key, index, NOT_CHOSEN);
            }
        }
        for (index, track) in plan.iter().enumerate() {
            match track {
                Some(track) => self.show(now, room_key, key, index, *track),
                None => self.explain_free_slot(room_key, key, index),
            }
        }
    }

    /// Points a slot at a track, or tells its subscription of a wish that changed.
    fn show(&mut self, now: Instant, room: RoomKey, key: ParticipantKey, index: usize, track: TrackKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let wish = participant.member.as_ref().and_then(|member| member.wish(track)).cloned();
        let Some(slot) = participant.slots.get_mut(index) else { return };
        let is_member = participant.member.is_some();
        let mut changed = false;
        if is_member && slot.kind == MediaKind::Video {
            let before = (slot.wish.clone(), slot.priority, slot.pinned, slot.max_frame_rate, slot.held);
            slot.take_wish(wish.as_ref());
            changed = before != (slot.wish.clone(), slot.priority, slot.pinned, slot.max_frame_rate, slot.held);
        }
        let (selection, held) = (slot.wish.clone(), slot.held);
        if slot.binding.track() != Some(track) {
            slot.bound_at = Some(now);
            if self.bind_slot(now, room, key, index, track) {
                self.hold(now, room, key, index, track, held);
                self.want_encodings(now, room, track);
                self.request_keyframes(now, room, track);
                self.tell_active(room, key, track);
                self.reallocate(now, key);
            }
        } else if changed {
            self.rewish(now, room, key, track, &selection);
            self.hold(now, room, key, index, track, held);
            self.want_encodings(now, room, track);
            self.request_keyframes(now, room, track);
            self.reallocate(now, key);
        }
    }

    /// Tells a subscription of another wish.
    fn rewish(&mut self, now: Instant, room: RoomKey, key: ParticipantKey, track: TrackKey, wish: &LayerSelection) {
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track)) else { return };
        for subscription in track.subscriptions.iter_mut().filter(|s| s.subscriber == key) {
            subscription.wish = wish.clone();
        }
        track.retarget(now);
    }

    /// Stops or starts sending, as the viewer wishes; the track stays in the slot.
    fn hold(
        &mut self,
        now: Instant,
        room: RoomKey,
        key: ParticipantKey,
        index: usize,
        track_key: TrackKey,
        held: bool,
    ) {
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        let (Ok(slot), Some(viewer)) = (u8::try_from(index), self.participants.get(key)) else { return };
        let subscription = track.subscriptions.iter_mut().find(|s| s.subscriber == key && s.slot == slot);
        let changed = subscription.is_some_and(|subscription| std::mem::replace(&mut subscription.held, held) != held);
        if changed {
            let shown = || viewer.allocation.steering(slot, track_key);
            track.steer(now, key, slot, if held { Steering::Paused } else { shown() });
        }
    }

    /// Takes a slot's track away. Its numbers go on with the next one.
    pub(super) fn free_slot(&mut self, room: RoomKey, key: ParticipantKey, index: usize, why: &'static str) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let Some(slot) = participant.slots.get_mut(index) else { return };
        let Binding::Bound(track) = slot.binding else { return };
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track)) else { return };
        let Ok(number) = u8::try_from(index) else { return };
        let found = track.subscriptions.iter().position(|s| s.subscriber == key && s.slot == number);
        let Some(found) = found else { return };
        let subscription = track.subscriptions.swap_remove(found);
        slot.take_back(subscription, why);
    }

    /// Says why a slot is free.
    fn explain_free_slot(&mut self, room: RoomKey, key: ParticipantKey, index: usize) {
        let (Some(room), Some(participant)) = (self.rooms.get(room), self.participants.get_mut(key)) else { return };
        let Some(slot) = participant.slots.get_mut(index) else { return };
        let mut tracks =
            room.tracks.values().filter(|track| track.kind == slot.kind && track.publisher != Publisher::Here(key));
        if let Binding::Free(_, why) = &mut slot.binding
            && let Some(first) = tracks.next()
        {
            let served = first.serves(&slot.formats) || tracks.any(|track| track.serves(&slot.formats));
            *why = if served { NOT_CHOSEN } else { NO_COMMON_CODEC };
        } else if let Binding::Free(_, why) = &mut slot.binding
            && *why == NOT_CHOSEN
        {
            *why = NOTHING_PUBLISHED;
        }
    }

    fn bound_track(&self, key: ParticipantKey, index: usize) -> Option<TrackKey> {
        self.participants.get(key)?.slots.get(index)?.binding.track()
    }

    /// Tells a member what its slots carry, if that changed.
    pub(super) fn tell_bindings(&mut self, key: ParticipantKey) {
        if self.participants.get(key).is_none_or(|participant| participant.member.is_none()) {
            return;
        }
        let bindings = self.describe_bindings(key);
        let Some(member) = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut()) else {
            return;
        };
        if member.bindings_told.as_ref().is_some_and(|told| *told != bindings) {
            member.bindings_told = Some(bindings.clone());
            self.tell(key, Event::Bindings { bindings });
        }
    }

    /// The bindings for a reply, which is then what the member was told.
    pub(super) fn note_told_bindings(&mut self, key: ParticipantKey) -> Vec<signal::Binding> {
        let bindings = self.describe_bindings(key);
        if let Some(member) = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut()) {
            member.bindings_told = Some(bindings.clone());
        }
        bindings
    }
}

/// The tracks of a kind that a viewer may be shown: not its own, and only those of the participant it came to watch.
fn choosable<'a>(
    room: &'a Room,
    key: ParticipantKey,
    viewer: &'a Participant,
    kind: MediaKind,
    participants: &'a slotmap::SlotMap<ParticipantKey, Participant>,
) -> impl Iterator<Item = (TrackKey, &'a Track)> {
    let named = match &viewer.role {
        Role::Play { participant } => participant.clone(),
        Role::Publish | Role::Member => None,
    };
    room.tracks.iter().filter(move |(_, track)| {
        let fits = track.kind == kind && track.publisher != Publisher::Here(key);
        let is_named = |named: &std::sync::Arc<str>| match track.publisher {
            Publisher::Here(key) => participants.get(key).is_some_and(|publisher| publisher.identity == *named),
            Publisher::There(key) => room.remote(key).is_some_and(|remote| *remote.info.identity == **named),
        };
        fits && named.as_ref().is_none_or(is_named)
    })
}

/// The videos a viewer should be shown, the most wanted first.
fn wanted_video(
    room: &Room,
    key: ParticipantKey,
    viewer: &Participant,
    participants: &slotmap::SlotMap<ParticipantKey, Participant>,
) -> Vec<TrackKey> {
    let voices = &room.conference.voices;
    if let Some(wishes) = viewer.member.as_ref().and_then(|member| member.wishes.as_ref()) {
        // A member came to watch everybody, and may be shown all but its own.
        let others = |track: &&Track| track.kind == MediaKind::Video && track.publisher != Publisher::Here(key);
        let mut wanted: Vec<(&Wanted, usize)> = wishes
            .iter()
            .filter(|wish| wish.height > 0)
            .filter_map(|wish| {
                let track = room.tracks.get(wish.track).filter(others)?;
                Some((wish, voices.recency(track.publisher)))
            })
            .collect();
        wanted.sort_by_key(|(wish, recency)| (wish.paused, !wish.pinned, 100 - wish.priority.min(100), *recency));
        return wanted.into_iter().map(|(wish, _)| wish.track).collect();
    }
    let screens_first = viewer.member.is_some();
    let tracks = choosable(room, key, viewer, MediaKind::Video, participants);
    let mut wanted: Vec<(TrackKey, &Track)> = tracks.collect();
    wanted.sort_by_key(|(_, track)| {
        let screen = screens_first && track.published.source == TrackSource::ScreenShare;
        (!screen, track.published.muted, voices.recency(track.publisher), track.source.track())
    });
    wanted.into_iter().map(|(key, _)| key).collect()
}

/// Puts the first of `wanted` into the slots of a kind. Whatever may stay stays where it is.
fn assign(plan: &mut Plan, viewer: &Participant, kind: MediaKind, wanted: &[TrackKey], room: &Room) {
    let slots = || viewer.slots.iter().enumerate().filter(|(_, slot)| slot.kind == kind);
    let fits = |index: usize, track: TrackKey| {
        let slot = viewer.slots.get(index);
        room.tracks.get(track).zip(slot).is_some_and(|(track, slot)| track.serves(&slot.formats))
    };
    let servable = wanted.iter().copied().filter(|track| slots().any(|(index, _)| fits(index, *track)));
    let open = slots().filter(|(_, slot)| !slot.formats.is_empty()).count();
    let chosen: ArrayVec<TrackKey, MAX_SLOTS> = servable.take(open.min(MAX_SLOTS)).collect();
    for (index, _) in slots() {
        if let Some(place) = plan.get_mut(index) {
            *place = place.filter(|track| chosen.contains(track) && fits(index, *track));
        }
    }
    for track in chosen {
        if plan.contains(&Some(track)) {
            continue;
        }
        let free = slots()
            .map(|(index, _)| index)
            .find(|index| plan.get(*index).is_some_and(Option::is_none) && fits(*index, track));
        if let Some(place) = free.and_then(|index| plan.get_mut(index)) {
            *place = Some(track);
        }
    }
}
