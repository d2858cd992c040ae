//! What a viewer went through, in numbers.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::media::{Codec, Kind, SourceId};

use super::violation::Violations;

/// Delays are counted up to a minute, in microseconds: bounds the histogram's memory to some 20 KB.
const LONGEST: u64 = 60_000_000;

/// Findings of one viewer.
#[derive(Debug, Clone)]
pub struct Report {
    /// What the server did wrong.
    pub violations: Violations,
    /// Each stream received, in order of SSRC.
    pub streams: Vec<StreamReport>,
}

impl Report {
    /// The audio stream that brought most.
    pub fn audio(&self) -> Option<&StreamReport> {
        self.busiest(Kind::Audio)
    }

    /// The video stream that brought most.
    pub fn video(&self) -> Option<&StreamReport> {
        self.busiest(Kind::Video)
    }

    fn busiest(&self, kind: Kind) -> Option<&StreamReport> {
        self.streams.iter().filter(|stream| stream.codec.kind() == kind).max_by_key(|stream| stream.packets)
    }
}

/// One received stream.
#[derive(Debug, Clone)]
pub struct StreamReport {
    /// Its SSRC.
    pub ssrc: u32,
    /// Codec of its first packet.
    pub codec: Codec,
    /// Sources it carried, in order of appearance; a restarted publisher is another source.
    pub sources: Vec<SourceId>,
    /// Packets received, each sequence number once.
    pub packets: u64,
    /// Payload received.
    pub payload_bytes: u64,
    /// Packets that never came, or too late.
    pub lost: u64,
    /// Packets that came too late to be used.
    pub late: u64,
    /// Packets that came behind a later one, in time: reordered by the network, or retransmitted.
    pub reordered: u64,
    /// Frames decoded (for audio: packets).
    pub frames: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Frames that could not be decoded, for lack of lost ones.
    pub undecodable: u64,
    /// Gaps between frames in which a picture would be seen to freeze.
    pub freezes: u64,
    /// Longest gap between two frames.
    pub longest_gap: Duration,
    /// Sum of those gaps.
    pub frozen: Duration,
    /// Since the last frame.
    pub quiet_for: Duration,
    /// Since the first frame.
    pub active_for: Duration,
    /// From the viewer's beginning to the first frame.
    pub first_frame_after: Option<Duration>,
    /// From the publisher's sending of a packet to its arrival.
    pub latency: Latency,
}

/// A distribution of delays.
#[derive(Clone)]
pub struct Latency {
    microseconds: Histogram<u32>,
}

impl Default for Latency {
    fn default() -> Self {
        Self { microseconds: Histogram::new(2).unwrap_or_else(|_| unreachable!("two digits are a valid precision")) }
    }
}

impl Latency {
    pub(super) fn record(&mut self, nanos: u64) {
        let microseconds = (nanos / 1_000).min(LONGEST);
        self.microseconds.record(microseconds).unwrap_or_else(|_| unreachable!("the histogram grows with its values"));
    }

    /// The delay that the given share of packets (0.0 to 1.0) does not exceed; zero without packets.
    pub fn quantile(&self, share: f64) -> Duration {
        Duration::from_micros(self.microseconds.value_at_quantile(share))
    }

    /// How many packets it is made of.
    pub fn count(&self) -> u64 {
        self.microseconds.len()
    }

    /// Adds the packets of another.
    pub fn merge(&mut self, other: &Self) {
        // Both resize themselves, so that every value fits.
        self.microseconds.add(&other.microseconds).unwrap_or_default();
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99] = [0.5, 0.99].map(|share| self.quantile(share));
        write!(f, "Latency {{ p50: {p50:?}, p99: {p99:?}, count: {} }}", self.count())
    }
}
