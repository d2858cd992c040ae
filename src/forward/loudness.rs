//! Which voices a listener hears when there are more than it has slots for: a contest with hysteresis.
//!
//! Levels come from RFC 6464. Who holds a seat keeps it until somebody is clearly louder or the holder has long been
//! silent, and not before it has held it for a moment: so seats do not flap, and a listener's cost does not grow with
//! the room. Each listener has its own contest, because nobody hears itself and slots differ.

use std::time::{Duration, Instant};

/// Decibels a peak falls in a second: 3 dB in 300 ms, the pause between words.
const DECAY: f32 = 10.0;

/// Decibels a challenger must be louder than the quietest holder. Larger: seats change less; smaller: the louder voice
/// is heard sooner.
const MARGIN: f32 = 6.0;

/// How long a new holder is safe.
const IMMUNITY: Duration = Duration::from_millis(300);

/// Silence after which a holder's seat is free for anybody who is audible. Larger: pauses in speech cost no seat;
/// smaller: seats are free sooner.
const VACANT_AFTER: Duration = Duration::from_secs(2);

/// Packets that must be as loud one after the other: a syllable has them, a key that is struck does not. Larger: a
/// voice is noticed later; smaller: noises take seats of people who speak.
const SUSTAINED: usize = 3;

/// A pause after which packets do not follow each other: where nothing is sent while nobody speaks (DTX).
const PAUSE: Duration = Duration::from_millis(200);

/// Level in dBov from which somebody is audible; room noise lies below -50, speech above -40 (LiveKit: -35).
const AUDIBLE: f32 = -45.0;

/// How loud somebody is: a peak that decays.
#[derive(Debug, Clone, Copy)]
pub struct Loudness {
    /// The latest levels as RFC 6464 writes them, a ring, and when the last one came.
    latest: [u8; SUSTAINED],
    next: usize,
    heard: Instant,
    peak: f32,
    at: Instant,
    audible: Option<Instant>,
}

impl Loudness {
    /// Silent so far.
    pub fn new(now: Instant) -> Self {
        Self { latest: [127; SUSTAINED], next: 0, heard: now, peak: -127.0, at: now, audible: None }
    }

    /// A packet with this level arrived (RFC 6464: 0 loudest, 127 silence). True when it is audible, and those before
    /// it were.
    pub fn heard(&mut self, now: Instant, minus_dbov: u8) -> bool {
        let level = -f32::from(self.sustained(now, minus_dbov));
        if level >= self.level(now) {
            (self.peak, self.at) = (level, now);
        }
        if level >= AUDIBLE {
            self.audible = Some(now);
        }
        level >= AUDIBLE
    }

    /// The quietest of the latest packets.
    fn sustained(&mut self, now: Instant, minus_dbov: u8) -> u8 {
        if now.saturating_duration_since(std::mem::replace(&mut self.heard, now)) > PAUSE {
            self.latest = [127; SUSTAINED];
        }
        if let Some(place) = self.latest.get_mut(self.next) {
            *place = minus_dbov;
        }
        self.next = (self.next + 1) % SUSTAINED;
        self.latest.into_iter().max().unwrap_or(minus_dbov)
    }

    /// The decayed peak in dBov.
    pub fn level(&self, now: Instant) -> f32 {
        let fallen = DECAY * now.saturating_duration_since(self.at).as_secs_f32();
        (self.peak - fallen).max(-127.0)
    }

    /// Was audible a short while ago.
    pub fn is_recent(&self, now: Instant) -> bool {
        self.audible.is_some_and(|at| now.saturating_duration_since(at) < VACANT_AFTER)
    }

    /// Is audible at present.
    pub fn is_audible(&self, now: Instant) -> bool {
        self.level(now) >= AUDIBLE && self.is_recent(now)
    }

    /// 0 (silent) to 1, as an amplitude.
    pub fn amplitude(&self, now: Instant) -> f32 {
        10f32.powf(self.level(now) / 20.0).clamp(0.0, 1.0)
    }
}

/// A seat: who holds it and since when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seat<K> {
    /// Nobody or somebody.
    pub holder: Option<K>,
    /// Since when.
    pub since: Option<Instant>,
}

