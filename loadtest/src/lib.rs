//! A synthetic WebRTC client that checks what it receives, and a virtual network to run it in.
//!
//! [`Client`] publishes (WHIP), watches (WHEP), or does both as a member of a room. It is sans-IO: datagrams and the
//! time go in, datagrams come out, so that the same client runs on virtual time in a simulation and on real sockets in
//! the load generator. A published stream has no pictures in it; every packet carries a [`media::Stamp`] saying what it
//! is, and the [`oracle`] of a viewer holds each packet against the rules of RTP and of decoders.
//!
//! - [`spec`]: what a client publishes or wants to see, as data.
//! - [`media`]: synthetic Opus, VP8, VP9, H.264, H.265 and AV1, packet by packet.
//! - [`oracle`]: the rules, and the report.
//! - [`net`]: latency, jitter, loss, reordering, bottlenecks and NATs, seeded.
//! - [`engine`], [`socket`], [`http`] and [`member`]: the same clients on real sockets, against a server.

pub mod client;
pub mod clock;
pub mod engine;
pub mod http;
pub mod media;
pub mod member;
mod nat;
pub mod net;
pub mod oracle;
pub mod socket;
pub mod spec;

pub use client::{Client, ClientError, ConnectionState, Datagram, Setup};
pub use clock::Clock;
pub use spec::{AudioSpec, MemberSpec, PublisherSpec, VideoSpec, ViewerSpec, Voice};
