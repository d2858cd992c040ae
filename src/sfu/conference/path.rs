//! Direct media between two members: when a room switches between that and the server, make-before-break.
//!
//! The server says which path to build (`path`, with an epoch), relays what the two say about it (`signal`), and takes
//! the switch as done when everybody concerned has said `pathReady`. The path over the server stays up throughout. Two
//! whose direct path failed try again when one of them restarts ICE, which pages do in another network, and seldom
//! without: the network in between may have changed.

use std::time::{Duration, Instant};

use crate::sfu::command::Role;
use crate::sfu::link::Act;
use crate::sfu::room::Room;
use crate::sfu::signal::{ErrorCode, Event, Failure, MediaPath, PathReady, Response, RoomMode, Signal};
use crate::sfu::{ParticipantKey, RoomKey, Sfu, sid};

use super::enter::check_length;
use super::media::gone;
use super::requests::DONE;

/// How long two whose direct path failed stay on the server at least, doubled with each failure up to the second. More:
/// a direct path that can be had is found later; less: a network that breaks it again and again is felt more often.
const RETRY: Duration = Duration::from_secs(10);
const RETRY_LATEST: Duration = Duration::from_secs(320);

/// How many times as long, when neither of them has another network. More: a break in between is felt for longer; less:
/// two who can never reach each other try more often, each time for some seconds beside the path they have.
const UNCHANGED: u32 = 12;

/// A direct path that stood for so long was a good one: should it break, waiting begins anew. More: who loses one now
/// and then stays on the server for longer each time; less: a network that breaks it again and again is felt.
const PROVEN: Duration = Duration::from_secs(300);

/// Bytes of what one says to the other: an offer fits. Larger: longer offers; smaller: less to keep for a slow reader.
const MAX_SIGNAL: usize = 32_768;

/// Where a room's media goes, and where it is on its way to.
#[derive(Debug, Default)]
pub(in crate::sfu) struct Path {
    /// The two of a direct path that stands.
    direct: Option<[ParticipantKey; 2]>,
    /// Since when it stands.
    direct_since: Option<Instant>,
    epoch: u32,
    switch: Option<Switch>,
    failed: Option<Failed>,
}

/// Two who found no direct path, or lost it.
#[derive(Debug)]
struct Failed {
    pair: [ParticipantKey; 2],
    /// One after another.
    times: u32,
    retry_at: Instant,
    retry_unchanged_at: Instant,
    /// The network of one of them has changed since.
    changed: bool,
}

impl Failed {
    /// It may be tried again.
    fn is_due(&self, now: Instant) -> bool {
        now >= if self.changed { self.retry_at } else { self.retry_unchanged_at }
    }
}

/// A switch under way.
#[derive(Debug)]
struct Switch {
    to: MediaPath,
    pair: [ParticipantKey; 2],
    ready: [bool; 2],
}

impl Path {
    pub(super) fn current(&self) -> MediaPath {
        if self.direct.is_some() { MediaPath::P2p } else { MediaPath::Sfu }
    }

    /// The two have a direct path, or are on their way to or from one.
    fn joins(&self, one: ParticipantKey, other: ParticipantKey) -> bool {
        let pair = self.switch.as_ref().map(|switch| switch.pair).or(self.direct);
        pair.is_some_and(|pair| pair == [one, other] || pair == [other, one])
    }

    /// The pair that should have a direct path and does not, or the one that has and should not.
    fn next(&self, now: Instant, wanted: Option<[ParticipantKey; 2]>) -> Option<(MediaPath, [ParticipantKey; 2])> {
        let heading = match &self.switch {
            Some(switch) if switch.to == MediaPath::P2p => Some(switch.pair),
            Some(_) => None,
            None => self.direct,
        };
        match (heading, wanted) {
            (None, Some(pair)) => self.may_try(now, pair).then_some((MediaPath::P2p, pair)),
            (Some(pair), wanted) if wanted != Some(pair) => Some((MediaPath::Sfu, pair)),
            _ => None,
        }
    }

    fn may_try(&self, now: Instant, pair: [ParticipantKey; 2]) -> bool {
        let known = self.failed.as_ref().filter(|failed| failed.pair == pair);
        known.is_none_or(|failed| failed.is_due(now))
    }

