//! STUN and TURN server: a state machine without sockets, clock or threads (level 1; RFC 8489, 8656).
//!
//! [`Server`] answers Binding requests and relays for clients that authenticate. A peer that is this server's own media
//! address is reached in process, and so is another client's relayed address: no socket is involved, and none is asked
//! for until a permission names a peer outside. Nothing is kept of those who have not authenticated.
//!
//! - `message`: STUN on the wire; `framing`: where messages begin and end in a TCP stream
//! - `server`: requests; `allocation`: what is kept per client; `relay`: the way of a datagram
//! - `credentials`, `limiter`, `peers`, `ports`: who may, how often, to whom, from where
//!
//! Not here: TCP relaying (RFC 6062), which browsers do not use and which reaches furthest into a network; mobility
//! (RFC 8016); whose media a datagram is (`sfu`).

mod allocation;
pub mod client;
mod credentials;
pub mod framing;
mod limiter;
mod message;
mod peers;
mod ports;
mod relay;
mod requests;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

pub use credentials::{Credential, REALM, WallClock};
pub use peers::{Network, NotANetwork};
pub use relay::{Drop, ToClient, ToPeer};
pub use server::{Counters, Server};

slotmap::new_key_type! {
    /// An allocation of one `Server`: a client and the address it is relayed from.
    pub struct AllocationKey;
}

/// What a server is told once.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether anybody may allocate. Without, this is a STUN server only.
    pub relaying: bool,
    /// Secrets passwords are made with, each as good as the other.
    pub secrets: Vec<Vec<u8>>,
    /// Key of nonces; the same on every shard.
    pub nonce_key: [u8; 32],
    /// What time it is, for credentials that expire.
    pub clock: WallClock,
    /// Addresses relayed addresses are made with; at most one of each family is used.
    pub relay_ips: Vec<IpAddr>,
    /// Ports of relayed addresses.
    pub ports: RangeInclusive<u16>,
    /// Ports the system gives to programs that ask for any, where it is known. Of `ports` these are used last.
    pub dynamic_ports: Option<RangeInclusive<u16>>,
    /// This server's media addresses.
    pub media: Vec<SocketAddr>,
    /// Networks relayed to although they are not public.
    pub allowed_peers: Vec<Network>,
    /// This shard, and how many there are: each has its own ports.
    pub shard: u16,
    /// See `shard`.
    pub shards: u16,
    /// Allocations this server holds.
    pub allocations: usize,
    /// Allocations of one user.
    pub allocations_per_user: usize,
    /// Bytes per second of one allocation, each direction.
    pub bandwidth: u64,
}

impl Settings {
    /// A STUN server only, for who needs no more.
    pub fn stun_only(now: Instant) -> Self {
        Self {
            relaying: false,
            secrets: Vec::new(),
            nonce_key: [0; 32],
            clock: WallClock { at: now, unix: Duration::ZERO },
            relay_ips: Vec::new(),
            ports: 49_152..=65_535,
            dynamic_ports: None,
            media: Vec::new(),
            allowed_peers: Vec::new(),
            shard: 0,
            shards: 1,
            allocations: 0,
            allocations_per_user: 0,
            bandwidth: 0,
        }
    }
}

/// One TCP connection of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u64);

/// What a client's messages travel on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Carrier {
    /// Datagrams at the media port.
    Udp,
    /// A TCP connection, maybe inside TLS.
    Stream(StreamId),
}

/// A client: the 5-tuple of RFC 8656 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// What its messages travel on.
    pub carrier: Carrier,
    /// Where they come from.
    pub remote: SocketAddr,
    /// The address of ours they were sent to, where the system tells.
    pub local_ip: Option<IpAddr>,
}

/// What is to be done about a message of a client.
#[derive(Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Nothing.
    Nothing,
    /// Answer it.
    Reply(Vec<u8>),
    /// Data for this server's media address.
    ToMedia {
        /// The allocation it came through.
        relay: AllocationKey,
        /// The address it comes from.
        relayed: SocketAddr,
        /// Which media address it was sent to.
        media: SocketAddr,
        /// The data.
        data: &'a [u8],
    },
    /// Data for another relayed address of this server, perhaps on another shard.
    ToRelay {
        /// The relayed address it comes from.
        from: SocketAddr,
        /// The relayed address it is for.
        to: SocketAddr,
        /// The data.
        data: &'a [u8],
    },
    /// Data for a peer outside.
    ToPeer(ToPeer),
}

/// What the shell is to do about an allocation's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRequest {
    /// Open it on this port, for both address families.
    Open {
        /// Whose.
        relay: AllocationKey,
        /// The port.
        port: u16,
    },
    /// Close it.
    Close {
        /// Whose.
        relay: AllocationKey,
    },
}

/// The shard that relays from a port.
pub fn shard_of_port(port: u16, shards: u16) -> u16 {
    ports::shard_of(port, shards)
}
