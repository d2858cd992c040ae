//! The world of a simulation: shards, clients, the network between them, and the time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint::sfu::command::{
    Command, CommandError, Credential, EndReason, Event, EventKind, Join, Reply, Role, SessionId, SessionReport,
};
use crosspoint::sfu::{Crossing, Datagram, Sfu, ShardIndex, Via};
use loadtest::net::{Conditions, Network};
use loadtest::oracle::Report;
use loadtest::{Client, Clock, PublisherSpec, Setup, ViewerSpec};

use crate::members::Pages;

mod options;
mod queues;
mod wire;

pub(crate) use options::{Options, over_shards, settings};
use queues::Queues;
use wire::Numbers;
pub(crate) use wire::Trace;

/// Where the server is.
pub(crate) const SERVER: &str = "198.51.100.1:3478";

/// Steps a run may take without the time moving. More: something wakes itself for ever.
const MAX_STEPS_PER_INSTANT: u32 = 100_000;

/// A client of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Who(usize);

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) network: Network,
    pub(crate) events: Vec<(Instant, Event)>,
    pub(crate) pages: Pages,
    /// Everything that reached the server, for somebody who listens on the wire; `None`: nobody does.
    pub(crate) overheard: Option<Vec<loadtest::Datagram>>,
    /// Of what clients send, what is held up on its way.
    pub(crate) holds: Option<fn(&loadtest::Datagram) -> bool>,
    held: Vec<loadtest::Datagram>,
    /// A client that sends no checks any more, as libnice.
    pub(crate) unchecking: Option<Who>,
    /// What the server sent to addresses that are no client's.
    pub(crate) strays: Vec<loadtest::Datagram>,
    sfus: Vec<Sfu>,
    clients: Vec<Placed>,
    /// Control takes no messages for members.
    pub(crate) control_is_full: bool,
    spread: bool,
    /// How far rooms are at home from where their names have them.
    homes: usize,
    pub(crate) queues: Queues,
    sessions: u8,
    seed: u64,
    /// What crossed the wire, as a digest: the same seed must give the same.
    trace: Trace,
    numbers: Numbers,
    /// Datagrams the server received, by where they came from.
    heard: BTreeMap<SocketAddr, u64>,
    /// Until when the server gets no processor, and what waits in its socket meanwhile.
    starved: Option<Instant>,
    waiting: Vec<loadtest::Datagram>,
}

