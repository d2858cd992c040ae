//! The group of pictures that flows: one incoming layer's packets from its newest key frame on, so that who comes later
//! can be shown them instead of asking the publisher for a key frame.
//!
//! One ring per layer, shared by all who watch it. It holds the packets as they were read; nothing is copied.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::rtp::Packet;

/// Packets of one group of pictures: 5 Mbit/s for 4 s. Larger costs memory per layer (about 1.2 KB each), smaller gives
/// up on groups that could be replayed.
const MAX_PACKETS: usize = 2048;

/// Time from a key frame after which its group of pictures is given up. Larger has a viewer who joins rush through
/// more of the past, smaller has those of publishers that ignore requests wait for the next key frame.
const MAX_AGE: Duration = Duration::from_secs(4);

/// Packets of one layer by sequence number.
#[derive(Debug, Clone, Default)]
pub struct ReplayRing {
    /// Sequence number of the first one kept.
    first: u64,
    /// Those that have not come are absent.
    packets: VecDeque<Option<Arc<Packet>>>,
    /// Of all their payloads.
    bytes: usize,
    /// Sequence number and arrival of the newest key frame's first packet.
    start: Option<(u64, Instant)>,
    is_too_long: bool,
}

impl ReplayRing {
    /// Takes the next packet in the order of arrival.
    pub fn push(&mut self, packet: &Arc<Packet>) {
        let sequence = packet.sequence;
        if packet.starts_keyframe && self.start.is_none_or(|(start, _)| sequence > start) {
            if self.packets.is_empty() {
                self.first = sequence;
            }
            self.start = Some((sequence, packet.arrived));
            self.is_too_long = false;
        }
        let Some((_, began)) = self.start else { return };
        let Some(index) = sequence.checked_sub(self.first) else { return };
        if index >= MAX_PACKETS as u64 || packet.arrived.saturating_duration_since(began) > MAX_AGE {
            self.forget();
            self.is_too_long = true;
            return;
        }
        let index = index as usize;
        if index >= self.packets.len() {
            self.packets.resize(index + 1, None);
        }
        if let Some(place) = self.packets.get_mut(index).filter(|place| place.is_none()) {
            *place = Some(Arc::clone(packet));
            self.bytes += packet.payload.len();
        }
    }

    /// Bytes of all payloads that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps nothing until the next key frame.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Sequence number to replay from: that of the newest key frame's first packet. `None` while there is no key frame,
    /// or packets behind it are missing.
    pub fn start(&self) -> Option<u64> {
        let (start, _) = self.start?;
        let whole = self.packets.iter().skip((start - self.first) as usize).all(Option::is_some);
        whole.then_some(start)
    }

    /// How long ago the key frame came.
    pub fn age(&self, now: Instant) -> Option<Duration> {
        self.start.map(|(_, began)| now.saturating_duration_since(began))
    }

    /// How many packets there are to replay, and their bytes.
    pub fn backlog(&self) -> (usize, usize) {
        let Some((start, _)) = self.start else { return (0, 0) };
        let packets = self.packets.iter().skip((start - self.first) as usize).flatten();
        packets.fold((0, 0), |(count, bytes), packet| (count + 1, bytes + packet.payload.len()))
    }

    /// The first packet at or behind this sequence number.
    pub fn next(&self, sequence: u64) -> Option<&Arc<Packet>> {
        let index = sequence.saturating_sub(self.first) as usize;
        self.packets.iter().skip(index).flatten().next()
    }

    /// RTP timestamp of the newest picture.
    pub fn present(&self) -> Option<u64> {
        self.packets.iter().rev().flatten().map(|packet| packet.timestamp).next()
    }

    /// Forgets what came before the newest key frame and before `needed`, the lowest number still to be replayed.
    pub fn release(&mut self, needed: Option<u64>) {
        let Some((start, _)) = self.start else { return };
        let keep = needed.map_or(start, |needed| needed.min(start));
        while self.first < keep
            && let Some(packet) = self.packets.pop_front()
        {
            self.first += 1;
            self.bytes -= packet.map_or(0, |packet| packet.payload.len());
        }
    }

