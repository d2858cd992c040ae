//! VP9 payload descriptor (RFC 9628 section 4.2).

/// The fields forwarding uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp9 {
    /// PictureID, 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// P: inter-picture predicted.
    pub inter_predicted: bool,
    /// B: first packet of a layer frame.
    pub start_of_frame: bool,
    /// E: last packet of a layer frame.
    pub end_of_frame: bool,
    /// Spatial layer (SID).
    pub spatial_id: u8,
    /// Temporal layer (TID).
    pub temporal_id: u8,
    /// U: a switch up to this temporal layer may happen here.
    pub switching_up_point: bool,
    /// D: inter-layer dependency used.
    pub inter_layer_dependency: bool,
    /// TL0PICIDX (non-flexible mode).
    pub tl0_picture_index: Option<u8>,
}
