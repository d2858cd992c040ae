//! What members ask once they are in.

use std::time::{Duration, Instant};

use crate::sfu::command::{CommandError, EndReason, Link, Reply, SessionId};
use crate::sfu::link::Recipients;
use crate::sfu::member::{Admission, Wanted};
use crate::sfu::participant::DEFAULT_PRIORITY;
use crate::sfu::signal::{
    CloseReason, ErrorCode, Event, Failure, Mute, Nothing, Report, Request, Response, Subscribe, Subscribed, Update,
    Updated, Wish,
};
use crate::sfu::{ParticipantKey, Sfu, sid};

use super::enter::{MAX_ATTRIBUTES, check_texts};
use super::media::gone;

/// Wishes of one member. Larger: rooms with more tracks can be asked for one by one; smaller: less to go through when
/// slots are bound.
const MAX_WISHES: usize = 128;

/// What a request is answered, at once or not at all.
pub(super) const DONE: Result<Response, Failure> = Ok(Response::Nothing(Nothing {}));

impl Sfu {
    /// A request of a member.
    pub(in crate::sfu) fn request(
        &mut self,
        now: Instant,
        session: SessionId,
        link: Link,
        id: u64,
        request: Request,
    ) -> Result<Reply, CommandError> {
        let key = self.key_of(session)?;
        let participant = self.participants.get_mut(key).ok_or(CommandError::UnknownSession)?;
        let member = participant.member.as_mut().filter(|member| member.link == link && member.kept_until.is_none());
        let member = member.ok_or(CommandError::UnknownSession)?;
        match member.budget.admit(now) {
            Admission::Granted => {}
            Admission::Refused(failure) => {
                self.reply(key, id, Err(failure));
                return Ok(Reply::Done);
            }
            Admission::Flooding => {
                self.tell_closed(key, CloseReason::Flooding, "you sent far too many requests");
                self.end(now, key, EndReason::Flooding);
                return Ok(Reply::Done);
            }
        }
        let leaves = matches!(request, Request::Leave(_));
        let result = self.answer_request(now, key, request);
        self.reply(key, id, result);
        if leaves {
            self.tell_closed(key, CloseReason::Left, "goodbye");
            self.end(now, key, EndReason::Left);
        }
        Ok(Reply::Done)
    }

    fn answer_request(&mut self, now: Instant, key: ParticipantKey, request: Request) -> Result<Response, Failure> {
        match request {
            Request::Join(_) => {
                Err(Failure::new(ErrorCode::AlreadyJoined, "this connection has joined already; open another one"))
            }
            Request::Offer(asked) => self.on_offer(now, key, &asked.offer, &asked.tracks),
            // An ICE-lite engine sends no checks: it has no use for candidates, the client's own checks tell it all.
            Request::Trickle(_) | Request::Leave(_) | Request::Ping(_) => DONE,
            Request::Subscribe(asked) => self.on_subscribe(now, key, &asked),
            Request::Mute(asked) => self.on_mute(now, key, &asked),
            Request::Update(asked) => self.on_update(now, key, asked),
            Request::Chat(asked) => self.on_chat(now, key, asked),
            Request::Data(asked) => self.on_data(key, asked),
            Request::Signal(asked) => self.on_signal(key, &asked),
            Request::UpdateRoom(asked) => self.on_update_room(key, asked.metadata),
            Request::SetMode(asked) => self.on_set_mode(now, key, asked.mode),
            Request::PathReady(asked) => self.on_path_ready(now, key, asked),
            Request::Report(asked) => self.on_client_report(now, key, &asked),
            Request::Stats(_) => self.describe_stats(now, key).map(Response::Stats).ok_or_else(gone),
            Request::Kick(asked) => self.on_kick(now, key, &asked),
            Request::MuteOther(asked) => self.on_mute_other(now, key, &asked),
            Request::CloseRoom(asked) => self.on_close_room(now, key, asked.reason.as_deref()),
        }
    }

