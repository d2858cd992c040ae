//! Switches, holes, numbers and times of one output stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::rtp::{Codec, Descriptor, Extensions};

mod ids;

const RATE: u32 = 90_000;
const FIRST: u16 = 1000;
const LOW: Target = Target::whole(Source::new(1), LayerIndex(0));
const HIGH: Target = Target::whole(Source::new(1), LayerIndex(1));
const RESTARTED: Target = Target::whole(Source::new(2), LayerIndex(0));

const PLAIN: Rewritten = Rewritten {
    sequence: 0,
    timestamp: 0,
    catching_up: 0,
    marker: false,
    empty: false,
    redundant: None,
    ids: None,
    dependency: None,
};

struct Bench {
    forwarder: Forwarder,
    clocks: LayerClocks,
    start: Instant,
}

impl Bench {
    fn new(kind: MediaKind) -> Self {
        let forwarder = Forwarder::new(kind, RATE, FIRST);
        Bench { forwarder, clocks: LayerClocks::default(), start: Instant::now() }
    }

    /// A video forwarder that sends `target`, with one whole key frame at sequence 50, timestamp 1000 sent at 0 ms.
    fn sending(target: Target) -> Self {
        let mut bench = Bench::new(MediaKind::Video);
        bench.forwarder.select(Some(target));
        let first = Packet { marker: true, ..bench.keyframe(50, 1000, 0) };
        assert_eq!(bench.sequence(target, &first), Ok(1000));
        bench
    }

    fn packet(&self, sequence: u64, timestamp: u64, at_ms: u64) -> Packet {
        Packet {
            layer: LayerIndex(0),
            generation: 0,
            payload_type: 96,
            codec: Codec::H264,
            sequence,
            timestamp,
            marker: false,
            arrived: self.start + Duration::from_millis(at_ms),
            captured: self.start + Duration::from_millis(at_ms),
            payload: Arc::new([0x41, 0x00]),
            descriptor: Descriptor::Opaque,
            picture: None,
            dependency: None,
            starts_keyframe: false,
            redundant: None,
            extensions: Extensions::default(),
        }
    }

    fn keyframe(&self, sequence: u64, timestamp: u64, at_ms: u64) -> Packet {
        Packet { starts_keyframe: true, ..self.packet(sequence, timestamp, at_ms) }
    }

    fn forward(&mut self, from: Target, packet: &Packet) -> Result<Rewritten, DropReason> {
        let packet = Packet { layer: from.layer, ..packet.clone() };
        self.forwarder.forward(from.source, &packet, &self.clocks)
    }

    fn replay(&mut self, from: Target, packet: &Packet, present: u64) -> Result<Rewritten, DropReason> {
        let packet = Packet { layer: from.layer, ..packet.clone() };
        self.forwarder.replay(from.source, &packet, &self.clocks, present)
    }

    fn sequence(&mut self, from: Target, packet: &Packet) -> Result<u64, DropReason> {
        self.forward(from, packet).map(|rewritten| rewritten.sequence)
    }

    fn timestamp(&mut self, from: Target, packet: &Packet) -> Result<u32, DropReason> {
        self.forward(from, packet).map(|rewritten| rewritten.timestamp)
    }
}

#[test]
fn nothing_passes_before_a_key_frame_of_the_target() {
    let mut bench = Bench::new(MediaKind::Video);
    let (key, delta) = (bench.keyframe(50, 1000, 0), bench.packet(51, 1000, 0));
    assert_eq!(bench.sequence(LOW, &key), Err(DropReason::NotSelected), "nothing selected");
    bench.forwarder.select(Some(HIGH));
    assert_eq!(bench.forwarder.awaits_keyframe(), Some(HIGH.layer));
    assert_eq!(bench.sequence(LOW, &key), Err(DropReason::NotSelected), "another layer");
    assert_eq!(bench.sequence(HIGH, &delta), Err(DropReason::AwaitingKeyframe));
    assert_eq!(bench.forwarder.current(), None);
    assert_eq!(bench.forward(HIGH, &key).unwrap(), Rewritten { sequence: 1000, timestamp: 1000, ..PLAIN });
    assert_eq!(bench.sequence(HIGH, &delta), Ok(1001));
    assert_eq!((bench.forwarder.current(), bench.forwarder.awaits_keyframe()), (Some(HIGH), None));
}

