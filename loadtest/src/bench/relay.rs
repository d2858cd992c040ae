//! CPU of a TURN server per datagram it relays, beside coturn's on the same machine and load.
//!
//! Clients on one core send a steady number of datagrams a second, each through its own allocation and channel; the
//! server on the other core relays them to one peer. To a peer outside that is a socket on loopback; in process it is
//! this server's own media port, where what it has unwrapped ends as a datagram of nobody it knows. Loopback runs the
//! receiving half of the network stack in the sender's context, so the figures include the peer's.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde::Serialize;

use super::server::Server;
use super::turn::{Relayed, channel_data};
use super::{GENERATOR_CORE, SERVER_CORE, SETTLING, system};
use crate::cli::Relay;

/// Bytes of data in each datagram: those of a video packet.
const PAYLOAD: usize = 1_000;

/// Between two rounds of sending.
const ROUND: Duration = Duration::from_millis(1);

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
    rows: Vec<Row>,
}

/// One number of allocations.
#[derive(Debug, Serialize)]
struct Row {
    allocations: usize,
    /// In the order of [`Case`]s measured.
    measured: Vec<Measured>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct Measured {
    case: Case,
    /// Server CPU per datagram that arrived, in microseconds.
    server_us: f64,
    /// Of those sent.
    lost_percent: f64,
}

/// Measures every case with every number of allocations.
pub(crate) fn run(arguments: &Relay) -> anyhow::Result<Outcome> {
    if system::cores() <= GENERATOR_CORE {
        bail!("this machine has {} core: the server and the generator need one each", system::cores());
    }
    let most = arguments.allocations.iter().max().copied().unwrap_or(0);
    system::allow_files(FILES + 2 * most as u64)?;
    let mut cases = vec![Case::Outside, Case::InProcess];
    cases.extend(arguments.coturn.as_ref().map(|_| Case::Coturn));
    let mut rows = Vec::new();
    for allocations in arguments.allocations.iter().copied() {
        let mut measured = Vec::new();
        for case in &cases {
            eprintln!("{allocations} allocations, {case} ...");
            let result = measure(arguments, *case, allocations);
            measured.push(result.with_context(|| format!("{allocations} allocations, {case}"))?);
        }
        rows.push(Row { allocations, measured });
    }
    Ok(Outcome { machine: system::machine(), rate: arguments.rate, rows })
}

fn measure(arguments: &Relay, case: Case, allocations: usize) -> anyhow::Result<Measured> {
    system::pin(SERVER_CORE)?;
    let (mut server, address) = start(arguments, case, allocations)?;
    system::pin(GENERATOR_CORE)?;
    server.wait_until_ready(|time| {
        pause(time);
        Ok(())
    })?;
    let sink = Sink::open(arguments.port + 1)?;
    let peer = if case == Case::InProcess { address } else { sink.address };
    let relayed = |number| Relayed::new(client_ip(number), address, SECRET, peer);
    let clients: Vec<Relayed> = (0..allocations).map(relayed).collect::<Result<_, _>>()?;
    let mut load = Load { clients, datagram: channel_data(&[0x80; PAYLOAD]), next: 0 };
    load.send(arguments.rate, SETTLING, &sink)?;
    let arrived = |sink: &Sink| match case {
        Case::InProcess => unwrapped(arguments.http_port),
        Case::Outside | Case::Coturn => Ok(sink.received.get()),
    };
    let before = (arrived(&sink)?, server.cpu_time()?);
    let sent = load.send(arguments.rate, arguments.time, &sink)?;
    let after = (arrived(&sink)?, server.cpu_time()?);
    let datagrams = (after.0 - before.0) as f64;
    let spent = after.1.saturating_sub(before.1).as_secs_f64();
    let lost_percent = (1.0 - datagrams / sent as f64) * 100.0;
    Ok(Measured { case, server_us: spent * 1e6 / datagrams, lost_percent })
}

/// Each client calls from an address of its own: strangers' requests are limited by address, and clients' ports would
/// be in the way of relayed ones.
fn client_ip(number: usize) -> IpAddr {
    let [.., high, low] = (number + 1).to_be_bytes();
    IpAddr::from([127, 1, high, low])
}

/// Starts the server of a case, and says where its TURN is.
fn start(arguments: &Relay, case: Case, allocations: usize) -> anyhow::Result<(Server, SocketAddr)> {
    let Relay { http_port, port, .. } = arguments;
    let address = SocketAddr::from(([127, 0, 0, 1], *port));
    // The server's look at itself takes some as well.
    let quota = allocations + 10;
    let (program, flags, ready): (&Path, Vec<String>, String) = match (case, &arguments.coturn) {
        (Case::Coturn, Some(coturn)) => {
            let flags = format!(
                "-n -m 1 -L 127.0.0.1 -E 127.0.0.1 -p {port} --use-auth-secret --static-auth-secret={SECRET} \
                 --realm=turn --allow-loopback-peers --no-tls --no-dtls --no-cli --log-file=/dev/null"
            );
            (coturn, flags.split_whitespace().map(str::to_owned).collect(), format!("http://{address}"))
        }
        _ => {
            let settings = format!(
                "http.listen=127.0.0.1:{http_port} media.port={port} media.bind=127.0.0.1 media.shards=1 \
                 media.loopback=always turn.secret={SECRET} turn.allow_peers=127.0.0.0/8 turn.allocations={quota} \
                 log.filter=warn turn.bandwidth=64MiB"
            );
            let flags = settings.split_whitespace().flat_map(|setting| ["--set".to_owned(), setting.to_owned()]);
            (&arguments.server, flags.collect(), format!("http://127.0.0.1:{http_port}"))
        }
    };
    Ok((Server::start(program, &flags, &ready)?, address))
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
    received: std::cell::Cell<u64>,
}

impl Sink {
    /// The port is given: the system might choose one of the relayed addresses'.
    fn open(port: u16) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", port)).with_context(|| format!("the peer's port {port}"))?;
        // What the system grants has to do.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER);
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        Ok(Self { socket, address, received: std::cell::Cell::new(0) })
    }

