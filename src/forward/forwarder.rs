//! What one subscription is sent: which layer, from where on, and under which numbers.

use std::time::{Duration, Instant};

use super::DropReason;
use super::clock::LayerClocks;
use super::rewriter::{Rewriter, Rewritten};
use super::selector::Limits;
use crate::rtp::{LayerIndex, MediaKind, Packet};

/// How far a key frame to switch to may lie behind what was sent already. Pictures shown later than they should be by
/// this much still pass as in step with the sound; larger puts them visibly behind it, smaller refuses layers that the
/// publisher sends one after the other.
const MAX_BEHIND: Duration = Duration::from_millis(75);

/// One instance of a publisher's track, or of an encoding of it. A publisher that restarts is a new source, and so is
/// an encoding that goes on under another SSRC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    track: u32,
    generation: u16,
}

impl Source {
    /// The source of a track's first packets. Tracks are numbered as they are published.
    pub const fn new(track: u32) -> Self {
        Source { track, generation: 0 }
    }

    /// The source of packets of a later [generation](Packet::generation).
    pub const fn of_generation(self, generation: u16) -> Self {
        Source { generation, ..self }
    }

    /// The number of its track.
    pub const fn track(self) -> u32 {
        self.track
    }
}

/// What to send of a track: one of its encodings, up to a spatial and a temporal layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Target {
    /// The track's instance.
    pub source: Source,
    /// The encoding.
    pub layer: LayerIndex,
    /// The highest spatial layer of it to send.
    pub spatial: u8,
    /// The highest temporal layer of it to send.
    pub temporal: u8,
}

impl Target {
    /// An encoding with all that is in it.
    pub const fn whole(source: Source, layer: LayerIndex) -> Self {
        Target { source, layer, spatial: u8::MAX, temporal: u8::MAX }
    }

    pub(super) fn limits(&self) -> Limits {
        Limits { spatial: self.spatial, temporal: self.temporal }
    }

    /// Where the packets of it come from.
    pub(super) fn origin(&self) -> Origin {
        Origin { source: self.source, layer: self.layer }
    }
}

/// An incoming stream: one encoding of one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) source: Source,
    pub(super) layer: LayerIndex,
}

impl Origin {
    /// What is known of the track's clocks tells how the two lie to each other.
    pub(super) fn shares_clocks(&self, other: &Origin) -> bool {
        self.source.track == other.source.track && (self.layer != other.layer || self.source == other.source)
    }
}

