//! How many requests one address may make: a token bucket each (RFC 9725 section 5), and another for reading what
//! shards are asked for, so that pages that look often take nobody's place at joining.
//!
//! Loopback is exempt: that is a reverse proxy nobody configured, a test or the operator.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;
use super::{Caller, Control};

/// Buckets in the table. Addresses share a bucket when their keyed hashes meet, so nothing is ever evicted. Larger:
/// fewer innocent neighbours of a flooding address; smaller: less memory (16 bytes each).
const BUCKETS: usize = 16_384;

/// Limits per caller address.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Requests per second in the long run.
    pub per_second: f32,
    /// Requests at once, after a quiet time.
    pub burst: f32,
}

impl Rates {
    /// `requests` a minute in the long run; ten seconds' worth of them may come at once, as from an office behind one
    /// address.
    #[must_use]
    pub fn per_minute(requests: u32) -> Self {
        let per_second = requests as f32 / 60.0;
        Self { per_second, burst: (per_second * 10.0).max(1.0) }
    }
}

/// The buckets of all callers.
#[derive(Debug)]
pub(super) struct RateLimiter {
    rates: Rates,
    hasher: RandomState,
    started: Instant,
    buckets: Mutex<Box<[Bucket]>>,
}

/// A bucket: tokens spent, and when that was counted (seconds since the start).
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    spent: f32,
    counted: f64,
}

impl RateLimiter {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            hasher: RandomState::new(),
            started: Instant::now(),
            buckets: Mutex::new(vec![Bucket::default(); BUCKETS].into_boxed_slice()),
        }
    }

    /// Takes a token for one request. When there is none: how long until there is.
    pub(super) fn admit(&self, caller: IpAddr, now: Instant) -> Result<(), Duration> {
        let now = now.saturating_duration_since(self.started).as_secs_f64();
        let slot = self.hasher.hash_one(network(caller)) as usize % BUCKETS;
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = buckets.get_mut(slot) else { return Ok(()) };
        let refilled = ((now - bucket.counted) as f32 * self.rates.per_second).max(0.0);
        let spent = (bucket.spent - refilled).max(0.0) + 1.0;
        if spent > self.rates.burst {
            let missing = (spent - self.rates.burst) / self.rates.per_second.max(f32::EPSILON);
            return Err(Duration::try_from_secs_f32(missing).unwrap_or(Duration::MAX));
        }
        *bucket = Bucket { spent, counted: now };
        Ok(())
    }
}

/// What counts as one caller: an IPv4 address, or the /64 an IPv6 host can pick addresses from.
fn network(caller: IpAddr) -> u128 {
    match caller.to_canonical() {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

/// The middleware.
pub(super) async fn limit(State(control): State<Control>, caller: Caller, request: Request, next: Next) -> Response {
    if let Caller(Some(address)) = caller
        && !address.is_loopback()
        && let Some(limiter) = limiter(&control, &request)
        && let Err(wait) = limiter.admit(address, Instant::now())
    {
        let detail = "too many requests from this address; slow down";
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait).into_response();
    }
    next.run(request).await
}

/// Where a request counts. The files of the pages do not: one page is dozens of them.
fn limiter<'a>(control: &'a Control, request: &Request) -> Option<&'a RateLimiter> {
    let path = request.uri().path();
    match *request.method() {
        Method::POST | Method::PATCH | Method::DELETE => Some(&control.0.rates),
        _ if path.starts_with("/api/") || matches!(path, "/metrics" | "/readyz") => Some(&control.0.read_rates),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_gets_its_burst_then_its_rate_and_nobody_elses() {
        let limiter = RateLimiter::new(Rates { per_second: 2.0, burst: 3.0 });
        let caller: IpAddr = "192.0.2.1".parse().unwrap();
        let start = limiter.started;
        let rows = [(0, true), (0, true), (0, true), (0, false), (499, false), (500, true), (500, false), (9000, true)];
        for (at, admitted) in rows {
            let answer = limiter.admit(caller, start + Duration::from_millis(at));
            assert_eq!(answer.is_ok(), admitted, "at {at} ms: {answer:?}");
        }
        let other = (1..=255).map(|last| IpAddr::from([198, 51, 100, last]));
        assert!(other.filter(|other| limiter.admit(*other, start).is_ok()).count() > 250);
    }

    #[test]
    fn the_wait_is_long_enough_for_one_token() {
        let limiter = RateLimiter::new(Rates { per_second: 0.5, burst: 1.0 });
        let caller: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff".parse().unwrap();
        let now = limiter.started;
        limiter.admit(caller, now).unwrap();
        let wait = limiter.admit(neighbour, now).unwrap_err();
        assert_eq!(wait, Duration::from_secs(2), "the same /64 is the same caller");
        limiter.admit(neighbour, now + wait).unwrap();
    }
}
