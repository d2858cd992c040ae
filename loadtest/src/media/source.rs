//! One RTP stream: frames at their time, cut into packets, each at its time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::clock::Clock;
use crate::spec::{AudioSpec, KeyRequests, LayerSpec, Pacing, Svc, Timestamps, VideoSpec};

use super::dependency::Descriptors;
use super::encoder::{Encoder, Encoding, Frame};
use super::vp8::Vp8Packetizer;
use super::vp9::Vp9Packetizer;
use super::{Codec, STAMP_LEN, SourceId, Stamp, av1, h264, h265};

/// Longest payload. libwebrtc cuts so that the whole datagram stays under 1200 bytes; with the RTP header, extensions
/// and the authentication tag this comes to the same.
const MAX_PAYLOAD: usize = 1140;

/// What a codec's header takes of most packets. (Parameter sets travel in packets of their own, without filler.)
const TYPICAL_HEAD: usize = 6;

/// One packet of Opus.
const AUDIO_INTERVAL: Duration = Duration::from_millis(20);

/// Opus TOC byte: fullband CELT, 20 ms, mono, one frame.
const OPUS_TOC: u8 = 0xf8;

/// More frames waiting than this and the caller was not there to send them: they are skipped, as a live encoder would.
/// Larger: a long burst after a pause. Smaller: frames lost when the machine is busy.
const MAX_FRAMES_BEHIND: u32 = 8;

/// A packet to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Sequence number, counted on beyond 16 bits.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Last packet of a video frame.
    pub marker: bool,
    /// When the frame was captured.
    pub captured: Instant,
    /// Payload, stamped.
    pub payload: Vec<u8>,
    /// The dependency descriptor, if one is sent.
    pub dependency: Option<Vec<u8>>,
}

/// A stream of synthetic media.
#[derive(Debug)]
pub struct Source {
    id: SourceId,
    layer: u8,
    codec: Codec,
    clock: Clock,
    rng: StdRng,
    started: Instant,
    frame_interval: Duration,
    /// Frames captured so far, skipped ones included.
    captured: u32,
    key_wanted: Option<Instant>,
    stopped: bool,
    key_requests: KeyRequests,
    pacing: Pacing,
    encoder: Encoder,
    payload: Payload,
    first_timestamp: u32,
    sequence: u64,
    queue: VecDeque<Pending>,
    svc: Option<Svc>,
    descriptors: Option<Descriptors>,
}

/// How frames of a codec become payloads.
#[derive(Debug)]
enum Payload {
    Opus { bytes: usize },
    Vp8(Vp8Packetizer),
    Vp9(Vp9Packetizer),
    H264 { sps: Vec<u8> },
    H265,
    Av1,
}

/// A packet waiting for its time. Filler and stamp are added when it leaves.
#[derive(Debug)]
struct Pending {
    due: Instant,
    captured: Instant,
    timestamp: u32,
    head: Vec<u8>,
    stamp: Stamp,
    ends_picture: bool,
    dependency: Option<Vec<u8>>,
}

impl Source {
    /// An audio stream that begins at `now`.
    pub fn audio(spec: AudioSpec, id: SourceId, clock: Clock, seed: u64, now: Instant) -> Self {
        let encoding = Encoding {
            bitrate: 0,
            frame_rate: 50,
            temporal_layers: 1,
            key_interval: Some(AUDIO_INTERVAL),
            key_frame_weight: 1,
        };
        let payload = Payload::Opus { bytes: spec.payload_bytes };
        Self::new(Codec::Opus, payload, encoding, id, clock, StdRng::seed_from_u64(seed), now)
    }

    /// A video stream, `layer` of `spec`, that begins at `now` or as long after it as that says.
    pub fn video(spec: &VideoSpec, layer: u8, id: SourceId, clock: Clock, seed: u64, now: Instant) -> Option<Self> {
        let LayerSpec { width, height, bitrate, .. } = *spec.layers.get(usize::from(layer))?;
        let mut rng = StdRng::seed_from_u64(seed ^ u64::from(layer) << 32);
        let encoding = Encoding {
            bitrate,
            frame_rate: spec.frame_rate,
            temporal_layers: spec.temporal_layers,
            key_interval: spec.key_interval,
            key_frame_weight: spec.key_frame_weight,
        };
        let payload = match spec.codec {
            Codec::Opus => return None,
            Codec::Vp8 => Payload::Vp8(Vp8Packetizer::new(spec.vp8, (width, height), rng.random())),
            Codec::Vp9 => Payload::Vp9(Vp9Packetizer::new((width, height), rng.random())),
            Codec::H264 => Payload::H264 { sps: h264::sps(spec.h264_sent, width, height) },
            Codec::H265 => Payload::H265,
            Codec::Av1 => Payload::Av1,
        };
        let mut source = Self::new(spec.codec, payload, encoding, id, clock, rng, now + spec.starts_after);
        source.layer = layer;
        source.key_requests = spec.key_requests;
        source.pacing = spec.pacing;
        source.svc = spec.svc;
        if spec.dependency_descriptor {
            source.descriptors = Some(Descriptors::new(spec.svc, spec.temporal_layers)?);
        }
        if spec.timestamps == Timestamps::Shared {
            source.first_timestamp = StdRng::seed_from_u64(seed).random();
        }
        Some(source)
    }

