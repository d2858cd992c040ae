//! What each incoming layer is and whether it lives: measured from its packets, never read from its rid or its place in
//! the offer (Chromium sends the smallest first, OBS the largest).

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::MAX_LAYERS;
use crate::rtp::{LayerIndex, Packet, Resolution};

/// Grain of the measurement. Larger blurs the short window, smaller costs memory per layer.
const BUCKET: Duration = Duration::from_millis(100);
/// Buckets kept: the long window and the one being filled.
const BUCKETS: usize = 51;

/// A layer that is silent this long while another flows was stopped by its sender. Larger freezes viewers longer,
/// smaller leaves layers for a burst of loss.
const SILENCE: Duration = Duration::from_millis(300);
/// A layer that was away this long must prove itself when it comes back. Larger trusts one that flutters, smaller
/// distrusts screen shares of a few pictures a second.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long it must then flow before it is chosen over one that did all the time. Larger keeps the smaller picture
/// longer, smaller follows every flutter of an encoder at its limit.
const PROBATION: Duration = Duration::from_secs(1);

/// The best layer that flows; `None` if none does. `monitors` are in the order of the layer indices.
pub fn best_live(now: Instant, monitors: &[LayerMonitor]) -> Option<LayerIndex> {
    let ranking = ranking(now, monitors);
    let live = || ranking.iter().copied().filter(|layer| is_live(*layer, monitors));
    let proven = |layer: &LayerIndex| monitors.get(usize::from(layer.0)).is_some_and(|own| !own.is_on_probation(now));
    live().find(proven).or_else(|| live().next())
}

/// All layers, best first: more pixels, then more bits. Pixels count once all layers that ever sent have told theirs.
/// `monitors` are in the order of the layer indices; those beyond [`MAX_LAYERS`] are ignored.
pub fn ranking(now: Instant, monitors: &[LayerMonitor]) -> ArrayVec<LayerIndex, MAX_LAYERS> {
    let all_told = monitors.iter().all(|monitor| monitor.flow.is_none() || monitor.resolution.is_some());
    let quality = |monitor: &LayerMonitor| {
        let pixels = if all_told { monitor.resolution.map(Resolution::area) } else { None };
        (monitor.flow.is_some(), pixels, monitor.bitrate(now, Window::Long))
    };
    let mut layers: ArrayVec<_, MAX_LAYERS> = monitors
        .iter()
        .zip(0..)
        .take(MAX_LAYERS)
        .map(|(monitor, index)| (quality(monitor), LayerIndex(index)))
        .collect();
    layers.sort_by_key(|&(quality, _)| Reverse(quality));
    layers.into_iter().map(|(_, layer)| layer).collect()
}

/// Over how long to average.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// 0.5 s: what the layer sends now.
    Short,
    /// 5 s: what it takes to send it.
    Long,
}

/// Measures one incoming layer.
#[derive(Debug, Clone)]
pub struct LayerMonitor {
    /// A ring: the bucket of a time is its number modulo [`BUCKETS`].
    buckets: [Bucket; BUCKETS],
    /// `None` until the first packet.
    flow: Option<Flow>,
    resolution: Option<Resolution>,
    paused: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    bytes: u32,
    frames: u16,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    first: Instant,
    last: Instant,
    /// Since when it flows without a [`SILENCE`].
    flowing_since: Instant,
    /// End of the last [`ABSENCE`], if there was one.
    returned: Option<Instant>,
    /// Number of the newest bucket, counted from `first`.
    bucket: u64,
    timestamp: u64,
}

impl Default for LayerMonitor {
    fn default() -> Self {
        LayerMonitor { buckets: [Bucket::default(); BUCKETS], flow: None, resolution: None, paused: false }
    }
}

