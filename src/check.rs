//! Can clients reach this server? It asks itself over every path it advertises: STUN and its own relay, UDP and TCP.
//!
//! What is found from here is not yet what others find: a router may keep a machine from its own public address, and a
//! firewall may let this machine in and nobody else. The page `/check` asks from a browser's side.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::turn::Credential;
use crate::turn::client::{self, Answer, Transaction};
use crate::turn::framing::Deframer;

/// How long an answer is waited for before the request is repeated (UDP), and how often it is sent. Longer: slow paths
/// are found; shorter: the check is over sooner.
const RETRY: Duration = Duration::from_millis(500);
const TRIES: u32 = 4;

/// Longest answer.
const ANSWER: usize = 2048;

/// What is to be examined.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// Addresses clients are told.
    pub addresses: Vec<SocketAddr>,
    /// TCP is accepted at the same port numbers.
    pub tcp: bool,
    /// HTTP's port, where media over TCP is accepted as well, if others than this machine reach it.
    pub http: Option<u16>,
    /// Lets the relay be tried.
    pub credential: Option<Credential>,
}

/// What was found on one path. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which path.
    pub path: String,
    /// What came back, or what is wrong.
    pub result: Result<String, Problem>,
}

/// Why a path does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was seen.
    pub symptom: String,
    /// What may be the cause, and what to do; the same for all paths that fail in the same way (see [`remedies`]).
    pub remedy: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    Udp,
    Tcp,
}

#[derive(Debug, Clone, Copy)]
struct Path {
    transport: Transport,
    to: SocketAddr,
}

/// What kept an answer away.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("no answer")]
    Silence,
    /// A connection was made, and what is at its end speaks no STUN.
    #[error("it is connected, but nothing is answered")]
    Mute,
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("it does not take our credentials")]
    Stranger,
    #[error("an unexpected answer: {0:?}")]
    Unexpected(Answer),
}

/// Examines every path, all at the same time.
pub async fn examine(subject: &Subject) -> Vec<Finding> {
    let udp = subject.addresses.iter().map(|to| Path { transport: Transport::Udp, to: *to });
    let tcp = udp.clone().filter(|_| subject.tcp).map(|path| Path { transport: Transport::Tcp, ..path });
    let http = subject.http.map(|port| subject.addresses.iter().map(move |to| SocketAddr::new(to.ip(), port)));
    let http = http.into_iter().flatten().map(|to| Path { transport: Transport::Tcp, to });
    let paths: Vec<Path> = udp.chain(tcp).chain(http).collect();
    join_all(paths.into_iter().map(|path| examine_path(path, subject.credential.as_ref()))).await
}

/// STUN, and where that is answered the relay.
async fn examine_path(path: Path, credential: Option<&Credential>) -> Finding {
    let started = Instant::now();
    let result = match ask(path).await {
        Ok(seen) => {
            let answered =
                format!("answered in {:.1} ms, sees this machine as {seen}", started.elapsed().as_secs_f64() * 1000.0);
            match credential {
                None => Ok(answered),
                Some(credential) => examine_relay(path, credential).await.map(|relays| format!("{answered}; {relays}")),
            }
        }
        Err(trouble) => Err(Problem { symptom: trouble.to_string(), remedy: path.remedy(&trouble) }),
    };
    Finding { path: path.to_string(), result }
}

/// What to do about the paths that do not work, each thing once: a sentence that says for which of them.
pub fn remedies(findings: &[Finding]) -> Vec<String> {
    let mut remedies: Vec<(&str, Vec<&str>)> = Vec::new();
    for finding in findings {
        let Err(Problem { remedy, .. }) = &finding.result else { continue };
        match remedies.iter_mut().find(|(known, _)| known == remedy) {
            Some((_, paths)) => paths.push(&finding.path),
            None => remedies.push((remedy, vec![&finding.path])),
        }
    }
    remedies.into_iter().map(|(remedy, paths)| format!("{}: {remedy}", paths.join(", "))).collect()
}

async fn ask(path: Path) -> Result<SocketAddr, Trouble> {
    let mut line = Line::open(path).await?;
    let transaction = transaction()?;
    match line.exchange(&client::binding(&transaction), &transaction).await {
        Ok(Answer::Mapped(seen)) => Ok(seen),
        Ok(other) => Err(Trouble::Unexpected(other)),
        Err(_) if matches!(line, Line::Tcp { .. }) => Err(Trouble::Mute),
        Err(trouble) => Err(trouble),
    }
}

/// Whether a STUN server has the UDP port that is bound like this on this machine.
pub async fn is_served(bound: SocketAddr) -> bool {
    // `[::]` takes IPv4, too.
    let ip = if bound.ip().is_unspecified() { Ipv4Addr::LOCALHOST.into() } else { bound.ip() };
    ask(Path { transport: Transport::Udp, to: SocketAddr::new(ip, bound.port()) }).await.is_ok()
}

