//! The end of a turn: everybody who has something to send is visited once.

use std::time::Instant;

use super::{ParticipantKey, Sfu};

/// Datagrams after which a flush pauses: what one system call takes when each is a message. Larger: they have left the
/// processor's nearest caches when they are sent (64 of 1200 bytes are 75 KiB), and the first of them waits longer;
/// smaller: more system calls.
const FLUSH_PART: usize = 64;

/// How many places ahead of its turn a participant's state is fetched, step by step: what one step finds, the next one
/// follows. Larger: more of it has been driven out again by then; smaller: it is still on its way (a visit takes 5 to
/// 10 us, a line from memory a tenth of one, and there are some thirty).
const AHEAD: [(usize, Ahead); 3] = [(6, Ahead::Itself), (4, Ahead::Behind), (2, Ahead::Streams)];

/// What of a participant that is about to be visited is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ahead {
    /// What it keeps in itself.
    Itself,
    /// What that points to: what is queued for it, and its writer.
    Behind,
    /// The writer's streams and key.
    Streams,
}

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
            self.fetch_ahead();
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

    /// Asks for the state of those who are visited soon.
    fn fetch_ahead(&self) {
        for (places, what) in AHEAD {
            let key = self.dirty.len().checked_sub(places).and_then(|place| self.dirty.get(place));
            if let Some(participant) = key.and_then(|key| self.participants.get(*key)) {
                participant.fetch(what);
            }
        }
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
