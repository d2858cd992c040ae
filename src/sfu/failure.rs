//! Why a session has no connection, or lost it: a reason to count, and a sentence to read.

use std::time::{Duration, Instant};

use str0m::CandidateKind;

use super::command::EndReason;
use super::participant::Participant;

/// Time a client gets before "no check has arrived" is called a problem.
const FIRST_CHECK_GRACE: Duration = Duration::from_secs(3);

/// What kept a session from connecting, or broke its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// No ICE check of the client has arrived: a wrong address was advertised, or a firewall is in between.
    NoChecks,
    /// Checks arrived, none of them authentic: the client uses other credentials.
    ChecksRefused,
    /// Checks were authentic but none could be answered: they were sent to an address that is no candidate.
    ChecksUnanswered,
    /// ICE works, and no DTLS handshake was completed in time.
    NoHandshake,
    /// The DTLS handshake failed.
    HandshakeFailed,
    /// It was connected, and nothing arrived any more.
    Lost,
    /// The engine gave up after it was connected.
    Broken,
}

/// How a member's media ended.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    /// Nothing failed if the client closed it.
    pub(super) failure: Option<Failure>,
    /// In one sentence.
    pub(super) summary: String,
}

impl Failure {
    /// All of them, in the order they are counted in.
    pub const ALL: [Self; 7] = [
        Self::NoChecks,
        Self::ChecksRefused,
        Self::ChecksUnanswered,
        Self::NoHandshake,
        Self::HandshakeFailed,
        Self::Lost,
        Self::Broken,
    ];

    /// What failed, if a session ended by a failure, or a member's media did. What was left in order has not failed.
    pub(super) fn of(participant: &Participant, ended: Option<EndReason>) -> Option<Self> {
        let known = &participant.connectivity;
        if let Some(lost) = &known.lost {
            return lost.failure;
        }
        match ended? {
            EndReason::Timeout => Some(Self::Lost),
            EndReason::Internal if known.connected => Some(Self::Broken),
            EndReason::DtlsFailed => Some(Self::HandshakeFailed),
            EndReason::NeverConnected | EndReason::Internal => Some(Self::before_connecting(participant)),
            EndReason::Deleted
            | EndReason::PeerClosed
            | EndReason::TakenOver
            | EndReason::Left
            | EndReason::Flooding
            | EndReason::Kicked
            | EndReason::NothingPublished
            | EndReason::Shutdown => None,
        }
    }

    fn before_connecting(participant: &Participant) -> Self {
        let known = &participant.connectivity;
        match (known.checks_received, known.checks_refused, participant.peer.checks_answered()) {
            (0, 0, _) => Self::NoChecks,
            (0, _, _) => Self::ChecksRefused,
            (_, _, 0) => Self::ChecksUnanswered,
            _ if known.error.is_some() => Self::HandshakeFailed,
            _ => Self::NoHandshake,
        }
    }
}

/// One sentence for whoever asks why there is no picture.
///
/// `tcp`: whether clients are told candidates for TCP.
pub(super) fn diagnose(now: Instant, participant: &Participant, ended: Option<EndReason>, tcp: bool) -> String {
    let known = &participant.connectivity;
    let age = now.saturating_duration_since(participant.created);
    use EndReason::{Deleted, Flooding, Left, PeerClosed};
    if !known.connected && !matches!(ended, Some(Deleted | PeerClosed | Left | Flooding)) {
        return not_connected(participant, age, tcp);
    }
    match ended {
        None => "connected".to_owned(),
        Some(EndReason::Deleted) => "the client ended the session".to_owned(),
        Some(EndReason::PeerClosed) => "the client closed the connection".to_owned(),
        Some(EndReason::Timeout) => {
            let silent = participant.silent_for(now).as_secs();
            format!("nothing has arrived from the client for {silent} s: it lost its network or stopped without a word")
        }
        Some(EndReason::TakenOver) => "the same credential published to the room again".to_owned(),
        Some(EndReason::NothingPublished) => "the publisher did not come back".to_owned(),
        Some(EndReason::Left) => "the member left, or did not come back in time".to_owned(),
        Some(EndReason::Flooding) => "the member sent far too many requests".to_owned(),
        Some(EndReason::Kicked) => "an operator ended the session".to_owned(),
        Some(EndReason::Shutdown) => "the server is shutting down".to_owned(),
        Some(EndReason::NeverConnected | EndReason::DtlsFailed | EndReason::Internal) => {
            let error = known.error.as_deref().unwrap_or("no error was recorded");
            format!("the connection broke: {error}")
        }
    }
}

/// Why a session has no connection (yet).
fn not_connected(participant: &Participant, age: Duration, tcp: bool) -> String {
    if let Some(lost) = &participant.connectivity.lost {
        return format!("the member is without media: {}; it may offer anew", lost.summary);
    }
    if participant.member.is_some() && participant.answer.is_none() {
        return "the member has offered no media; it takes part by messages".to_owned();
    }
    let known = &participant.connectivity;
    let advertised: Vec<String> = participant.description.addresses.iter().map(ToString::to_string).collect();
    let advertised = advertised.join(", ");
    if participant.description.counter_offer.is_some() {
        return "waiting for the client's answer to the server's offer".to_owned();
    }
    if let Some(error) = &known.error {
        return handshake_failed(error);
    }
    match (known.checks_received, known.checks_refused) {
        (0, 0) if age < FIRST_CHECK_GRACE => "waiting for the client's first ICE check".to_owned(),
        (0, 0) => unheard(participant, &advertised, tcp),
        (0, refused) => format!(
            "{refused} ICE checks arrived but failed authentication: the client uses other credentials than those in \
             its offer, or answers to an older session"
        ),
        (checks, _) if participant.peer.checks_answered() == 0 => format!(
            "{checks} ICE checks arrived at an address that is none of {advertised} and were not answered: set \
             media.public_ip to the address clients reach this server at"
        ),
        (checks, _) => format!(
            "ICE works ({checks} checks arrived), but the DTLS handshake is not complete: UDP packets to the client \
             may be lost, or its certificate does not match its offer"
        ),
    }
}

/// No check has arrived: what the client has said of itself, and how the server is set up, tell where to look.
fn unheard(participant: &Participant, advertised: &str, tcp: bool) -> String {
    let candidates = participant.description.offer.candidates();
    let client = if candidates.is_empty() {
        "; it has named no candidate of its own: its network has none, or it may use relays only (iceTransportPolicy \
         \"relay\") and has none that it can use"
    } else if candidates.iter().all(|candidate| candidate.kind() == CandidateKind::Relayed) {
        "; it has named relayed candidates only, so look whether its relay works and lets it send there"
    } else {
        ""
    };
    let server = if tcp {
        ""
    } else {
        "; media.tcp is off or its port was taken, so networks that let no UDP out, and clients that may use relays \
         only, have no way here but TURN over TLS (http.tls_cert and turn.host)"
    };
    format!(
        "no ICE check from the client has reached the server; it was told to send to {advertised}: check that this \
         address is right (media.public_ip) and that a firewall lets the UDP port through; /check tells \
         more{client}{server}"
    )
}

/// What the engine says of a handshake, in words that say what to do where it is known.
fn handshake_failed(error: &str) -> String {
    let remedy = if error.contains("fingerprint") {
        "; its certificate is not the one that its offer names by a fingerprint: something in between has changed the \
         offer, or the client has made another certificate since"
    } else {
        ""
    };
    format!("the connection failed during the DTLS handshake: {error}{remedy}")
}
