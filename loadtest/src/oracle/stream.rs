//! Judges the packets of one stream, in order.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::media::{self, Codec, Content, Described, Kind, Picture, SourceId, Stamp};

use super::dependency::DependencyOracle;
use super::numbers;
use super::order::{InOrder, Order, Place};
use super::report::{Latency, StreamReport};
use super::violation::{Breach, Violations};
use super::{Arrival, Expectations, Losses, Stamps};

/// Decoded frames remembered. References reach back four frames.
const REMEMBERED_FRAMES: usize = 64;

/// A gap between frames that is seen as a freeze: libwebrtc counts 150 ms above the average interval.
const FREEZE: Duration = Duration::from_millis(200);

/// Sources listed per stream. More are not.
const MAX_SOURCES: usize = 64;

/// One received stream (SSRC).
#[derive(Debug)]
pub(super) struct StreamOracle {
    ssrc: u32,
    codec: Codec,
    started: Instant,
    order: Order<Waiting>,
    previous: Option<Item>,
    frame: Option<Assembly>,
    decoder: Decoder,
    sources: Vec<SourceId>,
    packets: u64,
    payload_bytes: u64,
    lost: u64,
    latency: Latency,
    pictures: Pictures,
    foreign_timestamp: Option<u64>,
    dependency: DependencyOracle,
    /// The picture that a spatial layer was shown of.
    shown: Option<Picture>,
    /// Padding came behind the packet before: what belonged there was left out.
    padded: bool,
}

/// A packet that waits for its turn.
#[derive(Debug, Clone, Copy)]
enum Waiting {
    Stamped(Item),
    /// Without payload.
    Padding,
    /// Of another program's stream.
    Foreign {
        timestamp: u64,
    },
}

/// What is judged of a packet.
#[derive(Debug, Clone, Copy)]
struct Item {
    timestamp: u64,
    marker: bool,
    content: Content,
    dependency: Option<Described>,
}

/// A frame being put together.
#[derive(Debug)]
struct Assembly {
    next_index: u16,
    whole: bool,
}

/// What a decoder has.
#[derive(Debug, Default)]
struct Decoder {
    source: Option<(SourceId, u8)>,
    decoded: VecDeque<u32>,
    /// Packets were lost since the last key frame: absent references are no mistake of the server.
    damaged: bool,
    wants_key_frame: bool,
}

/// Decoded frames as a person sees them.
#[derive(Debug, Default)]
struct Pictures {
    frames: u64,
    key_frames: u64,
    undecodable: u64,
    freezes: u64,
    longest_gap: Duration,
    frozen: Duration,
    first: Option<Instant>,
    last: Option<Instant>,
}

impl StreamOracle {
    pub(super) fn new(ssrc: u32, codec: Codec, started: Instant) -> Self {
        Self {
            ssrc,
            codec,
            started,
            order: Order::default(),
            previous: None,
            frame: None,
            decoder: Decoder::default(),
            sources: Vec::new(),
            packets: 0,
            payload_bytes: 0,
            lost: 0,
            latency: Latency::default(),
            pictures: Pictures::default(),
            foreign_timestamp: None,
            dependency: DependencyOracle::default(),
            shown: None,
            padded: false,
        }
    }

