//! Builds the `Rtc` and its offer. Not here: the server's side of negotiation.

use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use str0m::change::{SdpApi, SdpPendingOffer};
use str0m::channel::{ChannelConfig, Reliability};
use str0m::format::{Codec as RtcCodec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Simulcast, SimulcastLayer};
use str0m::rtp::Extension;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use crate::media::{Codec, Kind};
use crate::spec::{MemberSpec, PublisherSpec, VideoFormat, VideoSpec, ViewerSpec};

use super::publisher::{Publisher, Track};
use super::{ClientError, Setup};

/// Ids of header extensions that str0m knows but does not offer by itself.
const ABS_CAPTURE_TIME_ID: u8 = 5;
const PLAYOUT_DELAY_ID: u8 = 6;
const DEPENDENCY_DESCRIPTOR_ID: u8 = 7;

/// First video payload types. Different for the two roles, so that a server that forwards payload types as they are is
/// found out.
const PUBLISHER_VIDEO_PT: u8 = 96;
const VIEWER_VIDEO_PT: u8 = 104;

const OPUS_PT: u8 = 111;

/// A codec with the payload types it and its retransmissions are offered under.
pub(super) struct Format {
    codec: Codec,
    profile_level_id: u32,
    pt: u8,
    rtx: Option<u8>,
}

/// A publisher offers what it sends and nothing else, as OBS and FFmpeg do.
pub(super) fn publisher_formats(spec: &PublisherSpec) -> Vec<Format> {
    let video =
        spec.video.as_ref().map(|video| VideoFormat { codec: video.codec, profile_level_id: video.h264_offered });
    formats(spec.audio.is_some(), video.as_slice(), PUBLISHER_VIDEO_PT)
}

pub(super) fn viewer_formats(spec: &ViewerSpec) -> Vec<Format> {
    formats(spec.audio, &spec.formats, VIEWER_VIDEO_PT)
}

/// A member sends and receives under the same payload types: they are one bundle.
pub(super) fn member_formats(spec: &MemberSpec) -> Vec<Format> {
    formats(true, &spec.viewer.formats, VIEWER_VIDEO_PT)
}

fn formats(audio: bool, videos: &[VideoFormat], first_pt: u8) -> Vec<Format> {
    let opus = audio.then_some(Format { codec: Codec::Opus, profile_level_id: 0, pt: OPUS_PT, rtx: None });
    // 111 is taken; 127 is the last: more formats than that are not offered.
    let pts = (first_pt..127).step_by(2).filter(|pt| !(pt..=&(pt + 1)).contains(&&OPUS_PT));
    let video = videos.iter().zip(pts).map(|(format, pt)| Format {
        codec: format.codec,
        profile_level_id: format.profile_level_id,
        pt,
        rtx: Some(pt + 1),
    });
    opus.into_iter().chain(video).collect()
}

/// Header extensions that not every client offers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extras {
    pub(super) dependency_descriptor: bool,
    pub(super) transport_feedback: bool,
    pub(super) red: bool,
}

/// An `Rtc` in RTP mode with full ICE and one host candidate.
pub(super) fn build(setup: &Setup, formats: &[Format], extras: Extras, now: Instant) -> Result<Rtc, ClientError> {
    let mut config = RtcConfig::new()
        .set_rtp_mode(true)
        .set_local_ice_credentials(ice_credentials(setup.seed))
        .set_extension(ABS_CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime)
        .set_extension(PLAYOUT_DELAY_ID, Extension::PlayoutDelay)
        .clear_codecs();
    if !extras.transport_feedback {
        // str0m's own map without that one.
        config = config
            .clear_extension_map()
            .set_extension(1, Extension::AudioLevel)
            .set_extension(2, Extension::AbsoluteSendTime)
            .set_extension(4, Extension::RtpMid)
            .set_extension(ABS_CAPTURE_TIME_ID, Extension::AbsoluteCaptureTime)
            .set_extension(PLAYOUT_DELAY_ID, Extension::PlayoutDelay)
            .set_extension(13, Extension::VideoOrientation);
    }
    if extras.dependency_descriptor {
        config = config.set_extension(DEPENDENCY_DESCRIPTOR_ID, super::dependency::extension());
    }
    for format in formats {
        add_format(&mut config, format, extras.red);
    }
    let mut rtc = config.build(now);
    let address = setup.address;
    let candidate = Candidate::host(address, "udp").map_err(|reason| ClientError::Address { address, reason })?;
    rtc.add_local_candidate(candidate);
    Ok(rtc)
}

