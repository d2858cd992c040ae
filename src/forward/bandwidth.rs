//! What one viewer's connection carries, as far as anybody knows: turns estimates into budgets, and doubts into probes.
//!
//! The estimator (str0m's, from transport-wide feedback) tells what it believes; receivers without that feedback tell a
//! bitrate (REMB) or only their loss. Here it is decided how far to believe them. An estimate just below what is sent
//! is a back-off by 15 % from a link that carries everything, and deserves a second look; one far below is congestion.
//! A total that failed soon after it was tried is not tried again at once. Not here: who gets how much (`allocator`).

mod queue;
mod trial;

use std::time::{Duration, Instant};

use self::queue::Queue;
use self::trial::Trial;
use super::Budget;
use super::arrivals::{Arrived, Throughput};

/// Share of the estimate that something new may bring the total to. Larger: layers are tried that just do not fit;
/// smaller: links are left half used.
const CLIMB_SHARE: (u64, u64) = (9, 10);

/// What is sent may exceed the estimate by this factor for a while. After an overuse the estimate is 0.85 of what
/// arrived: within 1 / 0.85 all of it arrived. Larger: congestion is taken for noise; smaller: noise for congestion.
const KEEP_FACTOR: (u64, u64) = (6, 5);

/// For how long. Larger: a link that carries almost enough builds up a queue; smaller: pictures shrink for a moment's
/// jitter, before a probe could tell.
const PATIENCE: Duration = Duration::from_secs(2);

/// Totals within this share of one that failed are the same. Bitrates breathe: only a change of layers moves a total by
/// a tenth. Larger: what failed is tried again when it breathes; smaller: less than what failed is not tried.
const SAME_SHARE: (u64, u64) = (9, 10);

/// An estimate this many times a total that failed is of a better link. Larger: who gets a better link waits for the
/// rest to be over; smaller: an estimate that swings tries again what just failed.
const OUTGROWN: (u64, u64) = (3, 2);

/// How long a total that failed is not tried again, the first time; doubled each time it fails again.
const FIRST_REST: Duration = Duration::from_secs(5);

/// The longest such rest. Larger: a better link is noticed later; smaller: a viewer at the edge sees more changes.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Wait before a first probe for what is not known to fit; doubled up to [`PROBE_INTERVAL`]. Larger: slower recovery;
/// smaller: probes into a congestion that has only begun.
const FIRST_PROBE: Duration = Duration::from_millis(600);

/// Time between probes in the long run: each is some 15 ms at up to twice the estimate. Larger: a better link is
/// noticed later; smaller: more padding on links that never get better.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// For this long after there is something to send everything is probed for at once, so that a good link reaches the top
/// in a second. For as long nothing is taken away on the engine's first guess alone.
const START: Duration = Duration::from_secs(3);

/// How many times the engine's first guess everybody's smallest pictures may come to: its probes load the line as much.
/// Larger: a thin link is overrun at the start; smaller: people appear one after the other.
const GUESSED: u64 = 3;

/// An estimate this many times the first one was measured.
const MEASURED: (u64, u64) = (3, 2);

/// Wait before probing again at the start. A key frame leaves in one burst, and a probe that meets it measures nothing.
/// Larger: some good links start with small pictures; smaller: probes are repeated before their result can be back.
const START_PROBE: Duration = Duration::from_millis(250);

/// An estimate that falls below this share of what is sent has left the range of a back-off.
const COLLAPSE_SHARE: (u64, u64) = (4, 5);

/// For how long a collapsed estimate is taken by half. It is a share of what arrived lately, most of it from before the
/// link went bad, and what was sent since is still queued. Larger: small pictures for longer; smaller: the next layer
/// down is tried, too large as well, and freezes.
const COLLAPSE: Duration = Duration::from_millis(800);

/// Share of a collapsed estimate that everybody's smallest pictures may come to, where it is not so far below what was
/// sent that it tells of the past. Larger: queues drain slowly; smaller: people disappear for a second.
const PRESENCE_SHARE: (u64, u64) = (7, 10);

/// For how long a lone picture is sent although the estimate covers not even half of it. Larger: sound suffers longer
/// on a hopeless link; smaller: pictures pause whenever an estimate is still recovering from a collapse.
const HOPE: Duration = Duration::from_secs(3);

