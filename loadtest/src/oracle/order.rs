//! Puts the packets of one stream back in order, waiting for gaps to be repaired.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a gap is waited for. Longer: loss is noticed late and freezes grow. Shorter: retransmissions over a long
/// path come too late.
const PATIENCE: Duration = Duration::from_millis(600);

/// How long a stream waits for the packet it begins with, when what came first is not a beginning.
const START_PATIENCE: Duration = Duration::from_millis(200);

/// How long a gap in front of a key frame is waited for. A decoder needs nothing of what is in front of it, so only as
/// long as packets may have overtaken each other.
const KEY_FRAME_PATIENCE: Duration = Duration::from_millis(30);

/// Packets held behind a gap. More come only when far more than a second of media is behind it.
const MAX_HELD: usize = 2_048;

/// The reorder buffer. `T` is what is known of a packet.
#[derive(Debug)]
pub(super) struct Order<T> {
    next: Option<u64>,
    held: BTreeMap<u64, (Instant, T)>,
    /// First packets of key frames among those, and when they came.
    key_frames: BTreeMap<u64, Instant>,
    /// Packets that came behind a later one, in time.
    pub(super) reordered: u64,
    /// Packets that came when they were no longer waited for.
    pub(super) late: u64,
}

/// What can be done with a packet that comes behind a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing.
    Inside,
    /// A stream can start here.
    Start,
    /// A stream can start here, and one that goes on needs nothing of what is in front.
    KeyFrame,
}

/// What comes out, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InOrder<T> {
    pub(super) sequence: u64,
    /// Packets missing in front of it, given up.
    pub(super) missing: u64,
    pub(super) packet: T,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { next: None, held: BTreeMap::new(), key_frames: BTreeMap::new(), reordered: 0, late: 0 }
    }
}

impl<T> Order<T> {
    /// Takes a packet.
    pub(super) fn insert(&mut self, at: Instant, sequence: u64, packet: T, place: Place) {
        match self.next {
            Some(next) if sequence < next => {
                self.late += 1;
                return;
            }
            None if place != Place::Inside && self.held.is_empty() => self.next = Some(sequence),
            _ => {}
        }
        if self.held.last_key_value().is_some_and(|(last, _)| sequence < *last) {
            self.reordered += 1;
        }
        if place == Place::KeyFrame {
            self.key_frames.entry(sequence).or_insert(at);
        }
        self.held.entry(sequence).or_insert((at, packet));
    }

    /// The next packet in order, if it is there or the gap in front of it is given up.
    pub(super) fn pop(&mut self, now: Instant) -> Option<InOrder<T>> {
        let entry = self.held.first_entry()?;
        let sequence = *entry.key();
        let contiguous = self.next == Some(sequence);
        if !contiguous && self.held.len() <= MAX_HELD && self.deadline()? > now {
            return None;
        }
        let (_, packet) = self.held.pop_first()?.1;
        let missing = self.next.map_or(0, |next| sequence - next);
        self.next = Some(sequence + 1);
        self.key_frames.remove(&sequence);
        Some(InOrder { sequence, missing, packet })
    }

    /// When the gap in front is given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (sequence, (arrived, _)) = self.held.first_key_value()?;
        match self.next {
            Some(next) if next == *sequence => None,
            Some(_) => {
                let key_frame = self.key_frames.first_key_value().map(|(_, arrived)| *arrived + KEY_FRAME_PATIENCE);
                Some(key_frame.map_or(*arrived + PATIENCE, |at| at.min(*arrived + PATIENCE)))
            }
            None => Some(*arrived + START_PATIENCE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(order: &mut Order<()>, now: Instant) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| order.pop(now)).map(|p| (p.sequence, p.missing)).collect()
    }

    #[test]
    fn reordered_packets_come_out_in_order() {
        let now = Instant::now();
        let mut order = Order::default();
        for (sequence, place) in [(10, Place::Start), (12, Place::Inside), (11, Place::Inside)] {
            order.insert(now, sequence, (), place);
        }
        assert_eq!(drain(&mut order, now), [(10, 0), (11, 0), (12, 0)]);
        assert_eq!(order.reordered, 1);
    }

    #[test]
    fn a_gap_is_waited_for_and_then_given_up() {
        let now = Instant::now();
        let mut order = Order::default();
        order.insert(now, 10, (), Place::Start);
        order.insert(now, 13, (), Place::Inside);
        assert_eq!(drain(&mut order, now), [(10, 0)]);
        assert_eq!(order.deadline(), Some(now + PATIENCE));
        assert_eq!(drain(&mut order, now + PATIENCE), [(13, 2)]);
        order.insert(now + PATIENCE, 11, (), Place::Inside);
        assert_eq!((drain(&mut order, now + PATIENCE), order.late), (vec![], 1));
    }

    #[test]
    fn a_gap_in_front_of_a_key_frame_is_waited_for_only_while_packets_overtake() {
        let now = Instant::now();
        let mut order = Order::default();
        order.insert(now, 10, (), Place::Start);
        order.insert(now, 13, (), Place::Inside);
        order.insert(now, 15, (), Place::KeyFrame);
        assert_eq!(drain(&mut order, now), [(10, 0)]);
        assert_eq!(drain(&mut order, now + KEY_FRAME_PATIENCE), [(13, 2), (15, 1)]);
    }

    #[test]
    fn a_stream_that_does_not_begin_waits_for_its_beginning() {
        let now = Instant::now();
        let mut order = Order::default();
        order.insert(now, 11, (), Place::Inside);
        assert_eq!(drain(&mut order, now), []);
        order.insert(now, 10, (), Place::Start);
        assert_eq!(drain(&mut order, now + START_PATIENCE), [(10, 0), (11, 0)]);
    }
}
