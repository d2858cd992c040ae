//! RTP as values: packets, payload descriptors, formats. Pure, no state, no I/O (level 0).
//!
//! Everything a subscriber's forwarder needs to know about a packet is parsed here once, at ingress; nothing downstream
//! looks into a payload again. Not here: SRTP and RTCP (str0m's), rewriting (`forward`).

pub mod format;
mod packet;
pub mod vp8;
pub mod vp9;

pub use packet::{AudioLevel, CaptureTime, Codec, Descriptor, Extensions, LayerIndex, MediaKind, Packet, PlayoutDelay};
