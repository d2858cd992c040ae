//! A limit that changes between two pictures, with those before it for what comes late.

use arrayvec::ArrayVec;

/// Values remembered. More changes than this within the time of a retransmission make a late picture one of the next;
/// larger costs 16 bytes each per subscription.
const REMEMBERED: usize = 4;

/// A value by picture or frame number.
#[derive(Debug, Clone)]
pub(super) struct Changing<T> {
    now: T,
    since: u64,
    /// Where each began, ascending.
    before: ArrayVec<(u64, T), REMEMBERED>,
}

impl<T: Copy + PartialEq> Changing<T> {
    pub(super) fn new(value: T) -> Self {
        Self { now: value, since: 0, before: ArrayVec::new() }
    }

    /// The newest value.
    pub(super) fn now(&self) -> T {
        self.now
    }

    /// The value at this number.
    pub(super) fn at(&self, number: u64) -> T {
        if number >= self.since {
            return self.now;
        }
        let valid = self.before.iter().rev().find(|(since, _)| number >= *since);
        valid.or(self.before.first()).map_or(self.now, |(_, value)| *value)
    }

    /// Another value from this number on.
    pub(super) fn set(&mut self, number: u64, value: T) {
        if value == self.now {
            return;
        }
        if self.before.is_full() {
            self.before.remove(0);
        }
        self.before.push((self.since, self.now));
        (self.now, self.since) = (value, number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_numbers_get_the_value_of_their_time() {
        let mut value = Changing::new('a');
        for (number, next) in [(10, 'b'), (20, 'c'), (25, 'c'), (30, 'd')] {
            value.set(number, next);
        }
        let table = [(0, 'a'), (9, 'a'), (10, 'b'), (19, 'b'), (20, 'c'), (29, 'c'), (30, 'd'), (31, 'd')];
        for (number, expected) in table {
            assert_eq!(value.at(number), expected, "{number}");
        }
        for (number, next) in [(40, 'e'), (50, 'f')] {
            value.set(number, next);
        }
        assert_eq!((value.at(0), value.at(45), value.now()), ('b', 'e', 'f'), "the first is forgotten");
    }
}
