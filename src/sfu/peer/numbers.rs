//! Which sequence numbers of a stream were used: the guard in front of a cipher that must see none twice.

/// How far behind the newest number one may still be used. Larger: more memory per stream; smaller: packets this late
/// are lost. At 1000 packets a second these are half a second.
const WINDOW: u64 = 512;

/// Numbers used, extended to 64 bits.
#[derive(Debug, Default)]
pub(super) struct UsedNumbers {
    /// One above the newest.
    next: u64,
    /// Bit `n % 512`: number `n` of the last 512 was used.
    used: [u64; (WINDOW / 64) as usize],
}

impl UsedNumbers {
    /// Uses a number. False when it was used before, or is too old to tell.
    pub(super) fn take(&mut self, number: u64) -> bool {
        if number >= self.next {
            let passed = number - self.next;
            if passed >= WINDOW {
                self.used = Default::default();
            } else {
                for skipped in self.next..number {
                    self.set(skipped, false);
                }
            }
            self.next = number + 1;
            self.set(number, true);
            return true;
        }
        if self.next - number > WINDOW || self.is_set(number) {
            return false;
        }
        self.set(number, true);
        true
    }

    /// One above the newest.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    fn is_set(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.used.get(word).is_none_or(|bits| bits >> bit & 1 == 1)
    }

    fn set(&mut self, number: u64, used: bool) {
        let (word, bit) = place(number);
        if let Some(bits) = self.used.get_mut(word) {
            *bits = *bits & !(1 << bit) | u64::from(used) << bit;
        }
    }
}

fn place(number: u64) -> (usize, u64) {
    ((number % WINDOW / 64) as usize, number % 64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    #[test]
    fn no_number_is_used_twice_and_none_within_reach_is_refused() {
        let mut rng = StdRng::from_seed([7; 32]);
        let (mut numbers, mut used) = (UsedNumbers::default(), BTreeSet::new());
        let mut head = 1000u64;
        for _ in 0..20_000 {
            let number = match rng.random_range(0..10) {
                0..6 => head + 1,
                6 => head + rng.random_range(1..700),
                _ => head.saturating_sub(rng.random_range(0..800)),
            };
            let in_reach = number > head || head - number < WINDOW;
            let expected = in_reach && !used.contains(&number);
            assert_eq!(numbers.take(number), expected, "{number} with {head} the newest");
            if expected {
                used.insert(number);
            }
            head = head.max(number).max(*used.last().unwrap());
        }
    }

    #[test]
    fn the_first_number_may_be_any() {
        for first in [0, 1, 511, 512, 70_000] {
            let mut numbers = UsedNumbers::default();
            assert!(numbers.take(first));
            assert!(!numbers.take(first));
            assert!(numbers.take(first + 1));
        }
    }
}
