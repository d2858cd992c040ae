//! SSRCs a sender has left for others. The engine takes a retransmission of the stream before for one of the stream
//! there is now: its number, read as one of those, would have all that follows taken for old. So for a while what comes
//! of the past does not reach it. Retransmissions name the stream they repair nowhere, so none does.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use str0m::rtp::Ssrc;

use super::Peer;

/// How long packets of the past may come: a retransmission that was asked for is on its way for a round trip. Larger:
/// losses right behind a change are repaired by key frames for longer, and a sender that goes back to an SSRC is heard
/// later; smaller: late retransmissions break the stream.
const REMEMBERED: Duration = Duration::from_millis(500);

/// SSRCs remembered: four layers of two videos. Larger: more compared with each packet; smaller: of senders of more,
/// the first to be left may still be heard.
const MOST: usize = 8;

/// SSRCs that were left, and when.
#[derive(Debug, Default)]
pub(super) struct Retired(ArrayVec<(Ssrc, Instant), MOST>);

impl Peer {
    /// A sender goes on under another SSRC: what still comes under the one before, or repairs that, is of the past.
    pub(in crate::sfu) fn retire(&mut self, now: Instant, before: Ssrc) {
        // The engine goes on with the stream under its new SSRC, unless it was told of that one before.
        self.rtc.direct_api().remove_stream_rx(before);
        self.missing.forget(before);
        self.retired.add(now, before);
    }

    /// RTP of a stream that its sender has left.
    pub(super) fn is_past(&mut self, now: Instant, packet: &[u8]) -> bool {
        let codecs = self.rtc.codec_config();
        let is_repair = |payload_type: u8| codecs.params().iter().any(|p| p.resend() == Some(payload_type.into()));
        self.retired.sent(now, packet, is_repair)
    }
}

impl Retired {
    pub(super) fn add(&mut self, now: Instant, ssrc: Ssrc) {
        if self.0.is_full() {
            self.0.remove(0);
        }
        self.0.push((ssrc, now));
    }

    /// This RTP packet is one of the past, or a retransmission that may be.
    pub(super) fn sent(&mut self, now: Instant, packet: &[u8], is_repair: impl FnOnce(u8) -> bool) -> bool {
        if self.0.is_empty() {
            return false;
        }
        self.0.retain(|(_, left)| now.saturating_duration_since(*left) < REMEMBERED);
        let ssrc = packet.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
        let is_left = ssrc.is_some_and(|ssrc| self.0.iter().any(|(left, _)| **left == ssrc));
        is_left || !self.0.is_empty() && packet.get(1).is_some_and(|byte| is_repair(byte & 0x7f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_is_not_heard_for_a_while() {
        let (start, mut retired) = (Instant::now(), Retired::default());
        let packet = |ssrc: u8, payload_type: u8| [0x80, payload_type, 0, 1, 0, 0, 0, 0, 0, 0, 0, ssrc, 7];
        let sent =
            |retired: &mut Retired, at, packet: &[u8]| retired.sent(at, packet, |payload_type| payload_type == 97);
        assert!(!sent(&mut retired, start, &packet(1, 96)) && !sent(&mut retired, start, &packet(2, 97)));
        (1..=9).for_each(|ssrc: u32| retired.add(start, ssrc.into()));
        assert!(!sent(&mut retired, start, &packet(1, 96)), "the oldest makes room");
        assert!(sent(&mut retired, start, &packet(2, 96)) && sent(&mut retired, start, &packet(9, 0x80 | 96)));
        assert!(!sent(&mut retired, start, &packet(10, 0x80 | 96)) && !sent(&mut retired, start, &[0x80]));
        assert!(sent(&mut retired, start, &packet(10, 0x80 | 97)), "of what, nobody knows");
        assert!(!sent(&mut retired, start + REMEMBERED, &packet(9, 96)));
        assert!(!sent(&mut retired, start + REMEMBERED, &packet(10, 97)));
    }
}
