//! WHEP (draft-ietf-wish-whep): where it differs from WHIP.

use axum::body::Body;
use axum::http::Method;

use crate::row::{Given, Row, check, row};
use crate::script::ANSWER;
use crate::server::{Server, Target as _, request};

const EVENTS: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";

#[tokio::test]
async fn an_offer_is_answered_with_a_session() {
    check(&Server::open(), accepted()).await;
}

pub(crate) fn accepted() -> Vec<Row> {
    vec![
        row("P1", "a room is played")
            .play("/whep/a")
            .status(201)
            .header("content-type", "application/sdp")
            .header_contains("location", "/sessions/")
            .header("etag", "\"g0\"")
            .header_line("link", "<stun:stun.example:3478>; rel=\"ice-server\"")
            .body_contains("v=0"),
        row("P1", "one participant is played").play("/whep/a/camera").status(201).body_contains("v=0"),
        row("P1", "its name is checked").play("/whep/a/%20").status(400).body_contains("participant"),
        row("P4", "nothing is published, and viewers may not wait")
            .play("/whep/empty")
            .status(409)
            .header("retry-after", "4"),
        row("P4", "a full server").play("/whep/full").status(503).header("retry-after", "2"),
        row("W2", "JSON is not SDP")
            .play("/whep/a")
            .with("content-type", "application/json")
            .status(415)
            .header("accept-post", "application/sdp"),
        row("W3", "no SDP").play("/whep/a").body("hello").status(400),
        row("W23", "what the server cannot do").play("/whep/unacceptable").status(422),
    ]
}

#[tokio::test]
async fn other_methods_do_what_the_draft_says() {
    check(&Server::open(), methods()).await;
}

pub(crate) fn methods() -> Vec<Row> {
    vec![
        row("W4", "GET has no content").request("GET", "/whep/a").status(204).no_body(),
        row("W4", "nor for a participant").request("GET", "/whep/a/b").status(204).no_body(),
        row("P5", "HEAD tells a WHEP endpoint")
            .request("HEAD", "/whep/a")
            .status(200)
            .header("content-type", "application/sdp")
            .no_body(),
        row("P5", "and for a participant")
            .request("HEAD", "/whep/a/b")
            .status(200)
            .header("content-type", "application/sdp")
            .no_body(),
        row("W8", "OPTIONS").request("OPTIONS", "/whep/a").status(200).header("accept-post", "application/sdp"),
        row("W8", "OPTIONS for a participant")
            .request("OPTIONS", "/whep/a/b")
            .status(200)
            .header("accept-post", "application/sdp"),
        row("W5", "PUT").request("PUT", "/whep/a").status(405).header_contains("allow", "POST"),
        row("W7", "DELETE").request("DELETE", "/whep/a/b").status(405),
        row("W6", "DELETE of a session")
            .given(Given::Viewer)
            .request("DELETE", "{session}")
            .with("if-match", "\"x\"")
            .status(200),
    ]
}

#[tokio::test]
async fn a_counter_offer_is_answered_by_patch() {
    check(&Server::open(), counter_offers()).await;
    let server = Server::open();
    let session = server.session("/whep/codecs", None).await;
    for status in [204, 409] {
        let headers = [("content-type", "application/sdp")];
        let response = server.send(request(Method::PATCH, &session, &headers, ANSWER)).await;
        assert_eq!(response.status, status, "P3: a counter-offer is answered once: {response:?}");
    }
}

pub(crate) fn counter_offers() -> Vec<Row> {
    let answer = |name| {
        row("P2", name).given(Given::CounterOffer).request("PATCH", "{session}").with("content-type", "application/sdp")
    };
    vec![
        row("P2", "no codec in common: 406 with the server's offer")
            .play("/whep/codecs")
            .status(406)
            .header_contains("content-type", "application/sdp; valid-until=\"")
            .header_contains("location", "/sessions/")
            .body_contains("v=0"),
        answer("the client's answer").body(ANSWER).status(204).no_body(),
        answer("an answer in other letters")
            .with("content-type", "Application/SDP; charset=utf-8")
            .body(ANSWER)
            .status(204),
        answer("a malformed answer").body("hello").status(400),
        answer("too long an answer").body(vec![b'v'; 1 << 20]).status(413),
        row("P3", "an answer nobody waits for")
            .given(Given::Viewer)
            .request("PATCH", "{session}")
            .with("content-type", "application/sdp")
            .body(ANSWER)
            .status(409),
        row("W32", "publishers have no counter-offer")
            .given(Given::Publisher)
            .request("PATCH", "{session}")
            .with("content-type", "application/sdp")
            .body(ANSWER)
            .status(415)
            .header("accept-patch", "application/trickle-ice-sdpfrag"),
    ]
}

#[tokio::test]
async fn extensions_are_told_to_viewers_each_in_a_line_of_its_own() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    let viewer = server.send(request(Method::POST, "/whep/a", &[("content-type", "application/sdp")], ANSWER)).await;
    let extension =
        |rel: &str| viewer.headers("link").into_iter().find(|line| line.contains(&format!("rel=\"{rel}\"")));
    let location = viewer.header("location").expect("a session");
    assert_ne!(location, session);
    let events =
        format!("<{location}/events>; rel=\"{EVENTS}\"; events=\"active,inactive,layers,warnings,viewercount\"");
    assert_eq!(extension(EVENTS), Some(events.as_str()), "P7a");
    assert_eq!(extension(LAYER), Some(format!("<{location}/layer>; rel=\"{LAYER}\"").as_str()), "P7b");
    let publisher = server.send(request(Method::POST, "/whip/b", &[("content-type", "application/sdp")], ANSWER)).await;
    let links = publisher.headers("link");
    assert!(links.iter().all(|line| line.contains("ice-server")), "OBS takes every Link for an ICE server: {links:?}");
    let headers = [("content-type", "application/sdp"), ("origin", "http://localhost:8080")];
    let browser = server.send(request(Method::POST, "/whip/c", &headers, ANSWER)).await;
    let links = browser.headers("link");
    let events = links.iter().find(|line| line.contains("rel=\"urn:ietf:params:whip:ext:core:server-sent-events\""));
    assert!(events.is_some(), "W73: a publisher in a browser can show how many watch: {links:?}");
    let methods = [Method::GET, Method::DELETE];
    for (method, status) in methods.into_iter().zip([204, 200]) {
        assert_eq!(server.send(request(method, location, &[], Body::empty())).await.status, status);
    }
}
