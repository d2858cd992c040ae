//! Tables of who gets what, and what holds for every division.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::rtp::{LayerIndex, Resolution};

const KBPS: u64 = 1000;

/// Three simulcast layers with the bitrates browsers give them.
const CAMERA: [Rung; 3] = [step(150, 180, 30.0), step(500, 360, 30.0), step(1700, 720, 30.0)];
/// A screen in two layers.
const SCREEN: [Rung; 2] = [step(400, 540, 5.0), step(1500, 1080, 15.0)];
/// One layer in three frame rates.
const FRAMES: [Rung; 3] = [step(300, 720, 7.5), step(450, 720, 15.0), step(700, 720, 30.0)];
const SOUND: [Rung; 1] = [Rung { resolution: None, ..step(40, 0, 0.0) }];

const fn step(kbps: u64, height: u16, frame_rate: f32) -> Rung {
    Rung {
        layer: LayerIndex(0),
        spatial: 0,
        temporal: 0,
        bitrate: kbps * KBPS,
        resolution: Some(Resolution { width: height / 9 * 16, height }),
        frame_rate,
        live: true,
    }
}

fn video(ladder: &[Rung]) -> Demand<'_> {
    Demand {
        necessity: Necessity::IfAffordable,
        priority: 0,
        ladder,
        max_height: None,
        max_frame_rate: None,
        held: None,
    }
}

fn sound() -> Demand<'static> {
    Demand { necessity: Necessity::Always, ..video(&SOUND) }
}

/// A budget without hysteresis.
fn kbps(kbps: u64) -> Budget {
    Budget { keep: kbps * KBPS, climb: kbps * KBPS, floor: 0 }
}

