//! The sessions of this node as the control plane knows them: where each lives, whose it is, what its watchers see.
//!
//! A session is opened before its shard hears of it, so that no event about it can come too early, and closed by the
//! shard's `Ended` event, by an answer that says it is unknown, or by the reconciliation with the shard's own list
//! (events may be lost). Closed sessions are kept a while for inspection. What happens inside a session is the shard's
//! business.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::events::EventName;
use super::placement::{Placement, Seat};
use crate::sfu::command::{Credential, EndReason, Event, EventKind, MediaLayers, SessionId};

/// Ended sessions that stay inspectable. Larger: more memory (about 300 bytes each) and a longer memory of failures;
/// smaller: on a busy node the reason is gone before anyone asks.
const ENDED_KEPT: usize = 4096;

/// A session younger than this is left alone by the reconciliation: its shard may not list it yet. Longer than the
/// validity of a counter-offer (30 s).
const RECONCILE_AGE: Duration = Duration::from_secs(60);

/// All sessions, living and recently ended.
#[derive(Debug)]
pub(super) struct Sessions {
    known: DashMap<SessionId, Entry>,
    /// Ended ones, oldest first.
    ended: Mutex<VecDeque<SessionId>>,
    living: AtomicUsize,
    limit: usize,
    placement: Placement,
}

/// The facts about a session that requests need.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) shard: usize,
    /// The shard its room is at home on.
    pub(super) home: usize,
    pub(super) room: Arc<str>,
    pub(super) publishes: bool,
    pub(super) owner: Credential,
    pub(super) ended: bool,
    /// The client closed its connection; its DELETE is still to come (OBS, aiortc and others say goodbye in that
    /// order).
    pub(super) awaits_delete: bool,
}

/// What the watchers of a session (server-sent events) are told: the present state, so that none can fall behind.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct View {
    pub(super) active: bool,
    pub(super) layers: Vec<MediaLayers>,
    pub(super) warnings: Vec<String>,
    pub(super) viewers: Option<u32>,
    pub(super) ended: bool,
}

/// A stream of events somebody asked for.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// Last segment of its URL. `EventSource` sends no `Authorization`, so the URL itself is the capability.
    pub(super) secret: SessionId,
    /// The events asked for.
    pub(super) events: Vec<EventName>,
    /// Ends the stream's open responses, each of which holds it.
    pub(super) stop: Arc<CancellationToken>,
}

impl Stream {
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.stop) > 1
    }
}

#[derive(Debug)]
struct Entry {
    session: Session,
    opened: Instant,
    view: watch::Sender<View>,
    streams: Vec<Stream>,
}

/// Why a session cannot be opened or watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no such living session.
    Gone,
    /// As many as allowed are there already.
    Full,
}

impl Sessions {
    /// `spill_after` sessions of a room are placed on one shard before another one is used.
    pub(super) fn new(shards: usize, limit: usize, spill_after: usize) -> Self {
        Self {
            known: DashMap::new(),
            ended: Mutex::default(),
            living: AtomicUsize::new(0),
            limit,
            placement: Placement::new(shards, spill_after),
        }
    }

