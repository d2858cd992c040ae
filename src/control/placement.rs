//! Which shard a room lives on.
//!
//! The least loaded shard gets a new room; a room keeps its shard until its last session has ended. Rooms do not move
//! and are not split here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;

/// The rooms of this node and their shards. Bounded by the number of sessions: a room without one is forgotten.
#[derive(Debug)]
pub(super) struct Placement {
    rooms: DashMap<Arc<str>, Place>,
    /// Rooms on each shard.
    loads: Vec<AtomicUsize>,
}

#[derive(Debug)]
struct Place {
    shard: usize,
    sessions: usize,
}

impl Placement {
    pub(super) fn new(shards: usize) -> Self {
        Self { rooms: DashMap::new(), loads: (0..shards).map(|_| AtomicUsize::new(0)).collect() }
    }

    /// Counts one more session in a room and says which shard the room is on.
    pub(super) fn enter(&self, room: &Arc<str>) -> usize {
        match self.rooms.entry(Arc::clone(room)) {
            Entry::Occupied(mut place) => {
                place.get_mut().sessions += 1;
                place.get().shard
            }
            Entry::Vacant(vacant) => {
                let shard = self.least_loaded();
                if let Some(load) = self.loads.get(shard) {
                    load.fetch_add(1, Ordering::Relaxed);
                }
                vacant.insert(Place { shard, sessions: 1 });
                shard
            }
        }
    }

    /// Counts one session less, and forgets the room with the last.
    pub(super) fn leave(&self, room: &Arc<str>) {
        let Entry::Occupied(mut place) = self.rooms.entry(Arc::clone(room)) else { return };
        place.get_mut().sessions -= 1;
        if place.get().sessions == 0 {
            let shard = place.remove().shard;
            if let Some(load) = self.loads.get(shard) {
                load.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    fn least_loaded(&self) -> usize {
        let loads = self.loads.iter().map(|load| load.load(Ordering::Relaxed));
        loads.enumerate().min_by_key(|(_, load)| *load).map_or(0, |(shard, _)| shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_keeps_its_shard_until_its_last_session_has_left() {
        let placement = Placement::new(2);
        let [a, b, c] = ["a", "b", "c"].map(Arc::<str>::from);
        assert_eq!(placement.enter(&a), 0);
        assert_eq!(placement.enter(&b), 1, "the emptier shard");
        assert_eq!(placement.enter(&b), 1, "the room's shard");
        placement.leave(&a);
        assert_eq!(placement.enter(&c), 0, "the shard a left");
        assert_eq!(placement.enter(&a), 0, "a tie goes to the first shard");
        placement.leave(&b);
        assert_eq!(placement.enter(&b), 1, "one session was still there");
    }

    #[test]
    fn an_empty_room_leaves_nothing_behind() {
        let placement = Placement::new(1);
        let room = Arc::from("a");
        placement.enter(&room);
        placement.leave(&room);
        placement.leave(&room);
        assert!(placement.rooms.is_empty());
        assert_eq!(placement.loads[0].load(Ordering::Relaxed), 0);
    }
}
