//! How far apart a layer's pictures come, and how long a silence therefore means that its sender has stopped it.

use std::time::{Duration, Instant};

/// A layer that is silent for this many of its intervals, and the [`MARGIN`], was stopped. Larger freezes viewers
/// longer, smaller takes encoders that skip two pictures for stopped.
const INTERVALS: f64 = 2.5;

/// What a picture may come late on its way. Larger freezes viewers longer, smaller leaves layers for jitter.
const MARGIN: Duration = Duration::from_millis(60);

/// The longest interval that is reckoned with. Larger has a stopped layer of a screen share that hardly moves stay
/// longer, smaller takes shares of one picture a second for stopped.
const LONGEST: Duration = Duration::from_secs(1);

/// What is taken for the interval until two pictures came. Larger freezes viewers of a layer that stops at once for
/// longer, smaller leaves slow ones before they have shown how slow they are.
const FIRST: Duration = Duration::from_millis(66);

/// A longer gap between pictures counts for this much at once: an encoder that skips some may do so again.
const RISE: f64 = 0.5;

/// A shorter one counts for this much. Larger forgets skipped pictures sooner, smaller takes longer to notice that more
/// come.
const FALL: f64 = 1.0 / 16.0;

/// A running guess of the time between two pictures, rather too long than too short.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    /// When the newest picture began to come.
    last: Option<Instant>,
    interval: Option<Duration>,
}

impl Pace {
    /// The next picture begins to come.
    pub(super) fn picture(&mut self, now: Instant) {
        let Some(last) = self.last.replace(now) else { return };
        // The time for which it was stopped says nothing of its pictures.
        let gap = now.saturating_duration_since(last).min(self.silence()).min(LONGEST);
        self.interval = Some(match self.interval {
            None => gap,
            Some(interval) if gap > interval => interval + (gap - interval).mul_f64(RISE),
            Some(interval) => interval - (interval - gap).mul_f64(FALL),
        });
    }

    /// After this long without a packet, while other layers flow, it was stopped.
    pub(super) fn silence(&self) -> Duration {
        self.interval.unwrap_or(FIRST).mul_f64(INTERVALS) + MARGIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(gaps: impl IntoIterator<Item = u64>) -> u64 {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        pace.picture(now);
        for gap in gaps {
            now += Duration::from_millis(gap);
            pace.picture(now);
        }
        pace.silence().as_millis() as u64
    }

    #[test]
    fn a_silence_means_something_when_it_is_longer_than_the_pictures_come_apart() {
        // Time between pictures, and the silence in milliseconds after which the layer is taken for stopped.
        let table = [(16, 100), (33, 142), (50, 185), (66, 225), (100, 310), (200, 560), (500, 1310), (1000, 2560)];
        for (gap, silence) in table {
            assert_eq!(after(std::iter::repeat_n(gap, 100)), silence, "{gap} ms");
        }
        assert_eq!(after([]), 225, "before anything is known");
    }

    #[test]
    fn encoders_that_skip_pictures_are_given_more_time_and_stops_are_forgotten() {
        let skips = [33, 33, 33, 100].repeat(20);
        assert!((270..300).contains(&after(skips)), "two of five are skipped");
        let stopped = || [33; 50].into_iter().chain([5000]);
        assert!(after(stopped()) < 300, "a stop is no interval");
        assert!(after(stopped().chain([33; 60])) < 150);
        assert!(after([33; 50].into_iter().chain([1000; 10])) > 2000, "a screen share that comes to rest");
        assert!(after([1000; 10].into_iter().chain([33; 60])) < 220, "and begins to move");
    }
}
