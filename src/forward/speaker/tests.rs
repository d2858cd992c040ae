//! Synthetic voices against the detector: speech, keyboards, crosstalk, silence.

use super::*;

/// A voice or a noise: the level (as RFC 6464 writes it) of each packet of 20 ms.
#[derive(Clone, Copy)]
enum Sound {
    /// Packets stop.
    Dtx,
    /// Room noise.
    Hum,
    /// Syllables of 160 ms with short gaps, a pause after each sentence.
    Speech,
    /// A loud key every 240 ms, one packet long.
    Keyboard,
    /// Keys in bursts, each two packets long and followed by its release: a fast typist close to the microphone.
    Typist,
    /// "Yes.": 200 ms of voice in each 4 s.
    Interjection,
    /// Two who cut each other off every 400 ms: this one speaks first, or second.
    Crosstalk(u64),
    /// A cough: 300 ms as loud as can be in each 5 s.
    Cough,
}

impl Sound {
    fn level(self, packet: u64) -> Option<u8> {
        let noise = 66 + (packet % 5) as u8;
        match self {
            Sound::Dtx => None,
            Sound::Hum => Some(noise),
            Sound::Speech if packet % 150 > 130 => Some(noise),
            Sound::Speech if packet % 10 == 9 => Some(45),
            Sound::Speech => Some(22 + (packet % 4) as u8),
            Sound::Keyboard if packet.is_multiple_of(12) => Some(20),
            Sound::Keyboard => Some(noise),
            Sound::Typist if packet % 75 < 50 && matches!(packet % 8, 0 | 1 | 4) => Some(15),
            Sound::Typist => Some(noise),
            Sound::Crosstalk(turn) if packet / 20 % 2 == turn => Sound::Speech.level(packet),
            Sound::Crosstalk(_) => Some(noise),
            Sound::Cough if packet % 250 < 15 => Some(3),
            Sound::Cough => Some(noise),
            Sound::Interjection if packet % 200 < 10 => Some(20),
            Sound::Interjection => Some(noise),
        }
    }
}

/// Plays scenes of some seconds each, and returns who dominated at the end of each, and how often that changed.
fn play(scenes: &[(u64, [Sound; 3])]) -> (Vec<Option<usize>>, usize) {
    let start = Instant::now();
    let mut speakers: [Speaker; 3] = Default::default();
    let (mut current, mut changes, mut packet) = (None, 0, 0u64);
    let mut ends = Vec::new();
    for (seconds, sounds) in scenes {
        for _ in 0..seconds * 50 {
            let now = start + PACKET * packet as u32;
            for (speaker, sound) in speakers.iter_mut().zip(sounds) {
                if let Some(level) = sound.level(packet) {
                    speaker.heard(now, level);
                }
            }
            if packet.is_multiple_of(15) {
                let before = current;
                current = dominant(now, current, speakers.iter_mut().enumerate());
                changes += usize::from(before != current);
            }
            packet += 1;
        }
        ends.push(current);
    }
    (ends, changes)
}

#[test]
fn who_dominates_is_who_speaks_and_nobody_else() {
    use Sound::{Cough, Crosstalk, Dtx, Hum, Interjection, Keyboard, Speech, Typist};
    let rows = [
        ("nobody makes a sound", vec![(5, [Dtx, Dtx, Dtx])], vec![None], 0),
        ("room noise is nobody's speech", vec![(10, [Hum, Hum, Hum])], vec![None], 0),
        ("one speaks", vec![(3, [Hum, Speech, Hum])], vec![Some(1)], 1),
        ("a keyboard is no speech", vec![(10, [Hum, Keyboard, Hum])], vec![None], 0),
        ("nor are two, one of them fast and close", vec![(20, [Hum, Keyboard, Typist])], vec![None], 0),
        (
            "two typists do not interrupt",
            vec![(3, [Speech, Hum, Hum]), (20, [Speech, Typist, Keyboard])],
            vec![Some(0), Some(0)],
            1,
        ),
        (
            "a cough does not interrupt",
            vec![(3, [Speech, Hum, Hum]), (20, [Speech, Cough, Hum])],
            vec![Some(0), Some(0)],
            1,
        ),
        (
            "two who cut each other off change it seldom",
            vec![(3, [Speech, Hum, Hum]), (20, [Crosstalk(0), Crosstalk(1), Keyboard])],
            vec![Some(0), Some(1)],
            4,
        ),
        (
            "a keyboard does not interrupt",
            vec![(3, [Speech, Hum, Hum]), (10, [Speech, Keyboard, Hum])],
            vec![Some(0), Some(0)],
            1,
        ),
        (
            "nor does it take the floor in a silence",
            vec![(3, [Speech, Hum, Hum]), (10, [Dtx, Keyboard, Hum])],
            vec![Some(0), Some(0)],
            1,
        ),
        ("whoever spoke last stays", vec![(3, [Speech, Hum, Hum]), (20, [Hum, Hum, Dtx])], vec![Some(0), Some(0)], 1),
        (
            "a short yes changes nothing",
            vec![(3, [Speech, Hum, Hum]), (12, [Speech, Interjection, Hum])],
            vec![Some(0), Some(0)],
            1,
        ),
        (
            "the floor is handed over",
            vec![(4, [Speech, Hum, Dtx]), (4, [Hum, Speech, Dtx]), (4, [Hum, Dtx, Speech])],
            vec![Some(0), Some(1), Some(2)],
            3,
        ),
        (
            "two at once do not flap",
            vec![(3, [Speech, Hum, Hum]), (20, [Speech, Speech, Hum])],
            vec![Some(0), Some(0)],
            1,
        ),
    ];
    for (what, scenes, expected, most_changes) in rows {
        let (ends, changes) = play(&scenes);
        assert_eq!(ends, expected, "{what}");
        assert!(changes <= most_changes, "{what}: {changes} changes");
    }
}

#[test]
fn a_handover_takes_less_than_two_seconds() {
    use Sound::{Hum, Speech};
    let (ends, _) = play(&[(6, [Speech, Hum, Hum]), (2, [Hum, Speech, Hum])]);
    assert_eq!(ends, [Some(0), Some(1)]);
}

#[test]
fn a_floor_that_rose_is_followed() {
    let mut floor = Floor::default();
    (0..100).for_each(|_| floor.learn(30));
    assert_eq!(floor.level, 30);
    (0..10 * FLOOR_WINDOW).for_each(|_| floor.learn(60));
    assert!(floor.level >= 58, "{floor:?}");
    floor.learn(20);
    assert_eq!(floor.level, 20, "and falls at once");
}
