//! Temporal and spatial layers come and go: what passes can always be decoded, and gets to what was asked for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::rtp::dependency_descriptor::tests::{L1T3, L3T3, L3T3_KEY, bytes};
use crate::rtp::dependency_descriptor::{DependencyDescriptor, DependencyReader, DependencyRewrite, rewrite};
use crate::rtp::vp8::Vp8;
use crate::rtp::vp9::{PredictionWatch, Vp9};
use crate::rtp::{Codec, Extensions, LayerIndex};

/// How spatial layers depend on each other.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Prediction {
    Always,
    InKeyPictures,
}

/// How the stream shows its layers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shown {
    Vp8,
    Vp9,
    /// The structure, and for each spatial layer the templates of: key, delta, T1, first T2, second T2.
    Dependency(&'static str, [[u8; 5]; 3]),
}

const SHOWN_L1T3: Shown = Shown::Dependency(L1T3, [[0, 1, 2, 3, 4]; 3]);
const SHOWN_L3T3: Shown = Shown::Dependency(L3T3, [[1, 0, 2, 3, 4], [6, 5, 7, 8, 9], [11, 10, 12, 13, 14]]);
const SHOWN_L3T3_KEY: Shown = Shown::Dependency(L3T3_KEY, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9], [10, 11, 12, 13, 14]]);

/// Frame of a picture: its number is `picture * 3 + spatial` whether there are three spatial layers or one.
#[derive(Debug, Clone)]
struct Frame {
    picture: u64,
    spatial: u8,
    temporal: u8,
    refers_to: Vec<u64>,
    is_key: bool,
    is_last: bool,
    packet: Packet,
}

impl Frame {
    fn number(&self) -> u64 {
        self.picture * 3 + u64::from(self.spatial)
    }
}

/// A stream of T0 T2 T1 T2 pictures, as libwebrtc makes them.
struct Stream {
    shown: Shown,
    spatial_layers: u8,
    prediction: Prediction,
    picture: u64,
    since_key: u64,
    watch: PredictionWatch,
    reader: DependencyReader,
    frames: u16,
    /// Spatial layers that are switched off at the top.
    stopped: u8,
}

impl Stream {
    fn new(shown: Shown, spatial_layers: u8, prediction: Prediction) -> Self {
        let (watch, reader) = (PredictionWatch::default(), DependencyReader::default());
        Stream { shown, spatial_layers, prediction, picture: 100, since_key: 0, watch, reader, frames: 0, stopped: 0 }
    }

    fn next(&mut self, key: bool) -> Vec<Frame> {
        self.picture += 1;
        self.since_key = if key { 0 } else { self.since_key + 1 };
        let position = self.since_key % 4;
        let temporal = if key { 0 } else { [0, 2, 1, 2][position as usize] };
        let back = [4, 1, 2, 1][position as usize];
        let layers = self.spatial_layers - self.stopped;
        let frame = |spatial: u8| {
            let mut refers_to = Vec::new();
            if !key {
                refers_to.push((self.picture - back) * 3 + u64::from(spatial));
            }
            if spatial > 0 && (key || self.prediction == Prediction::Always) {
                refers_to.push(self.picture * 3 + u64::from(spatial) - 1);
            }
            (spatial, refers_to)
        };
        let frames: Vec<_> = (0..layers).map(frame).collect();
        frames
            .into_iter()
            .map(|(spatial, refers_to)| Frame {
                picture: self.picture,
                spatial,
                temporal,
                refers_to,
                is_key: key,
                is_last: spatial + 1 == layers,
                packet: self.packet(spatial, temporal, key, position as usize, spatial + 1 == layers),
            })
            .collect()
    }

