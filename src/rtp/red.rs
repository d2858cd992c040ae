//! Redundant audio (RFC 2198): a packet carries the frames before it once more, so one that was lost is in the next.

use std::collections::VecDeque;
use std::sync::Arc;

/// F: another block's header follows.
const FOLLOWED: u8 = 0x80;

/// Bytes of the header of a redundant block: F, payload type, 14 bits of timestamp offset, 10 bits of length.
const BLOCK_HEADER: usize = 4;

/// Blocks of a packet that is read. More is nothing that senders of sound make: Chromium repeats one to two frames.
const MAX_BLOCKS: usize = 8;

/// Frames that are repeated. Larger: bursts of more packets are repaired, at the price of as many times the bitrate;
/// smaller: two lost in a row are heard.
const REPEATED: usize = 2;

/// Longest frame that is repeated. Larger: music at high bitrates is repeated, and packets outgrow a datagram; smaller:
/// speech at high bitrates is not.
const LONGEST: usize = 300;

/// Largest timestamp offset, 14 bits: 341 ms of Opus.
const FARTHEST: u64 = (1 << 14) - 1;

/// The newest frame in a packet: what it would have carried without redundancy. `None` when it cannot be read.
pub fn primary(payload: &[u8]) -> Option<&[u8]> {
    let mut rest = payload;
    let mut redundant = 0;
    for _ in 0..MAX_BLOCKS {
        let (&first, tail) = rest.split_first()?;
        if first & FOLLOWED == 0 {
            return tail.get(redundant..).filter(|frame| !frame.is_empty());
        }
        let [_, _, high, low] = *rest.first_chunk::<BLOCK_HEADER>()?;
        redundant += usize::from(u16::from_be_bytes([high, low]) & 0x3ff);
        rest = rest.get(BLOCK_HEADER..)?;
    }
    None
}

/// Gives all blocks another payload type: that of the frames at the receiver. Stops where it makes no sense.
pub fn retype(payload: &mut [u8], payload_type: u8) {
    let mut at = 0;
    for _ in 0..MAX_BLOCKS {
        let Some(first) = payload.get_mut(at) else { return };
        *first = *first & FOLLOWED | payload_type & 0x7f;
        if *first & FOLLOWED == 0 {
            return;
        }
        at += BLOCK_HEADER;
    }
}

/// The frames that were sent last.
#[derive(Debug, Clone, Default)]
pub struct Repeater {
    /// Sequence number, timestamp and frame, the newest last.
    frames: VecDeque<(u64, u64, Arc<[u8]>)>,
}

impl Repeater {
    /// The frame with those before it, all of this payload type, and remembers it for the next. `None` when there is
    /// nothing to repeat.
    pub fn wrap(&mut self, sequence: u64, timestamp: u64, frame: &Arc<[u8]>, payload_type: u8) -> Option<Arc<[u8]>> {
        if self.frames.back().is_some_and(|(newest, ..)| sequence <= *newest) {
            return None;
        }
        let is_near = |(number, time, _): &&(u64, u64, Arc<[u8]>)| {
            sequence - number <= REPEATED as u64 && timestamp.checked_sub(*time).is_some_and(|apart| apart <= FARTHEST)
        };
        let mut packet = Vec::new();
        for (_, time, before) in self.frames.iter().filter(is_near) {
            let [_, _, a, b] = ((timestamp - time) as u32).to_be_bytes();
            let offset = u16::from_be_bytes([a, b]);
            let word = u32::from(offset) << 10 | before.len() as u32;
            let [_, b, c, d] = word.to_be_bytes();
            packet.extend_from_slice(&[FOLLOWED | payload_type & 0x7f, b, c, d]);
        }
        let repeats = !packet.is_empty();
        packet.push(payload_type & 0x7f);
        for (_, _, before) in self.frames.iter().filter(is_near) {
            packet.extend_from_slice(before);
        }
        packet.extend_from_slice(frame);
        while self.frames.len() >= REPEATED {
            self.frames.pop_front();
        }
        if frame.len() <= LONGEST {
            self.frames.push_back((sequence, timestamp, Arc::clone(frame)));
        }
        repeats.then(|| packet.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_frame_is_found_behind_the_redundant_ones() {
        let table: [(&[u8], Option<&[u8]>); 9] = [
            (&[111, 1, 2, 3], Some(&[1, 2, 3])),
            (&[0xef, 0x0f, 0x00, 0x02, 111, 8, 9, 1, 2], Some(&[1, 2])),
            (&[0xef, 0x1e, 0x00, 0x01, 0xef, 0x0f, 0x00, 0x02, 111, 7, 8, 9, 1], Some(&[1])),
            (&[0xef, 0x0f, 0x00, 0x00, 111, 1], Some(&[1])),
            (&[0xef, 0x0f, 0x00, 0x02, 111, 8, 9], None),
            (&[0xef, 0x0f, 0x00, 0x09, 111, 8, 9, 1], None),
            (&[0xef, 0x0f, 0x00], None),
            (&[111], None),
            (&[], None),
        ];
        for (payload, expected) in table {
            assert_eq!(primary(payload), expected, "{payload:02x?}");
        }
        assert_eq!(primary(&[0xef, 0, 0, 0].repeat(MAX_BLOCKS + 1)), None);
    }

    #[test]
    fn frames_are_repeated_while_they_are_near() {
        let mut redundancy = Repeater::default();
        let mut wrap = |sequence: u64, timestamp: u64, frame: &[u8]| {
            let packet = redundancy.wrap(sequence, timestamp, &frame.into(), 111);
            if let Some(packet) = &packet {
                assert_eq!(primary(packet), Some(frame));
            }
            packet.map(|packet| packet.to_vec())
        };
        assert_eq!(wrap(10, 9600, &[1]), None);
        assert_eq!(wrap(11, 10_560, &[2, 2]), Some(vec![0xef, 0x0f, 0x00, 0x01, 111, 1, 2, 2]));
        let third = [0xef, 0x1e, 0x00, 0x01, 0xef, 0x0f, 0x00, 0x02, 111, 1, 2, 2, 3];
        assert_eq!(wrap(12, 11_520, &[3]), Some(third.to_vec()));
        assert_eq!(wrap(11, 10_560, &[2]), None, "late");
        // 13 was lost on the way here.
        assert_eq!(wrap(14, 13_440, &[5]), Some(vec![0xef, 0x1e, 0x00, 0x01, 111, 3, 5]));
        assert_eq!(wrap(20, 19_200, &[6]), None, "too far behind");
        assert_eq!(wrap(21, 19_200 + FARTHEST + 1, &[7]), None, "after a silence");
        assert!(wrap(22, 40_000, &[0; LONGEST + 1]).is_some());
        assert_eq!(
            wrap(23, 40_960, &[8]).map(|packet| packet.len()),
            Some(BLOCK_HEADER + 1 + 1 + 1),
            "long ones are not"
        );
    }

    #[test]
    fn blocks_get_the_receivers_payload_type() {
        let table: [(&[u8], &[u8]); 4] = [
            (&[111, 1, 2], &[96, 1, 2]),
            (&[0xef, 0x0f, 0x00, 0x01, 111, 111, 1], &[0xe0, 0x0f, 0x00, 0x01, 96, 111, 1]),
            (&[0xef, 0x0f], &[0xe0, 0x0f]),
            (&[], &[]),
        ];
        for (payload, expected) in table {
            let mut payload = payload.to_vec();
            retype(&mut payload, 96);
            assert_eq!(payload, expected);
        }
    }
}
