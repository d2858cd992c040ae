//! Offers no server should take: sixty and more ways in which a WHIP offer can be wrong. Not among them is what does no
//! harm and is tolerated: blank lines, a missing setup role, ports of zero.

use axum::http::Method;

use crate::offers::{FINGERPRINT, ICE, offer, publish};
use crate::server::{OFFER_BYTES, Server, Target as _, request};

/// A wrong body and what is wrong with it.
pub(crate) struct Malformed {
    pub(crate) name: String,
    pub(crate) body: Vec<u8>,
}

/// All of them.
pub(crate) fn corpus() -> Vec<Malformed> {
    let mut corpus = bytes();
    corpus.extend(truncated());
    corpus.extend(without());
    corpus.extend(replaced());
    corpus.extend(structure());
    corpus
}

#[tokio::test]
async fn wrong_bodies_are_answered_with_4xx_whoever_finds_the_fault() {
    let corpus = corpus();
    assert!(corpus.len() >= 60, "{}", corpus.len());
    let names: std::collections::BTreeSet<_> = corpus.iter().map(|malformed| &malformed.name).collect();
    assert_eq!(names.len(), corpus.len(), "two rows have the same name");
    let server = Server::with(crosspoint::control::Settings { sessions: 1000, ..crate::server::settings() });
    for Malformed { name, body } in corpus {
        // The scripted shard reads no SDP: what passes for SDP at a glance gets a session from it.
        let plausible =
            std::str::from_utf8(&body).is_ok_and(|body| body.starts_with("v=0")) && body.len() <= OFFER_BYTES;
        let headers = [("content-type", "application/sdp")];
        let response = server.send(request(Method::POST, "/whip/a", &headers, body)).await;
        assert!(response.status.is_client_error() || plausible, "{name}: {response:?}");
    }
}