fn rungs(budget: Budget, demands: &[Demand<'_>]) -> Vec<Option<usize>> {
    allocate(budget, demands).iter().map(|grant| grant.rung).collect()
}

#[test]
fn up_to_the_floor_everybody_gets_the_lowest_rung_and_nobody_more() {
    let cameras = [video(&CAMERA), video(&CAMERA), video(&CAMERA)];
    assert_eq!(rungs(Budget { floor: 300 * KBPS, ..kbps(200) }, &cameras), [Some(0), Some(0), None]);
    assert_eq!(rungs(Budget { floor: 5000 * KBPS, ..kbps(100) }, &cameras), [Some(0); 3]);
}

#[test]
fn one_viewer_of_one_camera_gets_the_best_that_fits() {
    for (budget, rung, needs) in [
        (0, None, Some(150)),
        (149, None, Some(150)),
        (150, Some(0), Some(500)),
        (499, Some(0), Some(500)),
        (500, Some(1), Some(1700)),
        (1700, Some(2), None),
        (9000, Some(2), None),
    ] {
        let grants = allocate(kbps(budget), &[video(&CAMERA)]);
        assert_eq!(grants[0], Grant { rung, next_needs: needs.map(|kbps| kbps * KBPS) }, "{budget} kbps");
    }
}

#[test]
fn going_up_takes_more_than_staying() {
    let budget = |estimate: u64| Budget { keep: estimate * KBPS * 5 / 4, climb: estimate * KBPS * 9 / 10, floor: 0 };
    for (estimate, held, expected) in [
        (500, Some(0), Some(0)),
        (556, Some(0), Some(1)),
        (556, None, Some(1)),
        (500, Some(1), Some(1)),
        (400, Some(1), Some(1)),
        (399, Some(1), Some(0)),
        // What is held of a higher rung says nothing of the rungs above it.
        (1400, Some(1), Some(1)),
        (1400, Some(2), Some(2)),
    ] {
        let demand = Demand { held, ..video(&CAMERA) };
        assert_eq!(rungs(budget(estimate), &[demand]), [expected], "{estimate} kbps, held {held:?}");
    }
}

#[test]
fn everybody_gets_something_before_anybody_gets_more() {
    let demands = [Demand { priority: 1, ..video(&SCREEN) }, video(&CAMERA)];
    for (budget, expected) in [
        (100, [None, None]),
        // The screen does not fit, so what is there goes to the camera.
        (300, [None, Some(0)]),
        (400, [Some(0), None]),
        (550, [Some(0), Some(0)]),
        // The screen comes first, though the camera could have its next rung.
        (1000, [Some(0), Some(1)]),
        (1650, [Some(1), Some(0)]),
        (2000, [Some(1), Some(1)]),
        (3200, [Some(1), Some(2)]),
    ] {
        assert_eq!(rungs(kbps(budget), &demands), expected, "{budget} kbps");
    }
}

#[test]
fn equals_climb_in_turn() {
    let demands = [video(&CAMERA); 3];
    for (budget, expected) in [
        (450, [Some(0), Some(0), Some(0)]),
        (800, [Some(1), Some(0), Some(0)]),
        (1500, [Some(1), Some(1), Some(1)]),
        (2700, [Some(2), Some(1), Some(1)]),
        (5100, [Some(2), Some(2), Some(2)]),
    ] {
        assert_eq!(rungs(kbps(budget), &demands), expected, "{budget} kbps");
    }
}

#[test]
fn a_wish_between_two_rungs_rounds_up() {
    for (wish, expected) in [(1, 0), (180, 0), (181, 1), (300, 1), (360, 1), (361, 2), (720, 2), (2000, 2)] {
        let demand = Demand { max_height: Some(wish), ..video(&CAMERA) };
        assert_eq!(rungs(kbps(9000), &[demand]), [Some(expected)], "{wish} pixels");
    }
    for (wish, expected) in [(5.0, 0), (7.5, 0), (10.0, 1), (24.0, 2), (60.0, 2)] {
        let demand = Demand { max_frame_rate: Some(wish), ..video(&FRAMES) };
        assert_eq!(rungs(kbps(9000), &[demand]), [Some(expected)], "{wish} pictures a second");
    }
    let unknown = [Rung { resolution: None, ..CAMERA[0] }, Rung { resolution: None, ..CAMERA[1] }];
    let demand = Demand { max_height: Some(100), ..video(&unknown) };
    assert_eq!(rungs(kbps(9000), &[demand]), [Some(1)], "an unknown size hides nothing");
}

#[test]
fn sound_comes_first_and_is_never_left_out() {
    let demands = [Demand { priority: 9, ..video(&CAMERA) }, sound()];
    for (budget, expected) in
        [(0, [None, Some(0)]), (150, [None, Some(0)]), (190, [Some(0), Some(0)]), (540, [Some(1), Some(0)])]
    {
        assert_eq!(rungs(kbps(budget), &demands), expected, "{budget} kbps");
    }
}

#[test]
fn a_paused_track_says_what_it_would_need() {
    let demands = [sound(), Demand { priority: 1, ..video(&SCREEN) }, video(&CAMERA)];
    let grants = allocate(kbps(450), &demands);
    assert_eq!(grants[1], Grant { rung: Some(0), next_needs: Some(1540 * KBPS) });
    assert_eq!(grants[2], Grant { rung: None, next_needs: Some(590 * KBPS) });
    let met = allocate(kbps(590), &demands);
    assert_eq!(met[2].rung, Some(0));
}

#[test]
fn the_ideal_is_the_best_of_everything_that_is_of_use() {
    let small = Demand { max_height: Some(200), ..video(&CAMERA) };
    assert_eq!(ideal(&[sound(), small, video(&SCREEN)]), (40 + 500 + 1500) * KBPS);
    assert_eq!(ideal(&[]), 0);
}

#[test]
fn no_ladder_no_grant() {
    assert_eq!(allocate(kbps(1000), &[video(&[])])[0], Grant::default());
    assert_eq!(allocate(kbps(1000), &[video(&CAMERA); 40]).len(), MAX_DEMANDS);
    let tall: Vec<Rung> = (1..40).map(|kbps| step(kbps, 90, 30.0)).collect();
    assert_eq!(rungs(kbps(1000), &[video(&tall)]), [Some(MAX_RUNGS - 1)]);
}

#[test]
fn what_is_dead_or_costs_more_than_something_better_is_never_given() {
    let dead = [CAMERA[0], Rung { live: false, ..CAMERA[1] }, CAMERA[2]];
    assert_eq!(allocate(kbps(600), &[video(&dead)])[0], Grant { rung: Some(0), next_needs: Some(1700 * KBPS) });
    assert_eq!(rungs(kbps(9000), &[video(&[Rung { live: false, ..CAMERA[0] }])]), [None]);
    let upside_down = [step(150, 180, 30.0), step(600, 360, 30.0), step(500, 720, 30.0)];
    assert_eq!(rungs(kbps(550), &[video(&upside_down)]), [Some(2)]);
}

/// Random demands over random ladders.
struct Case {
    ladders: Vec<Vec<Rung>>,
    demands: Vec<(Necessity, u8, Option<u32>, Option<usize>)>,
}

impl Case {
    fn random(rng: &mut StdRng) -> Self {
        let count = rng.random_range(1..6);
        let ladders: Vec<Vec<Rung>> = (0..count)
            .map(|_| {
                let mut bitrate = 0;
                let mut height = 90;
                (0..rng.random_range(1..6))
                    .map(|_| {
                        bitrate += rng.random_range(20..900);
                        height += rng.random_range(0..3) * 90;
                        step(bitrate, height, 30.0)
                    })
                    .collect()
            })
            .collect();
        let demands = ladders
            .iter()
            .map(|ladder| {
                let necessity = if rng.random_range(0..4) == 0 { Necessity::Always } else { Necessity::IfAffordable };
                let held = rng.random_bool(0.5).then(|| rng.random_range(0..ladder.len()));
                let wish = rng.random_bool(0.3).then(|| rng.random_range(1..800));
                (necessity, rng.random_range(0..3), wish, held)
            })
            .collect();
        Self { ladders, demands }
    }

    fn demands(&self) -> Vec<Demand<'_>> {
        let with = |(steps, &(necessity, priority, max_height, held)): (_, &(Necessity, u8, _, _))| Demand {
            necessity,
            priority,
            max_height,
            held,
            ..video(steps)
        };
        self.ladders.iter().map(Vec::as_slice).zip(&self.demands).map(with).collect()
    }
}

