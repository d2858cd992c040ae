//! What a client publishes or wants to see, as data.

use std::time::Duration;

use crate::media::Codec;
use crate::oracle::Expectations;

/// A key frame is this many times an average frame, if not said otherwise. Larger: longer bursts at each join; smaller:
/// nothing to test.
const KEY_FRAME_WEIGHT: usize = 4;

/// A publisher (WHIP).
#[derive(Debug, Clone)]
pub struct PublisherSpec {
    /// Stamped into every packet, so that a viewer knows whose it is.
    pub publisher: u16,
    /// Counts this publisher's restarts.
    pub incarnation: u8,
    /// Its audio track.
    pub audio: Option<AudioSpec>,
    /// Its video track.
    pub video: Option<VideoSpec>,
    /// Leaves out the encodings that do not fit under a receiver's limit (REMB), the largest first, as browsers do.
    pub obeys_limits: bool,
}

impl PublisherSpec {
    /// Opus and one layer of VP8 at 1 Mbps: the ordinary publisher.
    pub fn new(publisher: u16) -> Self {
        Self {
            publisher,
            incarnation: 0,
            audio: Some(AudioSpec::default()),
            video: Some(VideoSpec::new(Codec::Vp8)),
            obeys_limits: false,
        }
    }

    /// Replaces the video track.
    pub fn with_video(self, video: VideoSpec) -> Self {
        Self { video: Some(video), ..self }
    }

    /// The same publisher after a restart.
    pub fn restarted(self) -> Self {
        Self { incarnation: self.incarnation + 1, ..self }
    }
}

/// A member of a room.
#[derive(Debug, Clone)]
pub struct MemberSpec {
    /// What it sends, if anything.
    pub publisher: Option<PublisherSpec>,
    /// What it receives: its number of video slots, its formats, what is expected. Formats include what it sends.
    pub viewer: ViewerSpec,
    /// Slots for audio.
    pub audio_slots: usize,
}

/// What audio levels say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Speech: syllables with short gaps.
    Speaking,
    /// The noise of a quiet room.
    Quiet,
    /// A keyboard: one loud packet now and then.
    Typing,
}

impl Voice {
    /// The RFC 6464 level of a packet, in dBov.
    pub fn level(self, sequence: u64) -> i8 {
        match self {
            Self::Speaking if sequence % 10 == 9 => -45,
            Self::Speaking => -22 - (sequence % 4) as i8,
            Self::Typing if sequence.is_multiple_of(12) => -20,
            Self::Typing | Self::Quiet => -66 - (sequence % 5) as i8,
        }
    }
}

/// Opus-like audio: one packet every 20 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioSpec {
    /// Length of a payload: 80 bytes are 32 kbps.
    pub payload_bytes: usize,
    /// RFC 6464 level sent with every packet, in dBov (0 to -127).
    pub level: i8,
    /// Offer redundant audio (RFC 2198), and send each frame twice where that was agreed on.
    pub red: bool,
}

impl Default for AudioSpec {
    fn default() -> Self {
        Self { payload_bytes: 80, level: -30, red: false }
    }
}

/// A video track.
#[derive(Debug, Clone)]
pub struct VideoSpec {
    /// Codec, the only one offered.
    pub codec: Codec,
    /// The encodings: one without a rid, or several with (simulcast).
    pub layers: Vec<LayerSpec>,
    /// Frames per second.
    pub frame_rate: u32,
    /// Temporal layers, 1 to 3 (patterns 0, 01, 0212). Only VP8 and VP9 show them in the payload.
    pub temporal_layers: u8,
    /// Spatial layers in one stream, each twice as wide as the one below, for VP9 and AV1. `None`: one.
    pub svc: Option<Svc>,
    /// Send the dependency descriptor. Needs one or three temporal layers.
    pub dependency_descriptor: bool,
    /// Key frames at this interval besides those asked for. `None`: only the first.
    pub key_interval: Option<Duration>,
    /// What a key frame request does.
    pub key_requests: KeyRequests,
    /// A key frame is this many times an average frame.
    pub key_frame_weight: usize,
    /// How the packets of a frame follow each other.
    pub pacing: Pacing,
    /// Form of the VP8 payload descriptor.
    pub vp8: Vp8Descriptor,
    /// profile-level-id of an H.264 offer.
    pub h264_offered: u32,
    /// profile-level-id of the SPS really sent: OBS offers 42e01f whatever its encoder makes.
    pub h264_sent: u32,
    /// How the RTP clocks of simulcast layers relate.
    pub timestamps: Timestamps,
    /// Send abs-capture-time and playout-delay.
    pub timing_extensions: bool,
    /// Rotation sent as video-orientation (3GPP CVO), if any.
    pub rotation: Option<Rotation>,
    /// How long after the connection stands the first picture comes, as from a camera that is switched on later.
    pub starts_after: Duration,
}

