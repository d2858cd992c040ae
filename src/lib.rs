#![doc = include_str!("ARCHITECTURE.md")]

pub mod config;
pub mod control;
pub mod forward;
pub mod node;
pub mod rtp;
pub mod sfu;
pub mod shard;
