//! Whether packets of a sender may be missing. The engine looks thirty times a second for some to ask again, whether
//! there are any or not, and each look wakes the shard: it is urgent only behind a gap in the numbers.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use str0m::rtp::Ssrc;

/// Streams of one sender that are followed. Larger: more memory for each participant; smaller: of senders with more,
/// something is always taken to be missing.
const STREAMS: usize = 16;

/// How long after a gap something may be asked again: some tries over a long round trip. Larger: more looks for nothing
/// behind each loss; smaller: the last tries come later, by as much as a look may wait.
const REPAIR: Duration = Duration::from_secs(2);

/// The newest number of each stream, and the newest gap.
#[derive(Debug, Default)]
pub(super) struct Missing {
    newest: ArrayVec<(Ssrc, u64), STREAMS>,
    gap: Option<Instant>,
}

impl Missing {
    /// Notes a packet by its extended sequence number.
    pub(super) fn received(&mut self, now: Instant, ssrc: Ssrc, number: u64) {
        let Some((_, newest)) = self.newest.iter_mut().find(|(known, _)| *known == ssrc) else {
            if self.newest.try_push((ssrc, number)).is_err() {
                self.gap = Some(now);
            }
            return;
        };
        if number > *newest + 1 {
            self.gap = Some(now);
        }
        *newest = number.max(*newest);
    }

    /// Nothing more comes of a stream.
    pub(super) fn forget(&mut self, ssrc: Ssrc) {
        self.newest.retain(|(known, _)| *known != ssrc);
    }

    /// Something may have to be asked for.
    pub(super) fn is_likely(&self, now: Instant) -> bool {
        self.gap.is_some_and(|gap| now.saturating_duration_since(gap) < REPAIR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn something_is_missing_behind_a_gap_and_for_a_while() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut missing = Missing::default();
        for (ms, ssrc, number, expected) in [
            (0, 1, 70_000, false),
            (10, 1, 70_001, false),
            (11, 2, 5, false),
            (12, 1, 70_000, false),
            (20, 1, 70_003, true),
            (30, 1, 70_002, true),
            (2_019, 1, 70_004, true),
            (2_020, 1, 70_005, false),
            (2_021, 2, 7, true),
        ] {
            missing.received(at(ms), ssrc.into(), number);
            assert_eq!(missing.is_likely(at(ms)), expected, "at {ms} ms, packet {number} of stream {ssrc}");
        }
    }

    #[test]
    fn of_who_sends_many_streams_something_always_may_be() {
        let (now, mut missing) = (Instant::now(), Missing::default());
        (0..STREAMS as u32).for_each(|ssrc| missing.received(now, ssrc.into(), 1));
        assert!(!missing.is_likely(now));
        missing.received(now, 99.into(), 1);
        assert!(missing.is_likely(now));
    }
}
