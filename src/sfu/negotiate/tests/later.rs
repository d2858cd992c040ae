//! Further offers on a connection that stands, held against what its engine was built with.

use super::*;

/// What a later offer of a viewer comes to, that differs from its first in these lines.
fn later(change: impl Fn(&str) -> Option<String>) -> Result<Renewed, DescriptionError> {
    let text = recorded("chromium_whep_recvonly");
    let first = Offer::parse(&text, &PLAY).unwrap();
    let candidates = [host("192.0.2.1:3478")];
    let local = Local { candidates: &candidates, stream: "lobby" };
    let mut accepted = accept(config(), &first, &local, Instant::now()).unwrap();
    let text: String = text.lines().filter_map(change).map(|line| line + "\r\n").collect();
    let mut offer = Offer::parse(&text, &PLAY).unwrap();
    let credentials = first.credentials().clone();
    renew(&mut accepted.rtc, &first, &mut offer, &credentials, &local)
}

fn same(line: &str) -> Option<String> {
    Some(line.to_owned())
}

#[test]
fn retransmissions_may_go_and_are_then_not_promised() {
    let before = later(same).unwrap().answer;
    assert!(before.contains(" rtx/") && before.contains("a=ssrc-group:FID"), "{before}");
    let after = later(|line| same(line).filter(|line| !line.contains("rtx/"))).unwrap().answer;
    assert!(!after.contains(" rtx/") && !after.contains("a=ssrc-group:FID"), "{after}");
    assert_eq!(values(&after, "rtpmap:96"), ["VP8/90000"].map(|name| format!(" {name}")), "{after}");
}

#[test]
fn retransmissions_under_another_number_are_not_promised() {
    let moved = |line: &str| same(&line.replace("rtpmap:97 ", "rtpmap:127 ").replace("fmtp:97 ", "fmtp:127 "));
    let moved = |line: &str| moved(&line.replace(" 96 97 ", " 96 127 "));
    let renewed = later(moved).unwrap();
    assert_eq!(values(&renewed.answer, "rtpmap:127"), [""; 0], "{}", renewed.answer);
    let vp8 = renewed.media.iter().flat_map(|line| &line.formats).find(|format| format.payload_type == 96);
    assert_eq!(vp8.map(|format| format.rtx), Some(None));
}

#[test]
fn a_payload_type_keeps_its_meaning() {
    let error = later(|line| same(&line.replace("rtpmap:96 VP8", "rtpmap:96 AV1"))).unwrap_err().to_string();
    assert!(error.contains("payload type 96 another meaning (AV1"), "{error}");
    assert!(error.contains("another RTCPeerConnection"), "says what to do: {error}");
}
