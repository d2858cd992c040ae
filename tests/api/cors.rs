//! CORS: pages of other sites use WHIP and WHEP from scripts (Fetch standard; RFC 9725 section 4.5.1).

use axum::body::Body;
use axum::http::Method;
use crosspoint::control::{Origins, Settings};

use crate::row::{Given, Row, check, row};
use crate::server::{Server, Target as _, request, settings};

fn preflight(says: &'static str, path: &'static str, method: &'static str) -> Row {
    row("W9", says)
        .request("OPTIONS", path)
        .with("origin", "https://example.org")
        .with("access-control-request-method", method)
        .with("access-control-request-headers", "authorization,content-type,if-match")
        .status(200)
        .header("access-control-allow-origin", "*")
        .header_contains("access-control-allow-methods", method)
        .header("access-control-allow-headers", "Authorization, Content-Type, If-Match")
        .header("access-control-max-age", "7200")
        .no_header("link")
}

#[tokio::test]
async fn a_preflight_succeeds_everywhere_and_without_a_key() {
    check(&Server::open(), preflights()).await;
    check(&Server::with_keys(), preflights()).await;
}

pub(crate) fn preflights() -> Vec<Row> {
    vec![
        preflight("WHIP", "/whip/studio-1", "POST").header("accept-post", "application/sdp"),
        preflight("WHEP", "/whep/a", "POST"),
        preflight("WHEP of a participant", "/whep/a/b", "POST"),
        preflight("a session", "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa", "PATCH"),
        preflight("a session", "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa", "DELETE"),
        preflight("events", "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa/events", "POST"),
        preflight("layer", "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa/layer", "DELETE"),
        preflight("the API", "/api/v1/rooms", "GET").header_contains("allow", "GET"),
    ]
}

#[tokio::test]
async fn every_response_lets_scripts_read_it() {
    let exposed = "Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate";
    let cross = |row: Row| {
        row.with("origin", "https://example.org")
            .header("access-control-allow-origin", "*")
            .header("access-control-expose-headers", exposed)
    };
    let rows = vec![
        cross(row("W10", "201").publish("/whip/a").status(201)),
        cross(row("W10", "204").request("GET", "/whip/a").status(204)),
        cross(row("W10", "400").publish("/whip/a").body("x").status(400)),
        cross(row("W10", "404").request("DELETE", "/sessions/x").status(404)),
        cross(row("W10", "404 of no route").request("GET", "/nothing").status(404)),
        cross(row("W10", "405").request("PUT", "/whip/a").status(405)),
        cross(row("W10", "415").publish("/whip/a").without("content-type").status(415)),
        cross(row("W10", "200").given(Given::Publisher).request("DELETE", "{session}").status(200)),
        cross(row("W10", "OPTIONS that is no preflight").request("OPTIONS", "/whip/a").status(200)),
    ];
    check(&Server::open(), rows).await;
    let headers = [("origin", "https://example.org"), ("content-type", "application/sdp")];
    let refused = Server::with_keys().send(request(Method::POST, "/whip/a", &headers, "v=0")).await;
    assert_eq!((refused.status.as_u16(), refused.header("access-control-allow-origin")), (401, Some("*")), "W10");
}

#[tokio::test]
async fn only_listed_origins_may_read_where_there_is_a_list() {
    let listed = ["https://a.example".to_owned(), "https://b.example:8443".to_owned()];
    let server = Server::with(Settings { allowed_origins: Origins::of(&listed), ..settings() });
    for (origin, allowed) in [
        (Some("https://a.example"), Some("https://a.example")),
        (Some("https://b.example:8443"), Some("https://b.example:8443")),
        (Some("https://evil.example"), None),
        (Some("http://a.example"), None),
        (Some("null"), None),
        (None, None),
    ] {
        let headers: Vec<_> = origin.map(|origin| ("origin", origin)).into_iter().collect();
        let response = server.send(request(Method::GET, "/whip/a", &headers, Body::empty())).await;
        assert_eq!(response.status, 204, "{origin:?}");
        assert_eq!(response.header("access-control-allow-origin"), allowed, "{origin:?}");
        assert_eq!(response.header("vary"), Some("Origin"), "{origin:?}");
    }
}
