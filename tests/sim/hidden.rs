//! Members that are not shown to others: nothing anybody else is told names them.

use std::time::Duration;

use crosspoint::sfu::signal::{Event, Permissions, Report, Request, Response, RoomMode, SetMode, Update};

use crate::conferences::member;
use crate::lines::{SECOND, clean};
use crate::members::ALL;
use crate::world::{Options, Who, World, over_shards};

/// One who watches unseen.
const UNSEEN: Permissions = Permissions { can_publish: false, hidden: true, ..ALL };

/// What somebody was told that names another.
fn named(world: &World, to: Who, sid: &str) -> Vec<Event> {
    let names = |event: &&Event| format!("{event:?}").contains(sid);
    world.page(to).events.iter().filter(names).cloned().collect()
}

/// A member without tracks of its own.
fn unseen(world: &mut World) -> Who {
    let spec = loadtest::MemberSpec { publisher: None, ..member(9, 9, 4) };
    world.enter_as("meeting", "unseen", spec, clean(), UNSEEN).unwrap()
}

#[test]
fn whoever_is_hidden_comes_goes_and_falls_away_without_anybody_being_told() {
    nobody_is_told();
    over_shards(2, nobody_is_told);
}

fn nobody_is_told() {
    let mut world = World::new(Options::seed(1));
    let people: Vec<Who> = (1..=3)
        .map(|number| world.enter("meeting", &format!("m{number}"), member(number, 9, 4), clean()).unwrap())
        .collect();
    world.run(SECOND);
    let unseen = unseen(&mut world);
    let sid = world.page(unseen).sid();
    world.run(2 * SECOND);
    // Its pictures freeze, which changes how good its connection is said to be.
    let report = Report { freeze_ms: Some(900), interval_ms: Some(1000), ..Report::default() };
    assert!(matches!(world.ask(unseen, Request::Report(report)), Ok(Response::Nothing(_))));
    world.run(2 * SECOND);
    let renamed = Update { name: Some("still unseen".to_owned()), metadata: None, attributes: None };
    assert!(matches!(world.ask(unseen, Request::Update(renamed)), Ok(Response::Updated(_))));
    world.unlink(unseen);
    world.run(SECOND);
    // It comes back with other grants, of which others are told where one is seen.
    world.resume(unseen).unwrap();
    world.run(2 * SECOND);
    world.unlink(unseen);
    world.run(40 * SECOND);
    for who in people {
        assert_eq!(named(&world, who, &sid), [], "on shard {}", world.shard(who));
    }
}

#[test]
fn nobody_is_connected_directly_with_who_is_hidden_or_may_not_send_and_receive() {
    let table = [
        (ALL, true),
        (UNSEEN, false),
        (Permissions { can_subscribe: false, ..ALL }, false),
        (Permissions { can_publish: false, ..ALL }, false),
    ];
    for (permissions, direct) in table {
        let mut world = World::new(Options::seed(2));
        let first = world.enter("meeting", "m1", member(1, 9, 4), clean()).unwrap();
        assert!(world.ask(first, Request::SetMode(SetMode { mode: RoomMode::Auto })).is_ok());
        let spec = loadtest::MemberSpec { publisher: None, ..member(9, 9, 4) };
        let second = world.enter_as("meeting", "second", spec, clean(), permissions).unwrap();
        world.run(Duration::from_secs(3));
        for who in [first, second] {
            let told = world.page(who).events.iter().any(|event| matches!(event, Event::Path { .. }));
            assert_eq!(told, direct, "{permissions:?}");
        }
        if permissions.hidden {
            let sid = world.page(second).sid();
            assert_eq!(named(&world, first, &sid), []);
        }
    }
}
