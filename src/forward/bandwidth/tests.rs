//! Estimates in, budgets and wishes out.

use super::trial::{SETTLING, TRIAL};
use super::*;

const KBPS: u64 = 1000;
const STEP: Duration = Duration::from_millis(100);

fn reading(kbps: u64, basis: Basis) -> Reading {
    Reading { bitrate: kbps * KBPS, loss: 0.0, rtt: Some(Duration::from_millis(40)), arrived: None, basis }
}

/// A connection with its time.
struct Case {
    bandwidth: Bandwidth,
    now: Instant,
    asked: Vec<u64>,
    /// How often the estimator was started afresh.
    afresh: u64,
    /// What is added waits for its key frame.
    waits: bool,
}

impl Case {
    /// One that nothing limits.
    fn unknown() -> Self {
        Self { bandwidth: Bandwidth::default(), now: Instant::now(), asked: Vec::new(), afresh: 0, waits: false }
    }

    fn new(kbps: u64) -> Self {
        let mut case = Self::unknown();
        case.estimate(kbps);
        // Something was measured since: queueing, at first.
        let queued = Reading { rtt: Some(Duration::from_millis(240)), ..reading(kbps, Basis::Transport) };
        case.bandwidth.read(case.now, reading(kbps, Basis::Transport));
        case.bandwidth.read(case.now, queued);
        case.bandwidth.read(case.now, reading(kbps, Basis::Transport));
        case
    }

    /// One of which nothing was measured.
    fn guessed(kbps: u64) -> Self {
        let mut case = Self::unknown();
        case.estimate(kbps);
        case
    }

    fn estimate(&mut self, kbps: u64) -> Option<u64> {
        self.bandwidth.read(self.now, reading(kbps, Basis::Transport))
    }

    /// An allocation that came to `total`, with `next` needed for more and for everything.
    fn allocated(&mut self, total: u64, next: Option<u64>) {
        let next = next.map(|next| next * KBPS);
        let total = total * KBPS;
        let outcome = Outcome { total, next_needs: next, ideal: next.unwrap_or(total) };
        let ask = self.bandwidth.allocated(self.now, outcome);
        if !self.waits {
            self.bandwidth.flows(self.now);
        }
        self.asked.extend(ask.map(|ask| ask.desired / KBPS));
        self.afresh += u64::from(ask.is_some_and(|ask| ask.afresh.is_some()));
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    /// The same estimate and outcome for a while.
    fn stay(&mut self, time: Duration, estimate: u64, total: u64, next: Option<u64>) {
        for _ in 0..time.as_millis() / STEP.as_millis() {
            self.wait(STEP);
            assert_eq!(self.estimate(estimate), None);
            self.allocated(total, next);
        }
    }

    fn budget(&self) -> (u64, u64) {
        let Budget { keep, climb, .. } = self.bandwidth.budget(self.now).unwrap();
        (keep / KBPS, climb / KBPS)
    }
}

#[test]
fn without_an_estimate_there_is_no_limit_and_nothing_to_ask() {
    let mut case = Case::unknown();
    case.allocated(1500, None);
    assert_eq!((case.bandwidth.budget(case.now), case.asked.is_empty()), (None, true));
}

#[test]
fn more_is_needed_to_climb_than_to_stay() {
    assert_eq!(Case::new(1000).budget(), (1200, 900));
    assert_eq!(Bandwidth::needed_for(900 * KBPS), 1000 * KBPS);
}

#[test]
fn an_estimate_just_below_what_is_sent_is_borne_for_a_while() {
    let mut case = Case::new(1000);
    case.stay(10 * FIRST_PROBE, 1000, 900, None);
    case.stay(PATIENCE, 800, 900, None);
    assert_eq!(case.budget().0, 960);
    case.stay(2 * STEP, 800, 900, None);
    assert_eq!(case.budget().0, 800);
    case.stay(STEP, 950, 900, None);
    assert_eq!(case.budget().0, 1140, "patience comes back with the estimate");
}

#[test]
fn a_collapsed_estimate_is_taken_by_half_until_it_is_of_today() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 1500, None);
    case.wait(STEP);
    let queued = Reading { rtt: Some(Duration::from_millis(200)), ..reading(1000, Basis::Transport) };
    assert_eq!(case.bandwidth.read(case.now, queued), None);
    assert_eq!(case.budget(), (500, 500));
    assert!(case.bandwidth.is_collapsing(case.now));
    case.stay(COLLAPSE + STEP, 1000, 500, Some(1500));
    assert_eq!(case.budget(), (1200, 900));
}

