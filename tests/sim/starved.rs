//! Servers that get no processor for moments, and reports that come late: what is late, but not because of a viewer's
//! line, must take no pictures away.

use std::time::Duration;

use crosspoint::rtp::MediaKind;
use loadtest::media::Codec;
use loadtest::net::{Conditions, NetemConfig};
use loadtest::oracle::Losses;

use crate::lines::{SECOND, clean};
use crate::meetings::in_layers;
use crate::world::{Options, Who, World};

const MS: Duration = Duration::from_millis(1);

/// Four people in layers on good lines, for long enough that everybody is seen large.
fn meeting(seed: u64) -> (World, Vec<Who>) {
    let mut world = World::new(Options::seed(seed));
    let enter = |number: u16| {
        world.enter("meeting", &format!("m{number}"), in_layers(number, Losses::Possible), clean()).unwrap()
    };
    let members: Vec<Who> = (1..=4).map(enter).collect();
    world.run(8 * SECOND);
    for who in &members {
        assert_eq!(layers(&mut world, *who), "fff");
        world.client(*who).oracle_mut().unwrap().restart_freezes();
    }
    (world, members)
}

/// Layers sent to a member, by rid.
fn layers(world: &mut World, who: Who) -> String {
    let session = world.inspect(who);
    let videos = session.media.iter().filter(|media| media.kind == MediaKind::Video);
    let mut rids: Vec<String> = videos.filter_map(|media| media.sending.clone()?.rid).collect();
    rids.sort();
    rids.concat()
}

/// How long pictures stood at most.
fn longest_pause(world: &World, who: Who) -> Duration {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
    let videos = report.streams.iter().filter(|stream| stream.codec == Codec::Vp8);
    videos.map(|video| video.longest_gap.max(video.quiet_for)).max().unwrap()
}

#[test]
fn a_server_that_is_starved_for_moments_takes_no_pictures_away() {
    for seed in [1, 2, 3] {
        let (mut world, members) = meeting(seed);
        for round in 0..40_u32 {
            world.starve((40 + round * 37 % 160) * MS);
            world.run((60 + round * 53 % 200) * MS);
        }
        for who in &members {
            let pause = longest_pause(&world, *who);
            assert!(pause < 500 * MS, "seed {seed}: {pause:?}, {}", layers(&mut world, *who));
        }
        world.run(4 * SECOND);
        members.iter().for_each(|who| assert_eq!(layers(&mut world, *who), "fff", "seed {seed}"));
    }
}

#[test]
fn reports_that_come_late_take_no_pictures_away() {
    for seed in [1, 2, 3] {
        let (mut world, members) = meeting(seed);
        let who = members[0];
        for round in 0..60_u64 {
            let late = [10, 160, 60, 240, 30, 120][round as usize % 6];
            let up = NetemConfig::new().latency(Duration::from_millis(late));
            world.change_line(who, Conditions { up, ..clean() });
            world.run(200 * MS);
            assert_eq!(layers(&mut world, who), "fff", "seed {seed}, round {round}");
        }
        assert!(longest_pause(&world, who) < 100 * MS, "seed {seed}");
    }
}
