//! Reading bit fields and Exp-Golomb codes from the head of a bitstream. Every read is checked: past the end is `None`.
//!
//! Meant for headers that come once per key frame, so it is simple rather than fast.

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
    fn reads_past_the_end_are_refused() {
        let mut reader = BitReader::new(&[0b1010_0101]);
        assert_eq!(reader.bits(3), Some(0b101));
        assert_eq!(reader.skip(6), None);
        assert_eq!(reader.skip(4), Some(()));
        assert_eq!(reader.flag(), Some(true));
        assert_eq!(reader.flag(), None);
    }
}
