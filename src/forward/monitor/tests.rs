//! Layers that come, go, flutter and come back.

use std::sync::Arc;

use super::super::ladder;
use super::*;
use crate::rtp::{Codec, Descriptor, Extensions};

const SIZE: usize = 1000;

struct Layers {
    start: Instant,
    monitors: [LayerMonitor; 3],
}

impl Layers {
    fn new() -> Self {
        Layers { start: Instant::now(), monitors: Default::default() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// One picture of `packets` packets each `interval` ms, in `from..until` ms.
    fn send(&mut self, layer: u8, from: u64, until: u64, interval: u64, packets: usize) {
        for ms in (from..until).step_by(interval as usize) {
            let packet = self.packet(layer, ms);
            for _ in 0..packets {
                self.monitors[usize::from(layer)].received(&packet, &Resolutions::new());
            }
        }
    }

    fn packet(&self, layer: u8, ms: u64) -> Packet {
        Packet {
            layer: LayerIndex(layer),
            generation: 0,
            payload_type: 96,
            codec: Codec::Vp8,
            sequence: 0,
            timestamp: ms * 90,
            marker: true,
            arrived: self.at(ms),
            captured: self.at(ms),
            payload: Arc::new([0; SIZE]),
            descriptor: Descriptor::Opaque,
            picture: None,
            dependency: None,
            starts_keyframe: false,
            redundant: None,
            extensions: Extensions::default(),
        }
    }

    fn sized(mut self, heights: [u16; 3]) -> Self {
        for (monitor, height) in self.monitors.iter_mut().zip(heights) {
            let resolution = (height > 0).then_some(Resolution { width: height, height });
            monitor.resolutions = resolution.into_iter().collect();
        }
        self
    }

    fn best(&self, ms: u64) -> Option<u8> {
        ladder(self.at(ms), &self.monitors).iter().rev().find(|rung| rung.live).map(|rung| rung.layer.0)
    }

    fn ranking(&self, ms: u64) -> Vec<u8> {
        ranking(self.at(ms), &self.monitors).into_iter().map(|layer| layer.0).collect()
    }
}

#[test]
fn bitrate_and_frame_rate_are_averages_of_their_window() {
    // 50 pictures a second: for 10 s of two packets, then for 2 s of one, then nothing.
    let measured = |ms: u64| {
        let mut layers = Layers::new();
        layers.send(0, 0, ms.min(10_000), 20, 2);
        layers.send(0, 10_000, ms.min(12_000), 20, 1);
        let ([monitor, ..], now) = (&layers.monitors, layers.at(ms));
        (monitor.bitrate(now, Window::Short), monitor.bitrate(now, Window::Long), monitor.frame_rate(now))
    };
    let one_packet = 50 * SIZE as u64 * 8;
    let table = [
        (0, (0, 0, 0.0)),
        (50, (480_000, 480_000, 30.0)), // six packets in the first bucket
        (1000, (2 * one_packet, 2 * one_packet, 50.0)),
        (10_000, (2 * one_packet, 2 * one_packet, 50.0)),
        (12_000, (one_packet, (2 * 3 + 2) * one_packet / 5, 50.0)),
        (12_500, (0, (2 * 5 + 4) * one_packet / 10, 45.0)),
        (30_000, (0, 0, 0.0)),
    ];
    for (ms, expected) in table {
        assert_eq!(measured(ms), expected, "{ms} ms");
    }
}

#[test]
fn layers_rank_by_pixels_then_bits_whatever_their_index() {
    // Packets per picture and picture height of each layer; best first.
    let table = [
        ("smallest first", [1, 2, 3], [180, 360, 720], [2, 1, 0]),
        ("largest first", [3, 2, 1], [720, 480, 240], [0, 1, 2]),
        ("more bits for fewer pixels", [3, 2, 1], [180, 360, 720], [2, 1, 0]),
        ("equal pixels", [1, 3, 2], [720, 720, 720], [1, 2, 0]),
        ("one size unknown", [1, 3, 2], [720, 0, 720], [1, 2, 0]),
        ("one that never sent", [1, 0, 2], [360, 0, 720], [2, 0, 1]),
    ];
    for (name, packets, heights, expected) in table {
        let mut layers = Layers::new();
        for (layer, packets) in (0..).zip(packets) {
            layers.send(layer, 0, if packets > 0 { 1000 } else { 0 }, 40, packets);
        }
        assert_eq!(layers.sized(heights).ranking(1000), expected, "{name}");
    }
}

#[test]
fn a_stopped_layer_is_left_and_returned_to_when_it_has_proved_itself() {
    let mut layers = Layers::new().sized([180, 360, 720]);
    assert_eq!(layers.best(0), None);
    for layer in 0..3 {
        layers.send(layer, 0, 2000, 33, 1);
    }
    assert_eq!(layers.best(2000), Some(2), "no probation at the start");
    for (from, until, expected) in [(2000, 2120, 2), (2120, 2170, 1), (2170, 5000, 1)] {
        layers.send(0, from, until, 33, 1);
        layers.send(1, from, until, 33, 1);
        assert_eq!(layers.best(until), Some(expected), "{until} ms");
    }
    for (from, until, expected) in [(5000, 5900, 1), (5900, 6100, 2)] {
        for layer in 0..3 {
            layers.send(layer, from, until, 33, 1);
        }
        assert_eq!(layers.best(until), Some(expected), "{until} ms");
    }
    layers.monitors[2].paused();
    assert_eq!(layers.best(6100), Some(1), "found paused");
}

#[test]
fn a_layer_that_was_asked_to_stop_is_returned_to_at_once() {
    let mut layers = Layers::new().sized([180, 360, 720]);
    for layer in 0..3 {
        layers.send(layer, 0, 2000, 33, 1);
    }
    layers.monitors[2].excuse();
    for (from, until, without, expected) in
        [(2000, 5000, 2, 1), (5000, 5100, 3, 2), (5100, 8000, 2, 1), (8000, 8900, 3, 1)]
    {
        for layer in 0..without {
            layers.send(layer, from, until, 33, 1);
        }
        assert_eq!(layers.best(until), Some(expected), "{until} ms; excused is one absence");
    }
}

#[test]
fn a_slow_screen_share_is_not_taken_for_a_stopped_one() {
    let mut layers = Layers::new().sized([180, 720, 0]);
    for second in 0..5 {
        layers.send(0, second * 1000, second * 1000 + 1, 1, 1);
        assert_eq!(layers.best(second * 1000 + 10), Some(u8::from(second > 0)), "{second} s");
        layers.send(1, second * 1000 + 15, second * 1000 + 16, 1, 1);
        assert_eq!(layers.best(second * 1000 + 20), Some(1), "{second} s");
    }
}

#[test]
fn a_layer_is_missed_when_it_is_silent_for_longer_than_its_own_pictures_come_apart() {
    // Time between pictures of the layer that stops and of the one that goes on, when it is still live after its last
    // packet, and when it no longer is, in milliseconds.
    let table = [(33, 33, 130, 180), (66, 33, 210, 270), (66, 66, 210, 300), (200, 200, 500, 800), (200, 33, 530, 600)];
    for (own, other, live, left) in table {
        let mut layers = Layers::new().sized([180, 720, 0]);
        layers.send(0, 0, 3001, other, 1);
        layers.send(1, 0, 3001, own, 1);
        let last = 3000 / own * own;
        let on = (3000 / other + 1) * other;
        layers.send(0, on, last + live, other, 1);
        assert_eq!(layers.best(last + live), Some(1), "{own} and {other}: a picture may be skipped");
        let on = ((last + live).max(on) - on).div_ceil(other) * other + on;
        layers.send(0, on, last + left, other, 1);
        assert_eq!(layers.best(last + left), Some(0), "{own} and {other}: it has stopped");
    }
}

#[test]
fn all_silent_together_is_an_outage_of_none() {
    let mut layers = Layers::new().sized([180, 720, 0]);
    for layer in 0..2 {
        layers.send(layer, 0, 1000, 33, 1);
    }
    assert_eq!(layers.best(1900), Some(1));
    layers.send(0, 1910, 1911, 1, 1);
    assert_eq!(layers.best(1911), Some(1), "the other follows at once");
}

#[test]
fn a_key_frame_makes_a_layer_no_dearer_than_key_frames_two_seconds_apart() {
    let mut layers = Layers::new();
    layers.send(0, 0, 600, 50, 1);
    let key = Packet { starts_keyframe: true, payload: Arc::new([0; 30 * SIZE]), ..layers.packet(0, 600) };
    layers.monitors[0].received(&key, &Resolutions::new());
    layers.send(0, 650, 1000, 50, 1);
    let cost = layers.monitors[0].cost(layers.at(1000), 0, 0);
    assert_eq!(cost, 19 * 8 * 1000 * 10 / 10 + 30 * 8 * 1000 / 2);
}
