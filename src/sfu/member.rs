//! What a participant has for being a member of a conference: who it says it is, its signalling link, its wishes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use str0m::channel::ChannelId;

use super::TrackKey;
use super::command::Link;
use super::outlet::Outlet;
use super::signal::{self, ErrorCode, Failure, Permissions};

/// Requests a member may send in the long run, per second. Larger: a busy client is never refused; smaller: a hostile
/// one costs its shard less.
const REQUESTS_PER_SECOND: f32 = 30.0;

/// Data channel messages a member may send in the long run, per second: pointers and the like. Larger: finer movement;
/// smaller: a hostile one costs less.
const DATA_PER_SECOND: f32 = 120.0;

/// Requests at once, after a quiet time. Larger: a burst after a reconnect is taken; smaller: a flood is seen sooner.
const REQUEST_BURST: f32 = 120.0;

/// Refused requests in excess of the rate after which the link is closed. Larger: more patience with a broken client;
/// smaller: a flood ends sooner.
const MAX_EXCESS: f32 = 300.0;

pub(super) struct Member {
    pub(super) name: String,
    pub(super) metadata: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) permissions: Permissions,
    /// Proves that who comes back is the same.
    pub(super) secret: String,
    pub(super) link: Link,
    /// The link is gone; the place is kept until then.
    pub(super) kept_until: Option<Instant>,
    /// Media was negotiated: the engine is of an offer, not an idle one.
    pub(super) negotiated: bool,
    /// Media came up once since it was negotiated and is lost.
    pub(super) media_lost: bool,
    /// The last `subscribe`; without one the server chooses.
    pub(super) wishes: Option<Wishes>,
    /// What it was told its slots carry; the first time by the answer to its join.
    pub(super) bindings_told: Option<Vec<signal::Binding>>,
    pub(super) ice_servers: Vec<signal::IceServer>,
    pub(super) budget: Budget,
    /// Of messages over the data channel.
    pub(super) data_budget: Budget,
    /// Its open data channel for messages that need not be complete.
    pub(super) channel: Option<ChannelId>,
    /// Reliable messages on their way to it, since it first had a channel for those.
    pub(super) outlet: Option<Box<Outlet>>,
    /// Events it was told, over all its links, counted from the milliseconds since 1970 when it came: higher than any
    /// that it was told in a session of the past.
    pub(super) told: u64,
    pub(super) quality: super::quality::Quality,
}

/// A wish that was understood.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    pub(super) track: TrackKey,
    pub(super) height: u32,
    pub(super) fps: Option<u32>,
    pub(super) priority: u8,
    pub(super) pinned: bool,
    pub(super) paused: bool,
}

/// What a member wishes, of each track at most one.
#[derive(Debug)]
pub(super) struct Wishes {
    /// By track.
    sorted: Vec<Wanted>,
}

impl Wishes {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Wanted> {
        self.sorted.iter()
    }

    fn of(&self, track: TrackKey) -> Option<&Wanted> {
        let found = self.sorted.binary_search_by_key(&track, |wanted| wanted.track).ok()?;
        self.sorted.get(found)
    }
}

impl FromIterator<Wanted> for Wishes {
    /// Of several for one track the first counts.
    fn from_iter<T: IntoIterator<Item = Wanted>>(wishes: T) -> Self {
        let mut sorted: Vec<Wanted> = wishes.into_iter().collect();
        sorted.sort_by_key(|wanted| wanted.track);
        sorted.dedup_by_key(|wanted| wanted.track);
        Self { sorted }
    }
}

impl Member {
    /// The wish for a track, if there is one.
    pub(super) fn wish(&self, track: TrackKey) -> Option<&Wanted> {
        self.wishes.as_ref()?.of(track)
    }
}

/// How many requests may come: a token bucket, and how far beyond it somebody went.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    per_second: f32,
    spent: f32,
    counted: Instant,
}

/// What to do with a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Admission {
    /// Carry it out.
    Granted,
    /// Refuse it.
    Refused(Failure),
    /// Close the link.
    Flooding,
}

impl Budget {
    /// Of requests.
    pub(super) fn of_requests(now: Instant) -> Self {
        Self { per_second: REQUESTS_PER_SECOND, spent: 0.0, counted: now }
    }

    /// Of messages over the data channel.
    pub(super) fn of_data(now: Instant) -> Self {
        Self { per_second: DATA_PER_SECOND, spent: 0.0, counted: now }
    }

    /// Takes a token for one request.
    pub(super) fn admit(&mut self, now: Instant) -> Admission {
        let elapsed = now.saturating_duration_since(self.counted).as_secs_f32();
        self.counted = now;
        self.spent = (self.spent - elapsed * self.per_second).max(0.0) + 1.0;
        if self.spent > REQUEST_BURST + MAX_EXCESS {
            return Admission::Flooding;
        }
        if self.spent > REQUEST_BURST {
            let wait = Duration::from_secs_f32((self.spent - REQUEST_BURST) / self.per_second);
            let message = format!("too many requests; wait {} ms", wait.as_millis().max(100));
            return Admission::Refused(Failure::new(ErrorCode::RateLimited, message));
        }
        Admission::Granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_wishes_for_a_track_the_first_counts() {
        let mut keys = slotmap::SlotMap::<TrackKey, ()>::with_key();
        let [a, b, c] = [(); 3].map(|()| keys.insert(()));
        let wish = |track, height| Wanted { track, height, fps: None, priority: 50, pinned: false, paused: false };
        let wishes: Wishes = [wish(c, 90), wish(a, 180), wish(c, 720)].into_iter().collect();
        let height = |track| wishes.of(track).map(|wanted| wanted.height);
        assert_eq!((height(a), height(b), height(c)), (Some(180), None, Some(90)));
        assert_eq!(wishes.iter().count(), 2);
    }

    #[test]
    fn a_burst_is_taken_an_excess_refused_and_a_flood_ends_the_link() {
        let now = Instant::now();
        let mut budget = Budget::of_requests(now);
        let (burst, excess) = (REQUEST_BURST as usize, MAX_EXCESS as usize);
        assert!((0..burst).all(|_| budget.admit(now) == Admission::Granted));
        assert!(matches!(budget.admit(now), Admission::Refused(failure) if failure.code == ErrorCode::RateLimited));
        let later = now + Duration::from_secs(1);
        assert!((0..REQUESTS_PER_SECOND as usize - 2).all(|_| budget.admit(later) == Admission::Granted));
        assert!((0..excess + 10).any(|_| budget.admit(later) == Admission::Flooding));
    }
}