    fn fail(&mut self, now: Instant, pair: [ParticipantKey; 2]) {
        let before = self.failed.as_ref().filter(|failed| failed.pair == pair).map_or(0, |failed| failed.times);
        let wait = RETRY.saturating_mul(1 << before.min(16)).min(RETRY_LATEST);
        let (retry_at, retry_unchanged_at) = (now + wait, now + wait * UNCHANGED);
        self.failed = Some(Failed { pair, times: before + 1, retry_at, retry_unchanged_at, changed: false });
    }

    /// The direct path ends. If it stood for long, what failed before it does not count any more.
    fn end_direct(&mut self, now: Instant) {
        self.direct = None;
        if self.direct_since.take().is_some_and(|since| now.saturating_duration_since(since) >= PROVEN) {
            self.failed = None;
        }
    }

    /// A member has another network: what failed before may work there.
    pub(super) fn network_changed(&mut self, who: ParticipantKey) {
        if let Some(failed) = self.failed.as_mut().filter(|failed| failed.pair.contains(&who)) {
            failed.changed = true;
        }
    }

    /// A direct path may be tried again.
    fn is_due(&self, now: Instant) -> bool {
        self.failed.as_ref().is_some_and(|failed| failed.is_due(now))
    }

    fn start(&mut self, to: MediaPath, pair: [ParticipantKey; 2]) -> u32 {
        self.epoch = self.epoch.wrapping_add(1);
        if let Some(failed) = &mut self.failed {
            failed.changed = false;
        }
        self.switch = Some(Switch { to, pair, ready: [false; 2] });
        self.epoch
    }

    /// Somebody's media runs on a path. True when that completes the switch.
    fn ready(
        &mut self,
        now: Instant,
        who: ParticipantKey,
        said: PathReady,
        present: impl Fn(ParticipantKey) -> bool,
    ) -> bool {
        let broken = said.path == MediaPath::Sfu && said.epoch == self.epoch && self.switch.is_none();
        if broken && let Some(pair) = self.direct.filter(|pair| pair.contains(&who)) {
            // A direct path that stood has broken: both are back on the server.
            self.end_direct(now);
            self.fail(now, pair);
            return true;
        }
        let Some(switch) = self.switch.as_mut().filter(|_| said.epoch == self.epoch) else { return false };
        if said.path != switch.to {
            // The direct path cannot be had: everything stays on the server.
            if switch.to == MediaPath::P2p {
                let pair = switch.pair;
                self.fail(now, pair);
                self.direct = None;
                self.switch = None;
            }
            return false;
        }
        for (member, ready) in switch.pair.iter().zip(&mut switch.ready) {
            *ready |= *member == who || !present(*member);
        }
        let done = switch.ready == [true; 2];
        if done {
            let (to, pair) = (switch.to, switch.pair);
            self.switch = None;
            self.end_direct(now);
            if to == MediaPath::P2p {
                (self.direct, self.direct_since) = (Some(pair), Some(now));
            }
        }
        done
    }
}

impl Sfu {
    /// Looks whether a room's media should travel otherwise than it does, and starts the switch if so.
    pub(in crate::sfu) fn review_path(&mut self, now: Instant, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        let wanted = self.direct_pair(room);
        let Some(room) = self.rooms.get_mut(key) else { return };
        let Some((path, pair)) = room.conference.path.next(now, wanted) else { return };
        let epoch = room.conference.path.start(path, pair);
        let shard = self.settings.shard;
        for (member, other, offerer) in pairs(pair) {
            let direct = path == MediaPath::P2p;
            let peer = direct.then(|| sid::of_participant(shard, other));
            self.tell(member, Event::Path { path, epoch, peer, offerer: direct.then_some(offerer) });
        }
        self.finish_if_ready(now, key, None);
    }

    /// Tries a direct path again where that is due.
    pub(in crate::sfu) fn retry_path(&mut self, now: Instant, key: RoomKey) {
        if self.rooms.get(key).is_some_and(|room| room.conference.path.is_due(now)) {
            self.review_path(now, key);
        }
    }

    /// The two a direct path is wanted for: the only ones in the room, both members, and here. Between others the
    /// server has to stand: nobody else keeps who is hidden unseen, and to what each was granted.
    fn direct_pair(&self, room: &Room) -> Option<[ParticipantKey; 2]> {
        let together = room.is_home() && room.remotes().next().is_none();
        let wanted = together && matches!(room.conference.mode, RoomMode::Auto | RoomMode::P2p);
        let pair = <[ParticipantKey; 2]>::try_from(room.participants.as_slice()).ok().filter(|_| wanted)?;
        let may = |key: &ParticipantKey| {
            let participant = self.participants.get(*key).filter(|participant| participant.role == Role::Member);
            let granted = participant.map(super::describe::permissions);
            granted.is_some_and(|granted| granted.can_publish && granted.can_subscribe && !granted.hidden)
        };
        pair.iter().all(may).then_some(pair)
    }

