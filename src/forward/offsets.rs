//! What to subtract from a source's numbers where some of them were taken out of the series on the way.
//!
//! The offset depends on the position: a late number gets the one that was valid where it belongs, not today's.

use std::collections::VecDeque;

/// How many changes of the offset are remembered. Dropping two of three temporal layers at 30 fps makes 20 changes a
/// second; larger costs 16 B each per subscription, smaller refuses late packets sooner.
const MAX_CHANGES: usize = 64;

/// Offsets by position, the newest at hand.
#[derive(Debug, Clone)]
pub(super) struct Offsets {
    newest: Run,
    /// Ascending; allocated when the first number is taken out.
    older: VecDeque<Run>,
}

/// `offset` is valid from `start` to the next run's start.
#[derive(Debug, Clone, Copy)]
struct Run {
    start: u64,
    offset: u64,
}

impl Offsets {
    /// From `start` on, `offset` (modulo 2^64).
    pub(super) fn new(start: u64, offset: u64) -> Self {
        Offsets { newest: Run { start, offset }, older: VecDeque::new() }
    }

    /// The offset at this number; `None` before the oldest that is remembered.
    pub(super) fn at(&self, number: u64) -> Option<u64> {
        if number >= self.newest.start {
            return Some(self.newest.offset);
        }
        self.older.iter().rev().find(|run| number >= run.start).map(|run| run.offset)
    }

    /// Whether a number was ever taken out, or the offset is other than zero.
    pub(super) fn is_zero(&self) -> bool {
        self.newest.offset == 0 && self.older.is_empty()
    }

    /// Takes a number out: those behind it move up by one. It must be behind all that were taken out before.
    pub(super) fn remove(&mut self, number: u64) {
        if number > self.newest.start {
            if self.older.len() == MAX_CHANGES {
                self.older.pop_front();
            }
            self.older.push_back(self.newest);
        }
        self.newest = Run { start: number + 1, offset: self.newest.offset.wrapping_add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gets_the_offset_of_its_position() {
        let mut offsets = Offsets::new(10, 3);
        offsets.remove(12);
        offsets.remove(13);
        offsets.remove(20);
        let table = [(9, None), (10, Some(3)), (11, Some(3)), (14, Some(5)), (19, Some(5)), (21, Some(6))];
        for (number, expected) in table {
            assert_eq!(offsets.at(number), expected, "{number}");
        }
    }

    #[test]
    fn the_oldest_changes_are_forgotten() {
        let mut offsets = Offsets::new(0, 0);
        for change in 1..=100 {
            offsets.remove(change * 10);
        }
        assert_eq!(offsets.older.len(), MAX_CHANGES);
        assert_eq!(offsets.at(100 * 10 + 1), Some(100));
        assert_eq!(offsets.at(37 * 10 + 1), Some(37));
        assert_eq!(offsets.at(36 * 10), None);
    }
}
