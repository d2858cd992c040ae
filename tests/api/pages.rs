//! The embedded pages: where they are, what they are guarded with, that browsers do not fetch them twice.

use axum::body::Body;
use axum::http::Method;

use crate::row::{Row, check, row};
use crate::server::{Response, Server, Target as _, request};

#[tokio::test]
async fn pages_are_served_with_their_type_and_guards() {
    check(&Server::open(), pages()).await;
}

pub(crate) fn pages() -> Vec<Row> {
    let page = |says, path| -> Row {
        row("pages", says)
            .request("GET", path)
            .status(200)
            .header_contains("content-type", "text/html")
            .header("cache-control", "no-cache")
            .header("x-content-type-options", "nosniff")
            .header("referrer-policy", "no-referrer")
            .header_contains("content-security-policy", "default-src 'self'")
            .header_contains("permissions-policy", "camera=(self)")
    };
    let asset = |says, path, kind| {
        row("pages", says)
            .request("GET", path)
            .status(200)
            .header_contains("content-type", kind)
            .header("x-content-type-options", "nosniff")
    };
    vec![
        page("home", "/").header_contains("content-security-policy", "frame-ancestors 'self'"),
        page("check", "/check").header_contains("content-security-policy", "frame-ancestors 'self'"),
        page("publish", "/publish/studio?autostart=1")
            .header_contains("content-security-policy", "frame-ancestors 'self'"),
        page("watch may be embedded", "/watch/studio?muted=1")
            .header_contains("content-security-policy", "frame-ancestors *"),
        page("a room of any script", "/watch/%D1%81"),
        asset("a script", "/assets/whip.js", "javascript"),
        asset("a style sheet", "/assets/style.css", "text/css"),
        asset("the icon", "/favicon.ico", "image/svg+xml"),
        row("pages", "a bad room name").request("GET", "/publish/a%20b").status(400),
        row("pages", "no such file").request("GET", "/assets/none.js").status(404),
        row("pages", "nothing outside").request("GET", "/assets/../Cargo.toml").status(404),
        row("pages", "nothing outside").request("GET", "/assets/%2e%2e%2fCargo.toml").status(404),
        row("pages", "POST").request("POST", "/").status(405).header_contains("allow", "GET"),
    ]
}

#[tokio::test]
async fn a_page_the_browser_has_is_not_sent_again() {
    let server = Server::open();
    let get = async |known: Option<&str>| -> Response {
        let headers: Vec<_> = known.map(|tag| ("if-none-match", tag)).into_iter().collect();
        server.send(request(Method::GET, "/assets/style.css", &headers, Body::empty())).await
    };
    let first = get(None).await;
    let tag = first.header("etag").expect("an entity tag");
    assert!(tag.starts_with('"') && tag.ends_with('"'));
    let again = get(Some(&format!("\"other\", {tag}"))).await;
    assert_eq!((again.status.as_u16(), again.body.len(), again.header("etag")), (304, 0, Some(tag)));
    assert_eq!(get(Some("\"other\"")).await.status, 200);
}

#[tokio::test]
async fn people_who_went_astray_are_shown_a_page_and_programs_the_problem() {
    let server = Server::open();
    for (path, status) in [("/nothing/here", 404), ("/room/a%20b", 400), ("/watch/a%20b", 400)] {
        for (accept, kind) in [("text/html,*/*;q=0.8", "text/html"), ("*/*", "application/problem+json")] {
            let response = server.send(request(Method::GET, path, &[("accept", accept)], Body::empty())).await;
            assert_eq!((response.status.as_u16(), response.header("content-type")), (status, Some(kind)), "{path}");
        }
    }
}

#[tokio::test]
async fn everything_a_page_refers_to_exists() {
    let server = Server::open();
    for page in ["/", "/publish/a", "/watch/a", "/room/a", "/check", "/nothing"] {
        let html = server.send(request(Method::GET, page, &[("accept", "text/html")], Body::empty())).await.body;
        let assets: Vec<_> = html.split(['"', '\'']).filter(|part| part.starts_with("/assets/")).collect();
        assert!(!assets.is_empty(), "{page}");
        for asset in assets {
            let path = asset.split('#').next().unwrap_or(asset);
            let response = server.send(request(Method::GET, path, &[], Body::empty())).await;
            assert_eq!(response.status, 200, "{page} -> {asset}");
        }
    }
}
