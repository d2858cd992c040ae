//! What is wrong with a publisher's stream, found by looking at it: each flaw once, as a sentence that says what to
//! change.
//!
//! Looks at packets as they come and at how key frame requests are answered. Not here: whom it is told (`sfu`), and
//! anything about the network, which is no fault of the encoder.

use std::fmt;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::MAX_LAYERS;
use crate::rtp::format::Profile;
use crate::rtp::{Codec, LayerIndex, Packet};

/// Pictures out of order that make B-frames. Larger: found later; smaller: a restart of the RTP clock passes for one.
const OUT_OF_ORDER: u32 = 3;

/// Key frames without parameter sets that make a flaw; the first may have lost them on the way.
const BARE_KEY_FRAMES: u32 = 2;

/// Requests without an answer, beyond those with one, that make a publisher deaf: some of a deaf one's key frames come
/// just behind a request. Larger: found later; smaller: lost requests count.
const UNANSWERED: u32 = 3;

/// A key frame that comes later than this after a request is no answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Time between key frames that viewers notice when joining, of a publisher that sends none on request.
const SPARSE: Duration = Duration::from_millis(4500);

/// Difference in delay between the layers of a track that makes sound and picture part when layers change.
const APART: Duration = Duration::from_millis(400);

/// Packets of a layer before its delay counts.
const SETTLED: u32 = 100;

/// Kinds of flaws.
const KINDS: usize = 6;

/// Something about a stream that viewers suffer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Pictures are sent in another order than they are shown in.
    BFrames,
    /// Key frames come without the parameter sets that a decoder needs to begin.
    MissingParameterSets,
    /// Key frames are far apart and there are none on request.
    SparseKeyFrames {
        /// Time between two.
        interval: Duration,
    },
    /// Key frame requests are not answered.
    IgnoresRequests,
    /// The stream is of another H.264 profile than the description says.
    OtherProfile {
        /// profile-level-id of the description.
        declared: u32,
        /// Of the stream.
        sent: u32,
    },
    /// The layers are not sent at the same time.
    UnequalTimelines {
        /// By how much one is behind another.
        apart: Duration,
    },
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BFrames => f.write_str(
                "the video has B-frames, which WebRTC players show in the wrong order or not at all: set B-frames to 0 \
                 in the encoder",
            ),
            Self::MissingParameterSets => f.write_str(
                "key frames come without SPS and PPS, so whoever joins sees nothing: have the encoder repeat its \
                 headers with every key frame",
            ),
            Self::SparseKeyFrames { interval } => write!(
                f,
                "key frames come {:.0} s apart and not on request, so whoever joins waits up to that long for a \
                 picture: set the key frame interval to 1 or 2 s",
                interval.as_secs_f32()
            ),
            Self::IgnoresRequests => f.write_str(
                "key frame requests (PLI) are not answered, so a viewer that lost packets sees a broken picture until \
                 the next key frame: keep the key frame interval at 1 or 2 s",
            ),
            Self::OtherProfile { declared, sent } => write!(
                f,
                "the offer says H.264 profile {declared:06x}, but {sent:06x} is sent: players that believe the offer \
                 may not be able to decode it; set the encoder's profile to the one that is offered",
            ),
            Self::UnequalTimelines { apart } => write!(
                f,
                "the simulcast layers are sent {} ms apart, so picture and sound part when a viewer's layer changes: \
                 use the same encoder settings but for size and bitrate",
                apart.as_millis()
            ),
        }
    }
}

/// Looks at one track.
#[derive(Debug, Clone, Default)]
pub struct Lint {
    layers: ArrayVec<LayerLint, MAX_LAYERS>,
    b_frames: bool,
    bare: bool,
    profile: Option<(u32, u32)>,
    found: ArrayVec<Flaw, KINDS>,
}

#[derive(Debug, Clone, Default)]
struct LayerLint {
    packets: u32,
    newest: Option<(u64, u64)>,
    out_of_order: u32,
    bare_key_frames: u32,
    /// Timestamp of the last picture with parameter sets.
    parameter_sets: Option<u64>,
    /// Timestamp of the last picture that began with an IDR slice.
    idr: Option<u64>,
    last_key_frame: Option<Instant>,
    interval: Option<Duration>,
    asked: Option<Instant>,
    unanswered: u32,
    answered: u32,
    /// Shortest time from capture to arrival, in ms.
    delay: Option<i64>,
}

impl Lint {
    /// Looks at a packet. `declared` is what the description says of its format.
    pub fn packet(&mut self, packet: &Packet, declared: Profile) {
        let Some(layer) = self.layer(packet.layer) else { return };
        let (out_of_order, bare) = layer.packet(packet);
        self.b_frames |= out_of_order;
        self.bare |= bare;
        if packet.starts_keyframe
            && self.profile.is_none()
            && let Profile::H264 { profile_level_id, .. } = declared
            && let Some(sent) = crate::rtp::h264_profile_level_id(&packet.payload)
            && is_beyond(sent, profile_level_id)
        {
            self.profile = Some((profile_level_id, sent));
        }
    }

    /// A key frame was asked for.
    pub fn requested(&mut self, now: Instant, layer: LayerIndex) {
        let Some(layer) = self.layer(layer) else { return };
        if layer.asked.is_none_or(|asked| now.saturating_duration_since(asked) > ANSWER_TIME) {
            layer.unanswered += u32::from(layer.asked.is_some());
            layer.asked = Some(now);
        }
    }

