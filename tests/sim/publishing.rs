//! One publisher and its viewers: every codec, clean and lossy lines, restarts, viewers that come first.

use std::time::Duration;

use crosspoint::sfu::command::{Command, CommandError, Credential, EndReason, EventKind, LayerSelection};
use loadtest::media::Codec;
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec};

use crate::lines::{SECOND, clean, lossy, strict};
use crate::world::{Options, Who, World};

fn assert_watched(world: &World, who: Who, frames: u64) {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
    let video = report.video().expect("video came");
    assert!(video.frames >= frames, "{} of {frames} frames: {video:?}", video.frames);
    let audio = report.audio().expect("audio came");
    assert!(audio.packets >= frames, "{} audio packets", audio.packets);
}

#[test]
fn every_codec_reaches_its_viewers_whole() {
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1] {
        let mut world = World::new(Options::seed(7));
        let spec = PublisherSpec::new(1).with_video(VideoSpec::new(codec));
        world.publish("studio", spec, clean()).unwrap();
        world.run(2 * SECOND);
        let viewers: Vec<_> = (0..3).map(|_| world.watch("studio", strict(), clean()).unwrap()).collect();
        world.run(5 * SECOND);
        for viewer in viewers {
            assert_watched(&world, viewer, 120);
            let first = world.report(viewer).video().unwrap().first_frame_after.unwrap();
            assert!(first < Duration::from_millis(400), "{codec:?}: first frame after {first:?}");
        }
    }
}

#[test]
fn a_viewer_that_comes_first_sees_the_stream_when_it_starts() {
    let mut world = World::new(Options::seed(3));
    let viewer = world.watch("studio", strict(), clean()).unwrap();
    world.run(5 * SECOND);
    world.publish("studio", PublisherSpec::new(1), clean()).unwrap();
    world.run(4 * SECOND);
    assert_watched(&world, viewer, 100);
}

#[test]
fn loss_and_reordering_are_repaired() {
    for seed in [1, 2, 3, 4] {
        let mut world = World::new(Options::seed(seed));
        world.publish("studio", PublisherSpec::new(1), lossy()).unwrap();
        world.run(2 * SECOND);
        let viewer = world.watch("studio", ViewerSpec::default(), lossy()).unwrap();
        world.run(12 * SECOND);
        let report = world.report(viewer);
        assert!(report.violations.is_empty(), "seed {seed}: {}", report.violations);
        let video = report.video().unwrap();
        assert!(video.frames >= 240, "seed {seed}: {video:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut world = World::new(Options::seed(seed));
        let publisher = world.publish("studio", PublisherSpec::new(1), clean()).unwrap();
        let viewer = world.watch("studio", ViewerSpec::default(), clean()).unwrap();
        world.run(SECOND);
        // The handshake is behind us: its messages have random lengths. What follows has none.
        world.take_trace();
        world.change_line(publisher, lossy());
        world.change_line(viewer, lossy());
        world.run(5 * SECOND);
        world.take_trace()
    };
    let (first, second, other) = (run(11), run(11), run(12));
    assert!(first.datagrams > 1000, "{first:?}");
    assert_eq!(first, second);
    assert_ne!(first, other);
}

#[test]
pub(crate) fn a_publisher_that_restarts_goes_on_for_the_viewers_who_stayed() {
    let runs = [Codec::Vp8, Codec::Vp9, Codec::Av1].map(|codec| (codec, false));
    for (codec, vanishes) in runs.into_iter().chain([(Codec::Vp8, true), (Codec::H264, true)]) {
        let mut world = World::new(Options::seed(5));
        let spec = PublisherSpec::new(1).with_video(VideoSpec::new(codec));
        let first = world.publish("studio", spec.clone(), clean()).unwrap();
        // Long enough to tell that there are no layers: then the viewer is served without the engine.
        world.run(2 * SECOND);
        // Behind a picture that is cut a number is left out on purpose.
        let spec_of_viewer = if vanishes { ViewerSpec::default() } else { strict() };
        let viewer = world.watch("studio", spec_of_viewer, clean()).unwrap();
        world.run(4 * SECOND);
        if vanishes {
            world.client(first).vanish();
            world.run(3 * SECOND);
        } else {
            world.delete(first);
            world.run(8 * SECOND);
        }
        world.publish("studio", spec.restarted(), clean()).unwrap();
        world.run(4 * SECOND);
        assert_watched(&world, viewer, 200);
        let report = world.report(viewer);
        assert_eq!(report.video().unwrap().sources.len(), 2, "both runs came in one stream");
        assert_eq!(report.streams.len(), 2, "no other SSRC was used");
        let expected = if vanishes { EndReason::TakenOver } else { EndReason::Deleted };
        assert_eq!(world.ended(first), Some(expected));
    }
}

#[test]
pub(crate) fn a_publisher_may_change_its_codec_when_it_restarts() {
    let mut world = World::new(Options::seed(9));
    let first = world.publish("studio", PublisherSpec::new(1), clean()).unwrap();
    let viewer = world.watch("studio", strict(), clean()).unwrap();
    world.run(3 * SECOND);
    world.delete(first);
    let spec = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::H264)).restarted();
    world.publish("studio", spec, clean()).unwrap();
    world.run(3 * SECOND);
    assert_watched(&world, viewer, 150);
}

