//! Whether packets wait in a queue on the way, told from round trips, and how much less to send until they do not.
//!
//! The estimator looks for queues that grow. One that is full neither grows nor shrinks: it delays everything by the
//! same time and loses what does not fit, and the estimate rises meanwhile. Not here: what is sent less of.

use std::time::{Duration, Instant};

/// A round trip this much above the shortest seen tells of a queue. Larger: a collapse is told from noise a report
/// later; smaller: jitter passes for a queue.
const QUEUED: Duration = Duration::from_millis(60);

/// A queue that is there for this long will not go by itself: a key frame's has passed by then. Larger: sound is late
/// for longer; smaller: pictures shrink for a key frame on a link that carries everything.
const STANDING: Duration = Duration::from_millis(600);

/// A round trip shorter than the longest by this tells that a queue drains. Larger: less is sent although it drains;
/// smaller: jitter passes for draining.
const SHORTER: Duration = Duration::from_millis(20);

/// Share of what is sent that is sent instead. Larger: queues drain slowly; smaller: pictures shrink further than the
/// link requires.
const DRAIN_SHARE: (u64, u64) = (4, 5);

/// Time for a queue to drain before still less is sent. Larger: a link that got much worse is late for longer; smaller:
/// pictures are taken away that would have fitted.
const DRAIN: Duration = Duration::from_millis(1200);

/// Times less is sent before a round trip that stays long is taken for the path's own. Larger: somebody else's traffic
/// takes more away from this viewer; smaller: a deep queue passes for a long path.
const CUTS: u32 = 3;

/// What is known of the queue before one viewer.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Queue {
    shortest: Option<Duration>,
    last: Option<Duration>,
    watch: Option<Watch>,
    cut: Option<Cut>,
}

/// A queue that is watched, to see whether it goes.
#[derive(Debug, Clone, Copy)]
struct Watch {
    since: Instant,
    /// What was sent then.
    total: u64,
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
    pub(super) fn read(&mut self, now: Instant, rtt: Option<Duration>, total: u64) {
        let Some(rtt) = rtt else { return };
        self.last = Some(rtt);
        self.shortest = Some(self.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
        if !self.is_there() {
            (self.watch, self.cut) = (None, None);
            return;
        }
        let watch = self.watch.get_or_insert(Watch { since: now, total, longest: rtt });
        watch.longest = watch.longest.max(rtt);
        let waited = now.saturating_duration_since(watch.since);
        if waited >= STANDING && rtt + SHORTER < watch.longest || total < share(watch.total) {
            // It drains, or less is sent now for some other reason.
            self.watch = Some(Watch { since: now, total, longest: rtt });
            return;
        }
        if waited < STANDING {
            return;
        }
        match self.cut {
            Some(cut) if now.saturating_duration_since(cut.at) < DRAIN => {}
            Some(cut) if cut.times >= CUTS => {
                self.shortest = Some(rtt);
                (self.watch, self.cut) = (None, None);
            }
            Some(cut) => self.cut = Some(Cut { limit: share(total.min(cut.limit)), at: now, times: cut.times + 1 }),
            None => self.cut = Some(Cut { limit: share(total), at: now, times: 1 }),
        }
    }

    /// The last reading told of one.
    pub(super) fn is_there(&self) -> bool {
        self.delay(self.last) > QUEUED
    }

    /// What of a round trip it takes.
    pub(super) fn delay(&self, rtt: Option<Duration>) -> Duration {
        rtt.zip(self.shortest).map_or(Duration::ZERO, |(rtt, shortest)| rtt.saturating_sub(shortest))
    }

    /// What may be sent in all until it has drained, in bit/s.
    pub(super) fn limit(&self) -> Option<u64> {
        self.cut.map(|cut| cut.limit)
    }
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
            queue.read(now, Some(Duration::from_millis(rtt)), total);
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
            queue.read(now, Some(Duration::from_millis(rtt)), total);
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
}
