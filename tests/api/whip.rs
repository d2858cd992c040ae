//! WHIP (RFC 9725): the endpoint and the session URL, without PATCH.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;
use crosspoint::control::{Rates, Settings};
use crosspoint::sfu::command::{EndReason, EventKind};

use crate::offers;
use crate::row::{Given, Row, check, row};
use crate::server::{OFFER_BYTES, Server, Target as _, request, settings};

const TURN: &str = "<turn:turn.example:3478>; rel=\"ice-server\"; username=\"user\"; credential=\"secret\"; \
    credential-type=\"password\"";

#[tokio::test]
async fn an_offer_is_answered_with_a_session() {
    check(&Server::open(), accepted()).await;
}

pub(crate) fn accepted() -> Vec<Row> {
    vec![
        row("W1", "an offer creates a session")
            .publish("/whip/a")
            .status(201)
            .header("content-type", "application/sdp")
            .header_contains("location", "/sessions/")
            .body_contains("v=0"),
        row("W2", "the type may have parameters")
            .publish("/whip/b")
            .with("content-type", "application/sdp; a=b")
            .status(201),
        row("W2", "the type may be in any case").publish("/whip/c").with("content-type", "Application/SDP").status(201),
        row("W11", "Accept-Patch is sent, as early drafts had it")
            .publish("/whip/d")
            .status(201)
            .header("accept-patch", "application/trickle-ice-sdpfrag"),
        row("W40", "the entity tag is strong and quoted").publish("/whip/e").status(201).header("etag", "\"g0\""),
        row("W72", "an ICE server has a Link line of its own")
            .publish("/whip/f")
            .status(201)
            .header_line("link", "<stun:stun.example:3478>; rel=\"ice-server\"")
            .header_line("link", TURN),
        row("rooms", "names may be of any script").publish("/whip/%D1%81%D1%82%D1%83%D0%B4%D0%B8%D1%8F").status(201),
    ]
}

#[tokio::test]
async fn a_bad_offer_is_refused_with_the_status_of_its_fault() {
    check(&Server::open(), refusals()).await;
}

pub(crate) fn refusals() -> Vec<Row> {
    vec![
        row("W2", "text/plain is not SDP")
            .publish("/whip/a")
            .with("content-type", "text/plain")
            .status(415)
            .header("accept-post", "application/sdp"),
        row("W2", "JSON is not SDP").publish("/whip/a").with("content-type", "application/json").status(415),
        row("W2", "no type at all").publish("/whip/a").without("content-type").status(415),
        row("W2", "a longer name is another type")
            .publish("/whip/a")
            .with("content-type", "application/sdpx")
            .status(415),
        row("W3", "an empty body").publish("/whip/a").body("").status(400),
        row("W3", "no SDP").publish("/whip/a").body("hello").status(400),
        row("W3", "not UTF-8").publish("/whip/a").body(vec![0xff, 0xfe, 0x00]).status(400),
        row("W3", "1 MiB").publish("/whip/a").body(vec![b'v'; 1 << 20]).status(413),
        row("W23", "what the server cannot do").publish("/whip/unacceptable").status(422),
        row("409", "a room that is taken")
            .publish("/whip/taken")
            .status(409)
            .header("retry-after", "2")
            .body_contains("stop it first"),
        row("W71", "a full server").publish("/whip/full").status(503).header("retry-after", "2"),
        row("W71", "a crashed shard").publish("/whip/crashed").status(503).header("retry-after", "2"),
        row("rooms", "a name with a space").publish("/whip/a%20b").status(400).body_contains("letters"),
        row("rooms", "a name with a slash").publish("/whip/a%2Fb").status(400),
        row("rooms", "a name that is not UTF-8").publish("/whip/%FF").status(400),
        row("rooms", "65 letters")
            .publish("/whip/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
            .status(400),
        row("rooms", "no name").publish("/whip/").status(404),
        row("rooms", "two names").publish("/whip/a/b").status(404),
    ]
}

#[tokio::test]
async fn other_methods_do_what_http_says() {
    check(&Server::open(), methods()).await;
}

pub(crate) fn methods() -> Vec<Row> {
    vec![
        row("W4", "GET of the endpoint has no content").request("GET", "/whip/a").status(204).no_body(),
        row("W4", "HEAD of the endpoint has none either").request("HEAD", "/whip/a").status(204).no_body(),
        row("W4", "GET of a session").given(Given::Publisher).request("GET", "{session}").status(204).no_body(),
        row("W4", "HEAD of a session").given(Given::Publisher).request("HEAD", "{session}").status(204).no_body(),
        row("W5", "PUT is not allowed").request("PUT", "/whip/a").status(405).header_contains("allow", "POST"),
        row("W5", "nor on a session")
            .given(Given::Publisher)
            .request("PUT", "{session}")
            .status(405)
            .header_contains("allow", "PATCH"),
        row("W7", "DELETE of the endpoint").request("DELETE", "/whip/a").status(405).header_contains("allow", "POST"),
        row("W32", "POST to a session")
            .given(Given::Publisher)
            .publish("{session}")
            .status(405)
            .header_contains("allow", "DELETE"),
        row("W8", "OPTIONS says what is accepted")
            .request("OPTIONS", "/whip/a")
            .status(200)
            .header("accept-post", "application/sdp")
            .header_contains("allow", "POST"),
        row("W8", "OPTIONS of a session")
            .given(Given::Publisher)
            .request("OPTIONS", "{session}")
            .status(200)
            .header("accept-patch", "application/trickle-ice-sdpfrag")
            .header_contains("allow", "PATCH"),
        row("W72", "OPTIONS names ICE servers, for clients that look there")
            .request("OPTIONS", "/whip/a")
            .status(200)
            .header_line("link", "<stun:stun.example:3478>; rel=\"ice-server\""),
    ]
}

#[tokio::test]
async fn a_session_ends_by_delete() {
    check(&Server::open(), endings()).await;
}

pub(crate) fn endings() -> Vec<Row> {
    vec![
        row("W6", "DELETE is 200, which is what OBS wants")
            .given(Given::Publisher)
            .request("DELETE", "{session}")
            .status(200),
        row("W6", "If-Match is ignored")
            .given(Given::Publisher)
            .request("DELETE", "{session}")
            .with("if-match", "\"nonsense\"")
            .status(200),
        row("W7", "a second DELETE finds nothing").given(Given::Ended).request("DELETE", "{session}").status(404),
        row("W7", "DELETE of an unknown session").request("DELETE", "{session}").status(404),
        row("W7", "DELETE of what is no session id").request("DELETE", "/sessions/hello").status(404),
        row("W33", "GET of an ended session").given(Given::Ended).request("GET", "{session}").status(404),
        row("W33", "an ended session is still explained")
            .given(Given::Ended)
            .request("GET", "/api/v1{session}")
            .status(200)
            .body_contains("\"ended\":\"deleted\""),
    ]
}

#[tokio::test]
async fn the_location_is_an_absolute_path_that_cannot_be_guessed() {
    let server = Server::with(Settings { sessions: 1000, ..settings() });
    let mut ids = BTreeSet::new();
    for _ in 0..1000 {
        let location = server.session("/whip/a", None).await;
        let id = location.strip_prefix("/sessions/").expect("an absolute path (W14)").to_owned();
        let bits = data_encoding::BASE32_NOPAD.decode(id.to_ascii_uppercase().as_bytes()).expect("base32").len() * 8;
        assert!(bits >= 122, "{id}");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 1000, "W13");
    // Every character but the last (which holds 3 bits) takes all 32 values somewhere in 1000 random ids.
    for position in 0..25 {
        let values: BTreeSet<_> = ids.iter().map(|id| id.as_bytes()[position]).collect();
        assert_eq!(values.len(), 32, "position {position} of the ids has a pattern");
    }
    let full = server.send(publish("/whip/a")).await;
    assert_eq!(full.status, 503, "W71");
    assert!(full.body.contains("limits.sessions"), "{full:?}");
}

#[tokio::test]
async fn a_session_the_shard_ended_is_gone_and_makes_room() {
    let server = Server::with(Settings { sessions: 1, ..settings() });
    let session = server.session("/whip/a", None).await;
    assert_eq!(server.send(publish("/whip/b")).await.status, 503);
    server.happens(&session, EventKind::Ended(EndReason::Timeout)).await;
    while server.send(request(Method::GET, &session, &[], Body::empty())).await.status != 404 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.send(publish("/whip/b")).await.status, 201, "W33");
}

