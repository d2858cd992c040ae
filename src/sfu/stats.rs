//! Counters: plain integers, owned by one `Sfu`, copied out when somebody scrapes.

use std::collections::BTreeMap;

use super::command::EndReason;
use super::failure::Failure;
use crate::forward::DropReason;

/// Counters and gauges of one `Sfu`.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    /// Rooms that exist.
    pub rooms: u64,
    /// Sessions that publish.
    pub publishers: u64,
    /// Sessions that play.
    pub viewers: u64,
    /// Members of conferences.
    pub members: u64,
    /// Sessions created.
    pub sessions_created: u64,
    /// Sessions ended, by reason.
    pub sessions_ended: BTreeMap<EndReason, u64>,
    /// Sessions that failed, in the order of [`Failure::ALL`].
    pub sessions_failed: [u64; Failure::ALL.len()],
    /// Sessions that got connected.
    pub sessions_connected: u64,
    /// Joins refused.
    pub joins_refused: u64,
    /// RTP packets received.
    pub packets_received: u64,
    /// RTP payload bytes received.
    pub bytes_received: u64,
    /// RTP packets handed to subscribers' engines.
    pub packets_forwarded: u64,
    /// RTP payload bytes handed to subscribers' engines.
    pub bytes_forwarded: u64,
    /// RTP packets handed to other shards, where a room is spread over several: each counts once for each shard.
    pub packets_crossed: u64,
    /// Packets not forwarded to a subscriber, in the order of [`DropReason::ALL`].
    pub packets_dropped: [u64; DropReason::ALL.len()],
    /// Key frame requests sent to publishers.
    pub keyframes_requested: u64,
    /// Key frame requests received from subscribers.
    pub keyframe_requests: u64,
    /// ICE checks that passed.
    pub checks_accepted: u64,
    /// ICE checks for us that failed authentication.
    pub checks_refused: u64,
    /// Datagrams handed to another shard.
    pub datagrams_handed_over: u64,
    /// Datagrams from addresses nobody owns.
    pub datagrams_unknown: u64,
    /// Datagrams that are none of STUN, DTLS, SRTP.
    pub datagrams_unclassified: u64,
    /// Events lost because control did not keep up.
    pub events_lost: u64,
    /// Data messages dropped because a member's data channel was full.
    pub data_dropped: u64,
    /// The STUN and TURN server.
    pub turn: crate::turn::Counters,
    /// Learned addresses.
    pub addresses: u64,
    /// What the shell counted, filled in by it.
    pub io: IoStats,
}

/// Counters of a shard's socket and loop.
#[derive(Debug, Clone, Copy, Default)]
pub struct IoStats {
    /// Datagrams received.
    pub datagrams_received: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Datagrams sent.
    pub datagrams_sent: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Datagrams the system refused to send.
    pub datagrams_unsent: u64,
    /// System calls that sent.
    pub send_calls: u64,
    /// Messages handed to those calls; fewer than datagrams when segments were coalesced.
    pub send_messages: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Nanoseconds spent working rather than waiting.
    pub busy_ns: u64,
    /// Values other shards were sent but had no room for.
    pub crossings_lost: u64,
}
