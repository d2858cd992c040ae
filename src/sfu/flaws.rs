//! What is wrong with published streams, told to their publishers and the log. Not here: finding it (`forward::Lint`).

use std::time::Instant;

use tracing::warn;

use super::command::{Event, EventKind};
use super::room::Room;
use super::{RoomKey, Sfu, TrackKey};

impl Sfu {
    /// Tells of flaws that were found since it was last looked.
    pub(super) fn tell_flaws(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let mut publishers = Vec::new();
        for track in room.tracks.values_mut() {
            let Some(key) = track.publisher.here() else { continue };
            let Some(publisher) = self.participants.get(key) else { continue };
            while let Some(flaw) = track.lint.next_flaw(now) {
                warn!(room = %room.name, session = %publisher.session, identity = &*publisher.identity, "{flaw}");
                publishers.push(key);
            }
        }
        publishers.dedup();
        for publisher in publishers {
            let (Some(room), Some(publisher)) = (self.rooms.get(key), self.participants.get(publisher)) else {
                continue;
            };
            let kind = EventKind::Warnings(room.warnings(&publisher.tracks));
            self.outbox.event(Event { session: publisher.session, kind });
        }
    }
}

impl Room {
    /// What is wrong with these tracks, for people.
    pub(super) fn warnings(&self, tracks: &[TrackKey]) -> Vec<String> {
        let tracks = tracks.iter().filter_map(|key| self.tracks.get(*key));
        tracks.flat_map(|track| track.lint.found()).map(ToString::to_string).collect()
    }
}
