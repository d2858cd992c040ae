//! Streams written without the engine: who gets them, and that nobody notices. What is encrypted under which number is
//! watched in every scenario (`world`).

use loadtest::media::Codec;
use loadtest::net::Conditions;
use loadtest::spec::Vp8Descriptor;
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec};

use crate::lines::{SECOND, clean, strict};
use crate::world::{Options, Who, World};

/// A publisher whose packets say that there are no layers.
fn plain() -> PublisherSpec {
    PublisherSpec::new(1).with_video(VideoSpec { vp8: Vp8Descriptor::LIBWEBRTC, ..VideoSpec::new(Codec::Vp8) })
}

/// Datagrams per second that a viewer answers with. One whose packets carry transport-wide numbers reports on them 20
/// times a second.
fn answers(world: &mut World, viewer: Who) -> u64 {
    let before = world.heard(viewer);
    world.run(5 * SECOND);
    (world.heard(viewer) - before) / 5
}

fn assert_sound(world: &World, viewer: Who) {
    let report = world.report(viewer);
    assert!(report.violations.is_empty(), "{}", report.violations);
    let video = report.video().expect("video came");
    assert!(video.quiet_for < SECOND / 5, "{video:?}");
    assert_eq!(report.streams.len(), 2, "no other SSRC was used");
}

#[test]
fn viewers_of_one_encoding_report_little_whether_they_come_first_or_later() {
    let mut world = World::new(Options::seed(1));
    let early = world.watch("studio", strict(), clean()).unwrap();
    world.run(2 * SECOND);
    world.publish("studio", plain(), clean()).unwrap();
    world.run(2 * SECOND);
    let late = world.watch("studio", strict(), clean()).unwrap();
    world.run(2 * SECOND);
    for viewer in [early, late] {
        let answers = answers(&mut world, viewer);
        assert!(answers < 5, "{answers} a second");
        assert_sound(&world, viewer);
    }
}

#[test]
fn viewers_with_a_choice_are_served_by_the_engine() {
    let mut world = World::new(Options::seed(1));
    let early = world.watch("studio", strict(), clean()).unwrap();
    world.run(2 * SECOND);
    let simulcast = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast());
    world.publish("studio", simulcast, clean()).unwrap();
    world.run(2 * SECOND);
    let late = world.watch("studio", strict(), clean()).unwrap();
    world.run(2 * SECOND);
    for viewer in [early, late] {
        let answers = answers(&mut world, viewer);
        assert!(answers > 10, "{answers} a second");
        assert_sound(&world, viewer);
    }
}

#[test]
fn a_publisher_that_comes_back_with_several_encodings_goes_on_in_the_same_streams() {
    let mut world = World::new(Options::seed(1));
    let first = world.publish("studio", plain(), clean()).unwrap();
    // Not strict: a number is left out on purpose where a switch of encodings cuts a picture.
    let viewer = world.watch("studio", ViewerSpec::default(), clean()).unwrap();
    world.run(4 * SECOND);
    world.delete(first);
    world.run(2 * SECOND);
    let simulcast = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast()).restarted();
    world.publish("studio", simulcast, clean()).unwrap();
    world.run(6 * SECOND);
    assert_sound(&world, viewer);
    assert!(answers(&mut world, viewer) < 5);
}

#[test]
fn media_follows_a_viewer_to_its_new_address() {
    let mut world = World::new(Options::seed(1));
    world.publish("studio", plain(), Conditions::IDEAL).unwrap();
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
    world.run(5 * SECOND);
    world.rebind(viewer);
    world.run(8 * SECOND);
    let report = world.report(viewer);
    let video = report.video().expect("video came");
    assert!(report.violations.is_empty(), "{}", report.violations);
    assert!(video.quiet_for < SECOND / 5, "{video:?}");
    assert!(video.longest_gap < 4 * SECOND, "{video:?}");
}
