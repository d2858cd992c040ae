//! One received RTP packet, as all of its subscribers see it.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arrayvec::ArrayVec;

use super::dependency_descriptor::DependencyDescriptor;
use super::vp8::Vp8;

/// A received RTP packet. Parsed once, shared by reference with every subscription of its track.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Which encoding (simulcast layer) of the track it belongs to.
    pub layer: LayerIndex,
    /// How often the sender had begun this encoding anew under another SSRC: the numbers of one generation have nothing
    /// to do with those of another.
    pub generation: u16,
    /// Payload type on the publisher's side; subscriptions map it to their own.
    pub payload_type: u8,
    /// Codec of that payload type.
    pub codec: Codec,
    /// Sequence number, extended to 64 bits (RFC 3550 section 5.1 and appendix A.1).
    pub sequence: u64,
    /// RTP timestamp, extended to 64 bits, in ticks of the codec's clock.
    pub timestamp: u64,
    /// Marker bit: for video the last packet of a picture, for audio the start of a talk spurt.
    pub marker: bool,
    /// When the datagram was received.
    pub arrived: Instant,
    /// When it was captured, as far as the publisher's sender reports tell; else when it arrived.
    pub captured: Instant,
    /// The payload with the frames before it (RFC 2198), where the publisher sent it so or somebody's line needs it.
    pub redundant: Option<Redundant>,
    /// RTP payload, shared by all subscribers and their retransmission caches.
    pub payload: Arc<[u8]>,
    /// What the payload's head says.
    pub descriptor: Descriptor,
    /// Which picture of the incoming stream it belongs to: the PictureID of VP8 and VP9, counted on beyond its width.
    pub picture: Option<u64>,
    /// What its dependency descriptor says, if it has one that can be read.
    pub dependency: Option<Arc<DependencyDescriptor>>,
    /// A decoder that has seen nothing before can start at this packet: the first packet of a key frame, parameter sets
    /// included where the codec has them.
    pub starts_keyframe: bool,
    /// Header extensions that travel on to subscribers.
    pub extensions: Extensions,
}

/// A payload with redundancy.
#[derive(Debug, Clone)]
pub struct Redundant {
    /// RFC 2198.
    pub payload: Arc<[u8]>,
    /// Who has it in this form.
    pub origin: Redundancy,
}

/// Where redundancy comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redundancy {
    /// The publisher sends it to all.
    Sent,
    /// It was made here, for those who lose much.
    Made,
}

impl Packet {
    /// Spatial layer within its encoding; 0 where there is one only.
    pub fn spatial_id(&self) -> u8 {
        match (&self.dependency, &self.descriptor) {
            (Some(dependency), _) => dependency.dependencies.spatial_id,
            (None, Descriptor::Vp9(vp9)) => vp9.spatial_id,
            (None, Descriptor::Vp8(_) | Descriptor::Opaque) => 0,
        }
    }

    /// Temporal layer; 0 where none is told.
    pub fn temporal_id(&self) -> u8 {
        match (&self.dependency, &self.descriptor) {
            (Some(dependency), _) => dependency.dependencies.temporal_id,
            (None, Descriptor::Vp8(vp8)) => vp8.temporal_id.unwrap_or(0),
            (None, Descriptor::Vp9(vp9)) => vp9.temporal_id,
            (None, Descriptor::Opaque) => 0,
        }
    }

    /// Whether its stream has temporal or spatial layers, as far as this packet tells.
    pub fn layering(&self) -> Layering {
        let of = |layered: bool, otherwise| if layered { Layering::Layered } else { otherwise };
        match (&self.dependency, &self.descriptor) {
            (Some(dependency), _) => of(dependency.structure.decode_targets().len() > 1, Layering::Single),
            (None, Descriptor::Vp8(Vp8 { temporal_id: None, .. })) => Layering::Single,
            (None, Descriptor::Vp8(vp8)) => of(vp8.temporal_id > Some(0), Layering::Unclear),
            (None, Descriptor::Vp9(vp9)) => of(vp9.spatial_id > 0 || vp9.temporal_id > 0, Layering::Unclear),
            (None, Descriptor::Opaque) if self.codec == Codec::Av1 => Layering::Unclear,
            (None, Descriptor::Opaque) => Layering::Single,
        }
    }

