//! Temporal layers of VP8 by its payload descriptor (RFC 7741 section 4.2).

use super::super::decisions::Decisions;
use super::Verdict;
use super::changing::Changing;
use crate::rtp::vp8::Vp8;

/// Passes the pictures up to a temporal layer.
#[derive(Debug)]
pub(in crate::forward) struct TemporalSelector {
    /// What is sent.
    current: Changing<u8>,
    wanted: u8,
    newest: Option<u64>,
    /// What was decided about the newest: most packets belong to it.
    passes_newest: bool,
    decisions: Decisions,
}

impl TemporalSelector {
    /// A stream that is joined at a key frame: all layers can be sent from here.
    pub(super) fn new(wanted: u8) -> Self {
        Self {
            current: Changing::new(wanted),
            wanted,
            newest: None,
            passes_newest: true,
            decisions: Decisions::default(),
        }
    }

    pub(super) fn aim(&mut self, wanted: u8) {
        self.wanted = wanted;
    }

    pub(super) fn sending(&self) -> u8 {
        self.current.now()
    }

    pub(super) fn decide(&mut self, picture: u64, vp8: &Vp8, starts_keyframe: bool) -> Verdict {
        let mut skips_picture = false;
        let passes = if self.newest == Some(picture) {
            self.passes_newest
        } else if self.newest.is_none_or(|newest| picture > newest) {
            self.passes_newest = self.begin(picture, vp8, starts_keyframe);
            self.newest = Some(picture);
            self.decisions.note(picture, self.passes_newest);
            skips_picture = !self.passes_newest;
            self.passes_newest
        } else {
            self.decide_late(picture, vp8)
        };
        if passes { Verdict::PASS } else { Verdict::LeaveOut { skips_picture } }
    }

    /// The next picture: here the limit may change.
    fn begin(&mut self, picture: u64, vp8: &Vp8, starts_keyframe: bool) -> bool {
        let temporal_id = vp8.temporal_id.unwrap_or(0);
        let current = self.current.now();
        if starts_keyframe || self.wanted < current {
            self.current.set(picture, self.wanted);
        } else if temporal_id <= self.wanted && current.checked_add(1) == Some(temporal_id) && vp8.layer_sync {
            // Y promises that the picture refers to the base layer only. That says nothing of the layers between, so
            // they are climbed one by one.
            self.current.set(picture, temporal_id);
        }
        temporal_id <= self.current.now()
    }

    /// A picture that is not the newest; one whose first packet comes only now was lost until then.
    fn decide_late(&mut self, picture: u64, vp8: &Vp8) -> bool {
        let decided = self.decisions.of(picture);
        decided.unwrap_or_else(|| {
            let passes = vp8.temporal_id.unwrap_or(0) <= self.current.at(picture);
            self.decisions.note(picture, passes);
            passes
        })
    }
}
