//! What one subscription is sent: which layer, from where on, and under which numbers.

use std::time::Duration;

use super::DropReason;
use super::clock::LayerClocks;
use super::rewriter::{Rewriter, Rewritten};
use crate::rtp::{LayerIndex, MediaKind, Packet};

/// How far a key frame to switch to may lie behind what was sent already. Pictures shown later than they should be by
/// this much still pass as in step with the sound; larger puts them visibly behind it, smaller refuses layers that the
/// publisher sends one after the other.
const MAX_BEHIND: Duration = Duration::from_millis(75);

/// One instance of a publisher's track. A publisher that restarts is a new source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source(pub u32);

/// A layer of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The track's instance.
    pub source: Source,
    /// The layer of it.
    pub layer: LayerIndex,
}

/// The crossing of one track and one subscriber.
#[derive(Debug)]
pub struct Forwarder {
    kind: MediaKind,
    /// What is sent now; `None` while paused or before the first key frame.
    current: Option<Target>,
    pending: Option<Switch>,
    rewriter: Rewriter,
}

/// A switch that waits for a packet to begin with.
#[derive(Debug, Clone, Copy)]
struct Switch {
    to: Target,
    /// A key frame too far behind was passed over; the next is taken as it comes.
    refused_one: bool,
}

impl Forwarder {
    /// An idle forwarder. `first_sequence` is the first packet's number (random, 15 bits, so that a receiver sees no
    /// wrap at once); `clock_rate` in Hz.
    pub fn new(kind: MediaKind, clock_rate: u32, first_sequence: u16) -> Self {
        Forwarder { kind, current: None, pending: None, rewriter: Rewriter::new(kind, clock_rate, first_sequence) }
    }

    /// What to send from now on. Video changes at the target's next key frame and goes on with what it has until then,
    /// audio changes at the next packet; `None` pauses at once. Asking for what is sent already cancels a switch.
    pub fn select(&mut self, target: Option<Target>) {
        let Some(to) = target else {
            self.current = None;
            self.pending = None;
            return;
        };
        if self.current == Some(to) {
            self.pending = None;
        } else if self.pending.is_none_or(|pending| pending.to != to) {
            self.pending = Some(Switch { to, refused_one: false });
        }
    }

    /// What is being sent.
    pub fn current(&self) -> Option<Target> {
        self.current
    }

    /// The layer whose key frame this subscription waits for.
    pub fn awaits_keyframe(&self) -> Option<Target> {
        match self.kind {
            MediaKind::Audio => None,
            MediaKind::Video => self.pending.map(|pending| pending.to),
        }
    }

    /// Decides about a received packet of `source`. `clocks` are those of that source's track.
    pub fn forward(&mut self, source: Source, packet: &Packet, clocks: &LayerClocks) -> Result<Rewritten, DropReason> {
        let origin = Target { source, layer: packet.layer };
        if let Some(pending) = self.pending
            && pending.to == origin
            && self.can_start_at(packet)
        {
            return self.switch(pending, packet, clocks);
        }
        if self.current == Some(origin) {
            self.rewriter.place(packet)
        } else if self.pending.is_some_and(|pending| pending.to == origin) {
            Err(DropReason::AwaitingKeyframe)
        } else if self.current.is_some() {
            self.rewriter.fill_hole(origin, packet)
        } else {
            Err(DropReason::NotSelected)
        }
    }

    fn can_start_at(&self, packet: &Packet) -> bool {
        match self.kind {
            MediaKind::Audio => !packet.payload.is_empty(),
            MediaKind::Video => packet.starts_keyframe,
        }
    }

    fn switch(&mut self, pending: Switch, packet: &Packet, clocks: &LayerClocks) -> Result<Rewritten, DropReason> {
        let splice = self.rewriter.splice(pending.to, packet, clocks);
        if splice.behind > MAX_BEHIND && !pending.refused_one {
            self.pending = Some(Switch { refused_one: true, ..pending });
            return Err(DropReason::LateKeyframe);
        }
        self.rewriter.begin(pending.to, packet, splice);
        self.current = Some(pending.to);
        self.pending = None;
        let mut rewritten = self.rewriter.place(packet)?;
        // RFC 3551 section 4.1: the marker of an audio packet lets the receiver adapt its buffer to the new source.
        rewritten.marker |= self.kind == MediaKind::Audio;
        Ok(rewritten)
    }
}

#[cfg(test)]
mod tests;
