//! Opening the sockets of all shards on one port.

use std::cell::Cell;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroUsize;

use socket2::{Domain, Socket, Type};

use super::{Batching, SocketOptions, UdpSocket, native};

/// Why the media port could not be opened, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody has the port.
    #[error(
        "UDP port {} on {} is in use, perhaps by another crosspoint: stop that program (`ss -ulpn` names it) or choose \
         another port with media.port", .address.port(), .address.ip()
    )]
    InUse {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Not allowed.
    #[error(
        "not allowed to open UDP port {} on {}: ports below 1024 need root or the capability CAP_NET_BIND_SERVICE; \
         grant it or choose a higher port with media.port", .address.port(), .address.ip()
    )]
    NotAllowed {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The address belongs to no interface.
    #[error(
        "{} is not an address of this machine: media.bind takes an address of one of its interfaces, or nothing for \
         all of them; a public address in front of a NAT belongs in media.public_ip", .address.ip()
    )]
    NotLocal {
        /// The address asked for.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("cannot open UDP {address}: {source}")]
    Other {
        /// The address asked for.
        address: SocketAddr,
        /// In the system's words.
        source: io::Error,
    },
}

/// See [`UdpSocket::open`].
pub(super) fn open_alone(address: SocketAddr, options: &SocketOptions) -> io::Result<UdpSocket> {
    match open(address, Port::Claim, options) {
        Err(error) if has_no_ipv6(&error) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), Port::Claim, options)
        }
        opened => opened,
    }
}

/// See [`UdpSocket::bind_all`].
pub(super) fn bind_all(
    address: SocketAddr,
    shards: NonZeroUsize,
    options: &SocketOptions,
) -> Result<Vec<UdpSocket>, BindError> {
    let first = match open(address, Port::Claim, options) {
        Err(error) if has_no_ipv6(&error) && address.ip() == Ipv6Addr::UNSPECIFIED => {
            tracing::info!("this system has no IPv6; media uses IPv4 only");
            open(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), Port::Claim, options)
        }
        opened => opened,
    };
    let first = first.map_err(|source| BindError::new(address, source))?;
    report_buffers(&first, options);
    let address = first.local;
    let others = (1..shards.get()).map(|_| open(address, Port::Share, options));
    let sockets: io::Result<Vec<_>> = std::iter::once(Ok(first)).chain(others).collect();
    let mut sockets = sockets.map_err(|source| BindError::new(address, source))?;
    sockets.iter_mut().for_each(|socket| native::give_senders(socket, options));
    Ok(sockets)
}

/// How a socket comes by its port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    /// Nobody else may have it. Were all sockets opened for sharing, a second server of the same user would bind
    /// without an error and take half of the first one's traffic.
    Claim,
    /// One of ours has it.
    Share,
}

fn open(address: SocketAddr, port: Port, options: &SocketOptions) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    // A system that gives less is used all the same: what was got is reported once for all shards.
    let _ = socket.set_recv_buffer_size(options.receive_buffer);
    let _ = socket.set_send_buffer_size(options.send_buffer);
    let batching = match options.batching {
        Batching::None => Batching::None,
        wanted => native::configure(&socket, address, wanted)?,
    };
    socket.set_reuse_port(port == Port::Share)?;
    socket.bind(&address.into())?;
    // The option counts when a later socket binds, so the first one opens the door behind itself.
    socket.set_reuse_port(true)?;
    let local = socket.local_addr()?.as_socket().unwrap_or(address);
    let mut socket = of_std(socket.into(), local);
    socket.batching = Cell::new(batching);
    Ok(socket)
}

/// A socket that is bound already, as one that passes one datagram per call.
pub(super) fn of_std(socket: std::net::UdpSocket, local: SocketAddr) -> UdpSocket {
    UdpSocket {
        socket,
        local,
        batching: Cell::new(Batching::None),
        refused_runs: Cell::new(0),
        #[cfg(target_os = "linux")]
        senders: None,
    }
}

/// Tells once what the kernel granted; too small a receive buffer is the commonest cause of loss nobody can explain.
fn report_buffers(socket: &UdpSocket, options: &SocketOptions) {
    const LIMITS: [&str; 2] =
        if cfg!(target_os = "linux") { ["net.core.rmem_max", "net.core.wmem_max"] } else { ["kern.ipc.maxsockbuf"; 2] };
    let view = socket2::SockRef::from(&socket.socket);
    let buffers = [
        ("receive", view.recv_buffer_size(), options.receive_buffer, LIMITS[0]),
        ("send", view.send_buffer_size(), options.send_buffer, LIMITS[1]),
    ];
    for (direction, reported, asked, limit) in buffers {
        // Linux reports twice the size set: it doubles it for its own bookkeeping (socket(7)).
        let granted = reported.unwrap_or(0) / if cfg!(target_os = "linux") { 2 } else { 1 };
        if granted < asked {
            tracing::warn!(
                "UDP {direction} buffer is {} KiB instead of {} KiB, so bursts may be lost; \
                 `sysctl -w {limit}={asked}` on the host raises the limit",
                granted >> 10,
                asked >> 10,
            );
        } else {
            tracing::debug!("UDP {direction} buffer is {} KiB", granted >> 10);
        }
    }
}

impl BindError {
    fn new(address: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { address },
            io::ErrorKind::PermissionDenied => Self::NotAllowed { address },
            io::ErrorKind::AddrNotAvailable => Self::NotLocal { address },
            _ => Self::Other { address, source },
        }
    }
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL))
}
