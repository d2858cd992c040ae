//! What answers to real offers look like.

use str0m::change::SdpAnswer;

use super::*;
use crate::rtp::Codec;
use crate::rtp::format::Format;

/// Everything an answer has to be, seen beside its offer (RFC 9725 section 4.4, RFC 9143, RFC 8829 section 5.3).
fn check(offer: &str, answer: &str, role: &Role) {
    assert!(answer.split_inclusive('\n').all(|line| line.ends_with("\r\n")), "every line ends in CRLF");
    assert!(answer.starts_with("v=0\r\n"));
    assert!(answer.len() <= 8192, "FFmpeg reads 8192 bytes, this has {}", answer.len());
    assert!(answer.contains("a=ice-lite\r\n"));
    assert!(!answer.contains('~'));

    let (offered, answered) = (Sections::of(offer), Sections::of(answer));
    assert_eq!(answered.media.len(), offered.media.len(), "as many m-lines");
    let mut bundled = Vec::new();
    let mut first = true;
    for (offered, answered) in offered.media.iter().zip(&answered.media) {
        assert_eq!(values(answered, "mid"), values(offered, "mid"));
        let line = answered.lines().next().unwrap();
        if offered.starts_with("application") {
            assert!(line.starts_with("application 0 "), "{line}");
            continue;
        }
        bundled.extend(values(answered, "mid:"));
        check_media(offered, answered, role);
        assert_eq!(!values(answered, "candidate").is_empty(), first, "candidates once, for the tagged m-line");
        assert_eq!(values(answered, "end-of-candidates").len(), usize::from(first));
        first = false;
    }
    let group = values(answered.session, "group:BUNDLE");
    assert_eq!(group, [format!(" {}", bundled.join(" "))]);
}

fn check_media(offered: &str, answered: &str, role: &Role) {
    let direction = if *role == Role::Publish { "recvonly" } else { "sendonly" };
    assert!(answered.contains(&format!("\r\na={direction}\r\n")));
    assert!(values(answered, "rtcp-mux").contains(&"") && values(answered, "rtcp-mux").contains(&"-only"));
    let setup = if values(offered, "setup") == ["passive"] { "active" } else { "passive" };
    assert_eq!(values(answered, "setup"), [setup]);
    for name in ["ice-ufrag", "ice-pwd", "fingerprint:sha-256 "] {
        assert_eq!(values(answered, name).len(), 1, "{name}");
    }

    // Payload types: of the offer, with the name and the parameters of the offer.
    let payload_types =
        |text: &str| -> Vec<String> { text.lines().next().unwrap().split(' ').skip(3).map(str::to_owned).collect() };
    let known = payload_types(offered);
    assert!(!payload_types(answered).is_empty());
    for payload_type in payload_types(answered) {
        assert!(known.contains(&payload_type), "payload type {payload_type} was not offered");
        for name in ["rtpmap", "fmtp"] {
            let of = |text| values(text, &format!("{name}:{payload_type} ")).join("").to_ascii_lowercase();
            assert_eq!(of(answered), of(offered), "{name}:{payload_type}");
        }
        let feedback = format!("rtcp-fb:{payload_type} ");
        let known = values(offered, &feedback);
        assert!(values(answered, &feedback).iter().all(|value| known.contains(value)), "{feedback}");
    }

    // Header extensions: of the offer, under the ids of the offer.
    let extensions = |text: &str| -> Vec<(String, String)> {
        let pair = |value: &str| {
            let (id, uri) = value.split_once(' ').unwrap();
            (id.split('/').next().unwrap().to_owned(), uri.to_owned())
        };
        values(text, "extmap:").into_iter().map(pair).collect()
    };
    let known = extensions(offered);
    assert!(extensions(answered).iter().all(|extension| known.contains(extension)));

    // Simulcast: as many encodings, in the same words.
    let simulcast = values(offered, "simulcast:send ").join("");
    assert_eq!(values(answered, "simulcast:recv ").join(""), simulcast);
    let rids: Vec<String> = values(offered, "rid").iter().map(|rid| rid.replace("send", "recv")).collect();
    assert_eq!(values(answered, "rid"), rids);
}

/// A description cut at its m-lines.
struct Sections<'a> {
    session: &'a str,
    media: Vec<&'a str>,
}

