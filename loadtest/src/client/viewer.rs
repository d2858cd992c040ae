//! The viewing half of a client: what arrives goes to the oracle, and key frames are asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use str0m::Rtc;
use str0m::media::{KeyframeRequestKind, MediaTime, Mid};
use str0m::rtp::{RtpPacket, VideoOrientation};

use crate::media::{self, Codec, Content, Described, red};
use crate::oracle::{Arrival, Oracle};
use crate::spec::ViewerSpec;

use super::dependency::DependencyDescriptor;

/// Pause between key frame requests of one stream. Browsers take 200 ms to a second.
const REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// Ticks of a packet of Opus, 20 ms.
const OPUS_TICKS: u32 = 960;

/// Sequence numbers of sound remembered. Fewer than redundancy reaches back: frames would be heard twice.
const HEARD: usize = 64;

/// Packets recorded. At 1 Mbps this is half an hour.
const MAX_RECORDS: usize = 200_000;

/// A packet as it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// When.
    pub at: Instant,
    /// The m-line.
    pub mid: Option<Mid>,
    /// SSRC of the media stream, also for what came by retransmission.
    pub ssrc: u32,
    /// Payload type.
    pub payload_type: u8,
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// What the payload says, if it can be read.
    pub content: Option<Content>,
    /// Header extensions that servers carry through.
    pub extensions: Extensions,
}

/// Values of header extensions that servers carry through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extensions {
    /// RFC 6464, in dBov.
    pub audio_level: Option<i8>,
    /// 3GPP CVO.
    pub orientation: Option<VideoOrientation>,
    /// abs-capture-time.
    pub capture_time: Option<SystemTime>,
    /// playout-delay, least and most.
    pub playout_delay: Option<(MediaTime, MediaTime)>,
}

#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) oracle: Oracle,
    requests_key_frames: bool,
    keep_records: bool,
    records: Vec<Received>,
    /// Codec of each payload type, once answered.
    codecs: [Option<Codec>; 128],
    /// Payload type of redundant audio.
    red: Option<u8>,
    /// Sequence numbers of sound heard lately.
    heard: VecDeque<u64>,
    last_request: Option<Instant>,
}

impl Viewer {
    pub(super) fn new(spec: ViewerSpec, now: Instant) -> Self {
        Self {
            oracle: Oracle::new(spec.expectations, now),
            requests_key_frames: spec.requests_key_frames,
            keep_records: spec.keep_records,
            records: Vec::new(),
            codecs: [None; 128],
            red: None,
            heard: VecDeque::new(),
            last_request: None,
        }
    }

    /// Notes which payload type is which codec.
    pub(super) fn learn_formats(&mut self, rtc: &Rtc) {
        for parameters in rtc.codec_config().params() {
            if let Some(place) = self.codecs.get_mut(usize::from(*parameters.pt())) {
                *place = codec(parameters.spec().codec);
            }
            self.red = self.red.or(parameters.red().map(|pt| *pt));
        }
    }

    pub(super) fn receive(&mut self, now: Instant, now_nanos: u64, packet: &RtpPacket) {
        let header = &packet.header;
        let is_redundant = self.red == Some(*header.payload_type);
        let codec = self.codecs.get(usize::from(*header.payload_type)).copied().flatten();
        let codec = codec.or(is_redundant.then_some(Codec::Opus));
        let Some(codec) = codec else { return };
        if self.keep_records && self.records.len() < MAX_RECORDS {
            self.records.push(record(now, packet, codec));
        }
        if is_redundant {
            return self.receive_redundant(now, now_nanos, packet);
        }
        if codec == Codec::Opus {
            if self.heard.len() == HEARD {
                self.heard.pop_front();
            }
            self.heard.push_back(*packet.seq_no);
        }
        // Padding only: no media in it.
        if packet.payload.is_empty() {
            self.oracle.padding(now, *header.ssrc, *packet.seq_no);
            return;
        }
        let described = header.ext_vals.user_values.get();
        let dependency = described.and_then(|DependencyDescriptor(bytes)| Described::read(bytes));
        self.oracle.packet(&Arrival {
            at: now,
            at_nanos: now_nanos,
            ssrc: *header.ssrc,
            sequence: *packet.seq_no,
            timestamp: packet.time.numer(),
            marker: header.marker,
            codec,
            payload: &packet.payload,
            dependency,
        });
    }

    /// Takes the frames that were not heard yet out of a packet of redundant audio.
    fn receive_redundant(&mut self, now: Instant, now_nanos: u64, packet: &RtpPacket) {
        for (offset, payload) in red::read(&packet.payload).unwrap_or_default() {
            let sequence = *packet.seq_no - u64::from(offset / OPUS_TICKS);
            if self.heard.contains(&sequence) {
                continue;
            }
            if self.heard.len() == HEARD {
                self.heard.pop_front();
            }
            self.heard.push_back(sequence);
            self.oracle.packet(&Arrival {
                at: now,
                at_nanos: now_nanos,
                ssrc: *packet.header.ssrc,
                sequence,
                timestamp: packet.time.numer() - u64::from(offset),
                marker: packet.header.marker && offset == 0,
                codec: Codec::Opus,
                payload,
                dependency: None,
            });
        }
    }

    /// Gives up on gaps and asks for key frames. Returns whether str0m has something to send.
    pub(super) fn tick(&mut self, rtc: &mut Rtc, now: Instant) -> bool {
        self.oracle.tick(now);
        if !self.requests_key_frames || self.last_request.is_some_and(|at| now < at + REQUEST_INTERVAL) {
            return false;
        }
        let mut asked = false;
        for ssrc in self.oracle.wants_key_frame() {
            if let Some(stream) = rtc.direct_api().stream_rx(&ssrc.into()) {
                stream.request_keyframe(KeyframeRequestKind::Pli);
                asked = true;
            }
        }
        if asked {
            self.last_request = Some(now);
        }
        asked
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let waiting = self.requests_key_frames && self.oracle.wants_key_frame().next().is_some();
        let request = self.last_request.filter(|_| waiting).map(|at| at + REQUEST_INTERVAL);
        [request, self.oracle.deadline()].into_iter().flatten().min()
    }

    pub(super) fn records(&self) -> &[Received] {
        &self.records
    }
}

fn record(now: Instant, packet: &RtpPacket, codec: Codec) -> Received {
    let RtpPacket { header, payload, .. } = packet;
    let values = &header.ext_vals;
    Received {
        at: now,
        mid: values.mid,
        ssrc: *header.ssrc,
        payload_type: *header.payload_type,
        sequence: *packet.seq_no,
        timestamp: header.timestamp,
        marker: header.marker,
        content: media::read(codec, payload).ok(),
        extensions: Extensions {
            audio_level: values.audio_level,
            orientation: values.video_orientation,
            capture_time: values.abs_capture_time.map(|time| time.capture_time),
            playout_delay: values.play_delay_min.zip(values.play_delay_max),
        },
    }
}

pub(super) fn codec(codec: str0m::format::Codec) -> Option<Codec> {
    use str0m::format::Codec as Rtc;
    Some(match codec {
        Rtc::Opus => Codec::Opus,
        Rtc::Vp8 => Codec::Vp8,
        Rtc::Vp9 => Codec::Vp9,
        Rtc::H264 => Codec::H264,
        Rtc::H265 => Codec::H265,
        Rtc::Av1 => Codec::Av1,
        _ => return None,
    })
}