#[test]
fn a_bottleneck_below_what_is_sent_is_believed_before_the_estimator() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 1500, None);
    let start = case.now;
    let mut told = |milliseconds: u32, bytes, rtt| {
        case.now = start + milliseconds * STEP / 100;
        let rtt = Duration::from_millis(rtt);
        let left = STEP + (case.now - start) - (rtt - Duration::from_millis(40));
        let (arrived, rtt) = (Some(Arrived { at: case.now - start, bytes, left }), Some(rtt));
        let afresh = case.bandwidth.read(case.now, Reading { rtt, arrived, ..reading(2000, Basis::Transport) });
        (afresh, case.budget().0)
    };
    assert_eq!(told(100, 18_750, 40), (None, 2400));
    assert_eq!(told(200, 30_000, 80), (None, 2400), "there was no queue at first");
    assert_eq!(told(300, 45_000, 170), (None, 2400), "1200 kbps are no less than a back-off");
    assert_eq!(told(400, 50_000, 240), (None, 200), "half of the 400 kbps that got through");
    assert_eq!(told(500, 52_500, 90), (None, 200), "whatever the estimator says, until the queue is gone");
    assert_eq!(told(1250, 180_000, 120), (None, 480), "its probes would go into the queue");
    assert_eq!(told(1300, 185_000, 40), (Some(400 * KBPS), 480), "which then hears of it");
    assert_eq!(told(1400, 185_000, 40), (None, 2400));
}

#[test]
fn a_fall_without_a_sign_of_a_queue_is_believed_when_it_is_repeated() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 1500, None);
    for (estimate, budget) in [(600, 2400), (2000, 2400), (600, 2400), (600, 300)] {
        case.wait(STEP);
        assert_eq!(case.estimate(estimate), None);
        assert_eq!(case.budget().0, budget);
    }
}

#[test]
fn a_back_off_to_a_share_of_what_is_sent_is_no_collapse() {
    let mut case = Case::new(5000);
    case.stay(Duration::from_secs(10), 5000, 500, None);
    case.wait(STEP);
    case.estimate(425);
    case.estimate(425);
    assert!(!case.bandwidth.is_collapsing(case.now));
    assert_eq!(case.budget().0, 510);
}

#[test]
fn an_estimate_that_falls_right_after_a_climb_gets_one_second_opinion() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 200, Some(1500));
    case.allocated(1500, None);
    case.wait(3 * STEP);
    assert_eq!((case.estimate(300), case.estimate(300)), (None, Some(2000 * KBPS)));
    assert_eq!(case.budget(), (2400, 1800), "what was known stands");
    case.wait(STEP);
    assert_eq!((case.estimate(1200), case.estimate(1200)), (None, None));
    assert_eq!(case.bandwidth.estimate(), Some(1200 * KBPS));
}

#[test]
fn what_waits_for_its_key_frame_is_new_when_it_flows() {
    let falls = |waits: Duration, flows: Duration| {
        let mut case = Case::new(2000);
        case.stay(Duration::from_secs(10), 2000, 150, Some(1500));
        case.waits = true;
        case.stay(waits, 2000, 1500, None);
        case.waits = false;
        case.stay(flows, 2000, 1500, None);
        assert_eq!(case.estimate(170), None, "it is repeated before it is believed");
        case.estimate(170)
    };
    let long = 2 * SETTLING;
    assert_eq!(falls(long, Duration::ZERO), Some(2000 * KBPS));
    assert_eq!(falls(long, SETTLING / 2), Some(2000 * KBPS));
    assert_eq!(falls(long, long), None);
}

#[test]
fn into_a_queue_nothing_is_probed_and_no_second_opinion_is_taken() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 200, Some(1500));
    case.allocated(1500, Some(3000));
    case.wait(3 * STEP);
    let queued = Reading { rtt: Some(Duration::from_millis(200)), ..reading(1400, Basis::Transport) };
    assert_eq!((case.bandwidth.read(case.now, queued), case.bandwidth.read(case.now, queued)), (None, None));
    case.allocated(1500, Some(3000));
    assert_eq!(case.asked.last(), Some(&1400));
}

