//! What is to be done where somebody is, or at home.

use std::time::Instant;

use super::Publisher;
use super::message::LinkMessage;
use crate::sfu::command::{EndReason, RoomChange};
use crate::sfu::signal::{CloseReason, Event, RoomMode};
use crate::sfu::{RoomKey, Sfu, ShardIndex};

/// Something to be done on another shard. Who asked was allowed to.
#[derive(Debug, Clone)]
pub(in crate::sfu) enum Act {
    /// Remove somebody.
    Kick { sid: String, reason: String },
    /// Somebody joined under the identity of this one.
    Supersede { sid: String },
    /// Mute a track; by whom.
    Mute { track: String, by: String },
    /// Everybody is to go.
    CloseRoom { reason: Option<String> },
    /// How media is to travel: for the home to decide.
    SetMode(RoomMode),
    /// What the room is to say of itself: for the home to tell.
    ChangeRoom(RoomChange),
}

impl Sfu {
    /// Has something done at the half it concerns.
    pub(in crate::sfu) fn act(&mut self, key: RoomKey, act: &Act) {
        self.act_beyond(key, None, act);
    }

    /// Passes an act on to where it belongs, never back.
    fn act_beyond(&mut self, key: RoomKey, from: Option<ShardIndex>, act: &Act) {
        let Some(room) = self.rooms.get(key) else { return };
        let to: Vec<ShardIndex> = match act {
            Act::Kick { sid, .. } | Act::Supersede { sid } => {
                room.remote_by_sid(sid).map(|(_, remote)| remote.via).into_iter().collect()
            }
            Act::Mute { track, .. } => {
                let track = room.track_named(self.settings.shard, track).and_then(|key| room.tracks.get(key));
                track.and_then(|track| track.upstream.as_ref()).map(|upstream| upstream.via).into_iter().collect()
            }
            Act::SetMode(_) | Act::ChangeRoom(_) if room.is_home() => Vec::new(),
            Act::CloseRoom { .. } | Act::SetMode(_) | Act::ChangeRoom(_) => room.links().to_vec(),
        };
        for to in to.into_iter().filter(|to| Some(*to) != from) {
            self.say(key, to, LinkMessage::Act(act.clone()));
        }
    }

    pub(super) fn on_act(&mut self, now: Instant, key: RoomKey, from: ShardIndex, act: Act) {
        self.act_beyond(key, Some(from), &act);
        let shard = self.settings.shard;
        let Some(room) = self.rooms.get(key) else { return };
        let here = |sid: &str| room.publisher_named(shard, sid).and_then(Publisher::here);
        match act {
            Act::Kick { sid, reason } => {
                if let Some(target) = here(&sid).filter(|target| room.participants.contains(target)) {
                    self.tell_closed(target, CloseReason::Kicked, &reason);
                    self.end(now, target, EndReason::Kicked);
                }
            }
            Act::Supersede { sid } => {
                if let Some(target) = here(&sid).filter(|target| room.participants.contains(target)) {
                    self.tell_closed(target, CloseReason::DuplicateIdentity, "somebody joined under your identity");
                    self.end(now, target, EndReason::TakenOver);
                }
            }
            Act::Mute { track, by } => {
                let found = room.track_named(shard, &track).and_then(|key| Some((key, room.tracks.get(key)?)));
                let Some((track_key, Publisher::Here(publisher))) = found.map(|(key, track)| (key, track.publisher))
                else {
                    return;
                };
                self.set_muted(now, key, track_key, true);
                self.tell(publisher, Event::Muted { track, by });
            }
            Act::CloseRoom { reason } => self.end_everybody(now, key, None, reason.as_deref()),
            Act::SetMode(mode) => {
                if room.is_home() {
                    self.set_mode(now, key, mode);
                }
            }
            Act::ChangeRoom(change) => {
                if room.is_home() {
                    self.change_room(key, change);
                }
            }
        }
    }
}
