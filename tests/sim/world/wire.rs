//! What a simulation notes of all that crosses the wire: its trace, and the numbers that were encrypted under.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sizes and times of datagrams: contents are encrypted under keys no seed governs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trace {
    pub(crate) datagrams: u64,
    pub(crate) digest: u64,
}

impl Trace {
    pub(super) fn note(&mut self, at: Duration, length: usize) {
        self.datagrams += 1;
        let value = (at.as_nanos() as u64).wrapping_mul(31).wrapping_add(length as u64);
        self.digest = (self.digest ^ value).wrapping_mul(0x0100_0000_01b3);
    }
}

/// The numbers under which the server has encrypted something: AES-GCM must see none twice.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// By SSRC: the newest, extended, and all.
    rtp: BTreeMap<u32, (u64, BTreeSet<u64>)>,
    /// SSRC and index.
    rtcp: BTreeSet<(u32, u32)>,
}

impl Numbers {
    /// The SSRCs that were sent on, without that of probes.
    pub(super) fn ssrcs(&self) -> Vec<u32> {
        self.rtp.keys().copied().filter(|ssrc| *ssrc != 0).collect()
    }

    pub(super) fn note(&mut self, datagram: &[u8]) {
        let word = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
        match datagram {
            [128..=191, 192..=223, _, _, a, b, c, d, .., i0, i1, i2, i3] => {
                let (ssrc, index) = (word(&[*a, *b, *c, *d]), word(&[*i0, *i1, *i2, *i3]));
                assert!(self.rtcp.insert((ssrc, index)), "RTCP of {ssrc:x}: index {index:x} was used twice");
            }
            [128..=191, _, s0, s1, _, _, _, _, a, b, c, d, ..] => {
                let (ssrc, sequence) = (word(&[*a, *b, *c, *d]), u16::from_be_bytes([*s0, *s1]));
                let (newest, used) = self.rtp.entry(ssrc).or_insert((sequence.into(), BTreeSet::new()));
                let step = sequence.wrapping_sub(*newest as u16).cast_signed();
                let number = newest.wrapping_add_signed(step.into());
                *newest = number.max(*newest);
                assert!(used.insert(number), "RTP of {ssrc:x}: number {number} was used twice");
            }
            _ => {}
        }
    }
}
