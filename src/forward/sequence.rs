//! Sequence numbers of one stretch of one source: closed up over what is left out, each given once, late ones in their
//! own place.

use super::DropReason;
use super::offsets::Offsets;

/// How far behind the newest a packet may come. Two seconds of a 250-packet/s layer; larger costs a bit each per
/// subscription, smaller refuses retransmissions over slow paths.
const WINDOW: u64 = 512;
const WORDS: usize = WINDOW as usize / 64;

/// Maps a source's sequence numbers to the output's, from the packet the source was joined at.
#[derive(Debug, Clone)]
pub(super) struct SequenceMap {
    first: u64,
    highest: u64,
    offsets: Offsets,
    /// One bit for each of the last [`WINDOW`] numbers: handled, by sending or by leaving out.
    handled: [u64; WORDS],
}

impl SequenceMap {
    /// The source is joined at `first`, which becomes `output`.
    pub(super) fn new(first: u64, output: u64) -> Self {
        SequenceMap {
            first,
            highest: first.wrapping_sub(1),
            offsets: Offsets::new(first, first.wrapping_sub(output)),
            handled: [0; WORDS],
        }
    }

    /// The highest number that was handled.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// The lowest number at or behind this one that is still to be handled.
    pub(super) fn first_missing(&self, from: u64) -> u64 {
        let known = self.highest.saturating_sub(WINDOW - 1).max(self.first).max(from);
        (known..=self.highest).find(|sequence| !self.is_handled(*sequence)).unwrap_or(self.highest + 1)
    }

    /// The output's number for this one, which must not be asked for again.
    pub(super) fn place(&mut self, sequence: u64) -> Result<u64, DropReason> {
        if self.is_ahead(sequence) {
            self.advance(sequence);
        } else if sequence < self.first {
            return Err(DropReason::BeforeSwitch);
        } else if self.highest - sequence >= WINDOW {
            return Err(DropReason::TooOld);
        } else if self.is_handled(sequence) {
            return Err(DropReason::Duplicate);
        }
        self.mark(sequence);
        let offset = self.offsets.at(sequence).ok_or(DropReason::TooOld)?;
        Ok(sequence.wrapping_sub(offset))
    }

    /// Leaves a number out: those behind it close up. Not possible once higher ones were placed, and then it returns
    /// false. Numbers that are missing in front of it keep their place.
    pub(super) fn leave_out(&mut self, sequence: u64) -> bool {
        let is_ahead = self.is_ahead(sequence);
        if is_ahead {
            self.advance(sequence);
            self.mark(sequence);
            self.offsets.remove(sequence);
        }
        is_ahead
    }

    /// Before the first packet `highest` may stand at -1.
    fn is_ahead(&self, sequence: u64) -> bool {
        sequence.wrapping_sub(self.highest).cast_signed() > 0
    }

    fn advance(&mut self, sequence: u64) {
        let step = sequence.wrapping_sub(self.highest);
        if step >= WINDOW {
            self.handled = [0; WORDS];
        } else {
            for skipped in 1..=step {
                let (word, bit) = position(self.highest.wrapping_add(skipped));
                if let Some(word) = self.handled.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.highest = sequence;
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = position(sequence);
        if let Some(word) = self.handled.get_mut(word) {
            *word |= bit;
        }
    }

    fn is_handled(&self, sequence: u64) -> bool {
        let (word, bit) = position(sequence);
        self.handled.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Word and bit of a number in the window.
fn position(sequence: u64) -> (usize, u64) {
    ((sequence / 64) as usize % WORDS, 1 << (sequence % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        Place(u64, Result<u64, DropReason>),
        LeaveOut(u64, bool),
    }
    use DropReason::{BeforeSwitch, Duplicate, TooOld};
    use Step::{LeaveOut, Place};

    #[test]
    fn numbers_close_up_over_what_is_left_out_and_late_ones_find_their_place() {
        let table: [(&str, &[Step]); 12] = [
            ("one left out", &[Place(10, Ok(10)), Place(11, Ok(11)), LeaveOut(12, true), Place(13, Ok(12))]),
            ("reordered", &[Place(10, Ok(10)), Place(12, Ok(12)), Place(11, Ok(11))]),
            (
                "late behind one left out",
                &[Place(10, Ok(10)), LeaveOut(11, true), Place(13, Ok(12)), Place(12, Ok(11))],
            ),
            (
                "left out, then again",
                &[Place(10, Ok(10)), LeaveOut(11, true), Place(12, Ok(11)), Place(11, Err(Duplicate))],
            ),
            ("padding closes up", &[Place(13, Ok(13)), LeaveOut(14, true), Place(15, Ok(14))]),
            (
                "left out behind a gap",
                &[Place(13, Ok(13)), LeaveOut(15, true), Place(16, Ok(15)), Place(14, Ok(14)), Place(17, Ok(16))],
            ),
            (
                "too late to be left out",
                &[Place(13, Ok(13)), Place(15, Ok(15)), LeaveOut(14, false), Place(14, Ok(14))],
            ),
            ("wraps", &[Place(65534, Ok(65534)), LeaveOut(65535, true), Place(65536, Ok(65535))]),
            ("sent twice", &[Place(10, Ok(10)), Place(10, Err(Duplicate))]),
            ("before the first", &[Place(10, Ok(10)), Place(9, Err(BeforeSwitch))]),
            ("from the very start", &[Place(0, Ok(0)), Place(2, Ok(2)), Place(1, Ok(1)), Place(1, Err(Duplicate))]),
            ("too late", &[Place(10, Ok(10)), Place(1000, Ok(1000)), Place(489, Ok(489)), Place(488, Err(TooOld))]),
        ];
        for (name, steps) in table {
            let first = match steps.first() {
                Some(Place(first, _)) => *first,
                _ => unreachable!("every row starts by placing"),
            };
            let mut map = SequenceMap::new(first, first);
            for step in steps {
                match *step {
                    Place(sequence, expected) => assert_eq!(map.place(sequence), expected, "{name}: {sequence}"),
                    LeaveOut(sequence, expected) => {
                        assert_eq!(map.leave_out(sequence), expected, "{name}: {sequence}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_number_is_not_a_duplicate_of_one_a_window_ago() {
        let mut map = SequenceMap::new(100, 7);
        assert_eq!(map.place(100), Ok(7));
        assert_eq!(map.place(100 + WINDOW + 1), Ok(7 + WINDOW + 1));
        assert_eq!(map.place(100 + WINDOW), Ok(7 + WINDOW));
        assert_eq!(map.place(100 + 3 * WINDOW), Ok(7 + 3 * WINDOW));
        assert_eq!(map.place(100 + 2 * WINDOW + 1), Ok(7 + 2 * WINDOW + 1));
    }

    #[test]
    fn the_output_starts_where_it_is_told() {
        let mut map = SequenceMap::new(70_000, 12);
        assert_eq!(map.place(70_000), Ok(12));
        assert_eq!(map.place(70_001), Ok(13));
        assert_eq!(map.place(69_999), Err(BeforeSwitch));
    }
}
