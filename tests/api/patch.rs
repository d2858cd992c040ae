//! PATCH of a session: trickle ICE, ICE restart, entity tags (RFC 9725 section 4.3).

use axum::http::Method;

use crate::row::{Given, Row, check, row};
use crate::server::{Response, Server, Target as _, request};

/// Fragments in shapes seen in the wild.
const RFC: &str = "a=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:6Wfz\r\n\
    a=ice-pwd:Xw3Jc1aPz8kQvN7bRtY5mL2e\r\na=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r\n\
    a=end-of-candidates\r\n";
const MEDOOZE: &str = "a=ice-ufrag:6Wfz\r\na=ice-pwd:Xw3Jc1aPz8kQvN7bRtY5mL2e\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\n\
    a=candidate:1 1 udp 2130706431 192.0.2.1 50000 typ host\r\na=end-of-candidates\r\n";
const EMPTY: &str = "a=ice-ufrag:6Wfz\r\na=ice-pwd:Xw3Jc1aPz8kQvN7bRtY5mL2e\r\na=end-of-candidates\r\n";
const RESTART: &str = "a=ice-ufrag:new\r\na=ice-pwd:Aw3Jc1aPz8kQvN7bRtY5mL2e\r\n";

#[tokio::test]
async fn candidates_are_taken_under_the_current_entity_tag() {
    check(&Server::open(), trickles()).await;
}

pub(crate) fn trickles() -> Vec<Row> {
    let trickle =
        |rule, says, fragment| row(rule, says).given(Given::Publisher).patch(fragment).with("if-match", "\"g0\"");
    vec![
        trickle("W43", "a trickle has no body and no entity tag", RFC).status(204).no_body().no_header("etag"),
        trickle("W50", "as medooze writes it", MEDOOZE).status(204),
        trickle("W51", "no more candidates", EMPTY).status(204),
        trickle("W42", "any session is meant", RFC).with("if-match", "*").status(204),
        trickle("W44", "the asterisk in quotes, as the RFC's example has it", RFC)
            .with("if-match", "\"*\"")
            .status(204),
        trickle("W42", "one of several tags", RFC).with("if-match", "\"x\", \"g0\"").status(204),
        trickle("W41", "in other letters", RFC)
            .with("content-type", "Application/Trickle-ICE-SDPfrag; a=b")
            .status(204),
        row("W43", "a viewer trickles too").given(Given::Viewer).patch(RFC).with("if-match", "\"g0\"").status(204),
    ]
}

#[tokio::test]
async fn a_patch_that_cannot_be_taken_says_why() {
    check(&Server::open(), refusals()).await;
}

pub(crate) fn refusals() -> Vec<Row> {
    let patch = |rule, says| row(rule, says).given(Given::Publisher).patch(RFC).with("if-match", "\"g0\"");
    vec![
        patch("W41", "no fragment")
            .with("content-type", "text/plain")
            .status(415)
            .header("accept-patch", "application/trickle-ice-sdpfrag"),
        patch("W41", "no type").without("content-type").status(415),
        patch("W41", "a malformed fragment").body("hello").status(400),
        patch("W41", "no UTF-8").body(vec![0xff, 0xfe]).status(400),
        patch("W41", "too long a fragment").body(vec![b'a'; 1 << 20]).status(413),
        patch("W42", "no If-Match").without("if-match").status(428).body_contains("If-Match"),
        patch("W42", "an outdated tag").with("if-match", "\"g7\"").status(412),
        patch("W42", "a foreign tag").with("if-match", "\"nonsense\"").status(412),
        patch("W42", "a weak tag never matches").with("if-match", "W/\"g0\"").status(412),
        row("W52", "an unknown session").patch(RFC).with("if-match", "\"g0\"").status(404),
        row("W52", "an ended session").given(Given::Ended).patch(RFC).with("if-match", "\"g0\"").status(404),
    ]
}

#[tokio::test]
async fn a_restart_changes_the_entity_tag() {
    let server = Server::open();
    let session = server.session("/whip/a", None).await;
    let patch = async |tag: &str, fragment: &'static str| -> Response {
        let headers = [("content-type", "application/trickle-ice-sdpfrag"), ("if-match", tag)];
        server.send(request(Method::PATCH, &session, &headers, fragment)).await
    };
    let restarted = patch("*", RESTART).await;
    assert_eq!(restarted.status, 200, "W44");
    assert_eq!(restarted.header("content-type"), Some("application/trickle-ice-sdpfrag"), "W44");
    assert_eq!(restarted.header("etag"), Some("\"g1\""), "W44");
    assert!(restarted.body.contains("a=ice-ufrag:"), "W44");
    assert_eq!(patch("\"g0\"", RFC).await.status, 412, "W46");
    assert_eq!(patch("\"g1\"", RFC).await.status, 204, "W46");
    assert_eq!(patch("\"g0\"", RESTART).await.status, 412, "W45");
    assert_eq!(patch("\"g1\"", RESTART).await.header("etag"), Some("\"g2\""), "W45");
}

#[tokio::test]
async fn of_two_restarts_at_once_each_gets_a_tag_of_its_own() {
    let server = Server::open();
    let session = server.session("/whip/a", None).await;
    let restart = || {
        let headers = [("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "*")];
        server.send(request(Method::PATCH, &session, &headers, RESTART))
    };
    let (first, second) = tokio::join!(restart(), restart());
    let mut tags = [first.header("etag"), second.header("etag")];
    tags.sort_unstable();
    assert_eq!(tags, [Some("\"g1\""), Some("\"g2\"")], "W53");
}