/// Loss above which a receiver that reports nothing else is sent less (draft-ietf-rmcat-gcc-02 section 6).
const HIGH_LOSS: f32 = 0.10;

/// Loss below which it may be sent more.
const LOW_LOSS: f32 = 0.02;

/// What was sent for this long without loss and without a queue is carried, whatever the estimator makes of earlier
/// losses. Beyond [`PATIENCE`], so it is sound, or a lone picture: the rest was taken away. Larger: pictures stay away
/// longer after a congestion; smaller: one that only pauses passes for its end.
const CARRIED: Duration = Duration::from_millis(2500);

/// How much the engine's wishes must change to be worth telling.
const WORTH_TELLING: u64 = 20;

/// A viewer's connection.
#[derive(Debug, Clone, Default)]
pub struct Bandwidth {
    estimate: Option<Estimate>,
    /// The estimate an engine began with, as long as nothing was measured.
    guess: Option<u64>,
    /// Since when there is something to send.
    started: Option<Instant>,
    /// Since when the estimate does not cover what is sent.
    short_since: Option<Instant>,
    /// What is sent in all, and since when it is at least that much.
    trial: Option<Trial>,
    collapsed: Option<Instant>,
    throughput: Throughput,
    /// What was seen to be let through when it collapsed, until the estimator was told.
    carried: Option<u64>,
    /// The last reading fell without a sign of a queue, and was not believed.
    doubted: bool,
    queue: Queue,
    /// There was a queue, or loss: it does not carry everything.
    is_limited: bool,
    /// Since when nothing was lost and nothing queued.
    clear_since: Option<Instant>,
    /// When the estimator was last started afresh because more got through than it believed.
    corrected: Option<Instant>,
    hopeless_since: Option<Instant>,
    /// Until when a lone picture is not tried again, and how long that was.
    given_up: Option<(Instant, Duration)>,
    failed: Option<Failed>,
    probe: Probe,
    asked: Ask,
}

/// What is believed of the connection.
#[derive(Debug, Clone, Copy)]
struct Estimate {
    bitrate: u64,
    basis: Basis,
}

/// What an engine or a receiver tells of a connection.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reading {
    /// What it is believed to carry, in bit/s.
    pub bitrate: u64,
    /// The share of packets lost in the last second, where that is told.
    pub loss: f32,
    /// The last round trip, where that is told.
    pub rtt: Option<Duration>,
    /// What has arrived, where that is known.
    pub arrived: Option<Arrived>,
    /// Who says so.
    pub basis: Basis,
}

/// Where an estimate comes from, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// Loss in receiver reports.
    Loss,
    /// The receiver's own estimate (REMB).
    Receiver,
    /// Transport-wide feedback.
    Transport,
}

/// A total that was too much.
#[derive(Debug, Clone, Copy)]
struct Failed {
    total: u64,
    until: Instant,
    rest: Duration,
}

/// When the next probe is due, and how the last went.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    due: Option<Instant>,
    wait: Duration,
    /// The wish was lowered, so that raising it again makes the engine probe.
    cocked: bool,
    /// The estimate when it probed last.
    before: Option<u64>,
}

/// What the engine is asked for, in bit/s (`bwe().set_bitrate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ask {
    /// What there would be a use for: it is probed for. Zero: nothing is probed for.
    pub desired: u64,
    /// The bitrate to start estimating afresh with.
    pub afresh: Option<u64>,
}

/// How an allocation came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Cost of everything that is sent.
    pub total: u64,
    /// What the next better thing needs in all; `None` at the top.
    pub next_needs: Option<u64>,
    /// What all the best things need.
    pub ideal: u64,
}

