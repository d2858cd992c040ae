//! What is refused, with which sentence; and that nothing whatever makes the server stumble.

use super::*;

/// Malformed (400) or unacceptable (422).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Malformed,
    Unacceptable,
}
use Class::{Malformed, Unacceptable};

fn class(error: &DescriptionError) -> Class {
    match error {
        DescriptionError::Malformed(_) => Malformed,
        DescriptionError::Unacceptable(_) => Unacceptable,
    }
}

/// A change to a text: every occurrence of the first becomes the second.
type Change = (&'static str, &'static str);

fn changed(text: &str, changes: &[Change]) -> String {
    changes.iter().fold(text.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{from:?} is not in the offer");
        text.replace(from, to)
    })
}

/// Without the lines that begin so.
fn without(text: &str, prefixes: &[&str]) -> String {
    text.split_inclusive('\n').filter(|line| !prefixes.iter().any(|prefix| line.starts_with(prefix))).collect()
}

#[test]
fn offers_outside_the_rules_are_refused_with_a_sentence_that_says_what_to_change() {
    let rows: &[(&str, &Role, &[Change], Class, &str)] = &[
        // W20, P1
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("a=mid:1", "a=mid:1\r\na=recvonly")],
            Unacceptable,
            "m-line 1 (mid \"1\", video) is recvonly; WHIP needs sendonly or sendrecv",
        ),
        ("libdatachannel_whip", &Role::Publish, &[("a=sendonly", "a=inactive")], Unacceptable, "is inactive"),
        ("libdatachannel_whep", &PLAY, &[("a=recvonly", "a=sendonly")], Unacceptable, "WHEP needs recvonly"),
        // W21
        ("libdatachannel_whip", &Role::Publish, &[("a=group:BUNDLE 0 1\r\n", "")], Unacceptable, "no a=group:BUNDLE"),
        ("libdatachannel_whip", &Role::Publish, &[("BUNDLE 0 1", "BUNDLE 0")], Unacceptable, "not in a=group:BUNDLE"),
        ("libdatachannel_whip", &Role::Publish, &[("BUNDLE 0 1", "BUNDLE 0 0 1")], Malformed, "twice"),
        ("libdatachannel_whip", &Role::Publish, &[("a=rtcp-mux\r\n", "")], Unacceptable, "lacks a=rtcp-mux"),
        // W22
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("m=audio", "m=video"), ("111 opus/48000/2", "111 VP8/90000")],
            Unacceptable,
            "the second of its kind; WHIP takes one audio and one video",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("m=audio", "m=application"), ("m=video", "m=application")],
            Malformed,
            "no audio or video",
        ),
        ("libdatachannel_whip", &Role::Publish, &[("m=video", "m=text")], Unacceptable, "m-line 1 is text"),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("m=audio 9", "m=audio 0"), ("m=video 9", "m=video 0")],
            Malformed,
            "no audio or video m-line whose port is not 0",
        ),
        // W23
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("96 H264/90000", "96 H263/90000")],
            Unacceptable,
            "offers H263; the server forwards VP8, VP9, H264, H265 and AV1",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("opus/48000/2", "opus/48000")],
            Unacceptable,
            "forwards opus/48000/2",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("SAVPF 96", "SAVPF 72"), (":96 ", ":72 ")],
            Unacceptable,
            "offers H264",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("SAVPF 96", "SAVPF 111"), (":96 ", ":111 ")],
            Unacceptable,
            "payload type 111 a second meaning",
        ),
        // W25, W26, W27
        ("libdatachannel_whip", &Role::Publish, &[("actpass", "holdconn")], Malformed, "a=setup:holdconn"),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("sha-256", "sha-512")],
            Unacceptable,
            "sha-512; the server checks sha-256",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("a=fingerprint:sha-256 4A:", "a=fingerprint:sha-256 ")],
            Malformed,
            "32 bytes",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("a=fingerprint:sha-256 4A:", "a=fingerprint:sha-256 +A:")],
            Malformed,
            "32 bytes",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("s=-\r\n", "s=-\r\na=ice-lite\r\n")],
            Unacceptable,
            "must be a full agent",
        ),
        ("libdatachannel_whip", &Role::Publish, &[("a=ice-ufrag:peSP\r\n", "")], Malformed, "a=ice-pwd without"),
        ("libdatachannel_whip", &Role::Publish, &[("peSP", "pe")], Malformed, "4 to 256"),
        ("libdatachannel_whip", &Role::Publish, &[("UDP/TLS/RTP/SAVPF", "RTP/AVP")], Unacceptable, "UDP/TLS/RTP/SAVPF"),
        // Mids, rids, SSRCs
        ("libdatachannel_whip", &Role::Publish, &[("a=mid:1\r\n", "")], Malformed, "needs a=mid"),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("a=mid:1\r\n", "a=mid:0\r\n"), ("BUNDLE 0 1", "BUNDLE 0")],
            Malformed,
            "\"0\" and \"0\" are the same",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("a=mid:0", "a=mid:a-b"), ("a=mid:1", "a=mid:a.b"), ("0 1", "a-b a.b")],
            Malformed,
            "first 16 letters",
        ),
        ("obs_simulcast_whip", &Role::Publish, &[("send 0;1;2", "send 0;1;1")], Unacceptable, "two rids"),
        ("obs_simulcast_whip", &Role::Publish, &[("send 0;1;2", "send 0;a-b")], Unacceptable, "RFC 8851"),
        (
            "obs_simulcast_whip",
            &Role::Publish,
            &[("send 0;1;2", "send 0;1;2;3;4")],
            Unacceptable,
            "more than 4 simulcast encodings",
        ),
        ("obs_simulcast_whip", &Role::Publish, &[("a=extmap:2", "a=extmap:0")], Unacceptable, "rtp-stream-id"),
        (
            "obs_simulcast_whip",
            &Role::Publish,
            &[("a=extmap:1", "a=extmap:0")],
            Unacceptable,
            "could not be told apart",
        ),
        (
            "libdatachannel_whip",
            &Role::Publish,
            &[("a=ssrc:1002", "a=ssrc:1001")],
            Unacceptable,
            "could not be told apart",
        ),
    ];
    for (name, role, changes, expected, sentence) in rows {
        let error = negotiate(&changed(&recorded(name), changes), role).unwrap_err();
        assert_eq!(class(&error), *expected, "{changes:?}: {error}");
        assert!(error.to_string().contains(sentence), "{changes:?}: {error}");
    }
}

