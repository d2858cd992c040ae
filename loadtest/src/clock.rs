//! The clock stamped into packets: nanoseconds since an origin that sender and receiver share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since a common origin. Latency is a difference of two readings, so both ends need the same origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that reads zero at `origin`: for simulations, where all clients are given the same one.
    pub fn starting_at(origin: Instant) -> Self {
        Self { origin }
    }

    /// The machine's monotonic clock, counted from boot: two processes on one machine read the same.
    pub fn machine() -> Self {
        static BOOT: OnceLock<Instant> = OnceLock::new();
        let origin = *BOOT.get_or_init(|| {
            let now = Instant::now();
            now.checked_sub(since_boot()).unwrap_or(now)
        });
        Self { origin }
    }

    /// Nanoseconds from the origin to `now`; zero before it.
    pub fn nanos(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// What `Instant` counts from. It does not say so itself, hence the system call.
fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec to write to; the call has no other effect.
    let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) } != 0;
    if failed {
        return Duration::ZERO;
    }
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_counts_from_its_origin_and_not_below_it() {
        let origin = Instant::now();
        let clock = Clock::starting_at(origin);
        assert_eq!(clock.nanos(origin + Duration::from_micros(3)), 3_000);
        assert_eq!(clock.nanos(origin - Duration::from_micros(3)), 0);
    }

    #[test]
    fn the_machine_clock_has_one_origin() {
        assert_eq!(Clock::machine(), Clock::machine());
        assert!(Clock::machine().nanos(Instant::now()) > 0);
    }
}
