//! The answer a client gets: its own m-lines, mids, formats and ids, with the server's side of each.

use str0m::net::Protocol;
use str0m::{Candidate, CandidateKind, IceCreds, Rtc};

use super::offer::{MediaSection, Offer, Section};
use super::text::{Text, bundle};

/// Bytes of one data channel message. Larger: fewer and longer messages; smaller: other channels wait less.
const MAX_DATA_MESSAGE: u32 = 65_536;

/// What goes into an answer beside the offer.
#[derive(Debug)]
pub(super) struct Answerer<'a> {
    pub(super) offer: &'a Offer,
    /// The server's candidates.
    pub(super) candidates: &'a [Candidate],
    /// The server is ICE-lite.
    pub(super) lite: bool,
    /// Name of the one MediaStream a viewer receives.
    pub(super) stream: &'a str,
}

impl Answerer<'_> {
    /// Writes the answer. `rtc` has accepted the offer; `id` is of its session.
    pub(super) fn write(&self, rtc: &mut Rtc, id: &str) -> String {
        let mut text = Text::default();
        text.session(id);
        let bundle = bundle(self.offer);
        if !bundle.is_empty() {
            text.line(format_args!("a=group:BUNDLE {bundle}"));
        }
        if self.offer.allow_mixed {
            text.line(format_args!("a=extmap-allow-mixed"));
        }
        let sends = self.offer.receives_media();
        text.line(format_args!("a=msid-semantic: WMS {}", if sends { self.stream } else { "*" }));
        if self.lite {
            text.line(format_args!("a=ice-lite"));
        }
        let tagged = self.offer.tagged();
        for section in &self.offer.sections {
            match section {
                Section::Rejected { line: (kind, proto, formats), mid } => {
                    text.line(format_args!("m={kind} 0 {proto} {formats}"));
                    text.line(format_args!("c=IN IP4 0.0.0.0"));
                    if let Some(mid) = mid {
                        text.line(format_args!("a=mid:{mid}"));
                    }
                }
                Section::Application { index, mid } => {
                    text.line(format_args!("m=application 9 UDP/DTLS/SCTP webrtc-datachannel"));
                    text.line(format_args!("c=IN IP4 0.0.0.0"));
                    if Some(*index) == tagged {
                        write_candidates(&mut text, self.candidates);
                    }
                    write_transport(&mut text, rtc, self.offer);
                    text.line(format_args!("a=mid:{mid}"));
                    text.line(format_args!("a=sctp-port:5000"));
                    text.line(format_args!("a=max-message-size:{MAX_DATA_MESSAGE}"));
                }
                Section::Media(media) => {
                    text.media_line(media, &media.proto);
                    if Some(media.index) == tagged {
                        write_candidates(&mut text, self.candidates);
                    }
                    write_transport(&mut text, rtc, self.offer);
                    write_media(&mut text, media);
                    if media.direction.is_sending() {
                        write_stream(&mut text, rtc, media, &self.stream_of(media));
                    }
                }
            }
        }
        text.finish()
    }

    /// A viewer's m-lines play in step as one stream. A member's slots are of different people: each its own.
    fn stream_of(&self, media: &MediaSection) -> String {
        if self.offer.is_of_member() { format!("{}-{}", self.stream, media.index) } else { self.stream.to_owned() }
    }
}

/// UDP host addresses first: FFmpeg takes the first candidate and no other.
pub(super) fn in_order(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> {
    let first = |candidate: &&Candidate| candidate.proto() == Protocol::Udp && candidate.kind() == CandidateKind::Host;
    let rest = candidates.iter().filter(move |candidate| !first(candidate));
    candidates.iter().filter(first).chain(rest)
}

/// All candidates, and that there are no more (RFC 9725 section 4.3.2).
pub(super) fn write_candidates(text: &mut Text, candidates: &[Candidate]) {
    for candidate in in_order(candidates) {
        text.line(format_args!("a={}", candidate.to_sdp_string()));
    }
    text.line(format_args!("a=end-of-candidates"));
}

fn write_transport(text: &mut Text, rtc: &mut Rtc, offer: &Offer) {
    let direct = rtc.direct_api();
    let IceCreds { ufrag, pass } = direct.local_ice_credentials();
    text.line(format_args!("a=ice-ufrag:{ufrag}"));
    text.line(format_args!("a=ice-pwd:{pass}"));
    text.line(format_args!("a=ice-options:trickle"));
    let fingerprint = direct.local_dtls_fingerprint();
    let digest: Vec<String> = fingerprint.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    text.line(format_args!("a=fingerprint:{} {}", fingerprint.hash_func, digest.join(":")));
    text.line(format_args!("a=setup:{}", offer.setup().answer().name()));
}

fn write_media(text: &mut Text, media: &MediaSection) {
    text.line(format_args!("a=mid:{}", media.mid));
    if media.allow_mixed {
        text.line(format_args!("a=extmap-allow-mixed"));
    }
    for extension in &media.extensions {
        let direction = extension.answer_direction.map_or(String::new(), |direction| format!("/{direction}"));
        text.line(format_args!("a=extmap:{}{direction} {}", extension.id, extension.uri));
    }
    text.line(format_args!("a={}", media.direction));
    text.line(format_args!("a=rtcp-mux"));
    // RFC 9725 section 4.4.1 asks for it; Chromium and libdatachannel take it beside a=rtcp-mux.
    text.line(format_args!("a=rtcp-mux-only"));
    if media.reduced_size {
        text.line(format_args!("a=rtcp-rsize"));
    }
    for offered in &media.formats {
        text.format(offered, offered.fmtp.as_deref());
        text.redundancy(offered);
    }
    text.simulcast(media, "recv");
}

/// The server's SSRCs, and the one stream that makes browsers play audio and video together.
fn write_stream(text: &mut Text, rtc: &mut Rtc, media: &MediaSection, stream: &str) {
    let track = format!("{}-{}", media.kind_name(), media.index);
    text.line(format_args!("a=msid:{stream} {track}"));
    let mid = media.engine_mid();
    let cname = rtc.media(mid).map(|media| media.cname().to_owned()).unwrap_or_default();
    let mut direct = rtc.direct_api();
    let Some(tx) = direct.stream_tx_by_mid(mid, None) else { return };
    // It is the engine's for good, also when a later offer has no retransmissions.
    let resends = media.formats.iter().any(|offered| offered.format.rtx.is_some());
    let (main, rtx) = (*tx.ssrc(), tx.rtx().filter(|_| resends).map(|rtx| *rtx));
    if let Some(rtx) = rtx {
        text.line(format_args!("a=ssrc-group:FID {main} {rtx}"));
    }
    for ssrc in [Some(main), rtx].into_iter().flatten() {
        text.line(format_args!("a=ssrc:{ssrc} cname:{cname}"));
        text.line(format_args!("a=ssrc:{ssrc} msid:{stream} {track}"));
    }
}