    fn new(
        codec: Codec,
        payload: Payload,
        encoding: Encoding,
        id: SourceId,
        clock: Clock,
        mut rng: StdRng,
        now: Instant,
    ) -> Self {
        Self {
            id,
            layer: 0,
            codec,
            clock,
            started: now,
            frame_interval: Duration::from_secs(1) / encoding.frame_rate.max(1),
            captured: 0,
            key_wanted: None,
            stopped: false,
            key_requests: KeyRequests::Ignored,
            pacing: Pacing::Burst,
            encoder: Encoder::new(encoding),
            payload,
            first_timestamp: rng.random(),
            // A first sequence number beyond 16 bits would begin with a rollover the receiver never saw.
            sequence: u64::from(rng.random::<u16>()),
            queue: VecDeque::new(),
            svc: None,
            descriptors: None,
            rng,
        }
    }

    /// The same source going on with the numbers and the clock of another, as an encoder of another codec on one SSRC.
    pub fn behind(mut self, before: &Self) -> Self {
        let elapsed = self.started.saturating_duration_since(before.started);
        let ticks = elapsed.as_nanos() * u128::from(before.codec.clock_rate()) / 1_000_000_000;
        self.first_timestamp = before.first_timestamp.wrapping_add(ticks as u32);
        self.sequence = before.sequence;
        self
    }

    /// Which stream this is.
    pub fn id(&self) -> SourceId {
        self.id
    }

    /// The next packet due, if any. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Packet> {
        while self.next_capture() <= now {
            self.capture(now);
        }
        if self.queue.front()?.due > now {
            return None;
        }
        let pending = self.queue.pop_front()?;
        let sent = self.clock.nanos(now);
        let stamp = Stamp { sent, ..pending.stamp };
        let mut payload = pending.head;
        stamp.append_to(&mut payload);
        let packet = Packet {
            sequence: self.sequence,
            timestamp: pending.timestamp,
            marker: self.codec != Codec::Opus && pending.ends_picture,
            captured: pending.captured,
            payload,
            dependency: pending.dependency,
        };
        self.sequence += 1;
        Some(packet)
    }

    /// When [`Self::poll`] has something to give.
    pub fn deadline(&self) -> Instant {
        self.queue.front().map_or(self.next_capture(), |pending| pending.due)
    }

    /// A receiver asked for a key frame.
    pub fn request_key_frame(&mut self, now: Instant) {
        if let KeyRequests::After(delay) = self.key_requests {
            self.key_wanted.get_or_insert(now + delay);
        }
    }

    /// Encodes nothing for now, or goes on with a key frame: what senders do to a layer that nobody wants, or that does
    /// not fit their own connection.
    pub fn stop(&mut self, stopped: bool, now: Instant) {
        if self.stopped && !stopped {
            self.key_wanted = Some(now);
        }
        self.stopped = stopped;
    }

    fn next_capture(&self) -> Instant {
        self.started + self.frame_interval * self.captured
    }

    /// Takes the next frame and queues its packets; skips it when the caller is too far behind.
    fn capture(&mut self, now: Instant) {
        let captured = self.next_capture();
        let elapsed = self.frame_interval * self.captured;
        self.captured += 1;
        if self.stopped || now.saturating_duration_since(captured) > self.frame_interval * MAX_FRAMES_BEHIND {
            return;
        }
        let ticks = elapsed.as_nanos() * u128::from(self.codec.clock_rate()) / 1_000_000_000;
        let timestamp = self.first_timestamp.wrapping_add(ticks as u32);
        let forced = self.key_wanted.is_some_and(|at| at <= captured);
        if forced {
            self.key_wanted = None;
        }
        let picture = self.encoder.next(forced, &mut self.rng);
        self.payload.begin(&picture);
        let frames = Encoder::spatial_frames(&picture, self.svc);
        let sizes: Vec<_> = frames.iter().map(|frame| self.payload.filler_sizes(frame)).collect();
        let packets = sizes.iter().map(Vec::len).sum::<usize>() as u16;
        let spacing = self.spacing(packets, picture.bytes);
        for (frame, sizes) in frames.iter().zip(sizes) {
            let count = sizes.len() as u16;
            for (index, filler) in (0..count).zip(sizes) {
                let stamp = self.stamp(frame, index, count, filler);
                let head = self.payload.head(frame, &stamp);
                let due = match self.queue.back().filter(|_| spacing > Duration::ZERO) {
                    Some(last) => captured.max(last.due + spacing),
                    None => captured,
                };
                let ends_picture = index + 1 == count && frame.spatial.0 + 1 == frame.spatial.1;
                let dependency = self.descriptors.as_mut().map(|descriptors| descriptors.next(frame, index, count));
                self.queue.push_back(Pending { due, captured, timestamp, head, stamp, ends_picture, dependency });
            }
        }
    }

    fn stamp(&self, frame: &Frame, index: u16, count: u16, filler: u16) -> Stamp {
        Stamp {
            source: self.id,
            layer: self.layer,
            frame: frame.number,
            index,
            count,
            key: frame.key,
            temporal: frame.temporal,
            spatial: frame.spatial.0,
            references: frame.references,
            sent: 0,
            filler,
        }
    }

    /// Time between the packets of a frame: a key frame takes longer in proportion to its size.
    fn spacing(&self, count: u16, bytes: usize) -> Duration {
        match self.pacing {
            Pacing::Burst => Duration::ZERO,
            Pacing::Spread => {
                let takes = self.frame_interval * 2 / 5 * bytes as u32 / self.encoder.average_bytes().max(1) as u32;
                takes / u32::from(count.max(1))
            }
        }
    }
}

