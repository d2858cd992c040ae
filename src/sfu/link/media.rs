//! Media over a link: which tracks another half wants, and their packets on the way there.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrayvec::ArrayVec;

use super::message::{LinkMedia, LinkMessage};
use crate::forward::{LayerClocks, LayerMonitor, MAX_LAYERS, Urgency};
use crate::rtp::{Codec, LayerIndex, LayersAllocation, Packet, Resolutions};
use crate::sfu::command::LayerSelection;
use crate::sfu::outbox::Outbox;
use crate::sfu::track::{Layer, Track};
use crate::sfu::{RoomKey, Sfu, ShardIndex, TrackKey};

/// Least time between two messages that only tell how many watch. Larger: publishers' figures are older; smaller: more
/// messages while people come and go.
const COUNTED: Duration = Duration::from_secs(1);

/// A track at some half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sfu) struct Place {
    room: RoomKey,
    track: TrackKey,
}

/// What a half wants of a track of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sfu) enum Want {
    /// How loud it is.
    Levels,
    /// Its packets. Nobody there wishes a larger picture than `max_height`, if that is known.
    Packets { max_height: Option<u32> },
}

/// Where a track goes over a link.
#[derive(Debug)]
pub(in crate::sfu) struct Downlink {
    pub(in crate::sfu) shard: ShardIndex,
    pub(in crate::sfu) want: Want,
    /// How many are sent it there, and behind there.
    subscribers: u32,
    there: Place,
    /// Layers somebody there waits for a key frame of.
    awaits: ArrayVec<(LayerIndex, Urgency), MAX_LAYERS>,
}

/// Where a mirrored track comes from.
#[derive(Debug)]
pub(in crate::sfu) struct Upstream {
    pub(in crate::sfu) sid: String,
    /// The half it comes from.
    pub(super) via: ShardIndex,
    /// Its key there.
    pub(super) key: TrackKey,
    /// What that half was told that is wanted here.
    pub(super) told: Want,
    /// How many it was told are sent it here, and when that alone was told.
    told_subscribers: u32,
    counted: Option<Instant>,
    /// Its packets come.
    open: bool,
}

/// Something of a track on its way over a link.
#[derive(Debug)]
pub(super) enum Medium {
    Packet(Arc<Packet>, Resolutions),
    /// A packet's level, where nothing else of it is wanted.
    Level(u8),
    /// A sender report of a layer.
    Report(LayerIndex, SystemTime, u32),
    /// A layer fell silent.
    Paused(LayerIndex),
    /// Which encodings the publisher was told are wanted.
    Wanted(ArrayVec<bool, MAX_LAYERS>),
    /// What the publisher declares of its layers, in a packet of one of them.
    Declared(LayerIndex, Box<LayersAllocation>),
}

/// What is known of a track when its packets begin to cross: they are counted on from here.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    layers: ArrayVec<Layer, MAX_LAYERS>,
    monitors: ArrayVec<LayerMonitor, MAX_LAYERS>,
    clocks: LayerClocks,
    codec: Option<Codec>,
    packets: u64,
}

impl Want {
    fn is_packets(self) -> bool {
        matches!(self, Want::Packets { .. })
    }

    /// The picture height that suffices, if anything is wanted.
    fn cap(self) -> Option<Option<u32>> {
        match self {
            Want::Levels => None,
            Want::Packets { max_height } => Some(max_height),
        }
    }
}

impl Downlink {
    /// How urgently somebody there waits for a key frame of this layer, if anybody does.
    pub(in crate::sfu) fn awaits(&self, layer: usize) -> Option<Urgency> {
        let awaited = self.awaits.iter().find(|(awaited, _)| usize::from(awaited.0) == layer);
        awaited.map(|(_, urgency)| *urgency)
    }
}

impl Upstream {
    pub(super) fn new(sid: String, via: ShardIndex, key: TrackKey) -> Self {
        Self { sid, via, key, told: Want::Levels, told_subscribers: 0, counted: None, open: false }
    }

    /// Its packets come.
    pub(in crate::sfu) fn is_open(&self) -> bool {
        self.open
    }
}

impl Track {
    /// The caps of all who are sent the track, or would be if their connection carried it, those of other halves among
    /// them. Who chose an encoding wants none that is larger.
    pub(in crate::sfu) fn caps(&self) -> Vec<Option<u32>> {
        let cap = |wish: &LayerSelection| self.height_of_choice(wish).or(wish.max_height);
        let here = self.subscriptions.iter().filter(|s| !s.held).map(|subscription| cap(&subscription.wish));
        here.chain(self.downlinks.iter().filter_map(|link| link.want.cap())).collect()
    }

