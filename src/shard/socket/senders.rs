//! Sockets that only send, one for each IPv4 address of ours that peers call (Linux).
//!
//! A socket on all addresses has to be told with every message which of them to send from, and one for both families
//! takes a detour for IPv4: 3 to 5 % of what a forwarded packet costs with 300 viewers. A socket bound to the address
//! needs neither, and what it sends looks the same. It is connected to a port of its own address where nobody is, so
//! that the kernel gives it nothing that arrives: all of that still comes to the socket on all addresses. Between
//! binding and connecting, some microseconds in the life of a shard, datagrams may be lost to it.

use std::cell::OnceCell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use super::UdpSocket;
use super::bind::of_std;

/// Addresses that have a socket. Larger: more descriptors per shard; smaller: on a machine with more addresses, the
/// others have theirs said in each message.
const MAX_SENDERS: usize = 8;

/// The port of discard (RFC 863), which answers nothing if somebody should be there.
const NOBODY: u16 = 9;

/// The sending sockets of one shard, opened when they are first wanted.
#[derive(Debug)]
pub(super) struct Senders {
    port: u16,
    send_buffer: usize,
    opened: [OnceCell<Sender>; MAX_SENDERS],
}

#[derive(Debug)]
struct Sender {
    ip: Ipv4Addr,
    /// Nothing where the system refused it.
    socket: Option<UdpSocket>,
}

impl Senders {
    /// Beside a socket on this port of all addresses, which lets others share it.
    pub(super) fn new(port: u16, send_buffer: usize) -> Self {
        Self { port, send_buffer, opened: [const { OnceCell::new() }; MAX_SENDERS] }
    }

    /// The socket that sends from this address to that peer, where there is one.
    pub(super) fn find(&self, local_ip: Option<IpAddr>, remote: SocketAddr) -> Option<&UdpSocket> {
        let (Some(IpAddr::V4(ip)), SocketAddr::V4(_)) = (local_ip, remote) else { return None };
        let mut senders = self.opened.iter().map(|place| place.get_or_init(|| self.open(ip)));
        senders.find(|sender| sender.ip == ip)?.socket.as_ref()
    }

    fn open(&self, ip: Ipv4Addr) -> Sender {
        let socket = self.try_open(ip);
        if let Err(error) = &socket {
            tracing::debug!(%ip, %error, "no socket of its own for sending");
        }
        Sender { ip, socket: socket.ok() }
    }

    fn try_open(&self, ip: Ipv4Addr) -> io::Result<UdpSocket> {
        let address = SocketAddr::from((ip, self.port));
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.set_nonblocking(true)?;
        // What the system grants was reported for the other socket.
        let _ = socket.set_send_buffer_size(self.send_buffer);
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        socket.connect(&SocketAddr::from((ip, NOBODY)).into())?;
        Ok(of_std(socket.into(), address))
    }
}
