//! A published track: its layers as they arrive, and the subscriptions it is forwarded to.
//!
//! Which layers a subscription is sent: [`steer`](self::steer).

mod generations;
mod replay;
mod steer;
mod subscription;

use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;
use str0m::media::{Mid, Rid};
use str0m::rtp::RtpPacket;

use super::ParticipantKey;
use super::command::LayerReport;
use super::conference::Published;
use super::deadlines::Alarm;
use super::extensions;
use super::link::{Downlink, Publisher, Upstream};
use super::negotiate::NegotiatedMedia;
use super::participant::Slot;
use crate::forward::{
    DropReason, Forwarder, KeyframeRequester, LayerClocks, LayerMonitor, Lint, MAX_LAYERS, ReplayRing, Rewritten,
    Source, Urgency, Window, is_live, ranking,
};
use crate::rtp::allocation::StreamAllocation;
use crate::rtp::format::{Format, counterpart};
use crate::rtp::red::Repeater;
use crate::rtp::{
    Codec, LayerIndex, Layering, LayersAllocation, MediaKind, Packet, PlayoutDelay, Redundancy, Redundant, Resolutions,
    StreamReader, Timestamps, red,
};

use self::generations::Numbers;
pub(super) use subscription::{Assembles, Steering, Subscription};

pub(super) struct Track {
    pub(super) publisher: Publisher,
    /// Where it comes from, if it is published on another shard.
    pub(super) upstream: Option<Box<Upstream>>,
    /// Where it goes on other shards.
    pub(super) downlinks: Vec<Downlink>,
    pub(super) mid: Mid,
    /// The client's name of it.
    pub(super) original_mid: String,
    /// What its publisher says about it.
    pub(super) published: Published,
    /// Position of its m-line in the publisher's offer.
    pub(super) media_index: u8,
    pub(super) kind: MediaKind,
    /// Of each encoding's first packets; see [`sources`](Self::sources) for those that come now.
    pub(super) source: Source,
    pub(super) layers: ArrayVec<Layer, MAX_LAYERS>,
    /// Measurements of the layers, by the same index.
    pub(super) monitors: ArrayVec<LayerMonitor, MAX_LAYERS>,
    pub(super) clocks: LayerClocks,
    pub(super) subscriptions: Vec<Subscription>,
    /// Of its latest packets; `None` before the first.
    pub(super) codec: Option<Codec>,
    /// The codec by which it was decided who is shown it.
    pub(super) bound_by: Option<Codec>,
    pub(super) alarm: Alarm,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) loss: Option<f32>,
    /// What receivers are told instead of what its publisher tells them.
    pub(super) playout_delay: Option<PlayoutDelay>,
    formats: Vec<Format>,
    /// Lost packets are resent under their own SSRC (libdatachannel), which the engine has to be told.
    pub(super) nacks_without_rtx: bool,
    /// Its publisher can be told what to send at most.
    pub(super) takes_remb: bool,
    chosen_at: Option<Instant>,
    /// The layers that flowed then.
    chosen_among: u8,
    /// What its packets told of temporal and spatial layers.
    layering: Layering,
    /// It has shown layers just now, for the first time.
    found_layers: bool,
    pub(super) lint: Lint,
    /// Repeats frames of sound for those who lose much; absent while there are none.
    repeater: Option<Box<Repeater>>,
    /// Share of a layer's bytes that key frames made on request may take.
    keyframe_share: f64,
}

/// One encoding of a track.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) rid: Option<Rid>,
    /// Of the packets that come now.
    generation: u16,
    numbers: Numbers,
    pub(super) keyframes: KeyframeRequester,
    ring: ReplayRing,
    reader: StreamReader,
    timestamps: Timestamps,
    /// Its place in the sender's declaration of layers.
    declared_as: Option<usize>,
    /// The format of its packets, and the number of the first one in it.
    format: Option<(u8, u64)>,
}

impl Track {
    pub(super) fn new(publisher: Publisher, source: Source, line: &NegotiatedMedia, keyframe_share: f64) -> Self {
        let rids: Vec<_> = line.rids.iter().map(|rid| Some(rid.as_str().into())).collect();
        let rids = if rids.is_empty() { vec![None] } else { rids };
        Self {
            mid: line.mid,
            original_mid: line.original_mid.clone(),
            media_index: line.index,
            nacks_without_rtx: line.nacks_without_rtx,
            takes_remb: line.takes_remb,
            ..Self::mirrored(publisher, source, line.kind, &rids, line.formats.clone(), keyframe_share)
        }
    }

