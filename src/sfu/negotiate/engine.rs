//! What str0m is told: a description written from what was read, in the form its parser likes.
//!
//! The client's own text never reaches str0m, whose parser stops at the first line it cannot read, and asserts that
//! payload types are used once. str0m's answer is not sent either (`answer` writes that): it would name codecs in its
//! own order, change mids with punctuation, and leave out what WHIP asks for.

use std::time::Instant;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::format::{CodecConfig, PayloadParams};
use str0m::media::Mid;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::codecs::red_params;
use super::offer::{MediaSection, Offer, Section};
use super::text::Text;
use super::{DescriptionError, malformed};

/// Builds the `Rtc` with the offer's formats and extensions, and applies the offer to it. Returns it with the
/// identifier str0m gave the session.
pub(super) fn accept(
    config: RtcConfig,
    offer: &Offer,
    candidates: &[Candidate],
    now: Instant,
) -> Result<(Rtc, String), DescriptionError> {
    let lite = config.ice_lite();
    let mut rtc = configure(config, offer).build(now);
    for candidate in candidates {
        rtc.add_local_candidate(candidate.clone());
    }
    let answer = apply(&mut rtc, offer)?;
    if !lite {
        for candidate in &offer.candidates {
            rtc.add_remote_candidate(candidate.clone());
        }
    }
    allow_nack_without_rtx(&mut rtc, offer);
    let id = session_id(&answer).to_owned();
    Ok((rtc, id))
}

/// The identifier str0m gave a session.
pub(super) fn session_id(answer: &str) -> &str {
    let origin = answer.lines().find_map(|line| line.strip_prefix("o="));
    origin.and_then(|origin| origin.split(' ').nth(1)).unwrap_or("1")
}

/// Has str0m accept the offer, for the first time or again after a change of credentials.
pub(super) fn apply(rtc: &mut Rtc, offer: &Offer) -> Result<String, DescriptionError> {
    let text = describe(offer);
    let parsed = SdpOffer::from_sdp_string(&text).map_err(|error| refused(&error))?;
    let answer = rtc.sdp_api().accept_offer(parsed).map_err(|error| refused(&error))?;
    Ok(answer.to_sdp_string())
}

/// The client's answer to a counter-offer, for str0m.
pub(super) fn answer(offer: &Offer) -> Result<SdpAnswer, DescriptionError> {
    SdpAnswer::from_sdp_string(&describe(offer)).map_err(|error| refused(&error))
}

/// str0m's reason, should it ever have one.
pub(super) fn refused(error: &impl std::fmt::Display) -> DescriptionError {
    malformed(format!("the description cannot be used: {error}"))
}

fn configure(mut config: RtcConfig, offer: &Offer) -> RtcConfig {
    let mut params: Vec<PayloadParams> = Vec::new();
    for offered in offer.media().flat_map(|section| &section.formats) {
        if !params.iter().any(|known| known.pt() == offered.params.pt()) {
            params.push(offered.params);
        }
    }
    for red in offer.media().flat_map(|section| &section.formats).filter_map(|offered| offered.format.red) {
        if !params.iter().any(|known| *known.pt() == red) {
            params.push(red_params(red));
        }
    }
    *config.codec_config() = CodecConfig::new_from_payload_params(params);
    let mut config = config.clear_extension_map();
    for extension in offer.media().flat_map(|section| &section.extensions) {
        config = config.set_extension(extension.id, extension.extension.clone());
    }
    config
}

fn describe(offer: &Offer) -> String {
    let mut text = Text::default();
    text.session("1");
    let served = offer.sections.iter().filter_map(Section::served);
    let mids: Vec<String> = served.map(|(_, mid)| Mid::from(mid).to_string()).collect();
    text.line(format_args!("a=group:BUNDLE {}", mids.join(" ")));
    let IceCreds { ufrag, pass } = offer.credentials();
    text.line(format_args!("a=ice-ufrag:{ufrag}"));
    text.line(format_args!("a=ice-pwd:{pass}"));
    text.line(format_args!("a=fingerprint:{}", offer.transport.fingerprint));
    text.line(format_args!("a=setup:{}", offer.setup().name()));
    for (index, section) in offer.sections.iter().enumerate() {
        match section {
            Section::Media(media) => describe_section(&mut text, media),
            Section::Application { mid, .. } => describe_application(&mut text, mid),
            // The engine goes by positions, and a member comes back with further offers.
            Section::Rejected { line: (kind, ..), mid } if offer.is_of_member() => {
                describe_rejected(&mut text, kind, mid.as_deref(), index);
            }
            Section::Rejected { .. } => {}
        }
    }
    text.finish()
}

fn describe_application(text: &mut Text, mid: &str) {
    text.line(format_args!("m=application 9 UDP/DTLS/SCTP webrtc-datachannel"));
    text.line(format_args!("c=IN IP4 0.0.0.0"));
    text.line(format_args!("a=mid:{}", Mid::from(mid)));
    text.line(format_args!("a=sctp-port:5000"));
    text.line(format_args!("a=max-message-size:262144"));
}

fn describe_rejected(text: &mut Text, kind: &str, mid: Option<&str>, index: usize) {
    text.line(format_args!("m={kind} 0 UDP/TLS/RTP/SAVPF 0"));
    text.line(format_args!("c=IN IP4 0.0.0.0"));
    let mid = mid.map_or_else(|| format!("unused{index}").as_str().into(), Mid::from);
    text.line(format_args!("a=mid:{mid}"));
    text.line(format_args!("a=inactive"));
}

fn describe_section(text: &mut Text, section: &MediaSection) {
    text.media_line(section, "UDP/TLS/RTP/SAVPF");
    text.line(format_args!("a=mid:{}", section.engine_mid()));
    for extension in &section.extensions {
        text.line(format_args!("a=extmap:{} {}", extension.id, extension.uri));
    }
    text.line(format_args!("a={}", section.direction.invert()));
    text.line(format_args!("a=rtcp-mux"));
    for offered in &section.formats {
        let fmtp = offered.params.spec().format.to_string();
        text.format(offered, Some(&fmtp));
        if let Some(red) = offered.format.red {
            text.line(format_args!("a=rtpmap:{red} PCMU/48000/2"));
        }
    }
    text.simulcast(section, "send");
    if let Some((main, rtx)) = section.ssrc {
        text.line(format_args!("a=ssrc:{main} cname:-"));
        if let Some(rtx) = rtx {
            text.line(format_args!("a=ssrc:{rtx} cname:-"));
            text.line(format_args!("a=ssrc-group:FID {main} {rtx}"));
        }
    }
}

/// str0m sends no NACK for a stream without RTX, but OBS and FFmpeg resend on the media's own SSRC.
fn allow_nack_without_rtx(rtc: &mut Rtc, offer: &Offer) {
    for section in offer.media().filter(|section| section.nacks_without_rtx()) {
        let Some((main, None)) = section.ssrc else { continue };
        if let Some(stream) = rtc.direct_api().stream_rx(&main.into()) {
            stream.suppress_nack(false);
        }
    }
}
