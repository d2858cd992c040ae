//! Who speaks: dominant speaker identification after I. Volfin and I. Cohen, "Dominant Speaker Identification for
//! Multipoint Videoconferencing" (Computer Speech and Language 27, 2013), from RFC 6464 levels alone.
//!
//! A speaker is looked at over three spans: now (20 ms), a word (100 ms), a sentence (1 s). Another one takes over only
//! if it is more active on all of them, so a cough, a key or a word in between changes nothing. The parameters are the
//! paper's as Jitsi and mediasoup run them, but for C3; sub-bands are steps of the level above the speaker's own noise
//! floor.
//!
//! Not here: who is heard ([`super::loudness`]), and what follows from a change.

use std::time::{Duration, Instant};

/// Levels of one packet each, 20 ms apart: as many as the long span has.
const LEVELS: usize = WORDS * PER_WORD;

/// N2: packets in the medium span.
const PER_WORD: usize = 5;

/// N3: medium spans in the long one.
const WORDS: usize = 10;

/// N1: sub-bands of a level.
const BANDS: u8 = 13;

/// Levels in a sub-band.
const BAND: u8 = 127u8.div_ceil(BANDS);

/// Sub-bands above the floor from which a packet counts as voice in a word.
const VOICED_BANDS: u8 = 7;

/// Voiced packets from which a word counts in a sentence.
const VOICED_PACKETS: u8 = 4;

/// C1, C2: how much more active a challenger must be now and over a word, as a logarithm of likelihoods.
const NOW_MARGIN: f64 = 3.0;
const WORD_MARGIN: f64 = 2.0;

/// C3, the same over a sentence: three times as active. The paper has 0, with which two who cut each other off every
/// 400 ms take the floor from each other every second. Larger: who waits for the other to end dominates later.
const SENTENCE_MARGIN: f64 = 1.1;

/// How often a decision is made.
pub const DECISION_INTERVAL: Duration = Duration::from_millis(300);

/// Time a packet of audio stands for.
const PACKET: Duration = Duration::from_millis(20);

/// Without a packet for this long somebody is silent (DTX).
const SILENT_AFTER: Duration = Duration::from_millis(40);

/// Packets after which the noise floor is taken anew: 15 s.
const FLOOR_WINDOW: u32 = 750;

/// Least activity.
const LEAST: f64 = 1e-10;

/// What is known of one speaker.
#[derive(Debug, Clone)]
pub struct Speaker {
    /// The latest levels, 0 silence to 127 loudest; a ring.
    levels: [u8; LEVELS],
    /// Where the next one goes.
    next: usize,
    heard: Option<Instant>,
    floor: Floor,
    scores: Scores,
}

/// The quietest level somebody's line has: noise of the room.
#[derive(Debug, Clone, Copy, Default)]
struct Floor {
    level: u8,
    candidate: u8,
    packets: u32,
}

/// Activity over the three spans.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Scores {
    now: f64,
    word: f64,
    sentence: f64,
}

impl Default for Speaker {
    fn default() -> Self {
        Self {
            levels: [0; LEVELS],
            next: 0,
            heard: None,
            floor: Floor::default(),
            scores: Scores { now: LEAST, word: LEAST, sentence: LEAST },
        }
    }
}

impl Speaker {
    /// A packet with this level arrived (RFC 6464: 0 loudest, 127 silence).
    pub fn heard(&mut self, now: Instant, minus_dbov: u8) {
        self.fill_silence(now);
        self.heard = Some(now);
        let level = 127u8.saturating_sub(minus_dbov);
        self.push(level);
        self.floor.learn(level);
    }