pub(super) fn offer_publisher(
    rtc: &mut Rtc,
    spec: PublisherSpec,
    setup: &Setup,
) -> Result<(Publisher, String, SdpPendingOffer), ClientError> {
    let mut changes = rtc.sdp_api();
    let tracks = add_senders(&mut changes, &spec);
    let (offer, pending) = changes.apply().ok_or(ClientError::NothingToOffer)?;
    Ok((Publisher::new(spec, tracks, setup.seed), offer.to_sdp_string(), pending))
}

/// A member's offer: what it sends, then its slots.
pub(super) fn offer_member(
    rtc: &mut Rtc,
    spec: &MemberSpec,
    setup: &Setup,
) -> Result<(Option<Publisher>, String, SdpPendingOffer), ClientError> {
    let mut changes = rtc.sdp_api();
    let tracks = spec.publisher.as_ref().map(|publisher| add_senders(&mut changes, publisher));
    for _ in 0..spec.audio_slots {
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    }
    for _ in 0..spec.viewer.videos {
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    }
    let reliability = Reliability::MaxRetransmits { retransmits: 0 };
    let data = ChannelConfig { label: "data".to_owned(), ordered: false, reliability, ..ChannelConfig::default() };
    changes.add_channel_with_config(data);
    let (offer, pending) = changes.apply().ok_or(ClientError::NothingToOffer)?;
    let publisher = spec.publisher.clone().zip(tracks);
    let publisher = publisher.map(|(spec, tracks)| Publisher::new(spec, tracks, setup.seed));
    Ok((publisher, offer.to_sdp_string(), pending))
}

fn add_senders(changes: &mut SdpApi<'_>, spec: &PublisherSpec) -> Vec<Track> {
    let stream = Some(format!("publisher-{}", spec.publisher));
    let mut tracks = Vec::new();
    if spec.audio.is_some() {
        let mid = changes.add_media(MediaKind::Audio, Direction::SendOnly, stream.clone(), None, None);
        tracks.push(Track::new(mid, Kind::Audio));
    }
    if let Some(video) = &spec.video {
        let mid = changes.add_media(MediaKind::Video, Direction::SendOnly, stream, None, simulcast(video));
        tracks.push(Track::new(mid, Kind::Video));
    }
    tracks
}

pub(super) fn offer_viewer(rtc: &mut Rtc, spec: &ViewerSpec) -> Result<(String, SdpPendingOffer), ClientError> {
    let mut changes = rtc.sdp_api();
    if spec.audio {
        changes.add_media(MediaKind::Audio, Direction::RecvOnly, None, None, None);
    }
    for _ in 0..spec.videos {
        changes.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
    }
    let (offer, pending) = changes.apply().ok_or(ClientError::NothingToOffer)?;
    Ok((offer.to_sdp_string(), pending))
}

/// The `a=simulcast` of a track whose layers have names.
fn simulcast(video: &VideoSpec) -> Option<Simulcast> {
    let mut simulcast = Simulcast::new();
    for rid in video.layers.iter().filter_map(|layer| layer.rid) {
        simulcast.add_send_layer(SimulcastLayer::new(rid));
    }
    (!simulcast.send.is_empty()).then_some(simulcast)
}

fn add_format(config: &mut RtcConfig, format: &Format, red: bool) {
    let codecs = config.codec_config();
    let (pt, rtx) = (format.pt.into(), format.rtx.map(Into::into));
    match format.codec {
        Codec::Opus => codecs.enable_opus(true, red),
        Codec::H264 => codecs.add_h264(pt, rtx, true, format.profile_level_id),
        // Main profile, main tier, level 3.1: what Chromium offers first.
        Codec::H265 => codecs.add_h265(pt, rtx, 1, 0, 93),
        Codec::Vp8 | Codec::Vp9 | Codec::Av1 => {
            let codec = match format.codec {
                Codec::Vp9 => RtcCodec::Vp9,
                Codec::Av1 => RtcCodec::Av1,
                _ => RtcCodec::Vp8,
            };
            let profile_id = (format.codec == Codec::Vp9).then_some(0);
            let parameters = FormatParams { profile_id, ..FormatParams::default() };
            codecs.add_config(pt, rtx, codec, Frequency::NINETY_KHZ, None, parameters);
        }
    }
}

/// Seeded, so that a trace is the same each time. Length and alphabet as RFC 8445 section 5.3 asks.
fn ice_credentials(seed: u64) -> IceCreds {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rng = StdRng::seed_from_u64(seed);
    let mut text = |length| (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..32)])).collect();
    IceCreds { ufrag: text(8), pass: text(24) }
}