impl Payload {
    fn begin(&mut self, frame: &Frame) {
        match self {
            Payload::Vp8(state) => state.begin(frame),
            Payload::Vp9(state) => state.begin(frame),
            Payload::Opus { .. } | Payload::H264 { .. } | Payload::H265 | Payload::Av1 => {}
        }
    }

    /// Filler of each packet of a frame: packets of a frame are equal to within a byte, as libwebrtc cuts them.
    fn filler_sizes(&self, frame: &Frame) -> Vec<u16> {
        let leading = match self {
            Payload::Opus { bytes } => return vec![bytes.saturating_sub(1 + STAMP_LEN) as u16],
            Payload::H264 { .. } => h264::leading_packets(frame),
            Payload::H265 => h265::leading_packets(frame),
            Payload::Vp8(_) | Payload::Vp9(_) | Payload::Av1 => 0,
        };
        let count = frame.bytes.div_ceil(MAX_PAYLOAD).max(1);
        let mut sizes = vec![0; usize::from(leading)];
        sizes.extend((0..count).map(|n| {
            let share = (frame.bytes * (n + 1) / count) - (frame.bytes * n / count);
            share.min(MAX_PAYLOAD).saturating_sub(TYPICAL_HEAD + STAMP_LEN) as u16
        }));
        sizes
    }

