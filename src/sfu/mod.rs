//! The sans-IO machine: rooms, participants, tracks, subscriptions. No sockets, no clock, no threads, no locks (level 2).

pub mod command;
pub mod extensions;
pub mod negotiate;
pub mod stats;
pub mod stun;
