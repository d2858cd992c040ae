//! CPU of a TURN server per datagram it relays, beside coturn's on the same machine and load.
//!
//! Clients on one core send a steady number of datagrams a second, each through its own allocation and channel; the
//! servers on the other core relay them to one peer. To a peer outside that is a socket on loopback; in process it is
//! this server's own media port, where what it has unwrapped ends as a datagram of nobody it knows. Loopback runs the
//! receiving half of the network stack in the sender's context, so the figures include the peer's.
//!
//! Both servers run all the time, and the cases take turns, a few seconds each: what else the machine does hits all of
//! them. Of each case's windows the cheapest counts.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::server::Server;
use super::turn::{Relayed, channel_data};
use super::{GENERATOR_CORE, SERVER_CORE, system};
use crate::cli::Relay;

/// Bytes of data in each datagram: those of a video packet. The first eight say when it was sent.
const PAYLOAD: usize = 1_000;

/// Where that is in the datagram.
const STAMP: std::ops::Range<usize> = 4..12;

/// Between two rounds of sending, where datagrams are sent in rounds.
const ROUND: Duration = Duration::from_millis(1);

/// Sent before each window, unmeasured.
const WARM_UP: Duration = Duration::from_millis(300);

/// Longest delay told apart from longer ones, in microseconds.
const LONGEST_US: u64 = 1_000_000;

/// Bytes asked for the peer's receive buffer. Larger: nothing is lost while this program sends.
const BUFFER: usize = 8 << 20;

/// File descriptors beyond the allocations' own.
const FILES: u64 = 1_024;

/// The secret of credentials.
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A server, and whom it relays to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    /// This server, to a peer outside.
    Outside,
    /// This server, to itself.
    InProcess,
    /// coturn, to a peer outside.
    Coturn,
}

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    machine: String,
    rate: u32,
    even: bool,
    rows: Vec<Row>,
}

/// One number of allocations.
#[derive(Debug, Serialize)]
struct Row {
    allocations: usize,
    /// In the order of [`Case`]s measured.
    measured: Vec<Measured>,
}

/// The cheapest window of a case.
#[derive(Debug, Clone, Copy, Serialize)]
struct Measured {
    case: Case,
    /// Server CPU per datagram that arrived, in microseconds.
    server_us: f64,
    /// How often the server went to sleep, per datagram. On a virtual machine a sleep costs more than a datagram.
    sleeps: f64,
    /// From the client to the peer, 99th percentile; not known in process.
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_p99_us: Option<u64>,
    /// Of those sent.
    lost_percent: f64,
}

/// Measures every case with every number of allocations.
pub(crate) fn run(arguments: &Relay) -> anyhow::Result<Outcome> {
    if system::cores() <= GENERATOR_CORE {
        bail!("this machine has {} core: the servers and the generator need one each", system::cores());
    }
    let most = arguments.allocations.iter().max().copied().unwrap_or(0);
    // Two per case, here and in the servers.
    system::allow_files(FILES + 3 * most as u64)?;
    let mut rows = Vec::new();
    for allocations in arguments.allocations.iter().copied() {
        eprintln!("{allocations} allocations ...");
        rows.push(measure(arguments, allocations).with_context(|| format!("{allocations} allocations"))?);
    }
    Ok(Outcome { machine: system::machine(), rate: arguments.rate, even: arguments.even, rows })
}

fn measure(arguments: &Relay, allocations: usize) -> anyhow::Result<Row> {
    system::pin(SERVER_CORE)?;
    let mut servers = vec![start(arguments, Case::Outside, allocations)?];
    if arguments.coturn.is_some() {
        servers.push(start(arguments, Case::Coturn, allocations)?);
    }
    system::pin(GENERATOR_CORE)?;
    let mut sink = Sink::open(arguments.port + 1)?;
    let mut loads = Vec::new();
    for (server, address) in &mut servers {
        server.wait_until_ready(|time| {
            pause(time);
            Ok(())
        })?;
        let cases: &[(Case, SocketAddr)] = match address.port() == arguments.port {
            true => &[(Case::Outside, sink.address), (Case::InProcess, *address)],
            false => &[(Case::Coturn, sink.address)],
        };
        for (case, peer) in cases {
            let clients =
                (0..allocations).map(|number| Relayed::new(client_ip(*case, number), *address, SECRET, *peer));
            let clients = clients.collect::<Result<_, _>>().with_context(|| case.to_string())?;
            loads.push((&*server, Load { case: *case, clients, datagram: channel_data(&[0x80; PAYLOAD]), next: 0 }));
        }
    }
    let mut measured: Vec<Measured> = Vec::new();
    for _ in 0..arguments.rounds {
        for (server, load) in &mut loads {
            let window = load.window(arguments, server, &mut sink)?;
            match measured.iter_mut().find(|known| known.case == window.case) {
                Some(known) if known.server_us <= window.server_us => {}
                Some(known) => *known = window,
                None => measured.push(window),
            }
        }
    }
    Ok(Row { allocations, measured })
}

