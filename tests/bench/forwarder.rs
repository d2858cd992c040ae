//! What one forwarding decision costs: one packet to 100 subscribers of its track, per packet and subscriber.
//!
//! `cargo bench --bench forwarder`. The target is under 60 ns, without an allocation.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crosspoint::forward::{Forwarder, LayerClocks, Source, Target};
use crosspoint::rtp::vp8::Vp8;
use crosspoint::rtp::{Codec, Descriptor, Extensions, LayerIndex, MediaKind, Packet};

const SUBSCRIBERS: u16 = 100;

criterion_group!(benches, forward);
criterion_main!(benches);

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward to 100 subscribers");
    group.throughput(Throughput::Elements(SUBSCRIBERS.into()));
    group.bench_function("selected, ids as they are", |bench| {
        let mut fan_out = FanOut::new();
        bench.iter(|| fan_out.packet(0));
    });
    group.bench_function("selected, VP8 ids rewritten", |bench| {
        let mut fan_out = FanOut::new();
        fan_out.switch_to(1);
        bench.iter(|| fan_out.packet(1));
    });
    group.bench_function("selected, the upper temporal layer left out", |bench| {
        let mut fan_out = FanOut::new();
        fan_out.switch_to(1);
        fan_out.limit_to(1, 1);
        bench.iter(|| fan_out.packet(1));
    });
    group.bench_function("another layer", |bench| {
        let mut fan_out = FanOut::new();
        bench.iter(|| fan_out.packet(1));
    });
    group.finish();
}

/// One track of two layers, VP8 with three temporal layers, and its subscribers.
struct FanOut {
    subscribers: Vec<Forwarder>,
    clocks: LayerClocks,
    packet: Packet,
}

impl FanOut {
    fn new() -> Self {
        let subscribers =
            (0..SUBSCRIBERS).map(|number| Forwarder::new(MediaKind::Video, 90_000, number * 300)).collect();
        let packet = Packet {
            layer: LayerIndex(0),
            generation: 0,
            payload_type: 96,
            codec: Codec::Vp8,
            sequence: 1000,
            timestamp: 90_000,
            marker: true,
            arrived: Instant::now(),
            captured: Instant::now(),
            payload: Arc::new([0; 1100]),
            descriptor: Descriptor::Opaque,
            picture: None,
            dependency: None,
            starts_keyframe: false,
            redundant: None,
            extensions: Extensions::default(),
        };
        let mut fan_out = FanOut { subscribers, clocks: LayerClocks::default(), packet };
        fan_out.switch_to(0);
        fan_out
    }

    fn switch_to(&mut self, layer: u8) {
        for subscriber in &mut self.subscribers {
            subscriber.select(Some(Target::whole(Source::new(1), LayerIndex(layer))));
        }
        self.packet.starts_keyframe = true;
        assert_eq!(self.packet(layer), usize::from(SUBSCRIBERS));
        self.packet.starts_keyframe = false;
    }

    /// Sends no more than this temporal layer.
    fn limit_to(&mut self, layer: u8, temporal: u8) {
        for subscriber in &mut self.subscribers {
            subscriber.select(Some(Target { temporal, ..Target::whole(Source::new(1), LayerIndex(layer)) }));
        }
    }

    /// Forwards the next packet, every third of which starts a picture; how many got it.
    fn packet(&mut self, layer: u8) -> usize {
        let packet = &mut self.packet;
        packet.layer = LayerIndex(layer);
        packet.sequence += 1;
        if packet.sequence.is_multiple_of(3) {
            packet.timestamp += 3000;
            packet.arrived += Duration::from_millis(33);
        }
        let picture = packet.timestamp / 3000;
        packet.picture = Some(picture);
        packet.descriptor = Descriptor::Vp8(Vp8 {
            picture_id: Some(picture as u16 & 0x7fff),
            tl0_picture_index: Some((picture / 4) as u8),
            temporal_id: Some([0, 2, 1, 2][picture as usize % 4]),
            ..Vp8::default()
        });
        let forward = |subscriber: &mut Forwarder| subscriber.forward(Source::new(1), packet, &self.clocks).ok();
        self.subscribers.iter_mut().filter_map(forward).map(black_box).count()
    }
}
