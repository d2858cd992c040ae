//! VP8 payload descriptor (RFC 7741 section 4.2) and what a key frame's head says (RFC 6386 section 9.1).
//!
//! Which ids a receiver is sent is `forward`'s to decide.

use super::{PictureIds, Resolution};

/// The fields forwarding uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8 {
    /// S: start of a VP8 partition.
    pub start_of_partition: bool,
    /// PID: which partition, three bits.
    pub partition_index: u8,
    /// PictureID; after ingress always in its 15-bit form ([`super::PictureIdExpander`]).
    pub picture_id: Option<u16>,
    /// TL0PICIDX.
    pub tl0_picture_index: Option<u8>,
    /// Temporal layer (TID).
    pub temporal_id: Option<u8>,
    /// Y: a switch up to this temporal layer may happen here.
    pub layer_sync: bool,
    /// KEYIDX, five bits.
    pub key_index: Option<u8>,
    /// N: no other picture refers to this one.
    pub non_reference: bool,
}

/// Splits an RTP payload into its descriptor and the VP8 data behind it. `None`: truncated, or nothing behind it.
pub fn parse(payload: &[u8]) -> Option<(Vp8, &[u8])> {
    let (&head, mut rest) = payload.split_first()?;
    let mut vp8 = Vp8 {
        start_of_partition: head & 0x10 != 0,
        partition_index: head & 0x07,
        non_reference: head & 0x20 != 0,
        ..Vp8::default()
    };
    if head & EXTENDED != 0 {
        let extension = take(&mut rest)?;
        if extension & HAS_PICTURE_ID != 0 {
            let high = take(&mut rest)?;
            vp8.picture_id = Some(match high & LONG_PICTURE_ID {
                0 => u16::from(high),
                _ => u16::from(high & 0x7f) << 8 | u16::from(take(&mut rest)?),
            });
        }
        if extension & 0x40 != 0 {
            vp8.tl0_picture_index = Some(take(&mut rest)?);
        }
        let (has_temporal_id, has_key_index) = (extension & 0x20 != 0, extension & 0x10 != 0);
        if has_temporal_id || has_key_index {
            let byte = take(&mut rest)?;
            vp8.temporal_id = has_temporal_id.then_some(byte >> 6);
            vp8.layer_sync = has_temporal_id && byte & 0x20 != 0;
            vp8.key_index = has_key_index.then_some(byte & 0x1f);
        }
    }
    (!rest.is_empty()).then_some((vp8, rest))
}

/// Puts these ids into the descriptor at a payload's head, each where there is one. PictureIDs must be in their 15-bit
/// form ([`super::PictureIdExpander`]), others are left alone.
pub(super) fn patch(payload: &mut [u8], ids: &PictureIds) {
    let Some((&mut head, mut rest)) = payload.split_first_mut() else { return };
    if head & EXTENDED == 0 {
        return;
    }
    let Some(extension) = take_mut(&mut rest).map(|extension| *extension) else { return };
    if extension & HAS_PICTURE_ID != 0 {
        let Some(high) = take_mut(&mut rest) else { return };
        if *high & LONG_PICTURE_ID != 0 {
            let Some(low) = take_mut(&mut rest) else { return };
            if let Some(id) = ids.picture_id {
                [*high, *low] = (id | 0x8000).to_be_bytes();
            }
        }
    }
    if extension & 0x40 != 0
        && let Some(place) = take_mut(&mut rest)
    {
        *place = ids.tl0_picture_index.unwrap_or(*place);
    }
    if extension & 0x30 != 0
        && let Some(place) = take_mut(&mut rest)
        && let Some(index) = ids.key_index.filter(|_| extension & 0x10 != 0)
    {
        *place = *place & 0xe0 | index & 0x1f;
    }
}

impl Vp8 {
    /// Whether this packet starts a key frame; `data` is what follows the descriptor.
    pub fn starts_keyframe(&self, data: &[u8]) -> bool {
        self.start_of_partition && self.partition_index == 0 && data.first().is_some_and(|tag| tag & 0x01 == 0)
    }
}

/// Picture size from the head of a key frame (RFC 6386 section 9.1); `data` is what follows the descriptor.
pub fn resolution(data: &[u8]) -> Option<Resolution> {
    let [_, _, _, 0x9d, 0x01, 0x2a, width_low, width_high, height_low, height_high, ..] = *data else {
        return None;
    };
    // The upper two bits of each are a scaling hint.
    let width = u16::from_le_bytes([width_low, width_high & 0x3f]);
    let height = u16::from_le_bytes([height_low, height_high & 0x3f]);
    Some(Resolution { width, height })
}

