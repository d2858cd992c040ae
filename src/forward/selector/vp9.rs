//! Spatial and temporal layers of VP9 by its payload descriptor (RFC 9628 section 4.2): full SVC, where a spatial layer
//! needs those below it in every picture, and K-SVC, where it needs them in key pictures only.

use super::super::decisions::Decisions;
use super::changing::Changing;
use super::{Limits, Verdict};
use crate::rtp::vp9::Vp9;

/// Pictures in a row without the highest spatial layer after which the sender has stopped it. Larger freezes K-SVC
/// viewers of that layer longer, smaller takes a few lost frames for it.
const ABSENCE: u32 = 8;

/// Passes frames up to a spatial and a temporal layer.
#[derive(Debug)]
pub(in crate::forward) struct Vp9Selector {
    /// What is sent.
    current: Changing<Limits>,
    wanted: Limits,
    newest: Option<Picture>,
    /// By picture and spatial layer, eight to a picture.
    decisions: Decisions,
    /// The highest spatial layer the sender produces.
    top: u8,
    /// The highest one in the pictures since `top` was there last, and how many those are.
    top_since: u8,
    without_top: u32,
    /// It is K-SVC, as far as is known.
    key_pictures_only: bool,
}

/// The picture that arrives.
#[derive(Debug, Clone, Copy)]
struct Picture {
    number: u64,
    /// The highest spatial layer of it that came.
    highest: u8,
    /// Behind it, higher temporal layers may begin (U).
    switching_up_point: bool,
}

impl Vp9Selector {
    /// A stream that is joined at a key picture: all layers can be sent from here.
    pub(super) fn new(wanted: Limits) -> Self {
        Self {
            current: Changing::new(wanted),
            wanted,
            newest: None,
            decisions: Decisions::default(),
            top: 0,
            top_since: 0,
            without_top: 0,
            key_pictures_only: false,
        }
    }

    pub(super) fn aim(&mut self, wanted: Limits) {
        self.wanted = wanted;
    }

    pub(super) fn sending(&self) -> Limits {
        self.current.now()
    }

    /// A spatial layer that is not sent can begin at a key picture only; with K-SVC a lower one is not sent, either.
    pub(super) fn awaits_keyframe(&self) -> bool {
        let (reachable, current) = (self.reachable(), self.current.now().spatial);
        reachable > current || self.key_pictures_only && current != u8::MAX && reachable != current
    }

    pub(super) fn decide(&mut self, picture: u64, vp9: &Vp9) -> Verdict {
        let is_newer = self.newest.is_none_or(|newest| picture > newest.number);
        if is_newer {
            self.begin(picture, vp9);
        }
        let frame = picture << 3 | u64::from(vp9.spatial_id);
        let passes = self.decisions.of(frame).unwrap_or_else(|| {
            let passes = self.passes(picture, vp9);
            self.decisions.note(frame, passes);
            passes
        });
        if let Some(newest) = self.newest.as_mut().filter(|newest| newest.number == picture) {
            newest.highest = newest.highest.max(vp9.spatial_id);
            newest.switching_up_point |= passes && vp9.switching_up_point;
        }
        if passes {
            let closes_picture = vp9.end_of_frame && vp9.spatial_id == self.current.at(picture).spatial;
            Verdict::Pass { closes_picture, active_targets: None }
        } else {
            Verdict::LeaveOut { skips_picture: false }
        }
    }

    /// The next picture: here the limits may change.
    fn begin(&mut self, picture: u64, vp9: &Vp9) {
        let before =
            self.newest.replace(Picture { number: picture, highest: vp9.spatial_id, switching_up_point: false });
        if let Some(before) = before {
            self.watch_top(before.highest);
        }
        self.key_pictures_only = vp9.key_pictures_only;
        if vp9.starts_keyframe() {
            let spatial = if before.is_some() { self.reachable() } else { self.wanted.spatial };
            self.current.set(picture, Limits { spatial, ..self.wanted });
            return;
        }
        let mut limits = self.current.now();
        let mut from = picture;
        if self.wanted.temporal < limits.temporal {
            limits.temporal = self.wanted.temporal;
        } else if let Some(before) = before.filter(|before| before.switching_up_point) {
            // Also for pictures in between that come late: this one may refer to them.
            limits.temporal = self.wanted.temporal;
            from = before.number + 1;
        }
        // What is below was sent all along only where every picture is predicted from it.
        if self.wanted.spatial < limits.spatial && !self.key_pictures_only {
            limits.spatial = self.wanted.spatial;
        }
        self.current.set(from, limits);
    }

    fn passes(&self, picture: u64, vp9: &Vp9) -> bool {
        let Limits { spatial, temporal } = self.current.at(picture);
        let is_of_no_use =
            vp9.key_pictures_only && vp9.inter_predicted && spatial != u8::MAX && vp9.spatial_id < spatial;
        vp9.temporal_id <= temporal && vp9.spatial_id <= spatial && !is_of_no_use
    }

    /// The wanted spatial layer, or the highest below it that the sender produces.
    fn reachable(&self) -> u8 {
        self.wanted.spatial.min(self.top)
    }

    fn watch_top(&mut self, highest: u8) {
        if highest >= self.top {
            (self.top, self.top_since, self.without_top) = (highest, 0, 0);
            return;
        }
        self.top_since = self.top_since.max(highest);
        self.without_top += 1;
        if self.without_top >= ABSENCE {
            (self.top, self.top_since, self.without_top) = (self.top_since, 0, 0);
        }
    }
}
