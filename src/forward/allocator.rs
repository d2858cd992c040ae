//! Divides what a participant's link carries among the tracks it is sent: one pure function.
//!
//! Everybody gets something before anybody gets more: first the lowest rung of each ladder, in order of priority, then
//! the next rungs, the most important demand first and equals in turn. Thresholds for up and down lie apart, because
//! the caller gives two budgets, so an estimate that trembles moves nobody. What is already sent is the only memory,
//! and it comes in with the demand. Not here: estimates, time, and what is asked of the engine (`sfu::allocation`).

use arrayvec::ArrayVec;

use super::{MAX_RUNGS, Rung};

/// Tracks sent to one participant, and more than it has slots. Larger: more work per allocation; smaller: slots that
/// are never served.
pub const MAX_DEMANDS: usize = 32;

/// What may be spent, in bit/s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// On going on with what is sent already, or with less of it.
    pub keep: u64,
    /// In all, when something is sent that was not sent before. Below `keep`, or up and down would meet.
    pub climb: u64,
    /// In all, when it is the lowest rung of a ladder, if that is more: there is hope that everybody gets something.
    pub floor: u64,
}

/// What one slot asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Demand<'a> {
    /// Whether it may be left out.
    pub necessity: Necessity,
    /// Larger is served first.
    pub priority: u8,
    /// What there is, worst first; at most [`MAX_RUNGS`] of it count. Only what is live is given.
    pub ladder: &'a [Rung],
    /// Height of the place it is shown in. Between two rungs the upper one is right: a picture too small is seen.
    pub max_height: Option<u32>,
    /// Pictures per second that are of use; the same rule.
    pub max_frame_rate: Option<f32>,
    /// The rung that is sent now.
    pub held: Option<usize>,
}

/// Whether a demand may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Necessity {
    /// When the link is too thin for it.
    IfAffordable,
    /// Never: its lowest rung is sent whatever the budget. Sound, and layers a person chose.
    Always,
}

/// What one slot gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Grant {
    /// The rung to send; `None` pauses.
    pub rung: Option<usize>,
    /// The least [`climb`](Budget::climb) budget with which it could get the next rung (for a paused one: its first),
    /// if nobody else took more; `None` when there is nothing better to get.
    pub next_needs: Option<u64>,
}

/// The grants, in the order of the demands. Demands beyond [`MAX_DEMANDS`] get nothing.
pub fn allocate(budget: Budget, demands: &[Demand<'_>]) -> ArrayVec<Grant, MAX_DEMANDS> {
    let mut division = Division::new(budget, demands);
    for index in division.order.clone() {
        division.serve(index);
    }
    let order = division.order.clone();
    for equals in order.chunk_by(|a, b| rank(demands, *a) == rank(demands, *b)) {
        while equals.iter().filter(|index| division.serve(**index)).count() > 0 {}
    }
    division.takers.into_iter().map(|taker| Grant { rung: taker.rung, next_needs: taker.next_needs }).collect()
}

/// What it would cost to give every demand the best it has a use for, in bit/s.
pub fn ideal(demands: &[Demand<'_>]) -> u64 {
    let best = |demand: &Demand<'_>| {
        let best = Rungs::useful(demand).last()?;
        demand.ladder.get(best).map(|rung| rung.bitrate)
    };
    demands.iter().filter_map(best).sum()
}

/// A division under way.
struct Division<'a> {
    budget: Budget,
    demands: &'a [Demand<'a>],
    /// Indices of the demands, the most important first.
    order: ArrayVec<usize, MAX_DEMANDS>,
    takers: ArrayVec<Taker, MAX_DEMANDS>,
    spent: u64,
}

/// How far a demand has been served.
#[derive(Debug, Clone, Copy)]
struct Taker {
    useful: Rungs,
    rung: Option<usize>,
    next_needs: Option<u64>,
}

