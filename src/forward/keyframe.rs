//! When to ask a publisher for a key frame: at once for the first who waits, then sparingly, and hardly ever those who
//! never answer.

use std::time::{Duration, Instant};

/// Time between two requests while somebody waits. Larger keeps viewers waiting when a request or its key frame was
/// lost, smaller makes publishers spend their bitrate on key frames (browsers answer each).
const SPACING: Duration = Duration::from_millis(500);

/// Unanswered requests at that spacing before it doubles with each.
const PATIENCE: u32 = 2;

/// What the spacing grows to. OBS and FFmpeg ignore requests; larger takes longer to notice one that has learnt to
/// answer, smaller sends it more of what it ignores.
const MAX_SPACING: Duration = Duration::from_secs(5);

/// A key frame that comes later than this after the last request is the encoder's own and no answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Requests for one layer, from all who wait for it. The caller sends them (PLI) and tells when a key frame came.
#[derive(Debug, Clone, Default)]
pub struct KeyframeRequester {
    waiting: bool,
    asked: Option<Instant>,
    /// Requests since the last answer.
    unanswered: u32,
}

impl KeyframeRequester {
    /// Somebody waits for a key frame: whether to ask the publisher now. To be called again at the
    /// [deadline](Self::deadline) by a caller for whom somebody still waits then.
    pub fn request(&mut self, now: Instant) -> bool {
        self.waiting = true;
        let due = self.next_allowed().is_none_or(|allowed| now >= allowed);
        if due {
            self.asked = Some(now);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        due
    }

    /// When to [request](Self::request) again, or to say that [nobody waits](Self::nobody_waits); `None` while nobody
    /// does.
    pub fn deadline(&self) -> Option<Instant> {
        if self.waiting { self.next_allowed() } else { None }
    }

    /// A key frame started to arrive.
    pub fn keyframe_arrived(&mut self, now: Instant) {
        self.waiting = false;
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) <= ANSWER_TIME) {
            self.unanswered = 0;
        }
    }

    /// Those who waited are gone.
    pub fn nobody_waits(&mut self) {
        self.waiting = false;
    }

    fn next_allowed(&self) -> Option<Instant> {
        let doublings = self.unanswered.saturating_sub(PATIENCE).min(8);
        let spacing = (SPACING * (1 << doublings)).min(MAX_SPACING);
        self.asked.map(|asked| asked + spacing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    /// Times (in ms) at which the publisher is asked while somebody waits from 0 on, with key frames at these times.
    fn asked(until: u64, keyframes: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        let mut asked = Vec::new();
        for time in (0..=until).step_by(100) {
            if keyframes.contains(&time) {
                requester.keyframe_arrived(start + ms(time));
            }
            if requester.request(start + ms(time)) {
                asked.push(time);
            }
        }
        asked
    }

    #[test]
    fn a_crowd_makes_one_request_per_spacing() {
        assert_eq!(asked(1900, &[100, 600, 1100, 1600]), [0, 500, 1000, 1500]);
    }

    #[test]
    fn who_never_answers_is_asked_less_and_less() {
        assert_eq!(asked(23_000, &[]), [0, 500, 1000, 2000, 4000, 8000, 13_000, 18_000, 23_000]);
    }

    #[test]
    fn a_key_frame_long_after_the_request_is_no_answer() {
        // The encoder's own, every 4 s (and 1.1 s behind a request): the spacing stays where it was.
        assert_eq!(asked(13_000, &[5100, 9100]), [0, 500, 1000, 2000, 4000, 8000, 13_000]);
        // An answer resets it.
        assert_eq!(asked(7000, &[4100]), [0, 500, 1000, 2000, 4000, 4500, 5000, 5500, 6500]);
    }

    #[test]
    fn nothing_is_due_while_nobody_waits() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        assert_eq!(requester.deadline(), None);
        assert!(requester.request(start));
        assert_eq!(requester.deadline(), Some(start + SPACING));
        requester.keyframe_arrived(start + ms(100));
        assert_eq!(requester.deadline(), None);
        assert!(!requester.request(start + ms(200)), "too soon after the last request");
        assert_eq!(requester.deadline(), Some(start + SPACING));
        requester.nobody_waits();
        assert_eq!(requester.deadline(), None);
        assert!(requester.request(start + SPACING));
    }
}
