//! What an `Sfu` wants done: datagrams to send, values for other shards, events for control. Filled during a turn,
//! emptied by the shell.

use std::net::{IpAddr, SocketAddr};

use super::ShardIndex;
use super::command::{CarriedBy, Event, EventKind, Link, SessionId};
use super::link::{LinkMedia, LinkParcel};
use crate::turn::{AllocationKey, SocketRequest, StreamId, ToPeer};

/// Events that may wait for the shell. Larger: more memory while control is slow; smaller: events lost sooner.
const MAX_EVENTS: usize = 32_768;

/// The shell drains the vectors after each turn and hands the outbox back empty: their memory is reused.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To send, in order per destination.
    pub datagrams: Vec<Outgoing>,
    /// Buffers for datagrams to come: those that were sent, handed back for their memory.
    pub spare: Vec<Vec<u8>>,
    /// For connections of this shard.
    pub streams: Vec<(StreamId, Vec<u8>)>,
    /// To send from relayed addresses.
    pub to_peers: Vec<ToPeer>,
    /// Sockets of relayed addresses to open and close, in this order.
    pub sockets: Vec<SocketRequest>,
    /// Waiting for the end of the turn: what does not leave by the socket as it is.
    pub(super) carried: Vec<Carried>,
    /// For other shards; may be lost.
    pub crossings: Vec<(ShardIndex, Crossing)>,
    /// For the control plane.
    pub events: Vec<Event>,
    /// Events that did not fit.
    pub events_lost: u64,
    /// Members that a message for was among them: what they are told next would make no sense to them.
    pub(super) behind: Vec<(SessionId, Link)>,
}

/// A datagram to send.
#[derive(Debug)]
pub struct Outgoing {
    /// Where to.
    pub remote: SocketAddr,
    /// Local address to send from: the one the peer's datagrams arrive at. `None` leaves it to the routing table.
    pub local_ip: Option<IpAddr>,
    /// Its bytes.
    pub contents: Vec<u8>,
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it came from; IPv4 senders are never shown as mapped addresses.
    pub remote: SocketAddr,
    /// The address of ours it was sent to, where the system tells.
    pub local_ip: Option<IpAddr>,
    /// How it came.
    pub via: Via,
    /// Its bytes.
    pub contents: &'a [u8],
}

/// How datagrams of a peer travel. What came one way is answered the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// By the media port, as they are.
    Socket,
    /// In a TCP connection.
    Stream {
        /// The shard the connection belongs to.
        shard: ShardIndex,
        /// The connection.
        stream: StreamId,
    },
    /// Through an allocation of our own relay: the peer's address is the relayed one.
    Relay {
        /// The shard the allocation is on.
        shard: ShardIndex,
        /// The allocation.
        relay: AllocationKey,
    },
}

/// Where datagrams come from: UDP and TCP have ports of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The address.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

/// What a port is one of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// UDP; relayed addresses are UDP, too.
    Udp,
    /// TCP.
    Tcp,
}

/// A datagram to send, and how.
#[derive(Debug)]
pub struct Carried {
    /// How.
    pub via: Via,
    /// The datagram.
    pub outgoing: Outgoing,
}

/// A value one shard sends another.
#[derive(Debug)]
pub enum Crossing {
    /// Datagrams that arrived at a shard that does not own their peer. Lossy, like the network they came from.
    Datagrams {
        /// The shard they arrived at.
        arrived_at: ShardIndex,
        /// The datagrams, in order.
        batch: Vec<CrossingDatagram>,
    },
    /// "Hand me what comes from this address": sent to the shard at which an authenticated check arrived. Repeated with
    /// every check, so loss heals itself.
    Learned {
        /// The address.
        address: Source,
        /// Its owner.
        owner: ShardIndex,
    },
    /// The opposite.
    Forgotten {
        /// The address.
        address: Source,
        /// Its former owner.
        owner: ShardIndex,
    },
    /// From one half of a room to another. Not to be lost: kept and tried again while the other shard has no room for
    /// it.
    Link(LinkParcel),
    /// Media of rooms that are spread over shards. Lossy.
    Media(Vec<LinkMedia>),
    /// To be sent by the shard that has the connection or the allocation.
    Carried(Vec<Carried>),
    /// Data from one relayed address of this server for another, which is on that shard.
    Relayed {
        /// Where it comes from.
        from: SocketAddr,
        /// Whom it is for.
        to: SocketAddr,
        /// Its bytes.
        contents: Vec<u8>,
    },
}