/// No SDP at all.
fn bytes() -> Vec<Malformed> {
    let with_nul = publish().replace("s=-", "s=\0");
    vec![
        wrong("empty", ""),
        wrong("a word", "hello"),
        wrong("JSON", r#"{"type":"offer","sdp":"v=0"}"#),
        wrong("HTML", "<!doctype html><title>x</title>"),
        wrong("line ends only", "\r\n\r\n\r\n"),
        wrong("one NUL", "\0"),
        wrong("only NULs", vec![0; 1000]),
        wrong("a NUL inside", with_nul),
        wrong("invalid UTF-8 alone", vec![0xc3, 0x28]),
        wrong("invalid UTF-8 inside", [publish().as_bytes(), &[0xff, 0xfe]].concat()),
        wrong("UTF-16", publish().encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
        wrong("1 MiB of v", vec![b'v'; 1 << 20]),
        wrong("1 MiB of lines", "a=x\r\n".repeat((1 << 20) / 5)),
        wrong("an offer and 1 MiB", publish() + &"a=x\r\n".repeat((1 << 20) / 5)),
        wrong("one line of 60 KiB", format!("v=0\r\ns={}\r\n", "x".repeat(60_000))),
        wrong("a byte order mark", format!("\u{feff}{}", publish())),
        wrong("random bytes", noise(4096)),
        wrong("random letters", noise(4096).iter().map(|byte| b'a' + byte % 26).collect::<Vec<_>>()),
    ]
}

/// An offer that stops before its first m-line is whole, or in the middle of a line.
fn truncated() -> Vec<Malformed> {
    let whole = publish();
    let media = whole.find("m=audio").expect("an m-line");
    (0..8)
        .map(|eighth| {
            let end = media * eighth / 8 + 1;
            wrong(format!("cut off after {end} bytes"), &whole.as_bytes()[..end])
        })
        .chain([wrong("session part only", &whole.as_bytes()[..media])])
        .collect()
}

/// An offer that lacks something every offer needs.
fn without() -> Vec<Malformed> {
    let lacks = |what: &str, line: &str| {
        let kept: Vec<String> = lines().into_iter().filter(|kept| !kept.starts_with(line)).collect();
        wrong(format!("no {what}"), text(&kept))
    };
    vec![
        lacks("version", "v="),
        lacks("fingerprint", "a=fingerprint"),
        lacks("ufrag", "a=ice-ufrag"),
        lacks("password", "a=ice-pwd"),
        lacks("ICE credentials", "a=ice-"),
        lacks("bundle", "a=group:BUNDLE"),
        lacks("mid", "a=mid"),
        lacks("m-line", "m="),
    ]
}

/// An offer in which one thing is replaced by something wrong.
fn replaced() -> Vec<Malformed> {
    let rows = [
        ("another version", "v=0", "v=1"),
        ("no number as version", "v=0", "v=zero"),
        ("holdconn", "a=setup:actpass", "a=setup:holdconn"),
        ("a made-up setup role", "a=setup:actpass", "a=setup:both"),
        ("inactive", "a=sendonly", "a=inactive"),
        ("recvonly", "a=sendonly", "a=recvonly"),
        ("another kind of media", "m=audio", "m=smell"),
        ("plain RTP", "UDP/TLS/RTP/SAVPF", "RTP/AVP"),
        ("a negative port", "m=audio 9", "m=audio -9"),
        ("a port too large", "m=audio 9", "m=audio 99999"),
        ("an m-line cut short", "m=audio 9 UDP/TLS/RTP/SAVPF 111", "m=audio"),
        ("no codec known here: audio", "opus/48000/2", "smoke/8000"),
        ("no codec known here: video", "H264/90000", "H263/90000"),
        ("no codec at all", "a=rtpmap:", "a=nothing:"),
        ("a clock rate that is none", "opus/48000/2", "opus/fast"),
        ("a payload type beyond 127", "SAVPF 111", "SAVPF 300"),
        ("a payload type that is no number", "SAVPF 96", "SAVPF h264"),
        ("the same mid twice", "a=mid:1", "a=mid:0"),
        ("an empty mid", "a=mid:1", "a=mid:"),
        ("a bundle of unknown mids", "BUNDLE 0 1", "BUNDLE 7 8"),
        ("a bundle of one", "BUNDLE 0 1", "BUNDLE 0"),
        ("a short password", ICE[1], "a=ice-pwd:x"),
        ("an empty ufrag", ICE[0], "a=ice-ufrag:"),
        ("a fingerprint that is no hex", FINGERPRINT, "a=fingerprint:sha-256 xx:yy"),
        ("a fingerprint too short", FINGERPRINT, "a=fingerprint:sha-256 7A:B4"),
        (
            "a fingerprint of an unknown hash",
            FINGERPRINT,
            "a=fingerprint:md5 7A:B4:32:99:2C:10:5D:EE:0A:41:FF:83:6B:57:C8:90",
        ),
    ];
    rows.into_iter().map(|(name, from, to)| wrong(name, publish().replace(from, to))).collect()
}

/// An offer of the wrong shape.
fn structure() -> Vec<Malformed> {
    let many = |kind: &'static str, count: usize| offer("sendonly", &vec![kind; count]);
    vec![
        wrong("two videos", offer("sendonly", &["audio", "video", "video"])),
        wrong("two audios", offer("sendonly", &["audio", "audio"])),
        wrong("a hundred m-lines", many("video", 100)),
        wrong(
            "a thousand m-lines",
            many("audio", 1000)
                .lines()
                .filter(|line| line.starts_with("m=") || line.len() < 12)
                .collect::<Vec<_>>()
                .join("\r\n"),
        ),
        wrong("the offer twice", publish().repeat(2)),
        wrong("lines in reverse", lines().into_iter().rev().collect::<Vec<_>>().join("\r\n")),
        wrong("no line ends", lines().concat()),
        wrong("ten thousand candidates", publish() + &"a=candidate:1 1 udp 1 ::1 1 typ host\r\n".repeat(10_000)),
    ]
}

fn wrong(name: impl Into<String>, body: impl Into<Vec<u8>>) -> Malformed {
    Malformed { name: name.into(), body: body.into() }
}

fn lines() -> Vec<String> {
    publish().lines().map(str::to_owned).collect()
}

fn text(lines: &[String]) -> String {
    lines.join("\r\n") + "\r\n"
}

/// Bytes that look random and are the same in every run (xorshift64).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    })
    .take(length)
    .collect()
}
