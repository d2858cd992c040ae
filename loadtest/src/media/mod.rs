//! Synthetic media: streams of packets with true payload headers and no pictures or sound behind them.
//!
//! Each packet is the codec's header, filler, and a [`Stamp`]. A parser sees key frames, parameter sets, layers and
//! running numbers as real encoders send them; a decoder would see noise.

mod av1;
mod dependency;
mod encoder;
mod h264;
mod h265;
pub mod red;
mod source;
mod stamp;
mod vp8;
mod vp9;

pub use dependency::{Described, Templates};
pub use source::{Packet, Source};
pub use stamp::{Kind, Picture, STAMP_LEN, SourceId, Stamp, StampError};
pub use vp8::{ReceivedPictureId, Vp8};
pub use vp9::Vp9;

/// Codecs that can be published and checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Opus.
    Opus,
    /// VP8.
    Vp8,
    /// VP9.
    Vp9,
    /// H.264.
    H264,
    /// H.265.
    H265,
    /// AV1.
    Av1,
}

impl Codec {
    /// Audio or video.
    pub fn kind(self) -> Kind {
        match self {
            Codec::Opus => Kind::Audio,
            _ => Kind::Video,
        }
    }

    /// Ticks of the RTP clock per second.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            _ => 90_000,
        }
    }
}

/// What a receiver learns from a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// What the packet is.
    pub stamp: Stamp,
    /// The descriptor of a VP8 packet.
    pub vp8: Option<Vp8>,
    /// The running numbers of a VP9 packet.
    pub vp9: Option<Vp9>,
}

/// Reads a received payload.
pub fn read(codec: Codec, payload: &[u8]) -> Result<Content, StampError> {
    let (mut vp8, mut vp9) = (None, None);
    let head = match codec {
        Codec::Opus => Some(1),
        Codec::Vp8 => vp8::read(payload).map(|(descriptor, head)| {
            vp8 = Some(descriptor);
            head
        }),
        Codec::Vp9 => vp9::read(payload).map(|(numbers, head)| {
            vp9 = Some(numbers);
            head
        }),
        Codec::H264 => h264::head_len(payload),
        Codec::H265 => h265::head_len(payload),
        Codec::Av1 => av1::head_len(payload),
    };
    let stamp = Stamp::read(payload, head.ok_or(StampError::Missing)?)?;
    Ok(Content { stamp, vp8, vp9 })
}
