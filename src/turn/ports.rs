//! Relay ports, handed out in pairs: an even port for the allocation, the odd one above it for who reserves it.
//!
//! Each shard has its own pairs, and which shard a port is on can be told from the port. Ports are in random order, so
//! that they cannot be guessed (RFC 8656 section 7.2), and the one given back longest ago is used next. Ports that the
//! system gives to any program asking for one come last: one that is taken ends an allocation that was promised it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;

use rand::Rng;
use rand::seq::SliceRandom as _;

use super::Settings;

/// Which shard of how many has a port.
pub(super) fn shard_of(port: u16, shards: u16) -> u16 {
    (port / 2) % shards.max(1)
}

#[derive(Debug)]
pub(super) struct Ports {
    /// The even ports of free pairs that no other program is given by chance.
    free: VecDeque<u16>,
    /// Those that one may be given, taken when there are no others.
    risky: VecDeque<u16>,
    /// Pairs in use, by their even port: which of the two.
    used: BTreeMap<u16, Used>,
    dynamic: Option<RangeInclusive<u16>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Used {
    even: bool,
    odd: bool,
}

impl Ports {
    /// The pairs of one shard that lie wholly in the range and hold no media port.
    pub(super) fn new(settings: &Settings, rng: &mut impl Rng) -> Self {
        let Settings { ports: range, shard, shards, media, dynamic_ports, .. } = settings;
        let is_media = |even: u16| media.iter().any(|address| address.port() & !1 == even);
        let pairs = range.clone().filter(|port| port.is_multiple_of(2) && port < range.end() && !is_media(*port));
        let mut all: Vec<u16> = pairs.filter(|port| shard_of(*port, *shards) == *shard).collect();
        all.shuffle(rng);
        let (risky, free): (Vec<u16>, Vec<u16>) = all.into_iter().partition(|even| is_dynamic(dynamic_ports, *even));
        Self { free: free.into(), risky: risky.into(), used: BTreeMap::new(), dynamic: dynamic_ports.clone() }
    }

    /// Takes an even port; with `reserve` the odd one above it stays taken, too.
    pub(super) fn take(&mut self, reserve: bool) -> Option<u16> {
        let even = self.free.pop_front().or_else(|| self.risky.pop_front())?;
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
            let queue = if is_dynamic(&self.dynamic, even) { &mut self.risky } else { &mut self.free };
            queue.push_back(even);
        }
    }

    #[cfg(test)]
    pub(super) fn in_use(&self) -> usize {
        self.used.len()
    }
}

fn is_dynamic(ports: &Option<RangeInclusive<u16>>, even: u16) -> bool {
    ports.as_ref().is_some_and(|ports| ports.contains(&even) || ports.contains(&(even | 1)))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    fn settings(ports: RangeInclusive<u16>) -> Settings {
        Settings { ports, ..Settings::stun_only(Instant::now()) }
    }

    fn take_all(ports: &mut Ports) -> Vec<u16> {
        std::iter::from_fn(|| ports.take(false)).collect()
    }

    #[test]
    fn ports_that_programs_are_given_by_chance_come_last_and_media_ports_never() {
        let media = vec!["192.0.2.1:50021".parse().unwrap()];
        let dynamic_ports = Some(40_000..=50_010);
        let settings = Settings { media, dynamic_ports, ..settings(50_000..=50_029) };
        let mut ports = Ports::new(&settings, &mut StdRng::seed_from_u64(1));
        for _ in 0..2 {
            let taken = take_all(&mut ports);
            let (first, last) = taken.split_at(8);
            let sorted = |ports: &[u16]| {
                let mut ports = ports.to_vec();
                ports.sort_unstable();
                ports
            };
            assert_eq!(sorted(first), [50_012, 50_014, 50_016, 50_018, 50_022, 50_024, 50_026, 50_028]);
            assert_eq!(sorted(last), [50_000, 50_002, 50_004, 50_006, 50_008, 50_010]);
            taken.iter().rev().for_each(|port| ports.give_back(*port));
        }
    }

    #[test]
    fn every_pair_is_on_one_shard_and_comes_back_last() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut all = Vec::new();
        for shard in 0..3 {
            let settings = Settings { shard, shards: 3, ..settings(49_153..=49_180) };
            let mut ports = Ports::new(&settings, &mut rng);
            let taken = take_all(&mut ports);
            assert!(taken.iter().all(|port| port.is_multiple_of(2) && shard_of(port + 1, 3) == shard));
            taken.iter().for_each(|port| ports.give_back(*port));
            assert_eq!(taken, take_all(&mut ports), "first given back, first used");
            all.extend(taken);
        }
        all.sort_unstable();
        let expected: Vec<u16> = (49_154..=49_178).step_by(2).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_pair_is_free_when_both_its_ports_are() {
        let mut ports = Ports::new(&settings(50_000..=50_001), &mut StdRng::seed_from_u64(1));
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
