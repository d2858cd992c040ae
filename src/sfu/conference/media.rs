//! A member's offers: the first one gives it an engine, later ones change its m-lines, one of another
//! `RTCPeerConnection` (a reloaded page) replaces the engine. What is sent becomes tracks, what is received slots.

use std::time::Instant;

use crate::sfu::allocation::{self, Allocation};
use crate::sfu::command::Role;
use crate::sfu::demux::Route;
use crate::sfu::join::{STREAM, candidates};
use crate::sfu::negotiate::{self, DescriptionError, Local, NegotiatedMedia, Offer};
use crate::sfu::participant::{Connectivity, Description};
use crate::sfu::peer::{self, Peer};
use crate::sfu::signal::{ErrorCode, Event, Failure, Offered, OwnTrack, Response};
use crate::sfu::track::{Assembles, Subscription};
use crate::sfu::{ParticipantKey, RoomKey, Sfu, TrackKey, sid};

use super::describe::Published;
use super::enter::{MAX_NAME, check_length};

/// Why a slot carries nothing.
pub(super) const NOT_GRANTED: &str = "this member may not receive";

impl Sfu {
    /// `offer`.
    pub(super) fn on_offer(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        offer: &str,
        tracks: &[OwnTrack],
    ) -> Result<Response, Failure> {
        let may = self.participants.get(key).is_some_and(|p| super::describe::permissions(p).can_publish);
        if !tracks.is_empty() && !may {
            return Err(Failure::new(ErrorCode::Forbidden, "you may not publish in this room; send an empty `tracks`"));
        }
        let offer = Offer::parse(offer, &Role::Member).map_err(|error| bad_offer(&error))?;
        self.negotiate_member(now, key, offer, Some(tracks))?;
        self.arm_participant(now, key);
        let Some(participant) = self.participants.get_mut(key) else { return Err(gone()) };
        let answer = participant.answer.clone().unwrap_or_default();
        let bindings = self.note_told_bindings(key);
        Ok(Response::Offered(Offered { answer, tracks: self.describe_own_tracks(key), bindings }))
    }

    /// Negotiates an offer and brings tracks and slots in line with it. The answer is left with the participant.
    pub(super) fn negotiate_member(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        offer: Offer,
        tracks: Option<&[OwnTrack]>,
    ) -> Result<(), Failure> {
        let tracks = tracks.unwrap_or_default();
        for track in tracks {
            check_length("track's name", track.name.as_deref().unwrap_or_default(), MAX_NAME)?;
        }
        let before = self.presence_of(key);
        let Some(participant) = self.participants.get(key) else { return Err(gone()) };
        let negotiated = participant.member.as_ref().is_some_and(|member| member.negotiated);
        let continues = negotiated && participant.peer.is_alive() && offer.continues(&participant.description.offer);
        let media = if continues { self.renew_media(now, key, offer) } else { self.replace_media(now, key, offer) };
        let media = media.map_err(|error| bad_offer(&error))?;
        self.settle_tracks(now, key, &media, tracks);
        self.settle_slots(now, key, &media);
        self.tell_presence(key, before);
        self.mark_dirty(key);
        Ok(())
    }

    fn renew_media(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        mut offer: Offer,
    ) -> Result<Vec<NegotiatedMedia>, DescriptionError> {
        let credentials = Route { shard: self.settings.shard, participant: key }.mint(&mut self.rng);
        let Some(participant) = self.participants.get_mut(key) else { return Ok(Vec::new()) };
        let description = &mut participant.description;
        let candidates = candidates(&description.addresses, self.settings.tcp);
        let local = Local { candidates: &candidates, stream: STREAM };
        let renewed = negotiate::renew(participant.peer.rtc(), &description.offer, &mut offer, &credentials, &local)?;
        description.offer = offer;
        if renewed.restarted {
            description.credentials = credentials;
            description.generation += 1;
            participant.connectivity.alive = Some(now);
        }
        participant.answer = Some(renewed.answer);
        let room = participant.room;
        if renewed.restarted {
            self.restart_allocation(now, key);
            if let Some(room) = self.rooms.get_mut(room) {
                room.conference.path.network_changed(key);
            }
        }
        Ok(renewed.media)
    }

