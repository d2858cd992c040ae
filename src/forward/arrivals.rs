//! What a connection carries, from when its packets arrive: sooner than an estimator that waits for a trend.
//!
//! Receivers tell which packet came when, by their own clock. So what a report takes on its way back, and until it is
//! read here, is no part of it: a busy uplink, or a busy server, is no queue on the way down. While there is one, what
//! arrives between two moments is what the bottleneck lets through, whatever is sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rtp::rtcp::Arrival;

/// Packets whose departure is remembered. Larger: arrivals behind longer delays are known, at 8 bytes each; smaller: a
/// queue of half a second hides what arrives from who is sent 16 pictures (2000 packets a second).
const REMEMBERED: usize = 1024;

/// A delay this much above the shortest tells that a queue is there. Larger: a bottleneck is seen a reading later;
/// smaller: jitter passes for one.
const STANDING: Duration = Duration::from_millis(25);

/// What was sent when, by transport-wide numbers.
#[derive(Debug, Clone, Default)]
pub struct Departures {
    /// The latest packets, oldest first, numbered without a gap.
    packets: VecDeque<Departed>,
    /// When the first left.
    start: Option<Instant>,
    /// The number behind the newest.
    next: u16,
}

/// A packet that was sent.
#[derive(Debug, Clone, Copy)]
struct Departed {
    /// In milliseconds since the first; modulo 49 days, which passes for a step of the receiver's clock.
    after: u32,
    /// Sent until then in all, modulo 2^32.
    bytes: u32,
}

/// How far what was sent has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrived {
    /// When, by the receiver's clock.
    pub at: Duration,
    /// In all, since the connection began; modulo 2^32.
    pub bytes: u32,
    /// When the last of it had left, since the connection began.
    pub left: Duration,
}

/// Compares what arrived by one reading with what did by the next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Throughput {
    /// The last reading, if it found a queue.
    queued: Option<Arrived>,
}

impl Departures {
    /// A packet of this transport-wide number was sent.
    pub fn sent(&mut self, now: Instant, number: u16, length: usize) {
        let start = *self.start.get_or_insert(now);
        let before = self.packets.back().map_or(0, |last| last.bytes);
        if number != self.next {
            self.packets.clear();
        }
        if self.packets.len() == REMEMBERED {
            self.packets.pop_front();
        }
        let after = now.saturating_duration_since(start).as_millis() as u32;
        self.packets.push_back(Departed { after, bytes: before.wrapping_add(length as u32) });
        self.next = number.wrapping_add(1);
    }

    /// What has arrived: all up to this packet. `None` when that is not remembered.
    pub fn arrived(&self, Arrival { number, at }: Arrival) -> Option<Arrived> {
        let from_end = usize::from(self.next.wrapping_sub(number));
        let packet = self.packets.get(self.packets.len().checked_sub(from_end)?)?;
        Some(Arrived { at, bytes: packet.bytes, left: Duration::from_millis(packet.after.into()) })
    }
}

impl Throughput {
    /// Takes a reading with the queue that it found. Gives what the bottleneck let through since the reading before, in
    /// bit/s, if there was a queue all the time.
    pub(super) fn read(&mut self, arrived: Option<Arrived>, queue: Duration) -> Option<u64> {
        let now = arrived.filter(|_| queue > STANDING);
        let before = std::mem::replace(&mut self.queued, now)?;
        let now = now?;
        let time = now.at.checked_sub(before.at)?;
        let bits = u64::from(now.bytes.wrapping_sub(before.bytes)) * 8;
        (!time.is_zero()).then(|| (bits as f64 / time.as_secs_f64()) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn what_had_left_up_to_the_last_packet_that_came_has_arrived() {
        let start = Instant::now();
        let mut departures = Departures::default();
        let arrived = |departures: &Departures, number| {
            let arrived = departures.arrived(Arrival { number, at: MS })?;
            Some((arrived.bytes, arrived.left.as_millis()))
        };
        assert_eq!(arrived(&departures, 0), None);
        // Two every 10 ms, from 65 500 on.
        let number = |index: u16| 65_500_u16.wrapping_add(index);
        for step in 0..600 {
            let at = start + u32::from(step) * 10 * MS;
            departures.sent(at, number(2 * step), 400);
            departures.sent(at + 3 * MS, number(2 * step + 1), 600);
        }
        let table = [
            (1199, Some((600_000, 5993))),
            (1198, Some((599_400, 5990))),
            (176, Some((88_400, 880))),
            (175, None),
            (1200, None),
        ];
        for (index, expected) in table {
            assert_eq!(arrived(&departures, number(index)), expected, "{index}");
        }
        departures.sent(start, number(1201), 1);
        assert_eq!(arrived(&departures, number(1199)), None, "of those before a gap nothing is known");
    }

    #[test]
    fn what_arrives_while_there_is_a_queue_is_what_the_bottleneck_carries() {
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
            (500, 30_000, 60, None),
        ];
        for (at, bytes, queue, expected) in table {
            let arrived = Arrived { at: at * MS, bytes, left: at * MS };
            let found = throughput.read(Some(arrived), queue * MS).map(|bitrate| bitrate / 1000);
            assert_eq!(found, expected, "at {at} ms");
        }
        assert_eq!(throughput.read(None, 60 * MS), None);
    }
}
