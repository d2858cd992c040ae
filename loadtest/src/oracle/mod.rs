//! Holds every packet a viewer receives against the rules of RTP, of payload formats and of decoders.
//!
//! Two kinds of findings. A [`Violation`] is a mistake of the server, whatever the network did. Loss, lateness, freezes
//! and frames that could not be decoded for lack of lost packets are counted in the [`Report`], and the test decides.
//!
//! Packets are put in order first (a gap is waited for, as a jitter buffer does), then judged in order: [`stream`].
//! [`wire`] looks at datagrams before decryption. Not here: asking for key frames; the client does when
//! [`Oracle::wants_key_frame`].

mod dependency;
mod numbers;
mod order;
mod report;
mod stream;
#[cfg(test)]
mod tests;
mod violation;
mod wire;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::media::{Codec, Described, SourceId};

pub use report::{Latency, Report, StreamReport};
pub use violation::{Breach, Violation, Violations};

use stream::StreamOracle;
use wire::WireOracle;

/// Streams (SSRCs) watched per client. More means a server that invents SSRCs.
const MAX_STREAMS: usize = 64;

/// What may and what must not happen to a viewer.
#[derive(Debug, Clone, Default)]
pub struct Expectations {
    /// Whether the network may lose packets. On a clean one, every gap is the server's.
    pub losses: Losses,
    /// Publishers this viewer asked for. `None`: whatever comes.
    pub publishers: Option<Vec<u16>>,
    /// Whether streams of other programs are acceptable.
    pub stamps: Stamps,
    /// Look at datagrams before decryption: finds sequence numbers that are used twice, which str0m (and every SRTP
    /// receiver) silently drops. Costs a hash of each datagram.
    pub wire: bool,
}

/// Whether the network may lose packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Losses {
    /// It may.
    #[default]
    Possible,
    /// It does not.
    None,
}

/// Whether every payload must be one of this program's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stamps {
    /// It must; anything else is a violation.
    #[default]
    Required,
    /// Streams of browsers and encoders are counted, as far as RTP headers tell: packets, loss, frames, freezes.
    Optional,
}

/// A received packet, RTX unwrapped.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// When it was received.
    pub at: Instant,
    /// The same by the clock that stamps are written with, in nanoseconds.
    pub at_nanos: u64,
    /// SSRC of the media stream.
    pub ssrc: u32,
    /// Extended sequence number.
    pub sequence: u64,
    /// Extended RTP timestamp.
    pub timestamp: u64,
    /// Marker bit.
    pub marker: bool,
    /// Codec of its payload type.
    pub codec: Codec,
    /// Payload.
    pub payload: &'a [u8],
    /// What its dependency descriptor says, if it has one.
    pub dependency: Option<Described>,
}

/// Watches one viewer.
#[derive(Debug)]
pub struct Oracle {
    expectations: Expectations,
    started: Instant,
    streams: BTreeMap<u32, StreamOracle>,
    wire: WireOracle,
    violations: Violations,
}

impl Oracle {
    /// Watches a viewer who asked at `now`.
    pub fn new(expectations: Expectations, now: Instant) -> Self {
        Self {
            expectations,
            started: now,
            streams: BTreeMap::new(),
            wire: WireOracle::default(),
            violations: Violations::new(now),
        }
    }

    /// A publisher the viewer asks for from now on.
    pub fn allow(&mut self, publisher: u16) {
        self.expectations.publishers.get_or_insert_default().push(publisher);
    }

    /// A datagram before decryption.
    pub fn datagram(&mut self, now: Instant, datagram: &[u8]) {
        if self.expectations.wire {
            self.wire.datagram(now, datagram, &mut self.violations);
        }
    }

    /// A packet after decryption.
    pub fn packet(&mut self, arrival: &Arrival<'_>) {
        if self.streams.len() >= MAX_STREAMS && !self.streams.contains_key(&arrival.ssrc) {
            self.violations.add(arrival.at, arrival.ssrc, Breach::TooManyStreams);
            return;
        }
        let (started, codec) = (self.started, arrival.codec);
        let stream =
            self.streams.entry(arrival.ssrc).or_insert_with(|| StreamOracle::new(arrival.ssrc, codec, started));
        stream.packet(arrival, &self.expectations, &mut self.violations);
    }

    /// A packet without payload: its number is not missing.
    pub fn padding(&mut self, now: Instant, ssrc: u32, sequence: u64) {
        if let Some(stream) = self.streams.get_mut(&ssrc) {
            stream.padding(now, sequence, &self.expectations, &mut self.violations);
        }
    }

    /// Gives up on gaps that were waited for long enough.
    pub fn tick(&mut self, now: Instant) {
        for stream in self.streams.values_mut() {
            stream.tick(now, &self.expectations, &mut self.violations);
        }
    }

    /// When [`Self::tick`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.streams.values().filter_map(StreamOracle::deadline).min()
    }

    /// SSRCs of the streams that cannot be decoded until a key frame comes.
    pub fn wants_key_frame(&self) -> impl Iterator<Item = u32> {
        self.streams.iter().filter(|(_, stream)| stream.wants_key_frame()).map(|(ssrc, _)| *ssrc)
    }

    /// The findings so far. Gaps still being waited for are not yet in it.
    pub fn check(&self, now: Instant) -> Report {
        Report {
            violations: self.violations.clone(),
            streams: self.streams.values().map(|stream| stream.report(now)).collect(),
        }
    }

    /// Packets received so far.
    pub fn packets(&self) -> u64 {
        self.streams.values().map(StreamOracle::packets).sum()
    }

    /// Forgets the delays measured so far: those of a crowd joining are not those of a crowd watching.
    pub fn restart_latency(&mut self) {
        self.streams.values_mut().for_each(StreamOracle::restart_latency);
    }

    /// Forgets the freezes so far: those of a link that changes are not those of a link that has.
    pub fn restart_freezes(&mut self) {
        self.streams.values_mut().for_each(StreamOracle::restart_freezes);
    }

    /// Time from the beginning to the first decoded video frame.
    pub fn time_to_first_frame(&self) -> Option<Duration> {
        self.streams.values().filter_map(StreamOracle::time_to_first_video_frame).min()
    }

    /// Streams decoded so far: which sources reached this viewer.
    pub fn sources(&self) -> Vec<SourceId> {
        let mut sources: Vec<_> = self.streams.values().flat_map(StreamOracle::sources).copied().collect();
        sources.sort();
        sources.dedup();
        sources
    }
}
