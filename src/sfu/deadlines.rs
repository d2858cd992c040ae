//! Who wants to be woken when. Ordered, with lazy re-arming: a deadline that moved later costs nothing until the old
//! one comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::{ParticipantKey, RoomKey, TrackKey};

/// Something that wants to be woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A participant: its engine's timers, its own.
    Participant(ParticipantKey),
    /// A track: key frame requests, choice of layer.
    Track(RoomKey, TrackKey),
    /// A room: expiry, viewer counts.
    Room(RoomKey),
    /// A room somebody speaks in.
    Conference(RoomKey),
}

/// When its owner is queued to be woken. Every owner keeps one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Alarm(Option<Instant>);

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: BinaryHeap<Reverse<(Instant, Due)>>,
}

impl Deadlines {
    /// Makes sure that `due` is woken at `at` or earlier.
    pub(super) fn arm(&mut self, alarm: &mut Alarm, due: Due, at: Instant) {
        if alarm.0.is_none_or(|queued| at < queued) {
            alarm.0 = Some(at);
            self.queue.push(Reverse((at, due)));
        }
    }

    /// The next deadline. May be stale, then waking for it is a cheap mistake.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next entry that is due. The owner must accept it with [`Alarm::rings`], which drops stale ones.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        if self.next()? > now {
            return None;
        }
        self.queue.pop().map(|Reverse(entry)| entry)
    }
}

impl Alarm {
    /// Takes the alarm when this is the entry it waits for; an entry replaced by an earlier one is stale.
    pub(super) fn rings(&mut self, at: Instant) -> bool {
        let rings = self.0 == Some(at);
        if rings {
            self.0 = None;
        }
        rings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_earlier_deadline_replaces_a_later_one_and_a_later_one_waits() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let due = Due::Room(RoomKey::default());
        let (mut deadlines, mut alarm) = (Deadlines::default(), Alarm::default());
        deadlines.arm(&mut alarm, due, at(50));
        deadlines.arm(&mut alarm, due, at(80));
        deadlines.arm(&mut alarm, due, at(20));
        assert_eq!(deadlines.next(), Some(at(20)));
        assert_eq!(deadlines.pop(at(19)), None);
        let (when, _) = deadlines.pop(at(60)).unwrap();
        assert!(alarm.rings(when));
        let (when, _) = deadlines.pop(at(60)).unwrap();
        assert!(!alarm.rings(when), "the replaced entry is stale");
        assert_eq!(deadlines.pop(at(90)), None, "the later one was never queued");
    }
}
