//! The mirror: who is in the room on other shards, and what they publish. Made of what is told, so that it says what
//! members were told, no more.

use std::time::Instant;

use super::message::{Beside, Line, RoomState};
use super::{Publisher, Upstream};
use crate::forward::Source;
use crate::rtp::MediaKind;
use crate::sfu::conference::Published;
use crate::sfu::signal::{Event, ParticipantInfo, ParticipantKind, ParticipantState, TrackInfo};
use crate::sfu::track::Track;
use crate::sfu::{RoomKey, Sfu, ShardIndex, TrackKey};

slotmap::new_key_type! {
    /// Somebody of a room who is on another shard.
    pub(in crate::sfu) struct RemoteKey;
}

/// Somebody on another shard.
#[derive(Debug)]
pub(in crate::sfu) struct Remote {
    /// As the members were told, but for the tracks.
    pub(in crate::sfu) info: ParticipantInfo,
    /// The half it was told of by.
    pub(super) via: ShardIndex,
    /// What it publishes, as members were told.
    tracks: Vec<(TrackKey, TrackInfo)>,
}

impl Remote {
    pub(in crate::sfu) fn describe(&self) -> ParticipantInfo {
        let tracks = self.tracks.iter().map(|(_, info)| info.clone()).collect();
        ParticipantInfo { tracks, ..self.info.clone() }
    }

    pub(in crate::sfu) fn is_member(&self) -> bool {
        self.info.kind == ParticipantKind::Standard
    }

    pub(in crate::sfu) fn is_viewer(&self) -> bool {
        self.info.kind == ParticipantKind::Egress
    }

    pub(in crate::sfu) fn is_away(&self) -> bool {
        self.info.state == ParticipantState::Reconnecting
    }
}

impl Sfu {
    /// Takes over what the home knows. Who is not in it any more has left meanwhile.
    pub(super) fn adopt(&mut self, now: Instant, key: RoomKey, from: ShardIndex, state: RoomState) {
        self.move_home(now, key, Some(from));
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(spread) = &mut room.spread else { return };
        if let Some(info) = &state.info {
            (room.conference.mode, spread.info) = (info.mode, state.info.clone());
        }
        room.conference.chat.adopt(state.chat);
        let listed = |sid: &String| state.people.iter().any(|(info, _)| info.sid == *sid);
        let gone: Vec<String> = spread.sids.keys().filter(|sid| !listed(sid)).cloned().collect();
        for sid in gone {
            self.lose_remote(now, key, &sid);
        }
        for (participant, beside) in state.people {
            let known = self.rooms.get(key).is_some_and(|room| room.remote_by_sid(&participant.sid).is_some());
            self.note_joined(now, key, from, &participant, beside);
            if !known && !participant.permissions.hidden {
                self.tell_event_here(key, Event::ParticipantJoined { participant });
            }
        }
        if let Some(room) = self.rooms.get_mut(key) {
            let recent = state.recent.iter().filter_map(|sid| room.publisher_named(self.settings.shard, sid));
            room.conference.voices.set_recent(recent.collect());
            room.apply_playout_delay();
        }
        self.bind_room(now, key);
    }

    /// Notes what was told.
    pub(super) fn note(&mut self, now: Instant, key: RoomKey, from: ShardIndex, event: &Event, beside: Beside) {
        match event {
            Event::ParticipantJoined { participant } => self.note_joined(now, key, from, participant, beside),
            Event::ParticipantLeft { sid, .. } => self.forget_remote(now, key, sid),
            Event::TrackPublished { participant, track } => {
                for line in beside.lines {
                    self.mirror(now, key, participant, line, track);
                }
            }
            Event::TrackUpdated { track, .. } => self.note_track(now, key, track, &beside),
            Event::TrackUnpublished { participant, track } => self.forget_mirrored(now, key, participant, track),
            Event::Speakers { dominant: Some(sid), .. } => self.note_dominant(now, key, sid),
            _ => self.note_state(key, event),
        }
    }

    /// The home says who dominates, several times a second: seldom somebody else.
    fn note_dominant(&mut self, now: Instant, key: RoomKey, sid: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(speaker) = room.publisher_named(self.settings.shard, sid) else { return };
        if room.conference.voices.recency(speaker) > 0 {
            room.conference.voices.dominates(speaker);
            self.bind_room(now, key);
        }
    }

