//! The loop of a shard: wait, take one turn, send what came of it. The plan of the data plane in one function.

use std::io;
use std::net::IpAddr;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::mailbox::Mailbox;
use super::relay::Relays;
use super::rest::{Found, Rest, Rests};
use super::socket::{Ready, RecvBatch, SendBatch, SendReport, UdpSocket, sleep, wait};
use super::stream::HomeStreams;
use super::unsent::Unsent;
use super::{Parcel, ShardHandle};
use crate::sfu::command::{Command, Event, Reply};
use crate::sfu::stats::IoStats;
use crate::sfu::{Flushed, Settings, Sfu, ShardIndex};

/// Requests carried out per turn. A join costs a millisecond or two. Larger: a join storm is over sooner; smaller:
/// media waits less while it lasts.
const REQUESTS_PER_TURN: usize = 4;

/// Batches from other shards taken per turn. Larger: fewer turns under load; smaller: own datagrams wait less.
const CROSSINGS_PER_TURN: usize = 64;

/// What a shard is started with.
#[derive(Debug)]
pub struct Worker {
    /// Settings of its `Sfu`.
    pub settings: Settings,
    /// Seed of its randomness, from the system.
    pub seed: [u8; 32],
    /// Its socket on the shared port.
    pub socket: UdpSocket,
    /// Address the sockets of relayed addresses are opened on.
    pub relay_bind: IpAddr,
    /// Where requests and values from other shards arrive.
    pub mailbox: Mailbox<Parcel>,
    /// All shards of the node, by index (its own included).
    pub shards: Vec<ShardHandle>,
    /// Where events go.
    pub events: mpsc::Sender<Event>,
}

impl Worker {
    /// Starts the shard's thread. It ends after [`Command::Shutdown`].
    ///
    /// # Errors
    /// The system refuses another thread, or another descriptor.
    pub fn spawn(self) -> io::Result<JoinHandle<()>> {
        let name = format!("shard-{}", self.settings.shard.0);
        let shard = Shard::new(self)?;
        thread::Builder::new().name(name).spawn(move || shard.run())
    }
}

struct Shard {
    sfu: Sfu,
    socket: UdpSocket,
    mailbox: Mailbox<Parcel>,
    shards: Vec<ShardHandle>,
    events: mpsc::Sender<Event>,
    received: RecvBatch,
    sending: SendBatch,
    relays: Relays,
    streams: HomeStreams,
    /// Answers to the requests of this turn.
    replies: Vec<(oneshot::Sender<Reply>, Reply)>,
    /// What other shards had no room for and must not be lost.
    unsent: Unsent,
    /// Its own index.
    index: ShardIndex,
    io: IoStats,
    rests: Rests,
    /// More requests or parcels wait than one turn takes.
    backlog: bool,
    stopping: bool,
}

impl Shard {
    fn new(worker: Worker) -> io::Result<Self> {
        let Worker { settings, seed, socket, relay_bind, mailbox, shards, events } = worker;
        Ok(Self {
            socket,
            mailbox,
            shards,
            events,
            received: RecvBatch::new(),
            sending: SendBatch::new(),
            relays: Relays::new(relay_bind)?,
            streams: HomeStreams::default(),
            replies: Vec::new(),
            unsent: Unsent::default(),
            index: settings.shard,
            sfu: Sfu::new(settings, seed),
            io: IoStats::default(),
            rests: Rests::new(Instant::now()),
            backlog: false,
            stopping: false,
        })
    }

    fn run(mut self) {
        let mut found = Found::Nothing;
        let mut ended = Instant::now();
        while !self.stopping {
            let (ready, started) = match self.wait(ended, found) {
                Ok(over) => over,
                Err(problem) => {
                    error!(%problem, "the shard cannot wait for its socket any more and stops");
                    return;
                }
            };
            found = self.turn(started, ready);
            ended = Instant::now();
            self.io.turns += 1;
            self.io.busy_ns += u64::try_from((ended - started).as_nanos()).unwrap_or(u64::MAX);
        }
    }

    /// Waits until the next turn. Gives what is ready then, and the time.
    fn wait(&mut self, ended: Instant, found: Found) -> io::Result<(Ready, Instant)> {
        let deadline = self.sfu.deadline().map(|deadline| deadline.saturating_duration_since(ended));
        let left = deadline.into_iter().chain(self.unsent.retry_in()).min();
        let left = if self.backlog { Some(Duration::ZERO) } else { left };
        let rest = self.rests.next(ended, found, left);
        let ready = match rest {
            Rest::Watch(limit) => wait(&self.socket, self.mailbox.as_fd(), Some(self.relays.as_fd()), limit)?,
            Rest::Sleep(time) => {
                sleep(time)?;
                Ready { socket: true, mailbox: self.mailbox.has_news(), relays: true }
            }
        };
        let now = Instant::now();
        self.rests.over(ended, now, rest);
        Ok((ready, now))
    }

