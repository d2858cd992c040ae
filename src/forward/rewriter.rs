//! One output stream's numbers: sequence numbers, timestamps and VP8 ids that go on without a seam while the source
//! behind them changes.
//!
//! The output is made of stretches: from the packet a source's layer was joined at to the next switch. Which layer to
//! send and where to switch is the [forwarder](super::forwarder)'s to decide.

use std::time::{Duration, Instant};

use super::DropReason;
use super::clock::{Head, LayerClocks, Seam, Splice, splice};
use super::forwarder::Origin;
use super::sequence::SequenceMap;
use super::vp8::{Vp8Ids, Vp8Offsets, Vp8Rewrite};
use crate::rtp::{Descriptor, MediaKind, Packet};

/// How long packets of the stretch before may still fill its holes. Larger lets a receiver wait for pictures nobody
/// will complete, smaller throws away retransmissions over slow paths.
const DRAIN_TIME: Duration = Duration::from_millis(200);

/// A packet's place in the output stream. The payload is the source's, with the VP8 ids patched in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Sequence number, extended to 64 bits; the stream's first is below 65536.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// What to patch into the VP8 payload descriptor; `None` when it is right as it is.
    pub vp8: Option<Vp8Rewrite>,
}

/// Numbers of one output stream.
#[derive(Debug)]
pub(super) struct Rewriter {
    kind: MediaKind,
    clock_rate: u32,
    /// The next number behind the newest packet, when that closes its frame.
    next_sequence: u64,
    /// The newest packet did not close its frame.
    frame_open: bool,
    /// `None` until something was sent.
    head: Option<Head>,
    vp8: Vp8Ids,
    current: Option<Stretch>,
    /// Allocated at a switch, so that streams that never switch stay small.
    draining: Option<Box<Draining>>,
}

/// The part of the output that comes from one layer of one source, without a switch or pause between.
#[derive(Debug)]
struct Stretch {
    origin: Origin,
    sequence: SequenceMap,
    /// Added to the source's timestamps (modulo 2^64).
    timestamp_offset: u64,
    vp8: Vp8Offsets,
}

/// The stretch before the current one.
#[derive(Debug)]
struct Draining {
    stretch: Stretch,
    until: Instant,
}

impl Rewriter {
    /// `first_sequence` is the number of the first packet.
    pub(super) fn new(kind: MediaKind, clock_rate: u32, first_sequence: u16) -> Self {
        Rewriter {
            kind,
            clock_rate,
            next_sequence: first_sequence.into(),
            frame_open: false,
            head: None,
            vp8: Vp8Ids::default(),
            current: None,
            draining: None,
        }
    }

    /// Where a stretch that begins with this packet would stand on the timeline.
    pub(super) fn splice(&self, origin: Origin, packet: &Packet, clocks: &LayerClocks) -> Splice {
        let (Some(head), Some(current)) = (self.head, &self.current) else {
            return Splice { timestamp: packet.timestamp, behind: Duration::ZERO };
        };
        let seam = (current.origin.source == origin.source).then_some(Seam {
            clocks,
            from: current.origin.layer,
            from_offset: current.timestamp_offset,
            to: origin.layer,
        });
        splice(head, self.clock_rate, packet.arrived, packet.timestamp, seam)
    }

    /// Begins a stretch with this packet, which is then to be [placed](Self::place) first.
    ///
    /// When the frame before was cut, one number is burnt: the receiver must see a gap, or it takes the cut frame for a
    /// whole one.
    pub(super) fn begin(&mut self, origin: Origin, packet: &Packet, at: Splice) {
        if self.frame_open {
            self.next_sequence += 1;
            self.frame_open = false;
        }
        let vp8 = match &packet.descriptor {
            Descriptor::Vp8(vp8) => Vp8Offsets::joining(vp8, &self.vp8),
            _ => Vp8Offsets::default(),
        };
        let before = self.current.replace(Stretch {
            origin,
            sequence: SequenceMap::new(packet.sequence, self.next_sequence),
            timestamp_offset: at.timestamp.wrapping_sub(packet.timestamp),
            vp8,
        });
        let until = packet.arrived + DRAIN_TIME;
        self.draining = before.map(|stretch| Box::new(Draining { stretch, until }));
    }

    /// The numbers of a packet of the current stretch. Padding without payload is left out where that leaves no doubt,
    /// and passes as an empty packet behind a gap: there its number is already missed by the receiver.
    pub(super) fn place(&mut self, packet: &Packet) -> Result<Rewritten, DropReason> {
        let Some(current) = &mut self.current else {
            return Err(DropReason::NotSelected);
        };
        if packet.payload.is_empty() && current.sequence.leave_out_next(packet.sequence) {
            return Err(DropReason::Padding);
        }
        let rewritten = current.place(packet)?;
        if rewritten.sequence >= self.next_sequence {
            self.advance(packet, &rewritten);
        }
        Ok(rewritten)
    }

    /// The numbers of a late packet of the stretch before, if it still has a hole there.
    pub(super) fn fill_hole(&mut self, origin: Origin, packet: &Packet) -> Result<Rewritten, DropReason> {
        let Some(draining) = &mut self.draining else {
            return Err(DropReason::NotSelected);
        };
        let Draining { stretch, until } = draining.as_mut();
        let is_hole = stretch.origin == origin && packet.sequence <= stretch.sequence.highest();
        if !is_hole || packet.arrived > *until {
            return Err(DropReason::NotSelected);
        }
        stretch.place(packet)
    }

    /// Notes the newest packet of the output.
    fn advance(&mut self, packet: &Packet, rewritten: &Rewritten) {
        self.next_sequence = rewritten.sequence + 1;
        if packet.payload.is_empty() {
            return;
        }
        self.frame_open = self.kind == MediaKind::Video && !packet.marker;
        let Some(current) = &self.current else {
            return;
        };
        let timestamp = packet.timestamp.wrapping_add(current.timestamp_offset);
        if self.head.is_none_or(|head| timestamp > head.timestamp) {
            self.head = Some(Head { timestamp, arrived: packet.arrived });
        }
        if let Descriptor::Vp8(vp8) = &packet.descriptor {
            self.vp8.advance(&current.vp8.apply(vp8));
        }
    }
}

impl Stretch {
    fn place(&mut self, packet: &Packet) -> Result<Rewritten, DropReason> {
        let sequence = self.sequence.place(packet.sequence)?;
        let vp8 = match &packet.descriptor {
            Descriptor::Vp8(vp8) if !self.vp8.is_identity() => Some(self.vp8.apply(vp8)),
            _ => None,
        };
        Ok(Rewritten {
            sequence,
            timestamp: packet.timestamp.wrapping_add(self.timestamp_offset) as u32,
            marker: packet.marker,
            vp8,
        })
    }
}
