//! Clients on real sockets: one thread, one UDP socket per client, signalling on a few threads beside it.
//!
//! Not here: what to publish or to expect ([`crate::spec`]), and how results are shown.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, ClientError, ConnectionState, Setup};
use crate::clock::Clock;
use crate::http::{Endpoint, Http, HttpError, Session};
use crate::member::{self, Joining, Membership};
use crate::socket::{ClientSocket, Message, Taking};
use crate::spec::{MemberSpec, PublisherSpec, ViewerSpec};

/// Threads that wait for HTTP answers. More: faster joining, and more load on the machine that is measured.
const SIGNALLING_THREADS: usize = 4;

/// How often answers are looked for while some are awaited. Their arrival does not wake the sockets' poll.
const ANSWER_INTERVAL: Duration = Duration::from_millis(2);

/// Sockets served per wake-up.
const MAX_EVENTS: usize = 1_024;

/// How long sessions are given to end.
const GOODBYE: Duration = Duration::from_secs(5);

/// Clients on real sockets.
pub struct Engine {
    poll: Poll,
    seats: Vec<Seat>,
    /// When a seat wants to be polled. An entry may be past its use.
    agenda: BinaryHeap<Reverse<(Instant, usize)>>,
    signalling: Signalling,
    clock: Clock,
    seed: u64,
    taking: Taking,
    message: Message,
}

/// One client with its socket.
pub struct Seat {
    /// The client.
    pub client: Client,
    /// Why it has no session, or how its session went wrong.
    pub failure: Option<Failure>,
    socket: ClientSocket,
    session: Option<Held>,
    armed: Option<Instant>,
}

/// What a seat has at the server.
#[derive(Debug)]
enum Held {
    /// A WHIP or WHEP session.
    Session(Session),
    /// A place in a room.
    Membership(Membership),
}

/// What a client failed of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server gave no session.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The server's answer cannot be used.
    #[error("{0}")]
    Answer(String),
}

/// Why a client could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The server cannot be reached from here.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// No offer could be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The system refused a socket; many clients need many files (`ulimit -n`).
    #[error("no socket for another client: {0}; for many clients raise the limit of open files (ulimit -n)")]
    Socket(#[from] io::Error),
}

