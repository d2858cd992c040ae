//! The template dependency structure: what a sequence's descriptors refer to.

use arrayvec::ArrayVec;

use super::super::{Resolution, Resolutions};
use super::{MAX_DECODE_TARGETS, MAX_FRAME_DIFFS, MAX_SPATIAL_LAYERS};

/// A stream's decode targets and the templates of its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structure {
    pub(super) template_id_offset: u8,
    pub(super) templates: Vec<Dependencies>,
    pub(super) decode_targets: ArrayVec<DecodeTarget, MAX_DECODE_TARGETS>,
    pub(super) chain_count: u8,
    /// Width and height of each spatial layer, less one.
    pub(super) sizes_less_one: ArrayVec<(u16, u16), { MAX_SPATIAL_LAYERS as usize }>,
}

/// A subset of the stream that can be decoded by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeTarget {
    /// Its highest spatial layer.
    pub spatial_id: u8,
    /// Its highest temporal layer.
    pub temporal_id: u8,
    /// The chain that protects it; `None` in streams without chains.
    pub chain: Option<u8>,
    /// The decode targets (one bit each) whose frames are all among this one's; itself is one of them.
    pub contains: u32,
}

/// A frame's layers, what it is to the decode targets, and which frames it needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Dependencies {
    /// Spatial layer.
    pub spatial_id: u8,
    /// Temporal layer.
    pub temporal_id: u8,
    /// How far back in frame numbers the frames are that it refers to; 0 does not occur.
    pub frame_diffs: ArrayVec<u16, MAX_FRAME_DIFFS>,
    /// For each chain how far back its frame before this one is; 0: the chain (re)starts here.
    pub chain_diffs: ArrayVec<u8, MAX_DECODE_TARGETS>,
    /// Two bits for each decode target, the first lowest.
    pub(super) indications: u64,
}

/// What a frame is to a decode target (table A.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indication {
    /// No part of it.
    NotPresent,
    /// Part of it; no other frame of it refers to this one.
    Discardable,
    /// Part of it, and who can decode this frame can decode the target from here on.
    Switch,
    /// Part of it, and others refer to it.
    Required,
}

impl Structure {
    /// The decode targets, by index.
    pub fn decode_targets(&self) -> &[DecodeTarget] {
        &self.decode_targets
    }

    /// The mask of all decode targets.
    pub fn all_targets(&self) -> u32 {
        ((1_u64 << self.decode_targets.len()) - 1) as u32
    }

    /// Decoding a spatial layer takes those below it in every picture, not in key pictures only or not at all.
    pub fn layers_build_on_each_other(&self) -> bool {
        let Some(highest) = self.decode_targets.iter().map(|target| target.spatial_id).max() else { return true };
        let all_below = |top: &DecodeTarget| {
            self.decode_targets
                .iter()
                .zip(0..)
                .all(|(other, index)| other.temporal_id > top.temporal_id || top.contains >> index & 1 != 0)
        };
        self.decode_targets.iter().filter(|target| target.spatial_id == highest).all(all_below)
    }

    /// Picture sizes of the spatial layers, where the sender tells them.
    pub fn resolutions(&self) -> Resolutions {
        (0..self.spatial_layers()).map_while(|spatial_id| self.resolution(spatial_id)).collect()
    }

    /// Where the range of template ids begins, and one past where it ends, both modulo 64.
    pub fn template_ids(&self) -> (u8, u8) {
        (self.template_id_offset, (self.template_id_offset + self.templates.len() as u8) % 64)
    }

    /// Picture size of a spatial layer, where the sender tells it.
    pub fn resolution(&self, spatial_id: u8) -> Option<Resolution> {
        let &(width, height) = self.sizes_less_one.get(usize::from(spatial_id))?;
        Resolution::from_wide(u32::from(width) + 1, u32::from(height) + 1)
    }

    pub(super) fn template(&self, id: u8) -> Option<&Dependencies> {
        self.templates.get(usize::from((id + 64 - self.template_id_offset) % 64))
    }

    pub(super) fn spatial_layers(&self) -> u8 {
        self.templates.last().map_or(0, |template| template.spatial_id + 1)
    }

    /// Finds each decode target's layers and contents from the templates (A.8.2, decode_target_layers).
    pub(super) fn fill_in_targets(&mut self) {
        let all_targets = self.all_targets();
        for (index, target) in self.decode_targets.iter_mut().enumerate() {
            target.contains = all_targets;
            for template in &self.templates {
                if template.is_part_of(index) {
                    target.spatial_id = target.spatial_id.max(template.spatial_id);
                    target.temporal_id = target.temporal_id.max(template.temporal_id);
                } else {
                    target.contains &= !template.targets();
                }
            }
        }
    }
}

impl Dependencies {
    /// What the frame is to this decode target.
    pub fn indication(&self, target: usize) -> Indication {
        match self.indications.checked_shr(2 * target as u32).unwrap_or(0) & 0b11 {
            0 => Indication::NotPresent,
            1 => Indication::Discardable,
            2 => Indication::Switch,
            _ => Indication::Required,
        }
    }

    /// The frame is needed, or at least shown, by who decodes this target.
    pub fn is_part_of(&self, target: usize) -> bool {
        self.indication(target) != Indication::NotPresent
    }

    /// The mask of the decode targets it is part of.
    fn targets(&self) -> u32 {
        (0..MAX_DECODE_TARGETS).filter(|&target| self.is_part_of(target)).fold(0, |mask, target| mask | 1 << target)
    }
}
