//! A published track: its layers as they arrive, and the subscriptions it is forwarded to.

use std::time::{Duration, Instant, SystemTime};

use arrayvec::ArrayVec;
use str0m::media::{Mid, Rid};
use str0m::rtp::RtpPacket;

use super::ParticipantKey;
use super::command::{LayerReport, LayerSelection};
use super::deadlines::Alarm;
use super::extensions;
use super::negotiate::NegotiatedMedia;
use crate::forward::{
    DropReason, Forwarder, KeyframeRequester, LayerClocks, LayerMonitor, MAX_LAYERS, Rewritten, Source, Target, Window,
    best_live, is_live, ranking,
};
use crate::rtp::format::{Format, counterpart};
use crate::rtp::vp8::PictureIdExpander;
use crate::rtp::{self, Codec, LayerIndex, MediaKind, Packet};

/// How often the choice of the best layer is looked at again. Larger: a dead layer is left later; smaller: more work.
const CHOICE_INTERVAL: Duration = Duration::from_millis(100);

pub(super) struct Track {
    pub(super) participant: ParticipantKey,
    pub(super) mid: Mid,
    /// Position of its m-line in the publisher's offer.
    pub(super) media_index: u8,
    pub(super) kind: MediaKind,
    pub(super) source: Source,
    pub(super) layers: ArrayVec<Layer, MAX_LAYERS>,
    /// Measurements of the layers, by the same index.
    monitors: ArrayVec<LayerMonitor, MAX_LAYERS>,
    clocks: LayerClocks,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) codec: Option<Codec>,
    pub(super) alarm: Alarm,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) loss: Option<f32>,
    formats: Vec<Format>,
    /// Lost packets are resent under their own SSRC (libdatachannel), which the engine has to be told.
    pub(super) nacks_without_rtx: bool,
    best: LayerIndex,
    chosen_at: Option<Instant>,
}

/// One encoding of a track.
pub(super) struct Layer {
    pub(super) rid: Option<Rid>,
    pub(super) keyframes: KeyframeRequester,
    picture_ids: PictureIdExpander,
}

/// A track on its way into one slot of one subscriber.
pub(super) struct Subscription {
    pub(super) subscriber: ParticipantKey,
    pub(super) slot: u8,
    pub(super) forwarder: Forwarder,
    pub(super) wish: LayerSelection,
    /// The subscriber's formats for this slot.
    formats: Vec<Format>,
    /// Last payload type seen and what it becomes: it hardly ever changes.
    mapping: Option<(u8, Option<u8>)>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

impl Track {
    pub(super) fn new(participant: ParticipantKey, source: Source, line: &NegotiatedMedia) -> Self {
        let (mid, media_index, kind) = (line.mid, line.index, line.kind);
        let rids = line.rids.iter().map(|rid| rid.as_str().into());
        let mut layers: ArrayVec<_, MAX_LAYERS> = rids.take(MAX_LAYERS).map(|rid| Layer::new(Some(rid))).collect();
        if layers.is_empty() {
            layers.push(Layer::new(None));
        }
        Self {
            participant,
            mid,
            media_index,
            kind,
            source,
            monitors: layers.iter().map(|_| LayerMonitor::default()).collect(),
            layers,
            clocks: LayerClocks::default(),
            subscriptions: Vec::new(),
            codec: None,
            alarm: Alarm::default(),
            packets: 0,
            bytes: 0,
            loss: None,
            formats: line.formats.clone(),
            nacks_without_rtx: line.nacks_without_rtx,
            best: LayerIndex(0),
            chosen_at: None,
        }
    }

    /// The layer an encoding's packets belong to. A track without rids has one layer.
    pub(super) fn layer_of(&self, rid: Option<Rid>) -> Option<LayerIndex> {
        let position = self.layers.iter().position(|layer| layer.rid == rid)?;
        u8::try_from(position).ok().map(LayerIndex)
    }