/// Where the payload has its PictureID, if it has one.
pub(super) fn picture_id_at(payload: &[u8]) -> Option<usize> {
    matches!(*payload, [head, extension, ..] if head & EXTENDED != 0 && extension & HAS_PICTURE_ID != 0).then_some(2)
}

/// X, in the descriptor's first byte.
const EXTENDED: u8 = 0x80;
/// I, in its second.
const HAS_PICTURE_ID: u8 = 0x80;
/// M, in the PictureID's first.
const LONG_PICTURE_ID: u8 = 0x80;

fn take_mut<'a>(rest: &mut &'a mut [u8]) -> Option<&'a mut u8> {
    let (byte, tail) = std::mem::take(rest).split_first_mut()?;
    *rest = tail;
    Some(byte)
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (&byte, tail) = rest.split_first()?;
    *rest = tail;
    Some(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_read_field_by_field() {
        let table: [(&[u8], Option<Vp8>, bool); 8] = [
            (
                &[0xd0, 0x80, 0x11, 0x00],
                Some(Vp8 { start_of_partition: true, picture_id: Some(17), ..Vp8::default() }),
                true,
            ),
            (
                &[0x88, 0x3e, 0xe4, 0x00],
                Some(Vp8 { temporal_id: Some(3), layer_sync: true, key_index: Some(4), ..Vp8::default() }),
                false,
            ),
            (&[0xd0, 0x80], None, false),
            (&[0xd0, 0x80, 0x11], None, false),
            (
                &[0xb1, 0xe0, 0xd2, 0x34, 0x56, 0x80, 0x01],
                Some(Vp8 {
                    start_of_partition: true,
                    partition_index: 1,
                    picture_id: Some(0x5234),
                    tl0_picture_index: Some(0x56),
                    temporal_id: Some(2),
                    non_reference: true,
                    ..Vp8::default()
                }),
                false,
            ),
            // K without T: the upper three bits of the byte mean nothing.
            (&[0x80, 0x10, 0xff, 0x00], Some(Vp8 { key_index: Some(31), ..Vp8::default() }), false),
            // No extension: the key frame bit comes right behind the first byte.
            (&[0x10, 0x02], Some(Vp8 { start_of_partition: true, ..Vp8::default() }), true),
            (&[0x10, 0x03], Some(Vp8 { start_of_partition: true, ..Vp8::default() }), false),
        ];
        for (payload, expected, keyframe) in table {
            let parsed = parse(payload);
            assert_eq!(parsed.map(|(vp8, _)| vp8), expected, "{payload:02x?}");
            assert_eq!(parsed.is_some_and(|(vp8, data)| vp8.starts_keyframe(data)), keyframe, "{payload:02x?}");
        }
    }

    #[test]
    fn resolution_is_read_from_the_key_frame_header_without_the_scaling_bits() {
        let head = [0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x42, 0x68, 0xc1];
        assert_eq!(resolution(&head), Some(Resolution { width: 640, height: 360 }));
        assert_eq!(resolution(&head[..9]), None);
        assert_eq!(resolution(&[0x50, 0x42, 0x00, 0x9d, 0x01, 0x2b, 0x80, 0x02, 0x68, 0x01]), None);
    }

    #[test]
    fn ids_are_patched_where_there_are_any() {
        let table: [(&[u8], &[u8]); 6] = [
            (&[0x90, 0xe0, 0x92, 0x34, 0x56, 0x80, 9], &[0x90, 0xe0, 0x81, 0x02, 3, 0x80, 9]),
            (&[0x90, 0xf0, 0x92, 0x34, 0x56, 0xa1, 9], &[0x90, 0xf0, 0x81, 0x02, 3, 0xa4, 9]),
            (&[0x90, 0x80, 0x92, 0x34, 9], &[0x90, 0x80, 0x81, 0x02, 9]),
            (&[0x90, 0xc0, 0x12, 0x56, 9], &[0x90, 0xc0, 0x12, 3, 9]),
            (&[0x10, 0xf0, 0x92], &[0x10, 0xf0, 0x92]),
            (&[0x90, 0xf0, 0x92], &[0x90, 0xf0, 0x92]),
        ];
        for (payload, expected) in table {
            let mut patched = payload.to_vec();
            let ids = PictureIds { picture_id: Some(0x0102), tl0_picture_index: Some(3), key_index: Some(4) };
            patch(&mut patched, &ids);
            assert_eq!(patched, expected, "{payload:02x?}");
            let mut unchanged = payload.to_vec();
            patch(&mut unchanged, &PictureIds::default());
            assert_eq!(unchanged, payload);
        }
    }
}
