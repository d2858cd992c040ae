//! VP8 payload descriptor (RFC 7741 section 4.2).

/// The fields forwarding uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8 {
    /// Start of a VP8 partition.
    pub start_of_partition: bool,
    /// PictureID; after ingress always in its 15-bit form (`expand_picture_id`).
    pub picture_id: Option<u16>,
    /// TL0PICIDX.
    pub tl0_picture_index: Option<u8>,
    /// Temporal layer (TID).
    pub temporal_id: Option<u8>,
    /// Y: a switch up to this temporal layer may happen here.
    pub layer_sync: bool,
    /// KEYIDX, five bits.
    pub key_index: Option<u8>,
    /// N: no other picture refers to this one.
    pub non_reference: bool,
}
