//! Each rule, shown to catch what it is there for, and to be silent about a stream that is as it should be.

use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::media::{Kind, Packet, Source};
use crate::spec::{KeyRequests, VideoSpec};

/// A packet on its way to the oracle.
#[derive(Debug, Clone)]
struct Sample {
    after: Duration,
    sequence: u64,
    timestamp: u64,
    marker: bool,
    payload: Vec<u8>,
}

impl Sample {
    fn stamp(&self) -> crate::media::Stamp {
        crate::media::read(Codec::Vp8, &self.payload).unwrap().stamp
    }
}

/// A second of VP8 with three temporal layers and two key frames, sent by `publisher`.
fn stream(publisher: u16, incarnation: u8) -> Vec<Sample> {
    let start = Instant::now();
    let spec = VideoSpec {
        temporal_layers: 3,
        key_requests: KeyRequests::After(Duration::ZERO),
        ..VideoSpec::new(Codec::Vp8)
    };
    let id = SourceId { publisher, incarnation, kind: Kind::Video };
    let mut source = Source::video(&spec, 0, id, Clock::starting_at(start), 5, start).unwrap();
    let mut samples = Vec::new();
    for millisecond in 0..1_000 {
        let now = start + Duration::from_millis(millisecond);
        if millisecond == 500 {
            source.request_key_frame(now);
        }
        while let Some(Packet { sequence, timestamp, marker, payload, .. }) = source.poll(now) {
            let timestamp = u64::from(timestamp);
            samples.push(Sample { after: now - start, sequence: sequence + 100_000, timestamp, marker, payload });
        }
    }
    samples
}

fn expectations() -> Expectations {
    Expectations { losses: Losses::None, publishers: Some(vec![1]), ..Expectations::default() }
}

fn judge(samples: &[Sample], expectations: Expectations) -> Report {
    let start = Instant::now();
    let mut oracle = Oracle::new(expectations, start);
    for sample in samples {
        let at = start + sample.after;
        let at_nanos = sample.after.as_nanos() as u64 + 2_000_000;
        let Sample { sequence, timestamp, marker, ref payload, .. } = *sample;
        let arrival = Arrival {
            at,
            at_nanos,
            ssrc: 9,
            sequence,
            timestamp,
            marker,
            codec: Codec::Vp8,
            payload,
            dependency: None,
        };
        oracle.packet(&arrival);
    }
    let end = start + Duration::from_secs(3);
    oracle.tick(end);
    oracle.check(end)
}

/// Removes packets and closes the gap in sequence numbers, as a server that drops them does.
fn drop_and_close(samples: &mut Vec<Sample>, dropped: impl Fn(&Sample) -> bool) {
    let mut removed = 0;
    samples.retain_mut(|sample| {
        let drop = dropped(sample);
        removed += u64::from(drop);
        sample.sequence -= removed;
        !drop
    });
}

/// Changes the VP8 descriptor (six bytes, 15-bit PictureID) from `frame` on.
fn patch(samples: &mut [Sample], frame: u32, change: impl Fn(&mut [u8])) {
    let from = first_of(samples, frame);
    for sample in &mut samples[from..] {
        change(&mut sample.payload[..6]);
    }
}

/// Index of the first packet of the given frame.
fn first_of(samples: &[Sample], frame: u32) -> usize {
    samples.iter().position(|sample| sample.stamp().frame == frame).unwrap()
}

#[test]
fn a_faithful_stream_has_no_violation_and_is_counted_in_full() {
    let samples = stream(1, 0);
    let report = judge(&samples, expectations());
    assert!(report.violations.is_empty(), "{}", report.violations);
    let video = report.video().unwrap();
    assert_eq!((video.frames, video.key_frames, video.undecodable, video.lost), (30, 2, 0, 0));
    assert_eq!(video.packets, samples.len() as u64);
    assert_eq!(video.latency.quantile(0.99).as_millis(), 2);
    assert_eq!(video.first_frame_after.unwrap(), samples[first_of(&samples, 1) - 1].after);
}

#[test]
fn temporal_layers_may_be_dropped_when_all_numbers_are_closed_up() {
    let mut samples = stream(1, 0);
    drop_and_close(&mut samples, |sample| sample.stamp().temporal == 2);
    let mut picture = u16::from_be_bytes([samples[0].payload[2] & 0x7f, samples[0].payload[3]]) | 0x8000;
    let mut frame = samples[0].stamp().frame;
    for sample in &mut samples {
        if sample.stamp().frame != frame {
            frame = sample.stamp().frame;
            picture = picture.wrapping_add(1) | 0x8000;
        }
        sample.payload[2..4].copy_from_slice(&picture.to_be_bytes());
    }
    let report = judge(&samples, expectations());
    assert!(report.violations.is_empty(), "{}", report.violations);
}