    /// Reads a packet of a layer once for all subscribers. `None` when its payload type was not negotiated.
    pub(super) fn ingest(
        &mut self,
        now: Instant,
        captured: Instant,
        index: LayerIndex,
        received: RtpPacket,
    ) -> Option<Packet> {
        let payload_type = *received.header.payload_type;
        let codec = self.formats.iter().find(|format| format.payload_type == payload_type)?.codec;
        let layer = self.layers.get_mut(usize::from(index.0))?;
        let extensions = extensions::read(&received.header.ext_vals);
        let payload = match codec {
            Codec::Vp8 => layer.picture_ids.expand(&received.payload).unwrap_or(received.payload),
            _ => received.payload,
        };
        let inspected = rtp::inspect(codec, &payload, extensions.dependency_descriptor.as_deref());
        let packet = Packet {
            layer: index,
            payload_type,
            codec,
            sequence: *received.seq_no,
            timestamp: received.time.numer(),
            marker: received.header.marker,
            arrived: now,
            captured,
            payload,
            descriptor: inspected.descriptor,
            starts_keyframe: inspected.starts_keyframe,
            extensions,
        };
        if let Some(monitor) = self.monitors.get_mut(usize::from(index.0)) {
            monitor.received(&packet, inspected.resolution);
        }
        if packet.starts_keyframe {
            layer.keyframes.keyframe_arrived(now);
        }
        self.codec = Some(codec);
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        Some(packet)
    }

    /// Runs one packet past every subscription. `deliver` gets what is to be sent, `drop` why something is not.
    pub(super) fn forward(
        &mut self,
        packet: &Packet,
        mut deliver: impl FnMut(ParticipantKey, u8, u8, Rewritten),
        mut drop: impl FnMut(DropReason),
    ) {
        let (formats, clocks) = (&self.formats, &self.clocks);
        for subscription in &mut self.subscriptions {
            match subscription.forward(self.source, packet, formats, clocks) {
                Ok((payload_type, rewritten)) => {
                    deliver(subscription.subscriber, subscription.slot, payload_type, rewritten);
                }
                Err(reason) => drop(reason),
            }
        }
    }

    /// Chooses the best living layer again, at most every 100 ms, and points every subscription at the layer it should
    /// get then. True when the choice changed.
    pub(super) fn choose(&mut self, now: Instant) -> bool {
        if self.layers.len() < 2 || self.chosen_at.is_some_and(|at| now < at + CHOICE_INTERVAL) {
            return false;
        }
        self.chosen_at = Some(now);
        let best = best_live(now, &self.monitors).unwrap_or(self.best);
        let changed = std::mem::replace(&mut self.best, best) != best;
        if changed {
            self.retarget();
        }
        changed
    }

    /// Points every subscription at the layer it should get now.
    pub(super) fn retarget(&mut self) {
        let mut subscriptions = std::mem::take(&mut self.subscriptions);
        for subscription in &mut subscriptions {
            let layer = self.layer_for(&subscription.wish);
            subscription.forwarder.select(Some(Target { source: self.source, layer }));
        }
        self.subscriptions = subscriptions;
    }

    /// Adds a subscription. It starts at the next key frame.
    pub(super) fn subscribe(
        &mut self,
        subscriber: ParticipantKey,
        slot: u8,
        mut forwarder: Forwarder,
        formats: &[Format],
        wish: LayerSelection,
    ) {
        forwarder.select(Some(Target { source: self.source, layer: self.layer_for(&wish) }));
        let formats = formats.to_vec();
        self.subscriptions.push(Subscription {
            subscriber,
            slot,
            forwarder,
            wish,
            formats,
            mapping: None,
            packets: 0,
            bytes: 0,
        });
    }

    /// The publisher's formats.
    pub(super) fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// True when a subscriber with these formats can be served.
    pub(super) fn serves(&self, formats: &[Format]) -> bool {
        self.formats.iter().any(|format| counterpart(format, formats).is_some())
    }

    /// Asks for the key frames that are waited for. `ask` sends the request. Returns when to look again.
    pub(super) fn request_keyframes(&mut self, now: Instant, mut ask: impl FnMut(Option<Rid>)) -> Option<Instant> {
        let mut again: Option<Instant> = None;
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let waits = self.subscriptions.iter().any(|subscription| {
                subscription.forwarder.awaits_keyframe().is_some_and(|target| usize::from(target.layer.0) == index)
            });
            if !waits {
                layer.keyframes.nobody_waits();
                continue;
            }
            if layer.keyframes.request(now) {
                ask(layer.rid);
            }
            again = [again, layer.keyframes.deadline()].into_iter().flatten().min();
        }
        again
    }

