//! The data-plane shell: one thread per shard, with its socket, clock and mailbox (level 3).

mod mailbox;

pub use mailbox::{AskError, Envelope, Handle, Mailbox, mailbox};

/// What shards send each other; lossy.
#[derive(Debug)]
pub enum Crossing {}

/// How to reach a shard.
pub type ShardHandle = Handle<Crossing>;
