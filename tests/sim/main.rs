//! Deterministic simulation: real `Sfu`s and real WebRTC clients in one event loop, on virtual time, over an emulated
//! network. No threads, no sleeping, no clocks. Every packet every viewer receives is held against the rules by the
//! client's oracle. A seed that failed once is added to the list of its scenario.

mod attacks;
mod conferences;
mod crowds;
mod dear;
mod formats;
mod hidden;
mod layers;
mod lines;
mod meetings;
mod members;
mod messages;
mod nats;
mod network;
mod orders;
mod pauses;
mod publishing;
mod redundancy;
mod restless;
mod returns;
mod sessions;
mod sharding;
mod sources;
mod spreading;
mod starved;
mod storms;
mod strays;
mod world;
mod writing;