    /// The next flaw that was not found before.
    pub fn next_flaw(&mut self, now: Instant) -> Option<Flaw> {
        let kind = std::mem::discriminant::<Flaw>;
        let is_new = |flaw: &Flaw| !self.found.iter().any(|found| kind(found) == kind(flaw));
        let flaw = self.flaws(now).into_iter().flatten().find(is_new)?;
        self.found.try_push(flaw).is_ok().then_some(flaw)
    }

    /// Everything found so far.
    pub fn found(&self) -> &[Flaw] {
        &self.found
    }

    fn flaws(&self, now: Instant) -> [Option<Flaw>; 5] {
        let deaf = self.layers.iter().find(|layer| layer.is_deaf());
        let interval = deaf.and_then(|layer| layer.longest_interval(now));
        let sparse = interval.filter(|interval| *interval >= SPARSE).map(|interval| Flaw::SparseKeyFrames { interval });
        [
            self.b_frames.then_some(Flaw::BFrames),
            self.bare.then_some(Flaw::MissingParameterSets),
            sparse.or(deaf.map(|_| Flaw::IgnoresRequests)),
            self.profile.map(|(declared, sent)| Flaw::OtherProfile { declared, sent }),
            self.apart().filter(|apart| *apart >= APART).map(|apart| Flaw::UnequalTimelines { apart }),
        ]
    }

    fn apart(&self) -> Option<Duration> {
        let delays = self.layers.iter().filter(|layer| layer.packets >= SETTLED).filter_map(|layer| layer.delay);
        let (least, most) = (delays.clone().min()?, delays.max()?);
        Some(Duration::from_millis((most - least).unsigned_abs()))
    }

    fn layer(&mut self, index: LayerIndex) -> Option<&mut LayerLint> {
        let index = usize::from(index.0);
        while self.layers.len() <= index && !self.layers.is_full() {
            self.layers.push(LayerLint::default());
        }
        self.layers.get_mut(index)
    }
}

impl LayerLint {
    /// Returns whether it has shown B-frames, and key frames without parameter sets.
    fn packet(&mut self, packet: &Packet) -> (bool, bool) {
        self.packets = self.packets.saturating_add(1);
        let delay = |from: Instant, to: Instant| i64::try_from(to.saturating_duration_since(from).as_millis());
        if let (Ok(behind), Ok(ahead)) =
            (delay(packet.captured, packet.arrived), delay(packet.arrived, packet.captured))
        {
            let delay = behind - ahead;
            self.delay = Some(self.delay.map_or(delay, |shortest| shortest.min(delay)));
        }
        if packet.starts_keyframe {
            self.key_frame(packet);
        }
        let newest = *self.newest.get_or_insert((packet.sequence, packet.timestamp));
        if packet.sequence <= newest.0 && self.packets > 1 {
            return (false, false);
        }
        let reorders = matches!(packet.codec, Codec::H264 | Codec::H265);
        self.out_of_order += u32::from(reorders && packet.timestamp < newest.1);
        // Parameter sets come before the first slice; a delimiter (AUD) may have come before both.
        let is_idr = packet.codec == Codec::H264 && starts_idr(&packet.payload);
        if is_idr && self.idr.replace(packet.timestamp) != Some(packet.timestamp) {
            self.bare_key_frames += u32::from(self.parameter_sets != Some(packet.timestamp));
        }
        self.newest = Some((packet.sequence, packet.timestamp.max(newest.1)));
        (self.out_of_order >= OUT_OF_ORDER, self.bare_key_frames >= BARE_KEY_FRAMES)
    }

    fn key_frame(&mut self, packet: &Packet) {
        self.parameter_sets = Some(packet.timestamp);
        let now = packet.arrived;
        if let Some(asked) = self.asked.take() {
            let answered = now.saturating_duration_since(asked) <= ANSWER_TIME;
            self.answered += u32::from(answered);
            self.unanswered += u32::from(!answered);
        }
        let interval = self.last_key_frame.map(|last| now.saturating_duration_since(last));
        self.interval = self.interval.max(interval);
        self.last_key_frame = Some(now);
    }

    fn is_deaf(&self) -> bool {
        self.unanswered >= UNANSWERED + self.answered
    }

    fn longest_interval(&self, now: Instant) -> Option<Duration> {
        let present = now.saturating_duration_since(self.last_key_frame?);
        Some(self.interval.unwrap_or_default().max(present))
    }
}

/// A stream of `sent` asks more of a decoder than one of `declared`: it is of a higher profile. A lower one, and any
/// level, every decoder takes.
fn is_beyond(sent: u32, declared: u32) -> bool {
    let rank = |profile_level_id: u32| match profile_level_id >> 16 {
        0x42 => 0,
        0x4d => 1,
        0x58 => 2,
        0x64 => 3,
        _ => 4,
    };
    rank(sent) > rank(declared)
}

/// Whether an H.264 payload begins with an IDR slice, or a fragment that begins one.
fn starts_idr(payload: &[u8]) -> bool {
    const IDR: u8 = 5;
    const FU_A: u8 = 28;
    match payload {
        [header, ..] if header & 0x1f == IDR => true,
        [header, fragment, ..] => header & 0x1f == FU_A && fragment & 0x80 != 0 && fragment & 0x1f == IDR,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
