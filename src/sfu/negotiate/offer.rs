//! Reading and judging what a client offers: RFC 9725 section 4.4, draft-ietf-wish-whep section 4, RFC 9143 (BUNDLE).

use str0m::media::{Direction, Mid, Rid};
use str0m::{Candidate, IceCreds};

use super::codecs::{self, Feedback, OfferedFormat, PayloadTypes};
use super::extmap::{Chooser, OfferedExtension, TakenIds};
use super::sdp::{Lines, Media, Sdp};
use super::transport::{Setup, Transport};
use super::{DescriptionError, candidate, malformed, unacceptable};
use crate::rtp::MediaKind;
use crate::sfu::command::Role;

/// Longest mid. Larger: more to carry in every answer; smaller: somebody's UUID-shaped mids are refused.
const MAX_MID: usize = 64;

/// Most simulcast encodings of one track. libwebrtc sends up to three, OBS up to four.
const MAX_ENCODINGS: usize = 4;

/// Most candidates kept of an offer. Larger: more memory per peer; smaller: a host with many interfaces loses some.
const MAX_CANDIDATES: usize = 32;

/// What a client described: its offer, or its answer to a counter-offer. Valid for its role.
#[derive(Debug, Clone)]
pub struct Offer {
    pub(super) role: Role,
    pub(super) sections: Vec<Section>,
    /// The mids of the BUNDLE group, in its order; empty when there is no group (one m-line alone).
    pub(super) bundle: Vec<String>,
    pub(super) transport: Transport,
    pub(super) candidates: Vec<Candidate>,
    /// `a=extmap-allow-mixed` for the whole session.
    pub(super) allow_mixed: bool,
}

/// One m-line, in the order of the offer.
#[derive(Debug, Clone)]
pub(super) enum Section {
    Media(MediaSection),
    /// The data channels of a member.
    Application {
        /// Position among all m-lines.
        index: u8,
        mid: String,
    },
    /// Answered with port zero: a data channel of others than members, or an m-line the client itself has disabled.
    Rejected {
        /// The m-line without its port: kind, protocol, formats.
        line: (String, String, String),
        mid: Option<String>,
    },
}

/// An audio or video m-line the server serves.
#[derive(Debug, Clone)]
pub(super) struct MediaSection {
    /// Position among all m-lines.
    pub(super) index: u8,
    pub(super) kind: MediaKind,
    /// What the server does on it: `RecvOnly`, `SendOnly`, or for members nothing now (`Inactive`).
    pub(super) direction: Direction,
    pub(super) proto: String,
    pub(super) mid: String,
    pub(super) formats: Vec<OfferedFormat>,
    pub(super) extensions: Vec<OfferedExtension>,
    /// Simulcast rids, in the order of `a=simulcast`.
    pub(super) rids: Vec<String>,
    /// SSRC of the one encoding, and of its retransmissions. None with simulcast: Firefox's order is not that of its
    /// rids, OBS leaves them out, and the rid extension tells.
    pub(super) ssrc: Option<(u32, Option<u32>)>,
    /// `a=rtcp-rsize` (RFC 5506).
    pub(super) reduced_size: bool,
    /// `a=extmap-allow-mixed` for this m-line.
    pub(super) allow_mixed: bool,
}

impl Offer {
    /// Reads an offer and checks it against what its role may ask for.
    ///
    /// # Errors
    /// [`DescriptionError::Malformed`] when it cannot be read or lacks what every offer needs;
    /// [`DescriptionError::Unacceptable`] when it asks for something the server does not do. Both say which line.
    pub fn parse(text: &str, role: &Role) -> Result<Self, DescriptionError> {
        let sdp = Sdp::parse(text)?;
        if sdp.session.has("ice-lite") {
            return Err(unacceptable(
                "the offer has a=ice-lite; the server is lite, so the client must be a full agent",
            ));
        }
        let bundle = bundle(&sdp)?;
        let mut reader = SectionReader {
            session: &sdp.session,
            bundle: &bundle,
            role,
            extension_ids: TakenIds::default(),
            payload_types: PayloadTypes::default(),
            ssrcs: Vec::new(),
        };
        let sections =
            (0u8..).zip(&sdp.media).map(|(index, media)| reader.read(index, media)).collect::<Result<Vec<_>, _>>()?;
        check_media(&sections, &bundle, role)?;
        let tagged = tagged(&sections, &bundle).and_then(|index| sdp.media.get(usize::from(index)));
        let Some(tagged) = tagged else {
            let disabled = sdp.media.iter().any(|media| media.port == 0);
            let more = if disabled { " whose port is not 0, which disables it" } else { "" };
            return Err(malformed(format!("the offer has no audio or video m-line{more}")));
        };
        let transport = Transport::read(&sdp, tagged)?;
        let allow_mixed = sdp.session.has("extmap-allow-mixed");
        Ok(Self { role: role.clone(), sections, bundle, transport, candidates: candidates(&sdp), allow_mixed })
    }

