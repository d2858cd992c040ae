//! VP8: the payload descriptor (RFC 7741 section 4.2) and the head of a frame (RFC 6386 section 9.1).

use crate::spec::{PictureId, Vp8Descriptor};

use super::encoder::Frame;

/// The descriptor of a received packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8 {
    /// S: first packet of a partition.
    pub start: bool,
    /// N: no other frame refers to this one.
    pub discardable: bool,
    /// PictureID.
    pub picture_id: Option<ReceivedPictureId>,
    /// TL0PICIDX.
    pub tl0_index: Option<u8>,
    /// TID and Y.
    pub temporal: Option<(u8, bool)>,
    /// KEYIDX.
    pub key_index: Option<u8>,
}

/// A PictureID as received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedPictureId {
    /// The number.
    pub number: u16,
    /// Of 15 bits; else of 7.
    pub long: bool,
}

impl ReceivedPictureId {
    /// How many numbers there are.
    pub fn modulus(self) -> u16 {
        if self.long { 1 << 15 } else { 1 << 7 }
    }
}

/// The running numbers of a sender.
#[derive(Debug)]
pub(super) struct Vp8Packetizer {
    form: Vp8Descriptor,
    width: u16,
    height: u16,
    picture_id: u16,
    tl0_index: u8,
    key_index: u8,
}

impl Vp8Packetizer {
    /// Running numbers begin anywhere, near a wrap more often than not.
    pub(super) fn new(form: Vp8Descriptor, (width, height): (u16, u16), start: u16) -> Self {
        Self { form, width, height, picture_id: start, tl0_index: start as u8, key_index: start as u8 & 0x1f }
    }

    /// Moves the running numbers on to `frame`.
    pub(super) fn begin(&mut self, frame: &Frame) {
        self.picture_id = self.picture_id.wrapping_add(1);
        if frame.temporal == 0 {
            self.tl0_index = self.tl0_index.wrapping_add(1);
        }
        if frame.key {
            self.key_index = (self.key_index + 1) & 0x1f;
        }
    }

    /// Descriptor of packet `index`, and in the first packet the head of the frame.
    pub(super) fn head(&self, frame: &Frame, index: u16) -> Vec<u8> {
        let (has_id, has_temporal) = (self.form.picture_id != PictureId::Absent, self.form.temporal);
        let bit = |flag: bool, mask: u8| if flag { mask } else { 0 };
        let extended = has_id || has_temporal || self.form.key_index;
        let mut head = vec![bit(extended, 0x80) | bit(frame.discardable, 0x20) | bit(index == 0, 0x10)];
        if extended {
            head.push(bit(has_id, 0x80) | bit(has_temporal, 0x60) | bit(self.form.key_index, 0x10));
        }
        match self.form.picture_id {
            PictureId::Absent => {}
            PictureId::Bits7 => head.push(self.picture_id as u8 & 0x7f),
            PictureId::Bits15 => head.extend_from_slice(&(self.picture_id | 0x8000).to_be_bytes()),
        }
        if has_temporal {
            head.push(self.tl0_index);
        }
        if has_temporal || self.form.key_index {
            let temporal = if has_temporal { frame.temporal << 6 | bit(frame.sync, 0x20) } else { 0 };
            head.push(temporal | if self.form.key_index { self.key_index } else { 0 });
        }
        if index == 0 {
            self.push_frame_head(frame, &mut head);
        }
        head
    }

    /// Frame tag (show_frame set, version 0, a first partition of 100 bytes); a key frame adds start code and size.
    fn push_frame_head(&self, frame: &Frame, head: &mut Vec<u8>) {
        let tag = u32::from(!frame.key) | 1 << 4 | 100 << 5;
        head.extend_from_slice(&tag.to_le_bytes()[..3]);
        if frame.key {
            head.extend_from_slice(&[0x9d, 0x01, 0x2a]);
            head.extend_from_slice(&self.width.to_le_bytes());
            head.extend_from_slice(&self.height.to_le_bytes());
        }
    }
}

/// Reads a descriptor. Returns it with the length of everything in front of filler and stamp.
pub(super) fn read(payload: &[u8]) -> Option<(Vp8, usize)> {
    let first = *payload.first()?;
    let mut at = 1;
    let mut take = || {
        let byte = payload.get(at).copied();
        at += 1;
        byte
    };
    let flags = if first & 0x80 != 0 { take()? } else { 0 };
    let mut vp8 = Vp8 { start: first & 0x10 != 0, discardable: first & 0x20 != 0, ..Vp8::default() };
    if flags & 0x80 != 0 {
        let high = take()?;
        let long = high & 0x80 != 0;
        let number = if long { u16::from_be_bytes([high & 0x7f, take()?]) } else { u16::from(high) };
        vp8.picture_id = Some(ReceivedPictureId { number, long });
    }
    if flags & 0x40 != 0 {
        vp8.tl0_index = Some(take()?);
    }
    if flags & 0x30 != 0 {
        let byte = take()?;
        vp8.temporal = (flags & 0x20 != 0).then_some((byte >> 6, byte & 0x20 != 0));
        vp8.key_index = (flags & 0x10 != 0).then_some(byte & 0x1f);
    }
    let frame_head = match payload.get(at) {
        Some(tag) if vp8.start && tag & 1 == 0 => 10,
        Some(_) if vp8.start => 3,
        _ => 0,
    };
    Some((vp8, at + frame_head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_read_as_rfc_7741_writes_them() {
        let (key, head) = read(&[0xd0, 0x80, 0x11, 0x00]).unwrap();
        assert_eq!((key.start, key.picture_id, head), (true, Some(ReceivedPictureId { number: 17, long: false }), 13));
        let (delta, head) = read(&[0x88, 0x3e, 0xe4, 0x00]).unwrap();
        assert_eq!((delta.temporal, delta.key_index, delta.picture_id, head), (Some((3, true)), Some(4), None, 3));
        assert_eq!(read(&[0xd0, 0x80]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn what_is_written_reads_back_across_every_wrap() {
        for picture_id in [PictureId::Absent, PictureId::Bits7, PictureId::Bits15] {
            for (temporal, key_index) in [(true, true), (true, false), (false, true), (false, false)] {
                let form = Vp8Descriptor { picture_id, temporal, key_index };
                let mut packetizer = Vp8Packetizer::new(form, (640, 360), 0x7ff0);
                for number in 0..300 {
                    let key = number % 7 == 0;
                    let frame = Frame { key, temporal: if key { 0 } else { 2 }, number, ..FRAME };
                    packetizer.begin(&frame);
                    let first = read(&packetizer.head(&frame, 0)).unwrap();
                    let rest = read(&packetizer.head(&frame, 1)).unwrap();
                    assert_eq!(first.1, packetizer.head(&frame, 0).len());
                    assert_eq!(rest.1, packetizer.head(&frame, 1).len());
                    assert!(first.0.start && !rest.0.start);
                    let low = |id: ReceivedPictureId| (id.number, packetizer.picture_id % id.modulus());
                    assert!(first.0.picture_id.map(low).is_none_or(|(read, written)| read == written));
                    assert_eq!(first.0.temporal.map(|(tid, _)| tid), temporal.then_some(frame.temporal));
                    assert_eq!(first.0.key_index, key_index.then_some(packetizer.key_index));
                }
            }
        }
    }

    const FRAME: Frame = Frame {
        number: 0,
        key: false,
        temporal: 0,
        spatial: (0, 1),
        key_picture: false,
        sync: false,
        discardable: false,
        references: [0, 0],
        bytes: 1_000,
    };
}
