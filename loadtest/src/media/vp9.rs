//! VP9: the payload descriptor in non-flexible mode (RFC 9628 section 4.2) and the first bytes of the uncompressed
//! header.

use super::encoder::Frame;

/// The running numbers in the descriptor of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vp9 {
    /// PictureID, of 15 bits.
    pub picture_id: u16,
    /// TL0PICIDX.
    pub tl0_index: u8,
}

/// The running numbers of a sender.
#[derive(Debug)]
pub(super) struct Vp9Packetizer {
    width: u16,
    height: u16,
    picture_id: u16,
    tl0_index: u8,
}

impl Vp9Packetizer {
    pub(super) fn new((width, height): (u16, u16), start: u16) -> Self {
        Self { width, height, picture_id: start, tl0_index: start as u8 }
    }

    /// Moves the running numbers on to `frame`.
    pub(super) fn begin(&mut self, frame: &Frame) {
        self.picture_id = self.picture_id.wrapping_add(1);
        if frame.temporal == 0 {
            self.tl0_index = self.tl0_index.wrapping_add(1);
        }
    }

    /// Descriptor of packet `index` of `count`, and in the first packet the head of the frame.
    pub(super) fn head(&self, frame: &Frame, index: u16, count: u16) -> Vec<u8> {
        let bit = |flag: bool, mask: u8| if flag { mask } else { 0 };
        let structure = frame.key && index == 0;
        let (spatial, layers) = frame.spatial;
        let predicted_from_below = spatial > 0 && frame.references[1] == 1;
        // I P L F B E V Z: PictureID and layers present, not flexible.
        let mut head = vec![
            0xa0 | bit(!frame.key_picture, 0x40)
                | bit(index == 0, 0x08)
                | bit(index + 1 == count, 0x04)
                | bit(structure, 0x02),
        ];
        head.extend_from_slice(&(self.picture_id | 0x8000).to_be_bytes());
        // U: in none of the patterns an upper temporal layer refers to what came before the picture below it.
        head.push(frame.temporal << 5 | 0x10 | spatial << 1 | u8::from(predicted_from_below));
        head.push(self.tl0_index);
        if structure {
            // N_S, Y: the spatial layers with their sizes, no picture group.
            head.push((layers - 1) << 5 | 0x10);
            for shrunk in (0..layers).rev() {
                head.extend_from_slice(&(self.width >> shrunk).to_be_bytes());
                head.extend_from_slice(&(self.height >> shrunk).to_be_bytes());
            }
        }
        if index == 0 {
            // frame_marker 2, profile 0, frame_type, show_frame; a key frame adds the sync code.
            head.push(0x82 | bit(!frame.key, 0x04));
            if frame.key {
                head.extend_from_slice(&[0x49, 0x83, 0x42]);
            }
        }
        head
    }
}

/// Reads the running numbers of a received payload of this sender, and the length of everything in front of filler and
/// stamp.
pub(super) fn read(payload: &[u8]) -> Option<(Vp9, usize)> {
    let head = head_len(payload)?;
    let [_, high, low, _, tl0_index, ..] = *payload else { return None };
    let picture_id = u16::from_be_bytes([high & 0x7f, low]);
    (high & 0x80 != 0).then_some((Vp9 { picture_id, tl0_index }, head))
}

/// Length of everything in front of filler and stamp in a received payload of this sender, whose form never changes.
fn head_len(payload: &[u8]) -> Option<usize> {
    let first = *payload.first()?;
    let picture_id = if payload.get(1)? & 0x80 != 0 { 2 } else { 1 };
    let structure = match first & 0x02 {
        0 => 0,
        _ => 1 + 4 * (1 + usize::from(payload.get(3 + picture_id)? >> 5)),
    };
    let spatial = payload.get(1 + picture_id)? >> 1 & 0x07;
    let frame_head = match (first & 0x08 != 0, first & 0x40 == 0 && spatial == 0) {
        (false, _) => 0,
        (true, true) => 4,
        (true, false) => 1,
    };
    Some(1 + picture_id + 2 + structure + frame_head)
}