#[test]
fn a_second_publisher_is_refused_and_harms_nobody() {
    let mut world = World::new(Options::seed(2));
    let key = Credential::Token([1; 16]);
    world.publish_as("studio", PublisherSpec::new(1), clean(), key).unwrap();
    let viewer = world.watch("studio", strict(), clean()).unwrap();
    world.run(3 * SECOND);
    for credential in [key, Credential::Token([2; 16]), Credential::Anonymous] {
        let refused = world.publish_as("studio", PublisherSpec::new(2), clean(), credential);
        assert!(matches!(refused, Err(CommandError::RoomTaken { .. })), "{refused:?}");
    }
    world.run(3 * SECOND);
    assert_watched(&world, viewer, 150);
}

#[test]
fn another_credential_never_takes_over_however_long_the_silence() {
    let mut world = World::new(Options::seed(2));
    let first = world.publish_as("studio", PublisherSpec::new(1), clean(), Credential::Token([1; 16])).unwrap();
    world.run(SECOND);
    world.client(first).vanish();
    world.run(10 * SECOND);
    let refused = world.publish_as("studio", PublisherSpec::new(2), clean(), Credential::Token([2; 16]));
    assert!(matches!(refused, Err(CommandError::RoomTaken { silent_for: Some(_), .. })), "{refused:?}");
}

#[test]
fn obs_mislabelled_profile_and_silence_to_requests_still_play() {
    let mut world = World::new(Options::seed(4));
    world.publish("studio", PublisherSpec::new(1).with_video(VideoSpec::obs()), clean()).unwrap();
    world.run(1500 * SECOND / 1000);
    let viewer = world.watch("studio", strict(), clean()).unwrap();
    world.run(6 * SECOND);
    assert_watched(&world, viewer, 90);
}

#[test]
pub(crate) fn of_simulcast_the_best_layer_that_lives_is_forwarded() {
    for codec in [Codec::Vp8, Codec::H264] {
        let mut world = World::new(Options::seed(6));
        let spec = PublisherSpec::new(1).with_video(VideoSpec::new(codec).with_simulcast());
        world.publish("studio", spec, clean()).unwrap();
        world.run(3 * SECOND);
        let viewer = world.watch("studio", strict(), clean()).unwrap();
        world.run(8 * SECOND);
        assert_watched(&world, viewer, 200);
        let session = world.inspect(viewer);
        let sending =
            session.media.iter().find_map(|media| media.sending.clone()?.height.map(|_| media.sending.clone()));
        assert_eq!(sending.flatten().and_then(|layer| layer.rid).as_deref(), Some("f"), "{session:?}");
    }
}

#[test]
pub(crate) fn key_frame_requests_of_a_crowd_are_one_to_the_publisher() {
    let mut world = World::new(Options::seed(8));
    let publisher = world.publish("studio", PublisherSpec::new(1), clean()).unwrap();
    world.run(3 * SECOND);
    let before = world.client(publisher).sent().unwrap().key_frame_requests;
    let viewers: Vec<_> = (0..40).map(|_| world.watch("studio", strict(), clean()).unwrap()).collect();
    world.run(3 * SECOND);
    let asked = world.client(publisher).sent().unwrap().key_frame_requests - before;
    assert!((1..=3).contains(&asked), "{asked} requests for 40 viewers who came at once");
    for viewer in viewers {
        assert_watched(&world, viewer, 60);
    }
}

/// The rids that a publisher was last told somebody wants.
fn wanted(world: &World, publisher: Who) -> Vec<String> {
    let session = world.session(publisher);
    let told = world.events.iter().rev().find_map(|(_, event)| match &event.kind {
        EventKind::Layers(media) if event.session == session => media.first(),
        _ => None,
    });
    let layers = told.map(|media| media.layers.as_slice()).unwrap_or_default();
    layers.iter().filter(|layer| layer.wanted != Some(false)).filter_map(|layer| layer.rid.clone()).collect()
}

#[test]
fn a_plain_publisher_is_told_which_encodings_anybody_wants() {
    let mut world = World::new(Options::seed(6));
    let spec = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast());
    let publisher = world.publish("studio", spec, clean()).unwrap();
    world.run(3 * SECOND);
    assert_eq!(wanted(&world, publisher), ["f", "h", "q"], "nothing was told before it was known for a while");
    world.run(3 * SECOND);
    assert_eq!(wanted(&world, publisher), ["q"], "nobody watches");
    let viewer = world.watch("studio", ViewerSpec::default(), clean()).unwrap();
    world.run(Duration::from_millis(100));
    assert_eq!(wanted(&world, publisher), ["f", "h", "q"], "somebody does");
    let (session, shard) = (world.session(viewer), world.shard(viewer));
    let selection = LayerSelection { rid: Some("h".into()), ..LayerSelection::default() };
    world.command(shard, Command::SelectLayer { session, selection });
    world.run(5 * SECOND);
    assert_eq!(wanted(&world, publisher), ["h", "q"], "nobody wants more than that");
    world.command(shard, Command::SelectLayer { session, selection: LayerSelection::default() });
    assert_eq!(wanted(&world, publisher), ["f", "h", "q"], "told at once");
}

#[test]
fn viewers_of_a_room_with_a_playout_delay_are_told_it() {
    let delay = |room: &str| {
        let mut world = World::new(Options::seed(9));
        world.publish(room, PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8)), clean()).unwrap();
        let viewer = world.watch(room, ViewerSpec { keep_records: true, ..strict() }, clean()).unwrap();
        world.run(2 * SECOND);
        let (min, max) = world.client(viewer).received().iter().find_map(|packet| packet.extensions.playout_delay)?;
        Some((min.as_seconds(), max.as_seconds()))
    };
    assert_eq!(delay("studio"), None);
    assert_eq!(delay("delayed"), Some((0.2, 0.6)));
}
