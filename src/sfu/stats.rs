//! Counters: plain integers, owned by one `Sfu`, copied out when somebody scrapes.

/// Counters and gauges of one `Sfu`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stats {
    /// Rooms that exist.
    pub rooms: u64,
}
