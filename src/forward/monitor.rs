//! What each incoming layer is and whether it lives: measured from its packets, never read from its rid or its place in
//! the offer (Chromium sends the smallest first, OBS the largest).

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::MAX_LAYERS;
use super::pace::Pace;
use super::shares::Shares;
use crate::rtp::allocation::{SpatialAllocation, StreamAllocation};
use crate::rtp::{LayerIndex, Packet, Resolution, Resolutions};

/// Grain of the measurement. Larger blurs the short window, smaller costs memory per layer.
const BUCKET: Duration = Duration::from_millis(100);
/// Buckets kept: the long window and the one being filled.
const BUCKETS: usize = 51;

/// A layer that was away this long, and longer than its pictures come apart, must prove itself when it comes back.
/// Larger trusts one that flutters, smaller distrusts encoders that skip pictures.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long it must then flow before it is chosen over one that did all the time. Larger keeps the smaller picture
/// longer, smaller follows every flutter of an encoder at its limit.
const PROBATION: Duration = Duration::from_secs(1);

/// Key frames are taken to be at least this far apart when it is told what a layer takes. Larger: a layer with many
/// passes for cheaper than it is; smaller: one that has just begun, or was asked for a key frame, for dearer.
const KEYFRAMES_APART: Duration = Duration::from_secs(2);

