//! Sessions that connect, move, fall silent and end; and what is left of them.

use std::sync::Arc;
use std::time::Duration;

use crosspoint::sfu::command::{
    Command, CommandError, Credential, EndReason, EventKind, Join, Reply, Role, SessionState,
};
use crosspoint::sfu::failure::Failure;
use crosspoint::sfu::{EarlyViewers, Sfu, ShardIndex};
use loadtest::net::Conditions;
use loadtest::{Client, PublisherSpec, ViewerSpec};

use crate::conferences::member;
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
fn what_keeps_a_session_from_connecting_is_told_from_what_the_client_offered() {
    let edit = |offer: &str, start: &str, change: fn(&str) -> String| -> String {
        offer.lines().map(|line| if line.starts_with(start) { change(line) } else { format!("{line}\r\n") }).collect()
    };
    type Change = fn(&str) -> String;
    let relayed: Change = |line| format!("{} raddr 0.0.0.0 rport 0\r\n", line.replace("typ host", "typ relay"));
    let other_certificate: Change = |line| {
        let (head, tail) = line.split_at(line.len() - 2);
        format!("{head}{}\r\n", if tail == "00" { "11" } else { "00" })
    };
    let cases: [(&str, &str, Change, Conditions, Failure, &str); 4] = [
        ("nothing special", "a=none", str::to_owned, Conditions::severed(), Failure::NoChecks, "media.tcp is off"),
        ("no candidates", "a=candidate", |_| String::new(), Conditions::severed(), Failure::NoChecks, "no candidate"),
        ("relays only", "a=candidate", relayed, Conditions::severed(), Failure::NoChecks, "relayed candidates only"),
        (
            "another certificate",
            "a=fingerprint",
            other_certificate,
            Conditions::IDEAL,
            Failure::HandshakeFailed,
            "its certificate is not the one that its offer names",
        ),
    ];
    for (name, start, change, line, failure, words) in cases {
        let mut world = World::new(Options::seed(1));
        let (setup, session) = world.setup(line);
        let (mut client, offer) = Client::viewer(ViewerSpec::default(), setup, world.now).unwrap();
        let join = Join {
            session,
            room: Arc::from("studio"),
            home: ShardIndex(0),
            role: Role::Play { participant: None },
            identity: Arc::from("viewer"),
            credential: Credential::Anonymous,
            offer: edit(&offer, start, change),
            caller: None,
        };
        let Reply::Joined(joined) = world.command(0, Command::Join(Box::new(join))) else { panic!("{name}: refused") };
        client.accept_answer(&joined.answer).unwrap();
        let viewer = world.place(client, session, "studio");
        world.run(16 * SECOND);
        let report = world.inspect(viewer);
        assert_eq!(report.failure, Some(failure), "{name}: {}", report.summary);
        assert!(report.summary.contains(words), "{name}: {}", report.summary);
    }
}

#[test]
fn a_member_whose_media_fails_keeps_its_place_and_is_told_why() {
    let cases = [
        (Conditions::severed(), 16, Failure::NoChecks, "no ICE check from the client has reached the server"),
        (Conditions::IDEAL, 36, Failure::Lost, "nothing has arrived from the client for 30 s"),
    ];
    for (line, seconds, failure, words) in cases {
        let mut world = World::new(Options::seed(1));
        let member = world.enter("meeting", "ann", member(1, 9, 4), line).unwrap();
        world.run(2 * SECOND);
        world.change_line(member, Conditions::severed());
        world.run(seconds * SECOND);
        for ended in [false, true] {
            if ended {
                world.unlink(member);
                world.run(60 * SECOND);
            }
            let report = world.inspect(member);
            assert_eq!((report.failure, world.ended(member).is_some()), (Some(failure), ended), "{}", report.summary);
            let told = report.summary.contains(words) && report.summary.contains("may offer anew");
            assert!(told || ended, "{}", report.summary);
            let counted = world.sfus()[0].stats().sessions_failed;
            assert_eq!((counted[failure as usize], counted.iter().sum::<u64>()), (1, 1), "once");
        }
    }
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
