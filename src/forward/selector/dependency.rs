//! Decode targets of the dependency descriptor (RTP payload format for AV1, appendix A): any codec, any structure.

use std::sync::Arc;

use super::super::decisions::Decisions;
use super::changing::Changing;
use super::{Limits, Verdict};
use crate::rtp::dependency_descriptor::{DecodeTarget, Dependencies, DependencyDescriptor, Indication, Structure};
use crate::rtp::{Descriptor, Packet};

/// Passes the frames of one decode target.
#[derive(Debug)]
pub(in crate::forward) struct DependencySelector {
    wanted: Limits,
    structure: Arc<Structure>,
    /// Decode targets the sender produces now.
    active: u32,
    /// Index of the one that is sent, by the RTP timestamp of the picture, which its spatial layers share: its first
    /// frame may come last.
    current: Changing<usize>,
    newest: Option<u64>,
    /// RTP timestamp of the newest picture.
    picture: u64,
    decisions: Decisions,
    /// The receiver was told that it does not get everything, so it must be told every change from then on.
    narrowed: bool,
}

impl DependencySelector {
    /// A stream that is joined at this frame, with which a coded video sequence starts.
    pub(super) fn new(first: &DependencyDescriptor, wanted: Limits) -> Self {
        let structure = Arc::clone(&first.structure);
        let current = Changing::new(best(&structure, first.active_targets, wanted));
        Self {
            wanted,
            structure,
            active: first.active_targets,
            current,
            newest: None,
            picture: 0,
            decisions: Decisions::default(),
            narrowed: false,
        }
    }

    pub(super) fn aim(&mut self, wanted: Limits) {
        self.wanted = wanted;
    }

    pub(super) fn sending(&self) -> Limits {
        let target = self.structure.decode_targets().get(self.current.now());
        target.map_or(Limits::NONE, |target| Limits { spatial: target.spatial_id, temporal: target.temporal_id })
    }

    /// Another spatial layer begins at a key frame; but one that is sent already is only narrowed to.
    pub(super) fn awaits_keyframe(&self) -> bool {
        let targets = self.structure.decode_targets();
        let wanted = best(&self.structure, self.active, self.wanted);
        let (Some(current), Some(next)) = (targets.get(self.current.now()), targets.get(wanted)) else { return false };
        next.spatial_id != current.spatial_id && current.contains >> wanted & 1 == 0
    }

    pub(super) fn decide(&mut self, packet: &Packet) -> Verdict {
        // What cannot be read belongs to a sequence whose start was lost: nothing of it can be decoded.
        let Some(dependency) = &packet.dependency else { return Verdict::LeaveOut { skips_picture: false } };
        let frame = dependency.frame_number;
        let mut is_newer = false;
        let passes = match self.decisions.of(frame) {
            Some(passes) => passes,
            None => {
                is_newer = self.newest.is_none_or(|newest| frame > newest);
                if is_newer {
                    self.begin(packet.timestamp, dependency);
                }
                let passes = self.passes(packet.timestamp, dependency);
                self.decisions.note(frame, passes);
                passes
            }
        };
        if !passes {
            // A frame is a picture where there are no spatial layers.
            let is_picture = matches!(packet.descriptor, Descriptor::Vp8(_));
            return Verdict::LeaveOut { skips_picture: is_newer && is_picture };
        }
        let target = dependency.structure.decode_targets().get(self.current.at(packet.timestamp));
        let is_highest = target.is_some_and(|target| target.spatial_id == dependency.dependencies.spatial_id);
        Verdict::Pass {
            closes_picture: dependency.end_of_frame && is_highest,
            active_targets: self.active_targets(dependency),
        }
    }

    /// The next frame: here the decode target may change.
    fn begin(&mut self, timestamp: u64, dependency: &DependencyDescriptor) {
        let starts_picture = self.newest.is_none() || timestamp > self.picture;
        (self.newest, self.picture) = (Some(dependency.frame_number), self.picture.max(timestamp));
        self.active = dependency.active_targets;
        if !Arc::ptr_eq(&self.structure, &dependency.structure) {
            // Targets of another structure are others, whatever their index.
            let restarts = dependency.starts_sequence && dependency.dependencies.frame_diffs.is_empty();
            let limits = if restarts { self.wanted } else { self.sending() };
            self.structure = Arc::clone(&dependency.structure);
            self.current.set(timestamp, best(&self.structure, self.active, limits));
        }
        let wanted = best(&self.structure, self.active, self.wanted);
        if wanted != self.current.now() && self.can_change_at(wanted, starts_picture, dependency) {
            self.current.set(timestamp, wanted);
        }
    }

    /// Changes are made between pictures: what was sent of one counts on the rest, and its last packet is marked. Down
    /// to what is sent already and to another frame rate at any, for of a higher frame rate only what refers to
    /// nothing left out is sent. To other spatial layers where the stream says so.
    fn can_change_at(&self, wanted: usize, starts_picture: bool, dependency: &DependencyDescriptor) -> bool {
        let targets = self.structure.decode_targets();
        let (Some(from), Some(to)) = (targets.get(self.current.now()), targets.get(wanted)) else { return false };
        let is_sent = from.spatial_id == to.spatial_id || from.contains >> wanted & 1 != 0;
        let begins = || dependency.dependencies.indication(wanted) == Indication::Switch;
        starts_picture && (is_sent || begins() && self.has_all_it_refers_to(dependency))
    }

    fn passes(&self, timestamp: u64, dependency: &DependencyDescriptor) -> bool {
        let Dependencies { frame_diffs, .. } = &dependency.dependencies;
        let refers_to_left_out = || {
            let mut numbers = frame_diffs.iter().filter_map(|diff| dependency.frame_number.checked_sub((*diff).into()));
            numbers.any(|frame| self.decisions.of(frame) == Some(false))
        };
        dependency.dependencies.is_part_of(self.current.at(timestamp)) && !refers_to_left_out()
    }

    fn has_all_it_refers_to(&self, dependency: &DependencyDescriptor) -> bool {
        let mut diffs = dependency.dependencies.frame_diffs.iter();
        diffs.all(|diff| {
            let frame = dependency.frame_number.checked_sub((*diff).into());
            frame.is_some_and(|frame| self.decisions.of(frame) == Some(true))
        })
    }

    fn active_targets(&mut self, dependency: &DependencyDescriptor) -> Option<u32> {
        let target = self.structure.decode_targets().get(self.current.now())?;
        let sent = target.contains & dependency.active_targets;
        self.narrowed |= sent != dependency.active_targets;
        self.narrowed.then_some(sent)
    }
}

/// Index of the highest active decode target within the limits; of the lowest active one when there is none.
fn best(structure: &Structure, active: u32, limits: Limits) -> usize {
    let rank = |target: &DecodeTarget| (target.spatial_id, target.temporal_id);
    let targets = || structure.decode_targets().iter().enumerate();
    let is_active = |index: usize| active >> index & 1 != 0;
    let within = |target: &DecodeTarget| target.spatial_id <= limits.spatial && target.temporal_id <= limits.temporal;
    let highest = targets().filter(|(index, target)| is_active(*index) && within(target)).max_by_key(|(_, t)| rank(t));
    let lowest = || targets().filter(|(index, _)| is_active(*index)).min_by_key(|(_, target)| rank(target));
    highest.or_else(lowest).map_or(0, |(index, _)| index)
}
