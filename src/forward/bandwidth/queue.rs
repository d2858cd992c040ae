//! Whether packets wait in a queue on the way, told from how long they take, and how much less to send until they do
//! not.
//!
//! The estimator looks for queues that grow. One that is full neither grows nor shrinks: it delays everything by the
//! same time and loses what does not fit, and the estimate rises meanwhile. Not here: what is sent less of.

use std::time::{Duration, Instant};

use super::Arrived;

/// A delay this much above the shortest seen tells of a queue. Larger: a collapse is told from noise a report
/// later; smaller: jitter passes for a queue.
const QUEUED: Duration = Duration::from_millis(60);

/// A queue that is there for this long will not go by itself: a key frame's has passed by then. Larger: sound is late
/// for longer; smaller: pictures shrink for a key frame on a link that carries everything.
const STANDING: Duration = Duration::from_millis(600);

/// A delay shorter than the longest by this tells that a queue drains. Larger: less is sent although it drains;
/// smaller: jitter passes for draining.
const SHORTER: Duration = Duration::from_millis(20);

/// Share of what is sent that is sent instead. Larger: queues drain slowly; smaller: pictures shrink further than the
/// link requires.
const DRAIN_SHARE: (u64, u64) = (4, 5);

/// Time for a queue to drain before still less is sent. Larger: a link that got much worse is late for longer; smaller:
/// pictures are taken away that would have fitted.
const DRAIN: Duration = Duration::from_millis(1200);

/// Times less is sent before a delay that stays long is taken for the path's own. Larger: somebody else's traffic
/// takes more away from this viewer; smaller: a deep queue passes for a long path.
const CUTS: u32 = 3;

/// What is known of the queue before one viewer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Queue {
    delay: Delay,
    watch: Option<Watch>,
    cut: Option<Cut>,
}

/// How much longer packets take than they would without a queue.
#[derive(Debug, Clone, Copy, Default)]
struct Delay {
    shortest_round_trip: Option<Duration>,
    /// The shortest way there by two clocks: from when a packet left here until it arrived by the receiver's clock, so
    /// it is what it is only up to a constant. In microseconds.
    shortest_way: Option<i64>,
    last: Duration,
}

/// A queue that is watched, to see whether it goes.
#[derive(Debug, Clone, Copy)]
struct Watch {
    since: Instant,
    /// What was sent then.
    total: u64,
    /// The longest delay.
    longest: Duration,
}

/// Less is sent to drain it.
#[derive(Debug, Clone, Copy)]
struct Cut {
    limit: u64,
    at: Instant,
    times: u32,
}

impl Queue {
    /// A reading, while `total` bit/s are sent.
    pub(super) fn read(&mut self, now: Instant, rtt: Option<Duration>, arrived: Option<Arrived>, total: u64) {
        let Some(rtt) = rtt else { return };
        let delay = self.delay.read(rtt, arrived);
        if !self.is_there() {
            (self.watch, self.cut) = (None, None);
            return;
        }
        let watch = self.watch.get_or_insert(Watch { since: now, total, longest: delay });
        watch.longest = watch.longest.max(delay);
        let waited = now.saturating_duration_since(watch.since);
        if waited >= STANDING && delay + SHORTER < watch.longest || total < share(watch.total) {
            // It drains, or less is sent now for some other reason.
            self.watch = Some(Watch { since: now, total, longest: delay });
            return;
        }
        if waited < STANDING {
            return;
        }
        match self.cut {
            Some(cut) if now.saturating_duration_since(cut.at) < DRAIN => {}
            Some(cut) if cut.times >= CUTS => {
                // It was the path's own.
                self.delay = Delay::default();
                (self.watch, self.cut) = (None, None);
            }
            Some(cut) => self.cut = Some(Cut { limit: share(total.min(cut.limit)), at: now, times: cut.times + 1 }),
            None => self.cut = Some(Cut { limit: share(total), at: now, times: 1 }),
        }
    }

    /// The last reading told of one.
    pub(super) fn is_there(&self) -> bool {
        self.delay() > QUEUED
    }

    /// How long packets wait in it.
    pub(super) fn delay(&self) -> Duration {
        self.delay.last
    }

    /// What may be sent in all until it has drained, in bit/s.
    pub(super) fn limit(&self) -> Option<u64> {
        self.cut.map(|cut| cut.limit)
    }
}

