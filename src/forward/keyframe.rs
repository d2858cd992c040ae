//! When to ask a publisher for a key frame: at once for the first who waits, then sparingly, and hardly ever those who
//! never answer.
//!
//! Key frames have a price, by which the next is put off. Who only wishes for one waits until the last is paid for; for
//! who needs one, because a picture stands still without it, it is made on credit.

use std::time::{Duration, Instant};

use crate::rtp::Packet;

/// Time between two requests while somebody waits. Larger keeps viewers waiting when a request or its key frame was
/// lost, smaller makes publishers spend their bitrate on key frames (browsers answer each).
const SPACING: Duration = Duration::from_millis(500);

/// Unanswered requests at that spacing before it doubles with each.
const PATIENCE: u32 = 2;

/// What the spacing grows to. OBS and FFmpeg ignore requests; larger takes longer to notice one that has learnt to
/// answer, smaller sends it more of what it ignores.
const MAX_SPACING: Duration = Duration::from_secs(5);

/// What their price spaces key frames to at most. Larger has who joins or goes up wait longer where they are dear,
/// smaller lets them take more than their share there. Not beyond what the replay ring holds, or who joins waits, too.
const MAX_AFFORDABLE: Duration = Duration::from_secs(2);

/// What may be owed when another is made on credit, as the time in which it is paid for. Larger: more links that get
/// worse at once are followed without a freeze, and more is taken beyond the share meanwhile; smaller: whose link gets
/// worse in two steps right after a key frame stands still at the second.
const MAX_OWED: Duration = Duration::from_secs(4);

/// A publisher that has not answered for this long after its first request is taken for one that never does. Larger has
/// the first viewers of those wait longer, smaller mistakes a slow path for deafness.
const DEAF_AFTER: Duration = Duration::from_millis(600);

/// Answers or refusals that are remembered; with one more, half of both is forgotten. Larger: a publisher that changes
/// its ways is noticed later; smaller: key frames that come by themselves soon after a request are taken for answers.
const MEMORY: u8 = 8;

/// A key frame that comes later than this after the last request is the encoder's own and no answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// What somebody waits for a key frame for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// For a first picture, or a better one.
    Wished,
    /// For a picture that stands still, or will: it cannot be decoded, its layer has stopped, or its link does not
    /// carry it.
    Needed,
}

/// Requests for one layer, from all who wait for it. The caller sends them (PLI) and tells when a key frame came.
#[derive(Debug, Clone, Default)]
pub struct KeyframeRequester {
    /// What is waited for that is most urgent.
    waiting: Option<Urgency>,
    asked: Option<Instant>,
    /// What was not paid for yet when it was last asked.
    owed: Duration,
    /// Requests since the last answer.
    unanswered: u32,
    /// When the first of them was made.
    unanswered_since: Option<Instant>,
    /// Key frames that came soon after a request, and those that came without regard to one.
    answers: u8,
    refusals: u8,
    cost: Cost,
    /// Least time between two requests that keeps key frames within their share of the layer's bytes.
    affordable: Duration,
}

/// What a key frame takes.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    /// Of the last whole one; 0 before it.
    bytes: u64,
    /// RTP timestamp and bytes so far of the one that arrives.
    running: Option<(u64, u64)>,
}

impl KeyframeRequester {
    /// Somebody waits for a key frame: whether to ask the publisher now. To be called again at the
    /// [deadline](Self::deadline) by a caller for whom somebody still waits then.
    pub fn request(&mut self, now: Instant, urgency: Urgency) -> bool {
        self.waiting = Some(urgency);
        let due = self.next_allowed(urgency).is_none_or(|allowed| now >= allowed);
        if due {
            // One that is asked for again is the same.
            if let Some(asked) = self.asked.filter(|_| self.unanswered == 0) {
                let price = self.owed + self.affordable;
                self.owed = price.saturating_sub(now.saturating_duration_since(asked)).min(MAX_OWED);
            }
            self.asked = Some(now);
            self.unanswered_since.get_or_insert(now);
            self.unanswered = self.unanswered.saturating_add(1);
        }
        due
    }