    fn replace_media(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        offer: Offer,
    ) -> Result<Vec<NegotiatedMedia>, DescriptionError> {
        let credentials = Route { shard: self.settings.shard, participant: key }.mint(&mut self.rng);
        let Some(participant) = self.participants.get(key) else { return Ok(Vec::new()) };
        let addresses = participant.description.addresses.clone();
        let candidates = candidates(&addresses, self.settings.tcp);
        let local = Local { candidates: &candidates, stream: STREAM };
        let estimates = allocation::estimates(&Role::Member, &offer);
        let mut config = peer::exporting(peer::config(&self.settings, &credentials));
        if estimates {
            config = allocation::estimating(config);
        }
        let accepted = negotiate::accept(config, &offer, &local, now)?;
        let peer = Peer::new(accepted.rtc, addresses.clone(), now);
        self.drop_media(now, key);
        let Some(participant) = self.participants.get_mut(key) else { return Ok(Vec::new()) };
        participant.peer = peer;
        participant.description = Description { offer, credentials, generation: 0, counter_offer: None, addresses };
        participant.connectivity = Connectivity { alive: Some(now), ..Connectivity::default() };
        participant.negotiated_at = now;
        participant.allocation = Allocation::new(estimates);
        participant.answer = Some(accepted.answer);
        if let Some(member) = &mut participant.member {
            member.negotiated = true;
            member.media_lost = false;
        }
        Ok(accepted.media)
    }

    /// Takes everything a member sends and receives away, and says goodbye to its engine's peer.
    pub(super) fn drop_media(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let (room, tracks) = (participant.room, std::mem::take(&mut participant.tracks));
        let slots = std::mem::take(&mut participant.slots);
        participant.forget_origins(&tracks);
        participant.clear_queue();
        self.hang_up(now, key);
        self.lose_channels(key);
        self.unsubscribe(room, key, &slots);
        self.withdraw(now, key, &tracks);
    }

    /// Publishes what an offer publishes, and takes back what it no longer does.
    fn settle_tracks(&mut self, now: Instant, key: ParticipantKey, media: &[NegotiatedMedia], wanted: &[OwnTrack]) {
        let Some(participant) = self.participants.get(key) else { return };
        let Some(room) = self.rooms.get(participant.room) else { return };
        let lines = || media.iter().filter(|line| line.direction.is_receiving());
        let published = |mid: &str| lines().any(|line| line.original_mid == mid) && wanted.iter().any(|w| w.mid == mid);
        let standing = participant.tracks.iter().filter_map(|key| Some((*key, room.tracks.get(*key)?)));
        let (kept, gone): (Vec<_>, Vec<_>) =
            standing.map(|(key, track)| (key, track.original_mid.clone())).partition(|(_, mid)| published(mid));
        let gone: Vec<TrackKey> = gone.into_iter().map(|(track, _)| track).collect();
        self.withdraw(now, key, &gone);
        for own in wanted {
            let Some(line) = lines().find(|line| line.original_mid == own.mid) else { continue };
            let track = match kept.iter().find(|(_, mid)| *mid == own.mid) {
                Some((track, _)) => {
                    self.reformat_track(now, key, *track, line);
                    Some(*track)
                }
                None => self.add_track(key, line),
            };
            if let Some(track) = track {
                self.label_track(now, key, track, own);
            }
        }
    }

    /// Goes on with a track in the formats of a later offer. What others are told of it says them to its mirrors.
    fn reformat_track(&mut self, now: Instant, key: ParticipantKey, track_key: TrackKey, line: &NegotiatedMedia) {
        let Some(room_key) = self.participants.get(key).map(|participant| participant.room) else { return };
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        if track.reformat(&line.formats) {
            self.tell_track_anew(now, room_key, track_key);
            self.bind_room(now, room_key);
        }
    }

    /// Takes down what a publisher says about a track, and tells the others what is new.
    fn label_track(&mut self, now: Instant, key: ParticipantKey, track_key: TrackKey, own: &OwnTrack) {
        let Some(room_key) = self.participants.get(key).map(|participant| participant.room) else { return };
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        let (told, encodings) = (track.published.told.take(), std::mem::take(&mut track.published.encodings));
        track.published = Published {
            source: own.source,
            name: own.name.clone().unwrap_or_default(),
            muted: own.muted.unwrap_or_default(),
            encrypted: own.encrypted.unwrap_or_default(),
            encodings,
            told,
        };
        // A member that is just coming in is told of with its tracks.
        let introduced = self.rooms.get(room_key).is_some_and(|room| room.participants.contains(&key));
        if introduced {
            self.tell_track(now, room_key, track_key);
        }
    }

