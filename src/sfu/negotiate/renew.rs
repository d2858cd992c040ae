//! A member's next offer on a connection that stands: m-lines added, stopped or turned, ICE restarted (RFC 8829 section
//! 5.2.2).

use str0m::{IceCreds, Rtc};

use super::answer::Answerer;
use super::offer::{Offer, Section};
use super::{DescriptionError, Local, NegotiatedMedia, engine, known, malformed, negotiated, unacceptable};

/// What came of a further offer.
#[derive(Debug)]
pub struct Renewed {
    /// The SDP answer.
    pub answer: String,
    /// The audio and video m-lines, in their order.
    pub media: Vec<NegotiatedMedia>,
    /// ICE was restarted: our credentials are the new ones.
    pub restarted: bool,
}

/// Answers a further offer, which is left with the formats that the engine knows. `credentials` become the server's if
/// the client restarts ICE. Nothing has changed when it is refused for what can be seen from outside the engine.
///
/// # Errors
/// [`DescriptionError::Malformed`]: m-lines went missing or changed places; [`DescriptionError::Unacceptable`]: it is
/// of another connection, or its payload types are.
pub fn renew(
    rtc: &mut Rtc,
    current: &Offer,
    offer: &mut Offer,
    credentials: &IceCreds,
    local: &Local<'_>,
) -> Result<Renewed, DescriptionError> {
    check(current, offer)?;
    known::narrow(offer, rtc.codec_config())?;
    let restarted = offer.credentials() != current.credentials();
    let engine_answer = engine::apply(rtc, offer)?;
    if restarted {
        // str0m made up credentials of its own, which nobody could be routed by.
        rtc.direct_api().set_local_ice_credentials(credentials.clone());
    }
    let lite = engine_answer.lines().any(|line| line == "a=ice-lite");
    let id = engine::session_id(&engine_answer);
    let answerer = Answerer { offer, candidates: local.candidates, lite, stream: local.stream };
    Ok(Renewed { answer: answerer.write(rtc, id), media: negotiated(offer), restarted })
}

/// True when an offer is of the connection that `current` was of: the same certificate, and ICE credentials or m-lines
/// in common.
fn check(current: &Offer, offer: &Offer) -> Result<(), DescriptionError> {
    if current.transport.fingerprint != offer.transport.fingerprint {
        return Err(unacceptable(
            "the offer is of another RTCPeerConnection (its a=fingerprint differs); join again with `resume`",
        ));
    }
    for (index, before) in current.sections.iter().enumerate() {
        let Some(after) = offer.sections.get(index) else {
            return Err(malformed(format!("m-line {index} is missing; m-lines stay for good (RFC 8829)")));
        };
        let (Some((_, before)), after) = (before.served(), mid(after)) else { continue };
        if after.is_some_and(|after| after != before) {
            return Err(malformed(format!("m-line {index} had mid \"{before}\"; an m-line in use keeps its mid")));
        }
    }
    Ok(())
}

fn mid(section: &Section) -> Option<&str> {
    match section {
        Section::Rejected { mid, .. } => mid.as_deref(),
        served => served.served().map(|(_, mid)| mid),
    }
}
