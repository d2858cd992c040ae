//! Layers, joining in the middle, key frames: what one publisher's encodings become at its viewers.

use std::time::Duration;

use crosspoint::sfu::command::{Command, CommandError, LayerSelection, Reply};
use loadtest::media::Codec;
use loadtest::oracle::Expectations;
use loadtest::spec::{Prediction, Svc};
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec};

use crate::lines::{SECOND, clean, lossy, strict};
use crate::world::{Options, Who, World};

fn assert_sound(world: &World, who: Who) {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
}

/// From the viewer's request to its first picture.
fn first_frame(world: &World, who: Who) -> Duration {
    world.report(who).video().expect("video came").first_frame_after.expect("a picture was shown")
}

fn select(world: &mut World, who: Who, selection: LayerSelection) {
    let (session, shard) = (world.session(who), world.shard(who));
    assert!(matches!(world.command(shard, Command::SelectLayer { session, selection }), Reply::Done));
}

fn rid(rid: &str) -> LayerSelection {
    LayerSelection { rid: Some(rid.into()), ..LayerSelection::default() }
}

/// The rid that is being sent.
fn sending(world: &mut World, who: Who) -> Option<String> {
    world.inspect(who).media.iter().find_map(|media| media.sending.clone()?.rid)
}

#[test]
pub(crate) fn a_publisher_that_ignores_requests_is_seen_at_once_in_the_middle_of_a_group_of_pictures() {
    for seed in [1, 2, 3] {
        let mut world = World::new(Options::seed(seed));
        world.publish("studio", PublisherSpec::new(1).with_video(VideoSpec::obs()), clean()).unwrap();
        // A key frame every 2 s; these come 0.9, 1.3 and 1.8 s behind one.
        let mut viewers = Vec::new();
        for wait in [3000, 400, 500] {
            world.run(Duration::from_millis(wait));
            viewers.push(world.watch("studio", strict(), clean()).unwrap());
        }
        world.run(4 * SECOND);
        for viewer in viewers {
            assert_sound(&world, viewer);
            let first = first_frame(&world, viewer);
            assert!(first < Duration::from_millis(250), "seed {seed}: first picture after {first:?}");
            let video = world.report(viewer).video().cloned().unwrap();
            assert_eq!(video.freezes, 0, "{video:?}");
            assert!(video.latency.quantile(0.5) < Duration::from_millis(30), "it has reached the present: {video:?}");
        }
    }
}

#[test]
fn a_crowd_of_two_hundred_costs_two_key_frames_at_most() {
    let mut world = World::new(Options::seed(5));
    let publisher = world.publish("studio", PublisherSpec::new(1), clean()).unwrap();
    world.run(6 * SECOND);
    let before = world.client(publisher).sent().unwrap().key_frame_requests;
    let mut viewers = Vec::new();
    for _ in 0..200 {
        viewers.push(world.watch("studio", strict(), clean()).unwrap());
        world.run(Duration::from_millis(5));
    }
    world.run(2 * SECOND);
    let asked = world.client(publisher).sent().unwrap().key_frame_requests - before;
    assert!((1..=2).contains(&asked), "{asked} key frames for 200 viewers within a second");
    for viewer in viewers {
        assert_sound(&world, viewer);
        let first = first_frame(&world, viewer);
        assert!(first < Duration::from_millis(600), "first picture after {first:?}");
    }
}

#[test]
pub(crate) fn a_viewer_goes_up_and_down_between_encodings_without_a_seam() {
    for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1] {
        let mut world = World::new(Options::seed(9));
        let spec = PublisherSpec::new(1).with_video(VideoSpec::new(codec).with_simulcast());
        world.publish("studio", spec, clean()).unwrap();
        world.run(3 * SECOND);
        let viewer = world.watch("studio", strict(), clean()).unwrap();
        world.run(2 * SECOND);
        for rid in ["q", "f", "h", "q", "h", "f"] {
            select(&mut world, viewer, LayerSelection { rid: Some(rid.into()), ..LayerSelection::default() });
            world.run(SECOND);
            assert_eq!(sending(&mut world, viewer).as_deref(), Some(rid), "{codec:?}");
        }
        assert_sound(&world, viewer);
        let video = world.report(viewer).video().cloned().unwrap();
        assert_eq!(video.freezes, 0, "{codec:?}: {video:?}");
    }
}

