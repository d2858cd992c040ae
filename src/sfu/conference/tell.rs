//! Who hears of what.

use std::sync::Arc;
use std::time::Instant;

use crate::sfu::command::{EndReason, EventKind, Link, SessionId};
use crate::sfu::participant::Participant;
use crate::sfu::quality::Signs;
use crate::sfu::room::Room;
use crate::sfu::signal::{CloseReason, Event, Failure, Message, ParticipantState, Response};
use crate::sfu::{ParticipantKey, RoomKey, Sfu, command, sid};

use super::describe::presence;

impl Sfu {
    /// Answers a request.
    pub(super) fn reply(&mut self, key: ParticipantKey, id: u64, result: Result<Response, Failure>) {
        let message = match result {
            Ok(result) => Message::Reply { id, result: Box::new(result) },
            Err(error) => Message::Refusal { id: Some(id), error },
        };
        self.send(key, &Arc::new(message));
    }

    /// Tells one member.
    pub(in crate::sfu) fn tell(&mut self, key: ParticipantKey, event: Event) {
        self.send(key, &Arc::new(Message::Event(Box::new(event))));
    }

    /// Tells all members of a room, on whichever shard, but for `except`.
    pub(in crate::sfu) fn tell_room(&mut self, room: RoomKey, except: Option<ParticipantKey>, event: Event) {
        let message = Arc::new(Message::Event(Box::new(event)));
        self.tell_here(room, except, &message);
        self.tell_others(room, &message, None);
    }

    /// The same for those on this shard.
    pub(in crate::sfu) fn tell_here(&mut self, room: RoomKey, except: Option<ParticipantKey>, message: &Arc<Message>) {
        let Some(room) = self.rooms.get(room) else { return };
        let told = room.participants.iter().filter(|key| Some(**key) != except);
        let told = told.filter_map(|key| self.participants.get_mut(*key)?.tell());
        let event = addressed(told.collect(), message);
        event.into_iter().for_each(|event| self.outbox.event(event));
    }

    /// Tells these members.
    pub(super) fn tell_these(&mut self, told: &[ParticipantKey], event: Event) {
        let told = told.iter().filter_map(|key| self.participants.get_mut(*key)?.tell());
        let event = addressed(told.collect(), &Arc::new(Message::Event(Box::new(event))));
        event.into_iter().for_each(|event| self.outbox.event(event));
    }

    /// Tells the members on this shard.
    pub(in crate::sfu) fn tell_event_here(&mut self, room: RoomKey, event: Event) {
        self.tell_here(room, None, &Arc::new(Message::Event(Box::new(event))));
    }

    /// Tells a room of one of its participants: where that one is hidden, the other shards alone, which have to know.
    pub(super) fn tell_of(&mut self, room: RoomKey, who: ParticipantKey, event: Event) {
        if self.is_hidden(who) {
            self.tell_others(room, &Arc::new(Message::Event(Box::new(event))), None);
        } else {
            self.tell_room(room, Some(who), event);
        }
    }

    /// Says the last word on a member's link.
    pub(in crate::sfu) fn tell_closed(&mut self, key: ParticipantKey, reason: CloseReason, message: &str) {
        self.tell(key, Event::Closed { reason, message: message.to_owned() });
    }

    /// The same on a link that is no longer the member's.
    pub(super) fn tell_link_closed(&mut self, key: ParticipantKey, link: Link, reason: CloseReason, message: &str) {
        let Some(participant) = self.participants.get(key) else { return };
        let message = Arc::new(Message::Event(Box::new(Event::Closed { reason, message: message.to_owned() })));
        let event = addressed(vec![(participant.session, link)], &message);
        event.into_iter().for_each(|event| self.outbox.event(event));
    }

    /// Tells a room's members that somebody leaves.
    pub(in crate::sfu) fn tell_left(&mut self, key: ParticipantKey, reason: EndReason) {
        let Some(room) = self.participants.get(key).map(|participant| participant.room) else { return };
        // One whose join was never told of is not told to have left either.
        let known = self.rooms.get(room).is_some_and(|room| room.participants.contains(&key));
        if known {
            let (sid, reason) = (sid::of_participant(self.settings.shard, key), why(reason).to_owned());
            self.tell_of(room, key, Event::ParticipantLeft { sid, reason });
        }
    }