impl Engine {
    /// An engine without clients. Media is the same for the same seed.
    pub fn new(seed: u64) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            seats: Vec::new(),
            agenda: BinaryHeap::new(),
            signalling: Signalling::start(),
            clock: Clock::machine(),
            seed,
            taking: Taking::default(),
            message: Message::new(),
        })
    }

    /// How the clients added from now on take datagrams from the kernel.
    pub fn set_taking(&mut self, taking: Taking) {
        self.taking = taking;
    }

    /// Adds a publisher; its offer is on its way when this returns.
    pub fn publish(&mut self, spec: PublisherSpec, endpoint: Endpoint) -> Result<(), EngineError> {
        let (socket, setup) = self.socket(&endpoint)?;
        let (client, offer) = Client::publisher(spec, setup, Instant::now())?;
        self.seat(client, socket, endpoint, offer)
    }

    /// Adds a viewer; its offer is on its way when this returns.
    pub fn watch(&mut self, spec: ViewerSpec, endpoint: Endpoint) -> Result<(), EngineError> {
        let (socket, setup) = self.socket(&endpoint)?;
        let (client, offer) = Client::viewer(spec, setup, Instant::now())?;
        self.seat(client, socket, endpoint, offer)
    }

    /// Adds a member of a room; its join is on its way when this returns.
    pub fn enter(&mut self, spec: MemberSpec, endpoint: Endpoint, identity: String) -> Result<(), EngineError> {
        let (socket, setup) = self.socket(&endpoint)?;
        let (client, offer) = Client::member(spec, setup, Instant::now())?;
        let joining = Joining { identity, offer, lines: client.own_lines() };
        let index = self.register(client, socket)?;
        self.signalling.request(Request::Join { seat: index, endpoint, joining });
        Ok(())
    }

    /// Serves all clients for a while.
    pub fn run_for(&mut self, time: Duration) -> io::Result<()> {
        let end = Instant::now() + time;
        self.run_until(end, |_| false)
    }

    /// Serves all clients until `end`, or until `done` says so of the seats.
    pub fn run_until(&mut self, end: Instant, done: impl Fn(&[Seat]) -> bool) -> io::Result<()> {
        let mut events = Events::with_capacity(MAX_EVENTS);
        loop {
            let now = Instant::now();
            if now >= end || done(&self.seats) {
                return Ok(());
            }
            let next = self.agenda.peek().map_or(end, |Reverse((at, _))| (*at).min(end));
            let waiting = if self.signalling.outstanding > 0 { ANSWER_INTERVAL } else { Duration::MAX };
            match self.poll.poll(&mut events, Some(next.saturating_duration_since(now).min(waiting))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                self.on_readable(event.token().0);
            }
            self.on_timers();
            self.on_answers();
        }
    }

    /// Ends every session: BYE and close_notify by UDP, DELETE by HTTP.
    pub fn stop(&mut self) -> io::Result<()> {
        for index in 0..self.seats.len() {
            if let Some(seat) = self.seats.get_mut(index) {
                seat.client.stop(Instant::now());
                match seat.session.take() {
                    Some(Held::Session(session)) => self.signalling.delete(session),
                    Some(Held::Membership(membership)) => self.signalling.request(Request::Leave(membership)),
                    None => {}
                }
            }
            self.pump(index);
        }
        let end = Instant::now() + GOODBYE;
        while self.signalling.outstanding > 0 && Instant::now() < end {
            self.run_for(ANSWER_INTERVAL)?;
        }
        Ok(())
    }

    /// All clients, in the order they were added.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// All clients, to change what is expected of them.
    pub fn seats_mut(&mut self) -> impl Iterator<Item = &mut Seat> {
        self.seats.iter_mut()
    }

    fn socket(&mut self, endpoint: &Endpoint) -> Result<(ClientSocket, Setup), EngineError> {
        let socket = ClientSocket::bind(endpoint.local_address()?, self.taking)?;
        self.seed += 1;
        let setup = Setup { address: socket.local_addr()?, clock: self.clock, seed: self.seed };
        Ok((socket, setup))
    }

    fn seat(
        &mut self,
        client: Client,
        socket: ClientSocket,
        endpoint: Endpoint,
        offer: String,
    ) -> Result<(), EngineError> {
        let index = self.register(client, socket)?;
        self.signalling.post(index, endpoint, offer);
        Ok(())
    }

    fn register(&mut self, client: Client, mut socket: ClientSocket) -> Result<usize, EngineError> {
        let index = self.seats.len();
        self.poll.registry().register(socket.source(), Token(index), Interest::READABLE)?;
        self.seats.push(Seat { client, failure: None, socket, session: None, armed: None });
        Ok(index)
    }

    /// Takes everything that waits in a socket: readiness is told once (edge-triggered).
    fn on_readable(&mut self, index: usize) {
        let Some(seat) = self.seats.get_mut(index) else { return };
        while seat.socket.receive(&mut self.message).is_ok() {
            let (source, arrived) = (self.message.source(), self.message.arrived());
            for datagram in self.message.datagrams() {
                seat.client.handle(arrived, source, datagram);
            }
        }
        self.pump(index);
    }

    fn on_timers(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((at, index))) = self.agenda.peek().copied()
            && at <= now
        {
            self.agenda.pop();
            if let Some(seat) = self.seats.get_mut(index).filter(|seat| seat.armed == Some(at)) {
                seat.armed = None;
                self.pump(index);
            }
        }
    }

    fn on_answers(&mut self) {
        while let Some((index, result)) = self.signalling.take() {
            let Some(seat) = self.seats.get_mut(index) else { continue };
            match result {
                Ok((session, answer)) => {
                    seat.session = Some(session);
                    let outcome = seat.client.accept_answer(&answer);
                    seat.failure = outcome.err().map(|error| Failure::Answer(error.to_string()));
                    self.pump(index);
                }
                Err(error) => seat.failure = Some(error.into()),
            }
        }
    }

    /// Lets a client do what is due, sends it, and notes when it wants to be called again.
    fn pump(&mut self, index: usize) {
        let Some(seat) = self.seats.get_mut(index) else { return };
        for datagram in seat.client.poll(Instant::now()) {
            seat.socket.send_to(&datagram.contents, datagram.destination);
        }
        if let Some(at) = seat.client.deadline()
            && seat.armed.is_none_or(|armed| at < armed)
        {
            seat.armed = Some(at);
            self.agenda.push(Reverse((at, index)));
        }
    }
}