fn cost(demands: &[Demand<'_>], grants: &[Grant]) -> u64 {
    let costs = demands.iter().zip(grants).filter_map(|(demand, grant)| Some(demand.ladder[grant.rung?].bitrate));
    costs.sum()
}

fn each_case(check: impl Fn(&Case, Budget, Budget)) {
    for seed in 0..3000 {
        let mut rng = StdRng::seed_from_u64(seed);
        let case = Case::random(&mut rng);
        let climb = rng.random_range(0..5000) * KBPS;
        let budget = Budget { keep: climb * rng.random_range(100..150) / 100, climb, floor: 0 };
        let larger = Budget { keep: budget.keep + climb / 7, climb: climb + climb / 7, floor: 0 };
        check(&case, budget, larger);
    }
}

#[test]
fn no_budget_is_ever_exceeded() {
    each_case(|case, budget, _| {
        let demands = case.demands();
        let grants = allocate(budget, &demands);
        let forced: u64 =
            demands.iter().filter(|d| d.necessity == Necessity::Always).map(|d| d.ladder[0].bitrate).sum();
        let spent = cost(&demands, &grants);
        assert!(spent <= budget.keep.max(forced), "{spent} of {budget:?}: {grants:?}");
        let climbed = demands.iter().zip(&grants).any(|(demand, grant)| grant.rung > demand.held);
        let kept: u64 = demands.iter().filter_map(|d| Some(d.ladder[d.held?].bitrate)).sum();
        assert!(!climbed || spent <= budget.climb.max(forced) || kept > 0, "{spent} of {budget:?}: {grants:?}");
    });
}

#[test]
fn the_same_question_again_gets_the_same_answer() {
    each_case(|case, budget, _| {
        let mut demands = case.demands();
        let first = allocate(budget, &demands);
        for (demand, grant) in demands.iter_mut().zip(&first) {
            demand.held = grant.rung;
        }
        let second = allocate(budget, &demands);
        assert_eq!(first, second, "{budget:?} {demands:?}");
    });
}

#[test]
fn a_larger_budget_takes_nothing_from_the_most_important() {
    each_case(|case, budget, larger| {
        let demands = case.demands();
        let (less, more) = (allocate(budget, &demands), allocate(larger, &demands));
        let mut order: Vec<usize> = (0..demands.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse((demands[*i].necessity, demands[*i].priority)));
        let first_floors = |grants: &[Grant]| order.iter().map(|i| grants[*i].rung.is_some()).collect::<Vec<_>>();
        assert!(first_floors(&more) >= first_floors(&less), "{budget:?} {demands:?}\n{less:?}\n{more:?}");
        let alone = order.get(1).is_none_or(|second| {
            let rank = |i: usize| (demands[i].necessity, demands[i].priority);
            rank(*second) < rank(order[0])
        });
        let same_floors = first_floors(&more) == first_floors(&less);
        assert!(!alone || !same_floors || more[order[0]].rung >= less[order[0]].rung, "{budget:?} {demands:?}");
    });
}

#[test]
fn what_a_grant_says_it_needs_is_what_it_takes() {
    each_case(|case, budget, _| {
        let demands: Vec<_> = case.demands().into_iter().map(|demand| Demand { held: None, ..demand }).collect();
        let budget = Budget { keep: budget.climb, climb: budget.climb, floor: 0 };
        let grants = allocate(budget, &demands);
        let rank = |i: usize| (demands[i].necessity, demands[i].priority);
        let mut order: Vec<usize> = (0..demands.len()).collect();
        order.sort_by_key(|i| std::cmp::Reverse(rank(*i)));
        let top = order[0];
        let has_equal = order.get(1).is_some_and(|second| rank(*second) == rank(top));
        if has_equal || grants[top].rung.is_none() {
            return;
        }
        let Some(needs) = grants[top].next_needs else { return };
        let met = allocate(Budget { keep: needs, climb: needs, floor: 0 }, &demands);
        assert!(
            met[top].rung > grants[top].rung
                || met.iter().zip(&grants).any(|(a, b)| a.rung.is_some() && b.rung.is_none())
        );
    });
}