    /// Only the two of a direct path have to do with each other's descriptions: nobody else can disturb them, or be
    /// troubled by who may send no messages.
    pub(super) fn on_signal(&mut self, key: ParticipantKey, asked: &Signal) -> Result<Response, Failure> {
        check_length("payload", asked.payload.to_string(), MAX_SIGNAL)?;
        let to = self.recipients(key, Some(std::slice::from_ref(&asked.to)))?;
        let room = self.participants.get(key).and_then(|participant| self.rooms.get(participant.room));
        let path = &room.ok_or_else(gone)?.conference.path;
        let Some(to) = to.here.into_iter().find(|to| path.joins(key, *to)) else {
            return Err(Failure::new(ErrorCode::Forbidden, "there is no direct connection with that member"));
        };
        let from = sid::of_participant(self.settings.shard, key);
        self.tell(to, Event::Signal { from, payload: asked.payload.clone() });
        DONE
    }

    pub(super) fn on_path_ready(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        said: PathReady,
    ) -> Result<Response, Failure> {
        let room = self.participants.get(key).map(|participant| participant.room).ok_or_else(gone)?;
        self.finish_if_ready(now, room, Some((key, said)));
        DONE
    }

    fn finish_if_ready(&mut self, now: Instant, key: RoomKey, said: Option<(ParticipantKey, PathReady)>) {
        let Some(room) = self.rooms.get_mut(key) else { return };
        let present = room.participants.clone();
        let path = &mut room.conference.path;
        // Whoever has left need not say so.
        let (who, said) = said.unwrap_or_else(|| {
            let to = path.switch.as_ref().map_or(MediaPath::Sfu, |switch| switch.to);
            (ParticipantKey::default(), PathReady { path: to, epoch: path.epoch })
        });
        if path.ready(now, who, said, |member| present.contains(&member)) {
            self.tell_updated_room(key);
            self.review_path(now, key);
        }
    }

    pub(super) fn tell_updated_room(&mut self, key: RoomKey) {
        let Some(room) = self.rooms.get(key) else { return };
        let room = self.describe_conference(key, room);
        self.tell_room(key, None, Event::RoomUpdated { room });
    }

    pub(super) fn on_set_mode(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        mode: RoomMode,
    ) -> Result<Response, Failure> {
        let participant = self.participants.get(key).ok_or_else(gone)?;
        let permissions = super::describe::permissions(participant);
        if !permissions.admin && !permissions.can_update_metadata {
            return Err(Failure::new(ErrorCode::Forbidden, "you may not change the room's mode"));
        }
        let room_key = participant.room;
        if self.rooms.get(room_key).is_some_and(|room| !room.is_home()) {
            self.act(room_key, &Act::SetMode(mode));
            return DONE;
        }
        self.set_mode(now, room_key, mode);
        DONE
    }

    /// Sets the mode of a room that is at home here.
    pub(in crate::sfu) fn set_mode(&mut self, now: Instant, room_key: RoomKey, mode: RoomMode) {
        let Some(room) = self.rooms.get_mut(room_key) else { return };
        if std::mem::replace(&mut room.conference.mode, mode) != mode {
            room.conference.path.failed = None;
            self.tell_updated_room(room_key);
            self.review_path(now, room_key);
        }
    }
}

fn pairs([a, b]: [ParticipantKey; 2]) -> [(ParticipantKey, ParticipantKey, bool); 2] {
    [(a, b, true), (b, a, false)]
}

#[cfg(test)]
mod tests {
    use slotmap::SlotMap;

    use super::*;

    fn keys() -> [ParticipantKey; 3] {
        let mut keys = SlotMap::<ParticipantKey, ()>::with_key();
        [(); 3].map(|()| keys.insert(()))
    }

    fn ready(path: MediaPath, epoch: u32) -> PathReady {
        PathReady { path, epoch }
    }