/// A mistake of a server, and whether a breach is the one it must be found by.
type Case = (&'static str, fn(&mut Vec<Sample>), fn(&Breach) -> bool);

const MISTAKES: [Case; 15] = [
    (
        "a packet is dropped and the gap left open",
        |s| drop(s.remove(20)),
        |b| matches!(b, Breach::Gap { missing: 1, .. }),
    ),
    (
        "the last packet of a frame is dropped and the gap closed",
        |s| {
            let end = first_of(s, 3) as u64 - 1 + s[0].sequence;
            drop_and_close(s, |sample| sample.sequence == end);
        },
        |b| matches!(b, Breach::FrameCut { .. }),
    ),
    (
        "the second packet of a frame is dropped and the gap closed",
        |s| drop_and_close(s, |sample| sample.stamp().frame == 3 && sample.stamp().index == 1),
        |b| matches!(b, Breach::PacketLeftOut { expected: 1, .. }),
    ),
    (
        "the first packet of a frame is dropped and the gap closed",
        |s| drop_and_close(s, |sample| sample.stamp().frame == 3 && sample.stamp().index == 0),
        |b| matches!(b, Breach::PacketLeftOut { expected: 0, .. }),
    ),
    (
        "a base layer frame is dropped and the gap closed",
        |s| drop_and_close(s, |sample| sample.stamp().frame == 4),
        |b| matches!(b, Breach::MissingReference { missing: 4, .. }),
    ),
    (
        "a viewer is started in the middle",
        |s| drop(s.drain(..first_of(s, 5))),
        |b| matches!(b, Breach::NoKeyFrame { .. }),
    ),
    (
        "timestamps jump back",
        |s| {
            let from = first_of(s, 8);
            s[from..].iter_mut().for_each(|sample| sample.timestamp -= 30_000);
        },
        |b| matches!(b, Breach::TimestampBackwards { .. }),
    ),
    (
        "a frame is given the timestamp of the one in front",
        |s| {
            let (from, to) = (first_of(s, 8), first_of(s, 9));
            let timestamp = s[from - 1].timestamp;
            s[from..to].iter_mut().for_each(|sample| sample.timestamp = timestamp);
        },
        |b| matches!(b, Breach::SharedTimestamp { .. }),
    ),
    (
        "the last packet of a frame has a timestamp of its own",
        |s| {
            let end = first_of(s, 8) - 1;
            s[end].timestamp += 1;
        },
        |b| matches!(b, Breach::FrameTimestamps { .. }),
    ),
    (
        "the marker is lost",
        |s| {
            let end = first_of(s, 8) - 1;
            s[end].marker = false;
        },
        |b| matches!(b, Breach::Marker { set: false, .. }),
    ),
    (
        "the marker is early",
        |s| {
            let start = first_of(s, 8);
            s[start].marker = true;
        },
        |b| matches!(b, Breach::Marker { set: true, .. }),
    ),
    (
        "the PictureID jumps",
        |s| patch(s, 8, |head| head[3] = head[3].wrapping_add(5)),
        |b| matches!(b, Breach::Discontinuous { field: "PictureID", .. }),
    ),
    (
        "TL0PICIDX jumps",
        |s| patch(s, 8, |head| head[4] = head[4].wrapping_add(5)),
        |b| matches!(b, Breach::Discontinuous { field: "TL0PICIDX", .. }),
    ),
    (
        "KEYIDX jumps",
        |s| patch(s, 8, |head| head[5] ^= 0x10),
        |b| matches!(b, Breach::Discontinuous { field: "KEYIDX", .. }),
    ),
    ("a byte behind the descriptor is changed", |s| s[12].payload[20] ^= 1, |b| matches!(b, Breach::Payload { .. })),
];

#[test]
fn every_mistake_is_found() {
    for (mistake, make, expected) in MISTAKES {
        let mut samples = stream(1, 0);
        make(&mut samples);
        let report = judge(&samples, expectations());
        assert!(report.violations.iter().any(|v| expected(&v.breach)), "{mistake}: {}", report.violations);
    }
}

#[test]
fn what_nobody_asked_for_is_found() {
    let report = judge(&stream(2, 0), expectations());
    assert!(matches!(report.violations.iter().next().unwrap().breach, Breach::Unasked { .. }));
    let report = judge(&stream(2, 0), Expectations { publishers: None, ..expectations() });
    assert!(report.violations.is_empty(), "{}", report.violations);
}

#[test]
fn on_a_lossy_network_a_gap_is_loss_and_not_a_violation() {
    let mut samples = stream(1, 0);
    let lost = first_of(&samples, 4);
    samples.drain(lost..=lost);
    let report = judge(&samples, Expectations { losses: Losses::Possible, ..expectations() });
    assert!(report.violations.is_empty(), "{}", report.violations);
    let video = report.video().unwrap();
    // Frame 4 is incomplete; all until the key frame of the middle, frame 16, depend on it.
    assert_eq!((video.lost, video.undecodable, video.frames), (1, 12, 18));
}

/// The second life of a publisher behind the first, numbered on.
fn restarted(cut: usize, skip: u64) -> Vec<Sample> {
    let mut samples = stream(1, 0);
    samples.truncate(cut);
    let last = samples.last().unwrap().clone();
    let old = crate::media::read(Codec::Vp8, &last.payload).unwrap().vp8.unwrap();
    let second = stream(1, 1);
    let (first, head) = (second[0].clone(), crate::media::read(Codec::Vp8, &second[0].payload).unwrap().vp8.unwrap());
    let picture = |vp8: &crate::media::Vp8| vp8.picture_id.unwrap().number;
    let shift = picture(&old).wrapping_add(1).wrapping_sub(picture(&head));
    for mut sample in second {
        sample.after += last.after;
        sample.sequence = sample.sequence - first.sequence + last.sequence + 1 + skip;
        sample.timestamp = sample.timestamp - first.timestamp + last.timestamp + 3_000;
        let vp8 = crate::media::read(Codec::Vp8, &sample.payload).unwrap().vp8.unwrap();
        let number = picture(&vp8).wrapping_add(shift) | 0x8000;
        sample.payload[2..4].copy_from_slice(&number.to_be_bytes());
        sample.payload[4] =
            vp8.tl0_index.unwrap().wrapping_sub(head.tl0_index.unwrap()).wrapping_add(old.tl0_index.unwrap() + 1);
        let key_index = (vp8.key_index.unwrap() + 32 - head.key_index.unwrap() + old.key_index.unwrap() + 1) % 32;
        sample.payload[5] = sample.payload[5] & 0xe0 | key_index;
        samples.push(sample);
    }
    samples
}

#[test]
fn a_restart_that_is_numbered_on_is_no_violation() {
    let whole = first_of(&stream(1, 0), 9);
    let report = judge(&restarted(whole, 0), expectations());
    assert!(report.violations.is_empty(), "{}", report.violations);
    assert_eq!(report.video().unwrap().sources.len(), 2);
}

#[test]
fn a_frame_that_a_restart_cut_off_must_be_followed_by_one_missing_number() {
    let cut = first_of(&stream(1, 0), 9) - 1;
    let report = judge(&restarted(cut, 1), expectations());
    assert!(report.violations.is_empty(), "{}", report.violations);
    let report = judge(&restarted(cut, 0), expectations());
    assert!(matches!(report.violations.iter().next().unwrap().breach, Breach::FrameCut { .. }));
    let report = judge(&restarted(cut, 2), expectations());
    assert!(matches!(report.violations.iter().next().unwrap().breach, Breach::Gap { .. }));
}

#[test]
fn freezes_and_silence_are_measured() {
    let mut samples = stream(1, 0);
    let from = first_of(&samples, 10);
    samples[from..].iter_mut().for_each(|sample| sample.after += Duration::from_millis(700));
    let report = judge(&samples, expectations());
    let video = report.video().unwrap();
    assert_eq!(video.freezes, 1);
    assert!((700..800).contains(&video.longest_gap.as_millis()), "{:?}", video.longest_gap);
    assert!((1_200..1_400).contains(&video.quiet_for.as_millis()), "{:?}", video.quiet_for);
}

#[test]
fn another_programs_stream_is_counted_when_it_is_acceptable_and_a_violation_when_not() {
    let mut samples = stream(1, 0);
    samples.iter_mut().for_each(|sample| sample.payload = vec![0x90, 0x00, 0x00]);
    let report = judge(&samples, expectations());
    assert_eq!(report.violations.count(), samples.len() as u64);
    drop(samples.remove(20));
    let report = judge(&samples, Expectations { stamps: Stamps::Optional, ..expectations() });
    assert!(report.violations.is_empty(), "{}", report.violations);
    let video = report.video().unwrap();
    assert_eq!((video.frames, video.lost, video.packets), (30, 1, samples.len() as u64));
}