#[test]
pub(crate) fn only_encodings_that_there_are_can_be_chosen() {
    let mut world = World::new(Options::seed(11));
    let viewer = world.watch("studio", strict(), clean()).unwrap();
    world.run(SECOND);
    let (session, shard) = (world.session(viewer), world.shard(viewer));
    let is_refused = |world: &mut World, selection| {
        let reply = world.command(shard, Command::SelectLayer { session, selection });
        matches!(reply, Reply::Failed(CommandError::UnknownLayer { .. }))
    };
    assert!(is_refused(&mut world, rid("h")), "nobody publishes");
    assert!(is_refused(&mut world, LayerSelection { media: Some(9), ..LayerSelection::default() }), "no such m-line");
    select(&mut world, viewer, LayerSelection { max_height: Some(400), ..LayerSelection::default() });
    let spec = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast());
    world.publish("studio", spec, clean()).unwrap();
    world.run(3 * SECOND);
    assert_eq!(sending(&mut world, viewer).as_deref(), Some("h"), "a size can be chosen at any time");
    assert!(is_refused(&mut world, rid("x")));
    select(&mut world, viewer, rid("q"));
    world.run(SECOND);
    assert_eq!(sending(&mut world, viewer).as_deref(), Some("q"));
    assert_sound(&world, viewer);
}

#[test]
pub(crate) fn a_second_viewer_who_goes_up_soon_after_the_first_needs_no_key_frame() {
    let mut world = World::new(Options::seed(4));
    let spec = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast());
    let publisher = world.publish("studio", spec, clean()).unwrap();
    world.run(3 * SECOND);
    let low = LayerSelection { rid: Some("q".into()), ..LayerSelection::default() };
    let high = LayerSelection { rid: Some("f".into()), ..LayerSelection::default() };
    let viewers = [(); 2].map(|()| world.watch("studio", strict(), clean()).unwrap());
    world.run(SECOND);
    for viewer in viewers {
        select(&mut world, viewer, low.clone());
    }
    world.run(3 * SECOND);
    let before = world.client(publisher).sent().unwrap().key_frame_requests;
    for viewer in viewers {
        select(&mut world, viewer, high.clone());
        world.run(Duration::from_millis(300));
        assert_eq!(sending(&mut world, viewer).as_deref(), Some("f"));
    }
    world.run(SECOND);
    assert_eq!(world.client(publisher).sent().unwrap().key_frame_requests - before, 1);
    for viewer in viewers {
        assert_sound(&world, viewer);
    }
}

/// A viewer whose connection is not estimated, so that it gets what it asks for at once.
fn unestimated(viewer: ViewerSpec) -> ViewerSpec {
    ViewerSpec { transport_feedback: false, keep_records: true, ..viewer }
}

/// Streams with layers in them, by name.
fn layered() -> Vec<(&'static str, VideoSpec)> {
    let temporal = |codec, dependency_descriptor| VideoSpec {
        temporal_layers: 3,
        dependency_descriptor,
        ..VideoSpec::new(codec).with_bitrate(300_000)
    };
    let spatial = |codec, prediction, described| VideoSpec {
        svc: Some(Svc { layers: 3, prediction }),
        ..temporal(codec, described)
    };
    vec![
        ("VP8 L1T3", temporal(Codec::Vp8, false)),
        ("VP8 L1T3, described", temporal(Codec::Vp8, true)),
        ("H264 L1T3, described", temporal(Codec::H264, true)),
        ("VP9 L1T3", temporal(Codec::Vp9, false)),
        ("VP9 L3T3", spatial(Codec::Vp9, Prediction::Always, false)),
        ("VP9 L3T3_KEY", spatial(Codec::Vp9, Prediction::InKeyPictures, false)),
        ("VP9 L3T3_KEY, described", spatial(Codec::Vp9, Prediction::InKeyPictures, true)),
        ("AV1 L1T3", temporal(Codec::Av1, true)),
        ("AV1 L3T3", spatial(Codec::Av1, Prediction::Always, true)),
        ("AV1 L3T3_KEY", spatial(Codec::Av1, Prediction::InKeyPictures, true)),
    ]
}

/// The highest spatial and temporal layer that came since then.
fn highest_since(world: &mut World, who: Who, since: Duration) -> (u8, u8) {
    let from = world.start + since;
    let stamps = world.client(who).received().iter().filter(|packet| packet.at >= from);
    let video = stamps.filter_map(|packet| packet.content).map(|content| content.stamp);
    video.fold((0, 0), |highest, stamp| (highest.0.max(stamp.spatial), highest.1.max(stamp.temporal)))
}

