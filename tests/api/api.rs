//! The REST API, health, metrics, the OpenAPI description.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;

use crate::row::{Given, Row, check, row};
use crate::server::{Response, Server, Target as _, request};

#[tokio::test]
async fn the_api_answers() {
    check(&Server::open(), answers()).await;
}

pub(crate) fn answers() -> Vec<Row> {
    vec![
        row("hello", "what pages need to know")
            .request("GET", "/api/v1/hello")
            .status(200)
            .header("content-type", "application/json")
            .header("cache-control", "no-store")
            .body_contains("\"auth_required\":false")
            .body_contains("\"urls\":[\"stun:stun.example:3478\"]")
            .body_contains("\"offer_bytes\":65536"),
        row("report", "a session")
            .given(Given::Publisher)
            .request("GET", "/api/v1{session}")
            .status(200)
            .body_contains("\"state\":\"connecting\"")
            .body_contains("\"identity\":\"publisher\""),
        row("report", "a viewer's name is its own")
            .given(Given::Viewer)
            .request("GET", "/api/v1{session}")
            .status(200)
            .body_contains("\"identity\":\"viewer-"),
        row("report", "an unknown session").request("GET", "/api/v1{session}").status(404),
        row("kick", "an operator ends a session")
            .given(Given::Viewer)
            .request("DELETE", "/api/v1{session}")
            .status(200),
        row("health", "alive").request("GET", "/healthz").status(200).body_contains("ok"),
        row("health", "ready").request("GET", "/readyz").status(200).body_contains("ready"),
        row("fallback", "nothing there").request("GET", "/nothing").status(404).body_contains("/whip/{room}"),
        row("names", "in no UTF-8")
            .request("GET", "/sessions/%ff")
            .status(400)
            .header("content-type", "application/problem+json"),
        row("405", "posting to a list").request("POST", "/api/v1/rooms").status(405).header_contains("allow", "GET"),
    ]
}

#[tokio::test]
async fn a_stopping_server_is_alive_but_not_ready() {
    let server = Server::open();
    server.control.stop();
    assert_eq!(get(&server, "/healthz").await.status, 200);
    assert_eq!(get(&server, "/readyz").await.status, 503);
}

#[tokio::test]
async fn rooms_of_all_shards_are_listed_by_name() {
    let server = Server::open();
    for room in ["c", "a", "b"] {
        server.session(&format!("/whip/{room}"), None).await;
    }
    server.session("/whep/a", None).await;
    let rooms = get(&server, "/api/v1/rooms").await.json();
    let names: Vec<_> = rooms.as_array().expect("a list").iter().map(|room| room["name"].clone()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!((&rooms[0]["publishers"], &rooms[0]["viewers"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn metrics_are_summed_over_shards_and_named_for_prometheus() {
    let server = Server::open();
    for room in ["a", "b", "c"] {
        server.session(&format!("/whip/{room}"), None).await;
    }
    let response = get(&server, "/metrics").await;
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4"));
    for line in [
        "crosspoint_rooms 3",
        "crosspoint_sessions 3",
        "crosspoint_shards 2",
        "crosspoint_http_requests_total{route=\"/whip/{room}\",status=\"201\"} 3",
        "crosspoint_packets_dropped_total{reason=\"too_old\"} 0",
        "crosspoint_shard_busy_seconds_total{shard=\"1\"} 0",
    ] {
        assert!(response.body.lines().any(|have| have == line), "{line} is not in\n{}", response.body);
    }
    let names = response.body.lines().filter(|line| !line.starts_with('#'));
    let names: BTreeSet<_> = names.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let known = |name: &str| name.starts_with("crosspoint_") || name.starts_with("process_");
    assert!(names.iter().all(|name| known(name)), "{names:?}");
    assert!(names.contains("process_resident_memory_bytes") || cfg!(not(target_os = "linux")));
}

#[tokio::test]
async fn every_route_is_in_the_openapi_description() {
    let description = get(&Server::open(), "/api/v1/openapi.json").await.json();
    let paths = description["paths"].as_object().expect("paths");
    let expected = [
        ("/whip/{room}", &["get", "post", "options"][..]),
        ("/whep/{room}", &["get", "head", "post", "options"]),
        ("/whep/{room}/{participant}", &["get", "head", "post", "options"]),
        ("/sessions/{session}", &["get", "patch", "delete", "options"]),
        ("/sessions/{session}/events", &["get", "post"]),
        ("/sessions/{session}/events/{stream}", &["get", "delete"]),
        ("/sessions/{session}/layer", &["post", "delete"]),
        ("/rooms/{room}/ws", &["get"]),
        ("/api/v1/hello", &["get"]),
        ("/api/v1/rooms", &["get"]),
        ("/api/v1/rooms/{room}", &["patch"]),
        ("/api/v1/sessions/{session}", &["get", "delete"]),
        ("/api/v1/tokens", &["post"]),
        ("/metrics", &["get"]),
        ("/healthz", &["get"]),
        ("/readyz", &["get"]),
    ];
    assert_eq!(paths.len(), expected.len(), "{:?}", paths.keys());
    for (path, methods) in expected {
        let operations = paths[path].as_object().expect(path);
        let found: BTreeSet<_> = operations.keys().map(String::as_str).collect();
        assert_eq!(found, methods.iter().copied().collect(), "{path}");
        assert!(operations.values().all(|operation| operation["summary"].is_string()), "{path}");
        for operation in operations.values() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let declared = parameters.filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(declared, path.matches('{').count(), "parameters of {path}: {operation}");
        }
    }
    assert!(description["components"]["schemas"]["SessionReport"].is_object());
    assert_eq!(description["components"]["securitySchemes"]["key"]["scheme"], "bearer");
}

async fn get(server: &Server, path: &str) -> Response {
    server.send(request(Method::GET, path, &[], Body::empty())).await
}
