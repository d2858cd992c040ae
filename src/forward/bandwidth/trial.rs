//! A total that is tried: since when it is being sent, and whether an estimate that falls meanwhile is believed.

use std::time::{Duration, Instant};

/// A total given up this soon after it was tried was too much. Larger: changes of the link are taken for own mistakes;
/// smaller: a layer that does not fit is tried again and again.
pub(super) const TRIAL: Duration = Duration::from_secs(8);

/// For how long after something was added a falling estimate gets a second opinion. The estimator backs off to a share
/// of what arrived lately, which then was still the little that was sent before. Larger: a link that got worse by
/// chance is believed in once more; smaller: the key frame of the new layer comes too late to be covered.
pub(super) const SETTLING: Duration = Duration::from_millis(1500);

/// What is sent in all, and since when it is at least that much.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial {
    /// In bit/s.
    pub(super) total: u64,
    pub(super) since: Instant,
    /// The estimate then.
    pub(super) estimate: u64,
    /// Since when what was added flows. A key frame that it begins with may have to be waited for.
    flows: Option<Instant>,
    /// The estimator was started afresh since.
    second_opinion: bool,
}

impl Trial {
    /// More than before is to be sent.
    pub(super) fn new(total: u64, since: Instant, estimate: u64) -> Self {
        Self { total, since, estimate, flows: None, second_opinion: false }
    }

    /// Less than before is sent, which passed: that is no new trial.
    pub(super) fn passed(total: u64, now: Instant, estimate: u64) -> Self {
        let long_ago = now.checked_sub(TRIAL).unwrap_or(now);
        Self { flows: Some(long_ago), ..Self::new(total, long_ago, estimate) }
    }

    /// It was not told yet that what was added flows.
    pub(super) fn awaits(&self) -> bool {
        self.flows.is_none()
    }

    /// What was added flows, if it did not before.
    pub(super) fn flows(&mut self, now: Instant) {
        self.flows.get_or_insert(now);
    }

    /// Given up now, it was too much.
    pub(super) fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < TRIAL
    }

    /// A falling estimate is to be looked at again, once: soon after what was added flows, or before it does.
    pub(super) fn takes_second_opinion(&mut self, now: Instant) -> bool {
        let settles = self.flows.is_none_or(|flows| now.saturating_duration_since(flows) < SETTLING);
        let takes = settles && !self.second_opinion;
        self.second_opinion |= takes;
        takes
    }
}
