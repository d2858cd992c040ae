//! Picture numbering of one output stream: PictureID, TL0PICIDX and KEYIDX go on by one across a change of source (RFC
//! 7741 and RFC 9628, section 4.2). Decoders take a jump in them for loss, and wait for what the numbers promise.

use crate::rtp::PictureIds;

/// What one stretch of one source subtracts from its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct IdOffsets {
    picture_id: u16,
    tl0_picture_index: u8,
    key_index: u8,
}

/// The ids last sent; a field is kept while sources come by that do not have it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SentIds(PictureIds);

impl IdOffsets {
    /// A source is joined at this packet: its ids go on one behind the last sent. The first source keeps its own.
    pub(super) fn joining(first: &PictureIds, SentIds(last): &SentIds) -> Self {
        let behind = |own: Option<u16>, last: Option<u16>| match (own, last) {
            (Some(own), Some(last)) => own.wrapping_sub(last).wrapping_sub(1),
            _ => 0,
        };
        IdOffsets {
            picture_id: behind(first.picture_id, last.picture_id),
            tl0_picture_index: behind(wide(first.tl0_picture_index), wide(last.tl0_picture_index)) as u8,
            key_index: behind(wide(first.key_index), wide(last.key_index)) as u8,
        }
    }

    /// The packet's ids as they are sent, where `taken_out` pictures before it were not.
    pub(super) fn apply(&self, own: &PictureIds, taken_out: u16) -> PictureIds {
        let picture_id = self.picture_id.wrapping_add(taken_out);
        PictureIds {
            picture_id: own.picture_id.map(|id| id.wrapping_sub(picture_id) & 0x7fff),
            tl0_picture_index: own.tl0_picture_index.map(|index| index.wrapping_sub(self.tl0_picture_index)),
            key_index: own.key_index.map(|index| index.wrapping_sub(self.key_index) & 0x1f),
        }
    }

    /// Ids pass as they are, so the payload needs no change.
    pub(super) fn is_identity(&self) -> bool {
        *self == IdOffsets::default()
    }
}

impl SentIds {
    /// Notes what was sent in the newest packet.
    pub(super) fn advance(&mut self, sent: &PictureIds) {
        let SentIds(last) = self;
        last.picture_id = sent.picture_id.or(last.picture_id);
        last.tl0_picture_index = sent.tl0_picture_index.or(last.tl0_picture_index);
        last.key_index = sent.key_index.or(last.key_index);
    }
}

fn wide(index: Option<u8>) -> Option<u16> {
    index.map(u16::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PictureID, TL0PICIDX, KEYIDX.
    type Ids = (Option<u16>, Option<u8>, Option<u8>);

    fn ids((picture_id, tl0_picture_index, key_index): Ids) -> PictureIds {
        PictureIds { picture_id, tl0_picture_index, key_index }
    }

    #[test]
    fn ids_go_on_by_one_where_a_source_is_joined() {
        // Last sent, joined at, expected there; then a later packet and what is expected of it.
        let table: [(Ids, Ids, Ids, Ids, Ids); 5] = [
            (
                (Some(100), Some(7), Some(3)),
                (Some(9000), Some(250), Some(30)),
                (Some(101), Some(8), Some(4)),
                (Some(9005), Some(2), Some(1)),
                (Some(106), Some(16), Some(7)),
            ),
            // Each wraps in its own width.
            (
                (Some(0x7fff), Some(255), Some(31)),
                (Some(5), Some(5), Some(5)),
                (Some(0), Some(0), Some(0)),
                (Some(6), Some(6), Some(6)),
                (Some(1), Some(1), Some(1)),
            ),
            // Only the fields that are there.
            (
                (Some(100), None, None),
                (Some(50), Some(9), None),
                (Some(101), Some(9), None),
                (Some(51), Some(10), None),
                (Some(102), Some(10), None),
            ),
            (
                (Some(100), Some(7), None),
                (None, None, None),
                (None, None, None),
                (None, None, None),
                (None, None, None),
            ),
            (
                (None, None, None),
                (Some(5), Some(6), None),
                (Some(5), Some(6), None),
                (Some(6), Some(6), None),
                (Some(6), Some(6), None),
            ),
        ];
        for (last, joined, expected, later, expected_later) in table {
            let mut last_sent = SentIds::default();
            last_sent.advance(&ids(last));
            let offsets = IdOffsets::joining(&ids(joined), &last_sent);
            assert_eq!(offsets.apply(&ids(joined), 0), ids(expected), "{last:?} -> {joined:?}");
            assert_eq!(offsets.apply(&ids(later), 0), ids(expected_later), "{last:?} -> {later:?}");
        }
    }

    #[test]
    fn ids_survive_a_source_that_has_none() {
        let mut last_sent = SentIds::default();
        last_sent.advance(&ids((Some(100), Some(7), None)));
        last_sent.advance(&ids((None, None, None)));
        let joined = ids((Some(1), Some(1), None));
        assert_eq!(IdOffsets::joining(&joined, &last_sent).apply(&joined, 0), ids((Some(101), Some(8), None)));
    }
}
