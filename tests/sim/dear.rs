//! Key frames that cost much, and viewers whose picture stands still without one.

use std::time::Duration;

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::command::{Command, LayerSelection, Reply};
use loadtest::media::Codec;
use loadtest::{PublisherSpec, VideoSpec};

use crate::lines::{SECOND, clean, strict};
use crate::world::{Options, Who, World};

/// The encoding that is being sent.
fn sending(world: &mut World, who: Who) -> Option<String> {
    let session = world.inspect(who);
    let video = session.media.iter().find(|media| media.kind == MediaKind::Video)?;
    video.sending.as_ref()?.rid.clone()
}

#[test]
fn who_is_sent_a_layer_that_stops_right_after_a_dear_key_frame_of_the_next_does_not_stand_still() {
    for codec in [Codec::Vp8, Codec::Av1] {
        // Of these key frames one in 1.8 seconds takes the share of those on request.
        let video = VideoSpec { key_frame_weight: 8, ..VideoSpec::new(codec) };
        let mut world = World::new(Options::seed(5));
        let spec = PublisherSpec::new(1).with_video(video.with_simulcast());
        let publisher = world.publish("studio", spec, clean()).unwrap();
        world.run(3 * SECOND);
        let [viewer, other] = [(); 2].map(|()| world.watch("studio", strict(), clean()).unwrap());
        world.run(4 * SECOND);
        assert_eq!(sending(&mut world, viewer).as_deref(), Some("f"));
        let selection = LayerSelection { rid: Some("h".into()), ..LayerSelection::default() };
        let (session, shard) = (world.session(other), world.shard(other));
        assert!(matches!(world.command(shard, Command::SelectLayer { session, selection }), Reply::Done));
        world.run(SECOND * 7 / 10);
        assert_eq!(sending(&mut world, other).as_deref(), Some("h"), "it has had a key frame");
        world.client(viewer).oracle_mut().unwrap().restart_freezes();
        let now = world.now;
        world.client(publisher).stop_layer(now, "f", true);
        world.run(2 * SECOND);
        assert_eq!(sending(&mut world, viewer).as_deref(), Some("h"));
        let report = world.report(viewer);
        assert!(report.violations.is_empty(), "{codec:?}: {}", report.violations);
        let stood = report.video().unwrap().longest_gap;
        assert!(stood < Duration::from_millis(400), "{codec:?}: the picture stood for {stood:?}");
    }
}
