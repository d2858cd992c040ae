//! RTP clocks: how the timestamps of a track's layers relate, and where the output's timeline goes on when its source
//! changes.
//!
//! Nothing here reads a clock; arrival times come with the packets.

use std::time::{Duration, Instant, SystemTime};

use super::MAX_LAYERS;
use crate::rtp::LayerIndex;

/// How far a mapping between two clocks may be from what the arrival times say. Larger accepts mappings that are wrong
/// by that much (and pictures lag behind sound), smaller takes a burst of network delay for a broken mapping.
const TOLERANCE: Duration = Duration::from_millis(500);

/// The publisher's clocks of one track, from its sender reports. Kept once per track, read by all its forwarders.
#[derive(Debug, Clone, Default)]
pub struct LayerClocks {
    reports: [Option<Report>; MAX_LAYERS],
}

#[derive(Debug, Clone, Copy)]
struct Report {
    captured: SystemTime,
    timestamp: u32,
}

impl LayerClocks {
    /// Notes a sender report (RFC 3550 section 6.4.1): the publisher's wall clock and this layer's RTP timestamp at the
    /// same instant. Layers beyond [`MAX_LAYERS`] are ignored.
    pub fn sender_report(&mut self, layer: LayerIndex, captured: SystemTime, timestamp: u32) {
        if let Some(report) = self.reports.get_mut(usize::from(layer.0)) {
            *report = Some(Report { captured, timestamp });
        }
    }

    /// Forgets a layer whose timestamps begin anew.
    pub fn forget(&mut self, layer: LayerIndex) {
        if let Some(report) = self.reports.get_mut(usize::from(layer.0)) {
            *report = None;
        }
    }

    /// What to add to a timestamp of layer `from` (modulo 2^32) to get that of layer `to` for the same instant.
    fn translation(&self, from: LayerIndex, to: LayerIndex, clock_rate: u32) -> Option<u32> {
        if from == to {
            return Some(0);
        }
        let (from, to) = (self.report(from)?, self.report(to)?);
        let apart = match to.captured.duration_since(from.captured) {
            Ok(later) => ticks(later, clock_rate),
            Err(earlier) => ticks(earlier.duration(), clock_rate).wrapping_neg(),
        };
        Some(to.timestamp.wrapping_sub(from.timestamp).wrapping_sub(apart as u32))
    }

    fn report(&self, layer: LayerIndex) -> Option<Report> {
        *self.reports.get(usize::from(layer.0))?
    }
}

/// Where the output's timeline stands: the newest picture (or audio frame) that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Its RTP timestamp, in the output's 64-bit count.
    pub(super) timestamp: u64,
    /// When its first packet came.
    pub(super) arrived: Instant,
}

/// Two stretches of one track that follow each other in the output.
pub(super) struct Seam<'a> {
    /// Sender reports of the track.
    pub(super) clocks: &'a LayerClocks,
    /// The layer that was sent.
    pub(super) from: LayerIndex,
    /// What was added to its timestamps.
    pub(super) from_offset: u64,
    /// The layer that follows.
    pub(super) to: LayerIndex,
}

/// The timestamp a new stretch begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Splice {
    /// In the output's count; always later than the head.
    pub(super) timestamp: u64,
    /// Its true place: the same, or before the head.
    pub(super) place: u64,
    /// How far the true place lies behind.
    pub(super) behind: Duration,
}

impl Splice {
    /// Where nothing was sent before: the source's own timestamps.
    pub(super) fn first(timestamp: u64) -> Self {
        Splice { timestamp, place: timestamp, behind: Duration::ZERO }
    }
}

/// Places the first packet of a new stretch, which came at `arrived` with the source's `timestamp`, on the timeline.
///
/// Between layers of one track (`seam`) by sender reports of both; else as if the layers shared one clock, which OBS's
/// do, whose reports are few and mixed up (and which a layer does with itself after a pause). Either counts only if the
/// arrival times agree within [`TOLERANCE`]. What remains, and another source, goes by arrival.
pub(super) fn splice(head: Head, clock_rate: u32, arrived: Instant, timestamp: u64, seam: Option<Seam>) -> Splice {
    let expected = match arrived.checked_duration_since(head.arrived) {
        Some(later) => head.timestamp.wrapping_add(ticks(later, clock_rate)),
        // A replayed packet may have come before the newest that was sent.
        None => head.timestamp.wrapping_sub(ticks(head.arrived - arrived, clock_rate)),
    };
    let deviation = seam.map_or(0, |seam| {
        let own = timestamp.wrapping_add(seam.from_offset) as u32;
        let agreeing = |translation: u32| {
            let deviation = own.wrapping_add(translation).wrapping_sub(expected as u32).cast_signed();
            (u64::from(deviation.unsigned_abs()) <= ticks(TOLERANCE, clock_rate)).then_some(deviation)
        };
        let reported = seam.clocks.translation(seam.to, seam.from, clock_rate);
        reported.and_then(agreeing).or_else(|| agreeing(0)).unwrap_or(0)
    });
    let place = expected.wrapping_add_signed(deviation.into());
    let earliest = head.timestamp.wrapping_add(1);
    let behind = earliest.saturating_sub(place);
    Splice { timestamp: place.max(earliest), place, behind: duration(behind, clock_rate) }
}

fn ticks(duration: Duration, clock_rate: u32) -> u64 {
    let whole = duration.as_secs().wrapping_mul(clock_rate.into());
    whole.wrapping_add(u64::from(duration.subsec_nanos()) * u64::from(clock_rate) / 1_000_000_000)
}