    /// A track like one of another shard, which has no m-line here.
    pub(super) fn mirrored(
        publisher: Publisher,
        source: Source,
        kind: MediaKind,
        rids: &[Option<Rid>],
        formats: Vec<Format>,
        keyframe_share: f64,
    ) -> Self {
        let layers: ArrayVec<_, MAX_LAYERS> = rids.iter().take(MAX_LAYERS).map(|rid| Layer::new(*rid)).collect();
        Self {
            publisher,
            upstream: None,
            downlinks: Vec::new(),
            mid: Mid::default(),
            original_mid: String::new(),
            published: Published::default(),
            media_index: 0,
            kind,
            source,
            monitors: layers.iter().map(|_| LayerMonitor::default()).collect(),
            layers,
            clocks: LayerClocks::default(),
            subscriptions: Vec::new(),
            codec: None,
            bound_by: None,
            alarm: Alarm::default(),
            packets: 0,
            bytes: 0,
            loss: None,
            playout_delay: None,
            formats,
            nacks_without_rtx: false,
            takes_remb: false,
            chosen_at: None,
            chosen_among: 0,
            layering: Layering::default(),
            found_layers: false,
            lint: Lint::default(),
            repeater: None,
            keyframe_share,
        }
    }

    /// What it takes to send all of it, in bit/s: of sound, all there is.
    pub(super) fn bitrate(&self, now: Instant) -> u64 {
        self.monitors.iter().map(|monitor| monitor.bitrate(now, Window::Long)).sum()
    }

    /// The layer an encoding's packets belong to. A track without rids has one layer.
    pub(super) fn layer_of(&self, rid: Option<Rid>) -> Option<LayerIndex> {
        let position = self.layers.iter().position(|layer| layer.rid == rid)?;
        u8::try_from(position).ok().map(LayerIndex)
    }

    /// Reads a packet of a layer once for all subscribers, and the picture sizes it tells. `None` when its payload type
    /// was not negotiated, or is the one its sender has left for another.
    pub(super) fn ingest(
        &mut self,
        now: Instant,
        captured: Instant,
        index: LayerIndex,
        received: RtpPacket,
    ) -> Option<(Arc<Packet>, Resolutions)> {
        let received_as = *received.header.payload_type;
        let carries = |format: &&Format| format.payload_type == received_as || format.red == Some(received_as);
        let format = self.formats.iter().find(carries)?;
        let (codec, profile, payload_type) = (format.codec, format.profile, format.payload_type);
        let clock_rate = format.clock_rate;
        let (payload, redundant) = unwrapped(received.payload, format.red == Some(received_as))?;
        let mut extensions = extensions::read(&received.header.ext_vals);
        extensions.playout_delay = self.playout_delay.or(extensions.playout_delay);
        self.follow_format(now, index, payload_type, *received.seq_no)?;
        let layer = self.layers.get_mut(usize::from(index.0))?;
        let descriptor = extensions.dependency_descriptor.as_deref();
        let reading = layer.reader.read(codec, payload, descriptor);
        let packet = Arc::new(Packet {
            layer: index,
            generation: layer.generation,
            payload_type,
            codec,
            sequence: layer.numbers.of(*received.seq_no),
            // The engine's own count leaps by half of the range after some pauses.
            timestamp: layer.timestamps.extend(now, received.header.timestamp, clock_rate),
            marker: received.header.marker,
            arrived: now,
            captured,
            redundant,
            payload: reading.payload,
            descriptor: reading.descriptor,
            picture: reading.picture,
            dependency: reading.dependency,
            starts_keyframe: reading.starts_keyframe,
            extensions,
        });
        self.account(&packet, &reading.resolutions);
        if self.kind == MediaKind::Video {
            self.lint.packet(&packet, profile);
        }
        Some((packet, reading.resolutions))
    }

