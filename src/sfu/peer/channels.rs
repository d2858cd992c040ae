//! Data channels of a peer (SCTP over DTLS, RFC 8831): opened by the client, written with back-pressure.

use str0m::Event;
use str0m::channel::ChannelId;

use super::Peer;

/// Bytes that may wait in a channel. Larger: a slow line gets more of what is old by then; smaller: more is dropped.
const MAX_WAITING: usize = 64 * 1024;

/// What happened to a channel.
#[derive(Debug)]
pub(in crate::sfu) enum ChannelEvent {
    /// The client opened one with this label.
    Opened(ChannelId, String),
    /// A message came.
    Data(Vec<u8>),
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
            Event::ChannelData(data) => Some(Self::Data(data.data)),
            Event::ChannelClose(id) => Some(Self::Closed(id)),
            _ => None,
        }
    }
}

impl Peer {
    /// Queues a message. It leaves when the peer settles.
    pub(in crate::sfu) fn write_channel(&mut self, id: ChannelId, message: &[u8]) -> Written {
        let Some(mut channel) = self.rtc.channel(id) else { return Written::Closed };
        if channel.buffered_amount() + message.len() > MAX_WAITING {
            return Written::Full;
        }
        let written = channel.write(true, message);
        self.changed = true;
        match written {
            Ok(true) => Written::Queued,
            Ok(false) => Written::Full,
            Err(_) => Written::Closed,
        }
    }
}
