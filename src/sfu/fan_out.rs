//! A packet on its way to all who watch its track, on this shard and others.

use std::sync::Arc;
use std::time::Instant;

use super::participant::Queued;
use super::{RoomKey, Sfu, TrackKey};
use crate::forward::DropReason;
use crate::rtp::{Packet, Resolutions};

impl Sfu {
    /// Runs a packet that its track has accounted for past every subscription, and over the links.
    pub(super) fn fan_out(
        &mut self,
        now: Instant,
        room_key: RoomKey,
        track_key: TrackKey,
        packet: &Arc<Packet>,
        resolutions: &Resolutions,
    ) {
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        let Some(track) = room.tracks.get_mut(track_key) else { return };
        let first = track.packets == 1;
        let chosen = track.choose(now);
        let have_choice = track.take_found_layers();
        let packet = &track.repeated(packet);
        let Ok(index) = u32::try_from(self.packets.len()) else { return };
        let level = packet.extensions.audio_level.as_ref();
        let wakes = level.is_some_and(|level| room.conference.voices.heard(now, track_key, level.minus_dbov));
        let (participants, dirty, stats) = (&mut self.participants, &mut self.dirty, &mut self.stats);
        let mut dropped = [0u64; DropReason::ALL.len()];
        track.forward(
            packet,
            |subscriber, slot, payload_type, rewritten| {
                let Some(subscriber_state) = participants.get_mut(subscriber) else { return };
                if subscriber_state.enqueue(Queued { packet: index, slot, payload_type, rewritten }) {
                    stats.packets_forwarded += 1;
                    stats.bytes_forwarded += packet.payload.len() as u64;
                    if subscriber_state.mark_dirty() {
                        dirty.push(subscriber);
                    }
                }
            },
            |reason| {
                if let Some(count) = dropped.get_mut(reason as usize) {
                    *count += 1;
                }
            },
        );
        stats.packets_crossed += track.cross(packet, resolutions, &mut self.outbox);
        for (total, more) in stats.packets_dropped.iter_mut().zip(dropped) {
            *total += more;
        }
        self.packets.push(Arc::clone(packet));
        if wakes {
            self.wake_conference(room_key, now);
        }
        for viewer in have_choice {
            self.let_engine_write(viewer);
        }
        if first {
            self.on_track_started(now, room_key, track_key);
        }
        if dropped.get(DropReason::OpenPicture as usize).is_some_and(|postponed| *postponed > 0) {
            self.replay(now, room_key, track_key);
        }
        if chosen || dropped.get(DropReason::LateKeyframe as usize).is_some_and(|late| *late > 0) {
            self.request_keyframes(now, room_key, track_key);
        }
    }
}