    pub(super) fn packet(&mut self, arrival: &Arrival<'_>, expected: &Expectations, violations: &mut Violations) {
        let (waiting, place) = match media::read(arrival.codec, arrival.payload) {
            Ok(content) => {
                let stamp = content.stamp;
                self.latency.record(arrival.at_nanos.saturating_sub(stamp.sent));
                self.note_source(arrival.at, &stamp, expected, violations);
                let place = match self.codec.kind() {
                    Kind::Audio => Place::Start,
                    Kind::Video if stamp.key && stamp.index == 0 => Place::KeyFrame,
                    Kind::Video => Place::Inside,
                };
                let Arrival { timestamp, marker, dependency, .. } = *arrival;
                let item = Item { timestamp, marker, content, dependency };
                (Waiting::Stamped(item), place)
            }
            Err(_) if expected.stamps == Stamps::Optional && self.sources.is_empty() => {
                (Waiting::Foreign { timestamp: arrival.timestamp }, Place::Start)
            }
            Err(reason) => {
                let breach = Breach::Payload { sequence: arrival.sequence, reason };
                violations.add(arrival.at, self.ssrc, breach);
                return;
            }
        };
        self.packets += 1;
        self.payload_bytes += arrival.payload.len() as u64;
        self.order.insert(arrival.at, arrival.sequence, waiting, place);
        self.tick(arrival.at, expected, violations);
    }

    pub(super) fn padding(
        &mut self,
        now: Instant,
        sequence: u64,
        expected: &Expectations,
        violations: &mut Violations,
    ) {
        self.order.insert(now, sequence, Waiting::Padding, Place::Inside);
        self.tick(now, expected, violations);
    }

