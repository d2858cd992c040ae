//! How often a source is answered that has not authenticated: a forged source makes this server shoot at somebody else.
//!
//! A fixed table of buckets: whoever floods it from many sources fills buckets, not memory.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

/// Buckets. Larger: fewer innocent sources share one with a flood; smaller: less memory (24 bytes each).
const BUCKETS: usize = 4096;

/// Answers a source may get at once. Larger: a forged source hits its victim harder; smaller: a page that opens many
/// connections, or many people behind one address, wait for a retransmission.
const BURST: u32 = 200;

/// Time in which one more answer is earned. Shorter: more answers to a flood; longer: fewer people behind one address.
const REFILL: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Limiter {
    /// Decides who shares a bucket, so that nobody can choose whom to push out.
    key: hmac::Key,
    buckets: Box<[Bucket]>,
}

/// What is left of a bucket, and the time up to which it was refilled.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: u32,
    filled: Option<Instant>,
}

impl Limiter {
    pub(super) fn new(key: &[u8]) -> Self {
        let full = Bucket { left: BURST, filled: None };
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, key), buckets: vec![full; BUCKETS].into_boxed_slice() }
    }

    /// Counts an answer; false when there have been too many.
    pub(super) fn admits(&mut self, now: Instant, source: IpAddr) -> bool {
        let slot = self.slot(source);
        let Some(bucket) = self.buckets.get_mut(slot) else { return false };
        let since = bucket.filled.map_or(Duration::MAX, |filled| now.saturating_duration_since(filled));
        let earned = u32::try_from(since.as_nanos() / REFILL.as_nanos()).unwrap_or(u32::MAX);
        if earned >= BURST {
            *bucket = Bucket { left: BURST, filled: Some(now) };
        } else if earned > 0 {
            bucket.left = bucket.left.saturating_add(earned).min(BURST);
            bucket.filled = bucket.filled.map(|filled| filled + REFILL * earned);
        }
        let admitted = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        admitted
    }

    /// IPv6 sources count by their /64: one host has that many addresses.
    fn slot(&self, source: IpAddr) -> usize {
        let bits = match source {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 | 1 << 63,
        };
        let tag = hmac::sign(&self.key, &bits.to_be_bytes());
        let head = tag.as_ref().first_chunk::<4>().copied().unwrap_or_default();
        u32::from_be_bytes(head) as usize % BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gets_a_burst_and_then_what_time_gives_back() {
        let start = Instant::now();
        let mut limiter = Limiter::new(b"key");
        let source: IpAddr = "192.0.2.1".parse().unwrap();
        let burst = (0..BURST + 100).filter(|_| limiter.admits(start, source)).count();
        assert_eq!(burst, BURST as usize);
        let later = start + REFILL * 5;
        assert_eq!((0..100).filter(|_| limiter.admits(later, source)).count(), 5);
        let much_later = start + REFILL * 10_000;
        assert_eq!((0..BURST + 100).filter(|_| limiter.admits(much_later, source)).count(), BURST as usize);
        assert!(limiter.admits(start, "192.0.2.2".parse().unwrap()), "another source has its own bucket");
    }

    #[test]
    fn the_addresses_of_one_ipv6_host_share_a_bucket() {
        let start = Instant::now();
        let mut limiter = Limiter::new(b"key");
        let admitted = (0..1000u128)
            .filter(|host| limiter.admits(start, std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | host).into()));
        assert_eq!(admitted.count(), BURST as usize);
    }
}
