//! A shard that answers by script: what it does depends on the name of the room, and a little on the body.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use crosspoint::sfu::command::{
    Command, CommandError, Connectivity, EndReason, Event, EventKind, ExpectedIce, Join, Joined, Reply, Role,
    RoomReport, RoomSession, SessionId, SessionReport, SessionState,
};
use crosspoint::sfu::negotiate::DescriptionError;
use crosspoint::sfu::stats::Stats;
use crosspoint::shard::{Mailbox, Parcel};
use tokio::sync::mpsc;

/// What the scripted shard answers an offer with.
pub(crate) const ANSWER: &str = "v=0\r\no=crosspoint 1 0 IN IP4 0.0.0.0\r\n";

/// Rooms in which something else than 201 happens.
pub(crate) const TAKEN: &str = "taken";
pub(crate) const EMPTY: &str = "empty";
pub(crate) const FULL: &str = "full";
pub(crate) const CODECS: &str = "codecs";
pub(crate) const UNACCEPTABLE: &str = "unacceptable";
pub(crate) const CRASHED: &str = "crashed";

/// All of these.
pub(crate) const ROOMS: [&str; 6] = [TAKEN, EMPTY, FULL, CODECS, UNACCEPTABLE, CRASHED];

/// A session of the script.
#[derive(Clone)]
struct Scripted {
    join: Join,
    generation: u32,
    awaits_answer: bool,
    ended: bool,
}

/// Answers until every handle of the mailbox is gone.
pub(crate) fn run(mut mailbox: Mailbox<Parcel>, events: &mpsc::Sender<Event>) {
    let mut shard = Shard { sessions: BTreeMap::new(), events };
    while wait(&mailbox) {
        mailbox.acknowledge();
        while let Some(envelope) = mailbox.request() {
            if let Some(reply) = shard.answer(envelope.command) {
                let _ = envelope.reply.send(reply);
            }
        }
    }
}

/// Waits until the mailbox is readable. False when nobody can write to it any more.
fn wait(mailbox: &Mailbox<Parcel>) -> bool {
    let mut readable = libc::pollfd { fd: mailbox.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd, valid for the length of the call.
    unsafe { libc::poll(&raw mut readable, 1, -1) };
    readable.revents & libc::POLLIN != 0
}

struct Shard<'a> {
    sessions: BTreeMap<SessionId, Scripted>,
    events: &'a mpsc::Sender<Event>,
}

