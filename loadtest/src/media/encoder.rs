//! Decides what each frame is: key or not, its temporal layer, what it refers to, how large it is.
//!
//! Not here: how a frame becomes packets (`packetize`), when it is due (`source`).

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::spec::{Prediction, Svc};

/// Frames of one size would hide mistakes of arithmetic: each is off by up to one part in this.
const SIZE_VARIATION: usize = 8;

/// One frame to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Counted from zero.
    pub(super) number: u32,
    pub(super) key: bool,
    pub(super) temporal: u8,
    /// Its spatial layer, of how many.
    pub(super) spatial: (u8, u8),
    /// Its picture is a key picture; only the lowest spatial layer of it is a key frame.
    pub(super) key_picture: bool,
    /// Depends on the base layer only: a switch up to its temporal layer may happen here.
    pub(super) sync: bool,
    /// No other frame refers to it.
    pub(super) discardable: bool,
    /// Distances to the frames it refers to; zero for none.
    pub(super) references: [u16; 2],
    pub(super) bytes: usize,
}

/// The shape of a stream of frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Encoding {
    pub(super) bitrate: u64,
    pub(super) frame_rate: u32,
    pub(super) temporal_layers: u8,
    pub(super) key_interval: Option<Duration>,
    /// A key frame is this many times an average frame.
    pub(super) key_frame_weight: usize,
}

/// Makes frames, one after the other.
#[derive(Debug)]
pub(super) struct Encoder {
    encoding: Encoding,
    next: u32,
    since_key: u32,
}

impl Encoder {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, next: 0, since_key: 0 }
    }

    /// The next frame; a key frame when `forced`, when it is the first, or when the interval says so.
    pub(super) fn next(&mut self, forced: bool, rng: &mut StdRng) -> Frame {
        let key = forced || self.next == 0 || self.key_interval_frames().is_some_and(|n| self.since_key >= n);
        if key {
            self.since_key = 0;
        }
        let slot = if key { BASE } else { slot(self.encoding.temporal_layers, self.since_key) };
        let frame = Frame {
            number: self.next,
            key,
            temporal: slot.temporal,
            spatial: (0, 1),
            key_picture: key,
            sync: slot.sync,
            discardable: slot.discardable && !key,
            references: if key { [0, 0] } else { slot.references },
            bytes: self.frame_bytes(key, rng),
        };
        self.next += 1;
        self.since_key += 1;
        frame
    }

    /// Size of a frame, all in all.
    pub(super) fn average_bytes(&self) -> usize {
        (self.encoding.bitrate / 8 / u64::from(self.encoding.frame_rate.max(1))) as usize
    }

    /// The frames of a picture of several spatial layers, which divide its bytes. Upper layers take the most, as their
    /// pictures are the largest.
    pub(super) fn spatial_frames(picture: &Frame, svc: Option<Svc>) -> Vec<Frame> {
        let Some(Svc { layers, prediction }) = svc else { return vec![*picture] };
        let shares = (1_usize << layers) - 1;
        let frame = |layer: u8| {
            let predicted = layer > 0 && (picture.key || prediction == Prediction::Always);
            let earlier = if picture.key { 0 } else { picture.references[0] * u16::from(layers) };
            Frame {
                number: picture.number * u32::from(layers) + u32::from(layer),
                key: picture.key && layer == 0,
                spatial: (layer, layers),
                references: [earlier, u16::from(predicted)],
                bytes: (picture.bytes << layer) / shares,
                ..*picture
            }
        };
        (0..layers).map(frame).collect()
    }

    fn key_interval_frames(&self) -> Option<u32> {
        let interval = self.encoding.key_interval?;
        Some((interval.as_secs_f64() * f64::from(self.encoding.frame_rate)).round().max(1.0) as u32)
    }

    fn frame_bytes(&self, key: bool, rng: &mut StdRng) -> usize {
        let (average, weight) = (self.average_bytes(), self.encoding.key_frame_weight);
        if key {
            return average * weight;
        }
        // What key frames take more, the others give, so that the bitrate comes out right.
        let delta = match self.key_interval_frames().map(|n| n as usize) {
            Some(n) if n > weight => average * (n - weight) / (n - 1),
            _ => average,
        };
        let variation = delta / SIZE_VARIATION;
        delta - variation + rng.random_range(0..=2 * variation)
    }
}

/// One place in a repeating temporal pattern.
#[derive(Debug, Clone, Copy)]
struct Slot {
    temporal: u8,
    sync: bool,
    discardable: bool,
    references: [u16; 2],
}

const BASE: Slot = Slot { temporal: 0, sync: false, discardable: false, references: [1, 0] };

/// The pattern at `position` frames behind a key frame: 0, 01 or 0212 (libwebrtc's, as far as what refers to what).
fn slot(temporal_layers: u8, position: u32) -> Slot {
    let upper = |temporal, sync, discardable, references| Slot { temporal, sync, discardable, references };
    match (temporal_layers, position % 4) {
        (0 | 1, _) => BASE,
        (2, 0 | 2) => Slot { references: [2, 0], ..BASE },
        (2, _) => upper(1, true, true, [1, 0]),
        (_, 0) => Slot { references: [4, 0], ..BASE },
        (_, 1) => upper(2, true, true, [1, 0]),
        (_, 2) => upper(1, true, false, [2, 0]),
        (_, _) => upper(2, false, true, [1, 3]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn frames(temporal_layers: u8, key_interval: Option<Duration>, count: usize) -> Vec<Frame> {
        let mut rng = StdRng::seed_from_u64(1);
        let encoding =
            Encoding { bitrate: 1_000_000, frame_rate: 30, temporal_layers, key_interval, key_frame_weight: 4 };
        let mut encoder = Encoder::new(encoding);
        (0..count).map(|n| encoder.next(n == 70, &mut rng)).collect()
    }

    #[test]
    fn every_reference_is_an_earlier_frame_of_no_higher_layer_since_the_last_key_frame() {
        for layers in 1..=3 {
            let frames = frames(layers, Some(Duration::from_secs(2)), 200);
            let mut key = 0;
            for frame in &frames {
                if frame.key {
                    key = frame.number;
                }
                let referred = frame.references.iter().filter(|d| **d > 0).map(|d| frame.number - u32::from(*d));
                for number in referred {
                    let target = frames[number as usize];
                    assert!(number >= key, "{layers} layers: {frame:?} refers past its key frame");
                    assert!(target.temporal <= frame.temporal && !target.discardable, "{frame:?} refers to {target:?}");
                    assert!(!frame.sync || target.temporal == 0, "{frame:?} is no layer sync");
                }
            }
        }
    }

    #[test]
    fn key_frames_come_first_on_request_and_at_the_interval() {
        let keys: Vec<u32> =
            frames(1, Some(Duration::from_secs(2)), 140).iter().filter(|f| f.key).map(|f| f.number).collect();
        assert_eq!(keys, [0, 60, 70, 130]);
    }

    #[test]
    fn the_bitrate_is_what_was_asked_for() {
        let bytes: usize = frames(1, Some(Duration::from_secs(1)), 600).iter().map(|f| f.bytes).sum();
        let bitrate = bytes * 8 / 20;
        assert!((950_000..1_050_000).contains(&bitrate), "{bitrate}");
    }
}
