//! The network side of a session's report.

use std::net::SocketAddr;

/// What happened on the network side of a session.
#[derive(Debug, Clone, Default, serde::Serialize, utoipa::ToSchema)]
pub struct Connectivity {
    /// Candidates the server advertised.
    pub local_candidates: Vec<String>,
    /// Candidates the client told us.
    pub remote_candidates: Vec<String>,
    /// Address media goes to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub remote_address: Option<SocketAddr>,
    /// Authenticated ICE checks received.
    pub checks_received: u64,
    /// Checks for this session that failed authentication.
    pub checks_refused: u64,
    /// Checks that were answered.
    pub checks_answered: u64,
    /// Where authentic checks came from.
    pub checked_from: Vec<String>,
    /// How media travels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub carried_by: Option<CarriedBy>,
    /// ICE has a working pair.
    pub ice_connected: bool,
    /// The DTLS handshake is complete.
    pub dtls_connected: bool,
    /// First error, in the engine's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the connection to the client is believed to carry, in bit/s; absent while nothing limits it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
    /// Smoothed round-trip time in milliseconds, from RTCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f32>,
    /// Milliseconds since anything authenticated arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// Milliseconds since the last authentic ICE check.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_check_ms: Option<u64>,
    /// Milliseconds since media arrived last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_media_ms: Option<u64>,
}

/// How media travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CarriedBy {
    /// UDP, the direct way.
    Udp,
    /// TCP, perhaps inside TLS.
    Tcp,
    /// This server's own relay.
    Relay,
}
