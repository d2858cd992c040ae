//! What halves tell each other, and what comes of it for the members here.

use std::sync::Arc;
use std::time::Instant;

use super::message::{Beside, Line, LinkMessage, RoomState};
use super::{Act, Publisher, Remote};
use crate::sfu::outlet::DataMessage;
use crate::sfu::room::Room;
use crate::sfu::signal::{Event, Message};
use crate::sfu::{ParticipantKey, RoomKey, Sfu, ShardIndex, TrackKey};

/// Members a message names.
#[derive(Debug, Default)]
pub(in crate::sfu) struct Recipients {
    /// Of this shard.
    pub(in crate::sfu) here: Vec<ParticipantKey>,
    /// Sids of those on others.
    pub(in crate::sfu) there: Vec<String>,
}

impl Sfu {
    /// Tells the other halves what the members here are told, but for the one that said so.
    pub(in crate::sfu) fn tell_others(&mut self, key: RoomKey, message: &Arc<Message>, except: Option<ShardIndex>) {
        let Some(room) = self.rooms.get(key).filter(|room| room.is_spread()) else { return };
        let Message::Event(event) = &**message else { return };
        let beside = self.beside(room, event);
        let others = room.links().iter().copied().filter(|link| Some(*link) != except);
        for other in others.collect::<Vec<_>>() {
            let (message, beside) = (Arc::clone(message), beside.clone());
            self.say(key, other, LinkMessage::Told { message, beside });
        }
    }

    /// What mirrors have to know of an event.
    fn beside(&self, room: &Room, event: &Event) -> Beside {
        let shard = self.settings.shard;
        match event {
            Event::ParticipantJoined { participant } => {
                let tracks = participant.tracks.iter().filter_map(|track| room.track_named(shard, &track.sid));
                Beside { lines: tracks.filter_map(|key| room.line(shard, key)).collect() }
            }
            Event::TrackPublished { track, .. } | Event::TrackUpdated { track, .. } => {
                let line = room.track_named(shard, &track.sid).and_then(|key| room.line(shard, key));
                Beside { lines: line.into_iter().collect() }
            }
            _ => Beside::default(),
        }
    }

    /// All that is known here, for a half that has opened.
    pub(super) fn room_state(&self, now: Instant, key: RoomKey, to: ShardIndex) -> RoomState {
        let room = self.rooms.get(key);
        let here = room.into_iter().flat_map(|room| &room.participants);
        let here = here.filter_map(|key| self.describe_participant(now, *key));
        let there = room.into_iter().flat_map(Room::remotes).filter(|remote| remote.via != to).map(Remote::describe);
        let people = here.chain(there).map(|participant| {
            let joined = Event::ParticipantJoined { participant: participant.clone() };
            (participant, room.map(|room| self.beside(room, &joined)).unwrap_or_default())
        });
        let shard = self.settings.shard;
        RoomState {
            info: room.map(|room| self.describe_conference(key, room)),
            people: people.collect(),
            chat: room.map(|room| room.conference.chat.latest()).unwrap_or_default(),
            recent: room.map(|room| room.conference.voices.recent_sids(room, shard)).unwrap_or_default(),
        }
    }

    /// Sends a message to participants on other shards.
    pub(in crate::sfu) fn deliver(&mut self, room: RoomKey, to: &[String], event: Event) {
        let message = Arc::new(Message::Event(Box::new(event)));
        for (via, to) in self.by_half(room, to) {
            self.say(room, via, LinkMessage::Deliver { to, message: Arc::clone(&message) });
        }
    }

    /// Participants on other shards by the half they are told over.
    fn by_half(&self, room: RoomKey, to: &[String]) -> Vec<(ShardIndex, Vec<String>)> {
        let Some(room) = self.rooms.get(room) else { return Vec::new() };
        let via = |sid: &String| room.remote_by_sid(sid).map(|(_, remote)| remote.via);
        let named = |link: ShardIndex| to.iter().filter(|sid| via(sid) == Some(link)).cloned().collect::<Vec<_>>();
        let halves = room.links().iter().map(|link| (*link, named(*link)));
        halves.filter(|(_, named)| !named.is_empty()).collect()
    }

    pub(super) fn on_deliver(&mut self, room: RoomKey, from: ShardIndex, to: Vec<String>, message: &Arc<Message>) {
        let Recipients { here, there } = self.recipients_of(room, to);
        for key in here {
            self.send(key, message);
        }
        for (via, to) in self.by_half(room, &there).into_iter().filter(|(via, _)| *via != from) {
            self.say(room, via, LinkMessage::Deliver { to, message: Arc::clone(message) });
        }
    }

    /// Passes a data message on to the other halves; `to` is everybody when it names nobody.
    pub(in crate::sfu) fn pass_data_on(
        &mut self,
        room: RoomKey,
        except: Option<ShardIndex>,
        to: Option<&[String]>,
        message: &Arc<DataMessage>,
    ) {
        let halves: Vec<(ShardIndex, Option<Vec<String>>)> = match to {
            Some(to) => self.by_half(room, to).into_iter().map(|(via, to)| (via, Some(to))).collect(),
            None => self.rooms.get(room).into_iter().flat_map(Room::links).map(|link| (*link, None)).collect(),
        };
        for (via, to) in halves.into_iter().filter(|(via, _)| Some(*via) != except) {
            self.say(room, via, LinkMessage::Data { to, message: Arc::clone(message) });
        }
    }