    /// A subscriber's decoder asked for a key frame.
    pub(super) fn keyframe_wanted(&mut self, now: Instant, by: ParticipantKey, slot: u8) -> Option<Option<Rid>> {
        let subscription = self.subscriptions.iter().find(|s| s.subscriber == by && s.slot == slot)?;
        let wanted = subscription.forwarder.awaits_keyframe().or(subscription.forwarder.current())?;
        let layer = self.layers.get_mut(usize::from(wanted.layer.0))?;
        layer.keyframes.request(now).then_some(layer.rid)
    }

    /// A sender report of one of the layers.
    pub(super) fn sender_report(&mut self, rid: Option<Rid>, captured: SystemTime, timestamp: u32) {
        if let Some(layer) = self.layer_of(rid) {
            self.clocks.sender_report(layer, captured, timestamp);
        }
    }

    /// The engine found one of the layers silent.
    pub(super) fn paused(&mut self, rid: Option<Rid>) {
        let layer = self.layer_of(rid);
        if let Some(monitor) = layer.and_then(|layer| self.monitors.get_mut(usize::from(layer.0))) {
            monitor.paused();
        }
    }

    /// The layers for people, best first.
    pub(super) fn report(&self, now: Instant) -> Vec<LayerReport> {
        ranking(now, &self.monitors).into_iter().filter_map(|layer| self.report_layer(now, layer)).collect()
    }

    /// One layer for people.
    pub(super) fn report_layer(&self, now: Instant, layer: LayerIndex) -> Option<LayerReport> {
        let index = usize::from(layer.0);
        let (known, monitor) = (self.layers.get(index)?, self.monitors.get(index)?);
        let resolution = monitor.resolution();
        Some(LayerReport {
            rid: known.rid.map(|rid| rid.to_string()),
            bitrate: monitor.bitrate(now, Window::Short),
            width: resolution.map(|resolution| resolution.width),
            height: resolution.map(|resolution| resolution.height),
            live: is_live(layer, &self.monitors),
        })
    }

    /// The layer a wish leads to: the one named, else the best living one under the caps.
    fn layer_for(&self, wish: &LayerSelection) -> LayerIndex {
        if let Some(rid) = &wish.rid
            && let Some(index) = self.layer_of(Some(rid.as_str().into()))
        {
            return index;
        }
        let cap = wish.max_height.map(|height| u32::from(u16::MAX).min(height));
        let Some(cap) = cap else { return self.best };
        let under = self.monitors.iter().enumerate().filter_map(|(index, monitor)| {
            let height = u32::from(monitor.resolution()?.height);
            (height <= cap).then_some((height, index))
        });
        under.max().and_then(|(_, index)| u8::try_from(index).ok()).map_or(self.best, LayerIndex)
    }
}

impl Layer {
    fn new(rid: Option<Rid>) -> Self {
        Self { rid, keyframes: KeyframeRequester::default(), picture_ids: PictureIdExpander::default() }
    }
}

impl Subscription {
    fn forward(
        &mut self,
        source: Source,
        packet: &Packet,
        publisher: &[Format],
        clocks: &LayerClocks,
    ) -> Result<(u8, Rewritten), DropReason> {
        let payload_type = self.map(packet.payload_type, publisher).ok_or(DropReason::NoFormat)?;
        let rewritten = self.forwarder.forward(source, packet, clocks)?;
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
        Ok((payload_type, rewritten))
    }

    fn map(&mut self, payload_type: u8, publisher: &[Format]) -> Option<u8> {
        if let Some((from, to)) = self.mapping
            && from == payload_type
        {
            return to;
        }
        let format = publisher.iter().find(|format| format.payload_type == payload_type)?;
        let to = counterpart(format, &self.formats).map(|format| format.payload_type);
        self.mapping = Some((payload_type, to));
        to
    }
}