    /// Adds slots for new m-lines, opens and closes those that are there.
    fn settle_slots(&mut self, now: Instant, key: ParticipantKey, media: &[NegotiatedMedia]) {
        let may = self.participants.get(key).is_some_and(|p| super::describe::permissions(p).can_subscribe);
        let Some(room) = self.participants.get(key).map(|participant| participant.room) else { return };
        let count = self.participants.get(key).map_or(0, |participant| participant.slots.len());
        for index in 0..count {
            let Some(participant) = self.participants.get_mut(key) else { return };
            let Some(slot) = participant.slots.get_mut(index) else { continue };
            let line = media.iter().find(|line| may && line.mid == slot.mid && line.direction.is_sending());
            if let Some(line) = line {
                slot.formats.clone_from(&line.formats);
                slot.assembles = Assembles::of(line);
                self.reformat_slot(room, key, index);
            } else {
                let why = if may { "the client closed this slot" } else { NOT_GRANTED };
                self.close_slot(room, key, index, why);
            }
        }
        for line in media.iter().filter(|line| may && line.direction.is_sending()) {
            let known = self.participants.get(key).is_some_and(|p| p.slots.iter().any(|slot| slot.mid == line.mid));
            if !known {
                self.add_slot(key, line);
            }
        }
        self.bind(now, room, key);
    }

    /// Tells the subscription of a slot what the client takes now.
    fn reformat_slot(&mut self, room: RoomKey, key: ParticipantKey, index: usize) {
        let slot = self.participants.get(key).and_then(|participant| participant.slots.get(index));
        let Some((slot, track)) = slot.and_then(|slot| Some((slot, slot.binding.track()?))) else { return };
        let track = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track));
        let own = |s: &&mut Subscription| s.subscriber == key && usize::from(s.slot) == index;
        if let Some(subscription) = track.and_then(|track| track.subscriptions.iter_mut().find(own)) {
            subscription.reformat(slot);
        }
    }

    /// Sends nothing on a slot until an offer opens it again.
    pub(super) fn close_slot(&mut self, room: RoomKey, key: ParticipantKey, index: usize, why: &'static str) {
        if let Some(slot) = self.participants.get_mut(key).and_then(|p| p.slots.get_mut(index)) {
            slot.formats.clear();
        }
        self.free_slot(room, key, index, why);
    }

    /// Takes tracks out of the room and tells everybody.
    pub(in crate::sfu) fn withdraw(&mut self, now: Instant, key: ParticipantKey, tracks: &[TrackKey]) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let room = participant.room;
        participant.tracks.retain(|track| !tracks.contains(track));
        participant.forget_origins(tracks);
        if tracks.is_empty() {
            return;
        }
        self.unpublish(now, room, tracks);
        let shard = self.settings.shard;
        let participant = sid::of_participant(shard, key);
        for track in tracks {
            let track = sid::of_track(shard, *track);
            self.tell_room(room, None, Event::TrackUnpublished { participant: participant.clone(), track });
        }
        self.bind_room(now, room);
    }

    /// Tells a room of a track what it has not been told: that it is published, or what changed.
    pub(in crate::sfu) fn tell_track(&mut self, now: Instant, room_key: RoomKey, key: TrackKey) {
        let Some(track) = self.rooms.get(room_key).and_then(|room| room.tracks.get(key)) else { return };
        let info = self.describe_track(now, key, track);
        if track.published.told.as_ref() != Some(&info) {
            self.tell_track_anew(now, room_key, key);
        }
    }

    /// Tells a room of a track whatever it has been told: mirrors have to know more than is said.
    fn tell_track_anew(&mut self, now: Instant, room_key: RoomKey, key: TrackKey) {
        let Some(track) = self.rooms.get(room_key).and_then(|room| room.tracks.get(key)) else { return };
        // Of those of other shards people are told as they tell it.
        let Some(publisher) = track.publisher.here() else { return };
        let info = self.describe_track(now, key, track);
        let (new, participant) = (track.published.told.is_none(), sid::of_participant(self.settings.shard, publisher));
        if let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) {
            track.published.told = Some(info.clone());
        }
        if new {
            self.tell_room(room_key, Some(publisher), Event::TrackPublished { participant, track: info });
            self.bind_room(now, room_key);
        } else {
            self.tell_room(room_key, None, Event::TrackUpdated { participant, track: info });
        }
    }

    /// A participant's tracks were told with the participant itself.
    pub(super) fn note_told_tracks(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get(key) else { return };
        let (room, tracks) = (participant.room, participant.tracks.clone());
        for track in tracks {
            let Some(found) = self.rooms.get(room).and_then(|room| room.tracks.get(track)) else { continue };
            let info = self.describe_track(now, track, found);
            if let Some(found) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track)) {
                found.published.told = Some(info);
            }
        }
    }
}

fn bad_offer(error: &DescriptionError) -> Failure {
    Failure::new(ErrorCode::BadOffer, error.to_string())
}

pub(super) fn gone() -> Failure {
    Failure::new(ErrorCode::NotJoined, "you are no longer in the room; join again")
}