    pub(super) fn tick(&mut self, now: Instant, expected: &Expectations, violations: &mut Violations) {
        while let Some(InOrder { sequence, missing, packet }) = self.order.pop(now) {
            self.lost += missing;
            match packet {
                Waiting::Stamped(packet) => {
                    let packet = InOrder { sequence, missing, packet };
                    self.judge(now, &packet, expected, violations);
                }
                Waiting::Padding => {
                    self.decoder.damaged |= missing > 0;
                    self.padded = true;
                }
                Waiting::Foreign { timestamp } => self.count_foreign(now, timestamp),
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.order.deadline()
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    pub(super) fn restart_latency(&mut self) {
        self.latency = Latency::default();
    }

    pub(super) fn wants_key_frame(&self) -> bool {
        self.decoder.wants_key_frame
    }

    pub(super) fn sources(&self) -> impl Iterator<Item = &SourceId> {
        self.sources.iter()
    }

    pub(super) fn time_to_first_video_frame(&self) -> Option<Duration> {
        let first = self.pictures.first.filter(|_| self.codec.kind() == Kind::Video)?;
        Some(first - self.started)
    }

    pub(super) fn report(&self, now: Instant) -> StreamReport {
        let Pictures { frames, key_frames, undecodable, freezes, longest_gap, frozen, first, last } = self.pictures;
        StreamReport {
            ssrc: self.ssrc,
            codec: self.codec,
            sources: self.sources.clone(),
            packets: self.packets,
            payload_bytes: self.payload_bytes,
            lost: self.lost,
            late: self.order.late,
            reordered: self.order.reordered,
            frames,
            key_frames,
            undecodable,
            freezes,
            longest_gap,
            frozen,
            quiet_for: now.saturating_duration_since(last.unwrap_or(self.started)),
            active_for: first.map_or(Duration::ZERO, |at| now.saturating_duration_since(at)),
            first_frame_after: first.map(|at| at - self.started),
            latency: self.latency.clone(),
        }
    }

    /// Forgets the freezes so far.
    pub(super) fn restart_freezes(&mut self) {
        let Pictures { freezes, longest_gap, frozen, .. } = &mut self.pictures;
        (*freezes, *longest_gap, *frozen) = (0, Duration::ZERO, Duration::ZERO);
    }

    fn note_source(&mut self, at: Instant, stamp: &Stamp, expected: &Expectations, violations: &mut Violations) {
        if self.sources.contains(&stamp.source) || self.sources.len() >= MAX_SOURCES {
            return;
        }
        self.sources.push(stamp.source);
        let asked = expected.publishers.as_ref().is_none_or(|asked| asked.contains(&stamp.source.publisher));
        if !asked {
            violations.add(at, self.ssrc, Breach::Unasked { stream: stamp.source });
        }
    }

    /// One packet of another program's stream: a new timestamp is a new frame.
    fn count_foreign(&mut self, now: Instant, timestamp: u64) {
        if self.foreign_timestamp.replace(timestamp) != Some(timestamp) {
            self.pictures.show(now, self.started, false);
        }
    }

    /// One packet, the next in order.
    fn judge(&mut self, now: Instant, packet: &InOrder<Item>, expected: &Expectations, violations: &mut Violations) {
        let item = packet.packet;
        let stamp = item.content.stamp;
        let mut blame = |breach| violations.add(now, self.ssrc, breach);

        let padded = std::mem::take(&mut self.padded);
        let gap = packet.missing > 0 || padded || self.previous.is_none() && expected.losses == Losses::Possible;
        if packet.missing > 0 {
            self.decoder.damaged = true;
            if expected.losses == Losses::None && !self.is_seam(packet) {
                let breach = Breach::Gap { sequence: packet.sequence, missing: packet.missing, next: Box::new(stamp) };
                blame(breach);
            }
        }
        let continued = self.previous.filter(|previous| previous.content.stamp.same_frame(&stamp));
        match (continued, &mut self.frame) {
            (Some(previous), Some(frame)) => {
                check_within_frame(&previous, &item, &mut blame);
                if stamp.index != frame.next_index {
                    frame.whole = false;
                    if !gap {
                        blame(Breach::PacketLeftOut { expected: frame.next_index, stamp: Box::new(stamp) });
                    }
                }
                frame.next_index = stamp.index + 1;
            }
            _ => {
                if let Some(previous) = &self.previous {
                    check_between_frames(previous, &item, packet.sequence, gap, &mut blame);
                }
                if stamp.index != 0 && !gap {
                    blame(Breach::PacketLeftOut { expected: 0, stamp: Box::new(stamp) });
                }
                match item.dependency {
                    Some(described) if stamp.index == 0 => {
                        self.dependency.judge(&stamp, &described, gap, &mut blame);
                    }
                    Some(described) => self.dependency.note(&stamp, &described),
                    None => {}
                }
                self.decoder.begin((stamp.source, stamp.layer), gap);
                let frame = Assembly { next_index: stamp.index + 1, whole: stamp.index == 0 };
                if self.frame.replace(frame).is_some() {
                    self.pictures.undecodable += 1;
                }
            }
        }
        let last = stamp.index + 1 == stamp.count;
        if self.codec.kind() == Kind::Video && item.marker && !last {
            blame(Breach::Marker { set: true, stamp: Box::new(stamp) });
        }
        self.previous = Some(item);
        if last && self.frame.take_if(|frame| frame.whole).is_some() {
            self.finish_frame(now, &stamp, violations);
        }
    }

    /// A switch may leave one number out behind a frame that the old source did not finish, so that receivers see the
    /// frame as incomplete instead of joining it to the new one.
    fn is_seam(&self, packet: &InOrder<Item>) -> bool {
        let stamp = &packet.packet.content.stamp;
        self.previous.is_some_and(|previous| {
            let old = &previous.content.stamp;
            let switched = (old.source, old.layer) != (stamp.source, stamp.layer);
            packet.missing == 1 && switched && !previous.marker
        })
    }

    fn finish_frame(&mut self, now: Instant, stamp: &Stamp, violations: &mut Violations) {
        match self.decoder.decode(stamp) {
            Ok(true) if self.shown.replace(stamp.picture()) == Some(stamp.picture()) => {}
            Ok(true) => self.pictures.show(now, self.started, stamp.key),
            Ok(false) => self.pictures.undecodable += 1,
            Err(breach) => {
                self.pictures.undecodable += 1;
                violations.add(now, self.ssrc, breach);
            }
        }
    }
}

impl Decoder {
    /// A frame of `source` begins. Frames of an old source say nothing about a new one's.
    fn begin(&mut self, source: (SourceId, u8), gap_in_front: bool) {
        if self.source != Some(source) {
            *self = Self { source: Some(source), damaged: gap_in_front, ..Self::default() };
        }
    }

    /// Whether a complete frame can be decoded; a breach when it cannot and nothing was lost that would explain it.
    fn decode(&mut self, stamp: &Stamp) -> Result<bool, Breach> {
        if stamp.key {
            self.decoded = VecDeque::from([stamp.frame]);
            (self.damaged, self.wants_key_frame) = (false, false);
            return Ok(true);
        }
        let referred = stamp.references.iter().filter(|distance| **distance > 0);
        let missing = referred.map(|d| stamp.frame.wrapping_sub(u32::from(*d))).find(|n| !self.decoded.contains(n));
        if let Some(missing) = missing {
            let explained = self.damaged;
            // Nothing more is blamed until the next key frame.
            (self.damaged, self.wants_key_frame) = (true, true);
            return match (explained, self.decoded.is_empty()) {
                (true, _) => Ok(false),
                (false, true) => Err(Breach::NoKeyFrame { stamp: Box::new(*stamp) }),
                (false, false) => Err(Breach::MissingReference { missing, stamp: Box::new(*stamp) }),
            };
        }
        if self.decoded.len() >= REMEMBERED_FRAMES {
            self.decoded.pop_front();
        }
        self.decoded.push_back(stamp.frame);
        Ok(true)
    }
}

impl Pictures {
    fn show(&mut self, now: Instant, started: Instant, key: bool) {
        let gap = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        self.frames += 1;
        self.key_frames += u64::from(key);
        self.freezes += u64::from(gap > FREEZE);
        self.longest_gap = self.longest_gap.max(gap);
        if gap > FREEZE {
            self.frozen += gap;
        }
        self.first.get_or_insert(now.max(started));
        self.last = Some(now);
    }
}

fn check_within_frame(previous: &Item, item: &Item, blame: &mut impl FnMut(Breach)) {
    let stamp = || Box::new(item.content.stamp);
    if item.timestamp != previous.timestamp {
        blame(Breach::FrameTimestamps { stamp: stamp() });
    }
    if let (Some(old), Some(new)) = (previous.content.vp8, item.content.vp8)
        && (old.picture_id, old.tl0_index, old.temporal) != (new.picture_id, new.tl0_index, new.temporal)
    {
        blame(Breach::FrameDescriptors { stamp: stamp() });
    }
    if previous.content.vp9 != item.content.vp9 {
        blame(Breach::FrameDescriptors { stamp: stamp() });
    }
}

fn check_between_frames(previous: &Item, item: &Item, sequence: u64, gap: bool, blame: &mut impl FnMut(Breach)) {
    let (old, new) = (&previous.content.stamp, &item.content.stamp);
    let stamp = || Box::new(*new);
    if !gap && old.index + 1 < old.count {
        blame(Breach::FrameCut { last: old.index, stamp: Box::new(*old) });
    }
    if (old.source, old.layer) == (new.source, new.layer) && new.frame < old.frame {
        blame(Breach::FrameBackwards { before: old.frame, stamp: stamp() });
    }
    let same_picture = old.picture() == new.picture();
    if same_picture && item.timestamp != previous.timestamp {
        blame(Breach::FrameTimestamps { stamp: stamp() });
    }
    let video = new.source.kind == Kind::Video;
    if video && !gap && old.index + 1 == old.count && previous.marker == same_picture {
        blame(Breach::Marker { set: previous.marker, stamp: Box::new(*old) });
    }
    if item.timestamp < previous.timestamp {
        let (before, after) = (previous.timestamp, item.timestamp);
        blame(Breach::TimestampBackwards { sequence, before, after, stamp: stamp() });
    } else if item.timestamp == previous.timestamp && !same_picture {
        blame(Breach::SharedTimestamp { timestamp: item.timestamp, stamp: stamp() });
    }
    if !gap {
        numbers::check(&previous.content, &item.content, blame);
    }
}
