//! What an `Sfu` wants done: datagrams to send, values for other shards, events for control. Filled during a turn,
//! emptied by the shell.

use std::net::{IpAddr, SocketAddr};

use super::ShardIndex;
use super::command::Event;

/// Events that may wait for the shell. Larger: more memory while control is slow; smaller: events lost sooner.
const MAX_EVENTS: usize = 4096;

/// The shell drains the vectors after each turn and hands the outbox back empty: their memory is reused.
#[derive(Debug, Default)]
pub struct Outbox {
    /// To send, in order per destination.
    pub datagrams: Vec<Outgoing>,
    /// For other shards; may be lost.
    pub crossings: Vec<(ShardIndex, Crossing)>,
    /// For the control plane.
    pub events: Vec<Event>,
    /// Events that did not fit.
    pub events_lost: u64,
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
    /// Its bytes.
    pub contents: &'a [u8],
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
        address: SocketAddr,
        /// Its owner.
        owner: ShardIndex,
    },
    /// The opposite.
    Forgotten {
        /// The address.
        address: SocketAddr,
        /// Its former owner.
        owner: ShardIndex,
    },
}

/// A datagram on its way to its owner.
#[derive(Debug)]
pub struct CrossingDatagram {
    /// Where it came from.
    pub remote: SocketAddr,
    /// The local address it was sent to.
    pub local_ip: Option<IpAddr>,
    /// Its bytes.
    pub contents: Vec<u8>,
}

impl Outbox {
    pub(super) fn event(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        } else {
            self.events_lost += 1;
        }
    }

    /// Adds a datagram to the batch for another shard.
    pub(super) fn hand_over(&mut self, to: ShardIndex, from: ShardIndex, datagram: &Datagram<'_>) {
        let moved = CrossingDatagram {
            remote: datagram.remote,
            local_ip: datagram.local_ip,
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
