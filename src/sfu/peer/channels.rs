//! Data channels of a peer (SCTP over DTLS, RFC 8831): opened by the client, written with back-pressure.

use str0m::Event;
use str0m::channel::ChannelId;

use super::Peer;

/// Bytes that may wait in a channel for what need not be complete. Larger: a slow line gets more of what is old by
/// then; smaller: more is dropped.
const MAX_WAITING: usize = 64 * 1024;

/// Bytes that may wait in a channel for what is to be complete. Larger: a quick but long line is full; smaller: less
/// goes twice when a channel breaks.
const MAX_RELIABLE: usize = 256 * 1024;

/// Bytes left in such a channel when it asks for more. Larger: a quick line idles less; smaller: it asks less often.
/// With the longest message behind it has to stay below what may wait, or nobody would ask.
const LOW: usize = 128 * 1024;

/// Bytes that may wait in all channels of a peer: in two full ones, and some for answers, which nobody holds back.
pub(super) const MAX_BUFFERED: usize = MAX_WAITING + MAX_RELIABLE + 64 * 1024;

/// What happened to a channel.
#[derive(Debug)]
pub(in crate::sfu) enum ChannelEvent {
    /// The client opened one with this label.
    Opened(ChannelId, String),
    /// A message came.
    Data(ChannelId, Vec<u8>),
    /// Little is left of what waited in one.
    Low,
    /// It is closed.
    Closed(ChannelId),
}

/// What became of a message that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sfu) enum Written {
    /// It is on its way.
    Queued,
    /// Too much waits already.
    Full,
    /// The channel is not open.
    Closed,
}

impl ChannelEvent {
    pub(super) fn of(event: Event) -> Option<Self> {
        match event {
            Event::ChannelOpen(id, label) => Some(Self::Opened(id, label)),
            Event::ChannelData(data) => Some(Self::Data(data.id, data.data)),
            Event::ChannelBufferedAmountLow(_) => Some(Self::Low),
            Event::ChannelClose(id) => Some(Self::Closed(id)),
            _ => None,
        }
    }
}

impl Peer {
    /// Has a channel say when it is [`Low`](ChannelEvent::Low).
    pub(in crate::sfu) fn watch_channel(&mut self, id: ChannelId) {
        if let Some(mut channel) = self.rtc.channel(id) {
            channel.set_buffered_amount_low_threshold(LOW);
        }
    }

    /// Whether a channel for what is to be complete takes a message of so many bytes, or is closed.
    pub(in crate::sfu) fn takes(&mut self, id: ChannelId, bytes: usize) -> bool {
        self.has_room(id, bytes, MAX_RELIABLE)
    }

    /// Queues a message, unless it would have to wait long. It leaves when the peer settles.
    pub(in crate::sfu) fn write_lossy(&mut self, id: ChannelId, message: &[u8]) -> Written {
        if self.has_room(id, message.len(), MAX_WAITING) { self.write_channel(id, message) } else { Written::Full }
    }

    /// The same however much waits, up to what the engine takes.
    pub(in crate::sfu) fn write_channel(&mut self, id: ChannelId, message: &[u8]) -> Written {
        let Some(mut channel) = self.rtc.channel(id) else { return Written::Closed };
        let written = channel.write(true, message);
        self.changed = true;
        match written {
            Ok(true) => Written::Queued,
            Ok(false) => Written::Full,
            Err(_) => Written::Closed,
        }
    }

    fn has_room(&mut self, id: ChannelId, bytes: usize, most: usize) -> bool {
        self.rtc.channel(id).is_none_or(|mut channel| channel.buffered_amount() + bytes <= most)
    }
}
