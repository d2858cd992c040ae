//! The numbers by which VP8 and VP9 tell pictures apart, as payload descriptors have them: read, widened, counted on
//! beyond their width, written.

use std::sync::Arc;

use super::{Codec, Descriptor, vp8, vp9};

/// M, in a PictureID's first byte, with either codec.
const LONG: u8 = 0x80;

/// The ids of one packet; a field that its descriptor does not have is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PictureIds {
    /// PictureID, 15 bits.
    pub picture_id: Option<u16>,
    /// TL0PICIDX.
    pub tl0_picture_index: Option<u8>,
    /// KEYIDX of VP8, five bits.
    pub key_index: Option<u8>,
}

impl PictureIds {
    /// Those of a packet; `None` of codecs that have none.
    pub fn of(descriptor: &Descriptor) -> Option<Self> {
        match descriptor {
            Descriptor::Opaque => None,
            Descriptor::Vp8(vp8) => Some(Self {
                picture_id: vp8.picture_id,
                tl0_picture_index: vp8.tl0_picture_index,
                key_index: vp8.key_index,
            }),
            Descriptor::Vp9(vp9) => {
                Some(Self { picture_id: vp9.picture_id, tl0_picture_index: vp9.tl0_picture_index, key_index: None })
            }
        }
    }

    /// Puts them in place of the ids of a payload, which must have been [widened](PictureIdExpander).
    pub fn patch(&self, descriptor: &Descriptor, payload: &mut [u8]) {
        match descriptor {
            Descriptor::Opaque => {}
            Descriptor::Vp8(_) => vp8::patch(payload, self),
            Descriptor::Vp9(_) => vp9::patch(payload, self),
        }
    }
}

/// Widens 7-bit PictureIDs of one incoming stream to 15 bits, so that whatever id a subscriber needs fits in. A payload
/// that is shared by all subscribers can grow by a byte only once, at ingress.
#[derive(Debug, Clone, Default)]
pub struct PictureIdExpander {
    /// The 15-bit id of the packet before.
    last: Option<u16>,
}

impl PictureIdExpander {
    /// The payload with a 15-bit PictureID in place of a 7-bit one; `None` when there is nothing to widen.
    ///
    /// The wrap from 127 to 0 continues at 128. A sender may also change to 15 bits by itself at that point (RFC 7741
    /// section 4.2), and its ids are then taken as they are.
    pub fn expand(&mut self, codec: Codec, payload: &[u8]) -> Option<Arc<[u8]>> {
        let at = match codec {
            Codec::Vp8 => vp8::picture_id_at(payload)?,
            Codec::Vp9 => vp9::picture_id_at(payload)?,
            Codec::Opus | Codec::H264 | Codec::H265 | Codec::Av1 => return None,
        };
        let (head, tail) = payload.split_at_checked(at)?;
        let (&id, rest) = tail.split_first()?;
        let low = *rest.first()?;
        if id & LONG != 0 {
            self.last = Some(u16::from(id & !LONG) << 8 | u16::from(low));
            return None;
        }
        let wide = self.unwrap(id);
        self.last = Some(wide);
        let [high, low] = (wide | 0x8000).to_be_bytes();
        Some([head, &[high, low], rest].concat().into())
    }

    /// The 15-bit id nearest to the last one that ends in these seven bits: reordered packets step back a little.
    fn unwrap(&self, id: u8) -> u16 {
        let Some(last) = self.last else {
            return u16::from(id);
        };
        let ahead = u16::from(id).wrapping_sub(last) & 0x7f;
        let step = if ahead < 0x40 { ahead } else { ahead.wrapping_sub(0x80) };
        last.wrapping_add(step) & 0x7fff
    }
}

/// Counts the pictures of one incoming stream on beyond the width of their ids.
#[derive(Debug, Clone, Default)]
pub struct PictureNumbers {
    newest: Option<u64>,
}

