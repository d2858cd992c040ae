//! Which shard a session is placed on.
//!
//! A room begins on the least loaded shard, its home. It stays there whole until it has outgrown it; then further
//! sessions go to halves of it on other shards: one half is filled before the next is opened, and when every shard has
//! a full one, to the smallest. Sessions do not move.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// The rooms of this node and their shards. Bounded by the number of sessions: a room without one is forgotten.
#[derive(Debug)]
pub(super) struct Placement {
    rooms: DashMap<Arc<str>, Place>,
    /// Sessions on each shard.
    loads: Vec<AtomicUsize>,
    /// Sessions of a room on one shard before it spills to the next.
    spill_after: usize,
}

#[derive(Debug)]
struct Place {
    home: usize,
    /// Sessions on each shard.
    sessions: Vec<usize>,
}

/// Where a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) shard: usize,
    /// The shard its room is at home on.
    pub(super) home: usize,
}

impl Placement {
    pub(super) fn new(shards: usize, spill_after: usize) -> Self {
        Self { rooms: DashMap::new(), loads: (0..shards).map(|_| AtomicUsize::new(0)).collect(), spill_after }
    }

    /// Counts one more session in a room and says where it is to be. `at_home`: not elsewhere, however full that is.
    pub(super) fn enter(&self, room: &Arc<str>, at_home: bool) -> Seat {
        let mut place = self
            .rooms
            .entry(Arc::clone(room))
            .or_insert_with(|| Place { home: self.least_loaded(|_| true), sessions: vec![0; self.loads.len().max(1)] });
        let home = place.home;
        let shard = if at_home { home } else { self.choose(&place) };
        if let Some(sessions) = place.sessions.get_mut(shard) {
            *sessions += 1;
        }
        if let Some(load) = self.loads.get(shard) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        Seat { shard, home }
    }

    /// Where a room is at home, while somebody is in it.
    pub(super) fn home(&self, room: &str) -> Option<usize> {
        self.rooms.get(room).map(|place| place.home)
    }

    /// Counts one session less, and forgets the room with the last.
    pub(super) fn leave(&self, room: &Arc<str>, shard: usize) {
        let Entry::Occupied(mut place) = self.rooms.entry(Arc::clone(room)) else { return };
        let Some(sessions) = place.get_mut().sessions.get_mut(shard).filter(|sessions| **sessions > 0) else { return };
        *sessions -= 1;
        if let Some(load) = self.loads.get(shard) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
        if place.get().sessions.iter().all(|sessions| *sessions == 0) {
            place.remove();
        }
    }

    fn choose(&self, place: &Place) -> usize {
        let has_room = |sessions: &usize| *sessions < self.spill_after;
        if place.sessions.get(place.home).is_none_or(has_room) {
            return place.home;
        }
        let open = place.sessions.iter().position(|sessions| *sessions > 0 && has_room(sessions));
        let empty = |shard: usize| place.sessions.get(shard) == Some(&0);
        let smallest = || (0..place.sessions.len()).min_by_key(|shard| place.sessions.get(*shard).copied());
        match open {
            Some(open) => open,
            None if (0..place.sessions.len()).any(empty) => self.least_loaded(empty),
            None => smallest().unwrap_or(place.home),
        }
    }

    fn least_loaded(&self, allowed: impl Fn(usize) -> bool) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed)).enumerate();
        loads.filter(|(shard, _)| allowed(*shard)).min_by_key(|(_, load)| *load).map_or(0, |(shard, _)| shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(shard: usize, home: usize) -> Seat {
        Seat { shard, home }
    }

    #[test]
    fn a_room_keeps_its_shard_until_its_last_session_has_left() {
        let placement = Placement::new(2, 9);
        let [a, b, c] = ["a", "b", "c"].map(Arc::<str>::from);
        assert_eq!(placement.enter(&a, false), at(0, 0));
        assert_eq!(placement.enter(&b, false), at(1, 1), "the emptier shard");
        assert_eq!(placement.enter(&b, false), at(1, 1), "the room's shard");
        placement.leave(&a, 0);
        assert_eq!(placement.enter(&c, false), at(0, 0), "the shard a left");
        placement.leave(&b, 1);
        assert_eq!(placement.enter(&a, false), at(0, 0), "a tie goes to the first shard");
        assert_eq!(placement.enter(&b, false), at(1, 1), "one session was still there");
    }

    #[test]
    fn a_room_that_outgrows_its_shard_fills_one_after_the_other_and_then_all_alike() {
        let placement = Placement::new(3, 2);
        let (big, other) = (Arc::from("big"), Arc::from("other"));
        let seats: Vec<usize> = (0..2).map(|_| placement.enter(&big, false).shard).collect();
        assert_eq!(seats, [0, 0]);
        placement.enter(&other, false);
        let seats: Vec<usize> = (0..6).map(|_| placement.enter(&big, false).shard).collect();
        assert_eq!(seats, [2, 2, 1, 1, 0, 1], "the least loaded first");
        assert_eq!(placement.enter(&big, true), at(0, 0), "who must be at home is");
        placement.leave(&big, 2);
        assert_eq!(placement.enter(&big, false), at(2, 0), "where somebody left");
    }

    #[test]
    fn an_empty_room_leaves_nothing_behind() {
        let placement = Placement::new(2, 1);
        let room = Arc::from("a");
        for seat in [placement.enter(&room, false), placement.enter(&room, false)] {
            placement.leave(&room, seat.shard);
            placement.leave(&room, seat.shard);
        }
        assert!(placement.rooms.is_empty());
        assert!(placement.loads.iter().all(|load| load.load(Ordering::Relaxed) == 0));
    }
}
