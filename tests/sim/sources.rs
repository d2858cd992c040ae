//! Publishers that go on under other SSRCs within a track, as encoders that reconnect and senders made anew do.

use loadtest::media::Codec;
use loadtest::net::{Conditions, Probability, RandomLoss};
use loadtest::oracle::Report;
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec};

use crate::lines::{SECOND, clean, strict};
use crate::world::{Options, Who, World};

/// What a viewer was sent is without a fault, and this many pictures at least.
fn assert_goes_on(world: &World, who: Who, frames: u64, name: &str) -> Report {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{name}: {}", report.violations);
    let video = report.video().unwrap();
    assert!(video.frames >= frames, "{name}: {video:?}");
    report
}

#[test]
pub(crate) fn a_publisher_may_go_on_under_other_ssrcs() {
    let single = |codec| VideoSpec::new(codec);
    let layered = |codec| VideoSpec::new(codec).with_simulcast();
    let rows = [
        ("VP8", single(Codec::Vp8)),
        ("H264", single(Codec::H264)),
        ("VP9", single(Codec::Vp9)),
        ("AV1", single(Codec::Av1)),
        ("VP8 simulcast", layered(Codec::Vp8)),
        ("H264 simulcast", layered(Codec::H264)),
    ];
    for (name, video) in rows {
        let mut world = World::new(Options::seed(31));
        let publisher = world.publish("studio", PublisherSpec::new(1).with_video(video), clean()).unwrap();
        world.run(2 * SECOND);
        let viewer = world.watch("studio", strict(), clean()).unwrap();
        world.run(2 * SECOND);
        for _ in 0..3 {
            let now = world.now;
            world.client(publisher).change_ssrcs(now, None);
            world.run(3 * SECOND);
        }
        let report = assert_goes_on(&world, viewer, 290, name);
        let (video, audio) = (report.video().unwrap(), report.audio().unwrap());
        assert_eq!((video.sources.len(), audio.sources.len()), (4, 4), "{name}: all were forwarded");
        assert_eq!(report.streams.len(), 2, "{name}: the viewer knows of no other SSRC");
        assert!(video.longest_gap < SECOND / 2, "{name}: {video:?}");
        assert!(audio.packets >= 530, "{name}: {audio:?}");
    }
}

#[test]
pub(crate) fn one_encoding_of_several_may_go_on_under_another_ssrc() {
    let mut world = World::new(Options::seed(32));
    let spec = PublisherSpec::new(1).with_video(VideoSpec::new(Codec::Vp8).with_simulcast());
    let publisher = world.publish("studio", spec, clean()).unwrap();
    world.run(2 * SECOND);
    let viewer = world.watch("studio", strict(), clean()).unwrap();
    world.run(2 * SECOND);
    for rids in [["q"], ["f"]] {
        let now = world.now;
        world.client(publisher).change_ssrcs(now, Some(&rids));
        world.run(3 * SECOND);
        let session = world.inspect(viewer);
        let sent = session.media.iter().find_map(|media| media.sending.clone().and_then(|layer| layer.rid));
        assert_eq!(sent.as_deref(), Some("f"), "{rids:?}: {session:?}");
    }
    let report = assert_goes_on(&world, viewer, 220, "VP8 simulcast");
    assert_eq!(report.video().unwrap().sources.len(), 2, "only the change of what is watched shows");
}

#[test]
fn retransmissions_of_what_was_before_do_no_harm() {
    const REPAIR: u8 = 97;
    let lossy = RandomLoss::new(Probability::new(0.2));
    let lossy = Conditions { up: clean().up.loss(lossy), down: clean().down };
    for seed in 1..=4 {
        let mut world = World::new(Options::seed(seed));
        let publisher = world.publish("studio", PublisherSpec::new(1), clean()).unwrap();
        world.run(2 * SECOND);
        let viewer = world.watch("studio", ViewerSpec::default(), clean()).unwrap();
        world.run(2 * SECOND);
        let mut repairs = 0;
        for _ in 0..6 {
            world.holds = Some(|datagram| datagram.contents.get(1).is_some_and(|byte| byte & 0x7f == REPAIR));
            world.change_line(publisher, lossy);
            world.run(SECOND / 5);
            world.change_line(publisher, clean());
            let now = world.now;
            world.client(publisher).change_ssrcs(now, None);
            world.run(SECOND / 5);
            repairs += world.release();
            world.run(SECOND);
        }
        assert!(repairs > 10, "seed {seed}: {repairs} were sent again");
        let report = assert_goes_on(&world, viewer, 260, &format!("seed {seed}"));
        let video = report.video().unwrap();
        assert_eq!(video.sources.len(), 7, "seed {seed}");
        assert!(video.longest_gap < SECOND * 2 / 3, "seed {seed}: {video:?}");
    }
}
