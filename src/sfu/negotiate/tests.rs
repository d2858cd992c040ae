//! Offers as clients send them, through str0m, and back.

use std::sync::OnceLock;

use str0m::config::DtlsCert;

use super::*;
use crate::sfu::command::Role;

mod later;
mod recorded;
mod refused;
mod wire;

const PLAY: Role = Role::Play { participant: None };

/// The recorded offers, and for which roles each is valid.
const RECORDED: &[(&str, &[Role])] = &[
    ("aiortc_sendrecv", &[Role::Publish, PLAY]),
    ("aiortc_whep", &[PLAY]),
    ("chromium_conf_datachannel", &[Role::Publish, PLAY]),
    ("chromium_svc", &[Role::Publish]),
    ("chromium_whep_recvonly", &[PLAY]),
    ("chromium_whip_simulcast", &[Role::Publish]),
    ("chromium_whip_simulcast_gathered", &[Role::Publish]),
    ("ffmpeg_video_only_whip", &[Role::Publish]),
    ("ffmpeg_whip", &[Role::Publish]),
    ("firefox_conf_datachannel", &[Role::Publish, PLAY]),
    ("firefox_svc", &[Role::Publish]),
    ("firefox_whep_recvonly", &[PLAY]),
    ("firefox_whip_simulcast", &[Role::Publish]),
    ("firefox_whip_simulcast_gathered", &[Role::Publish]),
    ("gstreamer_whep", &[PLAY]),
    ("gstreamer_whip", &[Role::Publish]),
    ("libdatachannel_whep", &[PLAY]),
    ("libdatachannel_whip", &[Role::Publish]),
    ("node_wrtc_whep", &[PLAY]),
    ("obs_simulcast_whip", &[Role::Publish]),
    ("werift_whep", &[PLAY]),
    ("werift_whip", &[Role::Publish]),
];

fn recorded(name: &str) -> String {
    let path = format!("{}/tests/offers/{name}.sdp", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// One certificate for all tests: making one takes longer than negotiating.
fn config() -> RtcConfig {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    let provider = str0m::crypto::from_feature_flags().dtls_provider;
    let certificate = CERTIFICATE.get_or_init(|| provider.generate_certificate().unwrap());
    RtcConfig::new().set_rtp_mode(true).set_ice_lite(true).set_dtls_cert(certificate.clone())
}

fn host(address: &str) -> Candidate {
    Candidate::host(address.parse().unwrap(), "udp").unwrap()
}

fn negotiate(text: &str, role: &Role) -> Result<Accepted, DescriptionError> {
    let candidates = [host("192.0.2.1:3478"), host("[2001:db8::1]:3478")];
    let local = Local { candidates: &candidates, stream: "lobby" };
    accept(config(), &Offer::parse(text, role)?, &local, Instant::now())
}

/// The attribute values of this name, over the whole text.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let prefix = format!("a={name}");
    let value = |line: &'a str| line.strip_prefix(prefix.as_str()).map(|rest| rest.trim_start_matches(':'));
    text.lines().map(str::trim_end).filter_map(value).collect()
}