    /// Looks at the three spans.
    fn evaluate(&mut self, now: Instant) {
        self.fill_silence(now);
        let bands = |back: usize| {
            let index = (self.next + LEVELS - 1 - back) % LEVELS;
            let level = self.levels.get(index).copied().unwrap_or_default();
            if level < self.floor.level.saturating_add(BAND) { 0 } else { level / BAND }
        };
        let word = |word: usize| {
            let voiced = (0..PER_WORD).filter(|packet| bands(word * PER_WORD + packet) > VOICED_BANDS).count();
            u8::try_from(voiced).unwrap_or(u8::MAX)
        };
        let sentence = (0..WORDS).filter(|index| word(*index) >= VOICED_PACKETS).count();
        self.scores = Scores {
            now: activity(bands(0), BANDS, 0.78),
            word: activity(word(0), PER_WORD as u8, 24.0),
            sentence: activity(u8::try_from(sentence).unwrap_or(u8::MAX), WORDS as u8, 47.0),
        };
    }

    /// Packets that did not come were silence.
    fn fill_silence(&mut self, now: Instant) {
        let Some(heard) = self.heard else { return };
        let gap = now.saturating_duration_since(heard);
        if gap <= SILENT_AFTER {
            return;
        }
        let missing = usize::try_from((gap - PACKET).as_millis() / PACKET.as_millis()).unwrap_or(LEVELS);
        for _ in 0..missing.min(LEVELS) {
            self.push(0);
        }
        self.heard = Some(now - PACKET);
    }

    fn push(&mut self, level: u8) {
        if let Some(place) = self.levels.get_mut(self.next) {
            *place = level;
        }
        self.next = (self.next + 1) % LEVELS;
    }
}

impl Floor {
    fn learn(&mut self, level: u8) {
        if level == 0 {
            return;
        }
        if self.level == 0 || level < self.level {
            *self = Self { level, ..Self::default() };
            return;
        }
        self.candidate = if self.candidate == 0 { level } else { self.candidate.min(level) };
        self.packets += 1;
        if self.packets >= FLOOR_WINDOW {
            // The geometric mean: a floor that rose is followed half of the way.
            let mean = (f64::from(self.level) * f64::from(self.candidate)).sqrt();
            *self = Self { level: mean as u8, ..Self::default() };
        }
    }
}

/// The dominant speaker among all, given who it is now. It stays the same when it fell silent and nobody took over.
pub fn dominant<'a, K: Copy + PartialEq>(
    now: Instant,
    current: Option<K>,
    speakers: impl Iterator<Item = (K, &'a mut Speaker)>,
) -> Option<K> {
    let mut incumbent = None;
    let mut challengers = Vec::new();
    for (key, speaker) in speakers {
        speaker.evaluate(now);
        if Some(key) == current {
            incumbent = Some(speaker.scores);
        } else {
            challengers.push((key, speaker.scores));
        }
    }
    let Some(incumbent) = incumbent else {
        // Nobody dominates yet: whoever has said a word.
        let spoke = challengers.into_iter().filter(|(_, scores)| scores.sentence > LEAST);
        return spoke.max_by(|(_, a), (_, b)| a.sentence.total_cmp(&b.sentence)).map(|(key, _)| key);
    };
    let ahead = |scores: &Scores| {
        let now = (scores.now / incumbent.now).ln();
        let word = (scores.word / incumbent.word).ln();
        let sentence = (scores.sentence / incumbent.sentence).ln();
        (now > NOW_MARGIN && word > WORD_MARGIN && sentence > SENTENCE_MARGIN).then_some(word)
    };
    let best = challengers.into_iter().filter_map(|(key, scores)| Some((key, ahead(&scores)?)));
    best.max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(key, _)| key).or(current)
}

/// How likely `active` of `all` are speech rather than noise, as a logarithm: binomial with p = 1/2 against an
/// exponential prior with this rate.
fn activity(active: u8, all: u8, rate: f64) -> f64 {
    let (active, all) = (f64::from(active.min(all)), f64::from(all));
    let choose: f64 = {
        let smaller = active.min(all - active);
        (1..=smaller as u32).map(|k| ((all - f64::from(k) + 1.0) / f64::from(k)).ln()).sum()
    };
    let score = choose + all * 0.5f64.ln() - rate.ln() + rate * active;
    score.max(LEAST)
}

#[cfg(test)]
mod tests;