    #[test]
    fn a_switch_is_done_when_both_are_ready_for_its_epoch() {
        let now = Instant::now();
        let [a, b, _] = keys();
        let mut path = Path::default();
        assert_eq!(path.next(now, Some([a, b])), Some((MediaPath::P2p, [a, b])));
        let epoch = path.start(MediaPath::P2p, [a, b]);
        assert_eq!(path.next(now, Some([a, b])), None, "it is under way");
        assert!(!path.ready(now, a, ready(MediaPath::P2p, epoch), |_| true));
        assert!(!path.ready(now, b, ready(MediaPath::P2p, epoch + 1), |_| true), "another epoch");
        assert_eq!(path.current(), MediaPath::Sfu);
        assert!(path.ready(now, b, ready(MediaPath::P2p, epoch), |_| true));
        assert_eq!(path.current(), MediaPath::P2p);
    }

    #[test]
    fn a_third_member_sends_the_two_back_and_a_leaver_is_not_waited_for() {
        let now = Instant::now();
        let [a, b, _] = keys();
        let mut path = Path { direct: Some([a, b]), ..Path::default() };
        assert_eq!(path.next(now, None), Some((MediaPath::Sfu, [a, b])));
        let epoch = path.start(MediaPath::Sfu, [a, b]);
        assert_eq!(path.current(), MediaPath::P2p, "until the new path works");
        assert!(path.ready(now, a, ready(MediaPath::Sfu, epoch), |member| member != b));
        assert_eq!(path.current(), MediaPath::Sfu);
    }

    #[test]
    fn a_direct_path_that_breaks_is_given_up_by_either() {
        let now = Instant::now();
        let [a, b, c] = keys();
        let mut path = Path { direct: Some([a, b]), epoch: 3, ..Path::default() };
        assert!(!path.ready(now, c, ready(MediaPath::Sfu, 3), |_| true), "a stranger's word");
        assert!(!path.ready(now, b, ready(MediaPath::Sfu, 2), |_| true), "of another path");
        assert!(path.ready(now, b, ready(MediaPath::Sfu, 3), |_| true));
        assert_eq!((path.current(), path.next(now, Some([a, b]))), (MediaPath::Sfu, None));
    }

    #[test]
    fn a_pair_that_found_no_direct_path_tries_again_with_another_network_and_ever_later() {
        let [a, b, c] = keys();
        let (mut now, mut path) = (Instant::now(), Path::default());
        for wait in [10, 20, 40] {
            let epoch = path.start(MediaPath::P2p, [a, b]);
            assert!(!path.ready(now, a, ready(MediaPath::Sfu, epoch), |_| true));
            assert_eq!(path.next(now, Some([a, c])), Some((MediaPath::P2p, [a, c])));
            path.network_changed(c);
            let anyway = now + Duration::from_secs(12 * wait);
            assert_eq!(
                path.next(anyway - Duration::from_millis(1), Some([a, b])),
                None,
                "nothing has changed for them"
            );
            assert_eq!(path.next(anyway, Some([a, b])), Some((MediaPath::P2p, [a, b])));
            path.network_changed(b);
            let due = now + Duration::from_secs(wait);
            assert!(!path.is_due(due - Duration::from_millis(1)) && path.is_due(due));
            now = due;
            assert_eq!(path.next(now, Some([a, b])), Some((MediaPath::P2p, [a, b])));
        }
        let epoch = path.start(MediaPath::P2p, [a, b]);
        assert!(!path.ready(now, a, ready(MediaPath::P2p, epoch), |_| true));
        assert!(path.ready(now, b, ready(MediaPath::P2p, epoch), |_| true));
        assert_eq!(path.next(now, Some([a, b])), None, "it stands");
    }

    #[test]
    fn after_a_direct_path_that_stood_for_long_waiting_begins_anew() {
        let [a, b, _] = keys();
        for (stood, expected) in [(PROVEN / 2, 4 * RETRY), (PROVEN, RETRY)] {
            let (mut now, mut path) = (Instant::now(), Path::default());
            for _ in 0..2 {
                let epoch = path.start(MediaPath::P2p, [a, b]);
                assert!(!path.ready(now, a, ready(MediaPath::Sfu, epoch), |_| true), "it is not found");
                now += RETRY_LATEST;
            }
            let epoch = path.start(MediaPath::P2p, [a, b]);
            path.ready(now, a, ready(MediaPath::P2p, epoch), |_| true);
            assert!(path.ready(now, b, ready(MediaPath::P2p, epoch), |_| true), "it is found");
            now += stood;
            assert!(path.ready(now, a, ready(MediaPath::Sfu, epoch), |_| true), "it breaks");
            path.network_changed(a);
            let due = now + expected;
            assert!(!path.is_due(due - Duration::from_millis(1)) && path.is_due(due), "{stood:?}");
        }
    }
}
