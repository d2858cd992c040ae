//! Relay ports, handed out in pairs: an even port for the allocation, the odd one above it for who reserves it.
//!
//! Each shard has its own pairs, and which shard a port is on can be told from the port. Ports are in random order, so
//! that they cannot be guessed (RFC 8656 section 7.2), and the one given back longest ago is used next.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use rand::Rng;
use rand::seq::SliceRandom as _;

/// Which shard of how many has a port.
pub(super) fn shard_of(port: u16, shards: u16) -> u16 {
    (port / 2) % shards.max(1)
}

#[derive(Debug, Default)]
pub(super) struct Ports {
    /// The even ports of free pairs.
    free: VecDeque<u16>,
    /// Pairs in use, by their even port: which of the two.
    used: BTreeMap<u16, Used>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    even: bool,
    odd: bool,
}

impl Ports {
    /// The pairs of one shard that lie wholly in the range.
    pub(super) fn new(range: &RangeInclusive<u16>, shard: u16, shards: u16, rng: &mut impl Rng) -> Self {
        let pairs = range.clone().filter(|port| port.is_multiple_of(2) && port < range.end());
        let mut free: Vec<u16> = pairs.filter(|port| shard_of(*port, shards) == shard).collect();
        free.shuffle(rng);
        Self { free: free.into(), used: BTreeMap::new() }
    }

    /// Takes an even port; with `reserve` the odd one above it stays taken, too.
    pub(super) fn take(&mut self, reserve: bool) -> Option<u16> {
        let even = self.free.pop_front()?;
        self.used.insert(even, Used { even: true, odd: reserve });
        Some(even)
    }

    /// Gives a port back. Its pair is free when both are.
    pub(super) fn give_back(&mut self, port: u16) {
        let even = port & !1;
        let Some(used) = self.used.get_mut(&even) else { return };
        if port == even {
            used.even = false;
        } else {
            used.odd = false;
        }
        if !used.even && !used.odd {
            self.used.remove(&even);
            self.free.push_back(even);
        }
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn every_pair_is_on_one_shard_and_comes_back_last() {
        let range = 49_153..=49_180;
        let mut rng = StdRng::seed_from_u64(1);
        let mut all = Vec::new();
        for shard in 0..3 {
            let mut ports = Ports::new(&range, shard, 3, &mut rng);
            let taken: Vec<u16> = std::iter::from_fn(|| ports.take(false)).collect();
            assert!(taken.iter().all(|port| port.is_multiple_of(2) && shard_of(port + 1, 3) == shard));
            taken.iter().for_each(|port| ports.give_back(*port));
            let again: Vec<u16> = std::iter::from_fn(|| ports.take(false)).collect();
            assert_eq!(taken, again, "first given back, first used");
            all.extend(taken);
        }
        all.sort_unstable();
        let expected: Vec<u16> = (49_154..=49_178).step_by(2).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_pair_is_free_when_both_its_ports_are() {
        let mut ports = Ports::new(&(50_000..=50_001), 0, 1, &mut StdRng::seed_from_u64(1));
        assert_eq!(ports.take(true), Some(50_000));
        ports.give_back(50_000);
        assert_eq!(ports.take(false), None, "the odd one is reserved");
        ports.give_back(50_001);
        ports.give_back(50_001);
        assert_eq!(ports.take(false), Some(50_000));
        ports.give_back(50_001);
        assert_eq!(ports.in_use(), 1, "given back though never taken");
    }
}
