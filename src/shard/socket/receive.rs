//! A batch of received datagrams: one reused buffer, split lazily. No system calls.

use std::net::{IpAddr, SocketAddr};

use arrayvec::ArrayVec;

use crate::sfu::{Datagram, Via};

/// Messages taken per call. Larger: a flood keeps the shard from its timers for longer; smaller: more calls under load.
pub(super) const MESSAGES: usize = 64;

/// Bytes set aside per message: the largest UDP payload, since the kernel joins datagrams up to that (UDP_GRO). Memory
/// that is never written is never backed by the system. The odd 576 bytes (nine cache lines) keep the heads of all
/// messages from falling into the same sets of the processor's caches.
const SLOT: usize = 65_536 + 576;

/// Room for what one call receives; reuse it for every call.
pub struct RecvBatch {
    buffer: Box<[u8]>,
    messages: ArrayVec<Message, MESSAGES>,
    kernel_drops: u32,
}

/// One message of the kernel: a datagram, or several of one sender joined.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    /// Which slot of the buffer holds it.
    pub(super) slot: usize,
    /// Its length in bytes.
    pub(super) len: usize,
    /// Length of each datagram in it, in bytes; the last may be shorter.
    pub(super) segment: usize,
    pub(super) remote: SocketAddr,
    pub(super) local_ip: Option<IpAddr>,
}

impl RecvBatch {
    /// Sets 4 MiB of address space aside.
    pub fn new() -> Self {
        Self { buffer: vec![0; MESSAGES * SLOT].into_boxed_slice(), messages: ArrayVec::new(), kernel_drops: 0 }
    }

    /// The datagrams of the last call, in the order they arrived.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        self.messages.iter().flat_map(|message| {
            let start = message.slot * SLOT;
            self.buffer[start..start + message.len].chunks(message.segment.max(1)).map(|contents| Datagram {
                remote: message.remote,
                local_ip: message.local_ip,
                via: Via::Socket,
                contents,
            })
        })
    }

    /// Messages of the kernel the datagrams came in; fewer than datagrams where it joined some.
    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    /// Whether the last call filled the batch: more may be waiting.
    pub fn is_full(&self) -> bool {
        self.messages.is_full()
    }

    /// Datagrams the kernel dropped because the receive buffer was full, since the socket was opened, as of the last
    /// datagram received. Linux only; wraps around.
    pub fn kernel_drops(&self) -> u32 {
        self.kernel_drops
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }

    /// One buffer per message, for the kernel to write into.
    pub(super) fn slots(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.buffer.chunks_mut(SLOT)
    }

    /// Notes a message; its bytes are in its slot already.
    pub(super) fn push(&mut self, message: Message) {
        self.messages.push(message);
    }

    #[cfg(target_os = "linux")]
    pub(super) fn set_kernel_drops(&mut self, drops: u32) {
        self.kernel_drops = drops;
    }
}

impl Default for RecvBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch").field("messages", &self.messages).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_datagrams_come_apart_again() {
        let remote = "192.0.2.1:5000".parse().expect("an address");
        for (len, segment, expected) in [
            (1200, 1200, vec![1200]),
            (3000, 1200, vec![1200, 1200, 600]),
            (2400, 1200, vec![1200, 1200]),
            (0, 0, vec![]),
        ] {
            let mut batch = RecvBatch::new();
            batch.push(Message { slot: 3, len, segment, remote, local_ip: None });
            let lengths: Vec<_> = batch.datagrams().map(|datagram| datagram.contents.len()).collect();
            assert_eq!(lengths, expected, "{len} bytes in segments of {segment}");
        }
    }
}
