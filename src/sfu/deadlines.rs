//! Who wants to be woken when. Ordered, with lazy re-arming: a deadline that moved later costs nothing until the old
//! one comes up.
//!
//! To be woken costs a shard more than most of what it is woken for. So what is not urgent is patient: it is served by
//! the first turn from its time on, whatever that turn is for, and only after [`PATIENCE`] is a turn taken for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::{ParticipantKey, RoomKey, TrackKey};

/// How late what is patient may be served. Larger: fewer turns; smaller: reports and feedback leave closer to their
/// time. Media comes every 10 to 20 ms wherever somebody speaks, so that most of it waits for less.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

/// Whether a deadline is worth a turn of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// At its time.
    Prompt,
    /// Not before others have waited for [`PATIENCE`].
    Patient,
}

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
pub(super) struct Alarm(Option<Queued>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queued {
    at: Instant,
    latest: Instant,
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    prompt: Queue,
    patient: Queue,
}

type Queue = BinaryHeap<Reverse<(Instant, Due)>>;

impl Deadlines {
    /// Makes sure that `due` is woken at `at` or earlier, or not long after it.
    pub(super) fn arm(&mut self, alarm: &mut Alarm, due: Due, at: Instant, patience: Patience) {
        let (queue, latest) = match patience {
            Patience::Prompt => (&mut self.prompt, at),
            Patience::Patient => (&mut self.patient, at + PATIENCE),
        };
        if alarm.0.is_none_or(|queued| latest < queued.latest) {
            alarm.0 = Some(Queued { at, latest });
            queue.push(Reverse((at, due)));
        }
    }

    /// When a turn is to be taken at the latest. May be for a stale entry, which is a cheap mistake.
    pub(super) fn next(&self) -> Option<Instant> {
        let patient = first(&self.patient).map(|at| at + PATIENCE);
        [first(&self.prompt), patient].into_iter().flatten().min()
    }

    /// Takes the next entry whose time has come. The owner must accept it with [`Alarm::rings`], which drops stale
    /// ones.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, Due)> {
        let is_due = |queue: &&mut Queue| first(queue).is_some_and(|at| at <= now);
        let queues = [&mut self.prompt, &mut self.patient];
        let queue = queues.into_iter().filter(is_due).min_by_key(|queue| first(queue))?;
        queue.pop().map(|Reverse(entry)| entry)
    }
}

fn first(queue: &Queue) -> Option<Instant> {
    queue.peek().map(|Reverse((at, _))| *at)
}

impl Alarm {
    /// Takes the alarm when this is the entry it waits for; an entry replaced by an earlier one is stale.
    pub(super) fn rings(&mut self, at: Instant) -> bool {
        let rings = self.0.is_some_and(|queued| queued.at == at);
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
        deadlines.arm(&mut alarm, due, at(50), Patience::Prompt);
        deadlines.arm(&mut alarm, due, at(80), Patience::Prompt);
        deadlines.arm(&mut alarm, due, at(20), Patience::Prompt);
        assert_eq!(deadlines.next(), Some(at(20)));
        assert_eq!(deadlines.pop(at(19)), None);
        let (when, _) = deadlines.pop(at(60)).unwrap();
        assert!(alarm.rings(when));
        let (when, _) = deadlines.pop(at(60)).unwrap();
        assert!(!alarm.rings(when), "the replaced entry is stale");
        assert_eq!(deadlines.pop(at(90)), None, "the later one was never queued");
    }

    #[test]
    fn what_is_patient_is_served_by_any_turn_from_its_time_on_and_has_one_taken_in_the_end() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (report, picture) = (Due::Participant(ParticipantKey::default()), Due::Room(RoomKey::default()));
        let (mut reports, mut pictures) = (Alarm::default(), Alarm::default());
        let mut deadlines = Deadlines::default();
        deadlines.arm(&mut reports, report, at(50), Patience::Patient);
        assert_eq!(deadlines.next(), Some(at(50) + PATIENCE));
        deadlines.arm(&mut pictures, picture, at(53), Patience::Prompt);
        assert_eq!(deadlines.next(), Some(at(53)));
        assert_eq!(deadlines.pop(at(49)), None);
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(53))).collect();
        assert_eq!(due, [(at(50), report), (at(53), picture)]);
    }

    #[test]
    fn what_becomes_urgent_is_not_served_with_the_patience_it_had() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let due = Due::Participant(ParticipantKey::default());
        let (mut deadlines, mut alarm) = (Deadlines::default(), Alarm::default());
        deadlines.arm(&mut alarm, due, at(50), Patience::Patient);
        deadlines.arm(&mut alarm, due, at(52), Patience::Prompt);
        assert_eq!(deadlines.next(), Some(at(52)));
        deadlines.arm(&mut alarm, due, at(48), Patience::Patient);
        assert_eq!(deadlines.next(), Some(at(52)), "that is soon enough");
        let rings: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(52))).map(|(at, _)| alarm.rings(at)).collect();
        assert_eq!(rings, [false, true]);
    }
}