#[test]
fn a_switch_follows_a_whole_frame_at_once_and_burns_a_number_behind_a_cut_one() {
    for (marker, at_ms, expected) in [(true, 33, 1002), (false, 0, 1003)] {
        let mut bench = Bench::sending(LOW);
        let last = Packet { marker, ..bench.packet(51, 4000, at_ms) };
        assert_eq!(bench.sequence(LOW, &last), Ok(1001));
        bench.forwarder.select(Some(HIGH));
        let key = bench.keyframe(7000, 4000, 40);
        assert_eq!(bench.forward(HIGH, &key).map(|out| (out.sequence, out.timestamp)), Ok((expected, 4001)));
        assert_eq!(bench.sequence(HIGH, &bench.packet(7001, 4000, 40)), Ok(expected + 1));
    }
}

#[test]
fn the_layer_before_flows_until_the_switch_and_not_after() {
    let mut bench = Bench::sending(LOW);
    bench.forwarder.select(Some(HIGH));
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 33)), Ok(1001));
    assert_eq!(bench.sequence(HIGH, &bench.packet(6999, 4000, 33)), Err(DropReason::AwaitingKeyframe));
    assert_eq!(bench.sequence(HIGH, &bench.keyframe(7000, 7000, 80)), Ok(1003));
    assert_eq!(bench.sequence(HIGH, &bench.packet(6999, 4000, 67)), Err(DropReason::BeforeSwitch));
    assert_eq!(bench.sequence(LOW, &bench.packet(52, 7000, 67)), Err(DropReason::NotSelected));
}

#[test]
fn the_layer_before_fills_its_holes_for_a_short_time() {
    let table = [
        ("a hole, in time", 52, 150, Ok(1002)),
        ("a hole, too late", 52, 300, Err(DropReason::NotSelected)),
        ("sent already", 51, 150, Err(DropReason::Duplicate)),
        ("behind the switch", 54, 150, Err(DropReason::NotSelected)),
    ];
    for (name, sequence, at_ms, expected) in table {
        let mut bench = Bench::sending(LOW);
        bench.sequence(LOW, &bench.packet(51, 4000, 33)).unwrap();
        let last = Packet { marker: true, ..bench.packet(53, 4000, 33) };
        assert_eq!(bench.sequence(LOW, &last), Ok(1003));
        bench.forwarder.select(Some(HIGH));
        assert_eq!(bench.sequence(HIGH, &bench.keyframe(7000, 7000, 66)), Ok(1004));
        assert_eq!(bench.sequence(LOW, &bench.packet(sequence, 4000, at_ms)), expected, "{name}");
        assert_eq!(bench.sequence(HIGH, &bench.packet(7001, 7000, at_ms)), Ok(1005), "{name}");
    }
}

#[test]
fn a_key_frame_too_far_behind_is_passed_over_once() {
    let mut bench = Bench::sending(LOW);
    bench.forwarder.select(Some(HIGH));
    // 30 000 ticks at 333 ms, and a key frame of 200 ms before.
    let last = Packet { marker: true, ..bench.packet(51, 31_000, 333) };
    assert_eq!(bench.timestamp(LOW, &last), Ok(31_000));
    let key = bench.keyframe(7000, 31_000 - 18_000, 340);
    assert_eq!(bench.timestamp(HIGH, &key), Err(DropReason::LateKeyframe));
    assert_eq!(bench.forwarder.awaits_keyframe(), Some(HIGH.layer));
    let last = Packet { marker: true, ..bench.packet(52, 61_000, 666) };
    assert_eq!(bench.timestamp(LOW, &last), Ok(61_000), "the old layer goes on");
    let key = bench.keyframe(7100, 61_000 - 18_000, 670);
    assert_eq!(bench.timestamp(HIGH, &key), Ok(61_001));
}

