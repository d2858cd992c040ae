//! Frame numbers and template ids of one output stream's dependency descriptors: they go on without a seam across a
//! change of source. Within a source frame numbers stay as they are, or what refers back by them would miss.

use crate::rtp::dependency_descriptor::{DependencyDescriptor, DependencyRewrite};

/// What one stretch of one source adds to its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct DependencyOffsets {
    frame_number: u16,
    template_id: u8,
}

/// What was sent last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DependencyIds {
    /// The highest frame number.
    frame_number: Option<u16>,
    /// One past the last template id of the structure in force.
    templates_end: u8,
}

impl DependencyOffsets {
    /// A source is joined at this frame: its number follows the last one sent, its templates take ids that the
    /// structure before did not use, so that late packets are never read by the wrong one.
    pub(super) fn joining(first: &DependencyDescriptor, last: &DependencyIds) -> Self {
        let Some(frame_number) = last.frame_number else { return DependencyOffsets::default() };
        let (templates_start, _) = first.structure.template_ids();
        DependencyOffsets {
            frame_number: frame_number.wrapping_add(1).wrapping_sub(first.frame_number as u16),
            template_id: last.templates_end.wrapping_sub(templates_start) & 0x3f,
        }
    }

    /// What to change in a descriptor; `None` when it is right as it is.
    pub(super) fn apply(&self, active_targets: Option<u32>) -> Option<DependencyRewrite> {
        let rewrite = DependencyRewrite {
            frame_number_offset: self.frame_number,
            template_id_offset: self.template_id,
            active_targets,
        };
        (rewrite != DependencyRewrite::default()).then_some(rewrite)
    }
}

impl DependencyIds {
    /// Notes the newest frame that was sent.
    pub(super) fn advance(&mut self, sent: &DependencyDescriptor, offsets: &DependencyOffsets) {
        self.frame_number = Some((sent.frame_number as u16).wrapping_add(offsets.frame_number));
        let (_, end) = sent.structure.template_ids();
        self.templates_end = end.wrapping_add(offsets.template_id) & 0x3f;
    }
}