async fn examine_relay(path: Path, credential: &Credential) -> Result<String, Problem> {
    let trouble = match relay(path, credential).await {
        Ok(relayed) => return Ok(format!("relays from {relayed}")),
        Err(trouble) => trouble,
    };
    let remedy = match &trouble {
        Trouble::Stranger => {
            "another server has this address or port, or one with another turn.secret: the secret has to be the same \
             in all of them, and `ss -ulpn` names the program that has the port"
        }
        Trouble::Unexpected(Answer::Refused(508)) => {
            "all relay ports are in use, or as many as turn.allocations admits: raise it, or widen turn.relay_ports"
        }
        _ => "STUN works and TURN does not: what is in between may change UDP or TCP packets; try again",
    };
    Err(Problem { symptom: format!("answers, but does not relay: {trouble}"), remedy })
}

/// Allocates, and gives the allocation back.
async fn relay(path: Path, credential: &Credential) -> Result<SocketAddr, Trouble> {
    let mut line = Line::open(path).await?;
    let first = transaction()?;
    let nonce = match line.exchange(&client::allocate(&first, credential, None), &first).await? {
        Answer::Challenged(nonce) => nonce,
        other => return Err(Trouble::Unexpected(other)),
    };
    let second = transaction()?;
    match line.exchange(&client::allocate(&second, credential, Some(&nonce)), &second).await? {
        Answer::Challenged(_) => Err(Trouble::Stranger),
        Answer::Relayed(relayed) => {
            // Were it lost, the allocation would end by itself.
            let _ = line.send(&client::release(&transaction()?, credential, &nonce)).await;
            Ok(relayed)
        }
        other => Err(Trouble::Unexpected(other)),
    }
}

impl Path {
    /// What to do about a trouble on this path.
    fn remedy(self, trouble: &Trouble) -> &'static str {
        let refused = matches!(trouble, Trouble::System(error) if error.kind() == io::ErrorKind::ConnectionRefused);
        match (self.transport, trouble) {
            (Transport::Tcp, _) if refused => {
                "nothing listens there: is this TCP port forwarded to this machine, is media.tcp on?"
            }
            (Transport::Udp, _) if refused => {
                "nothing listens there, or a firewall refuses it: does a server with this configuration run, is this \
                 UDP port forwarded to this machine and let through?"
            }
            (Transport::Tcp, Trouble::Mute) => {
                "another program has this TCP port (`ss -tlpn` names it), or a proxy in between passes on HTTP only"
            }
            _ => {
                "clients are told this address, but packets from here to there do not come back: if the address is \
                 wrong, set media.public_ip; if it is right, let this port through the firewall and the router; a \
                 router that does not let this machine reach its own public address is no harm: then open /check \
                 from outside"
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(f, "{transport} {}", self.to)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.result {
            Ok(found) => write!(f, "ok      {}: {found}", self.path),
            Err(problem) => write!(f, "FAILED  {}: {}", self.path, problem.symptom),
        }
    }
}

/// A socket to the server.
enum Line {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, deframer: Deframer },
}

impl Line {
    async fn open(path: Path) -> Result<Self, Trouble> {
        let patience = RETRY * TRIES;
        match path.transport {
            Transport::Udp => {
                let any = if path.to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
                let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
                socket.connect(path.to).await?;
                Ok(Self::Udp(socket))
            }
            Transport::Tcp => {
                let connecting = timeout(patience, TcpStream::connect(path.to)).await;
                let stream = connecting.map_err(|_| Trouble::Silence)??;
                Ok(Self::Tcp { stream, deframer: Deframer::default() })
            }
        }
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), Trouble> {
        match self {
            Self::Udp(socket) => socket.send(request).await.map(drop)?,
            Self::Tcp { stream, .. } => stream.write_all(request).await?,
        }
        Ok(())
    }

    /// Sends a request and waits for its answer; over UDP, repeatedly.
    async fn exchange(&mut self, request: &[u8], transaction: &Transaction) -> Result<Answer, Trouble> {
        for attempt in 0..TRIES {
            if attempt == 0 || matches!(self, Self::Udp(_)) {
                self.send(request).await?;
            }
            match timeout(RETRY, self.answer(transaction)).await {
                Ok(answer) => return answer,
                Err(_) => continue,
            }
        }
        Err(Trouble::Silence)
    }

    async fn answer(&mut self, transaction: &Transaction) -> Result<Answer, Trouble> {
        let mut buffer = vec![0; ANSWER];
        loop {
            let mut found = None;
            match self {
                Self::Udp(socket) => {
                    let length = socket.recv(&mut buffer).await?;
                    found = client::read(&buffer[..length], transaction);
                }
                Self::Tcp { stream, deframer } => {
                    let length = stream.read(&mut buffer).await?;
                    if length == 0 {
                        return Err(Trouble::System(io::ErrorKind::UnexpectedEof.into()));
                    }
                    let pushed = deframer.push(&buffer[..length], |message| {
                        found = found.take().or_else(|| client::read(message, transaction));
                    });
                    pushed.map_err(io::Error::other)?;
                }
            }
            if let Some(answer) = found {
                return Ok(answer);
            }
        }
    }
}

fn transaction() -> Result<Transaction, Trouble> {
    let mut transaction = Transaction::default();
    SysRng.try_fill_bytes(&mut transaction).map_err(io::Error::other)?;
    Ok(transaction)
}

#[cfg(test)]
mod tests;