    fn packet(&mut self, spatial_id: u8, temporal_id: u8, key: bool, position: usize, marker: bool) -> Packet {
        let (mut descriptor, mut dependency) = (Descriptor::Opaque, None);
        match self.shown {
            Shown::Vp8 => {
                let layer_sync = position == 1 || position == 2;
                descriptor = Descriptor::Vp8(Vp8 { temporal_id: Some(temporal_id), layer_sync, ..Vp8::default() });
            }
            Shown::Vp9 => {
                let mut vp9 = Vp9 {
                    inter_predicted: !key,
                    start_of_frame: true,
                    end_of_frame: true,
                    spatial_id,
                    temporal_id,
                    switching_up_point: true,
                    inter_layer_dependency: spatial_id > 0 && (key || self.prediction == Prediction::Always),
                    ..Vp9::default()
                };
                self.watch.note(&mut vp9);
                descriptor = Descriptor::Vp9(vp9);
            }
            Shown::Dependency(structure, templates) => {
                let template = templates[usize::from(spatial_id)][if key { 0 } else { [1, 3, 2, 4][position] }];
                dependency = self.describe(structure, template, key && spatial_id == 0);
            }
        }
        Packet {
            layer: LayerIndex(0),
            generation: 0,
            payload_type: 96,
            codec: Codec::Vp9,
            sequence: 0,
            timestamp: self.picture * 3000,
            marker,
            arrived: Instant::now(),
            captured: Instant::now(),
            payload: Arc::new([0]),
            descriptor,
            picture: (dependency.is_none()).then_some(self.picture),
            dependency: dependency.map(Arc::new),
            starts_keyframe: key && spatial_id == 0,
            redundant: None,
            extensions: Extensions::default(),
        }
    }

    /// The descriptor of a frame of one packet: the captured one with the structure, or the short form.
    fn describe(&mut self, structure: &str, template: u8, starts: bool) -> Option<DependencyDescriptor> {
        let whole = bytes(structure);
        let captured = u16::from_be_bytes([whole[1], whole[2]]);
        let first_id = DependencyReader::default().read(&whole).unwrap().structure.template_ids().0;
        self.frames = self.frames.wrapping_add(1);
        let changes =
            DependencyRewrite { frame_number_offset: self.frames.wrapping_sub(captured), ..Default::default() };
        let [high, low] = self.frames.to_be_bytes();
        let short = [0xc0 | (first_id + template) & 0x3f, high, low];
        let mut bytes = if starts { rewrite(&whole, None, changes).unwrap().to_vec() } else { short.to_vec() };
        bytes[0] |= 0xc0;
        self.reader.read(&bytes)
    }
}

/// Joined at a key frame of the stream, which then runs on with key frames where one is awaited.
struct Run {
    stream: Stream,
    selector: Option<Selector>,
    passed: BTreeSet<u64>,
    lost: BTreeSet<u64>,
    limits: Limits,
    /// Other limits that come before the frame of this spatial layer, in the middle of a picture.
    midway: Option<(u8, Limits)>,
}

impl Run {
    fn new(stream: Stream, limits: Limits) -> Self {
        Run { stream, selector: None, passed: BTreeSet::new(), lost: BTreeSet::new(), limits, midway: None }
    }

    fn aim(&mut self, spatial: u8, temporal: u8) {
        self.limits = Limits { spatial, temporal };
        if let Some(selector) = &mut self.selector {
            selector.aim(self.limits);
        }
    }

