//! Sessions that connect, move, fall silent and end; and what is left of them.

use std::time::Duration;

use crosspoint::sfu::command::{CommandError, EndReason, EventKind, SessionState};
use crosspoint::sfu::failure::Failure;
use crosspoint::sfu::{EarlyViewers, Sfu};
use loadtest::net::Conditions;
use loadtest::{PublisherSpec, ViewerSpec};

use crate::lines::SECOND;
use crate::world::{Options, World};

fn assert_empty(world: &World) {
    assert!(world.sfus().iter().all(Sfu::is_empty), "{:?}", world.sfus().iter().map(Sfu::stats).collect::<Vec<_>>());
}

#[test]
pub(crate) fn when_everyone_has_left_nothing_is_left() {
    let mut world = World::new(Options::seed(1));
    let publisher = world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
    let viewers: Vec<_> =
        (0..10).map(|_| world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap()).collect();
    world.run(3 * SECOND);
    for viewer in viewers.iter().take(5) {
        world.delete(*viewer);
    }
    for viewer in viewers.iter().skip(5) {
        world.stop(*viewer);
    }
    world.run(SECOND);
    world.delete(publisher);
    world.run(SECOND);
    assert_empty(&world);
    assert_eq!(world.ended(viewers[0]), Some(EndReason::Deleted));
    assert_eq!(world.ended(viewers[9]), Some(EndReason::PeerClosed));
}

#[test]
fn a_peer_that_vanishes_is_gone_within_thirty_seconds() {
    let mut world = World::new(Options::seed(1));
    let publisher = world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
    world.run(5 * SECOND);
    world.client(publisher).vanish();
    world.client(viewer).vanish();
    world.run(20 * SECOND);
    assert_eq!((world.ended(publisher), world.ended(viewer)), (None, None), "not too soon either");
    world.run(11 * SECOND);
    assert_eq!(world.ended(publisher), Some(EndReason::Timeout));
    assert_eq!(world.ended(viewer), Some(EndReason::Timeout));
    assert_empty(&world);
}

#[test]
fn a_session_that_never_connects_ends_after_fifteen_seconds_and_says_why() {
    let mut world = World::new(Options::seed(1));
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::severed()).unwrap();
    world.run(5 * SECOND);
    let report = world.inspect(viewer);
    assert_eq!(report.state, SessionState::Connecting);
    assert!(
        report.summary.contains("no ICE check") && report.summary.contains("198.51.100.1:3478"),
        "{}",
        report.summary
    );
    world.run(11 * SECOND);
    assert_eq!(world.ended(viewer), Some(EndReason::NeverConnected));
    let report = world.inspect(viewer);
    assert_eq!(report.state, SessionState::Ended);
    assert!(report.summary.contains("no ICE check"), "{}", report.summary);
    assert_eq!(report.failure, Some(Failure::NoChecks));
    let stats = world.sfus()[0].stats();
    assert_eq!(stats.sessions_failed, [1, 0, 0, 0, 0, 0, 0], "counted by what failed");
    assert_empty(&world);
}

#[test]
fn a_viewer_whose_nat_gives_it_another_port_goes_on_after_its_next_check() {
    for shards in [1, 3] {
        let mut world = World::new(Options { shards, ..Options::seed(1) });
        world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
        let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
        world.run(5 * SECOND);
        world.rebind(viewer);
        world.run(10 * SECOND);
        let report = world.report(viewer);
        let video = report.video().unwrap();
        assert!(report.violations.is_empty(), "{}", report.violations);
        assert!(video.quiet_for < Duration::from_millis(200), "{shards} shards: {video:?}");
        assert!(video.longest_gap < 4 * SECOND, "{video:?}");
    }
}

#[test]
fn early_viewers_are_refused_where_the_configuration_says_so() {
    let mut world = World::new(Options { early_viewers: EarlyViewers::Refuse, ..Options::seed(1) });
    let refused = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL);
    assert!(matches!(refused, Err(CommandError::NothingPublished { .. })), "{refused:?}");
    assert_empty(&world);
    let publisher = world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
    world.run(3 * SECOND);
    world.delete(publisher);
    world.run(20 * SECOND);
    assert_eq!(world.ended(viewer), None, "it waits for the publisher to come back");
    world.run(15 * SECOND);
    assert_eq!(world.ended(viewer), Some(EndReason::NothingPublished));
    assert_empty(&world);
}

#[test]
pub(crate) fn viewers_are_told_when_the_stream_starts_and_stops_and_how_many_they_are() {
    let mut world = World::new(Options::seed(1));
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
    world.run(2 * SECOND);
    let publisher = world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
    world.run(3 * SECOND);
    world.delete(publisher);
    world.run(2 * SECOND);
    let session = world.session(viewer);
    let told: Vec<&str> = world
        .events
        .iter()
        .filter(|(_, event)| event.session == session)
        .filter_map(|(_, event)| match event.kind {
            EventKind::Active => Some("active"),
            EventKind::Inactive => Some("inactive"),
            EventKind::ViewerCount(1) => Some("one viewer"),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["one viewer", "active", "inactive"]);
}