    /// Opens a session and finds it a shard. Publishers by WHIP give way to one another, so they are all at home.
    pub(super) fn open(
        &self,
        id: SessionId,
        room: &Arc<str>,
        publishes: bool,
        owner: Credential,
        now: Instant,
    ) -> Result<Session, Refused> {
        if self.living.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.living.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Full);
        }
        let Seat { shard, home } = self.placement.enter(room, publishes);
        let session =
            Session { id, shard, home, room: Arc::clone(room), publishes, owner, ended: false, awaits_delete: false };
        let entry = Entry {
            session: session.clone(),
            opened: now,
            view: watch::Sender::new(View::default()),
            streams: Vec::new(),
        };
        self.known.insert(id, entry);
        Ok(session)
    }

    /// The shard a room is at home on, while somebody is in it.
    pub(super) fn home(&self, room: &str) -> Option<usize> {
        self.placement.home(room)
    }

    /// Takes back an `open` the shard did not accept.
    pub(super) fn abandon(&self, id: SessionId) {
        if let Some((_, entry)) = self.known.remove(&id)
            && !entry.session.ended
        {
            self.release(&entry.session);
        }
    }

    /// A session, living or recently ended.
    pub(super) fn find(&self, id: SessionId) -> Option<Session> {
        self.known.get(&id).map(|entry| entry.session.clone())
    }

    /// Takes the DELETE that was still to come: true once, for a session whose client closed its connection first.
    pub(super) fn take_late_delete(&self, id: SessionId) -> bool {
        self.known.get_mut(&id).is_some_and(|mut entry| std::mem::take(&mut entry.session.awaits_delete))
    }

    /// How many live.
    pub(super) fn living(&self) -> usize {
        self.living.load(Ordering::Relaxed)
    }

    /// Closes a session: its watchers' streams end, its room is released, it stays inspectable.
    pub(super) fn close(&self, id: SessionId) {
        let session = {
            let Some(mut entry) = self.known.get_mut(&id) else { return };
            if std::mem::replace(&mut entry.session.ended, true) {
                return;
            }
            entry.streams.clear();
            entry.view.send_modify(|view| view.ended = true);
            entry.session.clone()
        };
        self.release(&session);
        let forgotten = {
            let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            ended.push_back(id);
            if ended.len() > ENDED_KEPT { ended.pop_front() } else { None }
        };
        if let Some(oldest) = forgotten {
            self.known.remove(&oldest);
        }
    }

    /// Takes note of an event from a shard.
    pub(super) fn note(&self, event: Event) {
        if let EventKind::Ended(reason) = event.kind {
            if reason == EndReason::PeerClosed
                && let Some(mut entry) = self.known.get_mut(&event.session)
            {
                entry.session.awaits_delete = !entry.session.ended;
            }
            return self.close(event.session);
        }
        let Some(entry) = self.known.get(&event.session) else { return };
        entry.view.send_if_modified(|view| {
            let before = view.clone();
            match event.kind {
                EventKind::Active => view.active = true,
                EventKind::Inactive => view.active = false,
                EventKind::Layers(layers) => view.layers = layers,
                EventKind::Warnings(warnings) => view.warnings = warnings,
                EventKind::ViewerCount(viewers) => view.viewers = Some(viewers),
                EventKind::Connected | EventKind::Message { .. } | EventKind::Ended(_) => {}
            }
            *view != before
        });
    }

    /// Closes the sessions of `shard` that it does not list, because the event that said so was lost.
    pub(super) fn reconcile(&self, shard: usize, listed: &HashSet<SessionId>, now: Instant) {
        let lost: Vec<SessionId> = self
            .known
            .iter()
            .filter(|entry| entry.session.shard == shard && !entry.session.ended)
            .filter(|entry| now.saturating_duration_since(entry.opened) >= RECONCILE_AGE)
            .map(|entry| entry.session.id)
            .filter(|id| !listed.contains(id))
            .collect();
        for id in lost {
            tracing::debug!(session = %id, "the shard no longer has this session");
            self.close(id);
        }
    }

    /// Remembers a stream of events. At most `limit` per session: the oldest that nobody reads gives way, for clients
    /// whose connection was cut may ask for a new one each time.
    pub(super) fn add_stream(&self, id: SessionId, stream: Stream, limit: usize) -> Result<(), Refused> {
        let mut entry = self.known.get_mut(&id).filter(|entry| !entry.session.ended).ok_or(Refused::Gone)?;
        if entry.streams.len() >= limit {
            let unread = entry.streams.iter().position(|stream| !stream.is_read()).ok_or(Refused::Full)?;
            entry.streams.remove(unread);
        }
        entry.streams.push(stream);
        Ok(())
    }

    /// The stream with this secret.
    pub(super) fn stream(&self, id: SessionId, secret: SessionId) -> Option<Stream> {
        self.known.get(&id)?.streams.iter().find(|stream| same(stream.secret, secret)).cloned()
    }

    /// Forgets a stream and ends its open responses. False when there is none.
    pub(super) fn remove_stream(&self, id: SessionId, secret: SessionId) -> bool {
        let Some(mut entry) = self.known.get_mut(&id) else { return false };
        let Some(at) = entry.streams.iter().position(|stream| same(stream.secret, secret)) else { return false };
        entry.streams.remove(at).stop.cancel();
        true
    }

    /// Watches a living session. At most `limit` at a time.
    pub(super) fn watch(&self, id: SessionId, limit: usize) -> Result<watch::Receiver<View>, Refused> {
        let entry = self.known.get(&id).filter(|entry| !entry.session.ended).ok_or(Refused::Gone)?;
        if entry.view.receiver_count() >= limit { Err(Refused::Full) } else { Ok(entry.view.subscribe()) }
    }

    fn release(&self, session: &Session) {
        self.living.fetch_sub(1, Ordering::Relaxed);
        self.placement.leave(&session.room, session.shard);
    }
}