#[test]
pub(crate) fn layers_within_a_stream_come_and_go_and_what_is_sent_can_always_be_decoded() {
    for (name, video) in layered() {
        let mut world = World::new(Options::seed(11));
        let spatial_layers = video.svc.map_or(1, |svc| svc.layers);
        world.publish("studio", PublisherSpec::new(1).with_video(video), clean()).unwrap();
        world.run(2 * SECOND);
        let viewer = world.watch("studio", unestimated(strict()), clean()).unwrap();
        world.run(2 * SECOND);
        for (spatial, temporal) in [(2, 0), (0, 2), (1, 1), (2, 2), (0, 0), (1, 2), (2, 1)] {
            let selection =
                LayerSelection { spatial: Some(spatial), temporal: Some(temporal), ..LayerSelection::default() };
            select(&mut world, viewer, selection);
            world.run(Duration::from_millis(1200));
            let settled = world.now - world.start;
            world.run(Duration::from_millis(500));
            let expected = (spatial.min(spatial_layers - 1), temporal);
            assert_eq!(highest_since(&mut world, viewer, settled), expected, "{name}");
        }
        let report = world.report(viewer);
        assert!(report.violations.is_empty(), "{name}: {}", report.violations);
    }
}

#[test]
fn layers_change_under_loss_without_a_mistake() {
    for (name, video) in layered() {
        for seed in [1, 2] {
            let mut world = World::new(Options::seed(seed));
            world.publish("studio", PublisherSpec::new(1).with_video(video.clone()), lossy()).unwrap();
            world.run(2 * SECOND);
            let expectations = Expectations { wire: true, ..Expectations::default() };
            let viewer = unestimated(ViewerSpec { expectations, ..ViewerSpec::default() });
            let viewer = world.watch("studio", viewer, lossy()).unwrap();
            for step in 0..8_u8 {
                world.run(Duration::from_millis(700));
                let (spatial, temporal) = (Some(step % 3), Some(step * 2 % 3));
                select(&mut world, viewer, LayerSelection { spatial, temporal, ..LayerSelection::default() });
            }
            world.run(2 * SECOND);
            let report = world.report(viewer);
            assert!(report.violations.is_empty(), "{name}, seed {seed}: {}", report.violations);
            assert!(report.video().unwrap().frames > 60, "{name}, seed {seed}: {:?}", report.video());
        }
    }
}

#[test]
fn a_wish_for_more_pictures_is_met_at_once_with_the_estimator_on() {
    for bitrate in [300_000, 1_000_000] {
        let video = VideoSpec { temporal_layers: 3, ..VideoSpec::new(Codec::Vp8).with_bitrate(bitrate) };
        let mut world = World::new(Options::seed(1));
        world.publish("studio", PublisherSpec::new(1).with_video(video), clean()).unwrap();
        world.run(3 * SECOND);
        let viewer = world.watch("studio", ViewerSpec::default(), clean()).unwrap();
        for round in 0..3 {
            select(&mut world, viewer, LayerSelection { temporal: Some(0), ..LayerSelection::default() });
            world.run(3 * SECOND);
            select(&mut world, viewer, LayerSelection { temporal: Some(2), ..LayerSelection::default() });
            // The first time it has to be probed for what the line carries beyond 500 kbps.
            let most = if round == 0 { 600 } else { 250 };
            world.run(Duration::from_millis(most));
            let frames = |world: &World| world.report(viewer).video().unwrap().frames;
            let before = frames(&world);
            world.run(SECOND);
            let more = frames(&world) - before;
            assert!((29..=31).contains(&more), "{bitrate}, round {round}: {more} pictures in a second");
        }
        assert_sound(&world, viewer);
    }
}

#[test]
pub(crate) fn a_viewer_that_did_not_negotiate_the_dependency_descriptor_gets_none() {
    let video = VideoSpec { temporal_layers: 3, dependency_descriptor: true, ..VideoSpec::new(Codec::Av1) };
    let mut world = World::new(Options::seed(2));
    world.publish("studio", PublisherSpec::new(1).with_video(video), clean()).unwrap();
    world.run(2 * SECOND);
    let viewer =
        world.watch("studio", ViewerSpec { dependency_descriptor: false, keep_records: true, ..strict() }, clean());
    let viewer = viewer.unwrap();
    world.run(SECOND);
    select(&mut world, viewer, LayerSelection { temporal: Some(0), ..LayerSelection::default() });
    world.run(2 * SECOND);
    assert_sound(&world, viewer);
    let settled = world.now - world.start;
    world.run(SECOND);
    assert_eq!(highest_since(&mut world, viewer, settled), (0, 0), "layers are dropped all the same");
}

