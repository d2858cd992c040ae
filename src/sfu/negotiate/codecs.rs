//! Which payload formats are taken from an offer: every one whose codec is forwarded, under its own payload type.
//!
//! str0m is given exactly these formats, so that it finds each offered one among its own and payload types never move.

use std::collections::BTreeMap;

use str0m::format::{CodecConfig, CodecSpec, FormatParams, PayloadParams};
use str0m::media::Frequency;

use super::sdp::Media;
use super::{DescriptionError, unacceptable};
use crate::rtp::format::{Format, Profile};
use crate::rtp::{Codec, MediaKind};

/// Payload types that a receiver of multiplexed RTP and RTCP takes for RTCP (RFC 5761 section 4).
const RTCP_RANGE: std::ops::RangeInclusive<u8> = 64..=95;

/// An offered format with what the answer repeats of it.
#[derive(Debug, Clone)]
pub(super) struct OfferedFormat {
    /// What forwarding sees of it.
    pub(super) format: Format,
    /// The parameters as written in the offer.
    pub(super) fmtp: Option<String>,
    /// Feedback both sides use.
    pub(super) feedback: Vec<Feedback>,
    /// str0m's view.
    pub(super) params: PayloadParams,
    /// Frames repeated come before it in the offer: the client would rather send it so.
    pub(super) prefers_red: bool,
}

/// RTCP feedback (RFC 4585, RFC 5104) the server can send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feedback {
    TransportCc,
    Remb,
    Fir,
    Nack,
    Pli,
}

impl Feedback {
    /// Everything the server can do with video.
    pub(super) const ALL: [Feedback; 5] = [Self::TransportCc, Self::Remb, Self::Fir, Self::Nack, Self::Pli];

    /// Its name in `a=rtcp-fb`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::TransportCc => "transport-cc",
            Self::Remb => "goog-remb",
            Self::Fir => "ccm fir",
            Self::Nack => "nack",
            Self::Pli => "nack pli",
        }
    }
}

impl OfferedFormat {
    /// `a=rtpmap`'s value after the payload type.
    pub(super) fn rtpmap(&self) -> String {
        let Format { codec, clock_rate, channels, .. } = &self.format;
        let channels = channels.map_or(String::new(), |channels| format!("/{channels}"));
        format!("{}/{clock_rate}{channels}", codec.name())
    }
}

/// The formats of an m-line that are forwarded, in the order of the offer. `transport_cc`: the m-line has the
/// transport-wide sequence number extension, without which that feedback means nothing.
pub(super) fn offered(media: &Media, kind: MediaKind, transport_cc: bool) -> Vec<OfferedFormat> {
    let table = Table::read(media);
    let mut formats: Vec<OfferedFormat> = Vec::new();
    for (payload_type, row) in table.listed(media) {
        let Some((codec, channels)) = row.rtpmap.and_then(forwarded) else { continue };
        if codec.kind() != kind {
            continue;
        }
        let fmtp = row.fmtp;
        let profile = Profile::from_fmtp(codec, fmtp.unwrap_or_default());
        let rtx = table.listed(media).find(|(_, other)| other.repairs() == Some(payload_type)).map(|(rtx, _)| rtx);
        let clock_rate = engine_codec(codec).0.get();
        let red = table.listed(media).find(|(_, other)| other.repeats() == Some(payload_type)).map(|(red, _)| red);
        let red = red.filter(|_| kind == MediaKind::Audio);
        let format = Format { payload_type, rtx, red, codec, clock_rate, channels, profile };
        let meant = |feedback: &Feedback| transport_cc || *feedback != Feedback::TransportCc;
        let feedback = Feedback::ALL.into_iter().filter(meant).filter(|f| table.has_feedback(row, *f)).collect();
        let mut order = table.listed(media).map(|(payload_type, _)| payload_type);
        let prefers_red = order.find(|pt| *pt == payload_type || Some(*pt) == red) == red && red.is_some();
        formats.push(OfferedFormat { prefers_red, ..describe(format, fmtp, feedback) });
    }
    formats
}

/// The names of everything an m-line offers, for the person whose offer has nothing the server forwards.
pub(super) fn names(media: &Media) -> String {
    let mut names: Vec<&str> = Vec::new();
    for value in media.lines.attributes("rtpmap") {
        let name = value.split_once(' ').map_or(value, |(_, name)| name.trim());
        let name = name.split_once('/').map_or(name, |(name, _)| name);
        if !names.contains(&name) && names.len() < NAMES {
            names.push(name);
        }
    }
    if names.is_empty() { "no codec".to_owned() } else { names.join(", ") }
}