#[test]
fn a_queue_that_stands_limits_to_less_than_is_sent_whatever_the_estimate() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 1000, Some(1500));
    for _ in 0..8 {
        case.wait(STEP);
        let queued = Reading { rtt: Some(Duration::from_millis(200)), ..reading(2000, Basis::Transport) };
        case.bandwidth.read(case.now, queued);
        case.allocated(1000, Some(1500));
    }
    assert_eq!(case.budget(), (800, 720));
    case.wait(STEP);
    case.estimate(2000);
    assert_eq!(case.budget(), (2400, 1800), "it has drained");
}

#[test]
fn what_failed_soon_after_it_was_tried_rests_longer_each_time() {
    let mut case = Case::new(2000);
    case.allocated(500, Some(1500));
    for rest in [5, 10, 20, 40, 60, 60] {
        case.allocated(1500, None);
        case.wait(Duration::from_secs(3));
        case.estimate(1000);
        case.estimate(1000);
        case.allocated(500, Some(1500));
        case.wait(Duration::from_secs(rest) - STEP);
        case.estimate(2000);
        assert_eq!(case.budget().1, 1350, "after {rest} s");
        case.wait(STEP);
        assert_eq!(case.budget().1, 1800, "after {rest} s");
    }
}

#[test]
fn what_failed_is_tried_at_once_on_a_link_that_got_much_better() {
    let mut case = Case::new(2000);
    case.allocated(500, Some(1500));
    case.allocated(1500, None);
    case.wait(Duration::from_secs(3));
    case.estimate(1000);
    case.estimate(1000);
    case.allocated(500, Some(1500));
    case.wait(COLLAPSE);
    for (estimate, climb) in [(2249, 1350), (2250, 2025), (2000, 1350)] {
        case.estimate(estimate);
        assert_eq!(case.budget().1, climb, "at {estimate}");
    }
}

#[test]
fn what_went_well_for_long_and_fails_then_is_tried_again_at_once() {
    let mut case = Case::new(2000);
    case.allocated(1500, None);
    case.wait(TRIAL);
    case.allocated(500, Some(1500));
    assert_eq!(case.budget().1, 1800);
}

#[test]
fn everything_is_asked_for_at_the_start_and_nothing_at_the_top() {
    let mut case = Case::new(500);
    case.allocated(200, Some(1800));
    case.estimate(2500);
    case.allocated(1800, None);
    assert_eq!(case.asked, [2000, 0]);
}

#[test]
fn in_the_long_run_the_wish_is_lowered_and_raised_to_be_probed_for() {
    let mut case = Case::new(500);
    for second in 0..20 {
        case.stay(Duration::from_secs(1), 500 + second, 200, Some(900));
    }
    let probes = case.asked.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!((6..=9).contains(&probes), "{probes} probes: {:?}", case.asked);
    assert!(case.asked.iter().all(|desired| (949..=1000).contains(desired)), "{:?}", case.asked);
    assert_eq!(case.afresh, 0);
}

#[test]
fn an_estimate_that_no_probe_moves_is_started_afresh() {
    let mut case = Case::new(500);
    case.stay(Duration::from_secs(20), 500, 200, Some(900));
    assert!((5..=8).contains(&case.afresh), "{} times", case.afresh);
}

#[test]
fn an_estimate_that_does_not_cover_what_is_sent_is_verified() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 900, None);
    assert!(case.asked.is_empty(), "{:?}", case.asked);
    case.stay(Duration::from_secs(1), 800, 900, None);
    assert_eq!(case.asked.last(), Some(&1000));
}

#[test]
fn heavy_loss_limits_to_what_arrives() {
    let mut case = Case::new(2000);
    case.stay(Duration::from_secs(10), 2000, 1000, None);
    for (loss, expected) in [(0.05, 2000), (0.25, 750)] {
        case.wait(STEP);
        case.bandwidth.read(case.now, Reading { loss, ..reading(2000, Basis::Transport) });
        case.bandwidth.read(case.now, Reading { loss, ..reading(2000, Basis::Transport) });
        assert_eq!(case.bandwidth.estimate(), Some(expected * KBPS), "{loss}");
    }
}

#[test]
fn a_better_basis_replaces_a_worse_one_for_good() {
    let mut case = Case::unknown();
    for (kbps, basis, expected) in [
        (300, Basis::Loss, 300),
        (700, Basis::Receiver, 700),
        (200, Basis::Loss, 700),
        (900, Basis::Transport, 900),
        (100, Basis::Receiver, 900),
    ] {
        case.bandwidth.read(case.now, reading(kbps, basis));
        assert_eq!(case.bandwidth.estimate(), Some(expected * KBPS), "{kbps} by {basis:?}");
    }
}