#[test]
fn a_switch_that_would_cut_a_picture_waits_for_its_end_and_takes_the_key_frame_from_the_past() {
    let mut bench = Bench::sending(LOW);
    bench.forwarder.select(Some(HIGH));
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 33)), Ok(1001));
    let key = Packet { marker: true, ..bench.keyframe(7000, 4000, 34) };
    assert_eq!(bench.sequence(HIGH, &key), Err(DropReason::OpenPicture));
    assert!(!bench.forwarder.is_between_pictures(key.arrived));
    let last = Packet { marker: true, ..bench.packet(52, 4000, 40) };
    assert_eq!(bench.sequence(LOW, &last), Ok(1002));
    assert!(bench.forwarder.is_between_pictures(last.arrived));
    let replayed = bench.replay(HIGH, &key, 4000).unwrap();
    assert_eq!((replayed.sequence, replayed.timestamp), (1003, 4001));
    assert_eq!(bench.timestamp(HIGH, &bench.packet(7001, 7000, 66)), Ok(7000), "in step again");
}

#[test]
fn pictures_of_the_past_follow_each_other_fast_until_the_present() {
    // 20 pictures, the newest at 57 000 ticks: for a viewer without a picture, and for one who was sent it all.
    let table: [(bool, u64, u32); 2] = [(false, 0, 57_000 - 57_000 / 64), (true, 57_000, 57_001)];
    for (has_picture, sent, first) in table {
        let mut bench = Bench::new(MediaKind::Video);
        if has_picture {
            bench.forwarder.select(Some(LOW));
            let whole = Packet { marker: true, ..bench.keyframe(50, sent, 633) };
            bench.sequence(LOW, &whole).unwrap();
        }
        bench.forwarder.select(Some(HIGH));
        let mut before: Option<Rewritten> = None;
        for picture in 0..30 {
            let starts_keyframe = picture == 0;
            let packet = Packet { marker: true, ..bench.packet(7000 + picture, picture * 3000, picture * 100 / 3) };
            let packet = Packet { starts_keyframe, ..packet };
            let sent = bench.replay(HIGH, &packet, 57_000).unwrap();
            let true_place = packet.timestamp as u32;
            assert_eq!(sent.timestamp - sent.catching_up, true_place);
            assert!(picture < 21 || sent.catching_up == 0, "picture {picture} is of the present: {sent:?}");
            match before {
                None => assert_eq!(sent.timestamp, first),
                Some(before) => {
                    let step = sent.timestamp - before.timestamp;
                    assert!(step > 0 && (picture >= 20 || step < 100), "{before:?} {sent:?}");
                }
            }
            before = Some(sent);
        }
    }
}

#[test]
fn a_switch_keeps_the_publishers_timeline_by_its_sender_reports() {
    let mut bench = Bench::sending(LOW);
    let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
    bench.clocks.sender_report(LOW.layer, wall, 900_000);
    bench.clocks.sender_report(HIGH.layer, wall + Duration::from_millis(500), 1_000_000);
    let last = Packet { marker: true, ..bench.packet(51, 987_000, 10_955) };
    assert_eq!(bench.timestamp(LOW, &last), Ok(987_000));
    bench.forwarder.select(Some(HIGH));
    assert_eq!(bench.timestamp(HIGH, &bench.keyframe(7000, 1_045_000, 11_100)), Ok(990_000));
    assert_eq!(bench.timestamp(HIGH, &bench.packet(7001, 1_048_000, 11_120)), Ok(993_000));
}

#[test]
fn a_pause_stops_at_once_and_resumes_at_a_key_frame_in_real_time() {
    let mut bench = Bench::sending(LOW);
    bench.forwarder.select(None);
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 33)), Err(DropReason::NotSelected));
    bench.forwarder.select(Some(LOW));
    assert_eq!(bench.sequence(LOW, &bench.packet(52, 7000, 66)), Err(DropReason::AwaitingKeyframe));
    let resent = bench.keyframe(49, 500, 70);
    assert_eq!(bench.sequence(LOW, &resent), Err(DropReason::AwaitingKeyframe), "older than what was shown");
    let resumed = bench.forward(LOW, &bench.keyframe(950, 901_000, 10_000)).unwrap();
    assert_eq!((resumed.sequence, resumed.timestamp), (1001, 901_000));
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 10_001)), Err(DropReason::BeforeSwitch));
}

