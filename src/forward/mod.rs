//! Forwarding decisions: pure state machines, time passed in, no I/O (level 1).
//!
//! One [`Forwarder`] per subscription decides packet by packet what passes and under which numbers. What is known of a
//! layer once for all its subscribers stands beside it: [`LayerMonitor`] (what the layer is, and whether it lives),
//! [`LayerClocks`] (its sender reports), [`KeyframeRequester`] (when to ask for a key frame). Not here: whose packets
//! reach whom (`sfu`), retransmission and congestion control (str0m's).

mod allocator;
mod arrivals;
mod bandwidth;
mod clock;
mod decisions;
mod dependency;
mod drop_reason;
mod forwarder;
mod keyframe;
mod ladder;
mod lint;
pub mod loudness;
mod monitor;
mod offsets;
mod pace;
mod picture_ids;
mod rewriter;
mod ring;
mod selector;
mod sequence;
mod shares;
pub mod speaker;

pub use allocator::{Budget, Demand, Grant, MAX_DEMANDS, Necessity, allocate, ideal};
pub use arrivals::{Arrived, Departures};
pub use bandwidth::{Ask, Bandwidth, Basis, Outcome, Reading};
pub use clock::LayerClocks;
pub use drop_reason::DropReason;
pub use forwarder::{Forwarder, Source, Target};
pub use keyframe::{KeyframeRequester, Urgency};
pub use ladder::{Ladder, MAX_RUNGS, Rung, ladder, ladder_within};
pub use lint::{Flaw, Lint};
pub use monitor::{LayerMonitor, Window, is_live, ranking};
pub use rewriter::Rewritten;
pub use ring::ReplayRing;

/// Layers (simulcast encodings) of one track. Browsers and OBS send at most three and four; larger costs memory per
/// track and subscriber, smaller refuses offers that are in use.
pub const MAX_LAYERS: usize = 4;