impl PictureNumbers {
    /// The number nearest to the newest picture's that ends in these 15 bits. The first one leaves room to step back.
    pub fn extend(&mut self, id: u16) -> u64 {
        let newest = self.newest.unwrap_or(1 << 32 | u64::from(id));
        let span = 1_u64 << 15;
        let ahead = u64::from(id).wrapping_sub(newest) & (span - 1);
        let number = if ahead < span / 2 { newest + ahead } else { (newest + ahead).saturating_sub(span) };
        self.newest = Some(self.newest.map_or(number, |newest| newest.max(number)));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_over_the_wrap_and_step_back_for_late_pictures() {
        let last = 0x7fff;
        let mut numbers = PictureNumbers::default();
        let first = numbers.extend(last);
        let steps = [(0, 1), (1, 2), (last, 0), (last - 1, -1), (2, 3), (last / 2, 1 + i64::from(last / 2))];
        for (id, step) in steps {
            assert_eq!(numbers.extend(id), first.wrapping_add_signed(step), "{id}");
        }
    }

    #[test]
    fn ids_grow_to_fifteen_bits_and_stay_monotone() {
        // Sequence of ids on the wire (Err: already 15 bits) and the ids after widening.
        type Row = (&'static [Result<u8, u16>], &'static [u16]);
        let table: [Row; 4] = [
            (&[Ok(126), Ok(127), Ok(0), Ok(1)], &[126, 127, 128, 129]),
            (&[Ok(127), Ok(1), Ok(0), Ok(2)], &[127, 129, 128, 130]),
            (&[Ok(127), Err(128), Err(129)], &[127, 128, 129]),
            (&[Err(0x7ffe), Ok(0x7f), Ok(0), Ok(1)], &[0x7ffe, 0x7fff, 0, 1]),
        ];
        let heads: [(Codec, &[u8], &[u8]); 2] =
            [(Codec::Vp8, &[0x90, 0xe0], &[7, 0x40, 0x00]), (Codec::Vp9, &[0xa8], &[0x40, 7, 0x00])];
        for (ids, expected) in table {
            for (codec, head, tail) in heads {
                let mut expander = PictureIdExpander::default();
                let mut seen = Vec::new();
                for id in ids {
                    let id: &[u8] = &match *id {
                        Ok(short) => vec![short],
                        Err(long) => vec![(long >> 8) as u8 | 0x80, long as u8],
                    };
                    let payload = [head, id, tail].concat();
                    let widened = expander.expand(codec, &payload);
                    assert_eq!(widened.is_some(), id.len() == 1, "only short ids are widened");
                    let payload = widened.unwrap_or_else(|| payload.into());
                    assert_eq!(payload[head.len()] & 0x80, 0x80, "M is set");
                    let descriptor = super::super::inspect(codec, &payload, None).descriptor;
                    let ids = PictureIds::of(&descriptor).unwrap();
                    assert_eq!(ids.tl0_picture_index, Some(7), "{codec:?}");
                    seen.extend(ids.picture_id);
                }
                assert_eq!(seen, expected, "{codec:?}");
            }
        }
    }

    #[test]
    fn payloads_without_a_short_picture_id_are_left_alone() {
        let table: [(Codec, &[u8]); 9] = [
            (Codec::Vp8, &[]),
            (Codec::Vp8, &[0x10, 0x00]),
            (Codec::Vp8, &[0x90, 0x40, 0x11, 0x00]),
            (Codec::Vp8, &[0x90, 0x80]),
            (Codec::Vp8, &[0x90, 0x80, 0x91]),
            (Codec::Vp9, &[]),
            (Codec::Vp9, &[0x28, 0x11, 0x00]),
            (Codec::Vp9, &[0x88, 0x91]),
            (Codec::H264, &[0x90, 0x80, 0x11, 0x00]),
        ];
        for (codec, payload) in table {
            assert_eq!(PictureIdExpander::default().expand(codec, payload), None, "{codec:?} {payload:02x?}");
        }
    }
}
