//! Rooms over several shards: a link joins each half of a room to the half on the room's home shard.
//!
//! A half tells the other what it tells its own members ([`Sfu::tell_others`]), and keeps a [`mirror`](self::mirror) of
//! what it is told: people and tracks of elsewhere. Packets of mirrored tracks cross as in [`media`](self::media). Only
//! the home has several links; what comes over one goes out over the others. Not here: which half somebody is placed on
//! (`control`), queues between shards (`shard`).

mod act;
mod media;
mod message;
mod mirror;
mod tell;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slotmap::SlotMap;
use tracing::debug;

pub(super) use act::Act;
pub(super) use media::{Downlink, Upstream};
pub use message::{LinkMedia, LinkParcel};
pub(super) use mirror::{Remote, RemoteKey};
pub(super) use tell::Recipients;

use self::message::LinkMessage;
use super::command::Reply;
use super::outbox::Crossing;
use super::room::Room;
use super::signal::RoomInfo;
use super::{ParticipantKey, RoomKey, Sfu, ShardIndex, TrackKey, sid};

/// How long a half nobody is in is kept: somebody may be on the way to it. Larger: halves come and go less; smaller:
/// less is told in vain.
const LINGER: Duration = Duration::from_secs(2);

/// Who publishes a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Publisher {
    /// A participant of this shard.
    Here(ParticipantKey),
    /// Somebody on another shard.
    There(RemoteKey),
}

impl Publisher {
    /// The participant, if it is one of this shard.
    pub(super) fn here(self) -> Option<ParticipantKey> {
        match self {
            Publisher::Here(key) => Some(key),
            Publisher::There(_) => None,
        }
    }
}

/// What a room has for being spread over several shards.
pub(super) struct Spread {
    /// Where the room is at home; `None`: here.
    home: Option<ShardIndex>,
    /// The halves this one is linked with: the home, or at home all others. At most one for each shard.
    links: Vec<ShardIndex>,
    /// The home's description of the room.
    info: Option<RoomInfo>,
    /// People on other shards. Bounded by the limits of those.
    people: SlotMap<RemoteKey, Remote>,
    /// The same by their sids.
    sids: BTreeMap<String, RemoteKey>,
    /// Mirrored tracks by their sids.
    tracks: BTreeMap<String, TrackKey>,
    /// Since when nobody is in this half.
    empty_since: Instant,
}

impl Spread {
    fn new(home: Option<ShardIndex>, now: Instant) -> Self {
        Self {
            home,
            links: home.into_iter().collect(),
            info: None,
            people: SlotMap::with_key(),
            sids: BTreeMap::new(),
            tracks: BTreeMap::new(),
            empty_since: now,
        }
    }
}

impl Spread {
    /// People on other shards.
    pub(super) fn people(&self) -> impl Iterator<Item = &Remote> {
        self.people.values()
    }
}

impl Room {
    /// The room is at home on this shard.
    pub(super) fn is_home(&self) -> bool {
        self.spread.as_ref().is_none_or(|spread| spread.home.is_none())
    }

    /// Other shards have halves of it.
    pub(super) fn is_spread(&self) -> bool {
        self.spread.as_ref().is_some_and(|spread| !spread.links.is_empty())
    }

    fn links(&self) -> &[ShardIndex] {
        self.spread.as_ref().map(|spread| spread.links.as_slice()).unwrap_or_default()
    }

    /// People on other shards.
    pub(super) fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.spread.iter().flat_map(|spread| spread.people())
    }

    pub(super) fn remote(&self, key: RemoteKey) -> Option<&Remote> {
        self.spread.as_ref()?.people.get(key)
    }

    /// A sid is of somebody on another shard.
    pub(super) fn has_remote(&self, sid: &str) -> bool {
        self.remote_by_sid(sid).is_some()
    }

    fn remote_by_sid(&self, sid: &str) -> Option<(RemoteKey, &Remote)> {
        let spread = self.spread.as_ref()?;
        let key = *spread.sids.get(sid)?;
        Some((key, spread.people.get(key)?))
    }

    /// The home's description of the room, elsewhere.
    pub(super) fn home_info(&self) -> Option<&RoomInfo> {
        self.spread.as_ref()?.info.as_ref()
    }

    /// The track a sid names.
    pub(super) fn track_named(&self, shard: ShardIndex, named: &str) -> Option<TrackKey> {
        let own = sid::track(shard, named);
        own.or_else(|| self.spread.as_ref()?.tracks.get(named).copied())
    }

    /// A track's sid: a mirrored one has that of its own shard.
    pub(super) fn sid_of_track(&self, shard: ShardIndex, key: TrackKey) -> String {
        let upstream = self.tracks.get(key).and_then(|track| track.upstream.as_ref());
        upstream.map_or_else(|| sid::of_track(shard, key), |upstream| upstream.sid.clone())
    }

    /// The sid of who publishes something.
    pub(super) fn sid_of(&self, shard: ShardIndex, publisher: Publisher) -> String {
        match publisher {
            Publisher::Here(key) => sid::of_participant(shard, key),
            Publisher::There(key) => self.remote(key).map(|remote| remote.info.sid.clone()).unwrap_or_default(),
        }
    }

    fn publisher_named(&self, shard: ShardIndex, named: &str) -> Option<Publisher> {
        let here = sid::participant(shard, named).map(Publisher::Here);
        here.or_else(|| self.remote_by_sid(named).map(|(key, _)| Publisher::There(key)))
    }
}