/// A datagram on its way to its owner.
#[derive(Debug)]
pub struct CrossingDatagram {
    /// Where it came from.
    pub remote: SocketAddr,
    /// The local address it was sent to.
    pub local_ip: Option<IpAddr>,
    /// How it came.
    pub via: Via,
    /// Its bytes.
    pub contents: Vec<u8>,
}

impl Datagram<'_> {
    /// Where it comes from.
    pub fn source(&self) -> Source {
        Source { address: self.remote, protocol: self.via.protocol() }
    }
}

impl Via {
    /// What a peer's port is one of.
    pub fn protocol(self) -> Protocol {
        match self {
            Via::Socket | Via::Relay { .. } => Protocol::Udp,
            Via::Stream { .. } => Protocol::Tcp,
        }
    }
}

impl From<Via> for CarriedBy {
    fn from(via: Via) -> Self {
        match via {
            Via::Socket => Self::Udp,
            Via::Stream { .. } => Self::Tcp,
            Via::Relay { .. } => Self::Relay,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        write!(f, "{protocol} {}", self.address)
    }
}

impl Outbox {
    /// Sends a datagram the way its peer's came.
    pub(super) fn send(&mut self, via: Via, outgoing: Outgoing) {
        match via {
            Via::Socket => self.datagrams.push(outgoing),
            via => self.carried.push(Carried { via, outgoing }),
        }
    }

    /// An empty buffer for a datagram.
    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    /// Takes back what is not to be sent after all.
    pub(super) fn retract(&mut self, unwanted: impl Fn(&[u8]) -> bool) {
        self.datagrams.retain(|outgoing| !unwanted(&outgoing.contents));
        self.carried.retain(|carried| !unwanted(&carried.outgoing.contents));
    }

    /// Adds to the batch another shard is to send.
    pub(super) fn carry_over(&mut self, to: ShardIndex, carried: Carried) {
        let open = self.crossings.iter_mut().rev().find(|(shard, _)| *shard == to);
        if let Some((_, Crossing::Carried(batch))) = open {
            batch.push(carried);
        } else {
            self.crossings.push((to, Crossing::Carried(vec![carried])));
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        } else {
            self.lose(&event);
        }
    }

    /// An event could not be delivered. A member it was a message for is cut off with the next turn.
    pub fn lose(&mut self, event: &Event) {
        self.events_lost += 1;
        if let EventKind::Message { to, .. } = &event.kind
            && self.behind.len() < MAX_EVENTS
        {
            self.behind.extend(to);
        }
    }

    /// Adds media to the batch for another shard.
    pub(super) fn cross_media(&mut self, to: ShardIndex, media: LinkMedia) {
        let open = self.crossings.iter_mut().rev().find(|(shard, _)| *shard == to);
        if let Some((_, Crossing::Media(batch))) = open {
            batch.push(media);
        } else {
            self.crossings.push((to, Crossing::Media(vec![media])));
        }
    }

    /// Adds a datagram to the batch for another shard.
    pub(super) fn hand_over(&mut self, to: ShardIndex, from: ShardIndex, datagram: &Datagram<'_>) {
        let moved = CrossingDatagram {
            remote: datagram.remote,
            local_ip: datagram.local_ip,
            via: datagram.via,
            contents: datagram.contents.to_vec(),
        };
        let open = self.crossings.iter_mut().rev().find(|(shard, _)| *shard == to);
        if let Some((_, Crossing::Datagrams { batch, .. })) = open {
            batch.push(moved);
        } else {
            self.crossings.push((to, Crossing::Datagrams { arrived_at: from, batch: vec![moved] }));
        }
    }
}
