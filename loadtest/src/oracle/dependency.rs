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

impl DependencyOracle {
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
        let last = Last {
            from: (stamp.source, stamp.layer),
            number: described.frame,
            shift: described.frame.wrapping_sub(stamp.frame as u16),
        };
        if let Some(before) = self.last.replace(last) {
            let goes_on = before.from == last.from && before.shift == last.shift;
            let follows = stamp.key && (gap || described.frame == before.number.wrapping_add(1));
            if !goes_on && !follows {
                wrong("the frame number does not go on");
            }
        }
    }
}
