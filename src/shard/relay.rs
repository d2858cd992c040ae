//! Sockets of relayed addresses: one per allocation that talks to peers outside, opened when the first is permitted.
//!
//! They are many and mostly idle, so the system tells which have something (`epoll`, `kqueue`), and the shard waits for
//! that as for one more socket. Datagrams go in batches here as on the media port.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustc_hash::FxHashMap;
use slotmap::{Key as _, KeyData};
use tracing::{debug, warn};

use super::socket::{RecvBatch, SendBatch, SendReport, SocketOptions, UdpSocket};
use crate::sfu::Sfu;
use crate::sfu::stats::IoStats;
use crate::turn::{AllocationKey, SocketRequest, ToPeer};

/// Sockets looked at per turn. Larger: a flood at relayed addresses keeps the media port waiting longer; smaller: more
/// turns under load.
const SOCKETS_PER_TURN: usize = 64;

/// Kernel buffers of each socket, in bytes. Larger: more memory when thousands are flooded; smaller: bursts of one peer
/// are lost.
const BUFFER: usize = 512 << 10;

/// A relayed socket.
struct Relayed {
    socket: UdpSocket,
    /// It is among the readable ones.
    in_line: bool,
}

/// The relayed sockets of one shard.
pub(super) struct Relays {
    poll: Poll,
    events: Events,
    /// Address they are opened on; `[::]` serves both families.
    bind: IpAddr,
    sockets: FxHashMap<AllocationKey, Relayed>,
    /// Readable, as far as we know. Each is told once (edge-triggered), so it stays here until it was found empty.
    readable: VecDeque<AllocationKey>,
    received: RecvBatch,
    sending: SendBatch,
}

impl Relays {
    pub(super) fn new(bind: IpAddr) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(SOCKETS_PER_TURN),
            bind,
            sockets: FxHashMap::default(),
            readable: VecDeque::new(),
            received: RecvBatch::new(),
            sending: SendBatch::new(),
        })
    }

    /// Becomes readable when a socket is.
    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the poll's own, which outlives the borrow.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }

    /// More waits than the last turn took.
    pub(super) fn has_backlog(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Opens and closes what the `Sfu` asks for.
    pub(super) fn serve(&mut self, sfu: &mut Sfu) {
        let requests = std::mem::take(&mut sfu.outbox().sockets);
        for request in requests {
            match request {
                SocketRequest::Open { relay, port } => {
                    if let Err(problem) = self.open(relay, port) {
                        warn!(port, %problem, "a relay port cannot be opened; its client has to allocate again");
                        sfu.relay_failed(relay);
                    }
                }
                SocketRequest::Close { relay } => self.close(relay),
            }
        }
    }

    /// Finds out which sockets are readable, once the descriptor of all of them is.
    pub(super) fn poll(&mut self) {
        if let Err(problem) = self.poll.poll(&mut self.events, Some(Duration::ZERO)) {
            debug!(%problem, "polling the relayed sockets failed");
        }
        for relay in self.events.iter().map(|event| key(event.token())) {
            // One that was not emptied is in line already.
            if let Some(relayed) = self.sockets.get_mut(&relay)
                && !std::mem::replace(&mut relayed.in_line, true)
            {
                self.readable.push_back(relay);
            }
        }
    }

    /// Hands in what has arrived. Gives the number of messages.
    pub(super) fn receive(&mut self, now: Instant, sfu: &mut Sfu, io: &mut IoStats) -> usize {
        let mut messages = 0;
        for _ in 0..self.readable.len().min(SOCKETS_PER_TURN) {
            let Some(relay) = self.readable.pop_front() else { break };
            let Some(Relayed { socket, in_line }) = self.sockets.get_mut(&relay) else { continue };
            *in_line = false;
            if let Err(problem) = socket.recv_batch(&mut self.received).map(drop) {
                debug!(%problem, "receiving at a relayed address failed");
                continue;
            }
            for datagram in self.received.datagrams() {
                io.datagrams_received += 1;
                io.bytes_received += datagram.contents.len() as u64;
                sfu.handle_peer(now, relay, datagram.remote, datagram.contents);
            }
            messages += self.received.messages();
            // Where fewer came than were asked for, the socket is empty, and what comes next is told anew.
            if self.received.is_full() {
                *in_line = true;
                self.readable.push_back(relay);
            }
        }
        messages
    }

    /// Sends, grouped by socket. The buffers of what was sent are added to `spare`.
    pub(super) fn send(
        &mut self,
        datagrams: &mut Vec<ToPeer>,
        spare: &mut Vec<Vec<u8>>,
        mut report: impl FnMut(&SendReport),
    ) {
        // Stable: the order per allocation is kept.
        datagrams.sort_by_key(|datagram| datagram.relay);
        let mut current = None;
        for ToPeer { relay, peer, contents } in datagrams.drain(..) {
            if current != Some(relay) || self.sending.is_due() {
                self.flush(current, &mut report);
                current = Some(relay);
            }
            self.sending.push(peer, None, contents);
        }
        self.flush(current, &mut report);
        self.sending.reclaim(spare);
    }

    fn flush(&mut self, relay: Option<AllocationKey>, report: &mut impl FnMut(&SendReport)) {
        if self.sending.is_empty() {
            return;
        }
        match relay.and_then(|relay| self.sockets.get(&relay)) {
            Some(relayed) => report(&self.sending.flush(&relayed.socket)),
            // Its allocation ended in this turn.
            None => self.sending = SendBatch::new(),
        }
    }

    fn open(&mut self, relay: AllocationKey, port: u16) -> io::Result<()> {
        let options = SocketOptions { receive_buffer: BUFFER, send_buffer: BUFFER, ..SocketOptions::default() };
        let socket = UdpSocket::open(SocketAddr::new(self.bind, port), &options)?;
        let fd = socket.as_fd().as_raw_fd();
        self.poll.registry().register(&mut SourceFd(&fd), token(relay), Interest::READABLE)?;
        self.sockets.insert(relay, Relayed { socket, in_line: false });
        Ok(())
    }

    fn close(&mut self, relay: AllocationKey) {
        let Some(Relayed { socket, .. }) = self.sockets.remove(&relay) else { return };
        let fd = socket.as_fd().as_raw_fd();
        // Closing it takes it out as well.
        let _ = self.poll.registry().deregister(&mut SourceFd(&fd));
    }
}

fn token(relay: AllocationKey) -> Token {
    Token(relay.data().as_ffi() as usize)
}

fn key(token: Token) -> AllocationKey {
    KeyData::from_ffi(token.0 as u64).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_another_program_has_is_not_opened() {
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut relays = Relays::new([127, 0, 0, 1].into()).unwrap();
        let (relay, taken) = (AllocationKey::default(), other.local_addr().unwrap().port());
        assert_eq!(relays.open(relay, taken).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(relays.sockets.is_empty());
        drop(other);
        relays.open(relay, taken).unwrap();
        relays.close(relay);
        assert!(relays.sockets.is_empty());
    }

    #[test]
    fn a_socket_stands_in_line_once_however_often_something_comes() {
        let mut relays = Relays::new([127, 0, 0, 1].into()).unwrap();
        let relay = AllocationKey::default();
        relays.open(relay, 0).unwrap();
        let address = relays.sockets.values().next().unwrap().socket.local_addr();
        let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..3 {
            sender.send_to(b"x", address).unwrap();
            relays.poll();
        }
        assert_eq!(relays.readable, [relay]);
    }
}
