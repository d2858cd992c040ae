//! How the bytes and pictures of one encoding divide among its spatial and temporal layers.

use std::time::{Duration, Instant};

use crate::rtp::{MAX_SPATIAL_LAYERS, Packet};

/// Temporal layers told apart. Encoders in use make up to three; larger costs memory per layer, smaller counts the
/// upper ones as one.
pub(super) const MAX_TEMPORAL_LAYERS: usize = 4;

/// Half of the time the shares are averaged over. Larger follows a changed structure later, smaller follows single
/// pictures.
const PERIOD: Duration = Duration::from_secs(2);

/// Counted in two periods, the one before and the running one.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares {
    running: Counts,
    before: Counts,
    since: Option<Instant>,
    /// A spatial layer includes those below it.
    nested: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    bytes: [[u32; MAX_TEMPORAL_LAYERS]; MAX_SPATIAL_LAYERS],
    pictures: [u32; MAX_TEMPORAL_LAYERS],
}

impl Shares {
    /// Notes a packet.
    pub(super) fn note(&mut self, packet: &Packet, starts_picture: bool) {
        let now = packet.arrived;
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) >= PERIOD {
            self.before = std::mem::take(&mut self.running);
            self.since = Some(now);
        }
        let spatial = usize::from(packet.spatial_id()).min(MAX_SPATIAL_LAYERS - 1);
        let temporal = usize::from(packet.temporal_id()).min(MAX_TEMPORAL_LAYERS - 1);
        if let Some(bytes) = self.running.bytes.get_mut(spatial).and_then(|row| row.get_mut(temporal)) {
            *bytes = bytes.saturating_add(packet.payload.len() as u32);
        }
        if let Some(pictures) = self.running.pictures.get_mut(temporal).filter(|_| starts_picture) {
            *pictures += 1;
        }
        self.nested = packet.needs_lower_layers();
    }

    /// A spatial layer includes those below it.
    pub(super) fn nested(&self) -> bool {
        self.nested
    }

    /// The highest spatial and temporal layer seen of late.
    pub(super) fn highest(&self) -> (u8, u8) {
        let (mut spatial, mut temporal) = (0, 0);
        for counts in [&self.before, &self.running] {
            for (row, number) in counts.bytes.iter().zip(0..) {
                for (bytes, column) in row.iter().zip(0..) {
                    if *bytes > 0 {
                        spatial = spatial.max(number);
                        temporal = temporal.max(column);
                    }
                }
            }
        }
        (spatial, temporal)
    }

    /// The share of the encoding's bytes that goes to who is sent up to these layers, 0 to 1.
    pub(super) fn bytes(&self, spatial: u8, temporal: u8) -> f64 {
        let (mut part, mut whole) = (0_u64, 0_u64);
        for counts in [&self.before, &self.running] {
            for (row, number) in counts.bytes.iter().zip(0..) {
                let wanted = number == spatial || self.nested && number < spatial;
                for (bytes, column) in row.iter().zip(0..) {
                    whole += u64::from(*bytes);
                    part += if wanted && column <= temporal { u64::from(*bytes) } else { 0 };
                }
            }
        }
        if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
    }

    /// The share of the pictures up to this temporal layer, 0 to 1.
    pub(super) fn pictures(&self, temporal: u8) -> f32 {
        let (mut part, mut whole) = (0, 0);
        for counts in [&self.before, &self.running] {
            for (pictures, column) in counts.pictures.iter().zip(0..) {
                whole += pictures;
                part += if column <= temporal { *pictures } else { 0 };
            }
        }
        if whole == 0 { 1.0 } else { part as f32 / whole as f32 }
    }
}
