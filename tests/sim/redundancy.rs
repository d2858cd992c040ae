//! Redundant audio (RFC 2198): passed on where both sides have it, taken apart where one has not, made for who loses
//! much.

use std::time::Duration;

use crosspoint::rtp::MediaKind;
use loadtest::net::{Conditions, NetemConfig, Probability, RandomLoss};
use loadtest::oracle::StreamReport;
use loadtest::spec::AudioSpec;
use loadtest::{PublisherSpec, ViewerSpec};

use crate::lines::{SECOND, clean, strict};
use crate::world::{Options, Who, World};

/// A line that loses this share of what the viewer is sent.
fn losing(share: f32) -> Conditions {
    let lossy = NetemConfig::new().latency(Duration::from_millis(20)).loss(RandomLoss::new(Probability::new(share)));
    Conditions { down: lossy, ..clean() }
}

fn sound(world: &World, who: Who) -> StreamReport {
    let report = world.report(who);
    assert!(report.violations.is_empty(), "{}", report.violations);
    report.audio().expect("sound came").clone()
}

/// Packets of redundant audio that came, which str0m gives this number.
fn redundant(world: &mut World, who: Who) -> usize {
    world.client(who).received().iter().filter(|packet| packet.payload_type == 63).count()
}

fn publisher(red: bool) -> PublisherSpec {
    PublisherSpec { audio: Some(AudioSpec { red, ..AudioSpec::default() }), ..PublisherSpec::new(1) }
}

#[test]
fn sound_is_repeated_for_who_loses_much_of_it_and_for_nobody_else() {
    for seed in [1, 2] {
        let mut world = World::new(Options::seed(seed));
        world.publish("studio", publisher(false), clean()).unwrap();
        world.run(2 * SECOND);
        let [plain, red] = [false, true].map(|red| {
            let spec = ViewerSpec { red, keep_records: true, ..ViewerSpec::default() };
            world.watch("studio", spec, clean()).unwrap()
        });
        let spared = world.watch("studio", ViewerSpec { red: true, keep_records: true, ..strict() }, clean()).unwrap();
        world.run(3 * SECOND);
        assert_eq!(redundant(&mut world, red), 0, "nothing is repeated on a clean line");
        [plain, red].iter().for_each(|who| world.change_line(*who, losing(0.15)));
        // Told in receivers' reports, which come every few seconds.
        world.run(10 * SECOND);
        let lost = |world: &World| [plain, red].map(|who| sound(world, who).lost);
        let settled = lost(&world);
        world.run(20 * SECOND);
        let [without, with] = [0, 1].map(|viewer| lost(&world)[viewer] - settled[viewer]);
        assert!(without > 100, "15 % of 1000: {without}");
        assert!(with * 10 < without, "seed {seed}: {with} with and {without} without");
        assert_eq!(sound(&world, spared).lost, 0);
        [plain, red].iter().for_each(|who| world.change_line(*who, clean()));
        world.run(10 * SECOND);
        let repeated = redundant(&mut world, red);
        world.run(5 * SECOND);
        assert_eq!(redundant(&mut world, red), repeated, "no longer, on a good line");
        assert_eq!((redundant(&mut world, plain), redundant(&mut world, spared)), (0, 0));
    }
}

#[test]
fn what_a_publisher_repeats_reaches_those_who_can_read_it_and_all_others_without() {
    let mut world = World::new(Options::seed(3));
    world.publish("studio", publisher(true), clean()).unwrap();
    world.run(2 * SECOND);
    let spec = |red| ViewerSpec { red, keep_records: true, ..ViewerSpec::default() };
    let [plain, red] = [false, true].map(|red| world.watch("studio", spec(red), clean()).unwrap());
    world.run(3 * SECOND);
    let early = [plain, red].map(|who| sound(&world, who).frames);
    assert!(early.iter().all(|frames| *frames > 120), "{early:?}");
    assert_eq!(redundant(&mut world, plain), 0);
    assert!(redundant(&mut world, red) > 120);
    let counted = [plain, red].map(|who| {
        let session = world.inspect(who);
        let sound = session.media.iter().find(|media| media.kind == MediaKind::Audio).expect("a slot for sound");
        (sound.packets, sound.bytes)
    });
    let [(packets, bytes), (packets_of_red, bytes_of_red)] = counted;
    assert_eq!(packets, packets_of_red);
    assert!(bytes_of_red > bytes, "what is repeated counts: {counted:?}");
    [plain, red].iter().for_each(|who| world.change_line(*who, losing(0.1)));
    world.run(10 * SECOND);
    let [without, with] = [plain, red].map(|who| sound(&world, who).lost);
    assert!(without > 30 && with * 5 < without, "{with} with and {without} without");
}
