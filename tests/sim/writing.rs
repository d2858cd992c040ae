//! Streams written without the engine: who gets them, and that nobody notices. What is encrypted under which number is
//! watched in every scenario (`world`).

use std::time::Duration;

use crosspoint::rtp::MediaKind;
use loadtest::media::Codec;
use loadtest::net::{Conditions, NetemConfig, Probability, RandomLoss};
use loadtest::oracle::Losses;
use loadtest::spec::Vp8Descriptor;
use loadtest::{MemberSpec, PublisherSpec, VideoSpec, ViewerSpec};

use crate::conferences::member;
use crate::lines::{SECOND, clean, lossy, strict};
use crate::meetings::in_layers;
use crate::network::{QUEUE, thin};
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

/// The rid that is sent, and whether there is an estimate.
fn sending(world: &mut World, viewer: Who) -> (Option<String>, bool) {
    let session = world.inspect(viewer);
    let video = session.media.iter().find(|media| media.kind == MediaKind::Video).unwrap();
    (video.sending.as_ref().and_then(|layer| layer.rid.clone()), session.connectivity.estimate.is_some())
}

#[test]
fn who_watched_one_encoding_is_estimated_once_the_publisher_comes_back_with_several() {
    for seed in [1, 2, 3] {
        let mut world = World::new(Options::seed(seed));
        let first = world.publish("studio", plain(), clean()).unwrap();
        // Some is lost, so that packets are repeated under the same numbers before and after.
        let viewer = world.watch("studio", ViewerSpec::default(), lossy()).unwrap();
        world.run(6 * SECOND);
        assert_eq!(sending(&mut world, viewer).0, None);
        world.delete(first);
        world.run(2 * SECOND);
        world.change_line(viewer, thin(900, QUEUE));
        let simulcast = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast()).restarted();
        world.publish("studio", simulcast, clean()).unwrap();
        world.run(8 * SECOND);
        assert_eq!(sending(&mut world, viewer), (Some("h".into()), true), "seed {seed}");
        assert!(answers(&mut world, viewer) > 10);
        world.change_line(viewer, clean());
        let up = world.until(8 * SECOND, |world| sending(world, viewer).0.as_deref() == Some("f"));
        assert!(up < 6 * SECOND, "seed {seed}: up after {up:?}");
        world.run(SECOND);
        // What is lost is sent again where the viewer expects it.
        let loss = RandomLoss::new(Probability::new(0.03));
        let down = NetemConfig::new().latency(Duration::from_millis(10)).loss(loss);
        world.change_line(viewer, Conditions { down, ..clean() });
        world.client(viewer).oracle_mut().unwrap().restart_freezes();
        world.run(4 * SECOND);
        assert_sound(&world, viewer);
        let video = world.report(viewer).video().cloned().unwrap();
        assert!(video.longest_gap < SECOND / 4, "seed {seed}: {video:?}");
        assert_eq!(world.ssrcs().len(), 3, "sound, video and its retransmissions");
    }
}

#[test]
fn who_watched_one_encoding_is_estimated_once_layers_appear_in_it() {
    let mut world = World::new(Options::seed(1));
    let first = world.publish("studio", plain(), clean()).unwrap();
    let viewer = world.watch("studio", ViewerSpec::default(), thin(1500, QUEUE)).unwrap();
    world.run(4 * SECOND);
    world.delete(first);
    world.run(2 * SECOND);
    let video = VideoSpec { temporal_layers: 3, ..VideoSpec::new(Codec::Vp8) };
    world.publish("studio", PublisherSpec::new(1).with_video(video).restarted(), clean()).unwrap();
    world.run(4 * SECOND);
    assert_eq!(sending(&mut world, viewer), (None, true));
    assert_sound(&world, viewer);
    // A layer less is sent where all of them do not fit.
    world.change_line(viewer, thin(700, QUEUE));
    world.run(5 * SECOND);
    let before = world.report(viewer).video().unwrap().frames;
    world.run(2 * SECOND);
    let frames = world.report(viewer).video().unwrap().frames - before;
    assert!((10..=45).contains(&frames), "{frames} pictures in 2 s");
    assert_sound(&world, viewer);
}