impl LayerMonitor {
    /// Notes a packet, and the picture size if it told one.
    pub fn received(&mut self, packet: &Packet, resolution: Option<Resolution>) {
        self.paused = false;
        self.resolution = resolution.or(self.resolution);
        let now = packet.arrived;
        let starts_frame = self.flow.is_none_or(|flow| packet.timestamp > flow.timestamp);
        let flow = self.flow.get_or_insert(Flow {
            first: now,
            last: now,
            flowing_since: now,
            returned: None,
            bucket: 0,
            timestamp: packet.timestamp,
        });
        let silent = now.saturating_duration_since(flow.last);
        if silent > SILENCE {
            flow.flowing_since = now;
        }
        if silent > ABSENCE {
            flow.returned = Some(now);
        }
        flow.last = flow.last.max(now);
        flow.timestamp = flow.timestamp.max(packet.timestamp);
        let newest = bucket_number(flow.first, flow.last);
        for number in (flow.bucket + 1..=newest).take(BUCKETS) {
            if let Some(bucket) = bucket_mut(&mut self.buckets, number) {
                *bucket = Bucket::default();
            }
        }
        flow.bucket = newest;
        if let Some(bucket) = bucket_mut(&mut self.buckets, newest) {
            bucket.bytes = bucket.bytes.saturating_add(packet.payload.len() as u32);
            bucket.frames = bucket.frames.saturating_add(starts_frame.into());
        }
    }

    /// The stream was found paused: nothing came for a time that even a slow screen share does not take.
    pub fn paused(&mut self) {
        self.paused = true;
    }

    /// Payload bits per second, averaged over the window or over the layer's life if that is shorter.
    pub fn bitrate(&self, now: Instant, window: Window) -> u64 {
        let (sum, time) = self.sum(now, window);
        (u64::from(sum.bytes) * 8 * 1000).checked_div(time.as_millis() as u64).unwrap_or(0)
    }

    /// Pictures per second over the long window.
    pub fn frame_rate(&self, now: Instant) -> f32 {
        let (sum, time) = self.sum(now, Window::Long);
        if time.is_zero() { 0.0 } else { f32::from(sum.frames) / time.as_secs_f32() }
    }

    /// Picture size, once a key frame told it.
    pub fn resolution(&self) -> Option<Resolution> {
        self.resolution
    }

    /// When the last packet came.
    pub fn last_packet(&self) -> Option<Instant> {
        self.flow.map(|flow| flow.last)
    }

    /// What the window's full buckets hold, and the time they span. The bucket being filled counts only while there is
    /// no other.
    fn sum(&self, now: Instant, window: Window) -> (Bucket, Duration) {
        let Some(flow) = self.flow else {
            return (Bucket::default(), Duration::ZERO);
        };
        let current = bucket_number(flow.first, now);
        let width = match window {
            Window::Short => 5,
            Window::Long => BUCKETS as u64 - 1,
        };
        let (from, to) = if current == 0 { (0, 1) } else { (current.saturating_sub(width), current) };
        let oldest_kept = (flow.bucket + 1).saturating_sub(BUCKETS as u64);
        let mut sum = Bucket::default();
        for number in from.max(oldest_kept)..to.min(flow.bucket + 1) {
            let bucket = self.buckets.get(number as usize % BUCKETS).copied().unwrap_or_default();
            sum.bytes = sum.bytes.saturating_add(bucket.bytes);
            sum.frames = sum.frames.saturating_add(bucket.frames);
        }
        (sum, BUCKET * (to - from) as u32)
    }

    fn is_on_probation(&self, now: Instant) -> bool {
        let returned = self.flow.and_then(|flow| flow.returned);
        returned.is_some_and(|returned| now.saturating_duration_since(returned) < PROBATION)
    }
}

impl Flow {
    /// This flow has gone on for a [`SILENCE`] without a packet of `other`. The pictures of a slow screen share come
    /// far apart in all layers and one layer a little before the next: that is no flow, so nobody misses the other.
    fn outlives(&self, other: &Flow) -> bool {
        self.last.saturating_duration_since(other.last.max(self.flowing_since)) > SILENCE
    }
}

/// The layer flows: none of the others has gone on without it.
pub fn is_live(layer: LayerIndex, monitors: &[LayerMonitor]) -> bool {
    let Some(own) = monitors.get(usize::from(layer.0)) else {
        return false;
    };
    let is_outlived = |own: &Flow| monitors.iter().filter_map(|other| other.flow).any(|other| other.outlives(own));
    !own.paused && own.flow.is_some_and(|flow| !is_outlived(&flow))
}

/// Buckets are counted from a layer's first packet.
fn bucket_number(first: Instant, time: Instant) -> u64 {
    (time.saturating_duration_since(first).as_millis() / BUCKET.as_millis()) as u64
}

fn bucket_mut(buckets: &mut [Bucket; BUCKETS], number: u64) -> Option<&mut Bucket> {
    buckets.get_mut(number as usize % BUCKETS)
}

#[cfg(test)]
mod tests;
