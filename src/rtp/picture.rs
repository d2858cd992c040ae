//! Picture numbers that never wrap, from PictureIDs that do.

/// Counts the pictures of one incoming stream on beyond the width of their ids.
#[derive(Debug, Clone, Default)]
pub struct PictureNumbers {
    newest: Option<u64>,
}

impl PictureNumbers {
    /// The number nearest to the newest picture's that ends in these `width` bits (7 or 15). The first one leaves room
    /// to step back.
    pub fn extend(&mut self, id: u16, width: u32) -> u64 {
        let newest = self.newest.unwrap_or(1 << 32 | u64::from(id));
        let span = 1_u64 << width;
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
        for (width, last) in [(7, 0x7f), (15, 0x7fff)] {
            let mut numbers = PictureNumbers::default();
            let first = numbers.extend(last, width);
            let steps = [(0, 1), (1, 2), (last, 0), (last - 1, -1), (2, 3), (last / 2, 1 + i64::from(last / 2))];
            for (id, step) in steps {
                assert_eq!(numbers.extend(id, width), first.wrapping_add_signed(step), "{width} bits: {id}");
            }
        }
    }
}
