//! The publishing half of a client: sources feeding the streams that the server accepted.

use std::time::{Duration, Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use str0m::Rtc;
use str0m::media::{MediaTime, Mid, Pt, Rid};
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RtpWrite, VideoOrientation};

use crate::clock::Clock;
use crate::media::{Codec, Kind, Packet, Source, SourceId};
use crate::spec::{PublisherSpec, Rotation, Voice};

use super::viewer::codec as codec_of;

use super::dependency::DependencyDescriptor;

/// Counters of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// RTP packets, without retransmissions.
    pub packets: u64,
    /// Payload bytes in them.
    pub payload_bytes: u64,
    /// Key frame requests (PLI, FIR) received.
    pub key_frame_requests: u64,
}

#[derive(Debug)]
pub(super) struct Publisher {
    spec: PublisherSpec,
    seed: u64,
    tracks: Vec<Track>,
    silent: bool,
    voice: Option<Voice>,
    sent: Sent,
}

/// One offered m-line.
#[derive(Debug)]
pub(super) struct Track {
    mid: Mid,
    kind: Kind,
    encodings: Vec<Encoding>,
}

/// One accepted stream.
#[derive(Debug)]
struct Encoding {
    rid: Option<Rid>,
    pt: Pt,
    /// Payload type under which each frame of sound is sent twice.
    red: Option<Pt>,
    /// The frame before, with its timestamp.
    before: Option<(u32, Vec<u8>)>,
    source: Source,
}

impl Publisher {
    pub(super) fn new(spec: PublisherSpec, tracks: Vec<Track>, seed: u64) -> Self {
        Self { spec, seed, tracks, silent: false, voice: None, sent: Sent::default() }
    }

    /// The connection stands: media begins on every stream that the answer accepted.
    pub(super) fn start(&mut self, rtc: &mut Rtc, clock: Clock, now: Instant) {
        let PublisherSpec { publisher, incarnation, .. } = self.spec;
        for track in &mut self.tracks {
            let Some(media) = rtc.media(track.mid).filter(|media| media.direction().is_sending()) else { continue };
            let codec = match track.kind {
                Kind::Audio => Some(Codec::Opus),
                Kind::Video => self.spec.video.as_ref().map(|video| video.codec),
            };
            let Some(pt) = payload_type(rtc, media.remote_pts(), codec) else { continue };
            let red = rtc.codec_config().params().iter().find(|params| params.pt() == pt).and_then(|found| found.red());
            let red = red.filter(|_| self.spec.audio.is_some_and(|audio| audio.red));
            let id = SourceId { publisher, incarnation, kind: track.kind };
            let mut encodings = track.sources(&self.spec, id, clock, self.seed, now);
            let mut direct = rtc.direct_api();
            encodings.retain(|(rid, _)| direct.stream_tx_by_mid(track.mid, *rid).is_some());
            track.encodings =
                encodings.into_iter().map(|(rid, source)| Encoding { rid, pt, red, before: None, source }).collect();
        }
    }

    /// Goes on as a sender that was made anew does: under other SSRCs, with other numbers and another encoder. `rids`
    /// are the encodings that do, `None` all.
    pub(super) fn change_ssrcs(&mut self, rtc: &mut Rtc, rids: Option<&[&str]>, clock: Clock, now: Instant) {
        self.spec.incarnation += 1;
        self.seed = self.seed.wrapping_add(1 << 48);
        let mut rng = StdRng::seed_from_u64(self.seed);
        let PublisherSpec { publisher, incarnation, .. } = self.spec;
        for track in &mut self.tracks {
            let id = SourceId { publisher, incarnation, kind: track.kind };
            let sources = track.sources(&self.spec, id, clock, self.seed, now);
            for (rid, source) in sources {
                let Some(encoding) = track.encodings.iter_mut().find(|encoding| encoding.rid == rid) else { continue };
                if rids.is_some_and(|rids| rid.is_none_or(|rid| !rids.contains(&&*rid))) {
                    continue;
                }
                let mut direct = rtc.direct_api();
                let before = direct.stream_tx_by_mid(track.mid, rid).map(|stream| (stream.ssrc(), stream.rtx()));
                let Some((ssrc, repair)) = before else { continue };
                // `reset_stream_tx` would leave the stream where nobody finds it who asks for something again.
                direct.remove_stream_tx(ssrc);
                let repair = repair.map(|_| rng.random::<u32>().into());
                direct.declare_stream_tx(rng.random::<u32>().into(), repair, track.mid, rid);
                (encoding.source, encoding.before) = (source, None);
            }
        }
    }

