//! Sent packets kept for retransmission. With hundreds of viewers these are out of the cache whenever one is noted, so
//! they are small: what hardly any packet has lies elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::forward::Rewritten;
use crate::rtp::dependency_descriptor::DependencyRewrite;
use crate::rtp::{Packet, PictureIds};

/// Packets kept per stream: 24 bytes each beside the shared packet. Larger: longer round trips can be repaired;
/// smaller: less memory per viewer.
const KEPT: usize = 256;

/// The newest packets of one stream, as they were sent.
#[derive(Debug, Default)]
pub(super) struct KeptPackets(VecDeque<Kept>);

#[derive(Debug)]
struct Kept {
    packet: Arc<Packet>,
    changes: Option<Box<Changes>>,
    timestamp: u32,
    sequence: u16,
    repair_type: u8,
    flags: Flags,
}

/// What was changed in a packet behind its fixed header.
#[derive(Debug)]
struct Changes {
    ids: Option<PictureIds>,
    dependency: Option<DependencyRewrite>,
}

/// One byte for two answers.
#[derive(Debug, Clone, Copy)]
struct Flags(u8);

impl KeptPackets {
    /// Keeps a packet, in place of the oldest when there are many. `repair_type` is the payload type of its
    /// retransmission.
    pub(super) fn push(&mut self, packet: &Arc<Packet>, rewritten: &Rewritten, repair_type: u8) {
        let Rewritten { ids, dependency, timestamp, sequence, marker, empty, .. } = *rewritten;
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        let is_changed = ids.is_some() || dependency.is_some();
        self.0.push_back(Kept {
            packet: Arc::clone(packet),
            changes: is_changed.then(|| Box::new(Changes { ids, dependency })),
            timestamp,
            sequence: sequence as u16,
            repair_type,
            flags: Flags::of(marker, empty),
        });
    }

    /// The newest packet that was sent under this number, where it stood, and the payload type of its retransmission.
    pub(super) fn find(&self, sequence: u16) -> Option<(&Arc<Packet>, Rewritten, u8)> {
        let kept = self.0.iter().rev().find(|kept| kept.sequence == sequence)?;
        let changes = kept.changes.as_deref();
        let rewritten = Rewritten {
            sequence: sequence.into(),
            timestamp: kept.timestamp,
            catching_up: 0,
            marker: kept.flags.marker(),
            empty: kept.flags.empty(),
            redundant: None,
            ids: changes.and_then(|changes| changes.ids),
            dependency: changes.and_then(|changes| changes.dependency),
        };
        Some((&kept.packet, rewritten, kept.repair_type))
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Flags {
    const MARKER: u8 = 1;
    const EMPTY: u8 = 2;

    fn of(marker: bool, empty: bool) -> Self {
        Self(u8::from(marker) * Self::MARKER + u8::from(empty) * Self::EMPTY)
    }

    fn marker(self) -> bool {
        self.0 & Self::MARKER != 0
    }

    fn empty(self) -> bool {
        self.0 & Self::EMPTY != 0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::rtp::{Codec, Descriptor, Extensions, LayerIndex};

    fn packet(payload: u8) -> Arc<Packet> {
        let now = Instant::now();
        Arc::new(Packet {
            layer: LayerIndex(0),
            generation: 0,
            payload_type: 96,
            codec: Codec::Vp8,
            sequence: 0,
            timestamp: 0,
            marker: false,
            arrived: now,
            captured: now,
            redundant: None,
            payload: Arc::new([payload]),
            descriptor: Descriptor::Opaque,
            picture: None,
            dependency: None,
            starts_keyframe: false,
            extensions: Extensions::default(),
        })
    }

    fn rewritten(sequence: u64) -> Rewritten {
        Rewritten {
            sequence,
            timestamp: 90_000,
            catching_up: 0,
            marker: false,
            empty: false,
            redundant: None,
            ids: None,
            dependency: None,
        }
    }

    #[test]
    fn a_packet_is_found_as_it_was_sent() {
        let ids = PictureIds { picture_id: Some(7), tl0_picture_index: None, key_index: None };
        let dependency = DependencyRewrite { frame_number_offset: 3, template_id_offset: 0, active_targets: Some(1) };
        let plain = rewritten(65_535);
        let mut kept = KeptPackets::default();
        let sent = [
            plain,
            Rewritten { sequence: 65_536, marker: true, ids: Some(ids), ..plain },
            Rewritten { sequence: 65_537, empty: true, dependency: Some(dependency), ..plain },
        ];
        for (payload, rewritten) in (0..).zip(&sent) {
            kept.push(&packet(payload), rewritten, 97);
        }
        for (payload, rewritten) in (0..).zip(&sent) {
            let sequence = rewritten.sequence as u16;
            let (packet, found, repair_type) = kept.find(sequence).unwrap();
            assert_eq!((packet.payload[0], repair_type), (payload, 97));
            assert_eq!(found, Rewritten { sequence: sequence.into(), ..*rewritten });
        }
        assert!(kept.find(2).is_none());
    }

    #[test]
    fn the_oldest_make_room_and_each_takes_little() {
        assert_eq!(size_of::<Kept>(), 24);
        let (mut kept, packet) = (KeptPackets::default(), packet(0));
        for sequence in 0..KEPT as u64 + 1 {
            kept.push(&packet, &rewritten(sequence), 97);
        }
        assert!(kept.find(0).is_none());
        assert!(kept.find(1).is_some() && kept.find(KEPT as u16).is_some());
        kept.clear();
        assert_eq!(Arc::strong_count(&packet), 1);
    }
}
