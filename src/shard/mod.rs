//! The data-plane shell: one thread per shard, with its socket, clock and mailbox (level 3).

pub mod addresses;
mod mailbox;
mod socket;

pub use mailbox::{AskError, Envelope, Handle, Mailbox, mailbox};
pub use socket::{
    Batching, BindError, Datagram, Ready, RecvBatch, SendBatch, SendDrop, SendReport, SocketOptions, UdpSocket, wait,
};

/// What shards send each other; lossy.
#[derive(Debug)]
pub enum Crossing {}

/// How to reach a shard.
pub type ShardHandle = Handle<Crossing>;
