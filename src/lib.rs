#![doc = include_str!("ARCHITECTURE.md")]

pub mod banner;
pub mod check;
pub mod config;
pub mod control;
pub mod forward;
pub mod lan;
pub mod logging;
pub mod node;
pub mod prefetch;
pub mod ready;
pub mod rtp;
pub mod sfu;
pub mod shard;
pub mod srtp;
pub mod turn;