    /// What stands for the offer of somebody who has not made one yet.
    pub fn none(role: Role) -> Self {
        let transport = Transport::none();
        Self { role, sections: Vec::new(), bundle: Vec::new(), transport, candidates: Vec::new(), allow_mixed: false }
    }

    /// It is of the connection that `earlier` was of: the same certificate. A page that was reloaded has another.
    pub fn continues(&self, earlier: &Offer) -> bool {
        self.transport.fingerprint == earlier.transport.fingerprint
    }

    /// The client's present ICE credentials: of the offer, or of the last restart.
    pub fn credentials(&self) -> &IceCreds {
        &self.transport.credentials
    }

    /// The client's candidates that the server can use.
    pub fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The client reports when every packet of some m-line arrived (transport-wide feedback), which is what the engine
    /// estimates bandwidth from.
    pub fn reports_arrivals(&self) -> bool {
        let reports = |offered: &OfferedFormat| offered.feedback.contains(&Feedback::TransportCc);
        self.media().any(|section| section.formats.iter().any(reports))
    }

    /// A member described this: it may come back with another offer.
    pub(super) fn is_of_member(&self) -> bool {
        self.role == Role::Member
    }

    /// The server sends on some m-line.
    pub fn receives_media(&self) -> bool {
        self.media().any(|section| section.direction.is_sending())
    }

    /// The m-lines that are served.
    pub(super) fn media(&self) -> impl Iterator<Item = &MediaSection> {
        self.sections.iter().filter_map(Section::media)
    }

    pub(super) fn media_mut(&mut self) -> impl Iterator<Item = &mut MediaSection> {
        self.sections.iter_mut().filter_map(|section| match section {
            Section::Media(media) => Some(media),
            Section::Application { .. } | Section::Rejected { .. } => None,
        })
    }

    /// The m-line whose transport counts, by index.
    pub(super) fn tagged(&self) -> Option<u8> {
        tagged(&self.sections, &self.bundle)
    }

    /// DTLS role of the client.
    pub(super) fn setup(&self) -> Setup {
        self.transport.setup
    }
}

impl Section {
    pub(super) fn media(&self) -> Option<&MediaSection> {
        match self {
            Section::Media(media) => Some(media),
            Section::Application { .. } | Section::Rejected { .. } => None,
        }
    }

    /// Position and mid, of a section that is served.
    pub(super) fn served(&self) -> Option<(u8, &str)> {
        match self {
            Section::Media(media) => Some((media.index, &media.mid)),
            Section::Application { index, mid } => Some((*index, mid)),
            Section::Rejected { .. } => None,
        }
    }
}

impl MediaSection {
    /// The mid as str0m knows it: 16 letters and digits. It reads the mids of packets the same way.
    pub(super) fn engine_mid(&self) -> Mid {
        Mid::from(self.mid.as_str())
    }

    /// `m-line 1 (mid "1", video)`.
    pub(super) fn label(&self) -> String {
        label(self.index, &self.mid, kind_name(self.kind))
    }

    pub(super) fn kind_name(&self) -> &'static str {
        kind_name(self.kind)
    }

    /// Receivers may tell what to send at most.
    pub(super) fn takes_remb(&self) -> bool {
        self.formats.iter().any(|offered| offered.feedback.contains(&Feedback::Remb))
    }

    /// Lost packets can be had again although no format has RTX.
    pub(super) fn nacks_without_rtx(&self) -> bool {
        let nacks = |offered: &OfferedFormat| offered.feedback.contains(&Feedback::Nack);
        self.formats.iter().any(nacks) && self.formats.iter().all(|offered| offered.format.rtx.is_none())
    }
}

