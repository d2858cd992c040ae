//! RTP timestamps of one incoming stream, counted on beyond their 32 bits.

use std::time::Instant;

/// Where the stream stands.
#[derive(Debug, Clone, Default)]
pub struct Timestamps {
    /// The newest timestamp, and when it came.
    newest: Option<(u64, Instant)>,
    /// The next timestamp is the first of another clock.
    begins: bool,
}

impl Timestamps {
    /// The time that ends in these 32 bits and is nearest to where a stream of this clock rate (Hz) should stand `now`:
    /// a camera may be off for longer than half of what they count, which are 6.6 hours at 90 kHz. The first one leaves
    /// room to step back.
    pub fn extend(&mut self, now: Instant, timestamp: u32, clock_rate: u32) -> u64 {
        let (newest, at) = self.newest.unwrap_or((1 << 32 | u64::from(timestamp), now));
        let passed = now.saturating_duration_since(at).as_nanos() * u128::from(clock_rate) / 1_000_000_000;
        let expected = newest.wrapping_add(passed as u64);
        let apart = timestamp.wrapping_sub(expected as u32);
        let begins = std::mem::take(&mut self.begins);
        let deviation = if begins { i64::from(apart) } else { apart.cast_signed().into() };
        let time = expected.wrapping_add_signed(deviation);
        if self.newest.is_none() || time > newest {
            self.newest = Some((time, now));
        }
        time
    }

    /// The stream goes on by another clock: its next time is later than all before, whatever those 32 bits are.
    pub fn begin_anew(&mut self) {
        self.begins = self.newest.is_some();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn another_clock_begins_behind_the_one_before() {
        let start = Instant::now();
        for first in [0, 5000, 1 << 31, u32::MAX] {
            let mut timestamps = Timestamps::default();
            let before = timestamps.extend(start, 5000, 90_000);
            timestamps.begin_anew();
            let time = timestamps.extend(start + Duration::from_millis(10), first, 90_000);
            assert!(time > before, "{first}: {time} behind {before}");
            assert_eq!(time as u32, first);
            let late = timestamps.extend(start + Duration::from_millis(20), first.wrapping_sub(3000), 90_000);
            assert_eq!(late, time - 3000, "it steps back for late packets again");
        }
    }

    #[test]
    fn timestamps_go_on_over_wraps_and_hours_of_silence_and_step_back_for_late_packets() {
        let start = Instant::now();
        let mut timestamps = Timestamps::default();
        let first = 3000_u32;
        let begin = timestamps.extend(start, first, 90_000);
        // Seconds since the beginning, and where the source stands then, in ticks.
        let table: [(u64, i64); 8] = [
            (1, 90_000),
            (1, 87_000),
            // Sent before the first one, and long on its way.
            (2, -3000),
            // Of a clock that starts anew.
            (3, 1 << 30),
            (8 * 3600, 8 * 3600 * 90_000),
            (8 * 3600 + 1, (8 * 3600 + 1) * 90_000),
            (8 * 3600 + 1, (8 * 3600 - 1) * 90_000),
            (40 * 3600, 40 * 3600 * 90_000),
        ];
        for (seconds, ticks) in table {
            let timestamp = first.wrapping_add(ticks as u32);
            let time = timestamps.extend(start + Duration::from_secs(seconds), timestamp, 90_000);
            assert_eq!(time.wrapping_sub(begin).cast_signed(), ticks, "after {seconds} s");
        }
    }
}
