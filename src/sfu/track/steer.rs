//! Which layers the subscriptions of a track are sent: the rungs there are, those a wish allows, who gets which.

use std::time::{Duration, Instant};

use super::{Assembles, Steering, Track};
use crate::forward::{Ladder, Rung, is_live, ladder, ladder_within};
use crate::rtp::{Codec, LayerIndex, Layering, MediaKind};
use crate::sfu::ParticipantKey;
use crate::sfu::command::{LayerReport, LayerSelection};

/// How often it is looked who should get what while no layer dies or comes back. Larger: who waits for a rung that has
/// become measured waits longer; smaller: more work.
const CHOICE_INTERVAL: Duration = Duration::from_millis(100);

/// Packets after which a stream that has shown no layers is taken to have none: the first packets may not tell.
/// Larger: more viewers who came early are served by the engine; smaller: layers that come late are missed.
const UNCLEAR_PACKETS: u64 = 64;

impl Track {
    /// All rungs, worst first. Empty for audio and before the first packet.
    pub(in crate::sfu) fn ladder(&self, now: Instant) -> Ladder {
        match self.kind {
            MediaKind::Audio => Ladder::new(),
            MediaKind::Video => ladder(now, &self.monitors),
        }
    }

    /// The rungs a viewer's wish and decoder allow, worst first. Caps below everything leave the smallest.
    pub(in crate::sfu) fn offers(&self, now: Instant, wish: &LayerSelection, assembles: Assembles) -> Ladder {
        if self.kind == MediaKind::Audio {
            return Ladder::new();
        }
        let (mut spatial, temporal) = (wish.spatial.unwrap_or(u8::MAX), wish.temporal.unwrap_or(u8::MAX));
        if self.is_beyond(assembles) {
            spatial = 0;
        }
        let mut rungs = ladder_within(now, &self.monitors, spatial, temporal);
        let named = wish.rid.as_ref().and_then(|rid| self.layer_of(Some(rid.as_str().into())));
        rungs.retain(|rung| named.is_none_or(|layer| rung.layer == layer));
        within(&mut rungs, |rung| is_at_most(rung.resolution.map(|size| size.height), wish.max_height));
        within(&mut rungs, |rung| is_at_most(rung.resolution.map(|size| size.width), wish.max_width));
        rungs
    }

    /// Its layers for people, but for those that a receiver cannot put together.
    pub(in crate::sfu) fn report_for(&self, now: Instant, assembles: Assembles) -> Vec<LayerReport> {
        let mut layers = self.report(now);
        if self.is_beyond(assembles) {
            layers.retain(|layer| layer.spatial.unwrap_or_default() == 0);
        }
        layers
    }

    /// A receiver must be spared all but the lowest spatial layer.
    fn is_beyond(&self, assembles: Assembles) -> bool {
        self.codec == Some(Codec::Av1) && assembles == Assembles::SingleFrames
    }

    /// Height of the encoding that a wish names, once known.
    pub(in crate::sfu) fn height_of_choice(&self, wish: &LayerSelection) -> Option<u32> {
        let layer = self.layer_of(Some(wish.rid.as_ref()?.as_str().into()))?;
        Some(self.monitors.get(usize::from(layer.0))?.resolution()?.height.into())
    }

    /// Its publisher was told which encodings are wanted. One that it stops for that need not prove itself when it
    /// comes back.
    pub(in crate::sfu) fn told_encodings(&mut self, wanted: &[bool]) {
        for (monitor, wanted) in self.monitors.iter_mut().zip(wanted) {
            if !wanted {
                monitor.excuse();
            }
        }
    }

    /// There is more than one rung, as far as is known.
    pub(in crate::sfu) fn is_layered(&self) -> bool {
        self.layers.len() > 1 || self.layering == Layering::Layered
    }

    /// Who watches it, if its packets have just shown that there is more than one rung.
    pub(in crate::sfu) fn take_found_layers(&mut self) -> Vec<ParticipantKey> {
        let found = std::mem::take(&mut self.found_layers);
        self.subscriptions.iter().filter(|_| found).map(|subscription| subscription.subscriber).collect()
    }

    /// There is more than one rung, or its packets do not rule out yet that there will be.
    pub(in crate::sfu) fn may_be_layered(&self, now: Instant) -> bool {
        let by_packets = match self.layering {
            Layering::Single => false,
            Layering::Unclear => self.packets < UNCLEAR_PACKETS,
            Layering::Layered => true,
        };
        by_packets || self.layers.len() > 1 || self.ladder(now).len() > 1
    }

