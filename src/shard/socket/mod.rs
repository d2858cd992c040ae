//! The UDP socket of a shard: many datagrams per system call, in both directions.
//!
//! Receiving: `recvmmsg`, with the kernel joining datagrams of one sender (`UDP_GRO`); a [`RecvBatch`] splits them
//! again without copying. Sending: a [`SendBatch`] gathers equal-sized datagrams for one destination into runs, and a
//! run is one message that the kernel (or the network card) cuts (`UDP_SEGMENT`). System calls are the larger part of
//! what a forwarded packet costs: `send_to` takes about 3 us, `sendmmsg` 2.4, runs of eight 0.75 (loopback, 2-core VM).
//!
//! Not here: threads, timers, what a datagram means. Nothing blocks except [`wait`].
//!
//! - `bind`: opening the sockets of all shards, and what to tell a person when that fails
//! - `receive`, `send`: the batches, free of system calls
//! - `linux`, `portable`: the system calls
//! - `senders`: sockets that only send
//! - `wait`: sleeping until there is something to do

mod bind;
#[cfg(target_os = "linux")]
mod linux;
mod portable;
mod receive;
mod send;
#[cfg(target_os = "linux")]
mod senders;
mod wait;

/// The best way this system has.
#[cfg(target_os = "linux")]
use linux as native;
#[cfg(not(target_os = "linux"))]
use portable as native;

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sfu::Datagram;

pub use bind::BindError;
pub use receive::RecvBatch;
pub use send::{SendBatch, SendDrop, SendReport};
pub(super) use wait::sleep;
pub use wait::{Ready, wait};

/// Errors of earlier datagrams skipped per call. Larger: a storm of ICMP holds the shard for longer; smaller: what
/// waits behind them waits for the next call, or is lost.
const SKIPPED_ERRORS: usize = 16;

/// How datagrams pass between us and the kernel, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batching {
    /// Many messages per call, each a run of equal-sized datagrams (Linux 5.0 and later: UDP_SEGMENT, UDP_GRO).
    Segments,
    /// Many messages per call, each one datagram (Linux).
    Messages,
    /// One datagram per call (everywhere). The local address a datagram was sent to is known only when the socket is
    /// bound to one, and replies leave from the address the system picks.
    None,
}

/// What the operator may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Best way to try; a lesser one is used where the system lacks it.
    pub batching: Batching,
    /// Receive buffer to ask the kernel for, in bytes, per shard.
    pub receive_buffer: usize,
    /// Send buffer to ask the kernel for, in bytes, per shard.
    pub send_buffer: usize,
}

impl Default for SocketOptions {
    /// 4 MiB each way: at 1 Gbit/s the receive buffer holds what arrives in some 15 ms (the kernel counts its own
    /// overhead), longer than any turn of a shard.
    fn default() -> Self {
        Self { batching: Batching::Segments, receive_buffer: 4 << 20, send_buffer: 4 << 20 }
    }
}

/// A non-blocking UDP socket. It belongs to one thread at a time.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    local: SocketAddr,
    batching: Cell<Batching>,
    /// Runs refused in a row, where there are runs.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    refused_runs: Cell<u32>,
    /// What sends for it, where it is on all addresses.
    #[cfg(target_os = "linux")]
    senders: Option<Box<senders::Senders>>,
}

impl UdpSocket {
    /// Opens one socket per shard, all on the same address and port (`SO_REUSEPORT`: the kernel spreads senders over
    /// them). `[::]` takes IPv4 too; where the system has no IPv6 at all it becomes `0.0.0.0`. Port 0 picks a free one.
    ///
    /// # Errors
    /// Says what to do about it: the port is taken, not allowed, or the address is not of this machine.
    pub fn bind_all(
        address: SocketAddr,
        shards: NonZeroUsize,
        options: &SocketOptions,
    ) -> Result<Vec<Self>, BindError> {
        bind::bind_all(address, shards, options)
    }

    /// Opens one socket that nobody shares. `[::]` takes IPv4 too; where the system has no IPv6 it becomes `0.0.0.0`.
    ///
    /// # Errors
    /// In the system's words: the port is taken, or not allowed.
    pub fn open(address: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        bind::open_alone(address, options)
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The way in use. May fall from `Segments` to `Messages` when the kernel turns out to refuse runs.
    pub fn batching(&self) -> Batching {
        self.batching.get()
    }

    /// Takes what has arrived, up to one batch, without waiting; the batch is overwritten. Nothing there is an empty
    /// iterator. Errors that belong to an earlier datagram of ours (ICMP unreachable) are skipped.
    ///
    /// # Errors
    /// The socket itself is unusable.
    pub fn recv_batch<'b>(&self, batch: &'b mut RecvBatch) -> io::Result<impl Iterator<Item = Datagram<'b>> + use<'b>> {
        batch.clear();
        match self.batching() {
            Batching::Segments | Batching::Messages => native::receive(self, batch)?,
            Batching::None => portable::receive(self, batch)?,
        }
        Ok(batch.datagrams())
    }

    /// The address as the kernel wants it: a socket bound to an IPv6 address reaches IPv4 by mapped addresses.
    fn kernel_address(&self, remote: SocketAddr) -> SocketAddr {
        match (self.local, remote) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0))
            }
            _ => remote,
        }
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes the IPv6 coat off an IPv4 address, as everything above the socket expects.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(IpAddr::V4(ip), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The call stumbled over something that is not the fault of the datagram given: a signal, or news (ICMP) about an
/// earlier one. Reading the news clears it, so trying again is right.
fn is_of_another(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::ECONNREFUSED | libc::ECONNRESET))
}

#[cfg(test)]
mod tests;
