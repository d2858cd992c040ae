//! Somebody who hears everything on the wire and can send from an address of their own.

use std::time::Duration;

use loadtest::net::Conditions;
use loadtest::{Datagram, PublisherSpec, ViewerSpec};

use crate::lines::SECOND;
use crate::world::{Options, SERVER, World};

/// Where the attacker listens.
const ATTACKER: &str = "203.0.113.66:666";

/// Bytes of an amplifier: what comes back to the attacker's address may be this many times what was sent from it.
const AMPLIFICATION: usize = 3;

/// What is done with an overheard datagram.
type Forgery = fn(&mut Vec<u8>);

/// What happens to the people attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plight {
    /// Nothing else.
    Still,
    /// Their NATs gave them other ports meanwhile, so that they are known by their checks alone.
    Moved,
    /// Their lines are dead while the attacker's is not.
    Silent,
}

#[test]
fn replayed_and_forged_datagrams_from_another_address_divert_nothing() {
    let forgeries: [(&str, Forgery); 3] = [
        ("as it was", |_| {}),
        ("with its last byte changed", |bytes| bytes.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1)),
        ("with a byte of its body changed", |bytes| bytes.get_mut(24).into_iter().for_each(|byte| *byte ^= 1)),
    ];
    for (name, forgery) in forgeries {
        attack(Options { shards: 3, ..Options::seed(1) }, Plight::Still, forgery, &format!("{name}, three shards"));
        for plight in [Plight::Still, Plight::Moved, Plight::Silent] {
            attack(Options::seed(1), plight, forgery, &format!("{name}, {plight:?}"));
        }
    }
}

fn attack(options: Options, plight: Plight, forgery: Forgery, name: &str) {
    let mut world = World::new(options);
    world.overheard = Some(Vec::new());
    let publisher = world.publish("studio", PublisherSpec::new(1), Conditions::IDEAL).unwrap();
    let viewer = world.watch("studio", ViewerSpec::default(), Conditions::IDEAL).unwrap();
    world.run(2 * SECOND);
    if plight == Plight::Moved {
        [publisher, viewer].into_iter().for_each(|who| world.rebind(who));
    }
    world.run(6 * SECOND);
    let before = [publisher, viewer].map(|who| world.inspect(who).connectivity.remote_address);
    let mut overheard = world.overheard.take().unwrap();
    let attacker = ATTACKER.parse().unwrap();
    let mut sent = 0;
    if plight == Plight::Silent {
        [publisher, viewer].into_iter().for_each(|who| world.change_line(who, Conditions::severed()));
    }
    for datagram in &mut overheard {
        forgery(&mut datagram.contents);
        sent += datagram.contents.len();
        let forged = Datagram { source: attacker, destination: SERVER.parse().unwrap(), ..datagram.clone() };
        world.network.send(world.now, forged);
        world.run(Duration::from_millis(2));
    }
    if plight == Plight::Silent {
        [publisher, viewer].into_iter().for_each(|who| world.change_line(who, Conditions::IDEAL));
    }
    world.run(5 * SECOND);
    let after = [publisher, viewer].map(|who| world.inspect(who).connectivity.remote_address);
    assert_eq!(before, after, "{name}");
    let report = world.report(viewer);
    assert!(report.violations.is_empty(), "{name}: {}", report.violations);
    let video = report.video().unwrap();
    // What was lost on a dead line, or with an old port, is not the attacker's doing.
    assert!(plight != Plight::Still || (video.lost, video.freezes) == (0, 0), "{name}: {video:?}");
    let strays: Vec<&Datagram> = world.strays.iter().filter(|stray| stray.destination == attacker).collect();
    assert!(strays.iter().all(|stray| stray.contents[0] < 4), "{name}: nothing but STUN goes to the attacker");
    let received: usize = strays.iter().map(|stray| stray.contents.len()).sum();
    assert!(received <= AMPLIFICATION * sent, "{name}: {received} bytes for {sent}");
}