    /// The full desired state: what is not named is not sent.
    fn on_subscribe(&mut self, now: Instant, key: ParticipantKey, asked: &Subscribe) -> Result<Response, Failure> {
        if asked.wishes.len() > MAX_WISHES {
            let message = format!("{} wishes; {MAX_WISHES} are allowed", asked.wishes.len());
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        let shard = self.settings.shard;
        let Some(participant) = self.participants.get_mut(key) else { return Err(gone()) };
        let (key_of_room, Some(member)) = (participant.room, participant.member.as_mut()) else { return Err(gone()) };
        let room = self.rooms.get(key_of_room).ok_or_else(gone)?;
        // A track that is gone is no error: the wish and its end may have crossed on the way.
        let understood = asked.wishes.iter();
        let understood = understood.filter_map(|wish| Some(wanted(room.track_named(shard, &wish.track)?, wish)));
        member.wishes = Some(understood.collect());
        self.bind(now, key_of_room, key);
        Ok(Response::Subscribed(Subscribed { bindings: self.note_told_bindings(key) }))
    }

    fn on_mute(&mut self, now: Instant, key: ParticipantKey, asked: &Mute) -> Result<Response, Failure> {
        let own = sid::track(self.settings.shard, &asked.track);
        let participant = self.participants.get(key).ok_or_else(gone)?;
        let Some(track) = own.filter(|track| participant.tracks.contains(track)) else {
            return Err(Failure::new(ErrorCode::NotFound, format!("you publish no track {:.40}", asked.track)));
        };
        let room = participant.room;
        self.set_muted(now, room, track, asked.muted);
        DONE
    }

    /// Takes down that a track is muted or not, and tells everybody.
    pub(in crate::sfu) fn set_muted(
        &mut self,
        now: Instant,
        room: crate::sfu::RoomKey,
        track_key: crate::sfu::TrackKey,
        muted: bool,
    ) {
        let Some(track) = self.rooms.get_mut(room).and_then(|room| room.tracks.get_mut(track_key)) else { return };
        track.published.muted = muted;
        self.tell_track(now, room, track_key);
        self.bind_muted(now, room, track_key);
    }

    fn on_update(&mut self, now: Instant, key: ParticipantKey, asked: Update) -> Result<Response, Failure> {
        check_texts(asked.name.as_deref(), asked.metadata.as_deref(), asked.attributes.as_ref())?;
        let Some(participant) = self.participants.get_mut(key) else { return Err(gone()) };
        let (room, Some(member)) = (participant.room, participant.member.as_mut()) else { return Err(gone()) };
        if !member.permissions.can_update_metadata {
            return Err(Failure::new(
                ErrorCode::Forbidden,
                "you may not change your name, metadata or attributes in this room",
            ));
        }
        let mut attributes = member.attributes.clone();
        for (name, value) in asked.attributes.into_iter().flatten() {
            if value.is_empty() {
                attributes.remove(&name);
            } else {
                attributes.insert(name, value);
            }
        }
        if attributes.len() > MAX_ATTRIBUTES {
            return Err(Failure::new(ErrorCode::TooLarge, format!("more than {MAX_ATTRIBUTES} attributes")));
        }
        member.attributes = attributes;
        member.name = asked.name.filter(|name| !name.trim().is_empty()).unwrap_or(std::mem::take(&mut member.name));
        member.metadata = asked.metadata.unwrap_or(std::mem::take(&mut member.metadata));
        let participant = self.describe_participant(now, key).ok_or_else(gone)?;
        let event = Event::ParticipantUpdated { participant: participant.clone() };
        self.tell(key, event.clone());
        self.tell_of(room, key, event);
        Ok(Response::Updated(Updated { participant }))
    }

    fn on_client_report(&mut self, now: Instant, key: ParticipantKey, asked: &Report) -> Result<Response, Failure> {
        let member = self.participants.get_mut(key).and_then(|participant| participant.member.as_mut());
        if let Some(member) = member
            && let (Some(frozen), Some(interval)) = (asked.freeze_ms, asked.interval_ms)
            && interval > 0
        {
            member.quality.report(now, (frozen as f32 / interval as f32).min(1.0));
        }
        DONE
    }

    /// Checks that somebody is a moderator.
    pub(super) fn require_admin(&self, key: ParticipantKey) -> Result<(), Failure> {
        let admin = self.participants.get(key).is_some_and(|p| super::describe::permissions(p).admin);
        let refused = || {
            Failure::new(
                ErrorCode::Forbidden,
                "only a moderator may do that (a key with `admin`, or a token that says so)",
            )
        };
        if admin { Ok(()) } else { Err(refused()) }
    }

    /// The members of the sender's room that sids name; all others on this shard for `None`.
    pub(super) fn recipients(&self, key: ParticipantKey, to: Option<&[String]>) -> Result<Recipients, Failure> {
        let room = self.participants.get(key).and_then(|participant| self.rooms.get(participant.room));
        let room = room.ok_or_else(gone)?;
        let mut recipients = Recipients::default();
        let Some(to) = to else {
            recipients.here = room.participants.iter().copied().filter(|other| *other != key).collect();
            return Ok(recipients);
        };
        for named in to {
            let here = sid::participant(self.settings.shard, named).filter(|found| room.participants.contains(found));
            match here {
                Some(here) => recipients.here.push(here),
                None if room.has_remote(named) => recipients.there.push(named.clone()),
                None => {
                    return Err(Failure::new(ErrorCode::NotFound, format!("{named:.40} is not in the room")));
                }
            }
        }
        Ok(recipients)
    }

    /// Tells members that the server will stop.
    pub(in crate::sfu) fn drain(&mut self, remaining: Duration) -> Reply {
        let deadline = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        let rooms: Vec<_> = self.rooms.keys().collect();
        for room in rooms {
            let event = Event::Draining { deadline, reason: "the server is stopping".to_owned() };
            // Each shard is told so by itself.
            self.tell_event_here(room, event);
        }
        Reply::Done
    }
}

fn wanted(track: crate::sfu::TrackKey, wish: &Wish) -> Wanted {
    Wanted {
        track,
        height: wish.height,
        fps: wish.fps,
        priority: wish.priority.unwrap_or(DEFAULT_PRIORITY).min(100),
        pinned: wish.pinned.unwrap_or_default(),
        paused: wish.paused.unwrap_or_default(),
    }
}
