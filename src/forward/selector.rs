//! Which packets of one incoming stream pass, of one that has temporal or spatial layers: decided per frame, changed
//! only where a decoder can follow.
//!
//! Going down is possible at once (but for spatial layers that were not sent), going up where the stream offers it.
//! Which encoding is sent is the [forwarder](super::forwarder)'s to decide, the numbers are the
//! [rewriter](super::rewriter)'s.

mod changing;
mod dependency;
mod temporal;
mod vp9;

use crate::rtp::{Descriptor, Packet};
use dependency::DependencySelector;
use temporal::TemporalSelector;
use vp9::Vp9Selector;

/// The highest layers to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
}

impl Limits {
    /// Everything.
    pub(super) const NONE: Limits = Limits { spatial: u8::MAX, temporal: u8::MAX };
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is sent.
    Pass {
        /// It is the last one of its picture that is.
        closes_picture: bool,
        /// The decode targets that are sent, where the receiver must be told.
        active_targets: Option<u32>,
    },
    /// It is not.
    LeaveOut {
        /// First packet of a picture none of which is sent.
        skips_picture: bool,
    },
}

impl Verdict {
    const PASS: Verdict = Verdict::Pass { closes_picture: false, active_targets: None };
}

/// Selects by what the stream shows of its layers.
#[derive(Debug)]
pub(super) enum Selector {
    /// No layers are visible: everything passes.
    Whole,
    /// VP8 with temporal layers.
    Temporal(TemporalSelector),
    /// VP9 with its own descriptor.
    Vp9(Box<Vp9Selector>),
    /// Any codec with the dependency descriptor.
    Dependency(Box<DependencySelector>),
}

impl Selector {
    /// Selects from a stream that is joined at this packet of a key frame.
    pub(super) fn joining(packet: &Packet, limits: Limits) -> Self {
        match (&packet.dependency, &packet.descriptor, packet.picture) {
            (Some(dependency), _, _) => Selector::Dependency(Box::new(DependencySelector::new(dependency, limits))),
            (None, Descriptor::Vp8(vp8), Some(_)) if vp8.temporal_id.is_some() => {
                Selector::Temporal(TemporalSelector::new(limits.temporal))
            }
            (None, Descriptor::Vp9(_), Some(_)) => Selector::Vp9(Box::new(Vp9Selector::new(limits))),
            _ => Selector::Whole,
        }
    }

    /// What to send from the next possible point on.
    pub(super) fn aim(&mut self, limits: Limits) {
        match self {
            Selector::Whole => {}
            Selector::Temporal(selector) => selector.aim(limits.temporal),
            Selector::Vp9(selector) => selector.aim(limits),
            Selector::Dependency(selector) => selector.aim(limits),
        }
    }

    /// Decides about a packet, in the order of arrival.
    pub(super) fn decide(&mut self, packet: &Packet) -> Verdict {
        match (self, &packet.descriptor, packet.picture) {
            (Selector::Temporal(selector), Descriptor::Vp8(vp8), Some(picture)) => {
                selector.decide(picture, vp8, packet.starts_keyframe)
            }
            (Selector::Vp9(selector), Descriptor::Vp9(vp9), Some(picture)) => selector.decide(picture, vp9),
            (Selector::Dependency(selector), _, _) => selector.decide(packet),
            _ => Verdict::PASS,
        }
    }

    /// What is to be sent can begin at a key frame only.
    pub(super) fn awaits_keyframe(&self) -> bool {
        match self {
            Selector::Whole | Selector::Temporal(_) => false,
            Selector::Vp9(selector) => selector.awaits_keyframe(),
            Selector::Dependency(selector) => selector.awaits_keyframe(),
        }
    }

    /// The highest layers that are sent now.
    pub(super) fn sending(&self) -> Limits {
        match self {
            Selector::Whole => Limits::NONE,
            Selector::Temporal(selector) => Limits { temporal: selector.sending(), ..Limits::NONE },
            Selector::Vp9(selector) => selector.sending(),
            Selector::Dependency(selector) => selector.sending(),
        }
    }
}

#[cfg(test)]
mod tests;
