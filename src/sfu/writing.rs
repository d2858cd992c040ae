//! Who writes a viewer's streams: the engine, or the peer itself.
//!
//! The engine's congestion control is worth its price where there is something to choose. A viewer of one encoding
//! without layers is sent that whatever its connection carries, and receivers' own estimates (REMB) and losses are
//! heard either way. Decided at a stream's first packet and for good, because a key must have one writer only (`srtp`):
//! should the publisher come back with layers, such a viewer goes on without the estimator.

use std::time::Instant;

use super::allocation::Allocation;
use super::peer::StreamSpec;
use super::{ParticipantKey, Sfu};
use crate::rtp::MediaKind;

impl Sfu {
    /// Decides for the streams that are about to begin.
    pub(super) fn decide_writers(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        let beginning = participant.beginning();
        if beginning == 0 {
            return;
        }
        let Some(room) = self.rooms.get(participant.room) else { return };
        let mut tracks = participant.slots.iter().filter_map(|slot| room.tracks.get(slot.binding.track()?));
        let has_choice = tracks.any(|track| track.kind == MediaKind::Video && track.may_be_layered(now));
        let writes = participant.peer.has_writer() && !has_choice;
        participant.undecided &= !beginning;
        for (index, slot) in (0u8..).zip(&participant.slots).filter(|(index, _)| beginning >> index & 1 == 1) {
            let (mid, kind) = (slot.mid, slot.kind);
            if !writes {
                participant.peer.leave_to_engine(mid, kind, slot.ssrc, slot.repair);
                continue;
            }
            participant.peer.adopt(&StreamSpec {
                slot: index,
                mid,
                kind,
                ssrc: *slot.ssrc,
                repair: slot.repair.map(|ssrc| *ssrc),
                extensions: slot.extensions,
                formats: &slot.formats,
            });
            if kind == MediaKind::Video {
                // What the estimator said so far it said of silence.
                participant.allocation = Allocation::default();
                participant.peer.rest_estimator();
            }
        }
    }
}