    /// How many it is sent to, those of other halves among them.
    pub(in crate::sfu) fn subscribers(&self) -> u32 {
        let here = u32::try_from(self.subscriptions.len()).unwrap_or(u32::MAX);
        self.downlinks.iter().fold(here, |sum, link| sum.saturating_add(link.subscribers))
    }

    /// The half it comes from is to be told anew how many are sent it.
    fn is_miscounted(&mut self, now: Instant) -> bool {
        let subscribers = self.subscribers();
        let Some(upstream) = &mut self.upstream else { return false };
        let due = upstream.counted.is_none_or(|at| now >= at + COUNTED);
        let is_miscounted = due && upstream.told_subscribers != subscribers;
        if is_miscounted {
            upstream.counted = Some(now);
        }
        is_miscounted
    }

    /// What is wanted of the track by everybody here, and behind here.
    fn want(&self) -> Want {
        let caps = self.caps();
        if caps.is_empty() {
            return Want::Levels;
        }
        let max_height = caps.iter().copied().collect::<Option<Vec<u32>>>().and_then(|caps| caps.into_iter().max());
        Want::Packets { max_height }
    }

    fn opening(&self) -> Opening {
        Opening {
            layers: self.layers.clone(),
            monitors: self.monitors.clone(),
            clocks: self.clocks.clone(),
            codec: self.codec,
            packets: self.packets,
        }
    }

    fn adopt(&mut self, opening: &Opening) {
        let Opening { layers, monitors, clocks, codec, packets } = opening.clone();
        (self.layers, self.monitors, self.clocks) = (layers, monitors, clocks);
        (self.codec, self.packets) = (codec, packets);
        if let Some(upstream) = &mut self.upstream {
            upstream.open = true;
        }
    }

    /// Sends a packet over the links that want it.
    pub(in crate::sfu) fn cross(
        &mut self,
        packet: &Arc<Packet>,
        resolutions: &Resolutions,
        outbox: &mut Outbox,
    ) -> u64 {
        let mut crossed = 0;
        for link in &mut self.downlinks {
            let medium = match (link.want, &packet.extensions.audio_level) {
                (Want::Packets { .. }, _) => Medium::Packet(Arc::clone(packet), resolutions.clone()),
                (Want::Levels, Some(level)) => Medium::Level(level.minus_dbov),
                (Want::Levels, None) => continue,
            };
            crossed += u64::from(link.want.is_packets());
            if packet.starts_keyframe {
                link.awaits.retain(|(layer, _)| *layer != packet.layer);
            }
            outbox.cross_media(link.shard, LinkMedia { to: link.there, medium });
        }
        crossed
    }

    fn pass_on(&self, outbox: &mut Outbox, medium: impl Fn() -> Medium) {
        for link in self.downlinks.iter().filter(|link| link.want.is_packets()) {
            outbox.cross_media(link.shard, LinkMedia { to: link.there, medium: medium() });
        }
    }

    /// A sender report of one of the layers.
    pub(in crate::sfu) fn on_sender_report(&mut self, layer: LayerIndex, at: (SystemTime, u32), outbox: &mut Outbox) {
        self.clocks.sender_report(layer, at.0, at.1);
        self.pass_on(outbox, || Medium::Report(layer, at.0, at.1));
    }

    /// One of the layers was found silent.
    pub(in crate::sfu) fn on_paused(&mut self, layer: LayerIndex, outbox: &mut Outbox) {
        if let Some(monitor) = self.monitors.get_mut(usize::from(layer.0)) {
            monitor.paused();
        }
        self.pass_on(outbox, || Medium::Paused(layer));
    }

    /// The publisher was told which encodings are wanted.
    pub(in crate::sfu) fn on_told_encodings(&mut self, wanted: &[bool], outbox: &mut Outbox) {
        self.told_encodings(wanted);
        self.pass_on(outbox, || Medium::Wanted(wanted.iter().copied().take(MAX_LAYERS).collect()));
    }

    /// The publisher declares its layers.
    pub(in crate::sfu) fn on_declared(&mut self, from: LayerIndex, declared: &LayersAllocation, outbox: &mut Outbox) {
        self.declared(from, declared);
        self.pass_on(outbox, || Medium::Declared(from, Box::new(declared.clone())));
    }
}

