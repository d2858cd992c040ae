//! Payload formats (a payload type with its codec and parameters) and how a publisher's format finds its counterpart
//! among a subscriber's.
//!
//! Payload type numbers and parameters belong to one peer; the codec and its profile are what two peers share. Not
//! here: reading SDP (`sfu::negotiate`), and checking that a stream keeps to the profile it was announced with (OBS's
//! does not).

use std::fmt;

use super::packet::{Codec, MediaKind};

/// One payload type of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// RTP payload type, 0 to 127.
    pub payload_type: u8,
    /// Payload type of its retransmissions (RFC 4588), if the peer negotiated them.
    pub rtx: Option<u8>,
    /// Payload type under which it is sent with frames repeated (RFC 2198), if the peer negotiated that; audio only.
    pub red: Option<u8>,
    /// What the payload is.
    pub codec: Codec,
    /// RTP clock in Hz.
    pub clock_rate: u32,
    /// Channels, audio only.
    pub channels: Option<u8>,
    /// Which kind of stream of that codec.
    pub profile: Profile,
}

/// The parameters that decide whether a decoder can take a stream. Levels and tiers are left out on purpose: browsers
/// decode above the level they announce, and a forwarding server could not lower it anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// The codec has none that matters (Opus, VP8).
    Only,
    /// VP9 `profile-id` (RFC 9628 section 6).
    Vp9(u8),
    /// AV1 `profile`: 0 main, 1 high, 2 professional.
    Av1(u8),
    /// H.265 `profile-id`: 1 main, 2 main 10 (RFC 7798 section 7.1).
    H265(u8),
    /// H.264 (RFC 6184 section 8.1).
    H264 {
        /// The three bytes of `profile-level-id` as announced.
        profile_level_id: u32,
        /// `packetization-mode`: 0 single NAL units only, 1 also aggregated and fragmented.
        packetization_mode: u8,
    },
}

impl Format {
    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.codec.kind()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.codec.name();
        match self.profile {
            Profile::Only => f.write_str(name),
            Profile::Vp9(id) | Profile::Av1(id) | Profile::H265(id) => write!(f, "{name} profile {id}"),
            Profile::H264 { profile_level_id, packetization_mode } => {
                write!(f, "{name} {profile_level_id:06x} packetization-mode {packetization_mode}")
            }
        }
    }
}

impl Profile {
    /// Reads a codec's profile from its `a=fmtp` parameters (`key=value` separated by `;`), with the codec's own
    /// defaults for what is missing or unreadable. H.264 without any parameters is taken as packetization-mode 1, not 0
    /// as RFC 6184 section 8.1 has it: GStreamer's users leave them out, and every decoder there is takes mode 1.
    pub fn from_fmtp(codec: Codec, fmtp: &str) -> Self {
        match codec {
            Codec::Opus | Codec::Vp8 => Profile::Only,
            Codec::Vp9 => Profile::Vp9(number(fmtp, "profile-id").unwrap_or(0)),
            Codec::Av1 => Profile::Av1(number(fmtp, "profile").unwrap_or(0)),
            Codec::H265 => Profile::H265(number(fmtp, "profile-id").unwrap_or(1)),
            Codec::H264 => Profile::H264 {
                profile_level_id: parameter(fmtp, "profile-level-id")
                    .and_then(|value| u32::from_str_radix(value, 16).ok())
                    .unwrap_or(H264_DEFAULT),
                packetization_mode: number(fmtp, "packetization-mode").unwrap_or(u8::from(fmtp.is_empty())),
            },
        }
    }

    /// Writes `a=fmtp` parameters that announce this profile; empty when there is nothing to say.
    pub fn to_fmtp(self) -> String {
        match self {
            Profile::Only => String::new(),
            Profile::Vp9(id) | Profile::H265(id) => format!("profile-id={id}"),
            Profile::Av1(id) => format!("profile={id}"),
            Profile::H264 { profile_level_id, packetization_mode: mode } => {
                format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile_level_id:06x}")
            }
        }
    }
}

/// What libwebrtc assumes when `profile-level-id` is missing: constrained baseline, level 3.1.
const H264_DEFAULT: u32 = 0x42_e0_1f;