impl<'a> Sections<'a> {
    fn of(text: &'a str) -> Self {
        let mut sections = text.split("\nm=");
        Self { session: sections.next().unwrap(), media: sections.collect() }
    }
}

/// str0m must mean the same by a payload type or an extension id as the answer says, or media would be lost.
fn check_engine(accepted: &mut Accepted) {
    let config = accepted.rtc.codec_config().clone();
    for media in &accepted.media {
        let engine = accepted.rtc.media(media.mid).unwrap();
        assert_eq!(engine.direction(), media.direction);
        let payload_types: Vec<u8> = engine.remote_pts().iter().map(|pt| **pt).collect();
        let of = |format: &Format| [Some(format.payload_type), format.red];
        let expected: Vec<u8> = media.formats.iter().flat_map(of).flatten().collect();
        assert_eq!(payload_types, expected);
        for format in &media.formats {
            let params = config.find(|params| *params.pt() == format.payload_type).unwrap();
            assert_eq!(params.resend().map(|pt| *pt), format.rtx, "{format}");
            assert_eq!(params.spec().clock_rate.get(), format.clock_rate, "{format}");
            assert!(params.spec().codec.to_string().eq_ignore_ascii_case(format.codec.name()), "{format}");
        }
    }
    let text = accepted.answer.clone();
    for section in Sections::of(&text).media {
        let Some(mid) = values(section, "mid:").first().map(|mid| Mid::from(*mid)) else { continue };
        let Some(engine) = accepted.rtc.media(mid) else { continue };
        let ids: Vec<String> = engine.remote_extmap().iter().map(|(id, e)| format!("{id} {}", e.as_uri())).collect();
        let mut answered: Vec<(u8, String)> = values(section, "extmap:")
            .iter()
            .map(|value| value.split_once(' ').unwrap())
            .map(|(id, uri)| (id.split('/').next().unwrap().parse().unwrap(), uri.to_owned()))
            .collect();
        answered.sort();
        let answered: Vec<String> = answered.iter().map(|(id, uri)| format!("{id} {uri}")).collect();
        assert_eq!(ids, answered);
    }
}

#[test]
fn every_recorded_offer_gets_an_answer_its_client_can_use() {
    for (name, roles) in RECORDED {
        for role in *roles {
            eprintln!("{name} {role:?}");
            let text = recorded(name);
            let mut accepted = negotiate(&text, role).unwrap();
            check(&text, &accepted.answer, role);
            check_engine(&mut accepted);
            SdpAnswer::from_sdp_string(&accepted.answer).unwrap();
        }
    }
}

#[test]
fn every_recorded_offer_of_the_wrong_direction_is_refused_with_the_line() {
    for (name, roles) in RECORDED {
        for role in [Role::Publish, PLAY].iter().filter(|role| !roles.contains(role)) {
            let error = negotiate(&recorded(name), role).unwrap_err();
            let needs = if *role == Role::Publish { "WHIP needs sendonly" } else { "WHEP needs recvonly" };
            assert!(matches!(&error, DescriptionError::Unacceptable(text) if text.contains(needs)), "{name}: {error}");
            assert!(error.to_string().starts_with("m-line 0 (mid \""), "{name}: {error}");
        }
    }
}

#[test]
fn line_ends_do_not_matter() {
    let crlf = recorded("chromium_whip_simulcast");
    let expected = negotiate(&crlf, &Role::Publish).unwrap().media;
    for text in [crlf.replace('\r', ""), crlf.trim_end().to_owned(), crlf.replace("\r\n", "\r\n\r\n")] {
        assert_eq!(negotiate(&text, &Role::Publish).unwrap().media, expected);
    }
}