#[test]
fn what_clients_leave_out_or_do_oddly_is_taken() {
    let rows: &[(&str, &[Change])] = &[
        ("libdatachannel_whip", &[("a=setup:actpass\r\n", "")]),
        ("libdatachannel_whip", &[("a=setup:actpass", "a=setup:active")]),
        ("libdatachannel_whip", &[("a=fingerprint:sha-256", "a=fingerprint:SHA-256")]),
        ("libdatachannel_whip", &[("BUNDLE 0 1", "BUNDLE 1 0")]),
        ("libdatachannel_whip", &[("BUNDLE 0 1", "BUNDLE 0 1 2")]),
        (
            "libdatachannel_whip",
            &[("m=video 9", "m=video 0"), ("a=rtcp-mux\r\na=rtpmap:96", "a=bundle-only\r\na=rtpmap:96")],
        ),
        ("libdatachannel_whip", &[("opus/48000/2", "OPUS/48000/2")]),
        ("libdatachannel_whip", &[("a=msid:stream0 video0", "a=msid:another video0")]),
        ("libdatachannel_whip", &[("a=sendonly\r\n", "")]),
        ("libdatachannel_whip", &[("t=0 0", "t=0 0\r\nz=whatever\r\na=foo:bar\r\nb=AS:1000")]),
        ("libdatachannel_whip", &[("a=rtpmap:96", "a=rtpmap:999999 x/1\r\na=rtpmap:\r\na=rtpmap:96")]),
        ("libdatachannel_whip", &[("profile-level-id=42e01f", "profile-level-id=640c34")]),
        (
            "libdatachannel_whip",
            &[("a=fmtp:96 profile-level-id=42e01f;packetization-mode=1", "a=fmtp:96 packetization-mode=1")],
        ),
        (
            "libdatachannel_whip",
            &[
                ("96 H264/90000", "96 H265/90000"),
                ("a=fmtp:96", "a=fmtp:96 level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST;"),
            ],
        ),
        ("chromium_whip_simulcast", &[("a=extmap:14 ", "a=extmap:200 ")]),
        ("chromium_whip_simulcast", &[("a=extmap:13 urn", "a=extmap:2 urn")]),
    ];
    for (name, changes) in rows {
        let accepted = negotiate(&changed(&recorded(name), changes), &Role::Publish);
        let accepted = accepted.unwrap_or_else(|error| panic!("{changes:?}: {error}"));
        assert_eq!(accepted.media.len(), 2, "{changes:?}");
    }
}