/// What the server does on an m-line that the client wants to be `offered`. Publishers and viewers may leave it at
/// `sendrecv`, which is a browser's default.
fn server_direction(role: &Role, offered: &str) -> Result<Direction, &'static str> {
    match (role, offered) {
        (Role::Publish, "sendonly" | "sendrecv") | (Role::Member, "sendonly") => Ok(Direction::RecvOnly),
        (Role::Play { .. }, "recvonly" | "sendrecv") | (Role::Member, "recvonly") => Ok(Direction::SendOnly),
        (Role::Member, "inactive") => Ok(Direction::Inactive),
        (Role::Publish, _) => Err("WHIP needs sendonly or sendrecv"),
        (Role::Play { .. }, _) => Err("WHEP needs recvonly or sendrecv"),
        (Role::Member, _) => Err("a room needs sendonly to publish, recvonly for a slot, or inactive"),
    }
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Audio => "audio",
        MediaKind::Video => "video",
    }
}

fn label(index: u8, mid: &str, kind: &str) -> String {
    format!("m-line {index} (mid \"{mid}\", {kind})")
}

/// The mids of the first BUNDLE group that exist. FFmpeg lists two when it has one m-line.
fn bundle(sdp: &Sdp) -> Result<Vec<String>, DescriptionError> {
    let group = sdp.session.attributes("group").find_map(|group| group.strip_prefix("BUNDLE"));
    let existing: Vec<&str> = sdp.media.iter().filter_map(|media| media.lines.attribute("mid")).collect();
    let exists = |mid: &&str| existing.contains(mid);
    let mut mids: Vec<String> = Vec::new();
    for mid in group.unwrap_or_default().split_ascii_whitespace().filter(exists) {
        if mids.iter().any(|known| known == mid) {
            return Err(malformed(format!("a=group:BUNDLE lists mid \"{mid}\" twice")));
        }
        mids.push(mid.to_owned());
    }
    Ok(mids)
}

/// The m-line whose transport counts: the first of the group (RFC 9143 section 7.2), or the only one.
fn tagged(sections: &[Section], bundle: &[String]) -> Option<u8> {
    let served = || sections.iter().filter_map(Section::served);
    let by_mid = |mid: &String| served().find(|(_, served)| served == mid);
    bundle.iter().find_map(by_mid).or_else(|| served().next()).map(|(index, _)| index)
}

/// Checks that need all m-lines at once.
fn check_media(sections: &[Section], bundle: &[String], role: &Role) -> Result<(), DescriptionError> {
    let media: Vec<&MediaSection> = sections.iter().filter_map(Section::media).collect();
    for (position, section) in media.iter().enumerate() {
        let earlier = media.get(..position).unwrap_or_default();
        if let Some(other) = earlier.iter().find(|other| other.engine_mid() == section.engine_mid()) {
            let (a, b) = (&other.mid, &section.mid);
            return Err(malformed(format!(
                "mids \"{a}\" and \"{b}\" are the same in their first 16 letters and digits; make them differ there"
            )));
        }
        if *role == Role::Publish && earlier.iter().any(|other| other.kind == section.kind) {
            let label = section.label();
            return Err(unacceptable(format!("{label} is the second of its kind; WHIP takes one audio and one video")));
        }
        if bundle.is_empty() && !earlier.is_empty() {
            return Err(unacceptable("several m-lines but no a=group:BUNDLE; the server uses one transport for all"));
        }
        if !bundle.is_empty() && !bundle.contains(&section.mid) {
            return Err(unacceptable(format!("{} is not in a=group:BUNDLE; bundle all m-lines", section.label())));
        }
    }
    Ok(())
}