#[tokio::test]
async fn a_refused_offer_takes_no_room() {
    let server = Server::with(Settings { sessions: 1, ..settings() });
    for (path, status) in
        [("/whip/taken", 409), ("/whip/unacceptable", 422), ("/whip/crashed", 503), ("/whep/empty", 409)]
    {
        assert_eq!(server.send(publish(path)).await.status, status, "{path}");
    }
    assert_eq!(server.send(publish("/whip/a")).await.status, 201);
}

#[tokio::test]
async fn a_flooding_address_is_told_to_wait_and_its_neighbours_are_not() {
    let server = Server::with(Settings { rates: Rates { per_second: 0.001, burst: 3.0 }, ..settings() });
    let from = async |caller| server.send_from(caller, publish("/whip/a")).await;
    for _ in 0..3 {
        assert_eq!(from("192.0.2.1").await.status, 201);
    }
    let refused = from("192.0.2.1").await;
    assert_eq!(refused.status, 429, "W13");
    let wait: u64 = refused.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((900..=1000).contains(&wait), "{wait}");
    let read = server.send_from("192.0.2.1", request(Method::GET, "/whip/a", &[], Body::empty())).await;
    assert_eq!(read.status, 204, "what costs nothing is free");
    let look = async |path| server.send_from("192.0.2.1", request(Method::GET, path, &[], Body::empty())).await.status;
    for (path, status) in [("/metrics", 200), ("/readyz", 200), ("/api/v1/hello", 200), ("/api/v1/rooms", 429)] {
        assert_eq!(look(path).await, status, "{path}: shards are asked, which counts apart");
    }
    assert_eq!(look("/healthz").await, 200);
    assert_eq!(from("198.51.100.7").await.status, 201, "another address");
    for _ in 0..9 {
        assert_eq!(from("127.0.0.1").await.status, 201, "loopback is exempt");
    }
}

#[tokio::test]
async fn a_stopping_server_takes_no_offers_but_lets_go() {
    let server = Server::open();
    let session = server.session("/whip/a", None).await;
    server.control.stop();
    let refused = server.send(publish("/whip/b")).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("2")));
    assert_eq!(server.send(request(Method::DELETE, &session, &[], Body::empty())).await.status, 200);
}

#[tokio::test]
async fn a_body_of_unannounced_length_is_bounded_all_the_same() {
    let chunk = vec![b'v'; OFFER_BYTES / 2];
    let endless = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    let headers = [("content-type", "application/sdp")];
    let response = Server::open().send(request(Method::POST, "/whip/a", &headers, Body::from_stream(endless))).await;
    assert_eq!(response.status, 413, "W3");
}

fn publish(path: &str) -> axum::http::Request<Body> {
    request(Method::POST, path, &[("content-type", "application/sdp")], offers::publish())
}