    /// One picture; some frames are lost on the way when `loss` says so. The frames that passed.
    fn picture(&mut self, mut loss: impl FnMut() -> bool) -> Vec<(u8, u8)> {
        let key = self.selector.as_ref().is_none_or(Selector::awaits_keyframe);
        let mut sent: Vec<(u8, u8)> = Vec::new();
        let mut closed = false;
        for frame in self.stream.next(key) {
            if !frame.is_key && loss() {
                self.lost.insert(frame.number());
                closed |= frame.is_last;
                continue;
            }
            let selector = self.selector.get_or_insert_with(|| Selector::joining(&frame.packet, self.limits));
            if let Some((_, limits)) = self.midway.take_if(|(spatial, _)| *spatial == frame.spatial) {
                self.limits = limits;
                selector.aim(limits);
            }
            let Verdict::Pass { closes_picture, .. } = selector.decide(&frame.packet) else { continue };
            let context = format!("{frame:?} of {:?} with {:?}", self.stream.shown, self.limits);
            assert!(!closed, "behind the marker: {context}");
            closed = closes_picture || frame.packet.marker;
            self.passed.insert(frame.number());
            for number in &frame.refers_to {
                assert!(self.passed.contains(number) || self.lost.contains(number), "{number} is missing: {context}");
            }
            sent.push((frame.spatial, frame.temporal));
        }
        assert!(
            closed || sent.is_empty() || !self.lost.is_empty(),
            "no marker: {sent:?} of {:?} with {:?}",
            self.stream.shown,
            self.limits
        );
        sent
    }

    fn pictures(&mut self, count: usize) -> Vec<Vec<(u8, u8)>> {
        (0..count).map(|_| self.picture(|| false)).collect()
    }
}

const STREAMS: [(Shown, u8, Prediction); 7] = [
    (Shown::Vp8, 1, Prediction::Always),
    (Shown::Vp9, 1, Prediction::Always),
    (Shown::Vp9, 3, Prediction::Always),
    (Shown::Vp9, 3, Prediction::InKeyPictures),
    (SHOWN_L1T3, 1, Prediction::Always),
    (SHOWN_L3T3, 3, Prediction::Always),
    (SHOWN_L3T3_KEY, 3, Prediction::InKeyPictures),
];

#[test]
fn every_change_of_layers_leaves_a_decodable_stream_that_gets_to_what_was_asked_for() {
    for (shown, layers, prediction) in STREAMS {
        for seed in 0..20 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut run = Run::new(Stream::new(shown, layers, prediction), Limits { spatial: layers - 1, temporal: 2 });
            run.pictures(12);
            for _ in 0..40 {
                let (spatial, temporal) = (rng.random_range(0..layers), rng.random_range(0..3));
                run.midway = Some((rng.random_range(0..layers), Limits { spatial, temporal }));
                let pictures = rng.random_range(1..12);
                run.pictures(pictures);
                if pictures < 9 {
                    continue;
                }
                let cycle = run.pictures(4);
                let highest = |key: fn(&(u8, u8)) -> u8| cycle.iter().flatten().map(key).max();
                let reached = (highest(|frame| frame.0), highest(|frame| frame.1));
                assert_eq!(reached, (Some(spatial), Some(temporal)), "{shown:?} seed {seed}");
            }
        }
    }
}

#[test]
fn what_was_lost_on_the_way_is_no_reason_to_send_what_depends_on_what_was_left_out() {
    for (shown, layers, prediction) in STREAMS {
        let mut rng = StdRng::seed_from_u64(7);
        let mut run = Run::new(Stream::new(shown, layers, prediction), Limits { spatial: layers - 1, temporal: 2 });
        for _ in 0..200 {
            run.aim(rng.random_range(0..layers), rng.random_range(0..3));
            for _ in 0..rng.random_range(1..8) {
                run.picture(|| rng.random_ratio(3, 100));
            }
        }
    }
}

#[test]
fn less_takes_effect_at_the_next_picture() {
    for (shown, layers, prediction) in STREAMS {
        let mut run = Run::new(Stream::new(shown, layers, prediction), Limits { spatial: layers - 1, temporal: 2 });
        run.pictures(12);
        run.aim(layers - 1, 0);
        let temporal: Vec<u8> = run.pictures(8).into_iter().flatten().map(|frame| frame.1).collect();
        assert!(!temporal.is_empty() && temporal.iter().all(|temporal| *temporal == 0), "{shown:?}: {temporal:?}");
        if prediction == Prediction::Always && layers > 1 {
            run.aim(0, 0);
            let spatial: Vec<u8> = run.pictures(8).into_iter().flatten().map(|frame| frame.0).collect();
            assert!(spatial.iter().all(|spatial| *spatial == 0), "{shown:?}: {spatial:?}");
        }
    }
}