impl Shard<'_> {
    /// `None`: no reply ever comes, as from a shard that has crashed.
    fn answer(&mut self, command: Command) -> Option<Reply> {
        let reply = match command {
            Command::Join(join) if &*join.room == CRASHED => return None,
            Command::Join(join) => self.join(*join),
            Command::Answer { session, answer } => self.take_answer(session, &answer),
            Command::Patch { session, expected, fragment } => self.patch(session, expected, &fragment),
            Command::Leave { session, reason } => self.leave(session, reason),
            Command::SelectLayer { session, selection } => match self.living(session) {
                Ok(_) if selection.rid.as_deref() == Some("none") => {
                    Err(CommandError::UnknownLayer { what: "rid none".into() })
                }
                Ok(_) => Ok(Reply::Done),
                Err(error) => Err(error),
            },
            Command::Inspect { session } => match self.sessions.get(&session) {
                Some(scripted) => Ok(Reply::Session(Box::new(report(scripted)))),
                None => Err(CommandError::UnknownSession),
            },
            Command::Rooms => Ok(Reply::Rooms(self.rooms())),
            Command::Stats => {
                Ok(Reply::Stats(Box::new(Stats { rooms: self.rooms().len() as u64, ..Stats::default() })))
            }
            // Members are tested against a whole node.
            Command::Enter(_) | Command::Request { .. } | Command::Unlinked { .. } => Err(CommandError::UnknownSession),
            Command::Spill { .. } | Command::ChangeRoom { .. } | Command::Drain { .. } | Command::Shutdown => {
                Ok(Reply::Done)
            }
        };
        Some(reply.unwrap_or_else(Reply::Failed))
    }

    fn join(&mut self, join: Join) -> Result<Reply, CommandError> {
        let room = Arc::clone(&join.room);
        if !join.offer.starts_with("v=0") {
            return Err(DescriptionError::Malformed("not SDP: it does not start with v=0".into()).into());
        }
        match &*room {
            TAKEN => return Err(CommandError::RoomTaken { room, silent_for: None }),
            EMPTY => return Err(CommandError::NothingPublished { room, retry_after: Duration::from_secs(4) }),
            FULL => return Err(CommandError::Full { limit: "limits.sessions = 1".into() }),
            UNACCEPTABLE => return Err(DescriptionError::Unacceptable("no codec in common".into()).into()),
            _ => {}
        }
        let awaits_answer = &*room == CODECS;
        let session = join.session;
        self.sessions.insert(session, Scripted { join, generation: 0, awaits_answer, ended: false });
        if awaits_answer {
            return Ok(Reply::CounterOffer { offer: ANSWER.into(), valid_for: Duration::from_secs(30) });
        }
        let _ = self.events.try_send(Event { session, kind: EventKind::Connected });
        Ok(Reply::Joined(Joined { answer: ANSWER.into(), generation: 0 }))
    }

    fn take_answer(&mut self, session: SessionId, answer: &str) -> Result<Reply, CommandError> {
        let session = self.living(session)?;
        if !std::mem::take(&mut session.awaits_answer) {
            return Err(CommandError::NotExpectingAnswer);
        }
        if !answer.starts_with("v=0") {
            return Err(DescriptionError::Malformed("not SDP: it does not start with v=0".into()).into());
        }
        Ok(Reply::Done)
    }

    fn patch(&mut self, session: SessionId, expected: ExpectedIce, fragment: &str) -> Result<Reply, CommandError> {
        let session = self.living(session)?;
        if expected != ExpectedIce::Any && expected != ExpectedIce::Generation(session.generation) {
            return Err(CommandError::StaleGeneration { current: session.generation });
        }
        if !fragment.contains("a=") {
            return Err(DescriptionError::Malformed("not a fragment".into()).into());
        }
        if fragment.contains("a=ice-ufrag:new") {
            session.generation += 1;
            let fragment = "a=ice-lite\r\na=ice-ufrag:srv\r\na=ice-pwd:x\r\na=end-of-candidates\r\n".into();
            return Ok(Reply::Restarted { fragment, generation: session.generation });
        }
        Ok(Reply::Done)
    }

    fn leave(&mut self, session: SessionId, reason: EndReason) -> Result<Reply, CommandError> {
        self.living(session)?.ended = true;
        let _ = self.events.try_send(Event { session, kind: EventKind::Ended(reason) });
        Ok(Reply::Done)
    }

    fn living(&mut self, session: SessionId) -> Result<&mut Scripted, CommandError> {
        self.sessions.get_mut(&session).filter(|session| !session.ended).ok_or(CommandError::UnknownSession)
    }

    fn rooms(&self) -> Vec<RoomReport> {
        let mut rooms = BTreeMap::<Arc<str>, RoomReport>::new();
        for scripted in self.sessions.values().filter(|scripted| !scripted.ended) {
            let room = &scripted.join.room;
            let entry = rooms.entry(Arc::clone(room)).or_insert_with(|| RoomReport {
                name: room.to_string(),
                publishers: 0,
                members: 0,
                metadata: String::new(),
                playout_delay: None,
                viewers: 0,
                sessions: Vec::new(),
            });
            let SessionReport { id, role, identity, state, .. } = report(scripted);
            *(if role == "publish" { &mut entry.publishers } else { &mut entry.viewers }) += 1;
            entry.sessions.push(RoomSession { id, role, identity, state });
        }
        rooms.into_values().collect()
    }
}

fn report(Scripted { join, ended, .. }: &Scripted) -> SessionReport {
    SessionReport {
        id: join.session.to_string(),
        room: join.room.to_string(),
        identity: join.identity.to_string(),
        role: if join.role == Role::Publish { "publish" } else { "play" },
        state: if *ended { SessionState::Ended } else { SessionState::Connecting },
        ended: ended.then_some(EndReason::Deleted),
        failure: None,
        summary: format!("caller {:?}", join.caller),
        warnings: Vec::new(),
        age_ms: 0,
        connectivity: Connectivity::default(),
        media: Vec::new(),
    }
}
