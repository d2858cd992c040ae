//! What happens to a session between its creation and its end: trickle, ICE restart, layer choice, leaving.

use std::time::Instant;

use tracing::info;

use super::command::{CommandError, EndReason, Event, EventKind, ExpectedIce, LayerSelection, Reply, SessionId};
use super::demux::{Owner, Route};
use super::failure::Failure;
use super::join::candidates;
use super::link::Publisher;
use super::negotiate::{self, Fragment};
use super::outbox::{Crossing, Source};
use super::participant::{Binding, Participant, Slot};
use super::room::Room;
use super::{ParticipantKey, Sfu};
use crate::rtp::MediaKind;

impl Sfu {
    /// Trickle or ICE restart (RFC 9725 section 4.3). A refused fragment changes nothing.
    pub(super) fn patch(
        &mut self,
        now: Instant,
        session: SessionId,
        expected: ExpectedIce,
        fragment: &str,
    ) -> Result<Reply, CommandError> {
        let key = self.key_of(session)?;
        let participant = self.participants.get_mut(key).ok_or(CommandError::UnknownSession)?;
        let current = participant.description.generation;
        if let ExpectedIce::Generation(generation) = expected
            && generation != current
        {
            return Err(CommandError::StaleGeneration { current });
        }
        let fragment = Fragment::parse(fragment)?;
        let description = &mut participant.description;
        if !fragment.restarts(description.offer.credentials()) {
            // An ICE-lite engine sends no checks: it has no use for candidates, the client's own checks tell it all.
            return Ok(Reply::Done);
        }
        let credentials = Route { shard: self.settings.shard, participant: key }.mint(&mut self.rng);
        let candidates = candidates(&description.addresses, self.settings.tcp);
        let rtc = participant.peer.rtc();
        let fragment = negotiate::restart(rtc, &mut description.offer, &fragment, &credentials, &candidates)?;
        description.credentials = credentials;
        description.generation += 1;
        let generation = description.generation;
        info!(%session, generation, "ICE restarted");
        self.mark_dirty(key);
        self.arm_participant(now, key);
        Ok(Reply::Restarted { fragment, generation })
    }

    pub(super) fn leave(&mut self, now: Instant, session: SessionId, reason: EndReason) -> Result<Reply, CommandError> {
        match self.key_of(session) {
            Ok(key) => self.end(now, key, reason),
            // Some clients close the connection first and say DELETE afterwards.
            Err(_) if self.records.closed_by_peer(session) => {}
            Err(unknown) => return Err(unknown),
        }
        Ok(Reply::Done)
    }

    /// The WHEP layer extension: a rid or caps for one m-line, or for all video.
    pub(super) fn select_layer(
        &mut self,
        now: Instant,
        session: SessionId,
        selection: &LayerSelection,
    ) -> Result<Reply, CommandError> {
        let key = self.key_of(session)?;
        let participant = self.participants.get_mut(key).ok_or(CommandError::UnknownSession)?;
        let room = self.rooms.get_mut(participant.room).ok_or(CommandError::UnknownSession)?;
        check_selection(participant, room, selection)?;
        let mut bound = Vec::new();
        for slot in participant.slots.iter_mut().filter(|slot| concerns(selection, slot)) {
            if let Binding::Bound(track_key) = slot.binding
                && let Some(track) = room.tracks.get_mut(track_key)
            {
                bound.push(track_key);
                for subscription in track.subscriptions.iter_mut().filter(|s| s.subscriber == key) {
                    subscription.wish = selection.clone();
                }
                track.retarget(now);
            }
            slot.wish = selection.clone();
        }
        let room_key = participant.room;
        for track in bound {
            self.want_encodings(now, room_key, track);
            self.request_keyframes(now, room_key, track);
        }
        self.reallocate(now, key);
        Ok(Reply::Done)
    }

    /// Ends everything and admits nobody any more.
    pub(super) fn shut_down(&mut self, now: Instant) -> Reply {
        self.shutting_down = true;
        let everyone: Vec<ParticipantKey> = self.participants.keys().collect();
        for key in everyone {
            self.tell_stopping(key);
            self.end(now, key, EndReason::Shutdown);
        }
        Reply::Done
    }

    /// Ends a session: says goodbye, frees what it held, keeps a record of why.
    pub(super) fn end(&mut self, now: Instant, key: ParticipantKey, reason: EndReason) {
        let room = self.participants.get(key).map(|participant| participant.room);
        self.end_keeping_room(now, key, reason);
        if let Some(room) = room {
            self.close_room_if_empty(room);
        }
    }

