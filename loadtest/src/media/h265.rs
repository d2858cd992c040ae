//! H.265: packets of RFC 7798. Parameter sets have true NAL types and a profile, but describe no picture.

use super::encoder::Frame;

const NAL_TRAIL: u8 = 1;
const NAL_IDR: u8 = 19;
const NAL_PREFIX_SEI: u8 = 39;
const AGGREGATION: u8 = 48;
const FRAGMENT: u8 = 49;

/// nuh_layer_id 0, nuh_temporal_id_plus1 1.
const SECOND_BYTE: u8 = 1;

/// VPS, SPS and PPS: NAL type, then the first bytes of a Main profile set.
const PARAMETER_SETS: [[u8; 6]; 3] = [
    [32 << 1, SECOND_BYTE, 0x0c, 0x01, 0xff, 0xff],
    [33 << 1, SECOND_BYTE, 0x01, 0x01, 0x60, 0x00],
    [34 << 1, SECOND_BYTE, 0xc1, 0x72, 0xb4, 0x62],
];

/// Whether a packet in front of the pictures carries parameter sets.
pub(super) fn leading_packets(frame: &Frame) -> u16 {
    u16::from(frame.key)
}

/// Everything in front of filler and stamp in packet `index` of `count`. `trailer` is the length of filler and stamp.
pub(super) fn head(frame: &Frame, index: u16, count: u16, trailer: usize) -> Vec<u8> {
    if frame.key && index == 0 {
        let mut head = vec![AGGREGATION << 1, SECOND_BYTE];
        for set in PARAMETER_SETS {
            head.extend_from_slice(&[0, set.len() as u8]);
            head.extend_from_slice(&set);
        }
        head.extend_from_slice(&(trailer as u16 + 2).to_be_bytes());
        head.extend_from_slice(&[NAL_PREFIX_SEI << 1, SECOND_BYTE]);
        return head;
    }
    let first = index == leading_packets(frame);
    let last = index + 1 == count;
    let nal = if frame.key { NAL_IDR } else { NAL_TRAIL };
    if first && last {
        return vec![nal << 1, SECOND_BYTE];
    }
    vec![FRAGMENT << 1, SECOND_BYTE, u8::from(first) << 7 | u8::from(last) << 6 | nal]
}

/// Length of everything in front of filler and stamp in a received payload.
pub(super) fn head_len(payload: &[u8]) -> Option<usize> {
    match payload.first()? >> 1 & 0x3f {
        AGGREGATION => Some(2 + 3 * (2 + PARAMETER_SETS[0].len()) + 4),
        FRAGMENT => Some(3),
        _ => Some(2),
    }
}
