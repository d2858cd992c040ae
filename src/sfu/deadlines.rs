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
/// time. Media comes every 10 to 20 ms wherever somebody speaks, so that nearly all of it waits for less.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);

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
    /// Makes sure that `due` is woken at `at` or earlier, or not long after it. What it was to be woken for before does
    /// not count any more.
    pub(super) fn arm(&mut self, alarm: &mut Alarm, due: Due, at: Instant, patience: Patience) {
        let (queue, latest) = match patience {
            Patience::Prompt => (&mut self.prompt, at),
            Patience::Patient => (&mut self.patient, at + PATIENCE),
        };
        if alarm.0.is_none_or(|queued| at < queued.at || latest < queued.latest) {
            alarm.0 = Some(Queued { at, latest });
            queue.push(Reverse((at, due)));
        }
    }

    /// When a turn is to be taken at the latest. May be for a stale entry, which is a cheap mistake.
    pub(super) fn next(&self) -> Option<Instant> {
        let patient = first(&self.patient).map(|at| at + PATIENCE);
        [first(&self.prompt), patient].into_iter().flatten().min()
    }

    /// Takes the next entry whose time has come: of the patient ones any when this turn has something to do, else one
    /// that has waited long enough. A turn for a stale entry has nothing to do, and engines leave those behind at
    /// random times (of DTLS), which must not decide when reports leave. The owner must accept the entry with
    /// [`Alarm::rings`], which drops stale ones.
    pub(super) fn pop(&mut self, now: Instant, has_something_to_do: bool) -> Option<(Instant, Due)> {
        let patience = if has_something_to_do { Duration::ZERO } else { PATIENCE };
        let is_due = |queue: &Queue, patience| first(queue).is_some_and(|at| at + patience <= now);
        let queue = match is_due(&self.prompt, Duration::ZERO) {
            true => &mut self.prompt,
            false if is_due(&self.patient, patience) => &mut self.patient,
            false => return None,
        };
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
        assert_eq!(deadlines.pop(at(19), true), None);
        let (when, _) = deadlines.pop(at(60), true).unwrap();
        assert!(alarm.rings(when));
        let (when, _) = deadlines.pop(at(60), true).unwrap();
        assert!(!alarm.rings(when), "the replaced entry is stale");
        assert_eq!(deadlines.pop(at(90), true), None, "the later one was never queued");
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
        assert_eq!(deadlines.pop(at(49), true), None);
        assert_eq!(deadlines.pop(at(52), false), None, "for nothing else no turn is taken so soon");
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(53), true)).collect();
        assert_eq!(due, [(at(53), picture), (at(50), report)]);
        deadlines.arm(&mut reports, report, at(40), Patience::Patient);
        assert_eq!(deadlines.pop(at(40) + PATIENCE, false), Some((at(40), report)));
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
        let rings: Vec<_> = std::iter::from_fn(|| deadlines.pop(at(52), true)).map(|(at, _)| alarm.rings(at)).collect();
        assert_eq!(rings, [true, false]);
    }

    #[test]
    fn what_is_no_longer_urgent_is_served_with_patience() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let due = Due::Participant(ParticipantKey::default());
        let (mut deadlines, mut alarm) = (Deadlines::default(), Alarm::default());
        deadlines.arm(&mut alarm, due, at(52), Patience::Prompt);
        deadlines.arm(&mut alarm, due, at(48), Patience::Patient);
        let stale = deadlines.pop(at(52), false).unwrap();
        assert!(!alarm.rings(stale.0));
        assert_eq!(deadlines.pop(at(52), false), None);
        assert!(alarm.rings(deadlines.pop(at(48) + PATIENCE, false).unwrap().0));
    }
}
