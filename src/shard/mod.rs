//! The data-plane shell: one thread per shard, with its socket, clock and mailbox (level 3).
//!
//! The loop is in `worker`. What a datagram means is `sfu`'s business; here are only system calls and queues.

pub mod addresses;
mod mailbox;
mod relay;
mod socket;
mod worker;

pub use crate::sfu::Crossing;
pub use mailbox::{AskError, Envelope, Handle, Mailbox, mailbox};
pub use socket::{
    Batching, BindError, Ready, RecvBatch, SendBatch, SendDrop, SendReport, SocketOptions, UdpSocket, wait,
};
pub use worker::Worker;

/// How to reach a shard.
pub type ShardHandle = Handle<Crossing>;
