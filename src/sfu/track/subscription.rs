//! A track on its way into one slot of one subscriber.

use super::generations::Sources;
use super::replay::Replay;
use crate::forward::{DropReason, Forwarder, Ladder, LayerClocks, Rewritten, Rung, Source, Target, Urgency};
use crate::rtp::format::{Format, counterpart};
use crate::rtp::{LayerIndex, Packet, Redundancy, Redundant};
use crate::sfu::ParticipantKey;
use crate::sfu::command::LayerSelection;
use crate::sfu::negotiate::NegotiatedMedia;
use crate::sfu::participant::Slot;

/// A subscription: the forwarder, what is wished of it and what it is given.
pub(in crate::sfu) struct Subscription {
    pub(in crate::sfu) subscriber: ParticipantKey,
    pub(in crate::sfu) slot: u8,
    pub(in crate::sfu) forwarder: Forwarder,
    pub(in crate::sfu) wish: LayerSelection,
    pub(in crate::sfu) assembles: Assembles,
    pub(in crate::sfu) steering: Steering,
    /// The subscriber wants nothing sent for now.
    pub(in crate::sfu) held: bool,
    /// What a key frame is waited for for.
    pub(super) urgency: Urgency,
    /// Packets of the past it is being sent.
    pub(super) replay: Option<Replay>,
    /// The subscriber's formats for this slot.
    formats: Vec<Format>,
    /// Last payload type seen and what it becomes: it hardly ever changes.
    mapping: Option<(u8, Option<Mapped>)>,
    /// It has lost much of the sound.
    lossy: bool,
    pub(in crate::sfu) packets: u64,
    pub(in crate::sfu) bytes: u64,
}

/// A publisher's format as the subscriber has it.
#[derive(Debug, Clone, Copy)]
struct Mapped {
    payload_type: u8,
    /// With frames repeated.
    red: Option<u8>,
}

/// Share of sound lost above which frames are repeated (RFC 2198), which takes up to three times the bitrate. Larger:
/// gaps that concealment does not hide; smaller: bitrate for gaps nobody hears.
const MUCH_LOSS: f32 = 0.05;

/// Share below which they no longer are. Loss is reported as it is on the line, repaired or not.
const LITTLE_LOSS: f32 = 0.02;

/// What pictures a receiver can put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sfu) enum Assembles {
    /// Pictures of one AV1 frame: without the dependency descriptor Chromium hands the spatial layers of a picture to
    /// its decoder one by one, which fails at the second.
    SingleFrames,
    /// Pictures of several spatial layers.
    Layers,
}

impl Assembles {
    /// What the client of this m-line does.
    pub(in crate::sfu) fn of(line: &NegotiatedMedia) -> Self {
        if line.describes_dependencies { Assembles::Layers } else { Assembles::SingleFrames }
    }
}

/// What a subscription is to be sent, of what its wish allows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(in crate::sfu) enum Steering {
    /// The best rung that lives.
    #[default]
    Best,
    /// This rung, or the best living one below it.
    Rung(Rung),
    /// The least that lives: nothing is known of it yet.
    Least,
    /// Nothing, once the picture that is being sent has ended.
    Paused,
}

impl Subscription {
    pub(super) fn new(subscriber: ParticipantKey, slot: u8, forwarder: Forwarder, receiver: &Slot) -> Self {
        Self {
            subscriber,
            slot,
            forwarder,
            wish: receiver.wish.clone(),
            assembles: receiver.assembles,
            steering: Steering::default(),
            held: false,
            urgency: Urgency::Wished,
            replay: None,
            formats: receiver.formats.clone(),
            mapping: None,
            lossy: false,
            packets: 0,
            bytes: 0,
        }
    }

    /// Takes over what the receiver takes now.
    pub(in crate::sfu) fn reformat(&mut self, receiver: &Slot) {
        self.assembles = receiver.assembles;
        self.formats.clone_from(&receiver.formats);
        self.mapping = None;
    }

    /// Points the forwarder at what it should send now. `offers` are the rungs its wish allows, worst first; while
    /// there are none, it waits for the `first` layer.
    pub(super) fn aim(&mut self, sources: &Sources, first: LayerIndex, offers: &Ladder) {
        let best = || offers.iter().rev().find(|rung| rung.live).or(offers.last());
        let rung = match self.steering {
            Steering::Paused => {
                self.urgency = Urgency::Wished;
                return self.forwarder.pause();
            }
            Steering::Best => best(),
            Steering::Least => offers.iter().find(|rung| rung.live).or(offers.first()),
            Steering::Rung(wanted) => best_within(offers, &wanted).or_else(best),
        };
        let whole = || Target::whole(sources.of(first), first);
        let target = rung.map_or_else(whole, |rung| rung.target(sources.of(rung.layer)));
        if let Some(sent) = self.forwarder.serving() {
            // Nothing more comes of an earlier generation.
            let flows = sent.source == sources.of(sent.layer);
            self.urgency = if flows { urgency(offers, &sent, rung) } else { Urgency::Needed };
        }
        self.forwarder.select(Some(target));
    }