#[test]
fn a_pause_lets_the_picture_end_that_is_being_sent() {
    let mut bench = Bench::sending(LOW);
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 33)), Ok(1001));
    bench.forwarder.pause();
    assert_eq!((bench.forwarder.current(), bench.forwarder.serving().is_some()), (None, true));
    assert_eq!(bench.sequence(LOW, &bench.packet(52, 4000, 90)), Ok(1002));
    assert_eq!(bench.sequence(LOW, &bench.packet(53, 7000, 100)), Err(DropReason::NotSelected));
    assert_eq!((bench.forwarder.serving(), bench.forwarder.shown(LOW)), (None, Some(52)));
    let mut bench = Bench::sending(LOW);
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 33)), Ok(1001));
    bench.forwarder.pause();
    bench.forwarder.select(Some(LOW));
    assert_eq!(bench.sequence(LOW, &bench.packet(52, 7000, 66)), Ok(1002), "taken back before the picture's end");
}

#[test]
fn selecting_what_is_sent_cancels_a_switch() {
    let mut bench = Bench::sending(LOW);
    bench.forwarder.select(Some(HIGH));
    bench.forwarder.select(Some(LOW));
    assert_eq!(bench.forwarder.awaits_keyframe(), None);
    assert_eq!(bench.sequence(HIGH, &bench.keyframe(7000, 4000, 33)), Err(DropReason::NotSelected));
    assert_eq!(bench.sequence(LOW, &bench.packet(51, 4000, 33)), Ok(1001));
}

#[test]
fn padding_is_closed_up_unless_it_comes_too_late() {
    let mut bench = Bench::sending(LOW);
    let padding = |bench: &Bench, sequence| Packet { payload: Arc::new([]), ..bench.packet(sequence, 1000, 10) };
    assert_eq!(bench.sequence(LOW, &padding(&bench, 51)), Err(DropReason::Padding));
    assert_eq!(bench.sequence(LOW, &padding(&bench, 51)), Err(DropReason::Duplicate));
    assert_eq!(bench.sequence(LOW, &bench.packet(52, 4000, 33)), Ok(1001));
    assert_eq!(bench.sequence(LOW, &padding(&bench, 54)), Err(DropReason::Padding), "behind a gap");
    assert_eq!(bench.sequence(LOW, &bench.packet(56, 4000, 33)), Ok(1004));
    assert_eq!(bench.sequence(LOW, &bench.packet(53, 4000, 33)), Ok(1002));
    let late = bench.forward(LOW, &padding(&bench, 55)).unwrap();
    assert_eq!((late.sequence, late.empty), (1003, true), "its number is missed already");
    // The cut frame is still open, whatever padding came behind it.
    bench.forwarder.select(Some(HIGH));
    assert_eq!(bench.sequence(HIGH, &bench.keyframe(7000, 7000, 80)), Ok(1006));
}

#[test]
fn audio_switches_at_the_next_packet_and_marks_it() {
    let mut bench = Bench::new(MediaKind::Audio);
    bench.forwarder.select(Some(LOW));
    assert_eq!(bench.forwarder.awaits_keyframe(), None);
    let empty = Packet { payload: Arc::new([]), ..bench.packet(9, 0, 0) };
    assert_eq!(bench.sequence(LOW, &empty), Err(DropReason::AwaitingKeyframe));
    let first = bench.forward(LOW, &bench.packet(10, 1000, 0)).unwrap();
    assert_eq!((first.sequence, first.timestamp, first.marker), (1000, 1000, true));
    let second = bench.forward(LOW, &bench.packet(11, 2800, 20)).unwrap();
    assert_eq!((second.sequence, second.timestamp, second.marker), (1001, 2800, false));
    bench.forwarder.select(Some(RESTARTED));
    let switched = bench.forward(RESTARTED, &bench.packet(500, 9, 40)).unwrap();
    assert_eq!((switched.sequence, switched.timestamp, switched.marker), (1002, 4600, true), "no burnt number");
}