/// The subscriber's format that a publisher's packets are sent as, or `None` when the subscriber cannot take them.
///
/// The best of: the same profile, a profile that contains it, and for H.264 what an encoder that announced the wrong
/// profile may still be decoded as. The first in the subscriber's order among equals.
pub fn counterpart<'a>(publisher: &Format, subscriber: &'a [Format]) -> Option<&'a Format> {
    subscriber
        .iter()
        .filter_map(|candidate| Some((distance(publisher, candidate)?, candidate)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How far a subscriber's format is from the publisher's; `None` when it cannot decode it.
fn distance(publisher: &Format, subscriber: &Format) -> Option<u8> {
    if publisher.codec != subscriber.codec || publisher.clock_rate != subscriber.clock_rate {
        return None;
    }
    match (publisher.profile, subscriber.profile) {
        (Profile::Vp9(sent), Profile::Vp9(taken)) => (sent == taken).then_some(0),
        // High decodes main, professional decodes both (AV1 specification, annex A.2).
        (Profile::Av1(sent), Profile::Av1(taken)) => taken.checked_sub(sent),
        (Profile::H265(sent), Profile::H265(taken)) if sent == taken => Some(0),
        (Profile::H265(MAIN), Profile::H265(MAIN_10)) => Some(1),
        (Profile::H265(_), Profile::H265(_)) => None,
        (
            Profile::H264 { profile_level_id: sent, packetization_mode: sent_mode },
            Profile::H264 { profile_level_id: taken, packetization_mode: taken_mode },
        ) => {
            let mode = match (sent_mode, taken_mode) {
                _ if sent_mode == taken_mode => 0,
                // Single NAL units are legal in mode 1 as well.
                (0, 1) => 1,
                // Aggregates and fragments are illegal in mode 0; interleaved mode 2 is nobody's counterpart.
                _ => return None,
            };
            Some(2 * h264_distance(H264Profile::of(sent), H264Profile::of(taken)) + mode)
        }
        _ => Some(0),
    }
}

const MAIN: u8 = 1;
const MAIN_10: u8 = 2;

/// The ladder of H.264: the same; one that contains it; constrained baseline, because OBS announces 42e01f whatever it
/// encodes, browsers decode any profile on that payload type, and Chromium's plain baseline uses no tool outside it;
/// then whatever there is.
fn h264_distance(sent: H264Profile, taken: H264Profile) -> u8 {
    if sent == taken {
        0
    } else if taken.contains(sent) {
        1
    } else if taken == H264Profile::ConstrainedBaseline {
        2
    } else {
        3
    }
}

/// Profiles as decoders see them: different bytes can mean the same one (RFC 6184 section 8.1, table 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    ConstrainedHigh,
    High,
    Other(u8),
}

impl H264Profile {
    fn of(profile_level_id: u32) -> Self {
        let [_, idc, flags, _] = profile_level_id.to_be_bytes();
        let set0 = flags & 0x80 != 0;
        let set1 = flags & 0x40 != 0;
        match idc {
            0x42 if set1 => H264Profile::ConstrainedBaseline,
            0x42 => H264Profile::Baseline,
            0x4d if set0 => H264Profile::ConstrainedBaseline,
            0x4d => H264Profile::Main,
            0x58 if set0 && set1 => H264Profile::ConstrainedBaseline,
            0x58 if set0 => H264Profile::Baseline,
            0x64 if flags & 0x0c == 0x0c => H264Profile::ConstrainedHigh,
            0x64 => H264Profile::High,
            other => H264Profile::Other(other),
        }
    }

    /// A decoder of this profile decodes streams of `other` too.
    fn contains(self, other: H264Profile) -> bool {
        use H264Profile::{Baseline, ConstrainedBaseline, ConstrainedHigh, High, Main};
        match self {
            Baseline | Main | ConstrainedHigh => other == ConstrainedBaseline,
            High => matches!(other, ConstrainedBaseline | Main | ConstrainedHigh),
            ConstrainedBaseline | H264Profile::Other(_) => false,
        }
    }
}

fn number(fmtp: &str, key: &str) -> Option<u8> {
    parameter(fmtp, key)?.parse().ok()
}

/// The value of one parameter; names are case-insensitive (RFC 4855 section 3).
fn parameter<'a>(fmtp: &'a str, key: &str) -> Option<&'a str> {
    fmtp.split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(key))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(payload_type: u8, codec: Codec, fmtp: &str) -> Format {
        let (clock_rate, channels) = if codec == Codec::Opus { (48_000, Some(2)) } else { (90_000, None) };
        Format {
            payload_type,
            rtx: None,
            red: None,
            codec,
            clock_rate,
            channels,
            profile: Profile::from_fmtp(codec, fmtp),
        }
    }

    /// Formats of one codec, with payload types 1, 2, 3, ...
    fn formats(codec: Codec, fmtps: &[&str]) -> Vec<Format> {
        (1..).zip(fmtps).map(|(payload_type, fmtp)| format(payload_type, codec, fmtp)).collect()
    }

    fn h264(profile_level_id: &str, packetization_mode: u8) -> String {
        format!("level-asymmetry-allowed=1;packetization-mode={packetization_mode};profile-level-id={profile_level_id}")
    }

    #[test]
    fn h264_goes_to_the_nearest_profile_that_can_be_decoded() {
        // (published, its mode, offered by the viewer, index of the one used)
        type Row = (&'static str, u8, &'static [(&'static str, u8)], Option<usize>);
        let rows: &[Row] = &[
            // OBS: says 42e01f, sends high.
            ("42e01f", 1, &[("42001f", 1), ("42e01f", 1), ("640032", 1)], Some(1)),
            // aiortc and werift offer only 42e01f; Chromium publishes 42001f first.
            ("42001f", 1, &[("42e01f", 1)], Some(0)),
            ("42001f", 1, &[("42e01f", 0)], None),
            ("42e01f", 1, &[("42001f", 0), ("42001f", 1)], Some(1)),
            ("42e01f", 1, &[("640032", 1), ("4d001f", 1)], Some(0)),
            ("4d001f", 1, &[("42e01f", 1), ("640032", 1)], Some(1)),
            ("640c1f", 1, &[("42e01f", 1), ("64001f", 1)], Some(1)),
            ("640c1f", 1, &[("42001f", 1), ("42e01f", 1)], Some(1)),
            ("640c1f", 1, &[("42001f", 1), ("4d001f", 1)], Some(0)),
            // The same profile in other bytes, and another level.
            ("42e01f", 1, &[("42001f", 1), ("42c034", 1)], Some(1)),
            ("42e01f", 1, &[("42001f", 1), ("4d801f", 1)], Some(1)),
            ("42e01f", 1, &[("42001f", 1), ("58c01f", 1)], Some(1)),
            ("f4001f", 1, &[("64001f", 1), ("f4001f", 1)], Some(1)),
            // Single NAL units may go to mode 1, but mode 0 comes first, and never the other way round.
            ("42e01f", 0, &[("42e01f", 1), ("42e01f", 0)], Some(1)),
            ("42e01f", 0, &[("42e01f", 1)], Some(0)),
            ("42e01f", 1, &[("42e01f", 2)], None),
            ("42e01f", 1, &[], None),
        ];
        for (published, mode, offered, expected) in rows {
            let publisher = format(96, Codec::H264, &h264(published, *mode));
            let fmtps: Vec<String> = offered.iter().map(|(id, mode)| h264(id, *mode)).collect();
            let subscriber = formats(Codec::H264, &fmtps.iter().map(String::as_str).collect::<Vec<_>>());
            let used = counterpart(&publisher, &subscriber).map(|f| usize::from(f.payload_type) - 1);
            assert_eq!(used, *expected, "{published} mode {mode} to {offered:?}");
        }
    }

    #[test]
    fn other_codecs_go_to_the_same_profile_or_one_that_contains_it() {
        type Row = (Codec, &'static str, &'static [&'static str], Option<u8>);
        let rows: &[Row] = &[
            (Codec::Opus, "minptime=10;useinbandfec=1", &["stereo=1"], Some(1)),
            (Codec::Vp8, "", &["max-fs=12288;max-fr=60"], Some(1)),
            (Codec::Vp9, "", &["profile-id=2", "profile-id=0"], Some(2)),
            (Codec::Vp9, "profile-id=2", &["profile-id=0", "profile-id=2"], Some(2)),
            (Codec::Vp9, "profile-id=2", &["profile-id=0"], None),
            (Codec::Av1, "level-idx=5;profile=0;tier=0", &["profile=1", ""], Some(2)),
            (Codec::Av1, "profile=0", &["profile=1"], Some(1)),
            (Codec::Av1, "profile=1", &["profile=0"], None),
            (Codec::H265, "", &["level-id=93;profile-id=1;tier-flag=0"], Some(1)),
            (Codec::H265, "profile-id=1", &["profile-id=2", "profile-id=1"], Some(2)),
            (Codec::H265, "profile-id=1", &["profile-id=2"], Some(1)),
            (Codec::H265, "profile-id=2", &["profile-id=1"], None),
        ];
        for (codec, published, offered, expected) in rows {
            let publisher = format(96, *codec, published);
            let used = counterpart(&publisher, &formats(*codec, offered)).map(|f| f.payload_type);
            assert_eq!(used, *expected, "{codec:?} {published:?} to {offered:?}");
        }
    }

    #[test]
    fn codecs_never_stand_in_for_each_other() {
        let all = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];
        for sent in all {
            for taken in all.into_iter().filter(|taken| *taken != sent) {
                assert_eq!(counterpart(&format(96, sent, ""), &[format(1, taken, "")]), None, "{sent:?} {taken:?}");
            }
        }
    }

    #[test]
    fn parameters_are_read_whatever_their_case_and_spacing() {
        let expected = Profile::H264 { profile_level_id: 0x64_00_1f, packetization_mode: 1 };
        for fmtp in
            ["profile-level-id=64001f;packetization-mode=1", "Packetization-Mode = 1; PROFILE-LEVEL-ID=64001F ;"]
        {
            assert_eq!(Profile::from_fmtp(Codec::H264, fmtp), expected, "{fmtp}");
        }
        assert_eq!(Profile::from_fmtp(Codec::H264, &expected.to_fmtp()), expected);
        let default = Profile::H264 { profile_level_id: 0x42_e0_1f, packetization_mode: 0 };
        let bare = Profile::H264 { profile_level_id: 0x42_e0_1f, packetization_mode: 1 };
        assert_eq!(Profile::from_fmtp(Codec::H264, ""), bare, "GStreamer's users leave the parameters out");
        for fmtp in [";;=", "profile-level-id=zz;packetization-mode=-1", "apt=96"] {
            assert_eq!(Profile::from_fmtp(Codec::H264, fmtp), default, "{fmtp}");
        }
    }
}