impl Bandwidth {
    /// A reading. One on a better basis than known so far replaces it for good. Returns the bitrate that the estimator
    /// should start afresh with, when it needs to.
    pub fn read(&mut self, now: Instant, reading: Reading) -> Option<u64> {
        let Reading { loss, rtt, basis, .. } = reading;
        if self.estimate.is_some_and(|known| known.basis > basis) {
            return None;
        }
        let known = self.estimate.filter(|known| known.basis == basis);
        let total = self.trial.map_or(0, |trial| trial.total);
        // A full queue delays no longer, it only loses, and the estimator notices late.
        let settled = self.collapsed.is_none_or(|at| now.saturating_duration_since(at) > COLLAPSE * 2);
        let arrives =
            if loss > HIGH_LOSS && settled { (total as f64 * f64::from(1.0 - loss)) as u64 } else { u64::MAX };
        self.queue.read(now, rtt, reading.arrived, total);
        let bitrate = reading.bitrate.min(arrives).min(self.queue.limit().unwrap_or(u64::MAX));
        let queued = self.queue.is_there();
        self.is_limited |= queued || loss > HIGH_LOSS;
        let clear = loss < LOW_LOSS && !queued;
        self.clear_since = clear.then(|| self.clear_since.unwrap_or(now));
        self.guess = match known {
            None => (basis == Basis::Transport).then_some(bitrate),
            Some(_) if queued || loss > HIGH_LOSS => None,
            Some(_) => self.guess.filter(|guess| (*guess..scaled(*guess, MEASURED)).contains(&bitrate)),
        };
        let through = self.throughput.read(reading.arrived, self.queue.delay()).filter(|_| queued);
        let narrow = through.filter(|carried| *carried < scaled(total, COLLAPSE_SHARE));
        if narrow.is_some() || self.carried.is_some() {
            return self.believe_bottleneck(now, narrow, Estimate { bitrate, basis });
        }
        if let Some(known) = known
            && (bitrate < total && known.bitrate >= total)
            && basis == Basis::Transport
        {
            if !queued && !std::mem::replace(&mut self.doubted, true) {
                return None;
            }
            if !queued && self.trial.as_mut().is_some_and(|trial| trial.takes_second_opinion(now)) {
                return Some(known.bitrate);
            }
        }
        self.doubted = false;
        if bitrate < total && basis == Basis::Transport && self.is_carried(now) {
            self.corrected = Some(now);
            self.estimate = Some(Estimate { bitrate: total, basis });
            return Some(total);
        }
        if known.is_some_and(|known| bitrate < known.bitrate) && bitrate < scaled(total, COLLAPSE_SHARE) {
            self.collapsed = Some(now);
        }
        self.estimate = Some(Estimate { bitrate, basis });
        None
    }

    /// Less gets through than is sent, now or a moment ago. The estimator will see it later, and hears of it
    /// when the queue is gone: what it measures of one that drains says little.
    fn believe_bottleneck(&mut self, now: Instant, narrow: Option<u64>, told: Estimate) -> Option<u64> {
        if narrow.is_some() {
            (self.collapsed, self.carried, self.doubted) = (Some(now), narrow, false);
        }
        let ended = !(self.is_collapsing(now) || self.queue.is_there());
        let carried = if ended { self.carried.take() } else { self.carried };
        let bitrate = carried.filter(|_| ended).unwrap_or(told.bitrate.min(carried.unwrap_or(u64::MAX)));
        self.estimate = Some(Estimate { bitrate, ..told });
        carried.filter(|_| ended)
    }

    /// What is sent has been getting through for a while, which the estimator was not told lately.
    fn is_carried(&self, now: Instant) -> bool {
        let lasts =
            |since: Option<Instant>, time| since.is_some_and(|since| now.saturating_duration_since(since) >= time);
        let recently = self.corrected.is_some_and(|at| now.saturating_duration_since(at) < PROBE_INTERVAL);
        lasts(self.clear_since, CARRIED) && lasts(self.short_since, CARRIED) && !recently
    }

    /// A receiver report of one that gives no estimates: the share lost, while `sent` bit/s were sent.
    pub fn lost(&mut self, now: Instant, share: f32, sent: u64) {
        let known = self.estimate.filter(|estimate| estimate.basis == Basis::Loss).map(|estimate| estimate.bitrate);
        let changed = match known {
            _ if share > HIGH_LOSS => {
                let arrived = known.unwrap_or(u64::MAX).min(sent) as f64 * f64::from(1.0 - 0.5 * share);
                arrived as u64
            }
            Some(known) if share < LOW_LOSS => known.saturating_mul(108) / 100 + 1000,
            _ => return,
        };
        self.read(now, Reading { bitrate: changed, loss: 0.0, rtt: None, arrived: None, basis: Basis::Loss });
    }

    /// The estimate in bit/s; `None` while nothing limits this viewer.
    pub fn estimate(&self) -> Option<u64> {
        self.estimate.map(|estimate| estimate.bitrate)
    }