    fn empty(&self) {
        let mut buffer = [0; 2_048];
        while self.socket.recv(&mut buffer).is_ok() {
            self.received.set(self.received.get() + 1);
        }
    }
}

/// All clients, who send in turn.
struct Load {
    clients: Vec<Relayed>,
    datagram: Vec<u8>,
    next: usize,
}

impl Load {
    /// Sends at this rate for this long, and gives the number sent.
    fn send(&mut self, rate: u32, time: Duration, sink: &Sink) -> anyhow::Result<u64> {
        let started = Instant::now();
        let mut sent = 0;
        while started.elapsed() < time {
            let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            while sent < due {
                let client = self.clients.get(self.next % self.clients.len()).context("no clients")?;
                self.next += 1;
                sent += 1;
                // A full socket buffer is loss, as on any network.
                let _ = client.send(&self.datagram);
            }
            sink.empty();
            pause(ROUND);
        }
        // What is under way arrives.
        pause(50 * ROUND);
        sink.empty();
        Ok(sent)
    }
}

/// Lets time pass. A load that is sent at a rate has nothing else to wait for.
#[allow(clippy::disallowed_methods, reason = "there is no event to wait for")]
fn pause(time: Duration) {
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
        let Self { machine, rate, rows } = self;
        writeln!(f, "{machine}. {rate} datagrams/s of {PAYLOAD} bytes, client to peer; server us/datagram.\n")?;
        write!(f, "| allocations ")?;
        for Measured { case, .. } in rows.first().iter().flat_map(|row| &row.measured) {
            write!(f, "| {case} ")?;
        }
        writeln!(f, "|\n|{}", "---:|".repeat(1 + rows.first().map_or(0, |row| row.measured.len())))?;
        for Row { allocations, measured } in rows {
            let coturn = measured.iter().find(|one| one.case == Case::Coturn).map(|one| one.server_us);
            write!(f, "| {allocations} ")?;
            for Measured { case, server_us, lost_percent } in measured {
                write!(f, "| {server_us:.2}")?;
                if let Some(coturn) = coturn.filter(|_| *case != Case::Coturn) {
                    write!(f, " ({:.2}x)", server_us / coturn)?;
                }
                if *lost_percent >= 0.05 {
                    write!(f, ", {lost_percent:.1} % lost")?;
                }
                write!(f, " ")?;
            }
            writeln!(f, "|")?;
        }
        Ok(())
    }
}
