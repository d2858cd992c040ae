//! Tiles that are hidden and shown again while their publishers make no key frame when asked.

use std::time::Duration;

use crosspoint::sfu::signal::{Request, Subscribe, Wish};
use loadtest::media::Codec;
use loadtest::oracle::StreamReport;
use loadtest::spec::KeyRequests;
use loadtest::{MemberSpec, PublisherSpec, VideoSpec, ViewerSpec};

use crate::conferences::member;
use crate::lines::{SECOND, clean};
use crate::world::{Options, Who, World};

/// A member whose encoder makes a key frame every 4 s and none when asked.
fn deaf(video: VideoSpec) -> MemberSpec {
    let video = VideoSpec { key_interval: Some(4 * SECOND), key_requests: KeyRequests::Ignored, ..video };
    MemberSpec { publisher: Some(PublisherSpec::new(1).with_video(video)), ..member(1, 9, 4) }
}

fn watch(world: &mut World, who: Who, track: &str, paused: bool) {
    let wish =
        Wish { track: track.to_owned(), height: 720, fps: None, priority: None, pinned: None, paused: Some(paused) };
    world.ask(who, Request::Subscribe(Subscribe { wishes: vec![wish] })).unwrap();
}

fn video(world: &World, who: Who) -> StreamReport {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
    report.streams.into_iter().find(|stream| stream.codec == Codec::Vp8).unwrap()
}

#[test]
pub(crate) fn a_tile_that_is_shown_again_goes_on_where_it_was_hidden() {
    let layered = VideoSpec { temporal_layers: 3, ..VideoSpec::new(Codec::Vp8) };
    for (seed, spec) in [(1, VideoSpec::new(Codec::Vp8)), (2, layered)] {
        let mut world = World::new(Options::seed(seed));
        let publisher = world.enter("meeting", "m1", deaf(spec), clean()).unwrap();
        let viewer = world.enter("meeting", "m2", member(2, 9, 4), clean()).unwrap();
        let joined = world.page(publisher).joined.clone().unwrap();
        let track = joined.tracks.last().unwrap().sid.clone();
        world.run(6 * SECOND);
        // Key frames that come by chance soon after a request look like answers at first.
        for _ in 0..5 {
            watch(&mut world, viewer, &track, true);
            world.run(SECOND);
            watch(&mut world, viewer, &track, false);
            world.run(2 * SECOND);
        }
        for round in 0..12u64 {
            watch(&mut world, viewer, &track, true);
            world.run(Duration::from_millis(200 + 170 * (round % 6)));
            let before = video(&world, viewer).frames;
            watch(&mut world, viewer, &track, false);
            world.run(Duration::from_millis(300));
            let now = video(&world, viewer);
            assert!(now.quiet_for < SECOND / 10 && now.frames > before + 9, "round {round}: {before}, then {now:?}");
            world.run(Duration::from_millis(400 + 130 * (round % 5)));
        }
        // A key frame came every 4 s, and those are all that there were.
        let now = video(&world, viewer);
        assert!(now.key_frames <= now.active_for.as_secs() / 4 + 2, "{now:?}");
        assert_eq!(now.undecodable, 0, "{now:?}");
    }
}

#[test]
fn a_camera_that_was_off_for_seven_hours_goes_on_and_can_be_hidden() {
    let mut world = World::new(Options::seed(3));
    let camera = VideoSpec::new(Codec::Vp8);
    let layers = camera.clone().with_simulcast().layers[..1].to_vec();
    let rid = layers[0].rid.unwrap();
    let spec = PublisherSpec { audio: None, ..PublisherSpec::new(1).with_video(VideoSpec { layers, ..camera }) };
    let spec = MemberSpec { publisher: Some(spec), ..member(1, 0, 0) };
    let publisher = world.enter("meeting", "m1", spec, clean()).unwrap();
    let viewer = member(2, 1, 1).viewer;
    let viewer = ViewerSpec { transport_feedback: false, keep_records: true, ..viewer };
    let viewer = MemberSpec { publisher: None, viewer, ..member(2, 1, 1) };
    let viewer = world.enter("meeting", "m2", viewer, clean()).unwrap();
    let track = world.page(publisher).joined.clone().unwrap().tracks.last().unwrap().sid.clone();
    world.run(2 * SECOND);
    let (off, on) = (world.now, world.now + SECOND * 25_200);
    world.client(publisher).stop_layer(off, rid, true);
    // More than half of what 32 bits count at 90 kHz.
    world.run(on - off);
    world.client(publisher).stop_layer(on, rid, false);
    let before = world.client(viewer).received().len();
    world.run(2 * SECOND);
    let times: Vec<u32> = world.client(viewer).received()[before..].iter().map(|packet| packet.timestamp).collect();
    let steps = times.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    assert!(times.len() > 50 && steps.clone().all(|step| step < 90_000), "{:?}", steps.take(9).collect::<Vec<_>>());
    watch(&mut world, viewer, &track, true);
    world.run(SECOND);
    let shown = world.client(viewer).received().len();
    world.run(SECOND);
    assert_eq!(world.client(viewer).received().len(), shown, "what is hidden is not sent");
}