impl Seat {
    /// Whether its connection stands.
    pub fn is_connected(&self) -> bool {
        *self.client.state() == ConnectionState::Connected
    }
}

/// HTTP on threads of its own.
struct Signalling {
    requests: Option<Sender<Request>>,
    /// `None` for a deletion, whose outcome changes nothing.
    answers: Receiver<Option<Answer>>,
    threads: Vec<JoinHandle<()>>,
    outstanding: usize,
}

enum Request {
    Post { seat: usize, endpoint: Endpoint, offer: String },
    Join { seat: usize, endpoint: Endpoint, joining: Joining },
    Delete(Session),
    Leave(Membership),
}

/// What came of an offer: the seat it was for, its session and the server's answer.
type Answer = (usize, Result<(Held, String), HttpError>);

impl Signalling {
    fn start() -> Self {
        let (requests, queue) = mpsc::channel();
        let (results, answers) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        let threads = (0..SIGNALLING_THREADS)
            .map(|_| {
                let (queue, results) = (Arc::clone(&queue), results.clone());
                std::thread::spawn(move || serve(&queue, &results))
            })
            .collect();
        Self { requests: Some(requests), answers, threads, outstanding: 0 }
    }

    fn post(&mut self, seat: usize, endpoint: Endpoint, offer: String) {
        self.request(Request::Post { seat, endpoint, offer });
    }

    fn delete(&mut self, session: Session) {
        self.request(Request::Delete(session));
    }

    fn request(&mut self, request: Request) {
        if let Some(requests) = &self.requests
            && requests.send(request).is_ok()
        {
            self.outstanding += 1;
        }
    }

    /// The next answer to an offer that has come.
    fn take(&mut self) -> Option<Answer> {
        loop {
            let answer = self.answers.try_recv().ok()?;
            self.outstanding -= 1;
            if answer.is_some() {
                return answer;
            }
        }
    }
}

impl Drop for Signalling {
    fn drop(&mut self) {
        // Threads end when the queue does; each may still be in one request.
        self.requests = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One signalling thread: requests from the queue until it is closed.
fn serve(queue: &Mutex<Receiver<Request>>, results: &Sender<Option<Answer>>) {
    let http = Http::default();
    loop {
        let request = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let answer = match request {
            Ok(Request::Post { seat, endpoint, offer }) => {
                let started = http.start(&endpoint, &offer);
                Some((seat, started.map(|(session, answer)| (Held::Session(session), answer))))
            }
            Ok(Request::Join { seat, endpoint, joining }) => {
                let joined = member::join(&endpoint, &joining);
                Some((seat, joined.map(|(membership, answer)| (Held::Membership(membership), answer))))
            }
            Ok(Request::Leave(membership)) => {
                drop(membership);
                None
            }
            Ok(Request::Delete(session)) => {
                // The server ends the session by itself when it hears nothing more.
                let _ = http.end(&session);
                None
            }
            Err(_) => return,
        };
        if results.send(answer).is_err() {
            return;
        }
    }
}