    /// A rung for people: `layer h`, `360p`, `layer f at 15 fps`.
    pub(in crate::sfu) fn rung_name(&self, rung: &Rung) -> String {
        let rid = self.layers.get(usize::from(rung.layer.0)).and_then(|layer| layer.rid);
        let mut name = match (rid, rung.resolution) {
            (Some(rid), _) if rung.spatial == 0 => format!("layer {rid}"),
            (_, Some(size)) => format!("{}p", size.height),
            _ => format!("spatial layer {}", rung.spatial),
        };
        if rung.temporal > 0 {
            name.push_str(&format!(" at {:.0} fps", rung.frame_rate));
        }
        name
    }

    /// What a subscription is to be sent from now on.
    pub(in crate::sfu) fn steer(&mut self, now: Instant, subscriber: ParticipantKey, slot: u8, steering: Steering) {
        let wanted = |s: &&mut super::Subscription| s.subscriber == subscriber && s.slot == slot;
        let Some(subscription) = self.subscriptions.iter_mut().find(wanted) else { return };
        if std::mem::replace(&mut subscription.steering, steering) == steering {
            return;
        }
        let (wish, assembles) = (subscription.wish.clone(), subscription.assembles);
        let (offers, first, sources) = (self.offers(now, &wish, assembles), self.first_layer(&wish), self.sources());
        if let Some(subscription) = self.subscriptions.iter_mut().find(wanted) {
            subscription.aim(&sources, first, &offers);
        }
    }

    /// A subscription is not sent yet what it was steered to.
    pub(in crate::sfu) fn awaits(&self, subscriber: ParticipantKey, slot: u8) -> bool {
        let one = self.subscriptions.iter().find(|s| s.subscriber == subscriber && s.slot == slot);
        one.is_some_and(|subscription| subscription.forwarder.awaits_keyframe().is_some())
    }

    /// Stops a subscription in the middle of a picture: what is still on its way would only stand in front of the rest.
    pub(in crate::sfu) fn cut(&mut self, subscriber: ParticipantKey, slot: u8) {
        let cut = self.subscriptions.iter_mut().find(|s| s.subscriber == subscriber && s.slot == slot);
        if let Some(subscription) = cut {
            subscription.cut();
        }
    }

    /// Points every subscription at the rung it should get, every 100 ms and when a layer has fallen silent or come
    /// back. True when one waits for a key frame.
    pub(in crate::sfu) fn choose(&mut self, now: Instant) -> bool {
        if self.kind == MediaKind::Audio {
            return false;
        }
        let live = self.live_layers();
        if live == self.chosen_among && self.chosen_at.is_some_and(|at| now < at + CHOICE_INTERVAL) {
            return false;
        }
        (self.chosen_at, self.chosen_among) = (Some(now), live);
        self.retarget(now);
        let waits = |s: &super::Subscription| s.replay.is_none() && s.forwarder.awaits_keyframe().is_some();
        self.subscriptions.iter().any(waits)
    }

    /// Bit n: layer n flows.
    fn live_layers(&self) -> u8 {
        let layers = (0..).zip(&self.layers).map(|(index, _)| LayerIndex(index));
        layers.filter(|layer| is_live(*layer, &self.monitors)).fold(0, |live, layer| live | 1 << layer.0)
    }

    /// Points every subscription at the rung it should get now.
    pub(in crate::sfu) fn retarget(&mut self, now: Instant) {
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        let (all, sources) = (self.ladder(now), self.sources());
        for subscription in &mut subscriptions {
            let wish = &subscription.wish;
            let first = self.first_layer(wish);
            if *wish == LayerSelection::default() && !self.is_beyond(subscription.assembles) {
                subscription.aim(&sources, first, &all);
            } else {
                let offers = self.offers(now, wish, subscription.assembles);
                subscription.aim(&sources, first, &offers);
            }
        }
        self.subscriptions = subscriptions;
    }

    /// The layer to wait for while nothing was received: the one that is named, else any.
    pub(super) fn first_layer(&self, wish: &LayerSelection) -> LayerIndex {
        let named = wish.rid.as_ref().and_then(|rid| self.layer_of(Some(rid.as_str().into())));
        named.unwrap_or(LayerIndex(0))
    }
}

/// Keeps the rungs within a cap; if that would be none, the lowest.
fn within(rungs: &mut Ladder, cap: impl Fn(&Rung) -> bool) {
    let lowest = rungs.first().copied();
    rungs.retain(|rung| cap(rung));
    if rungs.is_empty() {
        rungs.extend(lowest);
    }
}

/// A size that is not known yet is not held against the cap.
fn is_at_most(size: Option<u16>, most: Option<u32>) -> bool {
    size.zip(most).is_none_or(|(size, most)| u32::from(size) <= most)
}