#[test]
fn one_m_line_needs_no_bundle_group_and_gets_none() {
    let text = recorded("ffmpeg_video_only_whip").replace("a=group:BUNDLE 0 1\r\n", "");
    let answer = negotiate(&text, &Role::Publish).unwrap().answer;
    assert!(values(&answer, "group").is_empty());
}

#[test]
fn a_disabled_m_line_is_answered_disabled() {
    for bundle in ["BUNDLE 1", "BUNDLE 0 1"] {
        let text = changed(&recorded("libdatachannel_whip"), &[("m=audio 9", "m=audio 0"), ("BUNDLE 0 1", bundle)]);
        let accepted = negotiate(&text, &Role::Publish).unwrap();
        assert!(accepted.answer.contains("\r\nm=audio 0 UDP/TLS/RTP/SAVPF 111\r\n"));
        assert_eq!(values(&accepted.answer, "group:BUNDLE"), [" 1"]);
        assert_eq!(accepted.media.len(), 1);
        assert_eq!(accepted.media[0].index, 1, "the index counts all m-lines");
    }
}

#[test]
fn what_has_no_port_but_the_bundles_is_not_disabled() {
    // As Firefox writes it with `bundlePolicy: "max-bundle"`.
    let changes: &[Change] = &[
        ("a=sendrecv\r\n", "a=sendonly\r\n"),
        ("m=video 9", "m=video 0"),
        ("a=mid:1\r\n", "a=mid:1\r\na=bundle-only\r\n"),
        ("m=application 9", "m=application 0"),
        ("a=mid:2\r\n", "a=mid:2\r\na=bundle-only\r\n"),
    ];
    let text = changed(&recorded("firefox_conf_datachannel"), changes);
    let accepted = negotiate(&text, &Role::Member).unwrap();
    assert_eq!(accepted.media.len(), 2);
    assert_eq!(values(&accepted.answer, "group:BUNDLE"), [" 0 1 2"]);
    assert!(!accepted.answer.contains(" 0 UDP/"), "{}", accepted.answer);
}

#[test]
fn an_ssrc_of_an_earlier_m_line_is_not_listened_to_twice() {
    let text = changed(&recorded("werift_whip"), &[("ssrc:1181361625", "ssrc:2617526801")]);
    let mid = "a=mid:1\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid";
    let mut accepted = negotiate(&text.replace("a=mid:1", mid), &Role::Publish).unwrap();
    let stream = accepted.rtc.direct_api().stream_rx(&2_617_526_801.into()).map(|stream| stream.mid());
    assert_eq!(stream, Some(accepted.media[0].mid));
}

