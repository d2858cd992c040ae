//! The counter-offer (draft-ietf-wish-whep section 4.2): when a viewer's codecs do not include what is published, the
//! server offers that, and the viewer answers.

use std::time::Instant;

use str0m::change::SdpPendingOffer;
use str0m::format::CodecConfig;
use str0m::media::{Direction, MediaKind as EngineKind};
use str0m::rtp::Extension;
use str0m::{Rtc, RtcConfig};

use super::codecs::{self, Feedback, OfferedFormat};
use super::offer::Section;
use super::transport::Setup;
use super::{
    DescriptionError, Local, NegotiatedMedia, Offer, answer, engine, known, malformed, negotiated, unacceptable,
};
use crate::rtp::MediaKind;
use crate::rtp::format::Format;
use crate::sfu::command::Role;

/// First payload type given out; each video format takes two, for itself and its retransmissions.
const FIRST_PAYLOAD_TYPE: u8 = 96;

/// Last payload type given out. Beyond it there are none.
const LAST_PAYLOAD_TYPE: u8 = 127;

/// Extensions under libwebrtc's usual ids.
const EXTENSIONS: [(u8, Extension); 6] = [
    (1, Extension::AudioLevel),
    (2, Extension::AbsoluteSendTime),
    (3, Extension::TransportSequenceNumber),
    (4, Extension::RtpMid),
    (5, Extension::PlayoutDelay),
    (13, Extension::VideoOrientation),
];

/// A counter-offer that waits for its answer.
#[derive(Debug)]
pub struct CounterOffer {
    /// The SDP offer.
    pub offer: String,
    rtc: Rtc,
    pending: SdpPendingOffer,
    media: usize,
}

/// Offers what is published: one m-line for each kind in it, `sendonly`. `config` as for [`accept`](super::accept).
///
/// # Errors
/// [`DescriptionError::Unacceptable`]: nothing is published that could be offered.
pub fn counter_offer(
    mut config: RtcConfig,
    published: &[Format],
    local: &Local<'_>,
    now: Instant,
) -> Result<CounterOffer, DescriptionError> {
    let formats = renumbered(published);
    let params = formats.iter().map(|offered| offered.params).collect();
    *config.codec_config() = CodecConfig::new_from_payload_params(params);
    config = config.clear_extension_map();
    for (id, extension) in EXTENSIONS {
        config = config.set_extension(id, extension);
    }
    let mut rtc = config.build(now);
    for candidate in answer::in_order(local.candidates) {
        rtc.add_local_candidate(candidate.clone());
    }
    let mut api = rtc.sdp_api();
    let mut media = 0;
    for (kind, engine_kind) in [(MediaKind::Audio, EngineKind::Audio), (MediaKind::Video, EngineKind::Video)] {
        if formats.iter().any(|offered| offered.format.kind() == kind) {
            let stream = Some(local.stream.to_owned());
            api.add_media(engine_kind, Direction::SendOnly, stream, None, None);
            media += 1;
        }
    }
    let Some((offer, pending)) = api.apply() else {
        return Err(unacceptable("nothing is published that could be played"));
    };
    // All candidates are there, and nothing else is told to the client before it answers.
    let offer = offer.to_sdp_string().replacen("a=ice-ufrag:", "a=end-of-candidates\r\na=ice-ufrag:", 1);
    Ok(CounterOffer { offer, rtc, pending, media })
}

impl CounterOffer {
    /// Reads and judges an answer. The counter-offer stays as it is, so the client may try again.
    ///
    /// # Errors
    /// As [`Offer::parse`], and [`DescriptionError::Unacceptable`] for an answer that rejects an m-line or has payload
    /// types of its own.
    pub fn read_answer(&self, text: &str) -> Result<Offer, DescriptionError> {
        let mut answer = Offer::parse(text, &Role::Play { participant: None })?;
        if answer.setup() == Setup::ActPass {
            return Err(malformed("an answer needs a=setup:active or a=setup:passive"));
        }
        if answer.sections.len() != self.media {
            let (has, needs) = (answer.sections.len(), self.media);
            return Err(malformed(format!("the answer has {has} m-lines, the offer {needs}")));
        }
        if answer.sections.iter().any(|section| matches!(section, Section::Rejected { .. })) {
            return Err(unacceptable("the answer rejects an m-line; there is nothing else to offer"));
        }
        known::narrow(&mut answer, self.rtc.codec_config())?;
        Ok(answer)
    }

    /// Takes an answer that was read. Afterwards `answer` stands for the client's description as an offer would.
    ///
    /// # Errors
    /// [`DescriptionError::Malformed`]: the answer is to another offer (its mids differ).
    pub fn accept(mut self, answer: &Offer) -> Result<(Rtc, Vec<NegotiatedMedia>), DescriptionError> {
        let engine_answer = engine::answer(answer)?;
        self.rtc.sdp_api().accept_answer(self.pending, engine_answer).map_err(|error| engine::refused(&error))?;
        Ok((self.rtc, negotiated(answer)))
    }
}

/// The published formats under payload types of ours: several publishers may use the same for different things.
fn renumbered(published: &[Format]) -> Vec<OfferedFormat> {
    let mut free = FIRST_PAYLOAD_TYPE..=LAST_PAYLOAD_TYPE;
    let mut formats: Vec<OfferedFormat> = Vec::new();
    for format in published {
        if formats.iter().any(|known| (known.format.codec, known.format.profile) == (format.codec, format.profile)) {
            continue;
        }
        let video = format.kind() == MediaKind::Video;
        let (Some(payload_type), rtx) = (free.next(), if video { free.next() } else { None }) else { break };
        let feedback = if video { Feedback::ALL.to_vec() } else { vec![Feedback::TransportCc] };
        let fmtp = format.profile.to_fmtp();
        let format = Format { payload_type, rtx, red: None, ..format.clone() };
        formats.push(codecs::describe(format, Some(&fmtp), feedback));
    }
    formats
}