    /// Says the last word to a member as the server stops.
    pub(in crate::sfu) fn tell_stopping(&mut self, key: ParticipantKey) {
        self.tell_closed(key, CloseReason::ServerStopping, "the server is stopping; join again in a while");
    }

    /// Once a second: tells codecs and sizes that have become known.
    pub(in crate::sfu) fn tell_tracks(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get(key).filter(|room| room.is_spread() || self.has_members(room)) else { return };
        let tracks: Vec<_> = room.tracks.keys().collect();
        for track in tracks {
            self.tell_track(now, key, track);
        }
    }

    /// Once a second: tells connection qualities that have changed.
    pub(in crate::sfu) fn tell_qualities(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        for member in room.participants.clone() {
            let Some(signs) = self.signs(now, member) else { continue };
            let participant = self.participants.get_mut(member);
            let Some(quality) = participant.and_then(|p| p.member.as_mut()).map(|member| &mut member.quality) else {
                continue;
            };
            if quality.update(now, &signs) {
                let (score, sid) = (quality.score(), sid::of_participant(self.settings.shard, member));
                let event = Event::Quality { sid, score };
                if self.is_hidden(member) { self.tell(member, event) } else { self.tell_room(key, None, event) }
            }
        }
    }

    /// The others are not shown that it is there.
    pub(super) fn is_hidden(&self, key: ParticipantKey) -> bool {
        self.participants.get(key).is_some_and(|participant| super::describe::permissions(participant).hidden)
    }

    fn signs(&self, now: Instant, key: ParticipantKey) -> Option<Signs> {
        let participant = self.participants.get(key)?;
        let member = participant.member.as_ref()?;
        let room = self.rooms.get(participant.room)?;
        let sent = participant.slots.iter().filter(|slot| slot.binding.track().is_some()).filter_map(|slot| slot.loss);
        let received = participant.tracks.iter().filter_map(|key| room.tracks.get(*key)?.loss);
        Some(Signs {
            lost: presence(participant) == ParticipantState::Reconnecting,
            loss: sent.chain(received).max_by(f32::total_cmp),
            rtt: participant.connectivity.rtt,
            frozen: member.quality.frozen(now),
        })
    }

    fn has_members(&self, room: &Room) -> bool {
        room.participants.iter().any(|key| self.participants.get(*key).is_some_and(|p| p.member.is_some()))
    }

    /// Milliseconds since 1970.
    pub(in crate::sfu) fn unix_ms(&self, at: Instant) -> u64 {
        let (origin, unix) = self.settings.clock;
        let unix = match at.checked_duration_since(origin) {
            Some(later) => unix + later,
            None => unix.saturating_sub(origin.saturating_duration_since(at)),
        };
        u64::try_from(unix.as_millis()).unwrap_or(u64::MAX)
    }

    pub(in crate::sfu) fn send(&mut self, key: ParticipantKey, message: &Arc<Message>) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let to = if matches!(**message, Message::Event(_)) { participant.tell() } else { participant.address() };
        let event = addressed(to.into_iter().collect(), message);
        event.into_iter().for_each(|event| self.outbox.event(event));
    }
}

/// Why somebody left, in a word.
fn why(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Deleted | EndReason::PeerClosed | EndReason::Left => "left",
        EndReason::Timeout | EndReason::NeverConnected | EndReason::DtlsFailed => "connection_lost",
        EndReason::TakenOver => "replaced",
        EndReason::Kicked | EndReason::Flooding => "removed",
        EndReason::NothingPublished => "nothing_published",
        EndReason::Shutdown => "server_stopping",
        EndReason::Internal => "error",
    }
}

impl Participant {
    /// Where messages for a member go; `None` for others, and while its link is gone.
    pub(super) fn address(&self) -> Option<(SessionId, Link)> {
        let member = self.member.as_ref().filter(|member| member.kept_until.is_none())?;
        Some((self.session, member.link))
    }

    /// The same for an event, which is counted.
    fn tell(&mut self) -> Option<(SessionId, Link)> {
        let address = self.address()?;
        self.member.as_mut()?.told += 1;
        Some(address)
    }
}

/// A message on its way, if it is for anybody.
fn addressed(to: Vec<(SessionId, Link)>, message: &Arc<Message>) -> Option<command::Event> {
    let (session, _) = *to.first()?;
    Some(command::Event { session, kind: EventKind::Message { to, message: Arc::clone(message) } })
}
