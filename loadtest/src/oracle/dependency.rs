//! Numbers of the dependency descriptor, frame by frame: they mean the same to the receiver as to the sender, and go on
//! without a seam where the server changes the source.

use crate::media::{Described, SourceId, Stamp};

use super::violation::Breach;

/// What one stream's descriptors said.
#[derive(Debug, Default)]
pub(super) struct DependencyOracle {
    templates: Option<crate::media::Templates>,
    last: Option<Last>,
}

/// The frame before.
#[derive(Debug, Clone, Copy)]
struct Last {
    from: (SourceId, u8),
    /// Its number in the descriptor, and how far that is from the sender's.
    number: u16,
    shift: u16,
}

impl Last {
    fn of(stamp: &Stamp, described: &Described) -> Self {
        Self {
            from: (stamp.source, stamp.layer),
            number: described.frame,
            shift: described.frame.wrapping_sub(stamp.frame as u16),
        }
    }
}

impl DependencyOracle {
    /// Notes a frame whose first packet was lost: the next one follows it.
    pub(super) fn note(&mut self, stamp: &Stamp, described: &Described) {
        self.last = Some(Last::of(stamp, described));
    }

    /// Judges the first packet of a frame. With a `gap` in front of it the frame before is not known.
    pub(super) fn judge(&mut self, stamp: &Stamp, described: &Described, gap: bool, blame: &mut impl FnMut(Breach)) {
        let mut wrong = |what| blame(Breach::DependencyDescriptor { what, stamp: Box::new(*stamp) });
        if stamp.key {
            match described.structure {
                Some(templates) => self.templates = Some(templates),
                None => wrong("a key frame without a structure"),
            }
        }
        if !described.starts_frame || described.ends_frame != (stamp.count == 1) {
            wrong("first and last packet of the frame are told wrong");
        }
        let layers = self.templates.and_then(|templates| templates.layers(described.template));
        if layers != Some((stamp.spatial, stamp.temporal)) {
            wrong("the template is one of other layers, or of another structure");
        }
        let last = Last::of(stamp, described);
        if let Some(before) = self.last.replace(last) {
            let goes_on = before.from == last.from && before.shift == last.shift;
            let follows = stamp.key && (gap || described.frame == before.number.wrapping_add(1));
            if !goes_on && !follows {
                wrong("the frame number does not go on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Kind, SourceId};

    /// What is said of the number of a key frame that follows frame 4 and, with its first packet lost, frame 5.
    fn key_frame_with(number: u16) -> bool {
        let mut oracle = DependencyOracle::default();
        let source = SourceId { publisher: 1, incarnation: 0, kind: Kind::Video };
        let stamp = |frame, index, key| Stamp {
            source,
            layer: 0,
            frame,
            index,
            count: 2,
            key,
            temporal: 0,
            spatial: 0,
            references: [0, 0],
            sent: 0,
            filler: 0,
        };
        let described = |frame, starts_frame| Described {
            starts_frame,
            ends_frame: !starts_frame,
            template: 0,
            frame,
            structure: None,
        };
        let mut goes_on = true;
        let mut blame = |breach| {
            let of_numbers = |what: &str| what.contains("does not go on");
            goes_on &= !matches!(breach, Breach::DependencyDescriptor { what, .. } if of_numbers(what));
        };
        oracle.judge(&stamp(4, 0, true), &described(4, true), false, &mut blame);
        oracle.note(&stamp(5, 1, false), &described(5, false));
        oracle.judge(&stamp(20, 0, true), &described(number, true), false, &mut blame);
        goes_on
    }

    #[test]
    fn a_frame_that_lost_its_first_packet_counts() {
        assert_eq!([5, 6, 7].map(key_frame_with), [false, true, false]);
    }
}