/// Sixty bodies that are no offers.
fn malformed_bodies() -> Vec<String> {
    let whole = recorded("chromium_whip_simulcast");
    let mut bodies: Vec<String> = [
        "",
        " ",
        "\r\n\r\n",
        "hello",
        "v=0",
        "v=1\r\n",
        "{\"type\":\"offer\",\"sdp\":\"v=0\"}",
        "<html></html>",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n",
        "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF\r\na=mid:0\r\n",
        "\u{0}",
        "\u{feff}v=0\r\n",
        "=\r\n=\r\n",
        "v=0\ra=x\r",
        "é=0",
    ]
    .map(str::to_owned)
    .to_vec();
    bodies.push("x".repeat(1 << 20));
    bodies.push("v=0\r\n".repeat(200_000));
    bodies.push(format!("v=0\r\n{}", "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(1000)));
    bodies.push(format!("v=0\r\na={}", "x".repeat(300_000)));
    bodies.push(whole.replace("v=0", "V=0"));
    bodies.push(whole.replace("a=mid:1", "a=mid:\u{0}"));
    bodies.push(whole.replace(' ', ""));
    bodies.push(whole.replace('=', ":"));
    bodies.push(whole.replace("m=video 9 ", "m=video 99999 "));
    bodies.push(without(&whole, &["a=fingerprint"]));
    bodies.push(without(&whole, &["a=ice-ufrag"]));
    bodies.push(without(&whole, &["a=ice-pwd"]));
    bodies.push(without(&whole, &["a=ice-ufrag", "a=ice-pwd"]));
    bodies.push(without(&whole, &["a=mid"]));
    bodies.push(without(&whole, &["a=group"]));
    bodies.push(without(&whole, &["a=rtpmap"]));
    bodies.push(without(&whole, &["a=rtcp-mux"]));
    bodies.push(without(&whole, &["m="]));
    bodies.push(without(&whole, &["v="]));
    // Cut off before the formats of the first m-line.
    let end = whole.find("a=rtpmap:111").unwrap();
    bodies.extend((0..25).map(|part| whole[..end * part / 25].to_owned()));
    bodies
}

#[test]
fn sixty_malformed_bodies_are_refused() {
    let bodies = malformed_bodies();
    assert_eq!(bodies.len(), 60);
    for (index, body) in bodies.iter().enumerate() {
        for role in [Role::Publish, PLAY] {
            let offer = Offer::parse(body, &role);
            assert!(offer.is_err(), "body {index} as {role:?}: {body:.60}");
        }
    }
}

/// Each of these was, or could be, work of the square of its length: minutes instead of milliseconds.
#[test]
fn repetition_does_not_multiply_work() {
    let text = recorded("obs_simulcast_whip");
    let many = |word: &str| word.repeat(200_000 / word.len());
    let bodies = [
        text.replace("SAVPF 96", &format!("SAVPF 96{}", many(" 96"))),
        text.replace("BUNDLE 0 1", &format!("BUNDLE 0 1{}", many(" x"))),
        text.replace("send 0;1;2", &format!("send 0{}", many(";1"))),
        text.replace("a=mid:1", &format!("a=mid:1{}", "\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96".repeat(1900))),
        text.replace("a=mid:1", &format!("a=mid:1{}", "\r\na=extmap:3 urn:x".repeat(3900))),
        text.replace(
            "a=mid:1",
            &format!("a=mid:1{}", "\r\na=ssrc:1 x\r\na=candidate:1 1 udp 1 ::1 9 typ host".repeat(1900)),
        ),
        text.replace("a=fmtp:96 ", &format!("a=fmtp:96 {}", many("a=b;"))),
    ];
    for (index, body) in bodies.iter().enumerate() {
        assert_eq!(negotiate(body, &Role::Publish).is_ok(), index != 2, "body {index}");
    }
}

#[test]
fn damaged_offers_never_stop_the_server() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut below = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % bound
    };
    let tokens = ["0", "96", "127", "-1", "*", "~", ";", "apt=96", "a=mid:0", "m=video 9 UDP/TLS/RTP/SAVPF 96", "é"];
    for (name, roles) in RECORDED {
        let text = recorded(name);
        let lines: Vec<&str> = text.lines().collect();
        for round in 0..40 {
            let mut damaged: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
            for _ in 0..=round % 4 {
                let (at, other) = (below(damaged.len()), below(damaged.len()));
                match below(5) {
                    0 => drop(damaged.remove(at)),
                    1 => damaged.swap(at, other),
                    2 => damaged.insert(at, damaged[other].clone()),
                    3 => damaged[at] = tokens[below(tokens.len())].to_owned(),
                    _ => {
                        let mut words: Vec<&str> = damaged[at].split([' ', ':']).collect();
                        let word = below(words.len());
                        words[word] = tokens[below(tokens.len())];
                        damaged[at] = words.join(" ");
                    }
                }
            }
            // Whatever comes out, str0m must not assert.
            let _ = negotiate(&damaged.join("\r\n"), &roles[0]);
        }
    }
}
