//! What a sender says its layers take and look like: the video-layers-allocation header extension, as values.

use arrayvec::ArrayVec;

use super::{MAX_SPATIAL_LAYERS, Resolution};

/// Encodings a declaration names: its stream index has two bits.
pub const MAX_STREAMS: usize = 4;
/// Temporal layers a declaration names: their count has two bits.
pub const MAX_DECLARED_TEMPORAL: usize = 4;

/// The layers a sender produces now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LayersAllocation {
    /// Which of the streams the packet it came with belongs to.
    pub current: usize,
    /// All encodings, in the sender's order. Empty: everything is off.
    pub streams: ArrayVec<StreamAllocation, MAX_STREAMS>,
}

/// One encoding: its active spatial layers, the smallest first. None: it is off.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamAllocation {
    /// By spatial layer; those that are off in between are absent.
    pub spatial: ArrayVec<SpatialAllocation, MAX_SPATIAL_LAYERS>,
}

/// One spatial layer of an encoding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpatialAllocation {
    /// Target bit/s of each temporal layer with those below it, the spatial layers below not counted.
    pub temporal: ArrayVec<u64, MAX_DECLARED_TEMPORAL>,
    /// Picture size, if told.
    pub resolution: Option<Resolution>,
    /// Pictures per second with all temporal layers, if told.
    pub frame_rate: Option<u8>,
}
