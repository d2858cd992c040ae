//! Looks at SRTP datagrams before decryption: SSRC and sequence number are in the clear (RFC 3711 section 3.1).
//!
//! A receiver drops the second packet of an index unseen, so a server that uses a number twice is only caught here.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use super::violation::{Breach, Violations};

/// Packets remembered per SSRC: half a minute of video at 1 Mbps, in 100 KB. More would find a repeat that comes later;
/// it must stay far below the 65536 numbers there are, or a wrap is taken for a repeat.
const REMEMBERED: usize = 1 << 12;

/// SSRCs watched. More are ignored.
const MAX_SSRCS: usize = 256;

/// Datagrams seen, by SSRC and sequence number.
#[derive(Debug, Default)]
pub(super) struct WireOracle {
    streams: BTreeMap<u32, Seen>,
}

/// What was seen of one SSRC: place of a number is its remainder.
#[derive(Debug, Default)]
struct Seen {
    packets: Vec<Option<(u16, u64)>>,
}

impl WireOracle {
    pub(super) fn datagram(&mut self, now: Instant, datagram: &[u8], violations: &mut Violations) {
        let Some((ssrc, sequence)) = rtp_identity(datagram) else { return };
        if self.streams.len() >= MAX_SSRCS && !self.streams.contains_key(&ssrc) {
            return;
        }
        let seen = self.streams.entry(ssrc).or_default();
        seen.packets.resize(REMEMBERED, None);
        let mut hasher = DefaultHasher::new();
        datagram.hash(&mut hasher);
        let content = hasher.finish();
        let place = &mut seen.packets[usize::from(sequence) % REMEMBERED];
        if place.is_some_and(|(number, other)| number == sequence && other != content) {
            violations.add(now, ssrc, Breach::SequenceReused { sequence });
        }
        *place = Some((sequence, content));
    }
}

/// SSRC and sequence number of an SRTP datagram; `None` for anything else on the port (RFC 7983, RFC 5761).
fn rtp_identity(datagram: &[u8]) -> Option<(u32, u16)> {
    let header: &[u8; 12] = datagram.first_chunk()?;
    let is_rtcp = (64..96).contains(&(header[1] & 0x7f));
    if !(128..192).contains(&header[0]) || is_rtcp {
        return None;
    }
    let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    Some((ssrc, u16::from_be_bytes([header[2], header[3]])))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(sequence: u16, content: u8) -> Vec<u8> {
        let mut bytes = vec![0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, content];
        bytes[2..4].copy_from_slice(&sequence.to_be_bytes());
        bytes
    }

    fn violations(datagrams: &[(u16, u8)]) -> u64 {
        let (mut oracle, mut violations) = (WireOracle::default(), Violations::new(Instant::now()));
        for (sequence, content) in datagrams {
            oracle.datagram(Instant::now(), &datagram(*sequence, *content), &mut violations);
        }
        violations.count()
    }

    #[test]
    fn a_sequence_number_with_two_contents_is_a_violation() {
        assert_eq!(violations(&[(1, 1), (2, 2), (1, 3)]), 1);
    }

    #[test]
    fn a_datagram_the_network_repeats_and_a_wrapped_number_are_not() {
        assert_eq!(violations(&[(1, 1), (1, 1)]), 0);
        let around: Vec<(u16, u8)> = (0..70_000u32).map(|n| (n as u16, (n % 251) as u8)).collect();
        assert_eq!(violations(&around), 0);
    }

    #[test]
    fn rtcp_stun_and_dtls_are_left_alone() {
        for (first, second) in [(0x80, 200), (0x00, 1), (0x16, 0xfe)] {
            let mut bytes = datagram(1, 1);
            (bytes[0], bytes[1]) = (first, second);
            assert_eq!(rtp_identity(&bytes), None);
        }
    }
}