    /// The group of pictures outgrew the ring: who joins has to wait for the next key frame.
    pub fn is_too_long(&self) -> bool {
        self.is_too_long
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Codec, Descriptor, Extensions, LayerIndex};

    fn packet(start: Instant, sequence: u64, starts_keyframe: bool) -> Arc<Packet> {
        let arrived = start + Duration::from_millis(sequence * 3);
        Arc::new(Packet {
            layer: LayerIndex(0),
            generation: 0,
            payload_type: 96,
            codec: Codec::Vp8,
            sequence,
            timestamp: sequence * 1000,
            marker: false,
            arrived,
            captured: arrived,
            payload: Arc::new([0; 10]),
            descriptor: Descriptor::Opaque,
            picture: None,
            dependency: None,
            starts_keyframe,
            redundant: None,
            extensions: Extensions::default(),
        })
    }

    fn replayed(ring: &ReplayRing, from: u64) -> Vec<u64> {
        let mut sequences = Vec::new();
        while let Some(packet) = ring.next(sequences.last().map_or(from, |last| last + 1)) {
            sequences.push(packet.sequence);
        }
        sequences
    }

    #[test]
    fn a_group_of_pictures_is_replayed_from_its_key_frame_once_it_is_whole() {
        let start = Instant::now();
        let mut ring = ReplayRing::default();
        ring.push(&packet(start, 9, false));
        assert_eq!((ring.start(), ring.present()), (None, None), "nothing before a key frame");
        for sequence in [10, 11, 14, 12] {
            ring.push(&packet(start, sequence, sequence == 10));
        }
        assert_eq!(ring.start(), None, "13 is missing");
        assert_eq!(replayed(&ring, 10), [10, 11, 12, 14]);
        ring.push(&packet(start, 13, false));
        assert_eq!((ring.start(), ring.present(), ring.backlog()), (Some(10), Some(14_000), (5, 50)));
        assert_eq!(ring.age(start + Duration::from_millis(130)), Some(Duration::from_millis(100)));
    }

    #[test]
    fn the_group_before_is_kept_for_those_who_are_still_at_it() {
        let start = Instant::now();
        let mut ring = ReplayRing::default();
        for sequence in 10..30 {
            ring.push(&packet(start, sequence, sequence % 10 == 0));
        }
        assert_eq!((ring.start(), ring.backlog().0), (Some(20), 10));
        ring.release(Some(15));
        assert_eq!(replayed(&ring, 15), (15..30).collect::<Vec<_>>());
        assert_eq!(ring.bytes(), 150);
        ring.release(None);
        assert_eq!(ring.bytes(), 100);
        assert_eq!(replayed(&ring, 15), (20..30).collect::<Vec<_>>(), "what is gone is passed over");
        ring.push(&packet(start, 19, false));
        assert_eq!(replayed(&ring, 15), (20..30).collect::<Vec<_>>(), "late");
    }

    #[test]
    fn what_grows_too_long_is_given_up_until_the_next_key_frame() {
        let start = Instant::now();
        let end = |ring: &mut ReplayRing, spread: u64| {
            let mut sequence = 0;
            while !ring.is_too_long() {
                let mut later = (*packet(start, sequence, sequence == 0)).clone();
                later.arrived = start + Duration::from_millis(sequence * spread);
                ring.push(&Arc::new(later));
                sequence += 1;
            }
            sequence
        };
        for (spread, expected) in [(0, MAX_PACKETS as u64 + 1), (100, 42)] {
            let mut ring = ReplayRing::default();
            assert_eq!(end(&mut ring, spread), expected);
            assert_eq!((ring.start(), ring.backlog(), ring.bytes()), (None, (0, 0), 0));
            ring.push(&packet(start, 5000, true));
            assert_eq!((ring.start(), ring.is_too_long()), (Some(5000), false));
        }
    }
}