impl Sfu {
    /// A command of control: somebody of this room, which is at home here, will be on another shard.
    pub(super) fn spill(&mut self, now: Instant, name: &Arc<str>, to: ShardIndex) -> Reply {
        let room = self.open_room(now, name);
        self.link_home(now, room, self.settings.shard);
        let linked = self.rooms.get(room).is_some_and(|room| room.links().contains(&to));
        if !linked && to != self.settings.shard && to.0 < self.settings.shards {
            self.link_with(now, room, to);
        }
        Reply::Done
    }

    /// Makes sure that a room somebody joins here is linked with its home.
    pub(super) fn link_home(&mut self, now: Instant, key: RoomKey, home: ShardIndex) {
        let home = (home != self.settings.shard).then_some(home);
        if self.move_home(now, key, home)
            && let Some(home) = home
        {
            self.say(key, home, LinkMessage::Hello);
        }
    }

    /// Makes another shard the home of a room. What is left here of a room of that name that everybody had left, and
    /// that was at home elsewhere, goes. True when this half knows nothing now.
    fn move_home(&mut self, now: Instant, key: RoomKey, home: Option<ShardIndex>) -> bool {
        let Some(room) = self.rooms.get(key) else { return false };
        if home == room.spread.as_ref().and_then(|spread| spread.home) {
            return false;
        }
        for link in room.links().to_vec() {
            self.say(key, link, LinkMessage::Bye);
            self.forget_half(now, key, link);
        }
        if let Some(room) = self.rooms.get_mut(key) {
            room.spread = home.map(|home| Box::new(Spread::new(Some(home), now)));
        }
        true
    }

    /// Opens a link of a room that is at home here: the other half is told everything.
    fn link_with(&mut self, now: Instant, key: RoomKey, to: ShardIndex) {
        self.forget_half(now, key, to);
        let Some(room) = self.rooms.get_mut(key) else { return };
        let spread = room.spread.get_or_insert_with(|| Box::new(Spread::new(None, now)));
        spread.links.push(to);
        debug!(room = %room.name, shard = to.0, "the room spreads to another shard");
        let state = self.room_state(now, key, to);
        self.say(key, to, LinkMessage::State(Box::new(state)));
    }

    /// A value from another half.
    pub(super) fn on_link(&mut self, now: Instant, parcel: LinkParcel) {
        let LinkParcel { from, room: name, message } = parcel;
        match message {
            LinkMessage::Hello => {
                let room = self.open_room(now, &name);
                if self.rooms.get(room).is_some_and(Room::is_home) {
                    self.link_with(now, room, from);
                }
            }
            LinkMessage::State(state) => {
                let room = self.open_room(now, &name);
                self.adopt(now, room, from, *state);
            }
            message => {
                let linked = |key: &RoomKey| self.rooms.get(*key).is_some_and(|room| room.links().contains(&from));
                // What was on the way to a half that has closed meanwhile concerns nobody any more.
                let Some(room) = self.room_names.get(&name).copied().filter(linked) else { return };
                self.on_link_message(now, room, from, message);
            }
        }
    }

    fn on_link_message(&mut self, now: Instant, room: RoomKey, from: ShardIndex, message: LinkMessage) {
        match message {
            LinkMessage::Hello | LinkMessage::State(_) => {}
            LinkMessage::Bye => {
                self.forget_half(now, room, from);
                self.close_room_if_empty(room);
            }
            LinkMessage::Told { message, beside } => self.on_told(now, room, from, &message, beside),
            LinkMessage::Deliver { to, message } => self.on_deliver(room, from, to, &message),
            LinkMessage::Data { to, message } => self.on_link_data(room, from, to, &message),
            LinkMessage::Act(act) => self.on_act(now, room, from, act),
            LinkMessage::Want { track, there, want, subscribers } => {
                self.on_want(now, room, from, track, (there, want, subscribers));
            }
            LinkMessage::Keyframe { track, layer, urgency } => {
                self.on_link_keyframe(now, room, from, track, (layer, urgency));
            }
            LinkMessage::Opening { to, opening } => self.on_opening(now, to, &opening),
        }
    }

    /// Forgets another half with all who are there, and tells everybody else.
    fn forget_half(&mut self, now: Instant, key: RoomKey, shard: ShardIndex) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(spread) = &mut room.spread else { return };
        spread.links.retain(|link| *link != shard);
        for track in room.tracks.values_mut() {
            track.downlinks.retain(|link| link.shard != shard);
        }
        let gone = room.remotes().filter(|remote| remote.via == shard).map(|remote| remote.info.sid.clone());
        let gone: Vec<String> = gone.collect();
        for sid in gone {
            self.lose_remote(now, key, &sid);
        }
    }

    /// Closes a half nobody has been in for a while. The home goes when it and all its links are empty.
    pub(super) fn close_half_if_idle(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some(spread) = &mut room.spread else { return };
        if !room.participants.is_empty() {
            spread.empty_since = now;
            return;
        }
        let Some(home) = spread.home.filter(|_| now.saturating_duration_since(spread.empty_since) >= LINGER) else {
            return;
        };
        self.say(key, home, LinkMessage::Bye);
        if let Some(room) = self.rooms.get_mut(key) {
            room.spread = None;
        }
        self.close_room_if_empty(key);
    }

    fn say(&mut self, room: RoomKey, to: ShardIndex, message: LinkMessage) {
        let Some(room) = self.rooms.get(room) else { return };
        let parcel = LinkParcel { from: self.settings.shard, room: Arc::clone(&room.name), message };
        self.outbox.crossings.push((to, Crossing::Link(parcel)));
    }
}