fn same(a: SessionId, b: SessionId) -> bool {
    a.0.ct_eq(&b.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId([1; 16]);

    fn opened(limit: usize) -> (Sessions, Arc<str>, Instant) {
        let (sessions, room, now) = (Sessions::new(1, limit, usize::MAX), Arc::from("room"), Instant::now());
        sessions.open(ID, &room, true, Credential::Anonymous, now).unwrap();
        (sessions, room, now)
    }

    fn ended(session: SessionId) -> Event {
        Event { session, kind: EventKind::Ended(EndReason::Timeout) }
    }

    #[test]
    fn a_full_node_opens_no_session_until_one_has_ended() {
        let (sessions, room, now) = opened(1);
        let other = SessionId([2; 16]);
        assert_eq!(sessions.open(other, &room, false, Credential::Anonymous, now).unwrap_err(), Refused::Full);
        sessions.note(ended(ID));
        sessions.note(ended(ID));
        assert_eq!(sessions.living(), 0, "ending twice counts once");
        sessions.open(other, &room, false, Credential::Anonymous, now).unwrap();
        sessions.abandon(other);
        assert_eq!(sessions.living(), 0);
        assert!(sessions.find(other).is_none(), "an abandoned session was never there");
    }

    #[test]
    fn an_ended_session_stays_inspectable_until_many_more_have_ended() {
        let (sessions, room, now) = opened(usize::MAX);
        sessions.note(ended(ID));
        assert!(sessions.find(ID).is_some_and(|session| session.ended));
        assert_eq!(sessions.watch(ID, 1).unwrap_err(), Refused::Gone);
        for number in 2..ENDED_KEPT as u128 + 2 {
            let id = SessionId(number.to_be_bytes());
            sessions.open(id, &room, false, Credential::Anonymous, now).unwrap();
            sessions.note(ended(id));
        }
        assert!(sessions.find(ID).is_none());
        assert_eq!(sessions.known.len(), ENDED_KEPT);
    }

    #[test]
    fn a_session_its_shard_no_longer_lists_is_closed_once_it_is_old_enough() {
        let (sessions, _, now) = opened(9);
        let listed = HashSet::from([ID]);
        let nothing = HashSet::new();
        let late = now + RECONCILE_AGE;
        for (listed, now, shard, living) in
            [(&nothing, now, 0, 1), (&listed, late, 0, 1), (&nothing, late, 1, 1), (&nothing, late, 0, 0)]
        {
            sessions.reconcile(shard, listed, now);
            assert_eq!(sessions.living(), living);
        }
    }

    #[test]
    fn watchers_see_the_present_state_and_the_end() {
        let (sessions, _, _) = opened(9);
        sessions.note(Event { session: ID, kind: EventKind::Active });
        let mut watcher = sessions.watch(ID, 1).unwrap();
        assert!(watcher.borrow_and_update().active);
        assert_eq!(sessions.watch(ID, 1).unwrap_err(), Refused::Full);
        sessions.note(Event { session: ID, kind: EventKind::Active });
        assert!(!watcher.has_changed().unwrap(), "nothing new");
        sessions.note(ended(ID));
        assert!(watcher.has_changed().unwrap() && watcher.borrow().ended);
    }
}
