//! Conferences: what members ask of a room and what they are told. A thin layer of [`signal`](super::signal) messages
//! over rooms, tracks and slots, so that another protocol can be put beside it.
//!
//! Start at `enter` (a member comes), `requests` (everything it asks afterwards) and `tell` (who hears of what). Which
//! track goes into which slot is decided in `slots`; here are no packets.

mod chat;
mod data;
mod describe;
mod dynacast;
mod enter;
mod media;
mod moderate;
mod path;
mod reliable;
mod requests;
mod resume;
mod settings;
mod speakers;
mod tell;

use std::time::Instant;

pub use enter::{Enter, MAX_MESSAGE, check_introduction};

pub(super) use chat::History;
pub(super) use describe::Published;
pub(super) use speakers::Voices;

use super::deadlines::Alarm;
use super::signal::{MediaPath, RoomMode};
use crate::rtp::PlayoutDelay;

/// What a room has for being a conference.
pub(super) struct Conference {
    pub(super) created: Instant,
    pub(super) mode: RoomMode,
    pub(super) path: path::Path,
    pub(super) metadata: String,
    pub(super) playout_delay: Option<PlayoutDelay>,
    pub(super) chat: History,
    pub(super) voices: Voices,
    pub(super) alarm: Alarm,
}

impl Conference {
    pub(super) fn new(now: Instant, mode: RoomMode, playout_delay: Option<PlayoutDelay>) -> Self {
        Self {
            created: now,
            mode,
            path: path::Path::default(),
            metadata: String::new(),
            playout_delay,
            chat: History::default(),
            voices: Voices::default(),
            alarm: Alarm::default(),
        }
    }

    /// Members it may have, of those a room may have. Whoever is in it when its mode changes stays.
    fn most_members(&self, of: usize) -> usize {
        if self.mode == RoomMode::P2p { of.min(2) } else { of }
    }

    /// How media travels now.
    pub(super) fn media_path(&self) -> MediaPath {
        self.path.current()
    }
}