    /// One turn. The socket is read before the mailbox: what another shard says about an address was sent before the
    /// datagrams it made that address send, so it is known before they are looked at.
    fn turn(&mut self, now: Instant, ready: Ready) -> Found {
        if let Err(problem) = self.socket.recv_batch(&mut self.received).map(drop) {
            warn!(%problem, "receiving failed");
        }
        // A call each for nothing would cost as much as a relayed datagram's share of the turn.
        if ready.mailbox {
            self.mailbox.acknowledge();
        }
        let parcels = self.take_parcels(now);
        self.backlog = parcels == CROSSINGS_PER_TURN;
        for datagram in self.received.datagrams() {
            self.io.datagrams_received += 1;
            self.io.bytes_received += datagram.contents.len() as u64;
            self.sfu.handle(now, &datagram);
        }
        if ready.relays {
            self.relays.poll();
        }
        let relayed = self.relays.receive(now, &mut self.sfu, &mut self.io);
        self.serve_requests(now);
        while self.sfu.flush_part(now) == Flushed::Partly {
            self.deliver();
        }
        self.deliver();
        if self.received.is_full() || self.relays.has_backlog() {
            Found::More
        } else if self.received.messages() + relayed + parcels > 0 {
            Found::Some
        } else {
            Found::Nothing
        }
    }

    /// Takes what other shards and connections sent, and says how many there were.
    fn take_parcels(&mut self, now: Instant) -> usize {
        for taken in 0..CROSSINGS_PER_TURN {
            match self.mailbox.crossing() {
                Some(Parcel::Crossing(crossing)) => self.sfu.handle_crossing(now, crossing),
                Some(Parcel::Stream(event)) => self.streams.handle(now, self.index, event, &mut self.sfu),
                None => return taken,
            }
        }
        CROSSINGS_PER_TURN
    }

    fn serve_requests(&mut self, now: Instant) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(envelope) = self.mailbox.request() else { return };
            self.stopping |= matches!(envelope.command, Command::Shutdown);
            let mut reply = self.sfu.command(now, envelope.command);
            if let Reply::Stats(stats) = &mut reply {
                stats.io = self.io;
            }
            self.replies.push((envelope.reply, reply));
        }
        self.backlog = true;
    }

    /// Empties the outbox: values to other shards first, because datagrams may make their subjects answer. Answers to
    /// requests come after those values, too: what is asked elsewhere because of them finds them there.
    fn deliver(&mut self) {
        self.relays.serve(&mut self.sfu);
        self.unsent.retry(&self.shards);
        let outbox = self.sfu.outbox();
        for (shard, crossing) in outbox.crossings.drain(..) {
            self.io.crossings_lost += self.unsent.send(&self.shards, shard, crossing);
        }
        for (asker, reply) in self.replies.drain(..) {
            // The asker may have gone away: then nobody wants to know.
            let _ = asker.send(reply);
        }
        for datagram in outbox.datagrams.drain(..) {
            self.sending.push(datagram.remote, datagram.local_ip, datagram.contents);
            if self.sending.is_due() {
                count(&mut self.io, &self.sending.flush(&self.socket));
            }
        }
        self.streams.send(&mut outbox.streams, &mut self.io);
        self.relays.send(&mut outbox.to_peers, &mut outbox.spare, |report| count(&mut self.io, report));
        let mut lost = Vec::new();
        for event in outbox.events.drain(..) {
            if let Err(TrySendError::Full(event) | TrySendError::Closed(event)) = self.events.try_send(event) {
                lost.push(event);
            }
        }
        lost.iter().for_each(|event| outbox.lose(event));
        count(&mut self.io, &self.sending.flush(&self.socket));
        self.sending.reclaim(&mut self.sfu.outbox().spare);
    }
}

fn count(io: &mut IoStats, report: &SendReport) {
    io.datagrams_sent += report.datagrams;
    io.bytes_sent += report.bytes;
    io.send_calls += report.calls;
    io.send_messages += report.messages;
    io.datagrams_unsent += report.dropped_total();
}