    /// Who watches a spatial layer needs those below it in every picture; else in key pictures only, or not at all.
    pub fn needs_lower_layers(&self) -> bool {
        match (&self.dependency, &self.descriptor) {
            (Some(dependency), _) => dependency.structure.layers_build_on_each_other(),
            (None, Descriptor::Vp9(vp9)) => !vp9.key_pictures_only,
            (None, Descriptor::Vp8(_) | Descriptor::Opaque) => true,
        }
    }
}

/// What is known of a stream's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Layering {
    /// It has none.
    #[default]
    Single,
    /// It may have some.
    Unclear,
    /// It has several.
    Layered,
}

/// Index of an encoding within its track, in the order of the publisher's offer. Not a quality ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LayerIndex(pub u8);

/// Spatial layers within one encoding (AV1 section 6.4.1 and libvpx know no more). Larger costs memory per layer.
pub const MAX_SPATIAL_LAYERS: usize = 4;

/// Picture sizes of an encoding's spatial layers, the smallest first; one where there are no layers.
pub type Resolutions = ArrayVec<Resolution, MAX_SPATIAL_LAYERS>;

/// Size of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Pixels across.
    pub width: u16,
    /// Pixels down.
    pub height: u16,
}

impl Resolution {
    /// `None` for an empty picture, or one larger than any codec here can have.
    pub(super) fn from_wide(width: u32, height: u32) -> Option<Resolution> {
        let (width, height) = (u16::try_from(width).ok()?, u16::try_from(height).ok()?);
        (width > 0 && height > 0).then_some(Resolution { width, height })
    }

    /// Number of pixels: what layers are ranked by.
    pub fn area(self) -> u32 {
        u32::from(self.width) * u32::from(self.height)
    }
}

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// Codecs the server forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// Opus (RFC 7587).
    Opus,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// H.264 (RFC 6184).
    H264,
    /// H.265 (RFC 7798).
    H265,
    /// AV1 (AOM's RTP payload format).
    Av1,
}

impl Codec {
    /// Audio or video.
    pub fn kind(self) -> MediaKind {
        match self {
            Codec::Opus => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// Its name in `a=rtpmap`.
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::Vp8 => "VP8",
            Codec::Vp9 => "VP9",
            Codec::H264 => "H264",
            Codec::H265 => "H265",
            Codec::Av1 => "AV1",
        }
    }
}

/// The parsed head of a payload, as far as forwarding needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Descriptor {
    /// Nothing to rewrite and no layers visible in the payload.
    #[default]
    Opaque,
    /// VP8 payload descriptor (RFC 7741 section 4.2).
    Vp8(super::vp8::Vp8),
    /// VP9 payload descriptor (RFC 9628 section 4.2).
    Vp9(super::vp9::Vp9),
}

/// Header extension values that are carried from publisher to subscriber. Transport-level extensions (MID, RID,
/// abs-send-time, transport-wide sequence numbers) end at each hop and are not here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 6464: level in -dBov (0 loudest, 127 silence) and the voice flag.
    pub audio_level: Option<AudioLevel>,
    /// 3GPP CVO: clockwise rotation, as the two-bit field of TS 26.114 section 7.4.5.
    pub video_orientation: Option<u8>,
    /// abs-capture-time.
    pub capture_time: Option<CaptureTime>,
    /// playout-delay limits.
    pub playout_delay: Option<PlayoutDelay>,
    /// AV1 dependency descriptor, byte for byte.
    pub dependency_descriptor: Option<Arc<[u8]>>,
}

/// RFC 6464 client-to-mixer audio level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AudioLevel {
    /// 0 (loudest) to 127 (digital silence), in -dBov.
    pub minus_dbov: u8,
    /// The sender believes this is speech.
    pub voice: bool,
}

/// abs-capture-time: when the picture or sound was captured, on the capturing system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureTime {
    /// The capture.
    pub time: SystemTime,
    /// What the sender believes that clock to be ahead of its own, in seconds as Q32.32.
    pub clock_offset: Option<i64>,
}

/// playout-delay, both limits in units of 10 ms (12 bits each).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlayoutDelay {
    /// Minimum, in 10 ms.
    pub min: u16,
    /// Maximum, in 10 ms.
    pub max: u16,
}
