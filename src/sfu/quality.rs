//! How good a participant's connection is: from 5 (excellent) to 1 (lost), by loss, round trip and freezes.
//!
//! Only the worst of the three counts, and a score rises slower than it falls, so that it does not flicker. Freezes are
//! the client's to judge: it alone can tell one that the connection caused from a sender that encodes slowly.

use std::time::{Duration, Instant};

/// How long things must look better before the score rises. Larger: steadier; smaller: sooner friendly again.
const RISE_AFTER: Duration = Duration::from_secs(4);

/// Age of a client's report of freezes that still counts; clients report every 10 s. Larger: one who reports no more
/// keeps a mark for longer; smaller: a late report leaves a gap in which the score rises.
const REPORTED: Duration = Duration::from_secs(25);

/// What is known about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Signs {
    /// Nothing gets through.
    pub(super) lost: bool,
    /// Highest fraction lost, in either direction.
    pub(super) loss: Option<f32>,
    pub(super) rtt: Option<Duration>,
    /// Share of the time that the client's pictures stood still, as it reports.
    pub(super) frozen: Option<f32>,
}

/// A score that falls at once and rises slowly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Quality {
    score: u8,
    /// Since when it looks better than the score.
    better_since: Option<Instant>,
    /// As the client reported, and when.
    frozen: Option<(Instant, f32)>,
}

impl Default for Quality {
    fn default() -> Self {
        Self { score: 5, better_since: None, frozen: None }
    }
}

impl Quality {
    pub(super) fn score(&self) -> u8 {
        self.score
    }

    /// Takes what share of the time the client's pictures stood still.
    pub(super) fn report(&mut self, now: Instant, frozen: f32) {
        self.frozen = Some((now, frozen));
    }

    /// What the client reported lately.
    pub(super) fn frozen(&self, now: Instant) -> Option<f32> {
        self.frozen.filter(|(at, _)| now.saturating_duration_since(*at) < REPORTED).map(|(_, frozen)| frozen)
    }

    /// Takes the present signs. True when the score changed.
    pub(super) fn update(&mut self, now: Instant, signs: &Signs) -> bool {
        let current = signs.score();
        if current <= self.score {
            self.better_since = None;
            return std::mem::replace(&mut self.score, current) != current;
        }
        let since = *self.better_since.get_or_insert(now);
        if now.saturating_duration_since(since) < RISE_AFTER {
            return false;
        }
        self.better_since = None;
        self.score += 1;
        true
    }
}

impl Signs {
    /// The score of these signs alone. Loss that retransmission hides counts little; what a talk notices (300 ms each
    /// way, ITU-T G.114) counts much.
    pub(super) fn score(&self) -> u8 {
        if self.lost {
            return 1;
        }
        let steps = |value: f32, limits: [f32; 3]| limits.iter().filter(|limit| value > **limit).count();
        let loss = self.loss.map_or(0, |loss| steps(loss, [0.02, 0.06, 0.15]));
        let rtt = self.rtt.map_or(0, |rtt| steps(rtt.as_secs_f32(), [0.2, 0.4, 0.8]));
        let frozen = self.frozen.map_or(0, |frozen| steps(frozen, [0.01, 0.05, 0.2]));
        let worst = loss.max(rtt).max(frozen);
        u8::try_from(5 - worst).unwrap_or(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_sign_decides() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let rows = [
            (Signs::default(), 5),
            (Signs { loss: Some(0.01), rtt: ms(60), ..Signs::default() }, 5),
            (Signs { loss: Some(0.03), rtt: ms(60), ..Signs::default() }, 4),
            (Signs { loss: Some(0.1), rtt: ms(60), ..Signs::default() }, 3),
            (Signs { loss: Some(0.3), rtt: ms(60), ..Signs::default() }, 2),
            (Signs { rtt: ms(500), ..Signs::default() }, 3),
            (Signs { frozen: Some(0.3), rtt: ms(20), ..Signs::default() }, 2),
            (Signs { lost: true, ..Signs::default() }, 1),
        ];
        for (signs, score) in rows {
            assert_eq!(signs.score(), score, "{signs:?}");
        }
    }

    #[test]
    fn a_score_falls_at_once_and_rises_step_by_step() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (good, bad) = (Signs::default(), Signs { loss: Some(0.3), ..Signs::default() });
        let mut quality = Quality::default();
        assert!(quality.update(at(0), &bad));
        assert_eq!(quality.score(), 2);
        let scores: Vec<u8> = (1..=16)
            .map(|second| {
                quality.update(at(second), &good);
                quality.score()
            })
            .collect();
        assert_eq!(scores[..4], [2, 2, 2, 2]);
        assert_eq!(scores.last(), Some(&5));
    }

    #[test]
    fn freezes_count_until_the_next_report_or_none_comes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut quality = Quality::default();
        assert_eq!(quality.frozen(at(0)), None);
        quality.report(at(0), 0.3);
        assert_eq!([quality.frozen(at(12)), quality.frozen(at(30))], [Some(0.3), None]);
        quality.report(at(31), 0.0);
        assert_eq!(quality.frozen(at(32)), Some(0.0));
    }
}
