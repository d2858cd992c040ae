//! Encodings that begin anew: a sender goes on under another SSRC, with numbers, clock and references of its own, as
//! encoders that reconnect do. Viewers go on with the first key frame of the new stream, in the numbers they know.

use std::time::Instant;

use super::{Layer, Track};
use crate::forward::{MAX_LAYERS, Source};
use crate::rtp::{LayerIndex, Packet, StreamReader};

/// Where the packets of each encoding come from now.
#[derive(Debug, Clone, Copy)]
pub(in crate::sfu) struct Sources {
    track: Source,
    generations: [u16; MAX_LAYERS],
}

impl Sources {
    /// The source of an encoding.
    pub(super) fn of(&self, layer: LayerIndex) -> Source {
        self.track.of_generation(self.generations.get(usize::from(layer.0)).copied().unwrap_or_default())
    }
}

/// Sequence numbers that go on ahead where those of an SSRC begin: nobody takes one of a generation for a late one of
/// that before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbers {
    base: u64,
    highest: u64,
}

impl Numbers {
    /// The number of a packet, by that of its SSRC.
    pub(super) fn of(&mut self, sequence: u64) -> u64 {
        let number = self.base + sequence;
        self.highest = self.highest.max(number);
        number
    }

    fn begin_anew(&mut self) {
        const TURN: u64 = 1 << 16;
        // Packets that came before the first one may still lie in front of it.
        self.base = (self.highest / TURN + 2) * TURN;
    }
}

impl Track {
    /// Where the packets of each encoding come from now.
    pub(in crate::sfu) fn sources(&self) -> Sources {
        let mut generations = [0; MAX_LAYERS];
        for (generation, layer) in generations.iter_mut().zip(&self.layers) {
            *generation = layer.generation;
        }
        Sources { track: self.source, generations }
    }

    /// The sender goes on with an encoding under another SSRC.
    pub(in crate::sfu) fn begin_anew(&mut self, now: Instant, index: LayerIndex) {
        if let Some(layer) = self.layers.get(usize::from(index.0)) {
            self.begin_generation(now, index, layer.generation.wrapping_add(1));
        }
    }

    /// Follows a sender that goes on in another format under the same SSRC: that is a stream of its own, too. `None`
    /// for a late packet of the format before.
    pub(in crate::sfu) fn follow_format(
        &mut self,
        now: Instant,
        index: LayerIndex,
        payload_type: u8,
        sequence: u64,
    ) -> Option<()> {
        let layer = self.layers.get_mut(usize::from(index.0))?;
        let (format, first) = *layer.format.get_or_insert((payload_type, sequence));
        if format == payload_type {
            return Some(());
        }
        if sequence < first {
            return None;
        }
        self.begin_anew(now, index);
        self.layers.get_mut(usize::from(index.0))?.format = Some((payload_type, sequence));
        Some(())
    }

    /// Follows the generations of a track that is read on another shard. False for a packet of an earlier one.
    pub(in crate::sfu) fn follows(&mut self, packet: &Packet) -> bool {
        let Some(layer) = self.layers.get(usize::from(packet.layer.0)) else { return false };
        let ahead = packet.generation.wrapping_sub(layer.generation).cast_signed();
        if ahead > 0 {
            self.begin_generation(packet.arrived, packet.layer, packet.generation);
        }
        ahead >= 0
    }

    fn begin_generation(&mut self, now: Instant, index: LayerIndex, generation: u16) {
        let Some(layer) = self.layers.get_mut(usize::from(index.0)) else { return };
        layer.begin(generation);
        self.clocks.forget(index);
        for subscription in &mut self.subscriptions {
            subscription.replay.take_if(|replay| replay.layer == index);
        }
        self.retarget(now);
        // Who waits now is found with the packet.
        self.chosen_at = None;
    }
}

impl Layer {
    fn begin(&mut self, generation: u16) {
        self.generation = generation;
        self.numbers.begin_anew();
        self.timestamps.begin_anew();
        self.ring.forget();
        self.reader = StreamReader::default();
        self.format = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_another_ssrc_lie_beyond_all_before() {
        let mut numbers = Numbers::default();
        let before = [65_000, 65_536, 65_535].map(|sequence| numbers.of(sequence));
        assert_eq!(before, [65_000, 65_536, 65_535], "those of the first are its own");
        for _ in 0..3 {
            let highest = numbers.highest;
            numbers.begin_anew();
            for first in [0, 9, 65_535] {
                assert!(numbers.of(first) > highest + 60_000);
            }
        }
    }
}
