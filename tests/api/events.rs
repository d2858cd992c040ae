//! The events extension (P7a): asking for a stream, what it carries, how it ends.

use axum::body::{Body, BodyDataStream};
use axum::http::{Method, StatusCode};
use crosspoint::sfu::command::{EndReason, EventKind, LayerReport, MediaLayers};
use futures_util::StreamExt as _;
use tower::ServiceExt as _;

use crate::row::{Given, Row, check, row};
use crate::server::{PLAY_KEY, Server, Target as _, request};

#[tokio::test]
async fn a_stream_is_asked_for_by_a_list_of_events() {
    check(&Server::open(), subscriptions()).await;
}

pub(crate) fn subscriptions() -> Vec<Row> {
    let ask = |says, body| {
        row("P7a", says)
            .given(Given::Viewer)
            .request("POST", "{session}/events")
            .with("content-type", "application/json")
            .body(body)
    };
    vec![
        ask("some events", r#"["active","layers"]"#).status(201).header_contains("location", "/events/"),
        ask("no body is all events", "").status(201),
        ask("an event the server does not have", r#"["active","scte35"]"#).status(400).body_contains("viewercount"),
        ask("no list", r#"{"a":1}"#).status(400),
        ask("too long a list", "x").body(vec![b' '; 10_000]).status(413),
        row("P7a", "publishers may ask too").given(Given::Publisher).request("POST", "{session}/events").status(201),
        row("P7a", "an unknown session").request("POST", "{session}/events").status(404),
        row("P7a", "an ended session").given(Given::Ended).request("POST", "{session}/events").status(404),
        row("P7a", "an unknown stream")
            .given(Given::Viewer)
            .request("GET", "{session}/events/aaaaaaaaaaaaaaaaaaaaaaaaaa")
            .status(404),
        row("P7a", "what is no stream's name").given(Given::Viewer).request("GET", "{session}/events/x").status(404),
        row("P7a", "ending an unknown stream").given(Given::Viewer).request("DELETE", "{session}/events/x").status(404),
    ]
}

#[tokio::test]
async fn a_stream_carries_the_state_then_the_changes_and_ends_with_the_session() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    server.happens(&session, EventKind::Active).await;
    let mut reader =
        Reader::open(&server, &subscribe(&server, &session, r#"["active","inactive","viewercount"]"#).await).await;
    assert_eq!(reader.next().await.as_deref(), Some("event: active\ndata: {}"));
    server.happens(&session, EventKind::Layers(layers())).await;
    server.happens(&session, EventKind::ViewerCount(3)).await;
    assert_eq!(
        reader.next().await.as_deref(),
        Some("event: viewercount\ndata: {\"viewercount\":3}"),
        "no layers were asked for"
    );
    server.happens(&session, EventKind::Inactive).await;
    assert_eq!(reader.next().await.as_deref(), Some("event: inactive\ndata: {}"));
    server.happens(&session, EventKind::Ended(EndReason::Timeout)).await;
    assert_eq!(reader.next().await, None, "all streams die with the session");
}

#[tokio::test]
async fn layers_come_in_the_dialect_of_the_url() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    server.happens(&session, EventKind::Layers(layers())).await;
    let mut present = Reader::open(&server, &subscribe(&server, &session, r#"["layers"]"#).await).await;
    let mut first_drafts = Reader::open(&server, &format!("{session}/events")).await;
    let layer = r#"{"bitrate":9,"encodingId":"h","live":true,"rid":"h"}"#;
    assert_eq!(present.next().await, Some(format!("event: layers\ndata: {{\"1\":[{layer}]}}")));
    assert_eq!(first_drafts.next().await, Some(format!("event: layers\ndata: {{\"1\":{{\"layers\":[{layer}]}}}}")));
}

#[tokio::test]
async fn a_deleted_stream_ends_and_is_not_found_again() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    let stream = subscribe(&server, &session, "").await;
    let mut reader = Reader::open(&server, &stream).await;
    let delete = || server.send(request(Method::DELETE, &stream, &[], Body::empty()));
    assert_eq!(delete().await.status, 200);
    assert_eq!(reader.next().await, None);
    assert_eq!(delete().await.status, 404);
    assert_eq!(server.send(request(Method::GET, &stream, &[], Body::empty())).await.status, 404);
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    let mut reader = Reader::open(&server, &format!("{session}/events")).await;
    server.control.stop();
    assert_eq!(reader.next().await, None);
}

#[tokio::test]
async fn a_session_has_a_bounded_number_of_streams() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    let path = format!("{session}/events");
    let mut readers = Vec::new();
    for _ in 0..8 {
        let stream = subscribe(&server, &session, "").await;
        readers.push(Reader::open(&server, &stream).await);
    }
    let refused = server.send(request(Method::POST, &path, &[], Body::empty())).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    readers.clear();
    for _ in 0..8 {
        readers.push(Reader::open(&server, &path).await);
    }
    let refused = server.send(request(Method::GET, &path, &[], Body::empty())).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    readers.pop();
    Reader::open(&server, &path).await;
}

#[tokio::test]
async fn of_streams_that_nobody_reads_the_oldest_gives_way() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    let first = subscribe(&server, &session, "").await;
    let reader = Reader::open(&server, &first).await;
    let unread = subscribe(&server, &session, "").await;
    for _ in 0..7 {
        subscribe(&server, &session, "").await;
    }
    let status = async |path: &str| server.send(request(Method::DELETE, path, &[], Body::empty())).await.status;
    assert_eq!(status(&unread).await, StatusCode::NOT_FOUND);
    assert_eq!(status(&first).await, StatusCode::OK);
    drop(reader);
}

#[tokio::test]
async fn a_stream_needs_no_key_but_asking_for_one_does() {
    let server = Server::with_keys();
    let session = server.session("/whep/a", Some(PLAY_KEY)).await;
    let path = format!("{session}/events");
    assert_eq!(server.send(request(Method::POST, &path, &[], Body::empty())).await.status, 401);
    let key = format!("Bearer {PLAY_KEY}");
    let asked = server.send(request(Method::POST, &path, &[("authorization", &key)], Body::empty())).await;
    assert_eq!(asked.status, 201);
    // EventSource sends no Authorization: the secret in the URL stands for it.
    Reader::open(&server, asked.header("location").expect("a stream")).await;
}

fn layers() -> Vec<MediaLayers> {
    let rid = Some("h".into());
    let layer = LayerReport { rid, spatial: None, bitrate: 9, width: None, height: None, live: true, wanted: None };
    vec![MediaLayers { media: 1, layers: vec![layer] }]
}

async fn subscribe(server: &Server, session: &str, events: &'static str) -> String {
    let response = server.send(request(Method::POST, &format!("{session}/events"), &[], events)).await;
    assert_eq!(response.status, 201, "{response:?}");
    response.header("location").expect("a stream").to_owned()
}

/// Reads an event stream one event at a time.
struct Reader {
    body: BodyDataStream,
    read: String,
}

impl Reader {
    async fn open(server: &Server, path: &str) -> Self {
        let response =
            server.app.clone().oneshot(request(Method::GET, path, &[], Body::empty())).await.expect("a response");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no", "nginx would hold events back");
        Self { body: response.into_body().into_data_stream(), read: String::new() }
    }

    /// The lines of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.read.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.read = rest;
                return Some(event);
            }
            let chunk = self.body.next().await?.expect("a chunk");
            self.read.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        }
    }
}
