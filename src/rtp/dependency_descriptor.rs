//! The AV1 dependency descriptor (RTP payload format for AV1, appendix A): which frame a packet belongs to, which
//! frames that one needs, and for which of the stream's decode targets it is needed. Any codec may carry it.
//!
//! [`DependencyReader`] keeps what one incoming stream has said before, for most descriptors only point at its
//! templates. [`rewrite`] makes the bytes a subscriber gets. Deciding what that one gets is `forward`'s.

mod read;
mod structure;
mod write;

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::bits::MAX_EXTENSION;
pub use structure::{DecodeTarget, Dependencies, Indication, Structure};

/// Templates of a structure: their ids have six bits.
const MAX_TEMPLATES: usize = 64;
/// Decode targets of a structure: their count has five bits.
const MAX_DECODE_TARGETS: usize = 32;
/// Spatial layers (AV1 section 6.4.1 knows no more). The syntax allows more, no encoder makes them.
const MAX_SPATIAL_LAYERS: u8 = super::MAX_SPATIAL_LAYERS as u8;
/// Temporal layers (AV1 section 6.4.1 knows no more).
const MAX_TEMPORAL_LAYERS: u8 = 8;
/// Frames one frame refers to. AV1 knows seven; larger costs two bytes per packet each, smaller refuses packets.
const MAX_FRAME_DIFFS: usize = 8;

/// What one packet's descriptor says, templates filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DependencyDescriptor {
    /// First packet of its frame.
    pub start_of_frame: bool,
    /// Last packet of its frame.
    pub end_of_frame: bool,
    /// Frame number, extended from 16 to 64 bits. A frame is one spatial layer of one picture.
    pub frame_number: u64,
    /// Layers and dependencies of its frame.
    pub dependencies: Dependencies,
    /// Decode targets the sender produces now, one bit each.
    pub active_targets: u32,
    /// The structure it goes by.
    pub structure: Arc<Structure>,
    /// The structure came with this packet: a coded video sequence starts here.
    pub starts_sequence: bool,
    template_id: u8,
    customs: Customs,
}

/// The optional fields the packet had, so that it is written with the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Customs {
    active_targets: bool,
    indications: bool,
    frame_diffs: bool,
    chain_diffs: bool,
}

/// Reads the descriptors of one incoming stream.
#[derive(Debug, Clone, Default)]
pub struct DependencyReader {
    current: Option<Sequence>,
    /// The one before: packets of it may still come late.
    previous: Option<Sequence>,
    newest_frame: Option<u64>,
}

/// A coded video sequence: from one structure to the next.
#[derive(Debug, Clone)]
struct Sequence {
    structure: Arc<Structure>,
    first_frame: u64,
    active_targets: u32,
}

/// What to change in a descriptor on its way to a subscriber.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DependencyRewrite {
    /// Added to the frame number, modulo 2^16.
    pub frame_number_offset: u16,
    /// Added to the template ids, modulo 64.
    pub template_id_offset: u8,
    /// The decode targets that are sent, where those are not all the sender produces.
    pub active_targets: Option<u32>,
}

impl DependencyReader {
    /// Reads one packet's descriptor. `None` when it is malformed, or points at a structure that did not come (yet).
    pub fn read(&mut self, bytes: &[u8]) -> Option<DependencyDescriptor> {
        let (head, mut tail) = read::head(bytes)?;
        let frame_number = self.extend(head.frame_number);
        let attached = if head.carries_structure { Some(Arc::new(tail.structure()?)) } else { None };
        let sequence = match &attached {
            Some(structure) => Sequence {
                active_targets: structure.all_targets(),
                structure: Arc::clone(structure),
                first_frame: frame_number,
            },
            None => self.sequence_of(frame_number)?.clone(),
        };
        let structure = sequence.structure;
        let active_targets = match head.customs.active_targets {
            true => tail.active_targets(&structure)?,
            false => sequence.active_targets,
        };
        let dependencies = tail.dependencies(&head, &structure)?;
        let descriptor = DependencyDescriptor {
            start_of_frame: head.start_of_frame,
            end_of_frame: head.end_of_frame,
            frame_number,
            dependencies,
            active_targets,
            structure,
            starts_sequence: attached.is_some(),
            template_id: head.template_id,
            customs: head.customs,
        };
        self.note(&descriptor);
        Some(descriptor)
    }

    /// The number nearest to the newest frame's that ends in these 16 bits. The first one leaves room to step back.
    fn extend(&self, frame_number: u16) -> u64 {
        let newest = self.newest_frame.unwrap_or(1 << 16 | u64::from(frame_number));
        let step = frame_number.wrapping_sub(newest as u16).cast_signed();
        newest.wrapping_add_signed(step.into())
    }

    fn sequence_of(&self, frame_number: u64) -> Option<&Sequence> {
        let began_before = |sequence: &&Sequence| frame_number >= sequence.first_frame;
        self.current.as_ref().filter(began_before).or(self.previous.as_ref())
    }

    /// Remembers what later descriptors need of this one, unless it comes late.
    fn note(&mut self, descriptor: &DependencyDescriptor) {
        let frame_number = descriptor.frame_number;
        if descriptor.starts_sequence && self.current.as_ref().is_none_or(|current| frame_number >= current.first_frame)
        {
            let sequence = Sequence {
                structure: Arc::clone(&descriptor.structure),
                first_frame: frame_number,
                active_targets: descriptor.active_targets,
            };
            self.previous = self.current.replace(sequence).or(self.previous.take());
        }
        if self.newest_frame.is_none_or(|newest| frame_number >= newest) {
            self.newest_frame = Some(frame_number);
            if let Some(current) = &mut self.current {
                current.active_targets = descriptor.active_targets;
            }
        }
    }
}

impl DependencyDescriptor {
    /// The descriptor's bytes, byte for byte those it was read from if the sender wrote them without waste.
    ///
    /// `active_targets` takes the place of the sender's. `None` when it does not fit a header extension.
    pub fn write(&self, active_targets: Option<u32>) -> Option<ArrayVec<u8, MAX_EXTENSION>> {
        write::descriptor(self, active_targets)
    }
}

/// The bytes of a received descriptor as a subscriber gets them. `parsed` is what they say, if that could be read.
pub fn rewrite(
    received: &[u8],
    parsed: Option<&DependencyDescriptor>,
    changes: DependencyRewrite,
) -> Option<ArrayVec<u8, MAX_EXTENSION>> {
    let mut bytes = match (parsed, changes.active_targets) {
        (Some(parsed), Some(_)) => parsed.write(changes.active_targets)?,
        _ => received.try_into().ok()?,
    };
    write::shift_numbers(&mut bytes, changes.frame_number_offset, changes.template_id_offset);
    Some(bytes)
}

#[cfg(test)]
pub(crate) mod tests;