/// Each client calls from an address of its own: strangers' requests are limited by address, and clients' ports would
/// be in the way of relayed ones.
fn client_ip(case: Case, number: usize) -> IpAddr {
    let [.., high, low] = (number + 1).to_be_bytes();
    IpAddr::from([127, 1 + case as u8, high, low])
}

/// Starts the server of a case, and says where its TURN is.
fn start(arguments: &Relay, case: Case, allocations: usize) -> anyhow::Result<(Server, SocketAddr)> {
    let Relay { http_port, port, .. } = arguments;
    // The peer has the port in between.
    let address = SocketAddr::from(([127, 0, 0, 1], if case == Case::Coturn { port + 2 } else { *port }));
    // Two cases, and the server's look at itself takes some as well.
    let quota = 2 * allocations + 10;
    let (program, flags, ready): (&Path, Vec<String>, String) = match (case, &arguments.coturn) {
        (Case::Coturn, Some(coturn)) => {
            let flags = format!(
                "-n -m 1 -L 127.0.0.1 -E 127.0.0.1 -p {} --use-auth-secret --static-auth-secret={SECRET} \
                 --realm=turn --allow-loopback-peers --no-tls --no-dtls --no-cli --log-file=/dev/null \
                 --min-port=20000 --max-port=32000",
                address.port()
            );
            (coturn, flags.split_whitespace().map(str::to_owned).collect(), format!("http://{address}"))
        }
        _ => (&arguments.server, relaying(*http_port, *port, SECRET, quota), format!("http://127.0.0.1:{http_port}")),
    };
    Ok((Server::start(program, &flags, &ready)?, address))
}

/// Settings of this server on loopback, with one shard that relays to peers there.
pub(super) fn relaying(http_port: u16, port: u16, secret: &str, allocations: usize) -> Vec<String> {
    let settings = format!(
        "http.listen=127.0.0.1:{http_port} media.port={port} media.bind=127.0.0.1 media.shards=1 \
         media.loopback=always turn.secret={secret} turn.allow_peers=127.0.0.0/8 turn.allocations={allocations} \
         log.filter=warn turn.bandwidth=64MiB"
    );
    settings.split_whitespace().flat_map(|setting| ["--set".to_owned(), setting.to_owned()]).collect()
}

/// Datagrams of clients that this server has relayed.
fn unwrapped(http_port: u16) -> anyhow::Result<u64> {
    const NAME: &str = "crosspoint_turn_datagrams_from_clients_total ";
    let text = ureq::get(&format!("http://127.0.0.1:{http_port}/metrics")).call()?.body_mut().read_to_string()?;
    let line = text.lines().find_map(|line| line.strip_prefix(NAME)).context("the metric is missing")?;
    Ok(line.trim().parse::<f64>()? as u64)
}

/// The peer outside.
struct Sink {
    socket: UdpSocket,
    address: SocketAddr,
    started: Instant,
    received: u64,
    delays: Histogram<u32>,
}

impl Sink {
    /// The port is given: the system might choose one of the relayed addresses'.
    fn open(port: u16) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", port)).with_context(|| format!("the peer's port {port}"))?;
        // What the system grants has to do.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER);
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            address,
            started: Instant::now(),
            received: 0,
            delays: Histogram::new_with_max(LONGEST_US, 2)?,
        })
    }

    /// Takes what has arrived.
    fn empty(&mut self) {
        let mut buffer = [0; 2_048];
        while self.socket.recv(&mut buffer).is_ok() {
            self.received += 1;
            if let Some(stamp) = buffer.first_chunk() {
                let delay = self.now().saturating_sub(u64::from_be_bytes(*stamp));
                self.delays.saturating_record(delay / 1_000);
            }
        }
    }

    /// Nanoseconds, on the clock of stamps.
    fn now(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }
}