/// What a receiver would see at one output sequence number.
struct Received {
    frame: (Target, u64),
    first_of_frame: bool,
    key: bool,
    rewritten: Rewritten,
}

/// Three layers and a restarting publisher through loss, reordering and repetition, switched at random.
#[test]
fn whatever_arrives_the_output_is_one_stream() {
    for seed in 0..30 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bench = Bench::new(MediaKind::Video);
        let mut received = BTreeMap::new();
        for (from, first_of_frame, packet) in disturbed(&bench, &mut rng) {
            if rng.random_ratio(1, 100) {
                let target = Target { layer: LayerIndex(rng.random_range(0..3)), ..from };
                bench.forwarder.select(rng.random_ratio(9, 10).then_some(target));
            }
            let Ok(rewritten) = bench.forward(from, &packet) else {
                continue;
            };
            let record =
                Received { frame: (from, packet.timestamp), first_of_frame, key: packet.starts_keyframe, rewritten };
            assert!(received.insert(rewritten.sequence, record).is_none(), "seed {seed}: {rewritten:?} given twice");
        }
        assert!(received.len() > 500, "seed {seed}: only {} packets passed", received.len());
        assert_one_stream(seed, &received);
    }
}

fn assert_one_stream(seed: u64, received: &BTreeMap<u64, Received>) {
    for ((sequence, before), (next, after)) in received.iter().zip(received.iter().skip(1)) {
        let context = || format!("seed {seed}: {sequence} {:?} -> {next} {:?}", before.rewritten, after.rewritten);
        if before.frame == after.frame {
            assert_eq!(before.rewritten.timestamp, after.rewritten.timestamp, "{}", context());
            continue;
        }
        assert!(after.rewritten.timestamp > before.rewritten.timestamp, "time stands still: {}", context());
        if *next == sequence + 1 {
            assert!(before.rewritten.marker, "a cut frame looks whole: {}", context());
            assert!(after.first_of_frame, "a frame without its start looks whole: {}", context());
        }
        if before.frame.0 != after.frame.0 && *next == sequence + 1 {
            assert!(after.key, "a switch away from a key frame: {}", context());
        }
    }
}

/// 20 s of two sources of three layers: 30 fps, three packets a frame, a key frame every second; 3 % lost, 3 % doubled,
/// 10 % late.
fn disturbed(bench: &Bench, rng: &mut StdRng) -> Vec<(Target, bool, Packet)> {
    let mut arrivals = Vec::new();
    for (source, layer, frame, part) in (0..600_u64)
        .flat_map(|frame| (0..3).map(move |layer| (Source::new(1 + (frame / 300) as u32), layer, frame)))
        .flat_map(|(source, layer, frame)| (0..3).map(move |part| (source, layer, frame, part)))
    {
        let base = 1_000_000 * u64::from(source.track()) + 77_777 * u64::from(layer);
        let at_ms = frame * 33 + u64::from(layer) * 2;
        let packet = Packet {
            marker: part == 2,
            starts_keyframe: part == 0 && frame % 30 == 0,
            ..bench.packet(base + frame * 3 + part, base + frame * 3000, at_ms)
        };
        let late = if rng.random_ratio(1, 10) { rng.random_range(0..120) } else { 0 };
        for copy in 0..if rng.random_ratio(3, 100) { 2 } else { 1 } {
            if rng.random_ratio(3, 100) {
                continue;
            }
            let at_ms = at_ms + late + copy * 40;
            let packet = Packet { arrived: bench.start + Duration::from_millis(at_ms), ..packet.clone() };
            arrivals.push((at_ms, (Target::whole(source, LayerIndex(layer)), part == 0, packet)));
        }
    }
    arrivals.sort_by_key(|(at_ms, _)| *at_ms);
    arrivals.into_iter().map(|(_, arrival)| arrival).collect()
}
