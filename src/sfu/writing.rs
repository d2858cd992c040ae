//! Who writes what somebody is sent: the engine, or the peer itself.
//!
//! The engine's congestion control is worth its price where there is something to choose. A viewer of one encoding
//! without layers is sent that whatever its connection carries, and receivers' own estimates (REMB) and losses are
//! heard either way. Decided at a viewer's first packet, be it of sound: a picture may come late or never. Should there
//! be a choice later, since the publisher has come back with layers or begun to send some, the engine goes on with its
//! streams, for good: a key must have one writer at a time (`srtp`).
//!
//! Members who are shown several pictures have something to choose, be it which to leave out, so those are the
//! engine's, and with them the sound, for the estimator has to know all that stands in the queue it measures. Who only
//! listens has nothing to choose.

use std::time::Instant;

use super::allocation::INITIAL_ESTIMATE;
use super::participant::Slot;
use super::{ParticipantKey, Sfu};
use crate::rtp::MediaKind;

/// Packets of sound that are held back at most while it is not known what the video will be: a tenth of a second, in
/// which pictures begin that begin with the sound. Larger: who listens to a publisher whose camera is covered hears the
/// start later; smaller: engines go on with streams that they could have begun.
const SOUND_HELD_BACK: u64 = 5;

impl Sfu {
    /// Decides for a viewer whose streams are about to begin: one way for all of them, so that the estimator sees all
    /// or nothing.
    pub(super) fn decide_writers(&mut self, now: Instant, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        if !participant.begins() {
            return;
        }
        let Some(room) = self.rooms.get(participant.room) else { return };
        let bound = || participant.slots.iter().filter_map(|slot| room.tracks.get(slot.binding.track()?));
        let mut videos = bound().filter(|track| track.kind == MediaKind::Video);
        let longest = bound().map(|track| track.packets).max().unwrap_or_default();
        if videos.clone().any(|track| track.packets == 0 && track.layers.len() == 1) && longest <= SOUND_HELD_BACK {
            return;
        }
        let writes = participant.peer.has_writer() && !videos.any(|track| track.may_be_layered(now));
        participant.undecided = false;
        for (slot, number) in participant.slots.iter().zip(0u8..) {
            let (mid, kind) = (slot.mid, slot.kind);
            if !writes {
                participant.peer.leave_to_engine(mid, kind, slot.ssrc, slot.repair);
                continue;
            }
            participant.peer.adopt(&slot.as_stream(number));
        }
        if writes {
            // What the estimator said so far it said of silence.
            participant.allocation.rest();
            participant.peer.rest_estimator();
        }
    }

    /// A member's slot is about to carry a track. Until it is shown a picture, there is nothing to choose for it, and
    /// its sound is written here; with the first one the engine goes on with everything, and estimates.
    pub(super) fn prepare_slot(&mut self, key: ParticipantKey, slot: u8) {
        let Some(participant) = self.participants.get_mut(key).filter(|p| p.member.is_some()) else { return };
        let (slots, peer) = (&participant.slots, &mut participant.peer);
        let Some(found) = slots.get(usize::from(slot)) else { return };
        let videos = || slots.iter().filter(|slot| slot.kind == MediaKind::Video);
        if found.kind == MediaKind::Video {
            if participant.allocation.wake() {
                videos().for_each(|slot| peer.leave_to_engine(slot.mid, slot.kind, slot.ssrc, slot.repair));
                peer.let_engine_write(INITIAL_ESTIMATE);
                self.mark_dirty(key);
            }
            return;
        }
        let is_first = !peer.writes_sound();
        let was_sent = |slot: &Slot| slot.packets > 0 || slot.binding.track().is_some();
        // What was sent by the engine stays the engine's.
        if is_first && (!participant.allocation.is_estimating() || slots.iter().any(was_sent)) {
            return;
        }
        if peer.adopt_sound(&found.as_stream(slot)) && is_first {
            videos().for_each(|slot| peer.keep_from_padding(slot.mid, slot.ssrc));
            participant.allocation.rest();
            peer.rest_estimator();
        }
    }

    /// There is something to choose for a viewer. If its streams are written here, the engine goes on with them and
    /// estimates, unless it could not: without reports of arrivals there is nothing to gain.
    pub(super) fn let_engine_write(&mut self, key: ParticipantKey) {
        let Some(participant) = self.participants.get_mut(key) else { return };
        if participant.peer.writes() && participant.allocation.wake() {
            participant.peer.let_engine_write(INITIAL_ESTIMATE);
            self.mark_dirty(key);
        }
    }
}