    /// What may be spent, with `sent` being what the last allocation came to. `None`: there is no limit known.
    pub fn budget(&self, now: Instant) -> Option<Budget> {
        let Estimate { bitrate, basis, .. } = self.estimate?;
        if self.is_collapsing(now) {
            let total = self.trial.map_or(0, |trial| trial.total);
            let floor = if bitrate >= total / 2 { scaled(bitrate, PRESENCE_SHARE) } else { 0 };
            return Some(Budget { keep: bitrate / 2, climb: bitrate / 2, floor });
        }
        if self.is_guessing(now) {
            return Some(Budget { keep: u64::MAX, climb: scaled(bitrate, CLIMB_SHARE), floor: bitrate * GUESSED });
        }
        let patient = self.short_since.is_none_or(|since| now.saturating_duration_since(since) < PATIENCE);
        let drains = self.queue.limit().is_some();
        let keep = if patient && !drains && basis == Basis::Transport { scaled(bitrate, KEEP_FACTOR) } else { bitrate };
        let rests = |failed: &Failed| now < failed.until && bitrate < scaled(failed.total, OUTGROWN);
        let failed = self.failed.filter(rests).map_or(u64::MAX, |failed| failed.total);
        let climb = scaled(bitrate, CLIMB_SHARE).min(scaled(failed, SAME_SHARE));
        // Into a queue nothing is added.
        let sent = self.trial.filter(|_| self.queue.is_there()).map_or(u64::MAX, |trial| trial.total);
        Some(Budget { keep, climb: climb.min(keep).min(sent), floor: 0 })
    }

    /// Nothing was measured yet.
    fn is_guessing(&self, now: Instant) -> bool {
        self.guess.is_some() && self.is_starting(now)
    }

    fn is_starting(&self, now: Instant) -> bool {
        self.started.is_none_or(|started| now.saturating_duration_since(started) < START)
    }

    /// The link has just gone bad: what is still being sent goes into a queue that is full.
    pub fn is_collapsing(&self, now: Instant) -> bool {
        self.collapsed.is_some_and(|collapsed| now.saturating_duration_since(collapsed) < COLLAPSE)
    }

    /// It has gone bad after that time, which should not have to wait.
    pub fn collapsed(&self, since: Instant) -> bool {
        self.collapsed.is_some_and(|collapsed| collapsed > since)
    }

    /// What is sent with a picture that is there may stay as it is: an estimate just below it is borne, and one that
    /// has collapsed may be of the past.
    pub fn may_keep(&mut self, now: Instant, total: u64) -> bool {
        let least = if self.is_collapsing(now) { 0 } else { total.saturating_mul(KEEP_FACTOR.1) / KEEP_FACTOR.0 };
        self.may_carry(now, least)
    }

    /// There is hope that something gets through which takes an estimate of `least`, though the present one may be
    /// less. Given up, it is tried again after a rest.
    pub fn may_carry(&mut self, now: Instant, least: u64) -> bool {
        if self.estimate.is_none_or(|estimate| least <= estimate.bitrate) {
            (self.hopeless_since, self.given_up) = (None, None);
            return true;
        }
        if self.given_up.is_some_and(|(until, _)| now < until) {
            return false;
        }
        let since = *self.hopeless_since.get_or_insert(now);
        if now.saturating_duration_since(since) < HOPE {
            return true;
        }
        let rest = self.given_up.map_or(FIRST_REST, |(_, rest)| (rest * 2).min(LONGEST_REST));
        (self.hopeless_since, self.given_up) = (None, Some((now + rest, rest)));
        false
    }

    /// The estimate from which a total may be climbed to: what to tell people.
    pub fn needed_for(total: u64) -> u64 {
        total.saturating_mul(CLIMB_SHARE.1) / CLIMB_SHARE.0
    }

    /// More is to be sent than before, of which it was not told yet that it [flows](Self::flows).
    pub fn awaits(&self) -> bool {
        self.trial.is_some_and(|trial| trial.awaits())
    }

    /// All that the last allocation came to is being sent by now.
    pub fn flows(&mut self, now: Instant) {
        if let Some(trial) = &mut self.trial {
            trial.flows(now);
        }
    }

