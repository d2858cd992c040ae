//! Streams that the engine goes on with after they were written here.
//!
//! Both encrypt with one key, so no number may be used by both. Media goes on behind the newest number that was written
//! here, which can be told the engine. Retransmissions it numbers from a random one on: it is given another SSRC for
//! them, and its packets get the SSRC the viewer knows, and the next number there, before they leave.
//!
//! Two things stay behind, because str0m takes neither a stream's past counts nor packets it did not send: its sender
//! reports count from here on (0 while a stream rests), which receivers take no decision from; and what was lost within
//! the last round trip before is not repeated, which costs a key frame when a decoder asks for one.

use arrayvec::ArrayVec;
use str0m::media::Mid;

use super::Peer;
use crate::rtp::MediaKind;
use crate::rtp::header::{length, name, rename};
use crate::sfu::participant::MAX_SLOTS;
use crate::srtp::RtpSealer;

/// A stream as it was left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) mid: Mid,
    pub(super) kind: MediaKind,
    pub(super) ssrc: u32,
    /// One above the newest number that was used.
    pub(super) next: u64,
    /// SSRC of its retransmissions, and their next number.
    pub(super) repair: Option<(u32, u64)>,
}

/// All streams of a viewer, handed over.
#[derive(Debug)]
pub(super) struct HandedOver {
    sealer: RtpSealer,
    media: ArrayVec<(u32, u64), MAX_SLOTS>,
    repairs: ArrayVec<Renamed, MAX_SLOTS>,
}

/// Retransmissions under two names.
#[derive(Debug)]
struct Renamed {
    /// The engine's SSRC, and the newest number it used, extended.
    from: u32,
    newest: Option<u64>,
    /// The SSRC the viewer knows, and its next number.
    to: u32,
    next: u64,
}

impl HandedOver {
    fn new(sealer: RtpSealer) -> Self {
        Self { sealer, media: ArrayVec::new(), repairs: ArrayVec::new() }
    }

    fn push(&mut self, left: &Left, alias: Option<u32>) {
        let _ = self.media.try_push((left.ssrc, left.next));
        if let (Some(from), Some((to, next))) = (alias, left.repair) {
            let _ = self.repairs.try_push(Renamed { from, newest: None, to, next });
        }
    }

    /// The engine may use a number of a stream.
    pub(super) fn allows(&self, ssrc: u32, number: u64) -> bool {
        self.media.iter().all(|(known, next)| *known != ssrc || number >= *next)
    }

    /// A packet of the engine as it is to leave: nothing but retransmissions is changed. `None` for one of those that
    /// cannot be read.
    pub(super) fn revise(&mut self, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        let Some((sequence, ssrc)) = name(&packet) else { return Some(packet) };
        let Some(repair) = self.repairs.iter_mut().find(|repair| repair.from == ssrc) else { return Some(packet) };
        let header = length(&packet)?;
        let index = extended(sequence, repair.newest);
        if !self.sealer.open(&mut packet, header, ssrc, index) {
            return None;
        }
        repair.newest = Some(index);
        rename(&mut packet, repair.next as u16, repair.to);
        let sealed = self.sealer.seal(&mut packet, 0, header, repair.to, repair.next);
        repair.next += 1;
        sealed.then_some(packet)
    }
}

/// The extended number of a packet that follows another in sending order. An engine begins below the first rollover.
fn extended(sequence: u16, newest: Option<u64>) -> u64 {
    let newest = newest.unwrap_or(sequence.into());
    newest + u64::from(sequence.wrapping_sub(newest as u16))
}

impl Peer {
    /// Has the engine go on with all streams that were written here, and estimate from now on.
    pub(in crate::sfu) fn let_engine_write(&mut self, bitrate: u64) {
        let Some((sealer, streams)) = self.writer.as_mut().and_then(|writer| writer.leave()) else { return };
        let mut handed_over = HandedOver::new(sealer);
        for left in streams {
            let mut direct = self.rtc.direct_api();
            direct.remove_stream_tx(left.ssrc.into());
            let alias = left.repair.map(|_| direct.new_ssrc());
            direct.declare_stream_tx(left.ssrc.into(), alias, left.mid, None);
            handed_over.push(&left, alias.map(|alias| *alias));
            self.prepare_sending(left.mid, left.kind);
        }
        self.handed_over = Some(Box::new(handed_over));
        self.wake_estimator(bitrate);
    }

    /// Has the engine's estimator begin from this estimate in bit/s.
    pub(in crate::sfu) fn wake_estimator(&mut self, bitrate: u64) {
        self.estimates_nothing = false;
        self.restart_estimate(bitrate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::header::{ExtensionIds, Header, Values};
    use crate::srtp::{MasterKeys, Profile, Side};

    /// A packet as an engine sends it.
    fn packet(sealer: &RtpSealer, ssrc: u32, index: u64) -> Vec<u8> {
        let header = Header { payload_type: 97, marker: false, sequence: index as u16, timestamp: 5, ssrc };
        let ids = ExtensionIds { mid: 3, ..ExtensionIds::default() };
        let mut packet = Vec::new();
        let length = header.write(&ids, &Values { mid: b"v", ..Values::default() }, &mut packet);
        packet.extend_from_slice(b"again");
        assert!(sealer.seal(&mut packet, 0, length, ssrc, index));
        packet
    }

    #[test]
    fn retransmissions_go_on_under_the_ssrc_and_the_numbers_the_viewer_knows() {
        let exported: Vec<u8> = (0..56).collect();
        let keys = MasterKeys::from_exported(Profile::Aes128Gcm, &exported, Side::Server).unwrap();
        let sealer = || keys.local.rtp().unwrap();
        let left = Left { mid: "v".into(), kind: MediaKind::Video, ssrc: 1, next: 70_000, repair: Some((2, 65_535)) };
        let mut handed_over = HandedOver::new(sealer());
        handed_over.push(&left, Some(3));
        for (sent, expected) in [(65_534, 65_535), (65_535, 65_536), (65_539, 65_537)] {
            let revised = handed_over.revise(packet(&sealer(), 3, sent)).unwrap();
            assert!(revised == packet(&sealer(), 2, expected), "the engine's {sent}");
        }
        let media = packet(&sealer(), 1, 70_001);
        assert_eq!(handed_over.revise(media.clone()), Some(media), "left as it is");
        assert_eq!(handed_over.revise(packet(&sealer(), 3, 7)), None, "of no number that follows");
        assert!(!handed_over.allows(1, 69_999) && handed_over.allows(1, 70_000) && handed_over.allows(4, 0));
    }
}
