//! RTP as values: packets, payload descriptors, formats. Pure, no state, no I/O (level 0).
//!
//! Everything a subscriber's forwarder needs to know about a packet is parsed here once, at ingress; nothing downstream
//! looks into a payload again. Not here: SRTP and RTCP (str0m's), rewriting (`forward`).

pub mod allocation;
mod av1;
mod bits;
pub mod dependency_descriptor;
pub mod format;
mod h264;
mod h265;
pub mod header;
mod inspect;
mod packet;
mod picture;
mod reader;
pub mod red;
pub mod rtcp;
mod timestamps;
pub mod vp8;
pub mod vp9;

pub use allocation::LayersAllocation;
pub use h264::profile_level_id as h264_profile_level_id;
pub use inspect::{Inspected, inspect};
pub use packet::{
    AudioLevel, CaptureTime, Codec, Descriptor, Extensions, LayerIndex, Layering, MAX_SPATIAL_LAYERS, MediaKind,
    Packet, PlayoutDelay, Redundancy, Redundant, Resolution, Resolutions,
};
pub use picture::{PictureIdExpander, PictureIds, PictureNumbers};
pub use reader::{Reading, StreamReader};
pub use timestamps::Timestamps;

/// Splits a unit with its 16-bit size from the front of an aggregation packet (RFC 6184 section 5.7.1, RFC 7798 section
/// 4.4.2).
fn split_sized_unit(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&size, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(size).into())
}