    /// Goes on with another codec under the same SSRCs, as browsers do; nothing changes when it was not agreed on.
    pub(super) fn change_codec(&mut self, rtc: &Rtc, codec: Codec, clock: Clock, now: Instant) {
        let Some(video) = &mut self.spec.video else { return };
        video.codec = codec;
        self.spec.incarnation += 1;
        self.seed = self.seed.wrapping_add(1 << 48);
        let PublisherSpec { publisher, incarnation, .. } = self.spec;
        for track in self.tracks.iter_mut().filter(|track| track.kind == Kind::Video) {
            let Some(media) = rtc.media(track.mid) else { continue };
            let Some(pt) = payload_type(rtc, media.remote_pts(), Some(codec)) else { continue };
            let id = SourceId { publisher, incarnation, kind: track.kind };
            let sources = track.sources(&self.spec, id, clock, self.seed, now);
            for (encoding, (_, source)) in track.encodings.iter_mut().zip(sources) {
                (encoding.source, encoding.pt) = (source.behind(&encoding.source), pt);
            }
        }
    }

    /// Writes every packet that is due. Returns whether there was one.
    pub(super) fn send(&mut self, rtc: &mut Rtc, now: Instant) -> bool {
        let before = self.sent.packets;
        for track in &mut self.tracks {
            for encoding in &mut track.encodings {
                while let Some(mut packet) = encoding.source.poll(now) {
                    if self.silent {
                        continue;
                    }
                    self.sent.packets += 1;
                    self.sent.payload_bytes += packet.payload.len() as u64;
                    let mut extensions = extensions(&self.spec, track.kind, &packet);
                    if let (Kind::Audio, Some(voice)) = (track.kind, self.voice) {
                        extensions.audio_level = Some(voice.level(packet.sequence));
                    }
                    if let Some(bytes) = &packet.dependency {
                        extensions.user_values.set(DependencyDescriptor(bytes.clone()));
                    }
                    let pt = encoding.repeat(&mut packet);
                    if let Some(stream) = rtc.direct_api().stream_tx_by_mid(track.mid, encoding.rid) {
                        stream.write_rtp(write(packet, pt, extensions, track.kind));
                    }
                }
            }
        }
        self.sent.packets > before
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.encodings().filter(|_| !self.silent).map(|encoding| encoding.source.deadline()).min()
    }

    pub(super) fn on_key_frame_request(&mut self, mid: Mid, rid: Option<Rid>, now: Instant) {
        self.sent.key_frame_requests += 1;
        let track = self.tracks.iter_mut().find(|track| track.mid == mid);
        let encodings = track.into_iter().flat_map(|track| &mut track.encodings);
        for encoding in encodings.filter(|encoding| rid.is_none() || encoding.rid == rid) {
            encoding.source.request_key_frame(now);
        }
    }

    /// A receiver says what to send at most: encodings that do not fit are left out, the smallest come first.
    pub(super) fn on_limit(&mut self, bitrate: u64, now: Instant) {
        let Some(video) = self.spec.video.as_ref().filter(|_| self.spec.obeys_limits) else { return };
        let mut layers = video.layers.clone();
        layers.sort_by_key(|layer| layer.bitrate);
        let mut total = 0;
        for layer in layers {
            total += layer.bitrate;
            if let Some(rid) = layer.rid {
                self.stop_layer(rid, total > bitrate, now);
            }
        }
    }

