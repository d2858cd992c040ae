//! STUN and TURN beside media: what clients of the relay send and get, and media that travels through it.
//!
//! A client's allocation lives on the shard its datagrams arrive at. Data for our own media address enters the `Sfu` as
//! if from the relayed address; what goes there is wrapped again on the shard that has the allocation. The same holds
//! for connections ([`Via::Stream`]): only the shard a connection belongs to writes to it.

use std::net::SocketAddr;
use std::time::Instant;

use super::outbox::{Carried, Crossing, Datagram, Outgoing, Via};
use super::{Sfu, ShardIndex};
use crate::turn::{self, AllocationKey, Carrier, Client, StreamId, ToClient};

impl Sfu {
    /// Data from a peer outside arrived at an allocation's socket.
    pub fn handle_peer(&mut self, now: Instant, relay: AllocationKey, peer: SocketAddr, contents: &[u8]) {
        let wrapped = self.turn.from_peer(now, relay, peer, contents);
        self.send_to_client(wrapped);
    }

    /// An allocation's socket could not be opened.
    pub fn relay_failed(&mut self, relay: AllocationKey) {
        self.turn.socket_failed(relay);
    }

    /// A connection of this shard has ended.
    pub fn stream_closed(&mut self, stream: StreamId, remote: SocketAddr, local: SocketAddr) {
        self.turn.client_gone(&Client { carrier: Carrier::Stream(stream), remote, local_ip: Some(local.ip()) });
    }

    /// A message for the STUN and TURN server. Not from a relayed address: relays would feed one another.
    pub(super) fn serve_turn(&mut self, now: Instant, datagram: &Datagram<'_>, arrived_at: ShardIndex) {
        let here = self.settings.shard;
        let carrier = match datagram.via {
            Via::Socket => Carrier::Udp,
            Via::Stream { stream, .. } => Carrier::Stream(stream),
            Via::Relay { .. } => {
                self.stats.datagrams_unknown += 1;
                return;
            }
        };
        if arrived_at != here {
            self.stats.datagrams_unknown += 1;
            return;
        }
        let client = Client { carrier, remote: datagram.remote, local_ip: datagram.local_ip };
        match self.turn.handle(now, &client, datagram.contents) {
            turn::Output::Nothing => {}
            turn::Output::Reply(contents) => self.send_to_client(Some(ToClient { client, contents })),
            turn::Output::ToMedia { relay, relayed, media, data } => {
                let via = Via::Relay { shard: here, relay };
                let inner = Datagram { remote: relayed, local_ip: Some(media.ip()), via, contents: data };
                self.handle_from(now, &inner, here);
            }
            turn::Output::ToRelay { from, to, data } => self.pass_on(now, from, to, data),
            turn::Output::ToPeer(datagram) => self.outbox.to_peers.push(datagram),
        }
    }

    /// From one relayed address of this server to another.
    fn pass_on(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let shard = ShardIndex(turn::shard_of_port(to.port(), self.settings.shards));
        if shard == self.settings.shard {
            self.handle_relayed(now, from, to, data);
        } else {
            self.outbox.crossings.push((shard, Crossing::Relayed { from, to, contents: data.to_vec() }));
        }
    }

    /// Data from another relayed address for one of this shard.
    pub(super) fn handle_relayed(&mut self, now: Instant, from: SocketAddr, to: SocketAddr, data: &[u8]) {
        let wrapped = self.turn.from_relay(now, from, to, data);
        self.send_to_client(wrapped);
    }

    /// Sends what does not leave by the socket as it is: through allocations, connections, other shards.
    pub(super) fn deliver_carried(&mut self, now: Instant) {
        let mut carried = std::mem::take(&mut self.outbox.carried);
        for Carried { via, outgoing } in carried.drain(..) {
            match via {
                Via::Socket => self.outbox.datagrams.push(outgoing),
                Via::Stream { shard, .. } | Via::Relay { shard, .. } if shard != self.settings.shard => {
                    self.outbox.carry_over(shard, Carried { via, outgoing });
                }
                Via::Stream { stream, .. } => self.outbox.streams.push((stream, outgoing.contents)),
                Via::Relay { relay, .. } => {
                    let local = outgoing.local_ip;
                    let wrapped = local.and_then(|ip| self.turn.from_media(now, relay, ip, &outgoing.contents));
                    self.send_to_client(wrapped);
                }
            }
        }
        // The vector's memory is kept for the next turn.
        self.outbox.carried = carried;
        self.outbox.sockets.extend(self.turn.socket_requests());
    }

    fn send_to_client(&mut self, datagram: Option<ToClient>) {
        let Some(ToClient { client, contents }) = datagram else { return };
        match client.carrier {
            Carrier::Udp => {
                self.outbox.datagrams.push(Outgoing { remote: client.remote, local_ip: client.local_ip, contents });
            }
            Carrier::Stream(stream) => self.outbox.streams.push((stream, contents)),
        }
    }
}
