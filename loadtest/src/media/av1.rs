//! AV1: the aggregation header of AOM's RTP payload format, a sequence header in front of key frames, one frame OBU.

use super::encoder::Frame;

/// OBU headers without a size field: obu_type in bits 6 to 3.
const OBU_SEQUENCE_HEADER: u8 = 1 << 3;
const OBU_FRAME: u8 = 6 << 3;

/// Main profile, still_picture 0: enough to be told apart.
const SEQUENCE_HEADER: [u8; 4] = [OBU_SEQUENCE_HEADER, 0x00, 0x00, 0x00];

/// Everything in front of filler and stamp in packet `index` of `count`.
pub(super) fn head(frame: &Frame, index: u16, count: u16) -> Vec<u8> {
    let continues = u8::from(index > 0) << 7;
    let continued = u8::from(index + 1 < count) << 6;
    if index > 0 {
        return vec![continues | continued | 1 << 4];
    }
    if !frame.key {
        return vec![continued | 1 << 4, OBU_FRAME];
    }
    // W = 2, N = 1: a new coded video sequence starts.
    let mut head = vec![continued | 2 << 4 | 1 << 3, SEQUENCE_HEADER.len() as u8];
    head.extend_from_slice(&SEQUENCE_HEADER);
    head.push(OBU_FRAME);
    head
}

/// Length of everything in front of filler and stamp in a received payload.
pub(super) fn head_len(payload: &[u8]) -> Option<usize> {
    let first = *payload.first()?;
    Some(match (first & 0x80 != 0, first >> 4 & 3) {
        (true, _) => 1,
        (false, 2) => 2 + usize::from(*payload.get(1)?) + 1,
        (false, _) => 2,
    })
}