impl Delay {
    /// A round trip tells of a queue on the way there, and as well of one on the way back, of a receiver that was late
    /// to report and of ourselves being late to read. The way there alone, by two clocks, tells of nothing else, but
    /// clocks drift. So what is believed is the shorter of the two, and the round trip says how far they have drifted.
    fn read(&mut self, rtt: Duration, arrived: Option<Arrived>) -> Duration {
        let shortest = self.shortest_round_trip.map_or(rtt, |shortest| shortest.min(rtt));
        self.shortest_round_trip = Some(shortest);
        self.last = rtt - shortest;
        if let Some(Arrived { at, left, .. }) = arrived {
            let way = micros(at) - micros(left);
            let shortest = self.shortest_way.map_or(way, |known| known.min(way)).max(way - micros(self.last));
            self.shortest_way = Some(shortest);
            self.last = Duration::from_micros(way.abs_diff(shortest));
        }
        self.last
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn share(bitrate: u64) -> u64 {
    bitrate.saturating_mul(DRAIN_SHARE.0) / DRAIN_SHARE.1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits in kbps after readings of these round trips in ms, 100 ms apart, while 1000 kbps or the limit are sent.
    fn limits(rtts: impl IntoIterator<Item = u64>) -> Vec<Option<u64>> {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let each = rtts.into_iter().map(|rtt| {
            let total = queue.limit().unwrap_or(1_000_000);
            queue.read(now, Some(Duration::from_millis(rtt)), None, total);
            now += Duration::from_millis(100);
            queue.limit().map(|limit| limit / 1000)
        });
        each.collect()
    }

    fn stays(rtt: u64, readings: usize) -> std::iter::RepeatN<u64> {
        std::iter::repeat_n(rtt, readings)
    }

    #[test]
    fn a_queue_that_stands_is_drained_and_one_that_passes_is_not() {
        let passing = limits([40].into_iter().chain(stays(200, 6)).chain([90]).chain(stays(200, 6)));
        assert!(passing.iter().all(Option::is_none), "{passing:?}");
        let standing = limits([40].into_iter().chain(stays(200, 10)).chain([90]));
        assert_eq!((standing[6], standing[7], standing[10], standing[11]), (None, Some(800), Some(800), None));
    }

    #[test]
    fn one_that_drains_by_itself_is_left_alone_and_one_that_stays_is_sent_less_again() {
        let draining = limits([40].into_iter().chain((0..30).map(|step| 400 - step * 10)));
        assert!(draining.iter().all(Option::is_none), "{draining:?}");
        let full = limits([40].into_iter().chain(stays(400, 20)));
        assert_eq!((full[18], full[19]), (Some(800), Some(640)));
    }

    #[test]
    fn what_is_sent_less_of_for_another_reason_gets_its_time_to_drain() {
        let (mut queue, mut now) = (Queue::default(), Instant::now());
        let mut read = |rtt, total| {
            queue.read(now, Some(Duration::from_millis(rtt)), None, total);
            now += Duration::from_millis(100);
            queue.limit()
        };
        assert_eq!(read(40, 1_000_000), None);
        let totals = [1_000_000; 3].into_iter().chain([700_000; 7]);
        let limits: Vec<_> = totals.map(|total| read(200, total)).collect();
        assert_eq!((limits[8], limits[9]), (None, Some(560_000)), "600 ms after it became less");
    }

    #[test]
    fn a_round_trip_that_sending_less_does_not_shorten_is_the_paths_own() {
        let moved = limits([40].into_iter().chain(stays(400, 100)));
        assert_eq!(moved.iter().flatten().min(), Some(&512));
        assert!(moved[50..].iter().all(Option::is_none), "{moved:?}");
    }
    #[test]
    fn what_is_late_on_the_way_back_or_by_a_drifting_clock_is_no_queue() {
        let mut delay = Delay::default();
        let ms = Duration::from_millis;
        // When a packet left, by this clock, and came, by the other; the round trip, and the queue.
        let table = [
            (0, 5000, 40, 0),
            (100, 5110, 50, 10),
            (200, 5200, 220, 0),
            (300, 5380, 120, 80),
            (400, 5480, 300, 80),
            (500, 5495, 40, 0),
            // The other clock has gained 60 ms meanwhile: the first round trip that is short tells.
            (1_000_500, 1_005_555, 220, 60),
            (1_000_600, 1_005_655, 40, 0),
            (1_000_700, 1_005_795, 80, 40),
            // It begins anew.
            (1_000_800, 5, 40, 0),
            (1_000_900, 145, 80, 40),
        ];
        for (left, came, rtt, queue) in table {
            let arrived = Some(Arrived { at: ms(came), bytes: 0, left: ms(left) });
            assert_eq!(delay.read(ms(rtt), arrived), ms(queue), "left at {left} ms");
        }
    }
}
