//! Streams with one flaw each, and streams with none.

use std::sync::Arc;

use super::*;
use crate::rtp::{Descriptor, Extensions};

const BASELINE: Profile = Profile::H264 { profile_level_id: 0x42_e01f, packetization_mode: 1 };
const SPS: [u8; 6] = [0x67, 0x42, 0xe0, 0x1f, 0, 0];
const HIGH_SPS: [u8; 6] = [0x67, 0x64, 0, 0x28, 0, 0];
const IDR: [u8; 2] = [0x65, 0];
const SLICE: [u8; 2] = [0x41, 0];

struct Stream {
    start: Instant,
    lint: Lint,
    sequence: u64,
}

impl Stream {
    fn new() -> Self {
        Self { start: Instant::now(), lint: Lint::default(), sequence: 100 }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// One packet of the picture captured at `captured` ms, which arrives at `arrived` ms.
    fn send(&mut self, layer: u8, captured: u64, arrived: u64, payload: &[u8]) {
        let starts_keyframe = payload[0] & 0x1f == 7;
        self.sequence += 1;
        let packet = Packet {
            layer: LayerIndex(layer),
            generation: 0,
            payload_type: 96,
            codec: Codec::H264,
            sequence: self.sequence,
            timestamp: captured * 90,
            marker: true,
            arrived: self.at(arrived),
            captured: self.at(captured),
            payload: Arc::from(payload),
            descriptor: Descriptor::Opaque,
            picture: None,
            dependency: None,
            starts_keyframe,
            redundant: None,
            extensions: Extensions::default(),
        };
        self.lint.packet(&packet, BASELINE);
    }

    fn key_frame(&mut self, ms: u64) {
        self.send(0, ms, ms, &SPS);
        self.send(0, ms, ms, &IDR);
    }

    /// Pictures 40 ms apart, a key frame each `interval` ms, and requests each 1.5 s where somebody waits.
    fn run(&mut self, until: u64, interval: u64, asked: bool) {
        for ms in (0..until).step_by(40) {
            if asked && ms % 1520 == 760 {
                self.lint.requested(self.at(ms), LayerIndex(0));
            }
            if ms % interval == 0 { self.key_frame(ms) } else { self.send(0, ms, ms, &SLICE) }
        }
    }

    fn flaws(&mut self, ms: u64) -> Vec<Flaw> {
        let now = self.at(ms);
        std::iter::from_fn(|| self.lint.next_flaw(now)).collect()
    }
}

#[test]
fn a_sound_stream_has_no_flaws() {
    let mut stream = Stream::new();
    stream.run(20_000, 2000, false);
    assert_eq!(stream.flaws(20_000), []);
    for request in [20_500, 30_000, 42_000, 60_000] {
        stream.lint.requested(stream.at(request), LayerIndex(0));
        stream.key_frame(request + 100);
    }
    assert_eq!(stream.flaws(99_000), [], "key frames far apart are no flaw of one that sends them on request");
}

#[test]
fn b_frames_are_found_once() {
    let mut stream = Stream::new();
    stream.key_frame(0);
    for group in 1..10 {
        for captured in [group * 120 + 80, group * 120, group * 120 + 40] {
            stream.send(0, captured, group * 120, &SLICE);
        }
    }
    assert_eq!(stream.flaws(2000), [Flaw::BFrames]);
    assert_eq!(stream.flaws(3000), []);
    assert_eq!(stream.lint.found(), [Flaw::BFrames]);
}

#[test]
fn packets_that_overtook_each_other_are_no_b_frames() {
    let mut stream = Stream::new();
    stream.key_frame(0);
    for ms in (40..4000).step_by(80) {
        stream.sequence += 1;
        stream.send(0, ms + 40, ms, &SLICE);
        stream.sequence -= 2;
        stream.send(0, ms, ms + 1, &SLICE);
        stream.sequence += 1;
    }
    assert_eq!(stream.flaws(5000), []);
}

#[test]
fn key_frames_without_parameter_sets_are_found() {
    let mut stream = Stream::new();
    stream.key_frame(0);
    for ms in [2000, 4000] {
        stream.send(0, ms, ms, &IDR);
        stream.send(0, ms + 40, ms + 40, &SLICE);
    }
    assert_eq!(stream.flaws(5000), [Flaw::MissingParameterSets]);
}

#[test]
fn key_frames_behind_a_delimiter_are_found_bare_and_those_with_parameter_sets_are_not() {
    const DELIMITER: [u8; 2] = [0x09, 0xf0];
    for bare in [true, false] {
        let mut stream = Stream::new();
        for ms in [0, 2000, 4000] {
            stream.send(0, ms, ms, &DELIMITER);
            if !bare {
                stream.key_frame(ms);
            }
            stream.send(0, ms, ms, &IDR);
            stream.send(0, ms, ms, &IDR);
            stream.send(0, ms + 40, ms + 40, &SLICE);
        }
        assert_eq!(stream.flaws(5000).contains(&Flaw::MissingParameterSets), bare);
    }
}

#[test]
fn publishers_that_do_not_answer_requests_are_found_with_what_it_means() {
    let mut stream = Stream::new();
    stream.run(16_000, 10_000, true);
    let flaws = stream.flaws(16_000);
    let [Flaw::SparseKeyFrames { interval }] = flaws[..] else { panic!("{flaws:?}") };
    assert_eq!(interval.as_secs(), 10);
    assert!(flaws[0].to_string().contains("10 s apart"), "{}", flaws[0]);
    let mut stream = Stream::new();
    stream.run(30_000, 4000, true);
    assert_eq!(stream.flaws(30_000), [Flaw::IgnoresRequests]);
}

#[test]
fn a_higher_profile_than_declared_is_found() {
    let mut stream = Stream::new();
    stream.send(0, 0, 0, &HIGH_SPS);
    assert_eq!(stream.flaws(0), [Flaw::OtherProfile { declared: 0x42_e01f, sent: 0x64_0028 }]);
    assert!(stream.lint.found()[0].to_string().contains("42e01f"));
}

#[test]
fn layers_with_different_delays_are_found() {
    for (delay, found) in [(100, false), (600, true)] {
        let mut stream = Stream::new();
        for ms in (0..8000).step_by(40) {
            stream.send(0, ms, ms + 20, &SLICE);
            stream.send(1, ms, ms + 20 + delay, &SLICE);
        }
        let apart = Flaw::UnequalTimelines { apart: Duration::from_millis(delay) };
        assert_eq!(stream.flaws(9000), if found { vec![apart] } else { vec![] });
    }
}