    pub(super) fn on_link_data(
        &mut self,
        room: RoomKey,
        from: ShardIndex,
        to: Option<Vec<String>>,
        message: &Arc<DataMessage>,
    ) {
        let everybody = || self.rooms.get(room).map(|room| room.participants.clone()).unwrap_or_default();
        let (here, there) = match to {
            None => (everybody(), None),
            Some(to) => {
                let Recipients { here, there } = self.recipients_of(room, to);
                (here, Some(there))
            }
        };
        self.hand_data(&here, message);
        self.pass_data_on(room, Some(from), there.as_deref(), message);
    }

    /// Sorts sids into those of this half and others. Unknown ones have left meanwhile.
    fn recipients_of(&self, room: RoomKey, named: Vec<String>) -> Recipients {
        let mut recipients = Recipients::default();
        let Some(room) = self.rooms.get(room) else { return recipients };
        for sid in named {
            match room.publisher_named(self.settings.shard, &sid) {
                Some(Publisher::Here(key)) if room.participants.contains(&key) => recipients.here.push(key),
                Some(Publisher::There(_)) => recipients.there.push(sid),
                _ => {}
            }
        }
        recipients
    }

    /// What another half told its members is told to those here, and noted.
    pub(super) fn on_told(
        &mut self,
        now: Instant,
        key: RoomKey,
        from: ShardIndex,
        message: &Arc<Message>,
        beside: Beside,
    ) {
        let Message::Event(event) = &**message else { return };
        let hidden = self.is_of_hidden(key, event);
        // Who has left cannot be described to the next half any more, nor who comes before he is noted.
        let first = matches!(**event, Event::ParticipantLeft { .. } | Event::TrackUnpublished { .. });
        if first {
            self.tell_others(key, message, Some(from));
        }
        self.note(now, key, from, event, beside);
        if !first {
            self.tell_others(key, message, Some(from));
        }
        if !hidden {
            self.tell_here(key, None, message);
        }
        self.follow_up(now, key, event);
    }

    /// The event is about somebody others are not shown.
    fn is_of_hidden(&self, key: RoomKey, event: &Event) -> bool {
        let known = |sid: &str| self.rooms.get(key).and_then(|room| room.remote_by_sid(sid));
        match event {
            Event::ParticipantJoined { participant } | Event::ParticipantUpdated { participant } => {
                participant.permissions.hidden
            }
            Event::ParticipantLeft { sid, .. } | Event::ParticipantState { sid, .. } => {
                known(sid).is_some_and(|(_, remote)| remote.info.permissions.hidden)
            }
            _ => false,
        }
    }

    /// What changes for slots and paths by what was told.
    fn follow_up(&mut self, now: Instant, key: RoomKey, event: &Event) {
        match event {
            Event::ParticipantJoined { participant } => {
                self.settle_identity(now, key, participant);
                self.review_path(now, key);
                if !participant.tracks.is_empty() {
                    self.bind_room(now, key);
                }
            }
            Event::ParticipantLeft { .. } => {
                self.bind_room(now, key);
                self.review_path(now, key);
            }
            Event::TrackPublished { .. } | Event::TrackUnpublished { .. } => self.bind_room(now, key),
            Event::TrackUpdated { track, .. } => {
                let named = |room: &Room| room.track_named(self.settings.shard, &track.sid);
                if let Some(track) = self.rooms.get(key).and_then(named) {
                    self.bind_muted(now, key, track);
                }
            }
            _ => {}
        }
    }

    /// Two came under one name at the same moment, on two shards: the one of the higher sid gives way, on both.
    fn settle_identity(&mut self, now: Instant, key: RoomKey, other: &crate::sfu::signal::ParticipantInfo) {
        let Some(room) = self.rooms.get(key) else { return };
        let shard = self.settings.shard;
        let same = room.participants.iter().copied().find(|key| {
            let here = self.participants.get(*key);
            here.is_some_and(|here| here.member.is_some() && *here.identity == *other.identity)
        });
        let Some(same) = same else { return };
        let own = room.sid_of(shard, Publisher::Here(same));
        if other.kind == crate::sfu::signal::ParticipantKind::Standard && own > other.sid {
            self.on_act(now, key, shard, Act::Supersede { sid: own });
        }
    }
}

impl Room {
    /// A track for its mirrors.
    fn line(&self, shard: ShardIndex, key: TrackKey) -> Option<Line> {
        let track = self.tracks.get(key)?;
        Some(Line {
            sid: self.sid_of_track(shard, key),
            key,
            kind: track.kind,
            rids: track.layers.iter().map(|layer| layer.rid).collect(),
            formats: track.formats().to_vec(),
            codec: track.codec,
        })
    }
}