#[test]
fn a_viewer_without_the_dependency_descriptor_gets_one_spatial_layer_of_av1() {
    let av1 = layered().into_iter().filter(|(name, _)| name.starts_with("AV1 L3"));
    for (name, video) in av1 {
        let mut world = World::new(Options::seed(4));
        world.publish("studio", PublisherSpec::new(1).with_video(video), clean()).unwrap();
        world.run(2 * SECOND);
        let plain = ViewerSpec { dependency_descriptor: false, ..unestimated(strict()) };
        let viewer = world.watch("studio", plain, clean()).unwrap();
        world.run(SECOND);
        let settled = world.now - world.start;
        world.run(SECOND);
        assert_eq!(highest_since(&mut world, viewer, settled), (0, 2), "{name}");
        let report = world.inspect(viewer);
        let sending = report.media.iter().find_map(|media| media.sending.as_ref().and_then(|layer| layer.spatial));
        assert_eq!(sending, Some(0), "{name}");
        assert!(world.report(viewer).violations.is_empty(), "{name}: {}", world.report(viewer).violations);
    }
}

#[test]
fn a_layer_that_its_sender_stops_is_left_at_once_and_returned_to_when_it_is_stable() {
    for (codec, seed) in [(Codec::Vp8, 1), (Codec::H264, 2), (Codec::Vp9, 3), (Codec::Av1, 4)] {
        let mut world = World::new(Options::seed(seed));
        let spec = PublisherSpec::new(1).with_video(VideoSpec::new(codec).with_simulcast());
        let publisher = world.publish("studio", spec, clean()).unwrap();
        world.run(3 * SECOND);
        let viewer = world.watch("studio", strict(), clean()).unwrap();
        world.run(3 * SECOND);
        assert_eq!(sending(&mut world, viewer).as_deref(), Some("f"));
        let stop = |world: &mut World, stopped| {
            let now = world.now;
            world.client(publisher).stop_layer(now, "f", stopped);
        };
        world.client(viewer).oracle_mut().unwrap().restart_freezes();
        for flutter in [false, true] {
            stop(&mut world, true);
            let left = world.until(SECOND, |world| sending(world, viewer).as_deref() == Some("h"));
            // At 30 pictures a second the layer is left after some 140 ms of silence. The rest is the publisher's: a
            // key frame of the other layer is asked for and comes within a round trip of 20 ms, 40 ms that the encoder
            // takes and up to 33 to the next picture.
            assert!(left < Duration::from_millis(300), "{codec:?}: left after {left:?}");
            world.run(2 * SECOND);
            if flutter {
                // Back for a moment only: nobody follows.
                stop(&mut world, false);
                world.run(SECOND / 2);
                assert_eq!(sending(&mut world, viewer).as_deref(), Some("h"));
                stop(&mut world, true);
                world.run(2 * SECOND);
            }
            stop(&mut world, false);
            let back = world.until(5 * SECOND, |world| sending(world, viewer).as_deref() == Some("f"));
            assert!((SECOND..SECOND * 2).contains(&back), "{codec:?}: back after {back:?}");
            world.run(SECOND);
        }
        let report = world.report(viewer);
        assert!(report.violations.is_empty(), "{codec:?}: {}", report.violations);
        let video = report.video().unwrap();
        assert!(video.longest_gap < Duration::from_millis(500), "{codec:?}: {video:?}");
    }
}

#[test]
fn a_publisher_that_knows_only_limits_leaves_out_what_nobody_wants_and_brings_it_back() {
    for codec in [Codec::Vp8, Codec::H264] {
        let mut world = World::new(Options::seed(8));
        let spec = PublisherSpec {
            obeys_limits: true,
            ..PublisherSpec::new(1).with_video(VideoSpec::new(codec).with_simulcast())
        };
        let publisher = world.publish("studio", spec, clean()).unwrap();
        world.run(3 * SECOND);
        let viewer = world.watch("studio", strict(), clean()).unwrap();
        world.run(3 * SECOND);
        // Bit/s of payload that the publisher sends; 48 kbit/s of sound among them.
        let sends = |world: &mut World, time: Duration| {
            let before = world.client(publisher).sent().unwrap().payload_bytes;
            world.run(time);
            (world.client(publisher).sent().unwrap().payload_bytes - before) * 8 / time.as_secs()
        };
        assert!(sends(&mut world, 2 * SECOND) > 2_000_000, "all three are wanted");
        for (most, expected) in [(360, 600_000..750_000), (180, 150_000..250_000), (360, 600_000..750_000)] {
            select(&mut world, viewer, LayerSelection { max_height: Some(most), ..LayerSelection::default() });
            world.run(8 * SECOND);
            let sent = sends(&mut world, 3 * SECOND);
            assert!(expected.contains(&sent), "{codec:?}: {sent} bit/s for {most} lines");
        }
        let second = world.watch("studio", strict(), clean()).unwrap();
        let back = world.until(5 * SECOND, |world| sending(world, second).as_deref() == Some("f"));
        assert!(back < 3 * SECOND, "{codec:?}: back after {back:?}");
        assert_sound(&world, viewer);
        assert_sound(&world, second);
    }
}