fn duration(ticks: u64, clock_rate: u32) -> Duration {
    Duration::from_secs_f64(ticks as f64 / f64::from(clock_rate.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 90_000;
    const LOW: LayerIndex = LayerIndex(0);
    const HIGH: LayerIndex = LayerIndex(1);

    fn wall(seconds: f64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds)
    }

    /// Layer, publisher's clock in seconds, RTP timestamp.
    type Reports = &'static [(LayerIndex, f64, u32)];

    struct Row {
        name: &'static str,
        reports: Reports,
        /// Of the head, in the output.
        sent: u64,
        /// Added to the old layer's timestamps.
        offset: u64,
        /// After the head's packet.
        elapsed_ms: u64,
        timestamp: u64,
        expected: u64,
        behind_ms: u64,
    }

    const BOTH: Reports = &[(LOW, 100.0, 900_000), (HIGH, 100.5, 1_000_000)];

    #[test]
    fn a_switch_goes_by_reports_then_by_a_shared_clock_then_by_arrival() {
        let row = Row {
            name: "reports of both",
            reports: BOTH,
            sent: 986_000,
            offset: 0,
            elapsed_ms: 40,
            timestamp: 1_045_000,
            expected: 990_000,
            behind_ms: 0,
        };
        let table = [
            Row { name: "reports, late by jitter", elapsed_ms: 300, ..row },
            Row { name: "reports in a moved timeline", sent: 1_986_000, offset: 1_000_000, expected: 1_990_000, ..row },
            Row {
                name: "reports in the other order",
                reports: &[(LOW, 101.0, 990_000), (HIGH, 100.5, 1_000_000)],
                ..row
            },
            Row {
                name: "reports that wrapped",
                reports: &[(LOW, 100.0, 0xffff_ff00), (HIGH, 100.0, 0x0000_0100)],
                sent: 1_000,
                timestamp: 0x0000_0300 + 5_000,
                expected: 0x0000_0100 + 5_000,
                ..row
            },
            Row {
                name: "a report that arrival contradicts",
                reports: &[(LOW, 100.0, 900_000), (HIGH, 160.0, 1_000_000)],
                elapsed_ms: 100,
                expected: 995_000,
                ..row
            },
            Row {
                name: "one report only, shared clock",
                reports: &[(LOW, 100.0, 900_000)],
                timestamp: 989_500,
                expected: 989_500,
                ..row
            },
            Row {
                name: "wrong reports, shared clock",
                reports: &[(LOW, 100.0, 900_000), (HIGH, 160.0, 1_000_000)],
                timestamp: 989_500,
                expected: 989_500,
                ..row
            },
            Row { name: "no reports, clocks apart", reports: &[], elapsed_ms: 100, expected: 995_000, ..row },
            Row { name: "the same picture again", reports: &[], timestamp: 986_000, expected: 986_001, ..row },
            Row { name: "behind", reports: &[], timestamp: 986_000 - 9_000, expected: 986_001, behind_ms: 100, ..row },
            row,
        ];
        for row in table {
            let mut clocks = LayerClocks::default();
            for &(layer, seconds, timestamp) in row.reports {
                clocks.sender_report(layer, wall(seconds), timestamp);
            }
            let now = Instant::now();
            let head = Head { timestamp: row.sent, arrived: now };
            let seam = Seam { clocks: &clocks, from: LOW, from_offset: row.offset, to: HIGH };
            let arrived = now + Duration::from_millis(row.elapsed_ms);
            let splice = splice(head, RATE, arrived, row.timestamp, Some(seam));
            assert_eq!(splice.timestamp, row.expected, "{}", row.name);
            assert_eq!(splice.behind.as_millis() as u64, row.behind_ms, "{}", row.name);
        }
    }

    #[test]
    fn another_source_goes_by_arrival() {
        let now = Instant::now();
        let head = Head { timestamp: 50_000, arrived: now };
        let second = Duration::from_secs(1);
        let table = [
            (now + 2 * second, 230_000, 230_000),
            (now, 50_001, 50_000),
            // Replayed: it came before what was sent.
            (now - second / 10, 50_001, 41_000),
        ];
        for (arrived, expected, place) in table {
            let splice = splice(head, RATE, arrived, 7, None);
            assert_eq!((splice.timestamp, splice.place), (expected, place));
        }
    }

    #[test]
    fn a_layer_resumes_on_its_own_clock_unless_that_stood_still() {
        let now = Instant::now();
        let head = Head { timestamp: 50_000, arrived: now };
        let arrived = now + Duration::from_secs(60);
        let clocks = LayerClocks::default();
        // The source's timestamps run 1000 ahead of the output's.
        let table = [(51_000 + 5_399_000, 50_000 + 5_399_000), (51_000 + 3_000, 50_000 + 5_400_000)];
        for (timestamp, expected) in table {
            let seam = Seam { clocks: &clocks, from: LOW, from_offset: 1000_u64.wrapping_neg(), to: LOW };
            assert_eq!(splice(head, RATE, arrived, timestamp, Some(seam)).timestamp, expected);
        }
    }

    #[test]
    fn layers_beyond_the_bound_are_ignored() {
        let mut clocks = LayerClocks::default();
        clocks.sender_report(LayerIndex(200), wall(1.0), 1);
        assert_eq!(clocks.translation(LayerIndex(200), LOW, RATE), None);
    }
}
