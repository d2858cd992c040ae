//! One output stream's numbers: sequence numbers, timestamps and picture ids that go on without a seam while the source
//! behind them changes.
//!
//! The output is made of stretches: from the packet a source's layer was joined at to the next switch. Which layer to
//! send and where to switch is the [forwarder](super::forwarder)'s to decide, which packets of it pass the
//! [selector](super::selector)'s.

use std::time::{Duration, Instant};

use super::DropReason;
use super::clock::{Head, LayerClocks, Seam, Splice, splice};
use super::dependency::{DependencyIds, DependencyOffsets};
use super::forwarder::{Origin, Target};
use super::offsets::Offsets;
use super::picture_ids::{IdOffsets, SentIds};
use super::selector::{Limits, Selector, Verdict};
use super::sequence::SequenceMap;
use crate::rtp::dependency_descriptor::DependencyRewrite;
use crate::rtp::{MediaKind, Packet, PictureIds};

/// How long packets of the stretch before may still fill its holes. Larger lets a receiver wait for pictures nobody
/// will complete, smaller throws away retransmissions over slow paths.
const DRAIN_TIME: Duration = Duration::from_millis(200);

/// How long the rest of a picture is waited for before a switch cuts it. Larger has viewers wait for the new layer when
/// the end of a picture is lost, smaller cuts the pictures of senders that spread them over the time between two.
const CLOSING_TIME: Duration = Duration::from_millis(40);

/// How many times faster than they were taken pictures of the past are shown. Larger reaches the present in fewer
/// milliseconds of playing time, smaller spreads them; two pictures must stay apart by a tick.
const CATCH_UP_SPEED: u64 = 64;

/// A packet's place in the output stream. The payload is the source's, with the picture ids patched in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Sequence number, extended to 64 bits; the stream's first is below 65536.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// By how much that is later than the picture's true place, in ticks: one of the past, on its way to the present.
    pub catching_up: u32,
    /// Marker bit.
    pub marker: bool,
    /// Nothing but this number is needed: it is sent without its payload, so that the receiver does not miss it.
    pub empty: bool,
    /// It is sent with its [redundancy](Packet::redundant), whose frames have this payload type.
    pub redundant: Option<u8>,
    /// What to patch into the payload descriptor; `None` when it is right as it is.
    pub ids: Option<PictureIds>,
    /// What to change in the dependency descriptor; `None` when it is right as it is.
    pub dependency: Option<DependencyRewrite>,
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
    ids: SentIds,
    dependency: DependencyIds,
    current: Option<Stretch>,
    /// Allocated at a switch, so that streams that never switch stay small.
    draining: Option<Box<Draining>>,
}

/// The part of the output that comes from one layer of one source, without a switch or pause between.
#[derive(Debug)]
struct Stretch {
    origin: Origin,
    selector: Selector,
    sequence: SequenceMap,
    /// Added to the source's timestamps (modulo 2^64).
    timestamp_offset: u64,
    /// The source's timestamp of the newest picture that was sent.
    newest: u64,
    catch_up: Option<CatchUp>,
    ids: IdOffsets,
    /// Pictures taken out, by their number in the source.
    pictures: Offsets,
    dependency: DependencyOffsets,
}

/// A stretch that begins or goes on in the past: its pictures follow each other as fast as they can until they reach
/// the present.
#[derive(Debug, Clone, Copy)]
struct CatchUp {
    ramp: Ramp,
    /// What goes for pictures in front of it.
    before: Option<Ramp>,
}

