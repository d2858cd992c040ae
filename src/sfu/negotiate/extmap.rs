//! Which header extensions are taken from an offer, under the ids of the offer.

use str0m::media::{Direction, Mid};
use str0m::rtp::{Extension, vla};

use super::sdp::Lines;
use crate::rtp::MediaKind;
use crate::rtp::header::ExtensionIds;
use crate::sfu::extensions::{DEPENDENCY_DESCRIPTOR_URI, dependency_descriptor};

/// Highest id str0m's map holds. Ids above 14 need the two-byte form in every packet, so senders use them last.
const MAX_ID: u8 = 16;

/// An extension both sides use on an m-line.
#[derive(Debug, Clone)]
pub(super) struct OfferedExtension {
    /// The id of the offer, 1 to 16.
    pub(super) id: u8,
    /// What it is called in descriptions.
    pub(super) uri: &'static str,
    /// str0m's side of it.
    pub(super) extension: Extension,
    /// The direction to answer with, when the offer gave one.
    pub(super) answer_direction: Option<&'static str>,
}

/// What a section's extensions are chosen by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chooser<'a> {
    /// What the server does with the media.
    pub(super) server: Direction,
    /// The client may publish on other m-lines, or on this one later: the engine learns extensions only once.
    pub(super) member: bool,
    /// Audio or video.
    pub(super) kind: MediaKind,
    /// The client's mid.
    pub(super) mid: &'a str,
    /// `a=extmap-allow-mixed` was offered.
    pub(super) allow_mixed: bool,
}

/// The ids given out so far in a description: one id means one extension in all bundled m-lines (RFC 9143 section 8).
#[derive(Debug, Default)]
pub(super) struct TakenIds(Vec<(u8, &'static str)>);

impl Chooser<'_> {
    /// The extensions of an m-line that are answered: those the server knows, in the direction it needs them, unless
    /// their id means something else elsewhere in the description.
    pub(super) fn choose(&self, session: &Lines, section: &Lines, taken: &mut TakenIds) -> Vec<OfferedExtension> {
        let mut chosen: Vec<OfferedExtension> = Vec::new();
        for value in section.attributes("extmap").chain(session.attributes("extmap")) {
            let Some(offered) = self.read(value) else { continue };
            if !chosen.iter().any(|other| other.uri == offered.uri) && taken.take(offered.id, offered.uri) {
                chosen.push(offered);
            }
        }
        chosen
    }

    /// Reads `<id>[/<direction>] <uri> [<attributes>]`.
    fn read(&self, value: &str) -> Option<OfferedExtension> {
        let mut words = value.split_ascii_whitespace();
        let (id, uri) = (words.next()?, words.next()?);
        let (id, direction) = id.split_once('/').map_or((id, None), |(id, direction)| (id, Some(direction)));
        let id = id.parse().ok().filter(|id| (1..=MAX_ID).contains(id))?;
        let server_receives = self.server != Direction::SendOnly;
        let answer_direction = match direction {
            None | Some("sendrecv") => None,
            Some("sendonly") if server_receives => Some("recvonly"),
            Some("recvonly") if !server_receives => Some("sendonly"),
            Some(_) => return None,
        };
        let (uri, extension) = self.known(uri)?;
        Some(OfferedExtension { id, uri, extension, answer_direction })
    }

    fn known(&self, uri: &str) -> Option<(&'static str, Extension)> {
        let server_receives = self.server != Direction::SendOnly || self.member;
        let (extension, wanted) = match uri {
            DEPENDENCY_DESCRIPTOR_URI => {
                // Most are longer than 16 bytes at key frames, and then the form of the header changes within a stream.
                let receives = self.server != Direction::SendOnly;
                let wanted = self.kind == MediaKind::Video && (receives || self.allow_mixed);
                return wanted.then(|| (DEPENDENCY_DESCRIPTOR_URI, dependency_descriptor()));
            }
            vla::URI => {
                let wanted = self.kind == MediaKind::Video && server_receives;
                return wanted.then(|| (vla::URI, Extension::with_serializer(vla::URI, vla::Serializer)));
            }
            uri => {
                let extension = BUILT_IN.iter().find(|known| known.as_uri() == uri)?;
                let wanted = match extension {
                    // str0m writes mids with punctuation changed; such a viewer is better off matching SSRCs.
                    Extension::RtpMid => self.server != Direction::SendOnly || *Mid::from(self.mid) == *self.mid,
                    Extension::RtpStreamId | Extension::RepairedRtpStreamId => server_receives,
                    Extension::AudioLevel => self.kind == MediaKind::Audio,
                    Extension::VideoOrientation => self.kind == MediaKind::Video,
                    _ => true,
                };
                (extension, wanted)
            }
        };
        wanted.then(|| (extension.as_uri(), extension.clone()))
    }
}

/// The ids under which headers are written.
pub(super) fn ids(extensions: &[OfferedExtension]) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    for OfferedExtension { id, extension, uri, .. } in extensions {
        let place = match extension {
            Extension::RtpMid => &mut ids.mid,
            Extension::AudioLevel => &mut ids.audio_level,
            Extension::AbsoluteSendTime => &mut ids.send_time,
            Extension::VideoOrientation => &mut ids.video_orientation,
            Extension::AbsoluteCaptureTime => &mut ids.capture_time,
            Extension::PlayoutDelay => &mut ids.playout_delay,
            _ if *uri == DEPENDENCY_DESCRIPTOR_URI => &mut ids.dependency_descriptor,
            _ => continue,
        };
        *place = *id;
    }
    ids
}

/// Extensions str0m itself reads and writes that forwarding has a use for.
static BUILT_IN: [Extension; 9] = [
    Extension::AudioLevel,
    Extension::AbsoluteSendTime,
    Extension::TransportSequenceNumber,
    Extension::RtpMid,
    Extension::RtpStreamId,
    Extension::RepairedRtpStreamId,
    Extension::VideoOrientation,
    Extension::AbsoluteCaptureTime,
    Extension::PlayoutDelay,
];

impl TakenIds {
    /// True when this id stands, or from now on stands, for this extension and no other.
    fn take(&mut self, id: u8, uri: &'static str) -> bool {
        match self.0.iter().find(|(taken, known)| *taken == id || *known == uri) {
            Some(entry) => *entry == (id, uri),
            None => {
                self.0.push((id, uri));
                true
            }
        }
    }
}