#[test]
fn a_change_at_a_picture_whose_first_frame_comes_last_is_a_change_of_the_whole_picture() {
    let layers = || (0..3).flat_map(|spatial| (0..3).map(move |temporal| Limits { spatial, temporal }));
    for (shown, _, prediction) in STREAMS.into_iter().filter(|(_, layers, _)| *layers == 3) {
        for (before, after) in layers().flat_map(|before| layers().map(move |after| (before, after))) {
            let mut run = Run::new(Stream::new(shown, 3, prediction), before);
            run.pictures(12);
            run.aim(after.spatial, after.temporal);
            let selector = run.selector.as_mut().unwrap();
            let mut frames = run.stream.next(false);
            frames.rotate_left(1);
            let decided =
                frames.iter().map(|frame| (frame.spatial, selector.decide(&frame.packet), frame.packet.marker));
            let passed: Vec<_> = decided
                .filter_map(|(spatial, verdict, marker)| match verdict {
                    Verdict::Pass { closes_picture, .. } => Some((spatial, closes_picture || marker)),
                    Verdict::LeaveOut { .. } => None,
                })
                .collect();
            let highest = passed.iter().map(|(spatial, _)| *spatial).max();
            let right = passed.iter().all(|(spatial, closes)| *closes == (Some(*spatial) == highest));
            assert!(right, "{shown:?} from {before:?} to {after:?}: {passed:?}");
        }
    }
}

#[test]
fn where_key_pictures_alone_need_the_lower_layers_they_are_sent_there_only() {
    for shown in [Shown::Vp9, SHOWN_L3T3_KEY] {
        let stream = Stream::new(shown, 3, Prediction::InKeyPictures);
        let mut run = Run::new(stream, Limits { spatial: 2, temporal: 2 });
        let first: Vec<u8> = run.pictures(1).into_iter().flatten().map(|frame| frame.0).collect();
        assert_eq!(first, [0, 1, 2], "{shown:?}");
        run.pictures(8);
        let spatial: Vec<u8> = run.pictures(8).into_iter().flatten().map(|frame| frame.0).collect();
        assert_eq!(spatial, [2; 8], "{shown:?}");
    }
}

#[test]
fn a_spatial_layer_its_sender_stops_is_replaced_by_the_next() {
    let mut run = Run::new(Stream::new(Shown::Vp9, 3, Prediction::InKeyPictures), Limits { spatial: 2, temporal: 2 });
    run.pictures(20);
    run.stream.stopped = 1;
    let spatial: Vec<Option<u8>> = run.pictures(20).iter().map(|frames| frames.last().map(|frame| frame.0)).collect();
    let quiet = spatial.iter().take_while(|spatial| spatial.is_none()).count();
    assert!(quiet <= 9, "frozen for {quiet} pictures");
    assert!(spatial[quiet..].iter().all(|spatial| *spatial == Some(1)), "{spatial:?}");
    run.stream.stopped = 0;
    run.pictures(3);
    assert_eq!(run.pictures(1).concat().last().map(|frame| frame.0), Some(2), "it is back");
}

#[test]
fn the_receiver_is_told_which_decode_targets_it_gets() {
    let mut stream = Stream::new(SHOWN_L3T3, 3, Prediction::Always);
    let mut selector = None;
    let mut told = |selector: &mut Option<Selector>, limits: Limits, key: bool| {
        let mut told = Vec::new();
        for frame in stream.next(key) {
            let selector = selector.get_or_insert_with(|| Selector::joining(&frame.packet, limits));
            if let Verdict::Pass { active_targets, .. } = selector.decide(&frame.packet) {
                told.push(active_targets);
            }
        }
        told
    };
    assert_eq!(told(&mut selector, Limits { spatial: 2, temporal: 2 }, true), [None; 3], "all of them");
    selector.as_mut().unwrap().aim(Limits { spatial: 1, temporal: 0 });
    for _ in 0..3 {
        told(&mut selector, Limits::NONE, false);
    }
    assert_eq!(told(&mut selector, Limits::NONE, false), [Some(0b1001); 2], "S0T0 and S1T0");
    selector.as_mut().unwrap().aim(Limits { spatial: 2, temporal: 2 });
    assert_eq!(told(&mut selector, Limits::NONE, true), [Some(0x1ff); 3], "all of them, said again");
}