/// Where the timeline is dense.
#[derive(Debug, Clone, Copy)]
struct Ramp {
    /// The source's timestamp it began with.
    from: u64,
    /// The output's.
    to: u64,
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
            ids: SentIds::default(),
            dependency: DependencyIds::default(),
            current: None,
            draining: None,
        }
    }

    /// Where a stretch that begins with this packet would stand on the timeline.
    pub(super) fn splice(&self, origin: Origin, packet: &Packet, clocks: &LayerClocks) -> Splice {
        let (Some(head), Some(current)) = (self.head, &self.current) else {
            return Splice::first(packet.timestamp);
        };
        let seam = current.origin.shares_clocks(&origin).then_some(Seam {
            clocks,
            from: current.origin.layer,
            from_offset: current.timestamp_offset,
            to: origin.layer,
        });
        splice(head, self.clock_rate, packet.arrived, packet.timestamp, seam)
    }

    /// Begins a stretch with this packet, which is then to be [placed](Self::place) first. A stretch that begins in the
    /// past is told the timestamp of the source's newest packet, `present`.
    ///
    /// When the frame before was cut, one number is burnt: the receiver must see a gap, or it takes the cut frame for a
    /// whole one.
    pub(super) fn begin(&mut self, target: Target, packet: &Packet, at: Splice, present: Option<u64>) {
        if self.frame_open {
            self.next_sequence += 1;
            self.frame_open = false;
        }
        let ids = PictureIds::of(&packet.descriptor);
        let ids = ids.map(|first| IdOffsets::joining(&first, &self.ids)).unwrap_or_default();
        let first = packet.dependency.as_ref();
        let dependency = first.map(|first| DependencyOffsets::joining(first, &self.dependency)).unwrap_or_default();
        let start = if present.is_some() { at.place } else { at.timestamp };
        let timestamp_offset = start.wrapping_sub(packet.timestamp);
        let catch_up = present.map(|present| {
            let backlog = present.saturating_sub(packet.timestamp);
            let to = present.wrapping_add(timestamp_offset).saturating_sub(backlog / CATCH_UP_SPEED);
            let ramp = Ramp { from: packet.timestamp, to: to.max(at.timestamp) };
            CatchUp { ramp, before: Some(ramp) }
        });
        let before = self.current.replace(Stretch {
            origin: target.origin(),
            selector: Selector::joining(packet, target.limits()),
            sequence: SequenceMap::new(packet.sequence, self.next_sequence),
            timestamp_offset,
            newest: packet.timestamp,
            catch_up,
            ids,
            pictures: Offsets::new(0, 0),
            dependency,
        });
        let until = packet.arrived + DRAIN_TIME;
        self.draining = before.map(|stretch| Box::new(Draining { stretch, until }));
    }

    /// Something was sent.
    pub(super) fn has_begun(&self) -> bool {
        self.head.is_some()
    }

    /// The first packet at or behind this one of the last stretch that was not sent, if nothing else was since.
    pub(super) fn goes_on_at(&self, origin: Origin, from: u64) -> Option<u64> {
        let current = self.current.as_ref().filter(|current| current.origin == origin)?;
        Some(current.sequence.first_missing(from))
    }

    /// Takes the last stretch up again, from packets of the past on: what was sent of it is not sent again. `present`
    /// is the timestamp of the source's newest packet.
    pub(super) fn resume(&mut self, limits: Limits, present: u64) {
        let (Some(current), Some(head)) = (&mut self.current, self.head) else { return };
        current.selector.aim(limits);
        let from = current.newest + 1;
        let dense = present.saturating_sub(from) / CATCH_UP_SPEED;
        let to = present.wrapping_add(current.timestamp_offset).saturating_sub(dense);
        let ramp = Ramp { from, to: to.max(head.timestamp + 1) };
        let before = current.catch_up.map(|earlier| earlier.ramp);
        current.catch_up = Some(CatchUp { ramp, before });
    }

    /// A stretch that begins now does not cut a picture.
    pub(super) fn is_between_pictures(&self, now: Instant) -> bool {
        !self.frame_open || self.head.is_none_or(|head| now.saturating_duration_since(head.arrived) >= CLOSING_TIME)
    }

    /// A packet of the current stretch belongs to a later picture than all that was sent.
    pub(super) fn begins_picture(&self, packet: &Packet) -> bool {
        let place = self.current.as_ref().map(|current| current.timestamp(packet));
        self.head.zip(place).is_none_or(|(head, place)| place > head.timestamp)
    }

    /// The newest packet that was sent of a stream, if it is the last that was sent at all.
    pub(super) fn shown(&self, origin: Origin) -> Option<u64> {
        let current = self.current.as_ref().filter(|current| current.origin == origin)?;
        Some(current.sequence.highest())
    }

    /// What to send of the current stretch's stream from the next possible point on.
    pub(super) fn aim(&mut self, limits: Limits) {
        if let Some(current) = &mut self.current {
            current.selector.aim(limits);
        }
    }

    /// The layers of the current stretch's stream that are sent.
    pub(super) fn sending(&self) -> Limits {
        self.current.as_ref().map_or(Limits::NONE, |current| current.selector.sending())
    }

    /// What the current stretch is to send can begin at a key frame only.
    pub(super) fn awaits_keyframe(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.selector.awaits_keyframe())
    }

    /// The numbers of a packet of the current stretch. What is not to be sent is left out, and so is padding without
    /// payload; where it comes too late for that, it passes without payload: there its number is already missed by the
    /// receiver.
    pub(super) fn place(&mut self, packet: &Packet) -> Result<Rewritten, DropReason> {
        let Some(current) = &mut self.current else {
            return Err(DropReason::NotSelected);
        };
        let rewritten = current.forward(packet)?;
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
        stretch.forward(packet)
    }

    /// Notes the newest packet of the output.
    fn advance(&mut self, packet: &Packet, rewritten: &Rewritten) {
        self.next_sequence = rewritten.sequence + 1;
        if rewritten.empty {
            return;
        }
        self.frame_open = self.kind == MediaKind::Video && !rewritten.marker;
        let Some(current) = &mut self.current else {
            return;
        };
        let timestamp = current.timestamp(packet);
        current.newest = current.newest.max(packet.timestamp);
        if self.head.is_none_or(|head| timestamp > head.timestamp) {
            self.head = Some(Head { timestamp, arrived: packet.arrived });
        }
        if let Some(own) = PictureIds::of(&packet.descriptor) {
            self.ids.advance(&current.ids_of(packet.picture, &own));
        }
        if let Some(dependency) = &packet.dependency {
            self.dependency.advance(dependency, &current.dependency);
        }
    }
}

