//! Ladders of what senders in use send.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::rtp::allocation::{SpatialAllocation, StreamAllocation};
use crate::rtp::vp9::Vp9;
use crate::rtp::{Codec, Descriptor, Extensions, Packet};

/// One picture's part of the traffic: spatial layer, temporal layer, bytes.
type Part = (u8, u8, usize);

/// Four seconds of a layer whose pictures repeat these groups of parts, 30 a second.
fn monitor(start: Instant, pictures: &[&[Part]], key_pictures_only: bool, heights: &[u16]) -> LayerMonitor {
    let mut monitor = LayerMonitor::default();
    let sizes = heights.iter().map(|&height| Resolution { width: height * 2, height }).collect();
    for number in 0..120_u64 {
        for &(spatial_id, temporal_id, bytes) in pictures[number as usize % pictures.len()] {
            let arrived = start + Duration::from_millis(number * 1000 / 30);
            let packet = Packet {
                layer: LayerIndex(0),
                generation: 0,
                payload_type: 96,
                codec: Codec::Vp9,
                sequence: 0,
                timestamp: number * 3000,
                marker: false,
                arrived,
                captured: arrived,
                payload: Arc::from(vec![0; bytes]),
                descriptor: Descriptor::Vp9(Vp9 { spatial_id, temporal_id, key_pictures_only, ..Vp9::default() }),
                picture: None,
                dependency: None,
                starts_keyframe: false,
                redundant: None,
                extensions: Extensions::default(),
            };
            monitor.received(&packet, &sizes);
        }
    }
    monitor
}

/// Layer, spatial, temporal, kbit/s, height, pictures per second, live.
type Line = (u8, u8, u8, u64, u16, u32, bool);

fn lines(start: Instant, monitors: &[LayerMonitor]) -> Vec<Line> {
    let line = |rung: &Rung| {
        let height = rung.resolution.map_or(0, |size| size.height);
        let (kbps, rate) = (rung.bitrate.div_ceil(1000), rung.frame_rate.round() as u32);
        (rung.layer.0, rung.spatial, rung.temporal, kbps, height, rate, rung.live)
    };
    ladder(start + Duration::from_millis(4000), monitors).iter().map(line).collect()
}

#[test]
fn simulcast_has_a_rung_for_each_encoding_and_for_slower_ones_that_are_worth_it() {
    let start = Instant::now();
    // Full first, as OBS has it. Base layer half of the bytes.
    let pattern = |unit: usize| -> [[Part; 1]; 4] {
        [[(0, 0, 2 * unit)], [(0, 2, unit / 2)], [(0, 1, unit)], [(0, 2, unit / 2)]]
    };
    let monitor = |unit, height| {
        let pattern = pattern(unit);
        let pictures: Vec<&[Part]> = pattern.iter().map(<[Part; 1]>::as_slice).collect();
        monitor(start, &pictures, false, &[height])
    };
    let monitors = [monitor(6000, 720), monitor(600, 180)];
    let expected = [
        (1, 0, 0, 72, 180, 8, true),
        (1, 0, 1, 108, 180, 15, true),
        (1, 0, 2, 144, 180, 30, true),
        // 7.5 pictures a second of the large one are no use.
        (0, 0, 1, 1080, 720, 15, true),
        (0, 0, 2, 1440, 720, 30, true),
    ];
    assert_eq!(lines(start, &monitors), expected);
}

#[test]
fn a_spatial_layer_costs_what_has_to_be_sent_for_it() {
    let start = Instant::now();
    let pictures: [&[Part]; 1] = [&[(0, 0, 500), (1, 0, 1000), (2, 0, 2500)]];
    let heights = [180, 360, 720];
    let full = lines(start, &[monitor(start, &pictures, false, &heights)]);
    let key = lines(start, &[monitor(start, &pictures, true, &heights)]);
    let expect = |kbps: [u64; 3]| -> Vec<Line> {
        (0..3).map(|s| (0, s, 0, kbps[usize::from(s)], heights[usize::from(s)], 30, true)).collect()
    };
    assert_eq!(full, expect([120, 360, 960]), "with all below");
    assert_eq!(key, expect([120, 240, 600]), "alone");
}

#[test]
fn what_the_sender_declares_outranks_what_was_measured() {
    let start = Instant::now();
    let pictures: [&[Part]; 2] = [&[(0, 0, 1000)], &[(0, 1, 500)]];
    let mut monitor = monitor(start, &pictures, false, &[360]);
    let spatial = SpatialAllocation { temporal: [300_000, 500_000].into_iter().collect(), ..Default::default() };
    monitor.declared(&StreamAllocation { spatial: [spatial].into_iter().collect() });
    let measured_rate = [(0, 0, 0, 300, 360, 15, true), (0, 0, 1, 500, 360, 30, true)];
    assert_eq!(lines(start, std::slice::from_ref(&monitor)), measured_rate);
    monitor.declared(&StreamAllocation::default());
    assert!(lines(start, &[monitor]).iter().all(|line| !line.6), "declared off");
}

#[test]
fn what_never_sent_is_no_rung_and_what_stopped_is_a_dead_one() {
    let start = Instant::now();
    let pictures: [&[Part]; 1] = [&[(0, 0, 500)]];
    let mut stopped = monitor(start, &pictures, false, &[720]);
    stopped.paused();
    let monitors = [LayerMonitor::default(), monitor(start, &pictures, false, &[360]), stopped];
    assert_eq!(lines(start, &monitors), [(1, 0, 0, 120, 360, 30, true), (2, 0, 0, 120, 720, 30, false)]);
    assert!(lines(start, &[]).is_empty());
}