/// All clients of a case, who send in turn.
struct Load {
    case: Case,
    clients: Vec<Relayed>,
    datagram: Vec<u8>,
    next: usize,
}

impl Load {
    /// Measures once.
    fn window(&mut self, arguments: &Relay, server: &Server, sink: &mut Sink) -> anyhow::Result<Measured> {
        let Relay { rate, even, time, http_port, .. } = arguments;
        self.send(*rate, *even, WARM_UP, sink)?;
        let case = self.case;
        let arrived = |sink: &Sink| match case {
            Case::InProcess => unwrapped(*http_port),
            Case::Outside | Case::Coturn => Ok(sink.received),
        };
        sink.delays.reset();
        let before = (arrived(sink)?, server.cpu_time()?, server.sleeps()?);
        let sent = self.send(*rate, *even, *time, sink)?;
        let after = (arrived(sink)?, server.cpu_time()?, server.sleeps()?);
        let datagrams = (after.0 - before.0) as f64;
        Ok(Measured {
            case,
            server_us: after.1.saturating_sub(before.1).as_secs_f64() * 1e6 / datagrams,
            sleeps: (after.2 - before.2) as f64 / datagrams,
            delay_p99_us: (case != Case::InProcess).then(|| sink.delays.value_at_quantile(0.99)),
            lost_percent: (1.0 - datagrams / sent as f64) * 100.0,
        })
    }

    /// Sends at this rate for this long, and gives the number sent.
    fn send(&mut self, rate: u32, even: bool, time: Duration, sink: &mut Sink) -> anyhow::Result<u64> {
        let started = Instant::now();
        let mut sent = 0;
        while started.elapsed() < time {
            let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while sent < due {
                let client = self.clients.get(self.next % self.clients.len()).context("no clients")?;
                self.next += 1;
                sent += 1;
                self.datagram[STAMP].copy_from_slice(&sink.now().to_be_bytes());
                // A full socket buffer is loss, as on any network.
                let _ = client.send(&self.datagram);
            }
            sink.empty();
            if !even {
                pause(ROUND);
            }
        }
        // What is under way arrives.
        pause(50 * ROUND);
        sink.empty();
        Ok(sent)
    }
}

/// Lets time pass. A load that is sent at a rate has nothing else to wait for.
#[allow(clippy::disallowed_methods, reason = "there is no event to wait for")]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "outside",
            Self::InProcess => "in process",
            Self::Coturn => "coturn, outside",
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, rate, even, rows } = self;
        let spacing = if *even { "evenly spaced" } else { "in rounds of 1 ms" };
        writeln!(f, "{machine}. {rate} datagrams/s of {PAYLOAD} bytes, {spacing}, client to peer.")?;
        writeln!(f, "Server us/datagram (share of coturn's), sleeps/datagram, p99 of the delay.\n")?;
        write!(f, "| allocations ")?;
        for Measured { case, .. } in rows.first().iter().flat_map(|row| &row.measured) {
            write!(f, "| {case} ")?;
        }
        writeln!(f, "|\n|{}", "---:|".repeat(1 + rows.first().map_or(0, |row| row.measured.len())))?;
        for Row { allocations, measured } in rows {
            let coturn = measured.iter().find(|one| one.case == Case::Coturn).map(|one| one.server_us);
            write!(f, "| {allocations} ")?;
            for one in measured {
                write!(f, "| {:.2}", one.server_us)?;
                if let Some(coturn) = coturn.filter(|_| one.case != Case::Coturn) {
                    write!(f, " ({:.2}x)", one.server_us / coturn)?;
                }
                write!(f, ", {:.2}", one.sleeps)?;
                // In rounds the peer is looked at once per round.
                if let Some(delay) = one.delay_p99_us.filter(|_| *even) {
                    write!(f, ", {delay} us")?;
                }
                if one.lost_percent >= 0.05 {
                    write!(f, ", {:.1} % lost", one.lost_percent)?;
                }
                write!(f, " ")?;
            }
            writeln!(f, "|")?;
        }
        Ok(())
    }
}