    /// Stops in the middle of a picture, which stands still from now on.
    pub(super) fn cut(&mut self) {
        self.steering = Steering::Paused;
        self.urgency = Urgency::Needed;
        self.forwarder.select(None);
    }

    /// Nothing is sent, by somebody's decision.
    pub(in crate::sfu) fn is_paused(&self) -> bool {
        self.steering == Steering::Paused
    }

    /// Decides about a packet that just came. One that a replay under way will get to is left to it.
    pub(super) fn forward(
        &mut self,
        source: Source,
        packet: &Packet,
        publisher: &[Format],
        clocks: &LayerClocks,
    ) -> Option<Result<(u8, Rewritten), DropReason>> {
        if self.replay.is_some_and(|replay| replay.layer == packet.layer && replay.next <= packet.sequence) {
            return None;
        }
        Some(self.pass(packet, publisher, |forwarder| forwarder.forward(source, packet, clocks)))
    }

    /// Decides about a packet of a replay. `present` is the timestamp of the newest one of its stream.
    pub(super) fn replayed(
        &mut self,
        source: Source,
        packet: &Packet,
        publisher: &[Format],
        clocks: &LayerClocks,
        present: u64,
    ) -> Result<(u8, Rewritten), DropReason> {
        self.pass(packet, publisher, |forwarder| forwarder.replay(source, packet, clocks, present))
    }

    /// Notes the share of the sound that it lost. True when frames are to be repeated from now on, or no longer.
    pub(super) fn loses(&mut self, share: f32) -> bool {
        let lossy = share > if self.lossy { LITTLE_LOSS } else { MUCH_LOSS };
        std::mem::replace(&mut self.lossy, lossy) != lossy
    }

    /// Frames of the sound are to be repeated for it.
    pub(super) fn wants_repetition(&self) -> bool {
        self.lossy && self.formats.iter().any(|format| format.red.is_some())
    }

    /// It is sent this layer now.
    pub(super) fn shows(&self, layer: LayerIndex) -> bool {
        self.forwarder.serving().is_some_and(|target| target.layer == layer)
    }

    fn pass(
        &mut self,
        packet: &Packet,
        publisher: &[Format],
        decide: impl FnOnce(&mut Forwarder) -> Result<Rewritten, DropReason>,
    ) -> Result<(u8, Rewritten), DropReason> {
        let Mapped { payload_type, red } = self.map(packet.payload_type, publisher).ok_or(DropReason::NoFormat)?;
        let mut rewritten = decide(&mut self.forwarder)?;
        let repeats = |redundant: &Redundant| redundant.origin == Redundancy::Sent || self.lossy;
        let redundant = packet.redundant.as_ref().filter(|redundant| !rewritten.empty && repeats(redundant));
        let (sent_as, payload) = match red.zip(redundant) {
            Some((red, redundant)) => {
                rewritten.redundant = Some(payload_type);
                (red, &redundant.payload)
            }
            None => (payload_type, &packet.payload),
        };
        self.packets += 1;
        self.bytes += if rewritten.empty { 0 } else { payload.len() as u64 };
        Ok((sent_as, rewritten))
    }

    fn map(&mut self, payload_type: u8, publisher: &[Format]) -> Option<Mapped> {
        if let Some((from, to)) = self.mapping
            && from == payload_type
        {
            return to;
        }
        let format = publisher.iter().find(|format| format.payload_type == payload_type)?;
        let to = counterpart(format, &self.formats);
        let to = to.map(|format| Mapped { payload_type: format.payload_type, red: format.red });
        self.mapping = Some((payload_type, to));
        to
    }
}

/// What another rung is waited for for: the picture that is sent stands still when its layer has stopped, and soon does
/// on a link that it is too large for.
fn urgency(offers: &Ladder, sent: &Target, next: Option<&Rung>) -> Urgency {
    let is_sent = |rung: &Rung| rung.layer == sent.layer && rung.spatial <= sent.spatial;
    let is_next = |rung: &Rung| next.is_some_and(|next| (next.layer, next.spatial) == (rung.layer, rung.spatial));
    let Some(place) = offers.iter().rposition(is_sent) else { return Urgency::Wished };
    let is_stopped = offers.get(place).is_some_and(|rung| !rung.live);
    let is_worse = offers.iter().rposition(is_next).is_some_and(|next| next < place);
    if is_stopped || is_worse { Urgency::Needed } else { Urgency::Wished }
}

/// The rung that was asked for; when its layer has stopped, the best living one that is not above it.
fn best_within<'a>(offers: &'a Ladder, wanted: &Rung) -> Option<&'a Rung> {
    let same =
        |rung: &Rung| (rung.layer, rung.spatial, rung.temporal) == (wanted.layer, wanted.spatial, wanted.temporal);
    let position =
        offers.iter().rposition(same).or_else(|| offers.iter().rposition(|rung| rung.bitrate <= wanted.bitrate))?;
    offers.get(..=position)?.iter().rev().find(|rung| rung.live)
}