fn candidates(sdp: &Sdp) -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let lines = std::iter::once(&sdp.session).chain(sdp.media.iter().map(|media| &media.lines));
    // Each stands in every section of some offers, so a few times as many are looked at.
    let listed = lines.flat_map(|lines| lines.attributes("candidate")).take(4 * MAX_CANDIDATES);
    for candidate in listed.filter_map(candidate::usable) {
        if candidates.len() < MAX_CANDIDATES && !candidates.iter().any(|known| known.addr() == candidate.addr()) {
            candidates.push(candidate);
        }
    }
    candidates
}

/// Reads m-lines one after the other; what bundled m-lines share is remembered from one to the next.
struct SectionReader<'a> {
    session: &'a Lines<'a>,
    bundle: &'a [String],
    role: &'a Role,
    extension_ids: TakenIds,
    payload_types: PayloadTypes,
    ssrcs: Vec<u32>,
}

impl SectionReader<'_> {
    fn read(&mut self, index: u8, media: &Media) -> Result<Section, DescriptionError> {
        let mid = media.lines.attribute("mid");
        let bundled = mid.is_some_and(|mid| self.bundle.iter().any(|known| known == mid));
        let kind = match media.kind {
            // Disabled, unless it is said to have no port but the group's (RFC 9143 section 6).
            _ if media.port == 0 && !(bundled && media.lines.has("bundle-only")) => None,
            "audio" => Some(MediaKind::Audio),
            "video" => Some(MediaKind::Video),
            "application" if *self.role == Role::Member => return application(index, mid, media),
            "application" => None,
            other => {
                return Err(unacceptable(format!("m-line {index} is {other:.20}; the server takes audio and video")));
            }
        };
        let Some(kind) = kind else {
            let line = (media.kind.to_owned(), media.proto.to_owned(), media.formats.to_owned());
            return Ok(Section::Rejected { line, mid: mid.map(str::to_owned) });
        };
        let mid = mid.filter(|mid| !mid.is_empty() && mid.len() <= MAX_MID && !mid.contains(char::is_whitespace));
        let Some(mid) = mid else {
            return Err(malformed(format!("m-line {index} ({}) needs a=mid of 1 to {MAX_MID} characters", media.kind)));
        };
        self.read_media(index, kind, mid, media).map(Section::Media)
    }

    fn read_media(
        &mut self,
        index: u8,
        kind: MediaKind,
        mid: &str,
        media: &Media,
    ) -> Result<MediaSection, DescriptionError> {
        let label = label(index, mid, media.kind);
        if !media.proto.ends_with("/SAVPF") {
            let proto = media.proto;
            return Err(unacceptable(format!("{label} uses {proto:.30}; the server speaks UDP/TLS/RTP/SAVPF")));
        }
        let direction = self.direction(&label, media)?;
        let receives = direction == Direction::RecvOnly;
        if !media.lines.has("rtcp-mux") && !media.lines.has("bundle-only") && media.port != 0 {
            return Err(unacceptable(format!("{label} lacks a=rtcp-mux; the server has one port for RTP and RTCP")));
        }
        let allow_mixed = media.lines.has("extmap-allow-mixed");
        let mixed = allow_mixed || self.session.has("extmap-allow-mixed");
        let member = *self.role == Role::Member;
        let chooser = Chooser { server: direction, member, kind, mid, allow_mixed: mixed };
        let extensions = chooser.choose(self.session, &media.lines, &mut self.extension_ids);
        let has = |name: &str| extensions.iter().any(|extension| extension.uri.ends_with(name));
        let mut formats = codecs::offered(media, kind, has("transport-wide-cc-extensions-01"));
        self.payload_types.add(&label, &mut formats)?;
        if formats.is_empty() {
            let (names, supported) = (codecs::names(media), codecs::supported(kind));
            return Err(unacceptable(format!("{label} offers {names}; the server forwards {supported}")));
        }
        let rids = if receives { simulcast(&label, &media.lines)? } else { Vec::new() };
        let ssrc = if rids.is_empty() { self.ssrc(&media.lines) } else { None };
        if receives && !has(":sdes:mid") && ssrc.is_none() {
            return Err(unacceptable(format!(
                "{label} has neither a=ssrc nor the header extension urn:ietf:params:rtp-hdrext:sdes:mid; \
                 its packets could not be told apart"
            )));
        }
        if !rids.is_empty() && !has(":sdes:rtp-stream-id") {
            return Err(unacceptable(format!(
                "{label} has a=simulcast but not the header extension urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
            )));
        }
        Ok(MediaSection {
            index,
            kind,
            direction,
            proto: media.proto.to_owned(),
            mid: mid.to_owned(),
            formats,
            extensions,
            rids,
            ssrc,
            reduced_size: media.lines.has("rtcp-rsize"),
            allow_mixed,
        })
    }

    /// What the server is to do on an m-line.
    fn direction(&self, label: &str, media: &Media) -> Result<Direction, DescriptionError> {
        let offered = direction(&media.lines).or_else(|| direction(self.session)).unwrap_or("sendrecv");
        server_direction(self.role, offered).map_err(|needed| unacceptable(format!("{label} is {offered}; {needed}")))
    }

    /// The first SSRC of a section with its RTX SSRC, unless an earlier m-line has it.
    fn ssrc(&mut self, lines: &Lines) -> Option<(u32, Option<u32>)> {
        let number = |word: &str| word.parse().ok().filter(|ssrc| *ssrc != 0);
        let listed = lines.attributes("ssrc").find_map(|value| value.split(' ').next().and_then(number))?;
        let pair = lines.attributes("ssrc-group").find_map(|value| {
            let mut words = value.strip_prefix("FID ")?.split_ascii_whitespace();
            Some((words.next().and_then(number)?, words.next().and_then(number)?))
        });
        let (main, rtx) = pair.map_or((listed, None), |(main, rtx)| (main, Some(rtx)));
        let mut claim = |ssrc: u32| {
            let new = !self.ssrcs.contains(&ssrc);
            self.ssrcs.push(ssrc);
            new
        };
        claim(main).then(|| (main, rtx.filter(|rtx| claim(*rtx))))
    }
}