impl VideoSpec {
    /// One layer, 640x360, 30 frames per second, 1 Mbps, a key frame on request only.
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            layers: vec![LayerSpec { rid: None, width: 640, height: 360, bitrate: 1_000_000 }],
            frame_rate: 30,
            temporal_layers: 1,
            svc: None,
            dependency_descriptor: false,
            key_interval: None,
            key_requests: KeyRequests::After(Duration::from_millis(40)),
            key_frame_weight: KEY_FRAME_WEIGHT,
            pacing: Pacing::Spread,
            vp8: Vp8Descriptor::default(),
            h264_offered: 0x42_e01f,
            h264_sent: 0x42_e01f,
            timestamps: Timestamps::PerLayer,
            timing_extensions: false,
            rotation: None,
            starts_after: Duration::ZERO,
        }
    }

    /// What OBS sends: H.264 High under a Constrained Baseline label, a key frame every 2 s, none on request, whole
    /// frames at once.
    pub fn obs() -> Self {
        Self {
            key_interval: Some(Duration::from_secs(2)),
            key_requests: KeyRequests::Ignored,
            pacing: Pacing::Burst,
            h264_sent: 0x64_0028,
            ..Self::new(Codec::H264)
        }
    }

    /// Changes the bitrate of a track with one layer, or of all layers.
    pub fn with_bitrate(mut self, bits_per_second: u64) -> Self {
        for layer in &mut self.layers {
            layer.bitrate = bits_per_second;
        }
        self
    }

    /// Three layers as browsers make them: a quarter, half and all of width and height.
    pub fn with_simulcast(self) -> Self {
        self.with_simulcast_of(1_500_000)
    }

    /// The same with a bitrate of the largest layer; the others have a third and a tenth of it.
    pub fn with_simulcast_of(self, bitrate: u64) -> Self {
        let layer = |rid, size: u16, share| LayerSpec {
            rid: Some(rid),
            width: 1280 / size,
            height: 720 / size,
            bitrate: bitrate / share,
        };
        Self { layers: vec![layer("q", 4, 10), layer("h", 2, 3), layer("f", 1, 1)], ..self }
    }
}

/// Spatial layers in one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Svc {
    /// How many, 2 or 3.
    pub layers: u8,
    /// Where a layer is predicted from the one below.
    pub prediction: Prediction,
}

/// Where a spatial layer is predicted from the one below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// In every picture (L3T3).
    Always,
    /// In key pictures only (L3T3_KEY).
    InKeyPictures,
}

/// One encoding of a video track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    /// Its name in a simulcast offer.
    pub rid: Option<&'static str>,
    /// Picture width, as far as the codec's header says it.
    pub width: u16,
    /// Picture height.
    pub height: u16,
    /// Bits per second of payload.
    pub bitrate: u64,
}

/// What a key frame request (PLI, FIR) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRequests {
    /// Nothing: OBS and FFmpeg.
    Ignored,
    /// A key frame at the next frame after this time, which stands for an encoder's delay.
    After(Duration),
}

/// How the packets of a frame follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pacing {
    /// All at once.
    Burst,
    /// Over 0.4 of the frame interval: libwebrtc paces at 2.5 times the target rate.
    Spread,
}

/// Which fields of the VP8 payload descriptor are sent (RFC 7741 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp8Descriptor {
    /// The PictureID, if any.
    pub picture_id: PictureId,
    /// TL0PICIDX and TID; libwebrtc sends them only with temporal layers.
    pub temporal: bool,
    /// KEYIDX.
    pub key_index: bool,
}

impl Vp8Descriptor {
    /// What libwebrtc sends of a stream without temporal layers.
    pub const LIBWEBRTC: Self = Self { picture_id: PictureId::Bits15, temporal: false, key_index: false };
}

impl Default for Vp8Descriptor {
    fn default() -> Self {
        Self { picture_id: PictureId::Bits15, temporal: true, key_index: true }
    }
}

/// Length of the VP8 PictureID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureId {
    /// None.
    Absent,
    /// 7 bits, wraps at 128.
    Bits7,
    /// 15 bits, wraps at 32768.
    Bits15,
}

/// How the RTP clocks of simulcast layers relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timestamps {
    /// A random offset per layer (libwebrtc).
    PerLayer,
    /// The same timestamp for the same picture (OBS).
    Shared,
}

/// Clockwise rotation of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Upright.
    Deg0,
    /// A quarter turn.
    Deg90,
}

/// A viewer (WHEP).
#[derive(Debug, Clone)]
pub struct ViewerSpec {
    /// Offer an audio m-line.
    pub audio: bool,
    /// Video m-lines to offer.
    pub videos: usize,
    /// Video formats in order of preference, the first payload type going to the first.
    pub formats: Vec<VideoFormat>,
    /// Offer the dependency descriptor.
    pub dependency_descriptor: bool,
    /// Offer redundant audio (RFC 2198).
    pub red: bool,
    /// Offer transport-wide sequence numbers, so that the server can estimate the connection.
    pub transport_feedback: bool,
    /// Ask for a key frame when the stream cannot be decoded. Off: a viewer whose requests get lost.
    pub requests_key_frames: bool,
    /// What may and what must not happen to this viewer.
    pub expectations: Expectations,
    /// Keep a record of every packet, for traces and for tests that look closer.
    pub keep_records: bool,
}

impl Default for ViewerSpec {
    /// Audio and one video, all codecs, as a browser offers.
    fn default() -> Self {
        Self {
            audio: true,
            videos: 1,
            formats: VideoFormat::BROWSER.to_vec(),
            dependency_descriptor: true,
            red: false,
            transport_feedback: true,
            requests_key_frames: true,
            expectations: Expectations::default(),
            keep_records: false,
        }
    }
}

/// A video format a viewer offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoFormat {
    /// Codec.
    pub codec: Codec,
    /// profile-level-id, for H.264.
    pub profile_level_id: u32,
}

impl VideoFormat {
    /// The order of Chromium, with its first two H.264 profiles.
    pub const BROWSER: [Self; 6] = [
        Self::of(Codec::Vp8),
        Self::h264(0x42_001f),
        Self::h264(0x42_e01f),
        Self::of(Codec::Vp9),
        Self::of(Codec::Av1),
        Self::of(Codec::H265),
    ];

    /// A codec without parameters.
    pub const fn of(codec: Codec) -> Self {
        Self { codec, profile_level_id: 0x42_e01f }
    }

    /// H.264 of one profile.
    pub const fn h264(profile_level_id: u32) -> Self {
        Self { codec: Codec::H264, profile_level_id }
    }
}
