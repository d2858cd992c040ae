//! Bit fields: reading them and the variable-length codes of bitstream headers, and writing them again. Every read is
//! checked: past the end is `None`.
//!
//! Meant for headers that come once per key frame, and for the few bits a packet has otherwise, so it is simple rather
//! than fast.

use arrayvec::ArrayVec;

/// A cursor over the bits of a slice, most significant bit first.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> BitReader<'a> {
    /// Starts at the first bit of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, position: 0 }
    }

    /// One bit.
    pub(super) fn flag(&mut self) -> Option<bool> {
        let byte = self.bytes.get(self.position / 8)?;
        let set = byte & (0x80 >> (self.position % 8)) != 0;
        self.position += 1;
        Some(set)
    }

    /// An unsigned number of `width` bits, at most 32.
    pub(super) fn bits(&mut self, width: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..width {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Passes over `width` bits.
    pub(super) fn skip(&mut self, width: usize) -> Option<()> {
        let position = self.position.checked_add(width)?;
        (position <= self.bytes.len() * 8).then(|| self.position = position)
    }

    /// A non-symmetric number below `count`, `ns(n)` (AV1 section 4.10.7): the lower values take a bit less.
    pub(super) fn non_symmetric(&mut self, count: u32) -> Option<u32> {
        let (width, short) = non_symmetric_shape(count)?;
        let value = self.bits(width - 1)?;
        if value < short { Some(value) } else { Some((value << 1) - short + u32::from(self.flag()?)) }
    }

    /// An unsigned Exp-Golomb code, `ue(v)` (H.264 section 9.1). Codes of more than 32 bits are refused.
    pub(super) fn unsigned_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
        }
        if zeros > 31 {
            return None;
        }
        let suffix = self.bits(zeros)?;
        Some((1 << zeros) - 1 + suffix)
    }

    /// A signed Exp-Golomb code, `se(v)` (H.264 section 9.1.1).
    pub(super) fn signed_golomb(&mut self) -> Option<i32> {
        let code = self.unsigned_golomb()?;
        let magnitude = i32::try_from(code.div_ceil(2)).ok()?;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }
}

/// The longest value of a header extension, in its two-byte form (RFC 8285 section 4.3).
pub(super) const MAX_EXTENSION: usize = 255;

/// Collects the value of a header extension bit by bit, most significant first.
#[derive(Debug, Clone, Default)]
pub(super) struct BitWriter {
    bytes: ArrayVec<u8, MAX_EXTENSION>,
    /// Bits of the last byte that are taken, 0 when it is full.
    taken: u32,
}

impl BitWriter {
    /// One bit. `None`: the value is full.
    pub(super) fn flag(&mut self, set: bool) -> Option<()> {
        if self.taken == 0 {
            self.bytes.try_push(0).ok()?;
        }
        *self.bytes.last_mut()? |= u8::from(set) << (7 - self.taken);
        self.taken = (self.taken + 1) % 8;
        Some(())
    }

    /// The `width` lowest bits of a number, at most 32.
    pub(super) fn bits(&mut self, width: u32, value: u32) -> Option<()> {
        (0..width).rev().try_for_each(|bit| self.flag(value >> bit & 1 != 0))
    }

    /// A non-symmetric number below `count`.
    pub(super) fn non_symmetric(&mut self, count: u32, value: u32) -> Option<()> {
        let (width, short) = non_symmetric_shape(count)?;
        if value < short { self.bits(width - 1, value) } else { self.bits(width, value + short) }
    }

    /// What was written, filled up with zeros to a whole byte.
    pub(super) fn finish(self) -> ArrayVec<u8, MAX_EXTENSION> {
        self.bytes
    }
}

/// The width of `ns(n)`'s longer codes, and how many values have the shorter one. `None` for 0, which has no values.
fn non_symmetric_shape(count: u32) -> Option<(u32, u32)> {
    let width = 32 - count.leading_zeros();
    (0 < count && width < 32).then(|| (width, (1 << width) - count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golomb_codes_follow_the_table_of_the_standard() {
        // H.264 tables 9-1 and 9-3: bit string, ue(v), se(v).
        let table: [(u8, u32, i32); 7] = [
            (0b1000_0000, 0, 0),
            (0b0100_0000, 1, 1),
            (0b0110_0000, 2, -1),
            (0b0010_0000, 3, 2),
            (0b0010_1000, 4, -2),
            (0b0011_0000, 5, 3),
            (0b0011_1000, 6, -3),
        ];
        for (byte, unsigned, signed) in table {
            assert_eq!(BitReader::new(&[byte]).unsigned_golomb(), Some(unsigned), "{byte:08b}");
            assert_eq!(BitReader::new(&[byte]).signed_golomb(), Some(signed), "{byte:08b}");
        }
        assert_eq!(BitReader::new(&[0; 8]).unsigned_golomb(), None, "no end in sight");
        assert_eq!(BitReader::new(&[0, 0, 0, 0, 0x80, 0, 0, 0, 0]).unsigned_golomb(), None, "over 32 bits");
    }

    #[test]
    fn non_symmetric_numbers_follow_the_table_of_the_standard() {
        // The table of the dependency descriptor's specification (A.8.2), for five values; and a single value, which
        // takes no bit.
        for (value, width, code) in [(0, 2, 0b00), (1, 2, 0b01), (2, 2, 0b10), (3, 3, 0b110), (4, 3, 0b111)] {
            let mut writer = BitWriter::default();
            writer.non_symmetric(5, value).unwrap();
            assert_eq!(writer.taken, width, "{value}");
            let bytes = writer.finish();
            assert_eq!(bytes.as_slice(), [code << (8 - width)], "{value}");
            assert_eq!(BitReader::new(&bytes).non_symmetric(5), Some(value));
        }
        assert_eq!(BitReader::new(&[]).non_symmetric(1), Some(0));
        assert_eq!(BitReader::new(&[0]).non_symmetric(0), None);
    }

    #[test]
    fn what_is_written_is_read_again_and_ends_at_the_bound() {
        let mut writer = BitWriter::default();
        writer.bits(3, 0b101).unwrap();
        writer.bits(16, 0xbeef).unwrap();
        let bytes = writer.clone().finish();
        let mut reader = BitReader::new(&bytes);
        assert_eq!((reader.bits(3), reader.bits(16), reader.bits(5)), (Some(0b101), Some(0xbeef), Some(0)));
        for _ in 0..MAX_EXTENSION - 3 {
            writer.bits(8, 0xff).unwrap();
        }
        assert_eq!(writer.bits(6, 0), None);
        assert_eq!(writer.finish().len(), MAX_EXTENSION);
    }

    #[test]
    fn reads_past_the_end_are_refused() {
        let mut reader = BitReader::new(&[0b1010_0101]);
        assert_eq!(reader.bits(3), Some(0b101));
        assert_eq!(reader.skip(6), None);
        assert_eq!(reader.skip(4), Some(()));
        assert_eq!(reader.flag(), Some(true));
        assert_eq!(reader.flag(), None);
    }
}