    fn head(&self, frame: &Frame, stamp: &Stamp) -> Vec<u8> {
        let Stamp { index, count, .. } = *stamp;
        let trailer = usize::from(stamp.filler) + STAMP_LEN;
        match self {
            Payload::Opus { .. } => vec![OPUS_TOC],
            Payload::Vp8(state) => state.head(frame, index),
            Payload::Vp9(state) => state.head(frame, index, count),
            Payload::H264 { sps } => h264::head(frame, index, count, sps, trailer),
            Payload::H265 => h265::head(frame, index, count, trailer),
            Payload::Av1 => av1::head(frame, index, count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Kind, read};

    const START_NANOS: u64 = 1_000_000;

    /// Two seconds of a stream, polled whenever it asks.
    fn packets(source: &mut Source, start: Instant) -> Vec<(Duration, Packet)> {
        let mut packets = Vec::new();
        while source.deadline() < start + Duration::from_secs(2) {
            let now = source.deadline();
            while let Some(packet) = source.poll(now) {
                packets.push((now - start, packet));
            }
        }
        packets
    }

    fn video(spec: &VideoSpec, layer: u8, seed: u64) -> (Source, Instant) {
        let start = Instant::now();
        let clock = Clock::starting_at(start - Duration::from_nanos(START_NANOS));
        let id = SourceId { publisher: 1, incarnation: 0, kind: Kind::Video };
        (Source::video(spec, layer, id, clock, seed, start).unwrap(), start)
    }

    #[test]
    fn every_packet_of_every_codec_reads_back_and_fits_a_datagram() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
            let spec = VideoSpec { key_interval: Some(Duration::from_millis(500)), ..VideoSpec::new(codec) };
            let (mut source, start) = video(&spec, 0, 3);
            let packets = packets(&mut source, start);
            let mut bytes = 0;
            for (sent, packet) in &packets {
                let stamp = read(codec, &packet.payload).unwrap_or_else(|e| panic!("{codec:?}: {e}")).stamp;
                assert_eq!(packet.marker, stamp.index + 1 == stamp.count, "{codec:?}");
                assert_eq!(stamp.sent, START_NANOS + sent.as_nanos() as u64);
                assert!(packet.payload.len() <= MAX_PAYLOAD + 20, "{codec:?}: {} bytes", packet.payload.len());
                bytes += packet.payload.len();
            }
            let sequences: Vec<u64> = packets.iter().map(|(_, packet)| packet.sequence).collect();
            assert!(sequences.windows(2).all(|pair| pair[1] == pair[0] + 1));
            assert!((950_000..1_050_000).contains(&(bytes * 8 / 2)), "{codec:?}: {} bps", bytes * 4);
        }
    }

    #[test]
    fn a_key_frame_comes_at_the_first_frame_after_the_delay_and_once() {
        let spec =
            VideoSpec { key_requests: KeyRequests::After(Duration::from_millis(50)), ..VideoSpec::new(Codec::Vp8) };
        let (mut source, start) = video(&spec, 0, 3);
        source.request_key_frame(start + Duration::from_millis(500));
        source.request_key_frame(start + Duration::from_millis(510));
        let keys: Vec<u32> = packets(&mut source, start)
            .iter()
            .map(|(_, packet)| read(Codec::Vp8, &packet.payload).unwrap().stamp)
            .filter(|stamp| stamp.key && stamp.index == 0)
            .map(|stamp| stamp.frame)
            .collect();
        // 550 ms lie between frames 16 and 17 of 33.3 ms each.
        assert_eq!(keys, [0, 17]);
    }

    #[test]
    fn pacing_spreads_a_frame_over_part_of_its_interval() {
        // A key frame is four times as large as the others and takes four times as long.
        for (pacing, spreads) in [(Pacing::Burst, [0, 0]), (Pacing::Spread, [53, 13])] {
            let (mut source, start) = video(&VideoSpec { pacing, ..VideoSpec::new(Codec::Vp8) }, 0, 3);
            let packets = packets(&mut source, start);
            for (frame, spread) in [(0, spreads[0]), (9, spreads[1])] {
                let captured = start + source.frame_interval * frame;
                let of_frame: Vec<_> = packets.iter().filter(|(_, packet)| packet.captured == captured).collect();
                assert!(of_frame.len() > 3);
                let took = (of_frame.last().unwrap().0 - of_frame[0].0).as_millis();
                assert!((spread * 2 / 3..=spread * 5 / 4).contains(&took), "{pacing:?}, frame {frame}: {took} ms");
            }
        }
    }

    #[test]
    fn layers_share_a_timestamp_only_when_told_to() {
        for (timestamps, equal) in [(Timestamps::Shared, true), (Timestamps::PerLayer, false)] {
            let spec = VideoSpec { timestamps, ..VideoSpec::new(Codec::Vp8).with_simulcast() };
            let first = |layer| {
                let (mut source, start) = video(&spec, layer, 9);
                source.poll(start).unwrap()
            };
            assert_eq!(first(0).timestamp == first(1).timestamp, equal);
            assert!(first(0).payload.len() < first(2).payload.len() + 200);
        }
    }

    #[test]
    fn frames_nobody_was_there_to_send_are_skipped_without_a_gap() {
        let (mut source, start) = video(&VideoSpec::new(Codec::Vp8), 0, 3);
        let count = |source: &mut Source, now| std::iter::from_fn(|| source.poll(now)).count();
        assert!(count(&mut source, start) > 0);
        let behind = count(&mut source, start + Duration::from_secs(100));
        assert!(behind < 60, "{behind} packets at once");
    }
}