/// The m-line of data channels (RFC 8841). It cannot be given up: SCTP has no way to end without DTLS. Port 0 is that
/// of an m-line for the bundle only, as Firefox makes it; one that is not in the bundle was rejected before.
fn application(index: u8, mid: Option<&str>, media: &Media) -> Result<Section, DescriptionError> {
    let mid = mid.filter(|mid| !mid.is_empty() && mid.len() <= MAX_MID);
    match mid {
        Some(mid) if media.proto.ends_with("DTLS/SCTP") => Ok(Section::Application { index, mid: mid.to_owned() }),
        _ => Err(unacceptable(format!("m-line {index} (application) needs a=mid and UDP/DTLS/SCTP"))),
    }
}

fn direction<'a>(lines: &Lines<'a>) -> Option<&'a str> {
    lines.flags().find(|flag| matches!(*flag, "sendrecv" | "sendonly" | "recvonly" | "inactive"))
}

/// The rids of `a=simulcast:send`, one for each encoding: of alternatives the first, paused ones included.
fn simulcast(label: &str, lines: &Lines) -> Result<Vec<String>, DescriptionError> {
    let Some(value) = lines.attribute("simulcast") else { return Ok(Vec::new()) };
    let mut words = value.split_ascii_whitespace();
    let send = loop {
        match words.next() {
            Some("send") => break words.next().unwrap_or_default(),
            Some(_) => {}
            None => return Ok(Vec::new()),
        }
    };
    let mut rids: Vec<String> = Vec::new();
    for encoding in send.split(';') {
        if rids.len() == MAX_ENCODINGS {
            return Err(unacceptable(format!("{label} has more than {MAX_ENCODINGS} simulcast encodings")));
        }
        let rid = encoding.split(',').next().unwrap_or_default().trim_start_matches('~');
        if rid.is_empty() || rid.len() > MAX_MID || !rid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(unacceptable(format!(
                "{label} has the rid \"{rid:.20}\"; rids are letters and digits (RFC 8851)"
            )));
        }
        if rids.iter().any(|known| Rid::from(known.as_str()) == Rid::from(rid)) {
            return Err(unacceptable(format!(
                "{label} has two rids that begin like \"{rid:.8}\"; eight characters count"
            )));
        }
        rids.push(rid.to_owned());
    }
    // One encoding is no simulcast, but its packets carry the rid all the same.
    Ok(rids)
}