#[test]
fn frame_rates_of_vp9_go_up_behind_a_switching_up_point_only() {
    let picture = |number: u64, temporal_id: u8, switching_up_point: bool, inter_predicted: bool| {
        let head = Vp9 { temporal_id, switching_up_point, inter_predicted, ..Vp9::default() };
        let vp9 = Vp9 { start_of_frame: true, end_of_frame: true, ..head };
        let packet = Stream::new(Shown::Vp9, 1, Prediction::Always).packet(0, temporal_id, false, 0, false);
        Packet { picture: Some(number), descriptor: Descriptor::Vp9(vp9), ..packet }
    };
    let passes = |selector: &mut Selector, packet: &Packet| matches!(selector.decide(packet), Verdict::Pass { .. });
    let mut selector = Selector::joining(&picture(10, 0, false, false), Limits { spatial: 0, temporal: 0 });
    assert!(passes(&mut selector, &picture(10, 0, false, false)));
    selector.aim(Limits { spatial: 0, temporal: 2 });
    assert!(!passes(&mut selector, &picture(11, 2, true, true)), "a point in a picture that is not sent");
    assert!(!passes(&mut selector, &picture(12, 1, true, true)));
    assert!(passes(&mut selector, &picture(13, 0, true, true)));
    assert!(passes(&mut selector, &picture(15, 2, false, true)));
    assert!(passes(&mut selector, &picture(14, 1, false, true)), "late: what came behind the point may refer to it");
}

#[test]
fn all_packets_of_a_picture_share_its_fate_late_ones_too() {
    let picture = |number: u64, temporal_id: u8, layer_sync: bool| {
        let vp8 = Vp8 { temporal_id: Some(temporal_id), layer_sync, ..Vp8::default() };
        let packet = Stream::new(Shown::Vp8, 1, Prediction::Always).packet(0, temporal_id, false, 0, false);
        Packet { picture: Some(number), descriptor: Descriptor::Vp8(vp8), ..packet }
    };
    let mut selector = Selector::joining(&picture(10, 0, false), Limits { spatial: 0, temporal: 0 });
    let passes = |selector: &mut Selector, packet: &Packet| matches!(selector.decide(packet), Verdict::Pass { .. });
    assert!(passes(&mut selector, &picture(10, 0, false)));
    let skipped = selector.decide(&picture(11, 2, true));
    assert_eq!(skipped, Verdict::LeaveOut { skips_picture: true });
    selector.aim(Limits { spatial: 0, temporal: 2 });
    assert_eq!(selector.decide(&picture(11, 2, true)), Verdict::LeaveOut { skips_picture: false }, "the rest of it");
    assert!(!passes(&mut selector, &picture(13, 2, true)), "not over the head of the layer between");
    assert!(passes(&mut selector, &picture(14, 1, true)));
    assert!(!passes(&mut selector, &picture(15, 2, false)), "no switching point");
    assert!(passes(&mut selector, &picture(16, 2, true)));
    assert!(!passes(&mut selector, &picture(11, 2, true)), "late, but of a picture left out");
    assert!(!passes(&mut selector, &picture(12, 1, false)), "late, not seen before, by the limit of its time");
    selector.aim(Limits { spatial: 0, temporal: 0 });
    assert!(passes(&mut selector, &picture(16, 2, true)), "what was begun is ended");
    assert!(!passes(&mut selector, &picture(17, 1, true)));
}
