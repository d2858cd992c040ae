//! Media from an address that is nobody's: a client whose NAT gave it another port, and that sends no checks any more.
//!
//! libnice (GStreamer) checks nothing once it is connected, so nothing authentic would ever tell where it is now. Media
//! and reports name the SSRC they come from; if that is one of somebody who has fallen silent, the address is asked for
//! what only the client can answer (`sfu::proof`), and followed when it does. Not here: anybody who can still be heard
//! at the old address.

use std::time::{Duration, Instant};

use str0m::rtp::Ssrc;

use super::outbox::Datagram;
use super::participant::Participant;
use super::peer::Transaction;
use super::{ParticipantKey, Sfu, ShardIndex, stun};

/// Between two looks, each of which passes everybody. Larger: a client that moved waits longer among packets of
/// strangers; smaller: strangers cost more.
const INTERVAL: Duration = Duration::from_millis(100);

/// Who was heard within this time has not moved. Larger: who moved is found later; smaller: a lost packet or two make a
/// client a suspect.
const SILENCE: Duration = Duration::from_secs(1);

/// Packet types of RTCP where RTP has its payload type (RFC 5761 section 4).
const REPORTS: std::ops::RangeInclusive<u8> = 192..=223;

impl Sfu {
    /// Looks whose media this is.
    pub(super) fn on_stray(&mut self, now: Instant, datagram: &Datagram<'_>, arrived_at: ShardIndex) {
        self.stats.datagrams_unknown += 1;
        let Some(ssrc) = sender(datagram.contents) else { return };
        if self.stray_looked_at.is_some_and(|at| now.saturating_duration_since(at) < INTERVAL) {
            return;
        }
        self.stray_looked_at = Some(now);
        let here = self.settings.shard;
        match self.moved(now, ssrc) {
            Some(key) => self.ask_whether_moved(now, key, datagram, arrived_at),
            // The new port may lead to another shard than the old one did.
            None if arrived_at == here => {
                let others = (0..self.settings.shards).map(ShardIndex).filter(|shard| *shard != here);
                others.for_each(|shard| self.outbox.hand_over(shard, here, datagram));
            }
            None => {}
        }
    }

    /// Media from where the question has not been answered yet: it or the answer may have been lost.
    pub(super) fn ask_again(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        datagram: &Datagram<'_>,
        transaction: Transaction,
    ) {
        if self.stray_looked_at.is_none_or(|at| now.saturating_duration_since(at) >= INTERVAL) {
            self.stray_looked_at = Some(now);
            self.ask(key, datagram, transaction);
        }
    }

    /// Who sent with this SSRC until it fell silent.
    fn moved(&self, now: Instant, ssrc: Ssrc) -> Option<ParticipantKey> {
        let moved = self.participants.iter().find(|(_, participant)| {
            participant.connectivity.connected
                && participant.silent_for(now) >= SILENCE
                && (participant.origin(ssrc).is_some() || participant.reporter == Some(ssrc))
        });
        moved.map(|(key, _)| key)
    }

    fn ask_whether_moved(
        &mut self,
        now: Instant,
        key: ParticipantKey,
        datagram: &Datagram<'_>,
        arrived_at: ShardIndex,
    ) {
        let Some(participant) = self.participants.get(key) else { return };
        let description = &participant.description;
        let (ours, theirs) = (&description.credentials, description.offer.credentials());
        // In place of the check that the client does not send: it counts once the question is answered.
        let Some(check) = stun::keepalive(&ours.ufrag, &theirs.ufrag, &ours.pass) else { return };
        self.challenge(now, key, &Datagram { contents: &check, ..*datagram }, arrived_at);
    }
}

impl Participant {
    /// Notes who reports. Anybody can send in the name of its address, so a report that names another SSRC than the one
    /// known is opened first: believed unread, it would keep the client from being found when it moves. Where the
    /// engine alone has the keys, the first one named is believed, and no other.
    pub(super) fn note_reporter(&mut self, datagram: &[u8]) {
        let Some(ssrc) = reporter(datagram).filter(|ssrc| self.reporter != Some(*ssrc)) else { return };
        if self.peer.opens(datagram).unwrap_or(self.reporter.is_none()) {
            self.reporter = Some(ssrc);
        }
    }
}

/// The SSRC that sent a report, unless many have it: that of browsers that send nothing is 1.
fn reporter(datagram: &[u8]) -> Option<Ssrc> {
    let reporter = datagram.get(1).filter(|kind| REPORTS.contains(kind)).and_then(|_| sender(datagram));
    reporter.filter(|ssrc| **ssrc > 1)
}

/// The SSRC that sent RTP, or the report (RFC 3550 sections 5.1 and 6.4; told apart as in RFC 5761 section 4).
fn sender(datagram: &[u8]) -> Option<Ssrc> {
    let (&first, &kind) = (datagram.first()?, datagram.get(1)?);
    let at = match (first, kind) {
        (128..=191, kind) if REPORTS.contains(&kind) => 4,
        (128..=191, _) => 8,
        _ => return None,
    };
    let bytes = datagram.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtp_and_reports_name_their_sender() {
        let bytes = |first: u8, kind: u8| [first, kind, 0, 1, 0, 0, 0, 7, 0, 0, 0, 9];
        assert_eq!(sender(&bytes(0x80, 96)), Some(9.into()));
        assert_eq!(sender(&bytes(0x80, 96 | 0x80)), Some(9.into()), "with the marker");
        assert_eq!(sender(&bytes(0x80, 200)), Some(7.into()), "a sender report");
        assert_eq!(sender(&bytes(0x16, 96)), None, "DTLS");
        for length in 0..12 {
            assert_eq!(sender(&bytes(0x80, 96)[..length]), None);
        }
        assert_eq!((reporter(&bytes(0x80, 201)), reporter(&bytes(0x80, 96))), (Some(7.into()), None));
    }
}