#[test]
fn the_media_is_described_as_offered() {
    let accepted = negotiate(&recorded("obs_simulcast_whip"), &Role::Publish).unwrap();
    let [audio, video] = accepted.media.as_slice() else { panic!("two m-lines") };
    assert_eq!((audio.kind, audio.index, audio.original_mid.as_str()), (MediaKind::Audio, 0, "0"));
    assert_eq!((video.kind, video.index, video.original_mid.as_str()), (MediaKind::Video, 1, "1"));
    assert_eq!(video.rids, ["0", "1", "2"]);
    assert!(video.nacks_without_rtx && !audio.nacks_without_rtx);
    let formats: Vec<(u8, Codec, Option<u8>)> =
        accepted.media.iter().flat_map(|m| &m.formats).map(|f| (f.payload_type, f.codec, f.rtx)).collect();
    assert_eq!(formats, [(111, Codec::Opus, None), (96, Codec::H264, None)]);

    let accepted = negotiate(&recorded("chromium_whep_recvonly"), &PLAY).unwrap();
    let video = &accepted.media[1];
    let codecs: Vec<Codec> = video.formats.iter().map(|format| format.codec).collect();
    assert_eq!(codecs.iter().filter(|codec| **codec == Codec::Vp9).count(), 4);
    assert_eq!(codecs.iter().filter(|codec| **codec == Codec::H264).count(), 8);
    assert_eq!(codecs.iter().filter(|codec| **codec == Codec::Av1).count(), 2);
    assert!(video.formats.iter().all(|format| format.rtx.is_some()));
}

#[test]
fn simulcast_is_answered_without_pauses_and_alternatives() {
    let offer = recorded("obs_simulcast_whip");
    let answer = negotiate(&offer, &Role::Publish).unwrap().answer;
    assert!(answer.contains("\r\na=rid:0 recv\r\na=rid:1 recv\r\na=rid:2 recv\r\na=simulcast:recv 0;1;2\r\n"));
    for line in ["a=simulcast:send 0;~1;~2", "a=simulcast: send 0;1,2;2", "a=simulcast:recv 7 send 0;1;2"] {
        let answer = negotiate(&offer.replace("a=simulcast:send 0;1;2", line), &Role::Publish).unwrap().answer;
        assert!(answer.contains("\r\na=simulcast:recv 0;1;2\r\n"), "{line}");
    }
    let answer = negotiate(&offer.replace("a=simulcast:send 0;1;2\r\n", ""), &Role::Publish).unwrap().answer;
    assert!(values(&answer, "simulcast").is_empty() && values(&answer, "rid").is_empty());
}

#[test]
fn a_udp_host_address_is_the_first_candidate() {
    let offer = Offer::parse(&recorded("ffmpeg_whip"), &Role::Publish).unwrap();
    let tcp = Candidate::builder().tcp().host("192.0.2.1:3478".parse().unwrap()).build().unwrap();
    let address = |text: &str| text.parse().unwrap();
    let reflexive =
        Candidate::server_reflexive(address("198.51.100.1:3478"), address("192.0.2.1:3478"), "udp").unwrap();
    let candidates = [tcp, reflexive, host("192.0.2.1:3478")];
    let local = Local { candidates: &candidates, stream: "lobby" };
    let answer = accept(config(), &offer, &local, Instant::now()).unwrap().answer;
    let listed = values(&answer, "candidate:");
    assert_eq!(listed.len(), 3);
    // FFmpeg reads "%128s %d typ host" behind the foundation, component, protocol and priority.
    assert!(listed[0].ends_with(" 192.0.2.1 3478 typ host"), "{}", listed[0]);
    assert_eq!(listed[0].split(' ').nth(2), Some("udp"));
}

#[test]
fn mids_come_back_as_they_were() {
    let odd = |name: &str| {
        let text = recorded(name).replace("BUNDLE 0 1", "BUNDLE {a}.0 a-mid-longer-than-sixteen");
        text.replace("a=mid:0", "a=mid:{a}.0").replace("a=mid:1", "a=mid:a-mid-longer-than-sixteen")
    };
    for (name, role) in [("chromium_whip_simulcast", Role::Publish), ("chromium_whep_recvonly", PLAY)] {
        let text = odd(name);
        let mut accepted = negotiate(&text, &role).unwrap();
        check(&text, &accepted.answer, &role);
        check_engine(&mut accepted);
        let mids: Vec<&str> = accepted.media.iter().map(|media| media.original_mid.as_str()).collect();
        assert_eq!(mids, ["{a}.0", "a-mid-longer-than-sixteen"]);
        // str0m would send the mid extension with other letters than the viewer knows.
        let mid_extension = accepted.answer.contains("urn:ietf:params:rtp-hdrext:sdes:mid");
        assert_eq!(mid_extension, role == Role::Publish, "{role:?}");
    }
}

