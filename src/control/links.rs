//! The members' connections by their links: where messages from shards go.
//!
//! A queue for each, bounded: a member that does not read is dropped with a reason and never holds anybody up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::ws::Utf8Bytes;
use dashmap::DashMap;
use tokio::sync::mpsc;

use crate::sfu::command::Link;
use crate::sfu::signal::Message;

/// Messages that may wait for one member. Larger: a slow line catches up after a longer pause; smaller: less memory for
/// members that do not read.
const QUEUE: usize = 512;

/// All links of this node.
#[derive(Debug, Default)]
pub(super) struct Links {
    open: DashMap<Link, mpsc::Sender<Utf8Bytes>>,
    next: AtomicU64,
}

/// Turns messages into text, each once however many are told it.
#[derive(Debug, Default)]
pub(super) struct Writer(Option<(Arc<Message>, Utf8Bytes)>);

impl Links {
    /// Opens a link. It ends with the receiver, or when its queue is full.
    pub(super) fn open(&self) -> (Link, mpsc::Receiver<Utf8Bytes>) {
        let link = Link(self.next.fetch_add(1, Ordering::Relaxed));
        let (sender, receiver) = mpsc::channel(QUEUE);
        self.open.insert(link, sender);
        (link, receiver)
    }

    /// Forgets a link.
    pub(super) fn close(&self, link: Link) {
        self.open.remove(&link);
    }

    /// Queues a message. A link whose queue is full is closed: its reader gets what is queued, and then the end.
    pub(super) fn deliver(&self, link: Link, text: Utf8Bytes) {
        let failed = self.open.get(&link).is_some_and(|sender| sender.try_send(text).is_err());
        if failed {
            self.close(link);
        }
    }
}

impl Writer {
    /// The text of a message. The same message again costs nothing: shards tell the members of a room one after the
    /// other.
    pub(super) fn write(&mut self, message: &Arc<Message>) -> Utf8Bytes {
        if let Some((last, text)) = &self.0
            && Arc::ptr_eq(last, message)
        {
            return text.clone();
        }
        let text = write(message);
        self.0 = Some((Arc::clone(message), text.clone()));
        text
    }
}

/// A message as text.
pub(super) fn write(message: &Message) -> Utf8Bytes {
    // Strings, numbers and maps with string keys: serialising them does not fail.
    serde_json::to_string(message).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_member_that_does_not_read_is_cut_off_after_its_queue() {
        let links = Links::default();
        let (slow, mut queue) = links.open();
        let (other, _kept) = links.open();
        for _ in 0..=QUEUE {
            links.deliver(slow, "x".into());
        }
        assert_eq!(links.open.len(), 1, "the slow link is gone, the other is not");
        links.deliver(other, "x".into());
        let mut read = 0;
        while queue.recv().await.is_some() {
            read += 1;
        }
        assert_eq!(read, QUEUE);
    }
}