/// Names listed in an error. Larger: a longer error; smaller: the one that matters may be missing.
const NAMES: usize = 20;

/// What is forwarded, for errors.
pub(super) fn supported(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "opus/48000/2",
        MediaKind::Video => "VP8, VP9, H264, H265 and AV1",
    }
}

/// All formats of a description: bundled m-lines share one space of payload types (RFC 9143 section 9).
#[derive(Debug, Default)]
pub(super) struct PayloadTypes(Vec<PayloadParams>);

impl PayloadTypes {
    /// Takes in the formats of one m-line, and drops those that repeat an earlier one under another payload type:
    /// str0m would take one for the other.
    ///
    /// # Errors
    /// [`DescriptionError::Unacceptable`]: a payload type already means something else on another m-line.
    pub(super) fn add(&mut self, label: &str, formats: &mut Vec<OfferedFormat>) -> Result<(), DescriptionError> {
        let mut conflict = None;
        for offered in formats.iter_mut() {
            offered.format.red = offered.format.red.filter(|red| self.take_red(*red));
        }
        formats.retain(|offered| {
            let params = offered.params;
            let numbers = |params: &PayloadParams| [Some(params.pt()), params.resend()];
            if self.0.iter().any(|known| numbers(known) == numbers(&params) && known.spec() == params.spec()) {
                return true;
            }
            let taken = |known: &PayloadParams| {
                numbers(known).into_iter().flatten().find(|pt| numbers(&params).contains(&Some(*pt)))
            };
            conflict = conflict.or_else(|| self.0.iter().find_map(taken));
            let new = !self.0.iter().any(|known| confusable(*known, params));
            if new {
                self.0.push(params);
            }
            new
        });
        match conflict {
            Some(pt) => Err(unacceptable(format!(
                "{label} gives payload type {pt} a second meaning; bundled m-lines share payload types (RFC 9143)"
            ))),
            None => Ok(()),
        }
    }
}

impl PayloadTypes {
    /// Takes in a payload type of frames repeated. False when it means something else.
    fn take_red(&mut self, red: u8) -> bool {
        let params = red_params(red);
        let taken = |known: &PayloadParams| known.pt() == params.pt() || known.resend() == Some(params.pt());
        match self.0.iter().find(|known| taken(known)) {
            Some(known) => known.spec() == params.spec(),
            None => {
                self.0.push(params);
                true
            }
        }
    }
}

/// str0m's view of Opus with frames repeated. It would put RED together with the codec inside, which only it can
/// describe; as it looks into no payload, another codec of the same clock does.
pub(super) fn red_params(payload_type: u8) -> PayloadParams {
    let spec = CodecSpec {
        codec: str0m::format::Codec::PCMU,
        clock_rate: Frequency::FORTY_EIGHT_KHZ,
        channels: Some(2),
        format: FormatParams::default(),
    };
    PayloadParams::new(payload_type.into(), None, spec)
}

/// str0m's view of a format joined to ours.
pub(super) fn describe(format: Format, fmtp: Option<&str>, feedback: Vec<Feedback>) -> OfferedFormat {
    let (clock_rate, codec) = engine_codec(format.codec);
    let parameters = fmtp.map(FormatParams::parse_line).unwrap_or_default();
    let spec = CodecSpec { codec, clock_rate, channels: format.channels, format: parameters };
    let mut params = PayloadParams::new(format.payload_type.into(), format.rtx.map(Into::into), spec);
    params.set_fb_transport_cc(feedback.contains(&Feedback::TransportCc));
    params.set_fb_remb(feedback.contains(&Feedback::Remb));
    params.set_fb_fir(feedback.contains(&Feedback::Fir));
    params.set_fb_nack(feedback.contains(&Feedback::Nack));
    params.set_fb_pli(feedback.contains(&Feedback::Pli));
    OfferedFormat { format, fmtp: fmtp.map(str::to_owned), feedback, params, prefers_red: false }
}

/// What a section says about each payload type, read in one pass: hostile offers have thousands of lines.
#[derive(Debug, Default)]
struct Table<'a> {
    rows: BTreeMap<u8, Row<'a>>,
    /// `a=rtcp-fb:*`
    feedback: Vec<&'a str>,
}

#[derive(Debug, Default)]
struct Row<'a> {
    rtpmap: Option<&'a str>,
    fmtp: Option<&'a str>,
    feedback: Vec<&'a str>,
}

