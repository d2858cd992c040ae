//! What a scenario may ask of its world, and the server's settings that follow.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crosspoint::sfu::{EarlyViewers, Settings, ShardIndex};
use str0m::config::DtlsCert;

use super::SERVER;

/// What is different from an ordinary world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    pub(crate) early_viewers: EarlyViewers,
    /// Rooms are spread over all shards, one session after the other, instead of being whole on one.
    pub(crate) spread: bool,
}

thread_local! {
    static OVER: Cell<Option<u16>> = const { Cell::new(None) };
}

/// Plays a scenario once more, with its rooms spread over several shards.
pub(crate) fn over_shards(shards: u16, scenario: fn()) {
    OVER.set(Some(shards));
    scenario();
    OVER.set(None);
}

impl Options {
    pub(crate) fn seed(seed: u64) -> Self {
        let over = OVER.get();
        Self { seed, shards: over.unwrap_or(1), early_viewers: EarlyViewers::Accept, spread: over.is_some() }
    }

    /// Rooms over several shards.
    pub(crate) fn spread(seed: u64, shards: u16) -> Self {
        Self { shards, spread: true, ..Self::seed(seed) }
    }
}

pub(crate) fn settings(shard: ShardIndex, options: Options, start: Instant) -> Settings {
    Settings {
        shard,
        shards: options.shards,
        candidates: vec![SERVER.parse().unwrap()],
        loopback_candidates: Vec::new(),
        certificate: certificate(),
        early_viewers: options.early_viewers,
        resume_window: Duration::from_secs(30),
        playout_delays: vec!["delayed: 200ms-600ms".parse().unwrap()],
        takeover_after: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(15),
        consent_timeout: Duration::from_secs(30),
        keyframe_share: 0.15,
        max_sessions: 1000,
        max_viewers: 500,
        tcp: false,
        turn: crosspoint::turn::Settings::stun_only(start),
        room_mode: crosspoint::sfu::signal::RoomMode::Sfu,
        max_members: 100,
        video_slots: 9,
        audio_slots: 4,
        member_resume_window: Duration::from_secs(10),
        clock: (start, Duration::from_secs(1_000_000)),
    }
}

fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    let make = || str0m::crypto::from_feature_flags().dtls_provider.generate_certificate().unwrap();
    CERTIFICATE.get_or_init(make).clone()
}
