//! Several shards serve the same people as one.

use std::time::Duration;

use loadtest::net::{Conditions, NetemConfig};
use loadtest::oracle::{Expectations, Losses};
use loadtest::{PublisherSpec, ViewerSpec};

use crate::world::{Options, World};

/// Rooms with a publisher and viewers each; what every viewer saw.
fn frames_with(shards: u16) -> Vec<u64> {
    let mut world = World::new(Options { shards, ..Options::seed(21) });
    let line = Conditions::symmetric(NetemConfig::new().latency(Duration::from_millis(5)));
    let mut viewers = Vec::new();
    for (number, room) in (1..).zip(["red", "green", "blue", "grey"]) {
        world.publish(room, PublisherSpec::new(number), line).unwrap();
        for _ in 0..4 {
            let expectations = Expectations {
                losses: Losses::None,
                publishers: Some(vec![number]),
                wire: true,
                ..Expectations::default()
            };
            let spec = ViewerSpec { expectations, ..ViewerSpec::default() };
            viewers.push(world.watch(room, spec, line).unwrap());
        }
    }
    world.run(Duration::from_secs(6));
    let stats: Vec<_> = world.sfus().iter().map(|sfu| sfu.stats().datagrams_handed_over).collect();
    assert_eq!(stats.iter().any(|handed_over| *handed_over > 0), shards > 1, "{stats:?}");
    let watched = viewers.into_iter().map(|viewer| {
        let report = world.report(viewer);
        assert!(report.violations.is_empty(), "{shards} shards: {}", report.violations);
        report.video().map_or(0, |video| video.frames)
    });
    watched.collect()
}

#[test]
fn sharding_does_not_change_who_is_served() {
    let (one, three) = (frames_with(1), frames_with(3));
    assert!(one.iter().all(|frames| *frames > 150), "{one:?}");
    for (one, three) in one.iter().zip(&three) {
        assert!(one.abs_diff(*three) <= 3, "{one} frames on one shard, {three} on three");
    }
}