    /// The same, for a session whose place is taken at once.
    pub(super) fn end_keeping_room(&mut self, now: Instant, key: ParticipantKey, reason: EndReason) {
        let mut record = None;
        if let Some(report) = self.describe(now, key, Some(reason)) {
            info!(room = %report.room, session = %report.id, identity = &*report.identity, role = report.role,
                reason = ?reason, "session ended: {}", report.summary);
            // What a member had lost before was counted then.
            if self.participants.get(key).is_some_and(|participant| participant.connectivity.lost.is_none()) {
                self.count_failure(report.failure);
            }
            record = Some(report);
        }
        self.tell_left(key, reason);
        self.hang_up(now, key);
        let Some(participant) = self.participants.remove(key) else { return };
        if let Some(record) = record {
            self.records.keep(participant.session, record);
        }
        self.sessions.remove(&participant.session);
        if let Some(room) = self.rooms.get_mut(participant.room) {
            room.participants.retain(|other| *other != key);
        }
        self.unpublish(now, participant.room, &participant.tracks);
        self.unsubscribe(participant.room, key, &participant.slots);
        if let Some(room) = self.rooms.get_mut(participant.room) {
            room.conference.voices.forget_participant(Publisher::Here(key));
        }
        self.bind_room(now, participant.room);
        self.review_path(now, participant.room);
        *self.stats.sessions_ended.entry(reason).or_default() += 1;
        self.outbox.event(Event { session: participant.session, kind: EventKind::Ended(reason) });
    }

    pub(super) fn count_failure(&mut self, failure: Option<Failure>) {
        if let Some(failed) = failure.and_then(|why| self.stats.sessions_failed.get_mut(why as usize)) {
            *failed += 1;
        }
    }

    /// Says goodbye to a participant's peer, and forgets where it was.
    pub(super) fn hang_up(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.peer.close(now, &mut self.outbox);
        self.forget_addresses(key);
    }

    /// Forgets where a participant's engine was reached, before another takes its place.
    pub(super) fn forget_addresses(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get(key) else { return };
        let crossed = participant.crossings.iter().map(|(address, _)| *address);
        let addresses: Vec<Source> = participant.peer.addresses().chain(crossed).collect();
        addresses.into_iter().for_each(|address| self.forget_address(key, address));
    }

    /// Forgets that what comes from there is a participant's, on every shard.
    pub(super) fn forget_address(&mut self, key: ParticipantKey, address: Source) {
        self.addresses.forget(address, Owner::Participant(key));
        let Some(participant) = self.participants.get_mut(key) else { return };
        let here = self.settings.shard;
        for (_, shard) in participant.crossings.iter().filter(|(known, _)| *known == address) {
            self.outbox.crossings.push((*shard, Crossing::Forgotten { address, owner: here }));
        }
        participant.crossings.retain(|(known, _)| *known != address);
    }

    pub(super) fn key_of(&self, session: SessionId) -> Result<ParticipantKey, CommandError> {
        self.sessions.get(&session).copied().ok_or(CommandError::UnknownSession)
    }
}

/// The m-line is one the viewer chooses for: the one it names, or any with video.
fn concerns(selection: &LayerSelection, slot: &Slot) -> bool {
    selection.media.map_or(slot.kind == MediaKind::Video, |media| media == slot.media_index)
}

/// What a viewer names has to be there. The names of encodings are the publisher's: before it comes there are none.
fn check_selection(participant: &Participant, room: &Room, selection: &LayerSelection) -> Result<(), CommandError> {
    let unknown = |what: String| Err(CommandError::UnknownLayer { what });
    let mut slots = participant.slots.iter().filter(|slot| concerns(selection, slot)).peekable();
    if let Some(media) = selection.media.filter(|_| slots.peek().is_none()) {
        return unknown(format!("m-line {media} is not one of this session's"));
    }
    let Some(rid) = &selection.rid else { return Ok(()) };
    let mut shows_something = false;
    for slot in slots {
        let Some(track) = slot.binding.track().and_then(|track| room.tracks.get(track)) else { continue };
        shows_something = true;
        if track.layer_of(Some(rid.as_str().into())).is_none() {
            return unknown(format!("rid \"{rid}\" of m-line {}", slot.media_index));
        }
    }
    if !shows_something {
        return unknown(format!(
            "nothing is sent yet that could have a rid \"{rid}\"; sizes can be chosen at any time"
        ));
    }
    Ok(())
}