impl Sfu {
    /// Media of mirrored tracks arrived.
    pub(in crate::sfu) fn on_link_media(&mut self, now: Instant, media: LinkMedia) {
        let LinkMedia { to: Place { room: room_key, track: key }, medium } = media;
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        let Some(track) = room.tracks.get_mut(key) else { return };
        match medium {
            Medium::Packet(packet, resolutions) if track.follows(&packet) => {
                track.account(&packet, &resolutions);
                let is_miscounted = track.is_miscounted(now);
                self.fan_out(now, room_key, key, &packet, &resolutions);
                if is_miscounted {
                    self.tell_want(room_key, key);
                }
            }
            Medium::Packet(..) => {}
            Medium::Level(level) => {
                for link in track.downlinks.iter().filter(|link| !link.want.is_packets()) {
                    let medium = Medium::Level(level);
                    self.outbox.cross_media(link.shard, LinkMedia { to: link.there, medium });
                }
                if room.conference.voices.heard(now, key, level) {
                    self.wake_conference(room_key, now);
                }
            }
            Medium::Report(layer, captured, timestamp) => {
                track.on_sender_report(layer, (captured, timestamp), &mut self.outbox);
            }
            Medium::Paused(layer) => track.on_paused(layer, &mut self.outbox),
            Medium::Wanted(wanted) => track.on_told_encodings(&wanted, &mut self.outbox),
            Medium::Declared(layer, declared) => track.on_declared(layer, &declared, &mut self.outbox),
        }
    }

    /// Tells the half a mirrored track comes from what is wanted of it here, if that has changed.
    pub(in crate::sfu) fn want_upstream(&mut self, room_key: RoomKey, key: TrackKey) {
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) else { return };
        let want = track.want();
        let Some(upstream) = track.upstream.as_mut().filter(|upstream| upstream.told != want) else { return };
        upstream.told = want;
        upstream.open &= want.is_packets();
        self.tell_want(room_key, key);
    }

    /// Tells the half a mirrored track comes from what is wanted of it here, by how many; of a voice, its levels at
    /// least.
    pub(super) fn tell_want(&mut self, room_key: RoomKey, key: TrackKey) {
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) else { return };
        let subscribers = track.subscribers();
        let Some(upstream) = &mut track.upstream else { return };
        upstream.told_subscribers = subscribers;
        let (via, track, want) = (upstream.via, upstream.key, upstream.told);
        let there = Place { room: room_key, track: key };
        self.say(room_key, via, LinkMessage::Want { track, there, want, subscribers });
    }

    pub(super) fn on_want(
        &mut self,
        now: Instant,
        room_key: RoomKey,
        shard: ShardIndex,
        key: TrackKey,
        (there, want, subscribers): (Place, Want, u32),
    ) {
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) else { return };
        let known = track.downlinks.iter().position(|link| link.shard == shard);
        let before = known.map(|index| track.downlinks.swap_remove(index));
        let opens = want.is_packets() && !before.as_ref().is_some_and(|before| before.want.is_packets());
        let awaits = before.filter(|_| want.is_packets()).map(|before| before.awaits).unwrap_or_default();
        track.downlinks.push(Downlink { shard, want, subscribers, there, awaits });
        // A track that does not come here either yet is passed on when it does.
        let flows = track.upstream.as_ref().is_none_or(|upstream| upstream.open);
        if opens && flows {
            let opening = Box::new(track.opening());
            self.say(room_key, shard, LinkMessage::Opening { to: there, opening });
        }
        self.want_encodings(now, room_key, key);
    }

    pub(super) fn on_opening(&mut self, now: Instant, to: Place, opening: &Opening) {
        let Place { room: room_key, track: key } = to;
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) else { return };
        track.adopt(opening);
        track.retarget(now);
        let (waiting, started) = (track.downlinks.iter().filter(|link| link.want.is_packets()), track.packets > 0);
        let waiting: Vec<_> = waiting.map(|link| (link.shard, link.there)).collect();
        for (shard, to) in waiting {
            self.say(room_key, shard, LinkMessage::Opening { to, opening: Box::new(opening.clone()) });
        }
        if started {
            self.on_track_started(now, room_key, key);
        }
    }

    /// Asks the half a mirrored track comes from for a key frame.
    pub(in crate::sfu) fn ask_upstream(&mut self, room: RoomKey, key: TrackKey, layer: LayerIndex, urgency: Urgency) {
        let Some(track) = self.rooms.get(room).and_then(|room| room.tracks.get(key)) else { return };
        let Some(upstream) = &track.upstream else { return };
        let (via, track) = (upstream.via, upstream.key);
        self.say(room, via, LinkMessage::Keyframe { track, layer, urgency });
    }

    pub(super) fn on_link_keyframe(
        &mut self,
        now: Instant,
        room_key: RoomKey,
        shard: ShardIndex,
        key: TrackKey,
        (layer, urgency): (LayerIndex, Urgency),
    ) {
        self.stats.keyframe_requests += 1;
        let Some(track) = self.rooms.get_mut(room_key).and_then(|room| room.tracks.get_mut(key)) else { return };
        let Some(link) = track.downlinks.iter_mut().find(|link| link.shard == shard) else { return };
        if link.want.is_packets() {
            link.awaits.retain(|(awaited, _)| *awaited != layer);
            let _ = link.awaits.try_push((layer, urgency));
        }
        self.request_keyframes(now, room_key, key);
    }
}