impl Stretch {
    fn forward(&mut self, packet: &Packet) -> Result<Rewritten, DropReason> {
        if packet.payload.is_empty() {
            return self.close_up(packet, DropReason::Padding);
        }
        match self.selector.decide(packet) {
            Verdict::Pass { closes_picture, active_targets } => {
                let mut rewritten = self.number(packet)?;
                rewritten.marker = packet.marker || closes_picture;
                rewritten.ids = self.changed_ids(packet);
                rewritten.dependency = self.dependency.apply(active_targets).filter(|_| packet.dependency.is_some());
                Ok(rewritten)
            }
            Verdict::LeaveOut { skips_picture } => {
                if let Some(picture) = packet.picture.filter(|_| skips_picture) {
                    self.pictures.remove(picture);
                }
                self.close_up(packet, DropReason::UpperLayer)
            }
        }
    }

    /// Leaves a packet out, or gives its number away without payload where others were numbered around it.
    fn close_up(&mut self, packet: &Packet, reason: DropReason) -> Result<Rewritten, DropReason> {
        if self.sequence.leave_out(packet.sequence) {
            return Err(reason);
        }
        Ok(Rewritten { empty: true, ..self.number(packet)? })
    }

    fn number(&mut self, packet: &Packet) -> Result<Rewritten, DropReason> {
        let timestamp = self.timestamp(packet);
        let true_place = packet.timestamp.wrapping_add(self.timestamp_offset);
        Ok(Rewritten {
            sequence: self.sequence.place(packet.sequence)?,
            timestamp: timestamp as u32,
            catching_up: timestamp.wrapping_sub(true_place) as u32,
            marker: false,
            empty: false,
            redundant: None,
            ids: None,
            dependency: None,
        })
    }

    fn timestamp(&self, packet: &Packet) -> u64 {
        let place = packet.timestamp.wrapping_add(self.timestamp_offset);
        let ramp = match self.catch_up {
            Some(CatchUp { ramp, .. }) if packet.timestamp >= ramp.from => Some(ramp),
            Some(CatchUp { before, .. }) => before,
            None => None,
        };
        ramp.map_or(place, |Ramp { from, to }| place.max(to + packet.timestamp.saturating_sub(from) / CATCH_UP_SPEED))
    }

    fn changed_ids(&self, packet: &Packet) -> Option<PictureIds> {
        if self.ids.is_identity() && self.pictures.is_zero() {
            return None;
        }
        PictureIds::of(&packet.descriptor).map(|own| self.ids_of(packet.picture, &own))
    }

    /// The ids as they are sent: closed up over the pictures that were taken out.
    fn ids_of(&self, picture: Option<u64>, own: &PictureIds) -> PictureIds {
        let taken_out = picture.and_then(|picture| self.pictures.at(picture)).unwrap_or(0);
        self.ids.apply(own, taken_out as u16)
    }
}
