//! Clients that move and send no checks, as libnice does after nomination, and whoever pretends to be one.

use std::net::SocketAddr;
use std::time::Duration;

use loadtest::net::Conditions;
use loadtest::{Datagram, PublisherSpec, ViewerSpec};

use crate::lines::SECOND;
use crate::world::{Options, SERVER, Who, World};

/// Addresses nobody has proven anything from.
const ATTACKERS: u16 = 50;

/// Between two datagrams of the attackers.
const PACE: Duration = Duration::from_millis(2);

/// Checks the server may send to addresses it does not know in a second.
const ASKED: usize = 10;

fn call(shards: u16) -> (World, Who, Who) {
    let mut world = World::new(Options { shards, ..Options::seed(1) });
    let publisher = world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
    world.run(5 * SECOND);
    (world, publisher, viewer)
}

fn address(world: &mut World, who: Who) -> String {
    world.inspect(who).connectivity.remote_address.unwrap().to_string()
}

/// Pictures come, and no rule is broken.
fn assert_flows(world: &World, viewer: Who, name: &str) {
    let report = world.report(viewer);
    assert!(report.violations.is_empty(), "{name}: {}", report.violations);
    assert!(report.video().unwrap().quiet_for < SECOND / 5, "{name}: {:?}", report.video());
}

#[test]
fn a_publisher_that_moves_and_sends_no_checks_is_found_by_its_media() {
    for shards in [1, 3] {
        let (mut world, publisher, viewer) = call(shards);
        world.unchecking = Some(publisher);
        world.run(SECOND);
        let before = address(&mut world, publisher);
        world.rebind(publisher);
        world.run(6 * SECOND);
        assert_ne!(address(&mut world, publisher), before, "{shards} shards");
        assert_flows(&world, viewer, "publisher");
        assert!(world.report(viewer).video().unwrap().longest_gap < 4 * SECOND, "{:?}", world.report(viewer).video());
    }
}

#[test]
fn a_viewer_that_moves_and_sends_no_checks_is_found_by_its_reports() {
    for shards in [1, 3] {
        let (mut world, _, viewer) = call(shards);
        world.unchecking = Some(viewer);
        world.run(SECOND);
        let before = address(&mut world, viewer);
        world.rebind(viewer);
        world.run(8 * SECOND);
        assert_ne!(address(&mut world, viewer), before, "{shards} shards");
        assert_flows(&world, viewer, "viewer");
    }
}

#[test]
fn reports_forged_in_the_name_of_a_viewer_do_not_keep_it_from_being_found() {
    let (mut world, _, viewer) = call(1);
    world.overheard = Some(Vec::new());
    world.run(2 * SECOND);
    let own = address(&mut world, viewer);
    let of_viewer =
        |datagram: &Datagram| datagram.source.to_string() == own && (200..=207).contains(&datagram.contents[1]);
    let mut report = world.overheard.take().unwrap().into_iter().find(of_viewer).unwrap();
    report.contents[4..8].copy_from_slice(&[9; 4]);
    world.unchecking = Some(viewer);
    // It moves between two of its own reports, which leave every 50 ms: the last one that is heard is forged.
    for _ in 0..490 {
        world.network.send(world.now, report.clone());
        world.run(PACE);
    }
    world.rebind(viewer);
    world.run(8 * SECOND);
    assert_ne!(address(&mut world, viewer), own);
    assert_flows(&world, viewer, "a viewer in whose name reports were forged");
}

#[test]
fn media_of_somebody_who_fell_silent_diverts_nothing_from_elsewhere_and_costs_little() {
    let (mut world, publisher, viewer) = call(1);
    world.overheard = Some(Vec::new());
    world.run(SECOND);
    let overheard = world.overheard.take().unwrap();
    let media: Vec<_> = overheard.into_iter().filter(|datagram| datagram.contents[0] >= 128).collect();
    let before = [publisher, viewer].map(|who| address(&mut world, who));
    for who in [publisher, viewer] {
        world.change_line(who, Conditions::severed());
    }
    world.run(2 * SECOND);
    let seconds = 4;
    for number in 0..seconds * 500 {
        world.network.send(world.now, forged(&media, number));
        world.run(PACE);
    }
    for who in [publisher, viewer] {
        world.change_line(who, Conditions::IDEAL);
    }
    let asked: Vec<_> = world.strays.iter().filter(|stray| stray.destination.ip().to_string() == ATTACKER).collect();
    assert!(asked.iter().all(|stray| stray.contents.starts_with(&[0, 1])), "nothing but checks of ours");
    assert!((1..=ASKED * (seconds + 1)).contains(&asked.len()), "{} were asked", asked.len());
    world.run(5 * SECOND);
    assert_eq!([publisher, viewer].map(|who| address(&mut world, who)), before);
    assert_flows(&world, viewer, "after the attack");
}

#[test]
fn who_moves_is_found_among_forged_media() {
    let (mut world, publisher, viewer) = call(1);
    world.overheard = Some(Vec::new());
    world.run(SECOND);
    let overheard = world.overheard.take().unwrap();
    let media: Vec<_> = overheard.into_iter().filter(|datagram| datagram.contents[0] >= 128).collect();
    world.unchecking = Some(publisher);
    let before = address(&mut world, publisher);
    world.rebind(publisher);
    for number in 0..20 * 500 {
        world.network.send(world.now, forged(&media, number));
        world.run(PACE);
    }
    assert_ne!(address(&mut world, publisher), before);
    assert_flows(&world, viewer, "among forged media");
}

const ATTACKER: &str = "203.0.113.66";

/// Overheard media from one of the attackers' addresses.
fn forged(media: &[Datagram], number: usize) -> Datagram {
    let source = SocketAddr::new(ATTACKER.parse().unwrap(), 1000 + number as u16 % ATTACKERS);
    Datagram { source, destination: SERVER.parse().unwrap(), ..media[number % media.len()].clone() }
}