/// All layers, best first: more pixels, then more bits. Pixels count once all layers that ever sent have told theirs.
/// `monitors` are in the order of the layer indices; those beyond [`MAX_LAYERS`] are ignored.
pub fn ranking(now: Instant, monitors: &[LayerMonitor]) -> ArrayVec<LayerIndex, MAX_LAYERS> {
    let all_told = monitors.iter().all(|monitor| monitor.flow.is_none() || monitor.resolution().is_some());
    let quality = |monitor: &LayerMonitor| {
        let pixels = if all_told { monitor.resolution().map(Resolution::area) } else { None };
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
    /// Of the spatial layers.
    resolutions: Resolutions,
    shares: Shares,
    /// What the sender says it produces.
    declared: Option<StreamAllocation>,
    paused: bool,
    /// Its next absence is nobody's fault.
    excused: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    bytes: u32,
    /// Those of key frames among them.
    key_bytes: u32,
    frames: u16,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    first: Instant,
    last: Instant,
    /// How far apart its pictures come, which tells how long a silence means something.
    pace: Pace,
    /// Since when it flows without such a silence.
    flowing_since: Instant,
    /// End of the last [`ABSENCE`], if there was one.
    returned: Option<Instant>,
    /// Number of the newest bucket, counted from `first`.
    bucket: u64,
    timestamp: u64,
    /// Timestamp of the newest key frame.
    keyframe: Option<u64>,
}

impl Default for LayerMonitor {
    fn default() -> Self {
        LayerMonitor {
            buckets: [Bucket::default(); BUCKETS],
            flow: None,
            resolutions: Resolutions::new(),
            shares: Shares::default(),
            declared: None,
            paused: false,
            excused: false,
        }
    }
}

impl LayerMonitor {
    /// Notes a packet, and the picture sizes if it told them.
    pub fn received(&mut self, packet: &Packet, resolutions: &Resolutions) {
        self.paused = false;
        if !resolutions.is_empty() {
            self.resolutions.clone_from(resolutions);
        }
        let now = packet.arrived;
        let starts_frame = self.flow.is_none_or(|flow| packet.timestamp > flow.timestamp);
        self.shares.note(packet, starts_frame);
        let flow = self.flow.get_or_insert(Flow {
            first: now,
            last: now,
            pace: Pace::default(),
            flowing_since: now,
            returned: None,
            bucket: 0,
            timestamp: packet.timestamp,
            keyframe: None,
        });
        let silent = now.saturating_duration_since(flow.last);
        let silence = flow.pace.silence();
        if silent > silence {
            flow.flowing_since = now;
        }
        if starts_frame {
            flow.pace.picture(now);
        }
        if silent > ABSENCE.max(silence) && !std::mem::take(&mut self.excused) {
            flow.returned = Some(now);
        }
        flow.last = flow.last.max(now);
        flow.timestamp = flow.timestamp.max(packet.timestamp);
        if packet.starts_keyframe {
            flow.keyframe = Some(packet.timestamp);
        }
        let is_key = flow.keyframe == Some(packet.timestamp);
        let newest = bucket_number(flow.first, flow.last);
        for number in (flow.bucket + 1..=newest).take(BUCKETS) {
            if let Some(bucket) = bucket_mut(&mut self.buckets, number) {
                *bucket = Bucket::default();
            }
        }
        flow.bucket = newest;
        if let Some(bucket) = bucket_mut(&mut self.buckets, newest) {
            let bytes = packet.payload.len() as u32;
            bucket.bytes = bucket.bytes.saturating_add(bytes);
            bucket.key_bytes = bucket.key_bytes.saturating_add(if is_key { bytes } else { 0 });
            bucket.frames = bucket.frames.saturating_add(starts_frame.into());
        }
    }

    /// The sender was asked to stop it: it need not prove itself when it comes back.
    pub fn excuse(&mut self) {
        self.excused = true;
    }

    /// What the sender says it produces of this layer from now on. Nothing means that it has stopped it.
    pub fn declared(&mut self, allocation: &StreamAllocation) {
        self.paused |= allocation.spatial.is_empty() && self.flow.is_some();
        self.declared = Some(allocation.clone());
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

    /// The same, with key frames spread over the time between them.
    fn steady_bitrate(&self, now: Instant, window: Window) -> u64 {
        let (sum, time) = self.sum(now, window);
        let rate = |bytes: u32, time: Duration| (u64::from(bytes) * 8 * 1000).checked_div(time.as_millis() as u64);
        let others = rate(sum.bytes.saturating_sub(sum.key_bytes), time).unwrap_or(0);
        others + rate(sum.key_bytes, time.max(KEYFRAMES_APART)).unwrap_or(0)
    }

    /// Pictures per second over the long window.
    pub fn frame_rate(&self, now: Instant) -> f32 {
        let (sum, time) = self.sum(now, Window::Long);
        if time.is_zero() { 0.0 } else { f32::from(sum.frames) / time.as_secs_f32() }
    }

    /// Picture size, once a key frame told it.
    pub fn resolution(&self) -> Option<Resolution> {
        self.resolutions.last().copied()
    }

    /// Picture size of a spatial layer, once known.
    pub fn resolution_of(&self, spatial: u8) -> Option<Resolution> {
        let declared = || self.declared_spatial(spatial)?.resolution;
        self.resolutions.get(usize::from(spatial)).copied().or_else(declared)
    }

    /// The highest spatial and temporal layer that flow.
    pub fn highest(&self) -> (u8, u8) {
        self.shares.highest()
    }

    /// Bit/s that sending up to these layers takes: as declared, else as measured, whichever window has more.
    pub fn cost(&self, now: Instant, spatial: u8, temporal: u8) -> u64 {
        self.declared_cost(spatial, temporal).unwrap_or_else(|| {
            let whole = self.steady_bitrate(now, Window::Short).max(self.steady_bitrate(now, Window::Long));
            (whole as f64 * self.shares.bytes(spatial, temporal)) as u64
        })
    }

    /// Pictures per second up to this temporal layer.
    pub(super) fn frame_rate_of(&self, now: Instant, temporal: u8) -> f32 {
        self.frame_rate(now) * self.shares.pictures(temporal)
    }

    fn declared_cost(&self, spatial: u8, temporal: u8) -> Option<u64> {
        let below = if self.shares.nested() { 0 } else { spatial };
        (below..=spatial)
            .map(|spatial| {
                let layers = &self.declared_spatial(spatial)?.temporal;
                layers.get(usize::from(temporal)).or(layers.last()).copied()
            })
            .sum()
    }

    fn declared_spatial(&self, spatial: u8) -> Option<&SpatialAllocation> {
        self.declared.as_ref()?.spatial.get(usize::from(spatial))
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
            sum.key_bytes = sum.key_bytes.saturating_add(bucket.key_bytes);
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
    /// This flow has gone on without a packet of `other` for longer than the pictures of that come apart. In a slow
    /// screen share one layer comes a little before the next: that is no flow, so nobody misses the other.
    fn outlives(&self, other: &Flow) -> bool {
        self.last.saturating_duration_since(other.last.max(self.flowing_since)) > other.pace.silence()
    }
}

/// The layer flows, and has done so for a while, or there is none that has.
pub(super) fn is_dependable(now: Instant, layer: LayerIndex, monitors: &[LayerMonitor]) -> bool {
    let proven = |layer: LayerIndex| {
        let monitor = monitors.get(usize::from(layer.0));
        is_live(layer, monitors) && monitor.is_some_and(|own| !own.is_on_probation(now))
    };
    let mut all = (0..).zip(monitors).map(|(index, _)| LayerIndex(index));
    proven(layer) || is_live(layer, monitors) && !all.any(proven)
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