    /// Measures and keeps a packet that was read, here or on another shard.
    pub(super) fn account(&mut self, packet: &Arc<Packet>, resolutions: &Resolutions) {
        let index = usize::from(packet.layer.0);
        if let Some(monitor) = self.monitors.get_mut(index) {
            monitor.received(packet, resolutions);
        }
        if self.kind == MediaKind::Video
            && let Some(layer) = self.layers.get_mut(index)
        {
            layer.keyframes.received(packet);
            layer.ring.push(packet);
            // What is in front of a new key frame nobody is shown any more.
            if packet.starts_keyframe {
                self.release_rings();
            }
            self.spare_ring(packet.arrived, index);
        }
        let layering = self.layering.max(packet.layering());
        self.found_layers |= layering == Layering::Layered && self.layering != layering;
        self.layering = layering;
        self.codec = Some(packet.codec);
        self.packets += 1;
        self.bytes += packet.payload.len() as u64;
    }

    /// What the sender declares in a packet of one of its layers, by which that layer's place in the declaration is
    /// known; those that were placed before learn of theirs, too.
    pub(super) fn declared(&mut self, from: LayerIndex, allocation: &LayersAllocation) {
        if let Some(layer) = self.layers.get_mut(usize::from(from.0)) {
            layer.declared_as = Some(allocation.current);
        }
        for (layer, monitor) in self.layers.iter().zip(&mut self.monitors) {
            let Some(place) = layer.declared_as else { continue };
            monitor.declared(allocation.streams.get(place).unwrap_or(&StreamAllocation::default()));
        }
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
                Some(Ok((payload_type, rewritten))) => {
                    deliver(subscription.subscriber, subscription.slot, payload_type, rewritten);
                }
                Some(Err(reason)) => drop(reason),
                None => {}
            }
        }
    }

    /// The packet as it is forwarded: of sound, with the frames before it where somebody loses much.
    pub(super) fn repeated(&mut self, packet: &Arc<Packet>) -> Arc<Packet> {
        let made = self.repeater.as_mut().filter(|_| packet.redundant.is_none()).and_then(|repeater| {
            repeater.wrap(packet.sequence, packet.timestamp, &packet.payload, packet.payload_type)
        });
        match made {
            None => Arc::clone(packet),
            Some(payload) => {
                let redundant = Some(Redundant { payload, origin: Redundancy::Made });
                Arc::new(Packet { redundant, ..Packet::clone(packet) })
            }
        }
    }

    /// A subscriber has reported what it lost of the track's sound.
    pub(super) fn sound_lost(&mut self, subscriber: ParticipantKey, slot: u8, share: f32) {
        let reporter = self.subscriptions.iter_mut().find(|s| s.subscriber == subscriber && s.slot == slot);
        let Some(reporter) = reporter else { return };
        if reporter.loses(share) {
            let wanted = self.subscriptions.iter().any(Subscription::wants_repetition);
            self.repeater = wanted.then(|| self.repeater.take().unwrap_or_default());
        }
    }

    /// Adds a subscription. It starts at the next key frame.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        (subscriber, slot, steering): (ParticipantKey, u8, Steering),
        forwarder: Forwarder,
        receiver: &Slot,
    ) {
        let mut subscription = Subscription::new(subscriber, slot, forwarder, receiver);
        subscription.steering = steering;
        let offers = self.offers(now, &subscription.wish, subscription.assembles);
        subscription.aim(&self.sources(), self.first_layer(&subscription.wish), &offers);
        self.subscriptions.push(subscription);
    }

    /// The publisher's formats.
    pub(super) fn formats(&self) -> &[Format] {
        &self.formats
    }

    /// Takes over the formats of a later offer, after which it is to be decided anew who is shown it. False when they
    /// are the same.
    pub(super) fn reformat(&mut self, formats: &[Format]) -> bool {
        if self.formats == formats {
            return false;
        }
        self.formats = formats.to_vec();
        // What its sender gave up says nothing about what comes.
        self.codec.take_if(|codec| formats.iter().all(|format| format.codec != *codec));
        self.bound_by = self.codec;
        true
    }

    /// True when a subscriber with these formats can be served: with what is sent, or before that with what may be.
    pub(super) fn serves(&self, formats: &[Format]) -> bool {
        self.serves_as(self.codec, formats)
    }

    /// The same, were this codec sent.
    pub(super) fn serves_as(&self, codec: Option<Codec>, formats: &[Format]) -> bool {
        let mut sent = self.formats.iter().filter(|format| codec.is_none_or(|codec| codec == format.codec));
        sent.any(|format| counterpart(format, formats).is_some())
    }

    /// Asks for the key frames that are waited for. `ask` sends the request. Returns when to look again.
    pub(super) fn request_keyframes(
        &mut self,
        now: Instant,
        mut ask: impl FnMut(Option<Rid>, Urgency),
    ) -> Option<Instant> {
        let mut again: Option<Instant> = None;
        for ((index, layer), monitor) in self.layers.iter_mut().enumerate().zip(&self.monitors) {
            let here = self.subscriptions.iter().filter(|subscription| {
                let forwarder = &subscription.forwarder;
                let is_replayed_soon =
                    || forwarder.pending().is_some_and(|target| layer.replay_from(now, forwarder, target).is_some());
                let waits = forwarder.awaits_keyframe().is_some_and(|layer| usize::from(layer.0) == index);
                waits && subscription.replay.is_none() && !is_replayed_soon()
            });
            let there = self.downlinks.iter().filter_map(|link| link.awaits(index));
            let Some(urgency) = here.map(|subscription| subscription.urgency).chain(there).max() else {
                layer.keyframes.nobody_waits();
                continue;
            };
            layer.keyframes.spend(self.keyframe_share, monitor.bitrate(now, Window::Long));
            if layer.keyframes.request(now, urgency) {
                self.lint.requested(now, LayerIndex(index as u8));
                ask(layer.rid, urgency);
            }
            again = [again, layer.keyframes.deadline()].into_iter().flatten().min();
        }
        again
    }

    /// A subscriber's decoder asked for a key frame.
    pub(super) fn keyframe_wanted(&mut self, now: Instant, by: ParticipantKey, slot: u8) -> Option<Option<Rid>> {
        let subscription = self.subscriptions.iter().find(|s| s.subscriber == by && s.slot == slot)?;
        let sent = subscription.forwarder.current().map(|target| target.layer);
        let wanted = subscription.forwarder.awaits_keyframe().or(sent)?;
        let (layer, monitor) = (self.layers.get_mut(usize::from(wanted.0))?, self.monitors.get(usize::from(wanted.0))?);
        layer.keyframes.spend(self.keyframe_share, monitor.bitrate(now, Window::Long));
        let ask = layer.keyframes.request(now, Urgency::Needed);
        if ask {
            self.lint.requested(now, wanted);
        }
        ask.then_some(layer.rid)
    }

    /// The layers for people, best first: encodings, and the spatial layers within them.
    pub(super) fn report(&self, now: Instant) -> Vec<LayerReport> {
        let mut reports = Vec::new();
        for layer in ranking(now, &self.monitors) {
            let Some(monitor) = self.monitors.get(usize::from(layer.0)) else { continue };
            let spatial = (0..=monitor.highest().0).rev();
            reports.extend(spatial.filter_map(|spatial| self.report_layer(now, layer, spatial)));
        }
        reports
    }

    /// One layer for people, up to a spatial layer of it.
    pub(super) fn report_layer(&self, now: Instant, layer: LayerIndex, spatial: u8) -> Option<LayerReport> {
        let index = usize::from(layer.0);
        let (known, monitor) = (self.layers.get(index)?, self.monitors.get(index)?);
        let (top, temporal) = monitor.highest();
        let spatial = spatial.min(top);
        let resolution = if spatial < top { monitor.resolution_of(spatial) } else { monitor.resolution() };
        let live = is_live(layer, &self.monitors);
        let bitrate = match spatial < top {
            true if live => monitor.cost(now, spatial, temporal),
            true => 0,
            false => monitor.bitrate(now, Window::Short),
        };
        Some(LayerReport {
            rid: known.rid.map(|rid| rid.to_string()),
            spatial: (top > 0).then_some(spatial),
            bitrate,
            width: resolution.map(|resolution| resolution.width),
            height: resolution.map(|resolution| resolution.height),
            live,
            wanted: self.published.encodings.told(index),
        })
    }
}

/// A payload without its redundancy, and with it. `None` when it cannot be read.
fn unwrapped(payload: Arc<[u8]>, is_redundant: bool) -> Option<(Arc<[u8]>, Option<Redundant>)> {
    if !is_redundant {
        return Some((payload, None));
    }
    let primary = red::primary(&payload)?.into();
    Some((primary, Some(Redundant { payload, origin: Redundancy::Sent })))
}

impl Layer {
    fn new(rid: Option<Rid>) -> Self {
        Self {
            rid,
            generation: 0,
            numbers: Numbers::default(),
            keyframes: KeyframeRequester::default(),
            ring: ReplayRing::default(),
            reader: StreamReader::default(),
            timestamps: Timestamps::default(),
            declared_as: None,
            format: None,
        }
    }
}
