//! What a connection carries, from how long its packets take: sooner than an estimator that waits for a trend.
//!
//! A round trip tells that what had left by then has arrived. While there is a queue, what arrives between two such
//! moments is what the bottleneck lets through, whatever is sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Least time between two marks. Larger: coarser bitrates; smaller: a shorter memory.
const GRAIN: Duration = Duration::from_millis(10);

/// Marks kept. Larger: bitrates behind longer round trips are known, at 16 bytes each; smaller: a queue of half a
/// second hides what arrives.
const MARKS: usize = 64;

/// A round trip this much above the shortest tells that a queue is there. Larger: a bottleneck is seen a reading later;
/// smaller: jitter passes for one.
const STANDING: Duration = Duration::from_millis(25);

/// Bytes sent over time.
#[derive(Debug, Clone, Default)]
pub struct Departures {
    total: u64,
    /// When how many bytes had left, oldest first.
    marks: VecDeque<(Instant, u64)>,
}

/// Bytes that have arrived, as far as a moment tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// When it was told.
    pub at: Instant,
    /// Since the connection began.
    pub bytes: u64,
}

/// Compares what arrived by one reading with what did by the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Throughput {
    /// The last reading, if it found a queue.
    queued: Option<Arrived>,
}

impl Departures {
    /// Something was sent.
    pub fn sent(&mut self, now: Instant, bytes: usize) {
        self.total += bytes as u64;
        if self.marks.back().is_some_and(|(at, _)| now < *at + GRAIN) {
            return;
        }
        if self.marks.len() == MARKS {
            self.marks.pop_front();
        }
        self.marks.push_back((now, self.total));
    }

    /// What has arrived: all that had left a round trip before the answer came. `None` when that is not remembered.
    pub fn arrived(&self, answered: Instant, rtt: Duration) -> Option<Arrived> {
        let left = answered.checked_sub(rtt)?;
        let behind = self.marks.iter().position(|(at, _)| *at > left);
        let bytes = match (behind, self.marks.back()) {
            (None, last) => last.map_or(0, |(_, total)| *total),
            (Some(behind), _) => {
                let (from, before) = *self.marks.get(behind.checked_sub(1)?)?;
                let (to, after) = *self.marks.get(behind)?;
                let share = (left - from).as_secs_f64() / (to - from).as_secs_f64();
                before + ((after - before) as f64 * share) as u64
            }
        };
        Some(Arrived { at: answered, bytes })
    }
}

impl Throughput {
    /// Takes a reading with the queue that it found. Gives what the bottleneck let through since the reading before, in
    /// bit/s, if there was a queue all the time.
    pub(super) fn read(&mut self, arrived: Option<Arrived>, queue: Duration) -> Option<u64> {
        let now = arrived.filter(|_| queue > STANDING);
        let before = std::mem::replace(&mut self.queued, now)?;
        let now = now?;
        let time = now.at.checked_duration_since(before.at)?;
        let bits = now.bytes.saturating_sub(before.bytes) * 8;
        (!time.is_zero()).then(|| (bits as f64 / time.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_had_left_a_round_trip_ago_has_arrived() {
        let start = Instant::now();
        let mut departures = Departures::default();
        assert_eq!(departures.arrived(start, MS).map(|arrived| arrived.bytes), Some(0));
        for step in 1..=100_u32 {
            departures.sent(start + 10 * step * MS, 500);
            departures.sent(start + (10 * step + 3) * MS, 500);
        }
        let end = start + 1000 * MS;
        // Marks are made with the first packet of each step.
        let table = [(0, Some(99_500)), (10, Some(98_500)), (14, Some(98_100)), (630, Some(36_500)), (640, None)];
        for (rtt, expected) in table {
            let arrived = departures.arrived(end, rtt * MS).map(|arrived| arrived.bytes);
            assert_eq!(arrived, expected, "{rtt} ms");
        }
    }

    #[test]
    fn what_arrives_while_there_is_a_queue_is_what_the_bottleneck_carries() {
        let start = Instant::now();
        let mut throughput = Throughput::default();
        // Time and bytes of a reading, its queue, and what is found in kbit/s.
        let table = [
            (0, 0, 0, None),
            (100, 10_000, 20, None),
            (200, 20_000, 40, None),
            (300, 25_000, 120, Some(400)),
            (350, 27_500, 90, Some(400)),
            (450, 27_500, 10, None),
            (550, 30_000, 60, None),
            (550, 30_000, 60, None),
        ];
        for (at, bytes, queue, expected) in table {
            let arrived = Arrived { at: start + at * MS, bytes };
            let found = throughput.read(Some(arrived), queue * MS).map(|bitrate| bitrate / 1000);
            assert_eq!(found, expected, "at {at} ms");
        }
        assert_eq!(throughput.read(None, 60 * MS), None);
    }
}