/// Gives seats to challengers: free ones first, then those of the long silent, then one of somebody clearly quieter.
/// `candidates` are all who may be heard, with what is known of their loudness; those who hold seats are among them.
pub fn contest<K: Copy + PartialEq>(now: Instant, seats: &mut [Seat<K>], candidates: &[(K, Option<Loudness>)]) {
    let loudness = |key: K| candidates.iter().find(|(candidate, _)| *candidate == key).and_then(|(_, known)| *known);
    for seat in seats.iter_mut() {
        let stays = seat.holder.is_some_and(|holder| candidates.iter().any(|(key, _)| *key == holder));
        if !stays {
            seat.holder = None;
        }
    }
    let seated = |seats: &[Seat<K>], key: K| seats.iter().any(|seat| seat.holder == Some(key));
    let mut challengers: Vec<(K, f32)> = candidates
        .iter()
        .filter(|(key, _)| !seated(seats, *key))
        .map(|(key, known)| (*key, known.filter(|l| l.is_audible(now)).map_or(-127.0, |l| l.level(now))))
        .collect();
    challengers.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    for (challenger, level) in challengers {
        let worth = |seat: &Seat<K>| match seat.holder.map(loudness) {
            None => f32::NEG_INFINITY,
            Some(Some(known)) if known.is_recent(now) => known.level(now),
            Some(_) => -127.0 - MARGIN,
        };
        let Some(seat) = seats.iter_mut().min_by(|a, b| worth(a).total_cmp(&worth(b))) else { return };
        let immune = seat.since.is_some_and(|since| now.saturating_duration_since(since) < IMMUNITY);
        let taken = seat.holder.is_some();
        if taken && (immune || level < AUDIBLE || level < worth(seat) + MARGIN) {
            return;
        }
        *seat = Seat { holder: Some(challenger), since: Some(now) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, ms: u64) -> Instant {
        start + Duration::from_millis(ms)
    }

    fn speaking(now: Instant, minus_dbov: u8) -> Option<Loudness> {
        let mut loudness = Loudness::new(now);
        for _ in 0..SUSTAINED {
            loudness.heard(now, minus_dbov);
        }
        Some(loudness)
    }

    #[test]
    fn a_voice_is_loud_and_a_key_is_not() {
        // Levels of packets 20 ms apart, pauses between them, and the level that is made of them.
        let rows: [(&[u8], u64, f32, &str); 6] = [
            (&[30], 20, -127.0, "one packet is a noise"),
            (&[70, 20, 22, 70, 69, 70, 20, 70], 20, -70.0, "keys in the noise of a room"),
            (&[30, 32, 31], 20, -32.0, "a syllable"),
            (&[70, 25, 23, 22, 60, 70], 20, -25.4, "and the gap behind it"),
            (&[25, 25], 20, -127.0, "almost"),
            (&[25, 25, 25, 25], 300, -127.0, "keys that end pauses in which nothing is sent"),
        ];
        for (levels, interval, expected, why) in rows {
            let start = Instant::now();
            let mut loudness = Loudness::new(start);
            for (level, packet) in levels.iter().zip(0u64..) {
                loudness.heard(at(start, packet * interval), *level);
            }
            let level = loudness.level(at(start, (levels.len() as u64 - 1) * interval));
            assert!((level - expected).abs() < 0.2, "{why}: {level}");
        }
    }

    fn holders(seats: &[Seat<char>]) -> String {
        seats.iter().map(|seat| seat.holder.unwrap_or('-')).collect()
    }

    #[test]
    fn seats_are_won_kept_and_lost_as_the_table_says() {
        let start = Instant::now();
        let now = at(start, 10_000);
        let old = Some(start);
        // Seats before, levels (in -dBov; 127 silent), seats after, and why.
        let rows = [
            ("--", vec![('a', 127), ('b', 127)], "ab", "free seats are for anybody"),
            ("ab", vec![('a', 30), ('b', 32), ('c', 29)], "ab", "a little louder is not enough"),
            ("ab", vec![('a', 20), ('b', 40), ('c', 25)], "ac", "the quietest gives way to the clearly louder"),
            ("ab", vec![('a', 127), ('b', 30), ('c', 44)], "cb", "the silent gives way to anybody audible"),
            ("ab", vec![('a', 127), ('b', 127), ('c', 60)], "ab", "noise wins nothing"),
            ("ab", vec![('a', 20), ('c', 127)], "ac", "whoever left leaves a free seat"),
            ("ab", vec![('a', 127), ('b', 127), ('c', 20), ('d', 21)], "cd", "two at once, the loudest first"),
        ];
        for (before, levels, after, why) in rows {
            let mut seats: Vec<Seat<char>> =
                before.chars().map(|holder| Seat { holder: (holder != '-').then_some(holder), since: old }).collect();
            let candidates: Vec<_> = levels.iter().map(|(key, level)| (*key, speaking(now, *level))).collect();
            contest(now, &mut seats, &candidates);
            assert_eq!(holders(&seats), after, "{why}");
        }
    }

    #[test]
    fn two_who_alternate_every_200_ms_do_not_flap() {
        let start = Instant::now();
        let mut seats = [Seat { holder: Some('a'), since: Some(start) }];
        let (mut a, mut b) = (Loudness::new(start), Loudness::new(start));
        let mut changes = 0;
        for tick in 0..500u64 {
            let now = at(start, tick * 20);
            let (loud, quiet) = if (tick / 10).is_multiple_of(2) { (&mut a, &mut b) } else { (&mut b, &mut a) };
            loud.heard(now, 25);
            quiet.heard(now, 70);
            let before = seats[0].holder;
            contest(now, &mut seats, &[('a', Some(a)), ('b', Some(b))]);
            changes += usize::from(before != seats[0].holder);
        }
        assert_eq!(changes, 0, "10 s of crosstalk");
    }

    #[test]
    fn a_new_holder_is_safe_for_a_moment() {
        let start = Instant::now();
        let mut seats = [Seat { holder: Some('a'), since: Some(start) }];
        let loud = |now| [('a', speaking(now, 40)), ('b', speaking(now, 10))];
        contest(at(start, 100), &mut seats, &loud(at(start, 100)));
        assert_eq!(holders(&seats), "a");
        contest(at(start, 400), &mut seats, &loud(at(start, 400)));
        assert_eq!(holders(&seats), "b");
    }
}