impl<'a> Table<'a> {
    fn read(media: &Media<'a>) -> Self {
        let mut table = Table::default();
        let split = |value: &'a str| value.split_once(' ').map(|(pt, value)| (pt, value.trim()));
        let row = |(pt, value): (&str, &'a str)| Some((payload_type(pt)?, value));
        for (payload_type, value) in media.lines.attributes("rtpmap").filter_map(split).filter_map(row) {
            table.rows.entry(payload_type).or_default().rtpmap.get_or_insert(value);
        }
        for (payload_type, value) in media.lines.attributes("fmtp").filter_map(split).filter_map(row) {
            table.rows.entry(payload_type).or_default().fmtp.get_or_insert(value);
        }
        for (pt, value) in media.lines.attributes("rtcp-fb").filter_map(split) {
            match payload_type(pt) {
                Some(payload_type) => table.rows.entry(payload_type).or_default().feedback.push(value),
                None if pt == "*" => table.feedback.push(value),
                None => {}
            }
        }
        table
    }

    /// The described payload types of the m-line, in its order, each once.
    fn listed(&self, media: &Media<'a>) -> impl Iterator<Item = (u8, &Row<'a>)> {
        let mut seen = [false; 128];
        media.formats.split_ascii_whitespace().filter_map(payload_type).filter_map(move |payload_type| {
            let seen = seen.get_mut(usize::from(payload_type))?;
            let first = !std::mem::replace(seen, true);
            let row = self.rows.get(&payload_type).filter(|_| first)?;
            Some((payload_type, row))
        })
    }

    fn has_feedback(&self, row: &Row, feedback: Feedback) -> bool {
        row.feedback.iter().chain(&self.feedback).any(|name| *name == feedback.name())
    }
}

impl Row<'_> {
    /// The payload type whose frames this one, being RED (RFC 2198), carries; `None` when they are of several.
    fn repeats(&self) -> Option<u8> {
        let (name, _) = self.rtpmap?.split_once('/')?;
        let (first, others) = self.fmtp?.split_once('/')?;
        let same = others.split('/').all(|other| other.trim() == first.trim());
        first.trim().parse().ok().filter(|_| same && name.eq_ignore_ascii_case("red"))
    }

    /// The payload type that this one, being RTX (RFC 4588), repairs.
    fn repairs(&self) -> Option<u8> {
        let (name, _) = self.rtpmap?.split_once('/')?;
        let apt = self.fmtp?.split(';').find_map(|pair| pair.trim().strip_prefix("apt="))?;
        apt.trim().parse().ok().filter(|_| name.eq_ignore_ascii_case("rtx"))
    }
}

fn payload_type(word: &str) -> Option<u8> {
    word.parse().ok().filter(|pt| *pt < 128 && !RTCP_RANGE.contains(pt))
}

/// Reads `<name>/<clock>[/<channels>]` of a codec that is forwarded.
fn forwarded(rtpmap: &str) -> Option<(Codec, Option<u8>)> {
    let mut parts = rtpmap.split('/').map(str::trim);
    let (name, clock, channels) = (parts.next()?, parts.next()?, parts.next());
    let codec = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1]
        .into_iter()
        .find(|codec| codec.name().eq_ignore_ascii_case(name))?;
    match (codec.kind(), clock, channels) {
        (MediaKind::Audio, "48000", Some("2")) => Some((codec, Some(2))),
        (MediaKind::Video, "90000", _) => Some((codec, None)),
        _ => None,
    }
}

fn engine_codec(codec: Codec) -> (Frequency, str0m::format::Codec) {
    use str0m::format::Codec as Engine;
    match codec {
        Codec::Opus => (Frequency::FORTY_EIGHT_KHZ, Engine::Opus),
        Codec::Vp8 => (Frequency::NINETY_KHZ, Engine::Vp8),
        Codec::Vp9 => (Frequency::NINETY_KHZ, Engine::Vp9),
        Codec::H264 => (Frequency::NINETY_KHZ, Engine::H264),
        Codec::H265 => (Frequency::NINETY_KHZ, Engine::H265),
        Codec::Av1 => (Frequency::NINETY_KHZ, Engine::Av1),
    }
}

/// str0m, looking for `known` among both, would come back with `new`.
fn confusable(known: PayloadParams, new: PayloadParams) -> bool {
    known.spec() == new.spec()
        || known.spec().codec == new.spec().codec
            && CodecConfig::new_from_payload_params(vec![known, new])
                .match_params(known)
                .is_none_or(|found| found.pt() != known.pt())
}
