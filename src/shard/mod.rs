//! The data-plane shell: one thread per shard, with its socket, clock and mailbox (level 3).
//!
//! The loop is in `worker`. What a datagram means is `sfu`'s business; here are only system calls and queues.

pub mod addresses;
mod listen;
mod mailbox;
mod proxied;
mod relay;
mod rest;
mod socket;
mod stream;
mod unsent;
mod worker;

pub use crate::sfu::Crossing;
pub use listen::{MediaListener, TLS_HANDSHAKE};
pub use mailbox::{AskError, Envelope, Handle, Mailbox, mailbox};
pub use proxied::{Ends, Proxies};
pub use socket::{
    Batching, BindError, Ready, RecvBatch, SendBatch, SendDrop, SendReport, SocketOptions, UdpSocket, wait,
};
pub use stream::{Carrier, StreamEvent, StreamLimits, Streams};
pub use worker::Worker;

/// How to reach a shard.
pub type ShardHandle = Handle<Parcel>;

/// What arrives at a shard unasked.
#[derive(Debug)]
pub enum Parcel {
    /// From another shard.
    Crossing(Crossing),
    /// From a TCP connection.
    Stream(StreamEvent),
}
