//! Members who come back while their media still flows, and players that show a gallery of them.

use std::time::Duration;

use crosspoint::rtp::MediaKind;
use loadtest::ViewerSpec;
use loadtest::media::Codec;
use loadtest::oracle::Losses;
use loadtest::spec::VideoFormat;

use crate::conferences::{meeting, publishers};
use crate::lines::{SECOND, clean};
use crate::meetings::in_layers;
use crate::world::{Options, World};

#[test]
fn media_goes_on_where_it_went_until_a_member_that_comes_back_is_reached_elsewhere() {
    for moves in [false, true] {
        let mut world = World::new(Options::seed(3));
        let members = meeting(&mut world, 3, 9, 4);
        world.run(3 * SECOND);
        for who in &members {
            world.client(*who).oracle_mut().unwrap().restart_freezes();
        }
        world.unlink(members[0]);
        world.run(SECOND);
        if moves {
            world.rebind(members[0]);
        }
        world.resume(members[0]).unwrap();
        world.run(4 * SECOND);
        for who in &members {
            let report = world.report(*who);
            // What is on its way to the old address is lost.
            assert!(moves || report.violations.is_empty(), "{}", report.violations);
            for video in report.streams.iter().filter(|stream| stream.codec == Codec::Vp8 && stream.frames > 0) {
                assert!(video.longest_gap < Duration::from_millis(250), "moves {moves}: {video:?}");
            }
        }
    }
}

#[test]
fn a_player_with_several_pictures_shows_everybody_and_follows_who_comes_and_goes() {
    let mut world = World::new(Options::seed(4));
    let members = meeting(&mut world, 2, 9, 4);
    world.run(2 * SECOND);
    let spec = ViewerSpec { videos: 3, formats: vec![VideoFormat::of(Codec::Vp8)], ..ViewerSpec::default() };
    let player = world.watch("meeting", spec, clean()).unwrap();
    world.run(3 * SECOND);
    assert_eq!(publishers(&world, player).len(), 2);
    world.unlink(members[1]);
    world.client(members[1]).vanish();
    world.run(12 * SECOND);
    let late = world.enter("meeting", "late", in_layers(7, Losses::None), clean()).unwrap();
    world.run(3 * SECOND);
    let report = world.report(player);
    assert!(report.violations.is_empty(), "{}", report.violations);
    let live = report.streams.iter().filter(|stream| stream.codec == Codec::Vp8 && stream.quiet_for < SECOND / 5);
    assert_eq!(live.count(), 2, "the first and the latest: {report:?}");
    assert!(publishers(&world, player).contains(&7));
    let told = world.inspect(player);
    let bound = told.media.iter().filter(|media| media.kind == MediaKind::Video && media.sending.is_some());
    assert_eq!(bound.count(), 2);
    assert_eq!(world.page(late).joined.clone().unwrap().participants.len(), 2, "a player is a participant, too");
}