    /// When to [request](Self::request) again, or to say that [nobody waits](Self::nobody_waits); `None` while nobody
    /// does.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_allowed(self.waiting?)
    }

    /// A packet of the layer came.
    pub fn received(&mut self, packet: &Packet) {
        if packet.starts_keyframe {
            self.keyframe_arrived(packet.arrived);
        }
        self.cost.note(packet);
    }

    /// Key frames on request may take this share (0 to 1) of the layer's `bitrate` in bit/s.
    pub fn spend(&mut self, share: f64, bitrate: u64) {
        let per_second = share * bitrate as f64 / 8.0;
        let seconds = if per_second > 0.0 { self.cost.bytes as f64 / per_second } else { 0.0 };
        self.affordable = Duration::from_secs_f64(seconds.min(MAX_AFFORDABLE.as_secs_f64()));
    }

    /// The last request was answered, and the next that is only wished for has to wait beyond `time`.
    pub fn rests_beyond(&self, time: Instant) -> bool {
        self.unanswered == 0 && self.next_allowed(Urgency::Wished).is_some_and(|allowed| allowed > time)
    }

    /// Key frames come soon after requests.
    pub fn has_answered(&self) -> bool {
        self.answers > 0 && !self.refuses()
    }

    /// It was asked, has had time to answer, and did not, or hardly ever does.
    pub fn never_answers(&self, now: Instant) -> bool {
        if self.refuses() {
            return true;
        }
        let waited = self.unanswered_since.map(|since| now.saturating_duration_since(since));
        waited.is_some_and(|waited| waited >= if self.answers > 0 { 2 * DEAF_AFTER } else { DEAF_AFTER })
    }

    /// One refusal more may be an answer that was lost, or a layer that begins.
    fn refuses(&self) -> bool {
        self.refusals > self.answers + 1
    }

    fn keyframe_arrived(&mut self, now: Instant) {
        self.waiting = None;
        if self.asked.is_some_and(|asked| now.saturating_duration_since(asked) <= ANSWER_TIME) {
            self.unanswered = 0;
            self.unanswered_since = None;
            self.answers += 1;
        } else if self.unanswered > 0 {
            self.refusals += 1;
        }
        if self.answers.max(self.refusals) > MEMORY {
            self.answers /= 2;
            self.refusals /= 2;
        }
    }

    /// Those who waited are gone.
    pub fn nobody_waits(&mut self) {
        self.waiting = None;
    }

    /// What was answered has to be paid for; what was not may have been lost on the way.
    fn next_allowed(&self, urgency: Urgency) -> Option<Instant> {
        let spacing = if self.unanswered == 0 {
            let price = self.owed + self.affordable;
            SPACING.max(match urgency {
                Urgency::Wished => price.min(MAX_AFFORDABLE),
                Urgency::Needed => price.saturating_sub(MAX_OWED),
            })
        } else {
            let doublings = self.unanswered.saturating_sub(PATIENCE).min(8);
            (SPACING * (1 << doublings)).min(MAX_SPACING)
        };
        self.asked.map(|asked| asked + spacing)
    }
}