    pub(super) fn stop_layer(&mut self, rid: &str, stopped: bool, now: Instant) {
        let encodings = self.tracks.iter_mut().flat_map(|track| &mut track.encodings);
        for encoding in encodings.filter(|encoding| encoding.rid.is_some_and(|own| *own == *rid)) {
            encoding.source.stop(stopped, now);
        }
    }

    pub(super) fn fall_silent(&mut self) {
        self.silent = true;
    }

    pub(super) fn speak(&mut self, voice: Voice) {
        self.voice = Some(voice);
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = (String, Kind)> + '_ {
        self.tracks.iter().map(|track| (track.mid.to_string(), track.kind))
    }

    pub(super) fn sent(&self) -> Sent {
        self.sent
    }

    fn encodings(&self) -> impl Iterator<Item = &Encoding> {
        self.tracks.iter().flat_map(|track| &track.encodings)
    }
}

impl Encoding {
    /// Puts the frame before into a packet of redundant audio. Gives the payload type it goes under.
    fn repeat(&mut self, packet: &mut Packet) -> Pt {
        let Some(red) = self.red else { return self.pt };
        let frame = packet.payload.clone();
        match self.before.replace((packet.timestamp, frame.clone())) {
            None => self.pt,
            Some((timestamp, before)) => {
                let ticks = packet.timestamp.wrapping_sub(timestamp);
                packet.payload = crate::media::red::write(*self.pt, &before, ticks, &frame);
                red
            }
        }
    }
}

impl Track {
    pub(super) fn new(mid: Mid, kind: Kind) -> Self {
        Self { mid, kind, encodings: Vec::new() }
    }

    /// The sources of this m-line, with the names of their layers.
    fn sources(
        &self,
        spec: &PublisherSpec,
        id: SourceId,
        clock: Clock,
        seed: u64,
        now: Instant,
    ) -> Vec<(Option<Rid>, Source)> {
        match (self.kind, spec.audio, &spec.video) {
            (Kind::Audio, Some(audio), _) => vec![(None, Source::audio(audio, id, clock, seed, now))],
            (Kind::Video, _, Some(video)) => (0..)
                .zip(&video.layers)
                .filter_map(|(index, layer)| {
                    let source = Source::video(video, index, id, clock, seed, now)?;
                    Some((layer.rid.map(Rid::from), source))
                })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// The payload type that was agreed on for a codec, or the first one.
fn payload_type(rtc: &Rtc, agreed: &[Pt], codec: Option<Codec>) -> Option<Pt> {
    let wanted = |pt: &&Pt| {
        let params = rtc.codec_config().params().iter().find(|params| params.pt() == **pt);
        codec.is_none() || params.and_then(|params| codec_of(params.spec().codec)) == codec
    };
    agreed.iter().find(wanted).copied()
}

fn write(packet: Packet, pt: Pt, extensions: ExtensionValues, kind: Kind) -> RtpWrite {
    RtpWrite::new(pt, packet.sequence.into(), packet.timestamp, packet.captured, packet.payload)
        .marker(packet.marker)
        .ext_vals(extensions)
        .nackable(kind == Kind::Video)
}

fn extensions(spec: &PublisherSpec, kind: Kind, packet: &Packet) -> ExtensionValues {
    let mut values = ExtensionValues::default();
    match (kind, &spec.audio, &spec.video) {
        (Kind::Audio, Some(audio), _) => {
            values.audio_level = Some(audio.level);
            values.voice_activity = Some(true);
        }
        (Kind::Video, _, Some(video)) => {
            values.video_orientation = video.rotation.map(|rotation| match rotation {
                Rotation::Deg0 => VideoOrientation::Deg0,
                Rotation::Deg90 => VideoOrientation::Deg90,
            });
            if video.timing_extensions {
                // Made of the RTP timestamp, so that a receiver can tell what was sent.
                let capture_time = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::from(packet.timestamp) / 90_000);
                values.abs_capture_time = Some(AbsCaptureTime { capture_time, clock_offset: None });
                values.play_delay_min = Some(MediaTime::from_millis(20));
                values.play_delay_max = Some(MediaTime::from_millis(400));
            }
        }
        _ => {}
    }
    values
}
