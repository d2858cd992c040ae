//! What str0m 0.25 does that the server works around, shown without the server: each test fails once the engine does
//! otherwise, and then the workaround that it names can go (`src/ARCHITECTURE.md`, "How a viewer's layer is chosen").

mod pair;

use std::time::Duration;

use loadtest::net::{Bitrate as Rate, Conditions, DataSize, NetemConfig, Probability, RandomLoss};
use str0m::bwe::Bitrate;

use pair::Pair;

const SECOND: Duration = Duration::from_secs(1);

fn path() -> NetemConfig {
    NetemConfig::new().latency(Duration::from_millis(20))
}

/// 20 ms each way, and a bottleneck with a queue of 300 ms.
fn thin(kbps: u64) -> Conditions {
    let held = kbps * 320 / 8;
    Conditions { up: path().link(Rate::kbps(kbps), DataSize::bytes(held as i64)), down: path() }
}

fn wish(pair: &mut Pair, kbps: u64) {
    pair.sender.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::kbps(kbps));
}

/// `Peer::receive` drains behind each datagram. A patch would queue received packets.
#[test]
fn of_two_packets_received_without_a_drain_between_them_one_is_lost() {
    let received = |drains: bool| {
        let mut pair = Pair::new(Conditions::symmetric(path()));
        pair.run(SECOND, 400_000);
        let before = pair.receiver.packets;
        pair.receiver.drains = drains;
        pair.run(SECOND, 400_000);
        pair.receiver.packets - before
    };
    let (drained, undrained) = (received(true), received(false));
    assert!((48..=52).contains(&drained), "{drained}");
    assert!(undrained < drained * 4 / 5, "{undrained} of {drained}");
}

/// `Peer::worth_waking` puts such wake-ups 5 ms apart. A patch would give the interval a lower bound.
#[test]
fn on_a_path_without_delay_the_estimator_wants_to_be_woken_without_end() {
    let mut pair = Pair::new(Conditions::IDEAL);
    pair.run(SECOND, 400_000);
    assert!(pair.sender.endless > 10, "{}", pair.sender.endless);
}

/// Video is unpaced, and a layer that is cut is forgotten (`Peer::forget_sent`). A patch would let a stream's queue be
/// emptied.
#[test]
fn what_a_collapsed_link_cannot_take_waits_in_the_pacer() {
    let mut pair = Pair::new(Conditions::symmetric(path()));
    pair.run(2 * SECOND, 400_000);
    pair.sender.rtc.bwe().reset(Bitrate::kbps(100));
    wish(&mut pair, 100);
    pair.run(SECOND, 1_500_000);
    let mut direct = pair.sender.rtc.direct_api();
    let queue = direct.stream_tx_by_mid(pair.mid, None).unwrap().queue_info().unwrap();
    let oldest = pair.now - queue.first_unsent().unwrap();
    assert!(oldest > SECOND / 4, "waits {oldest:?}, {} packets", queue.packet_count());
}

/// The statistics are read ten times a second in place of the event. A patch would announce a fall at once.
#[test]
fn a_collapse_is_announced_later_than_the_statistics_tell_it() {
    let mut pair = Pair::new(thin(2500));
    wish(&mut pair, 3000);
    pair.run(10 * SECOND, 1_500_000);
    pair.change(thin(400));
    let collapsed = pair.now;
    pair.run(6 * SECOND, 1_500_000);
    let told = pair.sender.told.iter().find(|told| told.at > collapsed && told.bitrate < 700_000).unwrap().at;
    let announced = pair.sender.announced.iter().find(|(at, bitrate)| *at > collapsed && *bitrate < 700_000);
    let announced = announced.map_or(pair.now, |(at, _)| *at);
    assert!(
        announced - told > SECOND / 10,
        "told after {:?}, announced after {:?}",
        told - collapsed,
        announced - collapsed
    );
    assert!(
        told - collapsed > SECOND / 3,
        "told after {:?}: `forward/arrivals.rs` is no longer needed",
        told - collapsed
    );
}

/// `forward/bandwidth/queue.rs` drains it. A patch would take a round trip that stays long for an overuse.
#[test]
fn a_queue_that_stands_full_is_no_reason_to_send_less() {
    let mut pair = Pair::new(thin(900));
    wish(&mut pair, 2000);
    pair.run(6 * SECOND, 700_000);
    pair.run(10 * SECOND, 1_000_000);
    let recent = pair.sender.told.iter().rev().take(50);
    let queued = recent.clone().filter(|told| told.rtt > Duration::from_millis(200)).count();
    let high = recent.filter(|told| told.rtt > Duration::from_millis(200) && told.bitrate > 900_000).count();
    assert!(high > 5, "{high} of {queued} readings with a queue believe in more than there is");
}

/// `Bandwidth::aim` starts afresh what does not move. A patch would probe as soon as nothing is lost any more.
#[test]
fn an_estimate_limited_by_loss_stays_low_for_seconds_while_little_is_sent() {
    let after = |workaround: bool| {
        let mut pair = Pair::new(Conditions::symmetric(path()));
        wish(&mut pair, 2000);
        pair.run(3 * SECOND, 400_000);
        pair.change(Conditions { up: path().loss(RandomLoss::new(Probability::new(0.5))), down: path() });
        pair.run(6 * SECOND, 1_500_000);
        pair.change(Conditions::symmetric(path()));
        pair.run(2 * SECOND, 50_000);
        if workaround {
            let stuck = pair.believed();
            pair.sender.rtc.bwe().reset(Bitrate::bps(stuck));
        }
        pair.run(SECOND * 3 / 2, 50_000);
        pair.believed()
    };
    let (stuck, moved) = (after(false), after(true));
    assert!(stuck < 250_000 && moved > stuck * 2, "{stuck} after 3.5 s, {moved} started afresh");
}

/// One second opinion per climb (`Bandwidth::read`). A patch would take for what a link carries only what came since
/// there was enough to send.
#[test]
fn right_after_more_is_sent_the_estimate_falls_to_what_was_sent_before() {
    let mut pair = Pair::new(thin(1800));
    wish(&mut pair, 2000);
    pair.run(8 * SECOND, 150_000);
    let (before, since) = (pair.believed(), pair.now);
    pair.run(3 * SECOND, 1_400_000);
    let lowest = pair.sender.told.iter().filter(|told| told.at > since).map(|told| told.bitrate).min().unwrap();
    assert!(before > 1_300_000 && lowest < 300_000, "{before} before, {lowest} after, of 1800 kbps");
}