/// The crossing of one track and one subscriber.
#[derive(Debug)]
pub struct Forwarder {
    kind: MediaKind,
    /// What is sent now; `None` while paused or before the first key frame.
    current: Option<Origin>,
    /// What is sent now ends with its picture.
    ending: bool,
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
        Forwarder {
            kind,
            current: None,
            ending: false,
            pending: None,
            rewriter: Rewriter::new(kind, clock_rate, first_sequence),
        }
    }

    /// What to send from now on. Video changes at the target's next key frame and goes on with what it has until then,
    /// audio changes at the next packet; `None` stops at once. Asking for what is sent already cancels a switch.
    pub fn select(&mut self, target: Option<Target>) {
        self.ending = false;
        let Some(to) = target else {
            self.current = None;
            self.pending = None;
            return;
        };
        if self.current == Some(to.origin()) {
            self.rewriter.aim(to.limits());
            self.pending = None;
        } else if let Some(pending) = self.pending.as_mut().filter(|pending| pending.to.origin() == to.origin()) {
            pending.to = to;
        } else {
            self.pending = Some(Switch { to, refused_one: false });
        }
    }

    /// Sends nothing more once the picture that is being sent has ended.
    pub fn pause(&mut self) {
        self.ending = self.current.is_some();
        self.pending = None;
    }

    /// Something was sent, whatever became of it.
    pub fn has_begun(&self) -> bool {
        self.rewriter.has_begun()
    }

    /// What is being sent and goes on.
    pub fn current(&self) -> Option<Target> {
        self.serving().filter(|_| !self.ending)
    }

    /// What is being sent, maybe only to the end of the picture.
    pub fn serving(&self) -> Option<Target> {
        let Limits { spatial, temporal } = self.rewriter.sending();
        self.current.map(|Origin { source, layer }| Target { source, layer, spatial, temporal })
    }

    /// The layer whose key frame this subscription waits for.
    pub fn awaits_keyframe(&self) -> Option<LayerIndex> {
        if self.kind == MediaKind::Audio {
            return None;
        }
        let switches = self.pending.map(|pending| pending.to.layer);
        let resumes = || self.current.filter(|_| !self.ending && self.rewriter.awaits_keyframe());
        switches.or_else(|| resumes().map(|current| current.layer))
    }

    /// The target that waits for a key frame to be switched to. Packets from the past may begin it, too.
    pub fn pending(&self) -> Option<Target> {
        self.pending.map(|pending| pending.to)
    }

    /// The newest packet that was sent of a target's stream, if nothing else was sent since.
    pub fn shown(&self, target: Target) -> Option<u64> {
        self.rewriter.shown(target.origin())
    }

    /// Where a target's stream would go on, at or behind a packet, if nothing else was sent since: from there on it can
    /// be [replayed](Self::replay) without a key frame.
    pub fn goes_on_at(&self, target: Target, from: u64) -> Option<u64> {
        self.rewriter.goes_on_at(target.origin(), from)
    }

    /// A switch now does not cut a picture that is being sent. One that would is put off: the packets it could have
    /// begun with are to be [replayed](Self::replay) afterwards.
    pub fn is_between_pictures(&self, now: Instant) -> bool {
        self.current.is_none() || self.rewriter.is_between_pictures(now)
    }

    /// Decides about a received packet of the track `source` was made for. `clocks` are those of that track.
    pub fn forward(&mut self, source: Source, packet: &Packet, clocks: &LayerClocks) -> Result<Rewritten, DropReason> {
        self.decide(source, packet, clocks, None)
    }

    /// The same for a packet that came some time ago. `present` is the timestamp of the newest packet of its stream.
    pub fn replay(
        &mut self,
        source: Source,
        packet: &Packet,
        clocks: &LayerClocks,
        present: u64,
    ) -> Result<Rewritten, DropReason> {
        self.decide(source, packet, clocks, Some(present))
    }

    fn decide(
        &mut self,
        source: Source,
        packet: &Packet,
        clocks: &LayerClocks,
        present: Option<u64>,
    ) -> Result<Rewritten, DropReason> {
        let origin = Origin { source: source.of_generation(packet.generation), layer: packet.layer };
        if let Some(pending) = self.pending.filter(|pending| pending.to.origin() == origin) {
            let shown = self.shown(pending.to);
            // One that comes behind what was shown of its own stream, resent or overtaken, would show that again.
            let is_past = shown.is_some_and(|shown| packet.sequence <= shown);
            let goes_on = shown.is_some_and(|shown| packet.sequence == shown + 1) && !self.can_start_at(packet);
            if let Some(present) = present.filter(|_| is_past || goes_on) {
                self.rewriter.resume(pending.to.limits(), present);
                (self.current, self.pending) = (Some(origin), None);
                return self.rewriter.place(packet);
            }
            if self.can_start_at(packet) && !is_past {
                if present.is_none() && !self.is_between_pictures(packet.arrived) {
                    return Err(DropReason::OpenPicture);
                }
                return self.switch(pending, packet, clocks, present);
            }
            return Err(DropReason::AwaitingKeyframe);
        }
        if self.ending && self.current == Some(origin) && self.rewriter.begins_picture(packet) {
            (self.current, self.ending) = (None, false);
        }
        if self.current == Some(origin) {
            self.rewriter.place(packet)
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

    fn switch(
        &mut self,
        pending: Switch,
        packet: &Packet,
        clocks: &LayerClocks,
        present: Option<u64>,
    ) -> Result<Rewritten, DropReason> {
        let splice = self.rewriter.splice(pending.to.origin(), packet, clocks);
        if splice.behind > MAX_BEHIND && !pending.refused_one && present.is_none() {
            self.pending = Some(Switch { refused_one: true, ..pending });
            return Err(DropReason::LateKeyframe);
        }
        self.rewriter.begin(pending.to, packet, splice, present);
        self.current = Some(pending.to.origin());
        self.pending = None;
        let mut rewritten = self.rewriter.place(packet)?;
        // RFC 3551 section 4.1: the marker of an audio packet lets the receiver adapt its buffer to the new source.
        rewritten.marker |= self.kind == MediaKind::Audio;
        Ok(rewritten)
    }
}

#[cfg(test)]
mod tests;
