//! The way of a datagram: from a client through its allocation to a peer, and back. No more than a few look-ups each,
//! whatever the number of allocations.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::allocation::Allocation;
use super::message::{Class, Message, Transaction, Writer, attribute, method};
use super::peers::Reach;
use super::server::Server;
use super::{AllocationKey, Carrier, Client, Output};

/// Bytes a datagram may carry unfragmented on Ethernet, for DONT-FRAGMENT (RFC 8656 section 15).
const UNFRAGMENTED_V4: usize = 1472;
const UNFRAGMENTED_V6: usize = 1452;

/// A datagram for a client.
#[derive(Debug, PartialEq, Eq)]
pub struct ToClient {
    /// Who.
    pub client: Client,
    /// ChannelData, or a Data indication.
    pub contents: Vec<u8>,
}

/// A datagram for a peer outside.
#[derive(Debug, PartialEq, Eq)]
pub struct ToPeer {
    /// From which allocation's socket.
    pub relay: AllocationKey,
    /// To whom.
    pub peer: SocketAddr,
    /// The data.
    pub contents: Vec<u8>,
}

/// Why a datagram was not relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drop {
    /// From a client without an allocation.
    NoAllocation,
    /// On a channel that is not bound, or cut short, or without what it needs.
    Malformed,
    /// The client did not permit the peer.
    NoPermission,
    /// Relaying to the peer is not allowed.
    Forbidden,
    /// More than the allocation may carry.
    Bandwidth,
}

impl Drop {
    /// All reasons, in the order they are counted in.
    pub const ALL: [Self; 5] =
        [Self::NoAllocation, Self::Malformed, Self::NoPermission, Self::Forbidden, Self::Bandwidth];

    /// The value of the metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoAllocation => "no_allocation",
            Self::Malformed => "malformed",
            Self::NoPermission => "no_permission",
            Self::Forbidden => "forbidden",
            Self::Bandwidth => "bandwidth",
        }
    }
}

