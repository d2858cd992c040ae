//! Session descriptions in and out: the only place that reads or writes SDP.
//!
//! One negotiation serves WHIP, WHEP and rooms, and the client always offers. An [`Offer`] is read and judged by our
//! own rules, str0m is told about it in words of our own (`engine`), and the answer is written from the offer
//! (`answer`). So payload types, extension ids and mids stay the client's, and what str0m's parser dislikes never
//! reaches it.
//!
//! Not here: HTTP status codes (`control`), what is forwarded to whom (`Room`), life of the session (`Peer`).

use std::time::Instant;

use str0m::media::{Direction, Mid};
use str0m::{Candidate, Rtc, RtcConfig};

use super::extensions::DEPENDENCY_DESCRIPTOR_URI;
use crate::rtp::MediaKind;
use crate::rtp::format::Format;
use crate::rtp::header::ExtensionIds;

mod answer;
mod candidate;
mod codecs;
mod counter;
mod engine;
mod extmap;
mod fragment;
mod known;
mod offer;
mod renew;
mod sdp;
mod text;
mod transport;

pub use counter::{CounterOffer, counter_offer};
pub use fragment::{Fragment, restart};
pub use offer::Offer;
pub use renew::{Renewed, renew};

/// Why a description was refused. The text tells the client's author what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// Not SDP, or an attribute that is needed is missing or unreadable: 400.
    #[error("{0}")]
    Malformed(String),
    /// Valid SDP that asks for something the server does not do: 422.
    #[error("{0}")]
    Unacceptable(String),
}

/// A session that was negotiated.
#[derive(Debug)]
pub struct Accepted {
    /// The engine, waiting for the client's first STUN check.
    pub rtc: Rtc,
    /// The SDP answer.
    pub answer: String,
    /// The audio and video m-lines, in their order.
    pub media: Vec<NegotiatedMedia>,
}

/// One audio or video m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedMedia {
    /// str0m's name for it: the client's mid with everything but its first 16 letters and digits changed.
    pub mid: Mid,
    /// The client's mid.
    pub original_mid: String,
    /// Position among all m-lines of the offer.
    pub index: u8,
    /// Audio or video.
    pub kind: MediaKind,
    /// What the server does: `RecvOnly` of publishers, `SendOnly` to viewers, `Inactive` on a member's idle m-line.
    pub direction: Direction,
    /// The formats, most wanted first.
    pub formats: Vec<Format>,
    /// Ids of the header extensions.
    pub extensions: ExtensionIds,
    /// Simulcast encodings in the order of the offer (which ranks nothing); empty without simulcast.
    pub rids: Vec<String>,
    /// The publisher resends lost packets under their own SSRC, so NACKs help although there is no RTX. str0m has to be
    /// told of each stream whose SSRC the offer did not name: `StreamRx::suppress_nack(false)` at its first packet.
    pub nacks_without_rtx: bool,
    /// The publisher takes a limit of its bitrate (REMB).
    pub takes_remb: bool,
    /// Packets carry the dependency descriptor.
    pub describes_dependencies: bool,
}

/// The server's side of a negotiation.
#[derive(Debug, Clone, Copy)]
pub struct Local<'a> {
    /// The addresses clients can reach this server at, best first.
    pub candidates: &'a [Candidate],
    /// Name of the one MediaStream a viewer receives, as in `a=msid`: letters, digits and the like.
    pub stream: &'a str,
}

/// Answers an offer.
///
/// `config` decides about everything but codecs and header extensions, which come from the offer: RTP mode, ICE-lite,
/// certificate, local ICE credentials.
///
/// # Errors
/// None is expected for an [`Offer`] that was parsed; should str0m object, its reason is passed on as `Malformed`.
pub fn accept(config: RtcConfig, offer: &Offer, local: &Local<'_>, now: Instant) -> Result<Accepted, DescriptionError> {
    let lite = config.ice_lite();
    let (mut rtc, id) = engine::accept(config, offer, local.candidates, now)?;
    let answerer = answer::Answerer { offer, candidates: local.candidates, lite, stream: local.stream };
    let answer = answerer.write(&mut rtc, &id);
    Ok(Accepted { rtc, answer, media: negotiated(offer) })
}

fn negotiated(offer: &Offer) -> Vec<NegotiatedMedia> {
    let describe = |section: &offer::MediaSection| NegotiatedMedia {
        mid: section.engine_mid(),
        original_mid: section.mid.clone(),
        index: section.index,
        kind: section.kind,
        direction: section.direction,
        formats: section.formats.iter().map(|offered| offered.format.clone()).collect(),
        extensions: extmap::ids(&section.extensions),
        rids: section.rids.clone(),
        takes_remb: section.takes_remb(),
        nacks_without_rtx: section.direction == Direction::RecvOnly && section.nacks_without_rtx(),
        describes_dependencies: section.extensions.iter().any(|known| known.uri == DEPENDENCY_DESCRIPTOR_URI),
    };
    offer.media().map(describe).collect()
}

fn malformed(text: impl Into<String>) -> DescriptionError {
    DescriptionError::Malformed(text.into())
}

fn unacceptable(text: impl Into<String>) -> DescriptionError {
    DescriptionError::Unacceptable(text.into())
}

#[cfg(test)]
mod tests;