#[test]
fn sound_does_not_wait_for_a_picture_that_comes_later_whatever_that_will_be() {
    let layered = VideoSpec { temporal_layers: 3, ..VideoSpec::new(Codec::Vp8) };
    let single = VideoSpec { vp8: Vp8Descriptor::LIBWEBRTC, ..VideoSpec::new(Codec::Vp8) };
    for (video, estimated) in [(single, false), (layered, true)] {
        let mut world = World::new(Options::seed(1));
        let viewer = world.watch("studio", strict(), clean()).unwrap();
        world.run(2 * SECOND);
        let video = VideoSpec { starts_after: 3 * SECOND, ..video };
        world.publish("studio", PublisherSpec::new(1).with_video(video), clean()).unwrap();
        let heard = world.until(SECOND, |world| world.report(viewer).audio().is_some());
        assert!(heard < SECOND / 4, "after {heard:?}");
        world.run(5 * SECOND);
        assert_sound(&world, viewer);
        assert_eq!(answers(&mut world, viewer) > 10, estimated);
    }
}

#[test]
fn what_receivers_report_is_heard_whoever_writes_their_streams() {
    let loss = RandomLoss::new(Probability::new(0.03));
    let down = NetemConfig::new().latency(Duration::from_millis(10)).loss(loss);
    let line = Conditions { down, ..clean() };
    let mut world = World::new(Options::seed(1));
    world.publish("studio", plain(), clean()).unwrap();
    let layered = VideoSpec { temporal_layers: 3, ..VideoSpec::new(Codec::Vp8) };
    world.publish("layers", PublisherSpec::new(1).with_video(layered), clean()).unwrap();
    world.run(SECOND);
    let viewer = world.watch("studio", ViewerSpec::default(), line).unwrap();
    let served_by_engine = world.watch("layers", ViewerSpec::default(), line).unwrap();
    let member = |number| MemberSpec { viewer: ViewerSpec::default(), ..member(number, 1, 1) };
    world.enter("meeting", "speaks", member(1), clean()).unwrap();
    let member = world.enter("meeting", "listens", member(2), line).unwrap();
    world.run(10 * SECOND);
    for who in [viewer, served_by_engine, member] {
        let video = world.report(who).video().cloned().unwrap();
        assert!(video.reordered > 10 && video.lost * 200 < video.packets, "NACKs are answered: {video:?}");
        let session = world.inspect(who);
        assert!(session.connectivity.rtt_ms.is_some(), "reports are read: {session:?}");
    }
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

/// A member that only speaks and listens.
fn voice(number: u16) -> MemberSpec {
    let sound = PublisherSpec { video: None, ..PublisherSpec::new(number) };
    MemberSpec { publisher: Some(sound), audio_slots: 2, ..in_layers(number, Losses::Possible) }
}

#[test]
fn members_sound_takes_no_estimator_and_pictures_that_come_later_have_one() {
    for seed in [1, 2] {
        let mut world = World::new(Options::seed(seed));
        let ann = world.enter("meeting", "ann", voice(1), clean()).unwrap();
        let bob = world.enter("meeting", "bob", voice(2), clean()).unwrap();
        world.run(5 * SECOND);
        for who in [ann, bob] {
            let answers = answers(&mut world, who);
            // 50 packets of sound a second are counted as answers, too.
            assert!((50..55).contains(&answers), "{answers} a second");
            assert!(world.inspect(who).connectivity.estimate.is_none());
            assert!(world.report(who).violations.is_empty());
        }
        world.change_line(ann, thin(900, QUEUE));
        let simulcast = VideoSpec::new(Codec::Vp8).with_simulcast();
        let publisher = PublisherSpec::new(3).with_video(simulcast);
        let shows = MemberSpec { publisher: Some(publisher), ..member(3, 2, 2) };
        world.enter("meeting", "shows", shows, clean()).unwrap();
        world.run(8 * SECOND);
        assert_eq!(sending(&mut world, ann), (Some("h".into()), true), "seed {seed}: what fits beside the sound");
        assert_eq!(sending(&mut world, bob), (Some("f".into()), true));
        for who in [ann, bob] {
            let report = world.report(who);
            assert!(report.violations.is_empty(), "{}", report.violations);
            assert!(report.streams.iter().all(|stream| stream.quiet_for < SECOND / 5), "{report:?}");
        }
    }
}
