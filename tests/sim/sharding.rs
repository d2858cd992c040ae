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

#[test]
fn addresses_a_client_had_on_its_way_are_forgotten_on_every_shard() {
    let mut world = World::new(Options { shards: 3, ..Options::seed(22) });
    let line = Conditions::symmetric(NetemConfig::new().latency(Duration::from_millis(5)));
    let publisher = world.publish("red", PublisherSpec::new(1), line).unwrap();
    world.run(Duration::from_secs(2));
    // More often than a peer has paths, over all shards.
    for _ in 0..40 {
        world.rebind(publisher);
        world.run(Duration::from_secs(3));
    }
    let known: Vec<u64> = world.sfus().iter().map(|sfu| sfu.stats().addresses).collect();
    assert!(known.iter().all(|known| *known <= 8), "{known:?}: what it left long ago is remembered");
    world.delete(publisher);
    world.run(Duration::from_secs(4));
    assert!(world.sfus().iter().all(crosspoint::sfu::Sfu::is_empty));
}
