//! The end of a turn: everybody who has something to send is visited once.

use std::time::Instant;

use super::{ParticipantKey, Sfu};

/// Datagrams after which a flush pauses. Larger: they have left the processor's cache when they are sent (256 of 1200
/// bytes are 300 KiB); smaller: more system calls.
const FLUSH_PART: usize = 256;

/// How much of a flush is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flushed {
    /// There is more.
    Partly,
    /// All.
    Wholly,
}

impl Sfu {
    /// Ends the turn: wakes what is due, then visits each participant that has something to send exactly once.
    pub fn flush(&mut self, now: Instant) {
        while self.flush_part(now) == Flushed::Partly {}
    }

    /// The same in parts, so that datagrams leave while they are in the processor's cache: after each part the
    /// [`outbox`](Self::outbox) is to be emptied.
    pub fn flush_part(&mut self, now: Instant) -> Flushed {
        if !std::mem::replace(&mut self.flushing, true) {
            self.wake_due(now);
            self.cut_off_those_behind(now);
        }
        while let Some(key) = self.dirty.pop() {
            self.flush_participant(now, key);
            if self.outbox.datagrams.len() >= FLUSH_PART {
                return Flushed::Partly;
            }
        }
        self.packets.clear();
        self.turn.expire(now);
        self.deliver_carried(now);
        self.flushing = false;
        Flushed::Wholly
    }

    fn flush_participant(&mut self, now: Instant, key: ParticipantKey) {
        self.decide_writers(now, key);
        let Some(participant) = self.participants.get_mut(key) else { return };
        participant.write_queue(now, &self.packets, &mut self.outbox);
        if participant.peer.is_unsettled(now) {
            let mut events = std::mem::take(&mut self.events);
            let result = participant.peer.settle(now, &mut self.outbox, &mut events);
            self.after(now, key, result, events);
        }
    }
}