struct Placed {
    client: Client,
    address: SocketAddr,
    public: SocketAddr,
    session: SessionId,
    shard: usize,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let start = Instant::now();
        let sfus = (0..options.shards).map(|index| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&options.seed.to_le_bytes());
            seed[8..10].copy_from_slice(&index.to_le_bytes());
            Sfu::new(settings(ShardIndex(index), options, start), seed)
        });
        Self {
            now: start,
            start,
            network: Network::new(options.seed),
            events: Vec::new(),
            pages: Pages::default(),
            overheard: None,
            holds: None,
            held: Vec::new(),
            unchecking: None,
            strays: Vec::new(),
            sfus: sfus.collect(),
            clients: Vec::new(),
            control_is_full: false,
            spread: options.spread,
            homes: 0,
            queues: Queues::default(),
            sessions: 0,
            seed: options.seed,
            trace: Trace::default(),
            numbers: Numbers::default(),
            heard: BTreeMap::new(),
            starved: None,
            waiting: Vec::new(),
        }
    }

    /// A publisher joins a room.
    pub(crate) fn publish(&mut self, room: &str, spec: PublisherSpec, line: Conditions) -> Result<Who, CommandError> {
        self.publish_as(room, spec, line, Credential::Anonymous)
    }

    pub(crate) fn publish_as(
        &mut self,
        room: &str,
        spec: PublisherSpec,
        line: Conditions,
        credential: Credential,
    ) -> Result<Who, CommandError> {
        let (setup, session) = self.setup(line);
        let identity = format!("publisher-{}", spec.publisher);
        let (client, offer) = Client::publisher(spec, setup, self.now).unwrap();
        self.join(room, Role::Publish, identity, credential, (client, offer), session)
    }

    /// A viewer joins a room.
    pub(crate) fn watch(&mut self, room: &str, spec: ViewerSpec, line: Conditions) -> Result<Who, CommandError> {
        let (setup, session) = self.setup(line);
        let (client, offer) = Client::viewer(spec, setup, self.now).unwrap();
        let role = Role::Play { participant: None };
        let identity = format!("viewer-{}", self.clients.len());
        self.join(room, role, identity, Credential::Anonymous, (client, offer), session)
    }

    fn join(
        &mut self,
        room: &str,
        role: Role,
        identity: String,
        credential: Credential,
        (mut client, offer): (Client, String),
        session: SessionId,
    ) -> Result<Who, CommandError> {
        let (shard, home) = self.seat(room, role == Role::Publish);
        let (room, identity) = (Arc::from(room), Arc::from(identity));
        let join = Join { session, room, home, role, identity, credential, offer, caller: None };
        match self.command(shard, Command::Join(Box::new(join))) {
            Reply::Joined(joined) => client.accept_answer(&joined.answer).unwrap(),
            Reply::Failed(error) => return Err(error),
            other => panic!("unexpected reply {other:?}"),
        }
        let address = client.address();
        self.clients.push(Placed { client, address, public: address, session, shard });
        Ok(Who(self.clients.len() - 1))
    }

    /// Puts a client into the world before it joins.
    pub(crate) fn place(&mut self, client: Client, session: SessionId, room: &str) -> Who {
        let earlier = self.clients.iter().find(|placed| placed.session == session).map(|placed| placed.shard);
        let shard = earlier.unwrap_or_else(|| self.seat(room, false).0);
        let address = client.address();
        self.clients.push(Placed { client, address, public: address, session, shard });
        Who(self.clients.len() - 1)
    }

    /// Where a session of a room is to be, and where that is at home, which is told if it is elsewhere.
    fn seat(&mut self, room: &str, at_home: bool) -> (usize, ShardIndex) {
        let home = self.shard_of_room(room);
        let shards = self.sfus.len();
        let shard = if self.spread && !at_home { (home + self.clients.len()) % shards } else { home };
        self.spill(room, shard);
        (shard, ShardIndex(home as u16))
    }

    /// Has the home of a room tell another shard of it, as control does before it sends somebody there.
    pub(crate) fn spill(&mut self, room: &str, shard: usize) {
        let home = self.shard_of_room(room);
        if shard != home {
            let command = Command::Spill { room: Arc::from(room), to: ShardIndex(shard as u16) };
            assert!(matches!(self.command(home, command), Reply::Done));
        }
    }

    /// The shard a client's session is on.
    pub(crate) fn shard(&self, who: Who) -> usize {
        self.clients[who.0].shard
    }

    /// Rooms are at home elsewhere from now on, as when control has placed them anew.
    pub(crate) fn move_homes(&mut self) {
        self.homes += 1;
    }

    pub(crate) fn shard_of_room(&self, room: &str) -> usize {
        (self.homes + room.bytes().map(usize::from).sum::<usize>()) % self.sfus.len()
    }

    pub(crate) fn setup(&mut self, line: Conditions) -> (Setup, SessionId) {
        self.sessions += 1;
        let address = SocketAddr::from(([10, 0, 0, self.sessions], 40_000));
        self.network.attach(address, line);
        let seed = self.seed.wrapping_mul(1000).wrapping_add(self.sessions.into());
        (Setup { address, clock: Clock::starting_at(self.start), seed }, SessionId([self.sessions; 16]))
    }

    /// Says a client's DELETE.
    pub(crate) fn delete(&mut self, who: Who) {
        let Placed { session, shard, .. } = self.clients[who.0];
        self.command(shard, Command::Leave { session, reason: EndReason::Deleted });
    }

    pub(crate) fn inspect(&mut self, who: Who) -> SessionReport {
        let Placed { session, shard, .. } = self.clients[who.0];
        match self.command(shard, Command::Inspect { session }) {
            Reply::Session(report) => *report,
            other => panic!("unexpected reply {other:?}"),
        }
    }

    pub(crate) fn command(&mut self, shard: usize, command: Command) -> Reply {
        let reply = self.sfus[shard].command(self.now, command);
        self.flush(shard);
        reply
    }

    /// The client's NAT gives it another port.
    pub(crate) fn rebind(&mut self, who: Who) {
        let placed = &mut self.clients[who.0];
        placed.public.set_port(placed.public.port() + 1);
        self.network.rebind(placed.address, placed.public);
    }

    pub(crate) fn client(&mut self, who: Who) -> &mut Client {
        &mut self.clients[who.0].client
    }

    pub(crate) fn report(&self, who: Who) -> Report {
        self.clients[who.0].client.report(self.now).unwrap()
    }

    pub(crate) fn session(&self, who: Who) -> SessionId {
        self.clients[who.0].session
    }

    /// A client ends in order, without a DELETE.
    pub(crate) fn stop(&mut self, who: Who) {
        let (now, client) = (self.now, &mut self.clients[who.0].client);
        client.stop(now);
        client.poll(now).for_each(|datagram| self.network.send(now, datagram));
    }

    /// Datagrams the server has received of a client where it is now.
    pub(crate) fn heard(&self, who: Who) -> u64 {
        self.heard.get(&self.clients[who.0].public).copied().unwrap_or_default()
    }

    /// The SSRCs that the server has sent media and retransmissions on.
    pub(crate) fn ssrcs(&self) -> Vec<u32> {
        self.numbers.ssrcs()
    }

    /// The trace since the last call.
    pub(crate) fn take_trace(&mut self) -> Trace {
        std::mem::take(&mut self.trace)
    }

    /// Changes a client's line.
    pub(crate) fn change_line(&mut self, who: Who, line: Conditions) {
        self.network.attach(self.clients[who.0].address, line);
    }

    pub(crate) fn sfus(&self) -> &[Sfu] {
        &self.sfus
    }

    /// How a session ended, if it has.
    pub(crate) fn ended(&self, who: Who) -> Option<EndReason> {
        let session = self.session(who);
        self.events.iter().find_map(|(_, event)| match event.kind {
            EventKind::Ended(reason) if event.session == session => Some(reason),
            _ => None,
        })
    }

    /// Lets the time pass until something is so, and tells how long it took; `most` if it never was.
    pub(crate) fn until(&mut self, most: Duration, mut so: impl FnMut(&mut Self) -> bool) -> Duration {
        const LOOK: Duration = Duration::from_millis(10);
        let start = self.now;
        while self.now - start < most && !so(self) {
            self.run(LOOK);
        }
        self.now - start
    }

    /// Lets the time pass.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = BTreeMap::new();
        while let Some(next) = self.next_instant().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            let count = steps.entry(self.now).or_insert(0);
            *count += 1;
            assert!(*count < MAX_STEPS_PER_INSTANT, "the world stands still at {:?}", self.now - self.start);
            self.step();
        }
        self.now = end;
    }

    fn next_instant(&self) -> Option<Instant> {
        let clients = self.clients.iter().filter_map(|placed| placed.client.deadline());
        let shards = self.sfus.iter().filter_map(Sfu::deadline).filter(|_| self.starved.is_none());
        clients.chain(shards).chain(self.starved).chain(self.network.deadline()).min()
    }

    /// The server gets no processor for a while: what arrives waits, and nothing is sent.
    pub(crate) fn starve(&mut self, time: Duration) {
        self.starved = Some(self.now + time);
        self.run(time);
    }

    /// What was held up arrives; nothing is any more.
    pub(crate) fn release(&mut self) -> usize {
        self.holds = None;
        let held = std::mem::take(&mut self.held);
        held.iter().for_each(|datagram| self.receive(datagram));
        held.len()
    }

    fn receive(&mut self, datagram: &loadtest::Datagram) {
        *self.heard.entry(datagram.source).or_default() += 1;
        let shard = self.shard_of(datagram.source);
        let contents = &datagram.contents;
        let received = Datagram { remote: datagram.source, local_ip: None, via: Via::Socket, contents };
        self.sfus[shard].handle(self.now, &received);
        self.flush(shard);
        self.overheard.iter_mut().for_each(|heard| heard.push(datagram.clone()));
    }

    fn step(&mut self) {
        let now = self.now;
        if self.starved.is_some_and(|until| until <= now) {
            self.starved = None;
            std::mem::take(&mut self.waiting).iter().for_each(|datagram| self.receive(datagram));
        }
        while let Some(datagram) = self.network.poll(now) {
            self.trace.note(now - self.start, datagram.contents.len());
            if self.is_unsent(&datagram) {
                continue;
            }
            if datagram.destination == SERVER.parse().unwrap() {
                if self.starved.is_some_and(|until| now < until) {
                    self.waiting.push(datagram);
                    continue;
                }
                if self.holds.is_some_and(|holds| holds(&datagram)) {
                    self.held.push(datagram);
                    continue;
                }
                self.receive(&datagram);
            } else if let Some(placed) = self.clients.iter_mut().find(|placed| placed.address == datagram.destination) {
                placed.client.handle(now, datagram.source, &datagram.contents);
                placed.client.poll(now).for_each(|answer| self.network.send(now, answer));
            } else {
                self.strays.push(datagram);
            }
        }
        for placed in &mut self.clients {
            if placed.client.deadline().is_some_and(|at| at <= now) {
                placed.client.poll(now).for_each(|datagram| self.network.send(now, datagram));
            }
        }
        for shard in 0..self.sfus.len() {
            if self.starved.is_none() && self.sfus[shard].deadline().is_some_and(|at| at <= now) {
                self.flush(shard);
            }
        }
    }

    fn is_unsent(&self, datagram: &loadtest::Datagram) -> bool {
        let is_check = datagram.contents.starts_with(&[0, 1]);
        is_check && self.unchecking.is_some_and(|who| self.clients[who.0].public == datagram.source)
    }

    /// Ends a shard's turn and delivers what it wants delivered, to other shards too.
    fn flush(&mut self, shard: usize) {
        let now = self.now;
        self.sfus[shard].flush(now);
        let outbox = self.sfus[shard].outbox();
        let (datagrams, crossings, events) = (
            std::mem::take(&mut outbox.datagrams),
            std::mem::take(&mut outbox.crossings),
            std::mem::take(&mut outbox.events),
        );
        for event in events {
            if self.control_is_full && matches!(event.kind, EventKind::Message { .. }) {
                self.sfus[shard].outbox().lose(&event);
                continue;
            }
            self.deliver_message(&event);
            self.events.push((now, event));
        }
        for outgoing in datagrams {
            self.numbers.note(&outgoing.contents);
            let source = SERVER.parse().unwrap();
            let (destination, contents) = (outgoing.remote, outgoing.contents);
            self.network.send(now, loadtest::Datagram { source, destination, contents });
        }
        // Another shard's answer comes in a later turn.
        for (to, crossing) in crossings {
            self.cross(usize::from(to.0), crossing);
        }
    }

    fn cross(&mut self, shard: usize, crossing: Crossing) {
        let Some(crossing) = self.queues.admit(shard, crossing) else { return };
        self.sfus[shard].handle_crossing(self.now, crossing);
        self.flush(shard);
    }

    /// A shard's queue is full from now on, until it is not.
    pub(crate) fn fill_queue(&mut self, shard: Option<usize>) {
        let was = std::mem::replace(&mut self.queues.full, shard);
        for crossing in std::mem::take(&mut self.queues.waiting) {
            self.cross(was.unwrap(), crossing);
        }
    }

    /// As the kernel does with SO_REUSEPORT: some shard, always the same for an address.
    fn shard_of(&self, source: SocketAddr) -> usize {
        let SocketAddr::V4(source) = source else { return 0 };
        let hash = u64::from(u32::from(*source.ip())).wrapping_mul(31).wrapping_add(source.port().into());
        (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % self.sfus.len()
    }
}
