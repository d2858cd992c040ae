//! Reliable data messages on their way to a member that has a data channel for them: kept until it says that they came,
//! and sent again over another channel, or over its link, when the way they went breaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use str0m::channel::ChannelId;

use super::member::Budget;
use super::signal::{DataHeader, Event};

/// Bytes kept for a member: as many of the longest messages as may wait for its link. Larger: a slow line catches up
/// after a longer pause; smaller: less memory for members that do not read.
const MAX_KEPT: usize = 16 * 1024 * 1024;

/// Bytes a message takes beside its topic and its payload: the rest of its header.
const HEADER: usize = 200;

/// A data message, shared by all it is for.
#[derive(Debug)]
pub(super) struct DataMessage {
    /// Of whom it is and what it is about.
    pub(super) header: DataHeader,
    pub(super) payload: Vec<u8>,
}

/// A message kept for a member.
#[derive(Debug)]
pub(super) struct Kept {
    seq: u64,
    /// Events the member had been told before.
    after: u64,
    message: Arc<DataMessage>,
}

/// What is kept for a member.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Its channel, while that is open.
    pub(super) channel: Option<ChannelId>,
    /// Of messages the member sends over it.
    pub(super) budget: Budget,
    /// By their numbers.
    kept: VecDeque<Kept>,
    bytes: usize,
    /// How many of those, from the front, have gone the way that is open now.
    gone: usize,
    latest: u64,
}

impl DataMessage {
    pub(super) fn is_reliable(&self) -> bool {
        self.header.reliable.unwrap_or(true)
    }

    /// As it travels over a WebSocket.
    pub(super) fn told(&self, seq: Option<u64>) -> Event {
        Event::Data {
            topic: self.header.topic.clone(),
            payload: data_encoding::BASE64.encode(&self.payload),
            from: self.header.from.clone().unwrap_or_default(),
            reliable: self.is_reliable(),
            seq,
        }
    }

    /// As it travels over a data channel.
    pub(super) fn framed(&self, header: &DataHeader) -> Vec<u8> {
        // Strings, numbers and a flag: serialising them does not fail.
        let mut frame = serde_json::to_vec(header).unwrap_or_default();
        frame.push(b'\n');
        frame.extend_from_slice(&self.payload);
        frame
    }
}

impl Kept {
    /// Bytes it takes on its way, at most.
    pub(super) fn size(&self) -> usize {
        self.message.payload.len() + self.message.header.topic.len() + HEADER
    }

    /// As it travels over the member's channel.
    pub(super) fn framed(&self) -> Vec<u8> {
        let header = self.message.header.clone();
        self.message.framed(&DataHeader { seq: Some(self.seq), after: Some(self.after), ..header })
    }

    /// As it travels over the member's link.
    pub(super) fn told(&self) -> Event {
        self.message.told(Some(self.seq))
    }
}

impl Outlet {
    /// Messages are numbered from above `time`, the milliseconds since 1970: higher than in a session of the past.
    pub(super) fn new(now: Instant, time: u64) -> Self {
        let (kept, budget) = (VecDeque::new(), Budget::of_data(now));
        Self { channel: None, budget, kept, bytes: 0, gone: 0, latest: time }
    }

    /// Keeps one more. `after`: events the member was told before it.
    pub(super) fn push(&mut self, after: u64, message: &Arc<DataMessage>) {
        self.latest += 1;
        let kept = Kept { seq: self.latest, after, message: Arc::clone(message) };
        self.bytes += kept.size();
        self.kept.push_back(kept);
    }

    /// The next that has not gone yet.
    pub(super) fn waiting(&self) -> Option<&Kept> {
        self.kept.get(self.gone)
    }

    /// The next has gone.
    pub(super) fn went(&mut self) {
        self.gone += 1;
    }

    /// All up to this number have come.
    pub(super) fn acknowledge(&mut self, received: u64) {
        while self.kept.front().is_some_and(|kept| kept.seq <= received) {
            self.forget_first();
        }
    }

    /// Perhaps nothing of what has gone has come: all that is kept is to go again.
    pub(super) fn again(&mut self) {
        self.gone = 0;
    }

    /// The channel is gone, and so may be what it had taken.
    pub(super) fn lose_channel(&mut self) {
        self.channel = None;
        self.again();
    }

    pub(super) fn is_over(&self) -> bool {
        self.bytes > MAX_KEPT
    }

    /// Forgets the oldest beyond the bound.
    pub(super) fn shorten(&mut self) {
        while self.is_over() {
            self.forget_first();
        }
    }

    pub(super) fn clear(&mut self) {
        self.kept = VecDeque::new();
        (self.bytes, self.gone) = (0, 0);
    }

    fn forget_first(&mut self) {
        if let Some(first) = self.kept.pop_front() {
            self.bytes -= first.size();
            self.gone = self.gone.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(bytes: usize) -> Arc<DataMessage> {
        let header = DataHeader {
            topic: "t".into(),
            to: None,
            reliable: None,
            from: Some("PA_x".into()),
            id: None,
            seq: None,
            after: None,
        };
        Arc::new(DataMessage { header, payload: vec![0; bytes] })
    }

    /// Lets all go that wait, and tells their numbers.
    fn all_go(outlet: &mut Outlet) -> Vec<u64> {
        let mut gone = Vec::new();
        while let Some(kept) = outlet.waiting() {
            gone.push(kept.seq);
            outlet.went();
        }
        gone
    }

    #[test]
    fn what_has_not_come_goes_again_in_order_and_under_its_number() {
        let mut outlet = Outlet::new(Instant::now(), 0);
        (0..3).for_each(|after| outlet.push(after, &message(1)));
        assert_eq!(all_go(&mut outlet), [1, 2, 3]);
        outlet.acknowledge(1);
        outlet.push(9, &message(1));
        assert_eq!(all_go(&mut outlet), [4]);
        outlet.lose_channel();
        assert_eq!(all_go(&mut outlet), [2, 3, 4]);
        outlet.acknowledge(9);
        assert!(outlet.kept.is_empty() && outlet.bytes == 0 && outlet.gone == 0);
        outlet.push(9, &message(1));
        assert_eq!(all_go(&mut outlet), [5]);
    }

    #[test]
    fn beyond_the_bound_the_oldest_are_forgotten() {
        let mut outlet = Outlet::new(Instant::now(), 0);
        while !outlet.is_over() {
            outlet.push(0, &message(30_000));
        }
        outlet.went();
        outlet.shorten();
        assert!(!outlet.is_over());
        assert_eq!(outlet.waiting().map(|kept| kept.seq), Some(2));
        outlet.clear();
        assert!(outlet.waiting().is_none() && outlet.bytes == 0);
    }

    #[test]
    fn a_header_is_no_longer_than_is_counted() {
        let mut outlet = Outlet::new(Instant::now(), u64::MAX - 1);
        outlet.push(u64::MAX, &message(7));
        let kept = outlet.waiting().unwrap();
        assert!(kept.framed().len() <= kept.size());
    }
}