impl Server {
    /// ChannelData from a client (RFC 8656 section 12.6).
    pub(super) fn channel_data<'a>(&mut self, now: Instant, client: &Client, datagram: &'a [u8]) -> Output<'a> {
        let Some((key, allocation)) = self.allocation_of(client) else { return self.dropped(Drop::NoAllocation) };
        let read = || {
            let (&[n0, n1, l0, l1], rest) = datagram.split_first_chunk()?;
            let data = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
            Some((allocation.channels.peer(now, u16::from_be_bytes([n0, n1]))?, data))
        };
        match read() {
            Some((peer, data)) => self.relay_to_peer(now, key, peer, data),
            None => self.dropped(Drop::Malformed),
        }
    }

    /// A Send indication (RFC 8656 section 11.2).
    pub(super) fn send_indication<'a>(&mut self, now: Instant, client: &Client, message: &Message<'a>) -> Output<'a> {
        use attribute::{DATA, DONT_FRAGMENT, XOR_PEER_ADDRESS};
        let Some((key, allocation)) = self.allocation_of(client) else { return self.dropped(Drop::NoAllocation) };
        let peer = message.addresses(XOR_PEER_ADDRESS).next().flatten();
        let (Some(peer), Some(data)) = (peer, message.get(DATA)) else { return self.dropped(Drop::Malformed) };
        if !message.unknown(&[XOR_PEER_ADDRESS, DATA, DONT_FRAGMENT]).is_empty() {
            return self.dropped(Drop::Malformed);
        }
        let unfragmented = if peer.is_ipv4() { UNFRAGMENTED_V4 } else { UNFRAGMENTED_V6 };
        if message.has(DONT_FRAGMENT) && data.len() > unfragmented {
            return self.dropped(Drop::Malformed);
        }
        if !allocation.permissions.covers(now, peer.ip()) {
            return self.dropped(Drop::NoPermission);
        }
        self.relay_to_peer(now, key, peer, data)
    }

    /// Data from a peer outside, at an allocation's socket.
    pub fn from_peer(&mut self, now: Instant, relay: AllocationKey, peer: SocketAddr, data: &[u8]) -> Option<ToClient> {
        let bandwidth = self.settings.bandwidth;
        let Some(allocation) = self.allocations.get_mut(relay) else {
            self.count_drop(Drop::NoAllocation);
            return None;
        };
        if allocation.relayed_for(peer.ip()).is_none() || !allocation.permissions.covers(now, peer.ip()) {
            self.count_drop(Drop::NoPermission);
            return None;
        }
        if !allocation.received.admits(now, data.len(), bandwidth) {
            self.count_drop(Drop::Bandwidth);
            return None;
        }
        let client = allocation.client;
        let contents = wrap(now, allocation, peer, data);
        self.counters.datagrams_to_clients += 1;
        self.counters.bytes_to_clients += data.len() as u64;
        Some(ToClient { client, contents })
    }

    /// Data from another relayed address of this server.
    pub fn from_relay(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, data: &[u8]) -> Option<ToClient> {
        let Some(relay) = self.by_port.get(&to.port()).copied() else {
            self.count_drop(Drop::NoAllocation);
            return None;
        };
        self.from_peer(now, relay, from, data)
    }

    /// Data this server sends as a peer: from its media address with this IP address.
    pub fn from_media(
        &mut self,
        now: Instant,
        relay: AllocationKey,
        local_ip: IpAddr,
        data: &[u8],
    ) -> Option<ToClient> {
        let media = self.policy.media_address(local_ip)?;
        self.from_peer(now, relay, media, data)
    }

    fn relay_to_peer<'a>(
        &mut self,
        now: Instant,
        relay: AllocationKey,
        peer: SocketAddr,
        data: &'a [u8],
    ) -> Output<'a> {
        let bandwidth = self.settings.bandwidth;
        let reach = self.policy.reach(peer);
        let Some(allocation) = self.allocations.get_mut(relay) else { return self.dropped(Drop::NoAllocation) };
        let Some(relayed) = allocation.relayed_for(peer.ip()) else { return self.dropped(Drop::Forbidden) };
        if reach == Reach::Denied {
            return self.dropped(Drop::Forbidden);
        }
        if !allocation.sent.admits(now, data.len(), bandwidth) {
            return self.dropped(Drop::Bandwidth);
        }
        self.counters.datagrams_from_clients += 1;
        self.counters.bytes_from_clients += data.len() as u64;
        match reach {
            Reach::Media => Output::ToMedia { relay, relayed, media: peer, data },
            Reach::Relayed => Output::ToRelay { from: relayed, to: peer, data },
            Reach::Outside | Reach::Denied => Output::ToPeer(ToPeer { relay, peer, contents: data.to_vec() }),
        }
    }

    fn allocation_of(&self, client: &Client) -> Option<(AllocationKey, &Allocation)> {
        let key = self.by_client.get(client).copied()?;
        self.allocations.get(key).map(|allocation| (key, allocation))
    }

    fn dropped(&mut self, reason: Drop) -> Output<'static> {
        self.count_drop(reason);
        Output::Nothing
    }

    fn count_drop(&mut self, reason: Drop) {
        if let Some(count) = self.counters.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }
}

/// ChannelData where there is a channel, else a Data indication (RFC 8656 section 11.3).
fn wrap(now: Instant, allocation: &Allocation, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).ok();
    if let (Some(number), Some(length)) = (allocation.channels.number(now, peer), length) {
        let mut contents = Vec::with_capacity(4 + data.len().next_multiple_of(4));
        contents.extend(number.to_be_bytes());
        contents.extend(length.to_be_bytes());
        contents.extend_from_slice(data);
        // Padding belongs to streams only (RFC 8656 section 12.5).
        if matches!(allocation.client.carrier, Carrier::Stream(_)) {
            contents.resize(contents.len().next_multiple_of(4), 0);
        }
        return contents;
    }
    // Indications are not answered, so nobody looks at the transaction.
    let transaction = Transaction::default();
    Writer::new(Class::Indication, method::DATA, &transaction)
        .add_address(attribute::XOR_PEER_ADDRESS, peer)
        .add(attribute::DATA, data)
        .finish(None, false)
}
