//! When a packet was captured, on our clock: publishers' sender reports tie RTP timestamps to the publisher's wall
//! clock, and that clock is tied to ours by the report that travelled fastest.
//!
//! Sender reports to subscribers are made from this, so that audio and video stay as close together as they were at the
//! publisher, whatever their paths through encoders and networks took (RFC 3550 section 6.4.1).

use std::time::{Duration, Instant, SystemTime};

use str0m::rtp::RtpPacket;

/// A tie older than this is replaced by the next report even when that travelled slower: clocks drift.
const TIE_LIFETIME: Duration = Duration::from_secs(30);

/// A capture further from the arrival than this is not believed.
const PLAUSIBLE: Duration = Duration::from_secs(5);

/// One publisher's wall clock against ours.
#[derive(Debug, Default)]
pub(super) struct PublisherClock {
    tie: Option<Tie>,
}

#[derive(Debug, Clone, Copy)]
struct Tie {
    theirs: SystemTime,
    ours: Instant,
}

impl PublisherClock {
    /// A sender report stamped `theirs` arrived at `ours`.
    pub(super) fn report(&mut self, theirs: SystemTime, ours: Instant) {
        let faster = self.tie.and_then(|tie| tie.at(theirs)).is_none_or(|expected| ours <= expected);
        let stale = self.tie.is_some_and(|tie| ours.saturating_duration_since(tie.ours) > TIE_LIFETIME);
        if faster || stale {
            self.tie = Some(Tie { theirs, ours });
        }
    }

    /// When the packet was captured; its arrival, while that is not known or not plausible.
    pub(super) fn captured(&self, packet: &RtpPacket) -> Instant {
        let arrived = packet.timestamp;
        self.capture(packet).filter(|captured| distance(*captured, arrived) < PLAUSIBLE).unwrap_or(arrived)
    }

    fn capture(&self, packet: &RtpPacket) -> Option<Instant> {
        let report = packet.last_sender_info.as_ref()?;
        let rate = packet.time.frequency().get();
        // The low 32 bits tell the difference; both may have wrapped (RFC 3550 section 5.1).
        let ticks = packet.header.timestamp.wrapping_sub(report.rtp_time.numer() as u32).cast_signed();
        let elapsed = Duration::from_secs_f64(f64::from(ticks.unsigned_abs()) / f64::from(rate));
        let theirs = if ticks >= 0 { report.ntp_time + elapsed } else { report.ntp_time - elapsed };
        self.tie?.at(theirs)
    }
}

impl Tie {
    fn at(self, theirs: SystemTime) -> Option<Instant> {
        match theirs.duration_since(self.theirs) {
            Ok(later) => self.ours.checked_add(later),
            Err(earlier) => self.ours.checked_sub(earlier.duration()),
        }
    }
}

fn distance(a: Instant, b: Instant) -> Duration {
    a.saturating_duration_since(b).max(b.saturating_duration_since(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_fastest_report_ties_the_clocks_until_it_is_old() {
        let (theirs, ours) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000), Instant::now());
        let mut clock = PublisherClock::default();
        clock.report(theirs, ours + 40 * MS);
        clock.report(theirs + 1000 * MS, ours + 1020 * MS);
        clock.report(theirs + 2000 * MS, ours + 2090 * MS);
        let at = |clock: &PublisherClock, after: Duration| clock.tie.unwrap().at(theirs + after).unwrap();
        assert_eq!(at(&clock, 5000 * MS), ours + 5020 * MS, "the report that took 20 ms rules");
        assert_eq!(at(&clock, Duration::ZERO), ours + 20 * MS, "also for the past");
        clock.report(theirs + 40_000 * MS, ours + 40_030 * MS);
        assert_eq!(at(&clock, 50_000 * MS), ours + 50_030 * MS, "an old tie gives way");
    }
}