#[test]
fn receivers_that_report_only_loss_are_unlimited_until_they_lose() {
    let mut bandwidth = Bandwidth::default();
    let now = Instant::now();
    bandwidth.lost(now, 0.05, 1500 * KBPS);
    assert_eq!(bandwidth.estimate(), None);
    bandwidth.lost(now, 0.4, 1500 * KBPS);
    assert_eq!(bandwidth.estimate(), Some(1200 * KBPS));
    bandwidth.lost(now, 0.05, 500 * KBPS);
    assert_eq!(bandwidth.estimate(), Some(1200 * KBPS), "between the thresholds nothing changes");
    bandwidth.lost(now, 0.0, 500 * KBPS);
    assert_eq!(bandwidth.estimate(), Some(1297 * KBPS));
    bandwidth.lost(now, 0.5, 500 * KBPS);
    assert_eq!(bandwidth.estimate(), Some(375 * KBPS), "counted from what was sent");
}

#[test]
fn a_lone_picture_is_given_up_after_a_while_and_tried_again() {
    let mut case = Case::new(50);
    assert!(case.bandwidth.may_carry(case.now, 50 * KBPS));
    let mut tried = Vec::new();
    for _ in 0..30 {
        tried.push(case.bandwidth.may_carry(case.now, 75 * KBPS));
        case.wait(Duration::from_secs(1));
    }
    let runs: Vec<_> = tried.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect();
    assert_eq!(runs[..4], [(true, 3), (false, 5), (true, 3), (false, 10)]);
    case.estimate(150);
    assert!(case.bandwidth.may_carry(case.now, 75 * KBPS));
}

#[test]
fn on_a_guess_nothing_is_taken_away_and_everybody_gets_something() {
    let mut case = Case::guessed(500);
    case.allocated(900, None);
    let guess = case.bandwidth.budget(case.now).unwrap();
    assert_eq!(guess, Budget { keep: u64::MAX, climb: 450 * KBPS, floor: 1500 * KBPS });
    case.stay(2 * START_PROBE, 500, 900, None);
    assert!(case.afresh > 0, "probes that met a key frame are repeated soon");
    let (mut measured, mut failed, mut late) = (Case::guessed(500), Case::guessed(500), Case::guessed(500));
    measured.estimate(750);
    assert_eq!(measured.budget(), (900, 675));
    failed.estimate(499);
    assert_eq!(failed.budget().0, 598);
    late.allocated(900, None);
    for _ in 0..60 {
        late.wait(STEP);
        late.bandwidth.read(late.now, Reading { loss: 0.05, ..reading(500, Basis::Transport) });
        late.allocated(900, None);
    }
    assert_eq!(late.budget(), (500, 450), "a guess that nothing confirms is not believed for ever");
}

#[test]
fn what_went_down_because_less_is_watched_may_come_back_at_once() {
    let mut case = Case::new(5000);
    case.stay(10 * STEP, 5000, 3000, None);
    case.stay(10 * STEP, 5000, 1000, None);
    assert_eq!(case.budget().1, 4500);
}

#[test]
fn what_gets_through_for_a_while_is_carried_whatever_the_estimator_says() {
    let short = |loss: f32| {
        let mut case = Case::new(1000);
        let mut afresh = Vec::new();
        case.stay(20 * STEP, 1000, 200, Some(300));
        for _ in 0..60 {
            case.wait(STEP);
            afresh.extend(case.bandwidth.read(case.now, Reading { loss, ..reading(120, Basis::Transport) }));
            case.allocated(200, Some(300));
        }
        afresh
    };
    assert_eq!(short(0.0), [200 * KBPS, 200 * KBPS], "started afresh from what is sent, not again and again");
    assert!(short(0.05).is_empty());
}

#[test]
fn an_estimator_that_was_corrected_is_given_time() {
    let mut case = Case::new(1000);
    case.stay(20 * STEP, 1000, 200, Some(300));
    let read = |case: &mut Case| {
        case.wait(STEP);
        case.bandwidth.read(case.now, reading(120, Basis::Transport))
    };
    let corrected = (0..60).find_map(|_| {
        let corrected = read(&mut case);
        if corrected.is_none() {
            case.allocated(200, Some(300));
        }
        corrected
    });
    assert_eq!(corrected, Some(200 * KBPS));
    // Nothing was divided anew meanwhile.
    assert!((0..5).all(|_| read(&mut case).is_none()));
}