    fn note_state(&mut self, key: RoomKey, event: &Event) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        match event {
            Event::ParticipantUpdated { participant } => {
                if let Some(remote) = remote_mut(room, &participant.sid) {
                    remote.info = ParticipantInfo { tracks: Vec::new(), ..participant.clone() };
                }
            }
            Event::ParticipantState { sid, state } => {
                if let Some(remote) = remote_mut(room, sid) {
                    remote.info.state = *state;
                }
            }
            Event::Quality { sid, score } => {
                if let Some(remote) = remote_mut(room, sid) {
                    remote.info.quality = *score;
                }
            }
            Event::Chat { message } => room.conference.chat.keep(message.clone()),
            Event::RoomUpdated { room: info } => {
                room.conference.mode = info.mode;
                if let Some(spread) = &mut room.spread {
                    spread.info = Some(info.clone());
                }
                room.apply_playout_delay();
            }
            _ => {}
        }
    }

    fn note_joined(
        &mut self,
        now: Instant,
        key: RoomKey,
        via: ShardIndex,
        participant: &ParticipantInfo,
        beside: Beside,
    ) {
        let Some(spread) = self.rooms.get_mut(key).and_then(|room| room.spread.as_mut()) else { return };
        let info = ParticipantInfo { tracks: Vec::new(), ..participant.clone() };
        if let Some(known) = spread.sids.get(&participant.sid).and_then(|key| spread.people.get_mut(*key)) {
            known.info = info;
        } else {
            let remote = Remote { info, via, tracks: Vec::new() };
            let remote = spread.people.insert(remote);
            spread.sids.insert(participant.sid.clone(), remote);
        }
        for line in beside.lines {
            if let Some(track) = participant.tracks.iter().find(|track| track.sid == line.sid) {
                self.mirror(now, key, &participant.sid, line, track);
            }
        }
    }

    /// Makes a track like another half's.
    fn mirror(&mut self, now: Instant, key: RoomKey, publisher: &str, line: Line, info: &TrackInfo) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some((remote, via)) = room.remote_by_sid(publisher).map(|(key, remote)| (key, remote.via)) else { return };
        let Some(spread) = room.spread.as_mut().filter(|spread| !spread.tracks.contains_key(&line.sid)) else { return };
        let source = Source::new(self.next_source);
        self.next_source = self.next_source.wrapping_add(1);
        let upstream = Upstream::new(line.sid.clone(), via, line.key);
        let share = self.settings.keyframe_share;
        let mut track = Track::mirrored(Publisher::There(remote), source, line.kind, &line.rids, line.formats, share);
        track.upstream = Some(Box::new(upstream));
        (track.codec, track.bound_by) = (line.codec, line.codec);
        track.published = published(info);
        let audio = line.kind == MediaKind::Audio;
        let track = room.tracks.insert(track);
        room.unpublished_since = None;
        spread.tracks.insert(line.sid, track);
        if let Some(remote) = spread.people.get_mut(remote) {
            remote.tracks.push((track, info.clone()));
        }
        if audio {
            self.tell_want(key, track);
        }
        self.bind_room(now, key);
    }

    fn note_track(&mut self, now: Instant, key: RoomKey, info: &TrackInfo, beside: &Beside) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(spread) = &mut room.spread else { return };
        let Some(track_key) = spread.tracks.get(&info.sid).copied() else { return };
        let Some(track) = room.tracks.get_mut(track_key) else { return };
        track.published = published(info);
        let mut reformatted = false;
        for line in &beside.lines {
            reformatted |= track.reformat(&line.formats);
            // While packets come they tell it, and sooner.
            if track.upstream.as_ref().is_some_and(|upstream| !upstream.is_open()) {
                track.codec = line.codec;
            }
        }
        let remote = match track.publisher {
            Publisher::There(remote) => spread.people.get_mut(remote),
            Publisher::Here(_) => None,
        };
        if let Some((_, told)) = remote.and_then(|remote| remote.tracks.iter_mut().find(|(key, _)| *key == track_key)) {
            told.clone_from(info);
        }
        if reformatted {
            self.bind_room(now, key);
        }
        self.bind_recoded(now, key);
    }

    fn forget_mirrored(&mut self, now: Instant, key: RoomKey, publisher: &str, track: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(track) = room.spread.as_mut().and_then(|spread| spread.tracks.remove(track)) else { return };
        if let Some(remote) = remote_mut(room, publisher) {
            remote.tracks.retain(|(key, _)| *key != track);
        }
        self.unpublish(now, key, &[track]);
    }

    /// Forgets somebody on another shard.
    fn forget_remote(&mut self, now: Instant, key: RoomKey, sid: &str) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(spread) = &mut room.spread else { return };
        let Some(remote_key) = spread.sids.remove(sid) else { return };
        let Some(remote) = spread.people.remove(remote_key) else { return };
        let gone: Vec<TrackKey> = remote.tracks.iter().map(|(key, _)| *key).collect();
        for (_, info) in &remote.tracks {
            spread.tracks.remove(&info.sid);
        }
        room.conference.voices.forget_participant(Publisher::There(remote_key));
        self.unpublish(now, key, &gone);
    }

    /// Forgets somebody whose half went without saying so, and tells everybody.
    pub(super) fn lose_remote(&mut self, now: Instant, key: RoomKey, sid: &str) {
        let hidden = self.rooms.get(key).and_then(|room| room.remote_by_sid(sid));
        let hidden = hidden.is_some_and(|(_, remote)| remote.info.permissions.hidden);
        self.forget_remote(now, key, sid);
        if !hidden {
            let left = Event::ParticipantLeft { sid: sid.to_owned(), reason: "connection_lost".to_owned() };
            self.tell_room(key, None, left);
        }
        self.bind_room(now, key);
    }
}

fn remote_mut<'a>(room: &'a mut crate::sfu::room::Room, sid: &str) -> Option<&'a mut Remote> {
    let spread = room.spread.as_mut()?;
    let key = spread.sids.get(sid)?;
    spread.people.get_mut(*key)
}

fn published(info: &TrackInfo) -> Published {
    Published {
        source: info.source,
        name: info.name.clone(),
        muted: info.muted,
        encrypted: info.encrypted,
        told: Some(info.clone()),
        ..Published::default()
    }
}