    /// Learns how an allocation came out. Returns what to ask of the engine, when that has changed.
    pub fn allocated(&mut self, now: Instant, outcome: Outcome) -> Option<Ask> {
        let estimate = self.estimate?;
        if outcome.ideal > 0 {
            self.started.get_or_insert(now);
        }
        self.judge(now, outcome.total, estimate.bitrate);
        let short = estimate.bitrate < outcome.total;
        self.short_since = short.then(|| self.short_since.unwrap_or(now));
        if estimate.basis != Basis::Transport {
            return None;
        }
        let goal = self.goal(now, outcome, short);
        self.aim(now, goal)
    }

    /// Notes totals that were tried, and those that failed. One that went down although the estimate covered it did so
    /// because less is watched.
    fn judge(&mut self, now: Instant, total: u64, estimate: u64) {
        let Some(trial) = self.trial else {
            self.trial = Some(Trial::new(total, now, estimate));
            return;
        };
        // Bitrates breathe: only a change of layers moves the total by a tenth.
        if total.saturating_mul(10) > trial.total.saturating_mul(11) {
            self.trial = Some(Trial::new(total, now, estimate));
        } else if total.saturating_mul(11) < trial.total.saturating_mul(10) {
            let was_too_much = estimate < trial.total.min(trial.estimate) && !self.is_guessing(now);
            if was_too_much && trial.is_young(now) {
                let again = self.failed.filter(|failed| trial.total >= failed.total.saturating_mul(9) / 10);
                let rest = again.map_or(FIRST_REST, |failed| (failed.rest * 2).min(LONGEST_REST));
                self.failed = Some(Failed { total: trial.total, until: now + rest, rest });
            }
            // Less was sent before and passed: what is sent now is no new trial.
            self.trial = Some(Trial::passed(total, now, estimate));
        } else if now.saturating_duration_since(trial.since) > LONGEST_REST {
            self.failed = self.failed.filter(|failed| failed.total > total);
        }
    }

    /// The bitrate that is not known to be there and of use; zero when there is none.
    fn goal(&self, now: Instant, outcome: Outcome, short: bool) -> u64 {
        let wanted = match outcome.next_needs {
            _ if short => outcome.total,
            Some(_) if self.is_starting(now) && !self.is_limited => outcome.ideal,
            Some(next) => next,
            None => return 0,
        };
        Self::needed_for(wanted)
    }

    /// Asks for the goal, and has the engine probe for it again from time to time. It probes when the wish grows,
    /// unless its estimate is limited by loss; of that state it does not find out by itself while it has little to
    /// send. An estimate that a probe has not moved at all is started afresh, which begins with probes.
    fn aim(&mut self, now: Instant, goal: u64) -> Option<Ask> {
        let estimate = self.estimate.map_or(0, |estimate| estimate.bitrate);
        if goal <= estimate || self.queue.is_there() {
            // Into a queue nothing is probed.
            let goal = goal.min(estimate);
            self.probe = Probe::default();
            return self.ask(goal);
        }
        if self.probe.cocked {
            self.probe.cocked = false;
            return self.ask(goal.max(self.asked.desired + 1));
        }
        let guessing = self.is_guessing(now);
        let due = *self.probe.due.get_or_insert(now + if guessing { START_PROBE } else { FIRST_PROBE });
        if now < due {
            let differs = goal.abs_diff(self.asked.desired) > goal / WORTH_TELLING;
            return if differs { self.ask(goal) } else { None };
        }
        self.probe.wait = (self.probe.wait * 2).clamp(FIRST_PROBE, PROBE_INTERVAL);
        self.probe.due = Some(now + if guessing { START_PROBE } else { self.probe.wait });
        let stuck = self.probe.before.replace(estimate) == Some(estimate);
        if stuck || guessing {
            self.asked.desired = goal;
            return Some(Ask { desired: goal, afresh: Some(estimate) });
        }
        self.probe.cocked = true;
        self.ask(goal - goal / WORTH_TELLING)
    }

    fn ask(&mut self, desired: u64) -> Option<Ask> {
        let ask = Ask { desired, afresh: None };
        (std::mem::replace(&mut self.asked, ask) != ask).then_some(ask)
    }
}

fn scaled(bitrate: u64, (numerator, denominator): (u64, u64)) -> u64 {
    bitrate.saturating_mul(numerator) / denominator
}

#[cfg(test)]
mod tests;