impl<'a> Division<'a> {
    fn new(budget: Budget, demands: &'a [Demand<'a>]) -> Self {
        let takers: ArrayVec<_, MAX_DEMANDS> = demands
            .iter()
            .take(MAX_DEMANDS)
            .map(|demand| Taker { useful: Rungs::useful(demand), rung: None, next_needs: None })
            .collect();
        let mut order: ArrayVec<usize, MAX_DEMANDS> = (0..takers.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(rank(demands, *index)));
        Self { budget, demands, order, takers, spent: 0 }
    }

    /// Gives a demand its next rung, if it has a use for one and the budget allows it. The others' shares stand.
    fn serve(&mut self, index: usize) -> bool {
        let (Some(demand), Some(taker)) = (self.demands.get(index), self.takers.get_mut(index)) else { return false };
        let cost = |rung: usize| demand.ladder.get(rung).map(|rung| rung.bitrate);
        let Some(next) = taker.useful.after(taker.rung) else {
            taker.next_needs = None;
            return false;
        };
        let others = self.spent.saturating_sub(taker.rung.and_then(cost).unwrap_or(0));
        let total = others.saturating_add(cost(next).unwrap_or(u64::MAX));
        let allowed = if demand.held >= Some(next) { self.budget.keep } else { self.budget.climb };
        let allowed = if taker.rung.is_none() { allowed.max(self.budget.floor) } else { allowed };
        let forced = taker.rung.is_none() && demand.necessity == Necessity::Always;
        if total <= allowed || forced {
            taker.rung = Some(next);
            taker.next_needs = None;
            self.spent = total;
            return true;
        }
        // Asked again later, the answer is the same, but more has been spent on others by then.
        taker.next_needs.get_or_insert(total);
        false
    }
}

fn rank(demands: &[Demand<'_>], index: usize) -> Option<(Necessity, u8)> {
    demands.get(index).map(|demand| (demand.necessity, demand.priority))
}

/// Rungs of one ladder, as a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rungs(u32);

impl Rungs {
    /// Those a demand has a use for: up to the first that fills the place, in size and in pictures per second. One that
    /// costs no less than a better one is of no use.
    fn useful(demand: &Demand<'_>) -> Self {
        let ladder = demand.ladder.get(..MAX_RUNGS).unwrap_or(demand.ladder);
        let height = |rung: &Rung| rung.resolution.map(|size| u32::from(size.height));
        let tall_enough = demand.max_height.and_then(|wanted| {
            let heights = ladder.iter().filter(|rung| rung.live).filter_map(height);
            heights.filter(|height| *height >= wanted).min()
        });
        let fits = |rung: &Rung| {
            rung.live && tall_enough.is_none_or(|enough| height(rung).is_none_or(|height| height <= enough))
        };
        let fast_enough = demand.max_frame_rate.and_then(|wanted| {
            let rates = ladder.iter().filter(|rung| fits(rung)).map(|rung| rung.frame_rate);
            rates.filter(|rate| *rate >= wanted).min_by(f32::total_cmp)
        });
        let slow_enough = |rung: &Rung| fast_enough.is_none_or(|enough| rung.frame_rate <= enough);
        let mut useful = 0;
        let mut cheapest_better = u64::MAX;
        for (index, rung) in ladder.iter().enumerate().rev() {
            if fits(rung) && slow_enough(rung) && rung.bitrate < cheapest_better {
                useful |= 1 << index;
                cheapest_better = rung.bitrate;
            }
        }
        Self(useful)
    }

    /// The lowest above `rung`.
    fn after(self, rung: Option<usize>) -> Option<usize> {
        let above = match rung {
            None => self.0,
            Some(rung) => u32::try_from(rung + 1).ok().and_then(|shift| u32::MAX.checked_shl(shift))? & self.0,
        };
        (above != 0).then(|| above.trailing_zeros() as usize)
    }

    /// The highest.
    fn last(self) -> Option<usize> {
        (self.0 != 0).then(|| self.0.ilog2() as usize)
    }
}

#[cfg(test)]
mod tests;
