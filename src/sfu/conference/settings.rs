//! What a room says of itself and can be changed while it is open: its metadata and playout delay. The home decides and
//! tells; other halves follow what they are told.

use crate::rtp::PlayoutDelay;
use crate::sfu::command::{CommandError, Reply, RoomChange};
use crate::sfu::link::Act;
use crate::sfu::playout::delay_of;
use crate::sfu::room::Room;
use crate::sfu::signal::{Failure, Response};
use crate::sfu::{ParticipantKey, RoomKey, Sfu};

use super::enter::{MAX_METADATA, check_length};
use super::media::gone;
use super::requests::DONE;

impl Room {
    /// How long receivers of what is published here hold pictures back.
    pub(in crate::sfu) fn playout_delay(&self) -> Option<PlayoutDelay> {
        match self.home_info() {
            Some(info) => info.playout_delay.and_then(|limits| limits.try_into().ok()),
            None => self.conference.playout_delay,
        }
    }

    /// Gives that to all that is published here.
    pub(in crate::sfu) fn apply_playout_delay(&mut self) {
        let delay = self.playout_delay();
        for track in self.tracks.values_mut().filter(|track| track.publisher.here().is_some()) {
            track.playout_delay = delay;
        }
    }
}

impl Sfu {
    /// A command of control, for a room that is at home here.
    pub(in crate::sfu) fn on_change_room(&mut self, name: &str, change: RoomChange) -> Result<Reply, CommandError> {
        let key = self.room_names.get(name).copied().ok_or_else(|| CommandError::UnknownRoom { room: name.into() })?;
        check_metadata(change.metadata.as_deref())
            .map_err(|failure| CommandError::TooLong { what: failure.message })?;
        self.change_room(key, change);
        Ok(Reply::Done)
    }

    pub(super) fn on_update_room(&mut self, key: ParticipantKey, metadata: String) -> Result<Response, Failure> {
        self.require_admin(key)?;
        check_metadata(Some(&metadata))?;
        let room = self.participants.get(key).map(|participant| participant.room).ok_or_else(gone)?;
        let change = RoomChange { metadata: Some(metadata), playout_delay: None };
        if self.rooms.get(room).is_some_and(Room::is_home) {
            self.change_room(room, change);
        } else {
            self.act(room, &Act::ChangeRoom(change));
        }
        DONE
    }

    /// Changes a room that is at home here, and tells everybody.
    pub(in crate::sfu) fn change_room(&mut self, key: RoomKey, change: RoomChange) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        if let Some(metadata) = change.metadata {
            room.conference.metadata = metadata;
        }
        if let Some(delay) = change.playout_delay {
            let configured = || delay_of(&self.settings.playout_delays, &room.name);
            room.conference.playout_delay = delay.or_else(configured);
            room.apply_playout_delay();
        }
        self.tell_updated_room(key);
    }
}

fn check_metadata(metadata: Option<&str>) -> Result<(), Failure> {
    check_length("metadata", metadata.unwrap_or_default(), MAX_METADATA)
}