impl Cost {
    fn note(&mut self, packet: &Packet) {
        let bytes = packet.payload.len() as u64;
        self.running = match self.running {
            _ if packet.starts_keyframe => Some((packet.timestamp, bytes)),
            Some((timestamp, so_far)) if packet.timestamp == timestamp => Some((timestamp, so_far + bytes)),
            Some((timestamp, so_far)) if packet.timestamp > timestamp => {
                self.bytes = so_far;
                None
            }
            running => running,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Urgency::{Needed, Wished};
    use super::*;
    use crate::rtp::{Codec, Descriptor, Extensions, LayerIndex};

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
            if requester.request(start + ms(time), Wished) {
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
        assert!(requester.request(start, Wished));
        assert_eq!(requester.deadline(), Some(start + SPACING));
        requester.keyframe_arrived(start + ms(100));
        assert_eq!(requester.deadline(), None);
        assert!(!requester.request(start + ms(200), Wished), "too soon after the last request");
        assert_eq!(requester.deadline(), Some(start + SPACING));
        requester.nobody_waits();
        assert_eq!(requester.deadline(), None);
        assert!(requester.request(start + SPACING, Wished));
    }

    /// Three packets of a key frame of `bytes` each, and the first of the next picture.
    fn receive_keyframe(requester: &mut KeyframeRequester, at: Instant, bytes: usize) {
        for index in 0..4 {
            requester.received(&Packet {
                layer: LayerIndex(0),
                generation: 0,
                payload_type: 96,
                codec: Codec::Vp8,
                sequence: index,
                timestamp: if index < 3 { 1000 } else { 4000 },
                marker: index == 2,
                arrived: at,
                captured: at,
                payload: Arc::from(vec![0; bytes]),
                descriptor: Descriptor::Opaque,
                picture: None,
                dependency: None,
                starts_keyframe: index == 0,
                redundant: None,
                extensions: Extensions::default(),
            });
        }
    }

    #[test]
    fn expensive_key_frames_are_asked_for_less_often() {
        // Bytes of a third of a key frame, bit/s of the layer, least spacing in ms with a share of 15 %.
        let table =
            [(1_000, 1_000_000, 500), (6_250, 1_000_000, 1000), (6_250, 500_000, 2000), (100_000, 1_000_000, 2000)];
        for (bytes, bitrate, spacing) in table {
            let start = Instant::now();
            let mut requester = KeyframeRequester::default();
            assert!(requester.request(start, Wished));
            receive_keyframe(&mut requester, start + ms(50), bytes);
            requester.spend(0.15, bitrate);
            assert!(!requester.request(start + ms(spacing - 1), Wished), "{bytes} {bitrate}");
            assert!(requester.request(start + ms(spacing), Wished), "{bytes} {bitrate}");
        }
    }

    /// Times (in ms) at which a publisher is asked whose key frames take as many seconds to pay for.
    fn asked_at_a_price(seconds: u64, until: u64, urgency: impl Fn(u64) -> Option<Urgency>) -> Vec<u64> {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        let mut asked = Vec::new();
        for time in (0..until).step_by(100) {
            let Some(urgency) = urgency(time) else { continue };
            requester.spend(0.15, 1_000_000 / seconds);
            if requester.request(start + ms(time), urgency) {
                asked.push(time);
                receive_keyframe(&mut requester, start + ms(time + 50), 6_250);
            }
        }
        asked
    }

    #[test]
    fn who_needs_one_gets_it_before_the_last_is_paid_for_and_in_the_long_run_all_are() {
        let always = |time| Some(if time == 0 { Wished } else { Needed });
        assert_eq!(asked_at_a_price(2, 7000, always), [0, 500, 1000, 2000, 4000, 6000], "until too much is owed");
        let once = |time| Some(if time == 500 { Needed } else { Wished });
        assert_eq!(asked_at_a_price(1, 5000, once), [0, 500, 2000, 3000, 4000], "wishes wait for what is owed");
        assert_eq!(asked_at_a_price(2, 5000, once), [0, 500, 2500, 4500], "but not longer");
        let twice = |time| (time <= 1000 || time >= 8000).then_some(Needed);
        assert_eq!(asked_at_a_price(2, 9500, twice), [0, 500, 1000, 8000, 8500, 9000], "all is paid after a while");
    }

    #[test]
    fn an_answer_that_was_lost_is_asked_for_again_however_dear_it_is() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        assert!(requester.request(start, Wished));
        receive_keyframe(&mut requester, start + ms(50), 100_000);
        requester.spend(0.15, 1_000_000);
        assert!(requester.rests_beyond(start + ms(1999)) && !requester.rests_beyond(start + ms(2000)));
        assert!(requester.request(start + ms(2000), Wished));
        assert!(!requester.rests_beyond(start + ms(2000)), "one is on its way");
        assert!(!requester.request(start + ms(2499), Wished));
        assert!(requester.request(start + ms(2500), Wished));
    }

    #[test]
    fn who_never_answered_is_known_after_a_while_until_it_does() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        assert!(!requester.never_answers(start + ms(5000)), "it was never asked");
        requester.request(start, Wished);
        receive_keyframe(&mut requester, start + ms(1100), 10);
        assert!(!requester.never_answers(start + ms(599)) && requester.never_answers(start + ms(600)));
        requester.request(start + ms(2000), Wished);
        receive_keyframe(&mut requester, start + ms(2100), 10);
        assert!(!requester.never_answers(start + ms(9000)) && requester.has_answered());
    }

    #[test]
    fn a_key_frame_that_came_by_chance_after_a_request_does_not_count_for_long() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        // Requests, and the key frames of an encoder that makes one every 2 s: the first by chance soon afterwards.
        for (asked, came) in [(1800, 2000), (2600, 4000), (4700, 6000), (6700, 8000)] {
            assert!(requester.request(start + ms(asked), Wished));
            receive_keyframe(&mut requester, start + ms(came), 10);
        }
        assert!(requester.never_answers(start + ms(8001)) && !requester.has_answered());
        for at in [12_000, 16_000, 20_000] {
            assert!(requester.request(start + ms(at), Wished));
            receive_keyframe(&mut requester, start + ms(at + 100), 10);
        }
        assert!(!requester.never_answers(start + ms(20_200)) && requester.has_answered(), "it has learnt to");
    }

    #[test]
    fn a_publisher_that_answered_for_long_may_stop_to() {
        let start = Instant::now();
        let mut requester = KeyframeRequester::default();
        let mut exchange = |rounds: std::ops::Range<u64>, delay| {
            for round in rounds {
                assert!(requester.request(start + ms(round * 10_000), Wished));
                receive_keyframe(&mut requester, start + ms(round * 10_000 + delay), 10);
            }
            requester.has_answered()
        };
        assert!(exchange(0..30, 100));
        assert!(exchange(30..33, 1_500), "three may have been lost");
        assert!(!exchange(33..45, 1_500));
        assert!(exchange(45..60, 100));
    }
}