#[test]
fn viewers_get_one_stream_with_the_ssrcs_that_will_be_sent() {
    let mut accepted = negotiate(&recorded("chromium_whep_recvonly"), &PLAY).unwrap();
    assert_eq!(values(&accepted.answer, "msid:"), ["lobby audio-0", "lobby video-1"]);
    assert_eq!(values(&accepted.answer, "msid-semantic"), [" WMS lobby"]);
    let mut expected = Vec::new();
    for media in &accepted.media {
        let mut direct = accepted.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(media.mid, None).unwrap();
        expected.extend([Some(*stream.ssrc()), stream.rtx().map(|ssrc| *ssrc)].into_iter().flatten());
    }
    assert_eq!(expected.len(), 3, "audio without RTX, video with");
    let listed: Vec<u32> = values(&accepted.answer, "ssrc:")
        .iter()
        .filter(|value| value.contains("cname:"))
        .map(|value| value.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(listed, expected);
    assert_eq!(values(&accepted.answer, "ssrc-group:FID "), [format!("{} {}", expected[1], expected[2])]);
    assert!(values(&negotiate(&recorded("obs_simulcast_whip"), &Role::Publish).unwrap().answer, "ssrc").is_empty());
}

#[test]
fn extension_directions_are_turned_round() {
    let answer = negotiate(&recorded("firefox_whip_simulcast"), &Role::Publish).unwrap().answer;
    let listed = values(&answer, "extmap:");
    assert!(listed.contains(&"9/recvonly urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"));
    assert!(!answer.contains("playout-delay"), "Firefox only receives it, and here it sends");
    assert!(!answer.contains("csrc-audio-level"), "not forwarded");
    let answer = negotiate(&recorded("firefox_whep_recvonly"), &PLAY).unwrap().answer;
    let playout = "6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
    assert!(values(&answer, "extmap:").contains(&playout));
}

#[test]
fn of_formats_str0m_cannot_tell_apart_the_first_is_answered() {
    let twins = "SAVPF 96 97 98 99 100\r\na=rtpmap:97 VP9/90000\r\na=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\n\
                 a=rtpmap:99 H264/90000\r\na=fmtp:99 profile-level-id=42e034;packetization-mode=1\r\n\
                 a=rtpmap:100 H264/90000\r\na=fmtp:100 profile-level-id=42e034;packetization-mode=1";
    for (name, role) in [("libdatachannel_whip", Role::Publish), ("libdatachannel_whep", PLAY)] {
        let mut accepted = negotiate(&recorded(name).replace("SAVPF 96", twins), &role).unwrap();
        check_engine(&mut accepted);
        let payload_types: Vec<u8> = accepted.media[1].formats.iter().map(|format| format.payload_type).collect();
        assert_eq!(payload_types, [96, 97, 99]);
    }
}

#[test]
fn a_viewers_slots_are_all_answered() {
    let offer = recorded("chromium_whep_recvonly");
    let (session, video) = (offer.split("\r\nm=video").next().unwrap(), offer.split("\r\nm=video").nth(1).unwrap());
    let mut text = session.replace("BUNDLE 0 1", "BUNDLE 0 1 2 3 4 5 6 7 8 9");
    for mid in 1..10 {
        text += &format!("\r\nm=video{}", video.trim_end().replace("a=mid:1", &format!("a=mid:{mid}")));
    }
    let accepted = negotiate(&text, &PLAY).unwrap();
    assert_eq!(accepted.media.len(), 10);
    assert!(accepted.media[1..].iter().all(|media| media.formats == accepted.media[1].formats));
}

#[test]
fn data_channels_that_are_only_in_the_bundle_are_taken() {
    let offer = recorded("firefox_conf_datachannel").replace("a=sendrecv", "a=sendonly");
    let bundled = offer.replace("m=application 9 ", "m=application 0 ").replace("a=mid:2", "a=bundle-only\r\na=mid:2");
    assert_ne!(offer, bundled);
    for offer in [offer, bundled] {
        let accepted = negotiate(&offer, &Role::Member).unwrap();
        assert!(accepted.answer.contains("m=application 9 UDP/DTLS/SCTP"), "{}", accepted.answer);
    }
}
