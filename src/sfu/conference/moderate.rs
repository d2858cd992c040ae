//! What moderators may do: remove somebody, mute a track, close the room.

use std::time::Instant;

use crate::sfu::command::{EndReason, Role};
use crate::sfu::link::{Act, Publisher};
use crate::sfu::signal::{CloseReason, ErrorCode, Event, Failure, Kick, MuteOther, Response};
use crate::sfu::{ParticipantKey, RoomKey, Sfu, sid};

use super::enter::check_length;
use super::media::gone;
use super::requests::DONE;

/// Bytes of a reason.
const MAX_REASON: usize = 512;

impl Sfu {
    pub(super) fn on_kick(&mut self, now: Instant, key: ParticipantKey, asked: &Kick) -> Result<Response, Failure> {
        self.require_admin(key)?;
        check_length("reason", asked.reason.as_deref().unwrap_or_default(), MAX_REASON)?;
        let room = self.participants.get(key).map(|participant| participant.room).ok_or_else(gone)?;
        let targets = self.recipients(key, Some(std::slice::from_ref(&asked.participant)))?;
        let reason = asked.reason.as_deref().unwrap_or("a moderator removed you");
        for sid in targets.there {
            self.act(room, &Act::Kick { sid, reason: reason.to_owned() });
        }
        for target in targets.here {
            if target == key {
                return Err(Failure::new(ErrorCode::BadRequest, "that is you; use `leave`"));
            }
            self.tell_closed(target, CloseReason::Kicked, reason);
            self.end(now, target, EndReason::Kicked);
        }
        DONE
    }

    pub(super) fn on_mute_other(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        asked: &MuteOther,
    ) -> Result<Response, Failure> {
        self.require_admin(key)?;
        let room = self.participants.get(key).map(|participant| participant.room).ok_or_else(gone)?;
        let shard = self.settings.shard;
        let found = self.rooms.get(room).and_then(|room| {
            let track = room.track_named(shard, &asked.track)?;
            Some((track, room.tracks.get(track)?.publisher))
        });
        let Some((track, publisher)) = found else {
            return Err(Failure::new(ErrorCode::NotFound, format!("there is no track {:.40}", asked.track)));
        };
        let by = sid::of_participant(shard, key);
        let Publisher::Here(publisher) = publisher else {
            self.act(room, &Act::Mute { track: asked.track.clone(), by });
            return DONE;
        };
        self.set_muted(now, room, track, true);
        self.tell(publisher, Event::Muted { track: asked.track.clone(), by });
        DONE
    }

    pub(super) fn on_close_room(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        reason: Option<&str>,
    ) -> Result<Response, Failure> {
        self.require_admin(key)?;
        check_length("reason", reason.unwrap_or_default(), MAX_REASON)?;
        let room = self.participants.get(key).map(|participant| participant.room).ok_or_else(gone)?;
        self.act(room, &Act::CloseRoom { reason: reason.map(str::to_owned) });
        self.end_everybody(now, room, Some(key), reason);
        DONE
    }

    /// Ends all of a room on this shard, but for the one who said so.
    pub(in crate::sfu) fn end_everybody(
        &mut self,
        now: Instant,
        room: RoomKey,
        except: Option<ParticipantKey>,
        reason: Option<&str>,
    ) {
        let everyone = self.rooms.get(room).map(|room| room.participants.clone()).unwrap_or_default();
        for other in everyone.into_iter().filter(|other| Some(*other) != except) {
            let member = self.participants.get(other).is_some_and(|participant| participant.role == Role::Member);
            if member {
                self.tell_closed(other, CloseReason::RoomClosed, reason.unwrap_or("a moderator closed the room"));
            }
            self.end(now, other, EndReason::Kicked);
        }
    }
}
