//! What a track can be sent as: its encodings with their spatial and temporal layers as rungs from the worst to the
//! best, each with what it takes and what it shows.
//!
//! Who gets which rung is decided elsewhere; this only tells what there is.

use std::time::Instant;

use arrayvec::ArrayVec;

use super::forwarder::{Source, Target};
use super::monitor::{LayerMonitor, is_dependable, ranking};
use crate::rtp::{LayerIndex, Resolution};

/// Rungs of one ladder: four encodings, or four spatial layers, with their temporal layers. Larger gives finer steps
/// than anybody sees, smaller cuts off the upper end of structures in use.
pub const MAX_RUNGS: usize = 16;

/// Pictures per second below which only the lowest rung may fall. Larger jumps to a smaller picture sooner, smaller
/// shows a large one that stutters.
const WATCHABLE: f32 = 10.0;

/// The rungs of a track, worst first.
pub type Ladder = ArrayVec<Rung, MAX_RUNGS>;

/// One way to send a track.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// The encoding.
    pub layer: LayerIndex,
    /// Up to this spatial layer of it.
    pub spatial: u8,
    /// Up to this temporal layer.
    pub temporal: u8,
    /// What it takes in bit/s of payload: what the sender declares, else what was measured.
    pub bitrate: u64,
    /// Picture size, once known.
    pub resolution: Option<Resolution>,
    /// Pictures per second.
    pub frame_rate: f32,
    /// It flows now, and did so for a while if another does.
    pub live: bool,
}

impl Rung {
    /// What a forwarder is told to send this rung.
    pub fn target(&self, source: Source) -> Target {
        Target { source, layer: self.layer, spatial: self.spatial, temporal: self.temporal }
    }
}

/// The rungs of a track, worst first; of encodings that never sent anything, none. `monitors` are in the order of the
/// layer indices.
///
/// A rung with fewer pictures per second is there only where it is worth having: it costs more than the rung below it,
/// and stays watchable unless it is the lowest of all. Whole encodings and spatial layers are always there, so among
/// them a better one may cost less.
pub fn ladder(now: Instant, monitors: &[LayerMonitor]) -> Ladder {
    ladder_within(now, monitors, u8::MAX, u8::MAX)
}

/// The same up to a spatial and a temporal layer, as if there were no more.
pub fn ladder_within(now: Instant, monitors: &[LayerMonitor], spatial: u8, temporal: u8) -> Ladder {
    let caps = (spatial, temporal);
    let mut rungs = Ladder::new();
    for layer in ranking(now, monitors).into_iter().rev() {
        let Some(monitor) = monitors.get(usize::from(layer.0)).filter(|monitor| monitor.last_packet().is_some()) else {
            continue;
        };
        let live = is_dependable(now, layer, monitors);
        let (highest_spatial, highest_temporal) = monitor.highest();
        let (highest_spatial, highest_temporal) = (highest_spatial.min(caps.0), highest_temporal.min(caps.1));
        for spatial in 0..=highest_spatial {
            for temporal in 0..=highest_temporal {
                let rung = Rung {
                    layer,
                    spatial,
                    temporal,
                    bitrate: monitor.cost(now, spatial, temporal),
                    resolution: monitor.resolution_of(spatial),
                    frame_rate: monitor.frame_rate_of(now, temporal),
                    live,
                };
                if temporal == highest_temporal || live && is_worth_having(&rung, &rungs) {
                    let _ = rungs.try_push(rung);
                }
            }
        }
    }
    rungs
}

fn is_worth_having(rung: &Rung, below: &[Rung]) -> bool {
    match below.iter().rev().find(|other| other.live) {
        None => true,
        Some(other) => {
            let lowest_picture = (other.layer, other.spatial) == (rung.layer, rung.spatial)
                && below.iter().all(|other| (other.layer, other.spatial) == (rung.layer, rung.spatial));
            rung.bitrate > other.bitrate && (lowest_picture || rung.frame_rate >= WATCHABLE)
        }
    }
}

#[cfg(test)]
mod tests;
