//! What a server did wrong.

use std::fmt;
use std::time::{Duration, Instant};

use crate::media::{SourceId, Stamp, StampError};

/// Violations kept with their details; the others are counted. Larger: long reports of one mistake repeated.
const KEPT: usize = 50;

/// A mistake of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Since the viewer began.
    pub after: Duration,
    /// The stream it was seen in.
    pub ssrc: u32,
    /// What.
    pub breach: Breach,
}

/// The rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// One SRTP packet index, two contents: the receiver drops one, and the key stream is used twice.
    #[error("sequence number {sequence} was sent twice with different content")]
    SequenceReused {
        /// The 16-bit number.
        sequence: u16,
    },
    /// Sequence numbers are missing where no packet can be lost.
    #[error("{missing} sequence number(s) before {sequence} never came, on a network that loses nothing ({next})")]
    Gap {
        /// First number behind the gap.
        sequence: u64,
        /// How many.
        missing: u64,
        /// The packet behind it.
        next: Box<Stamp>,
    },
    /// Timestamps ran backwards in sequence order.
    #[error("timestamp went from {before} back to {after} at sequence number {sequence} ({stamp})")]
    TimestampBackwards {
        /// Where.
        sequence: u64,
        /// Timestamp of the packet in front.
        before: u64,
        /// Its own.
        after: u64,
        /// The packet.
        stamp: Box<Stamp>,
    },
    /// Packets of one frame have different timestamps.
    #[error("two timestamps in one frame ({stamp})")]
    FrameTimestamps {
        /// The packet.
        stamp: Box<Stamp>,
    },
    /// Two frames have one timestamp.
    #[error("two frames with one timestamp, {timestamp} ({stamp})")]
    SharedTimestamp {
        /// The timestamp.
        timestamp: u64,
        /// The packet of the second.
        stamp: Box<Stamp>,
    },
    /// The marker bit is not on the last packet of a frame, or on another.
    #[error("marker bit {} ({stamp})", misplaced(*.set))]
    Marker {
        /// As received.
        set: bool,
        /// The packet.
        stamp: Box<Stamp>,
    },
    /// A packet of a frame is missing though sequence numbers run on.
    #[error("packet {expected} of the frame was left out without a gap in sequence numbers ({stamp})")]
    PacketLeftOut {
        /// Number of the packet that had to come.
        expected: u16,
        /// The packet that came.
        stamp: Box<Stamp>,
    },
    /// A frame was cut short though sequence numbers run on.
    #[error("the frame was cut after packet {last} without a gap in sequence numbers ({stamp})")]
    FrameCut {
        /// Last packet that came.
        last: u16,
        /// A packet of the frame.
        stamp: Box<Stamp>,
    },
    /// The first frame of a stream, or of a source it switched to, is not a key frame.
    #[error("started at a frame that is not a key frame ({stamp})")]
    NoKeyFrame {
        /// First packet.
        stamp: Box<Stamp>,
    },
    /// A frame refers to one that was not sent, though sequence numbers run on.
    #[error("frame {missing}, which it refers to, was not sent ({stamp})")]
    MissingReference {
        /// The absent frame.
        missing: u32,
        /// A packet of the frame.
        stamp: Box<Stamp>,
    },
    /// An older frame than the one before.
    #[error("older than frame {before} in front of it ({stamp})")]
    FrameBackwards {
        /// Number of the frame in front.
        before: u32,
        /// A packet of the frame.
        stamp: Box<Stamp>,
    },
    /// A running number of the VP8 or VP9 descriptor is not continuous.
    #[error("{field} went from {before} to {after} ({stamp})")]
    Discontinuous {
        /// PictureID, TL0PICIDX or KEYIDX.
        field: &'static str,
        /// Of the frame in front.
        before: u16,
        /// Its own.
        after: u16,
        /// A packet of the frame.
        stamp: Box<Stamp>,
    },
    /// The dependency descriptor means something else to the receiver than to the sender.
    #[error("dependency descriptor: {what} ({stamp})")]
    DependencyDescriptor {
        /// What is wrong.
        what: &'static str,
        /// A packet of the frame.
        stamp: Box<Stamp>,
    },
    /// Packets of one frame have different descriptors.
    #[error("two picture numbers in one frame ({stamp})")]
    FrameDescriptors {
        /// The packet.
        stamp: Box<Stamp>,
    },
    /// Something reached one who had not asked for it.
    #[error("received {stream}, which was not asked for")]
    Unasked {
        /// The stream.
        stream: SourceId,
    },
    /// A payload without a valid stamp.
    #[error("sequence number {sequence}: {reason}")]
    Payload {
        /// Where.
        sequence: u64,
        /// What is wrong with it.
        reason: StampError,
    },
    /// More SSRCs than a client can have asked for.
    #[error("more streams than a client watches")]
    TooManyStreams,
}

/// The violations of one viewer, bounded.
#[derive(Debug, Clone)]
pub struct Violations {
    started: Instant,
    kept: Vec<Violation>,
    count: u64,
}

impl Violations {
    pub(super) fn new(started: Instant) -> Self {
        Self { started, kept: Vec::new(), count: 0 }
    }

    pub(super) fn add(&mut self, at: Instant, ssrc: u32, breach: Breach) {
        self.count += 1;
        if self.kept.len() < KEPT {
            let after = at.saturating_duration_since(self.started);
            self.kept.push(Violation { after, ssrc, breach });
        }
    }

    /// How many in all.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first ones.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.kept.iter()
    }
}

fn misplaced(set: bool) -> &'static str {
    if set { "set before the end of the frame" } else { "missing on the last packet" }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s, SSRC {:08x}: {}", self.after.as_secs_f64(), self.ssrc, self.breach)
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} violation(s)", self.count)?;
        for violation in &self.kept {
            writeln!(f, "  {violation}")?;
        }
        Ok(())
    }
}
