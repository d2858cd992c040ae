//! Keys (RFC 9725 section 4.5, RFC 6750): who may do what, and to whose sessions.

use axum::body::Body;
use axum::http::Method;
use crosspoint::control::{AuthMode, Key, Settings};

use crate::offers;
use crate::server::{
    ADMIN_KEY, KEYED_ROOM, OTHER_PUBLISH_KEY, PLAY_KEY, PUBLISH_KEY, Response, Server, Target as _, request, settings,
};

#[tokio::test]
async fn a_key_opens_what_it_is_for() {
    let server = Server::with_keys();
    let bearer = |key: &str| Some(format!("Bearer {key}"));
    let rows: [(&str, &str, Option<String>, u16); 17] = [
        ("W60 no key", "/whip/studio-1", None, 401),
        ("W60 an unknown key", "/whip/studio-1", bearer("wrong"), 401),
        ("W60 no token", "/whip/studio-1", Some("Bearer".into()), 401),
        ("W60 another scheme", "/whip/studio-1", Some("Basic dXNlcjpwYXNz".into()), 401),
        ("W60 part of a key", "/whip/studio-1", bearer(&PUBLISH_KEY[..20]), 401),
        ("W60 a key", "/whip/studio-1", bearer(PUBLISH_KEY), 201),
        ("W60 the scheme in any case", "/whip/studio-2", Some(format!("bearer {PUBLISH_KEY}")), 201),
        ("W60 the bare key, as Eyevinn's player sends it", "/whip/studio-3", Some(PUBLISH_KEY.into()), 201),
        ("W61 the key in the URL", "/whip/studio-4?token=publish-key-0123456789", None, 201),
        ("W61 a wrong key in the URL", "/whip/studio-4?token=wrong", None, 401),
        ("W60 a room it is not for", "/whip/theatre", bearer(PUBLISH_KEY), 403),
        ("W60 an action it is not for", "/whep/studio-1", bearer(PUBLISH_KEY), 403),
        ("W60 publishing with a key for viewers", "/whip/studio-1", bearer(PLAY_KEY), 403),
        ("W60 playing", "/whep/studio-1", bearer(PLAY_KEY), 201),
        ("W60 playing one participant", "/whep/studio-1/camera", bearer(PLAY_KEY), 201),
        ("W60 playing without a key", "/whep/studio-1", None, 401),
        ("an operator may do everything", "/whip/theatre", bearer(ADMIN_KEY), 201),
    ];
    for (name, path, authorization, status) in rows {
        let mut headers = vec![("content-type", "application/sdp")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        let response = server.send(request(Method::POST, path, &headers, offers::publish())).await;
        assert_eq!(response.status, status, "{name}: {response:?}");
        if status == 401 {
            let challenge = response.header("www-authenticate").expect("RFC 9110 section 15.5.2");
            assert!(challenge.starts_with("Bearer realm="), "{name}: {challenge}");
        }
    }
}

#[tokio::test]
async fn a_session_is_touched_only_with_the_key_it_was_made_with_or_an_operators() {
    let server = Server::with_keys();
    let send = async |method: Method, path: &str, key: Option<&str>| -> Response {
        let authorization = key.map(|key| format!("Bearer {key}"));
        let mut headers = vec![("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "*")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        server.send(request(method, path, &headers, "a=end-of-candidates\r\n")).await
    };
    let session = server.session(&format!("/whip/{KEYED_ROOM}"), Some(PUBLISH_KEY)).await;
    let unknown = "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa";
    let rows = [
        ("W52 no key", Method::PATCH, session.as_str(), None, 401),
        ("W62 another's key", Method::PATCH, &session, Some(OTHER_PUBLISH_KEY), 403),
        ("W62 another's key", Method::DELETE, &session, Some(PLAY_KEY), 403),
        ("W60 no key", Method::DELETE, &session, None, 401),
        ("W52 no key, no session: 401 comes first", Method::PATCH, unknown, None, 401),
        ("W52 a key, no session", Method::PATCH, unknown, Some(PUBLISH_KEY), 404),
        ("W62 its own key", Method::PATCH, &session, Some(PUBLISH_KEY), 204),
        ("W4 GET says nothing and needs nothing", Method::GET, &session, None, 204),
        ("an operator", Method::DELETE, &session, Some(ADMIN_KEY), 200),
    ];
    for (name, method, path, key, status) in rows {
        let response = send(method, path, key).await;
        assert_eq!(response.status, status, "{name}: {response:?}");
    }
}

#[tokio::test]
async fn a_key_from_the_url_is_carried_on_in_the_urls_given_out() {
    let server = Server::with_keys();
    let headers = [("content-type", "application/sdp")];
    let path = format!("/whep/{KEYED_ROOM}?x=1&token={PLAY_KEY}");
    let response = server.send(request(Method::POST, &path, &headers, offers::play())).await;
    let location = response.header("location").expect("a session").to_owned();
    assert!(location.ends_with(&format!("?token={PLAY_KEY}")), "{location}");
    let layer = response.headers("link").into_iter().find(|line| line.contains("core:layer")).expect("a link");
    let layer = layer.trim_start_matches('<').split('>').next().expect("a URL");
    assert_eq!(server.send(request(Method::POST, layer, &[], "{}")).await.status, 200, "{layer}");
    assert_eq!(server.send(request(Method::DELETE, &location, &[], Body::empty())).await.status, 200, "{location}");
}

#[tokio::test]
async fn lists_are_for_operators_and_turn_credentials_for_holders_of_a_key() {
    let server = Server::with_keys();
    let session = server.session(&format!("/whip/{KEYED_ROOM}"), Some(PUBLISH_KEY)).await;
    let get = async |method: Method, path: &str, key: Option<&str>| -> Response {
        let authorization = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<_> = authorization.as_deref().map(|value| ("authorization", value)).into_iter().collect();
        server.send(request(method, path, &headers, Body::empty())).await
    };
    let rooms = "/api/v1/rooms";
    for (key, status) in [(None, 401), (Some(PUBLISH_KEY), 403), (Some(ADMIN_KEY), 200)] {
        assert_eq!(get(Method::GET, rooms, key).await.status, status, "{key:?}");
    }
    assert_eq!(get(Method::GET, rooms, Some(ADMIN_KEY)).await.json()[0]["sessions"][0]["identity"], "camera");
    let report = format!("/api/v1{session}");
    assert_eq!(get(Method::GET, &report, None).await.status, 200, "the id is the capability");
    for (key, status) in [(None, 401), (Some(PUBLISH_KEY), 403), (Some(ADMIN_KEY), 200), (Some(ADMIN_KEY), 404)] {
        assert_eq!(get(Method::DELETE, &report, key).await.status, status, "kicking with {key:?}");
    }
    for (key, servers) in [(None, 0), (Some("wrong"), 0), (Some(PLAY_KEY), 2)] {
        let hello = get(Method::GET, "/api/v1/hello", key).await.json();
        assert_eq!(hello["auth_required"], true);
        assert_eq!(hello["ice_servers"].as_array().map(Vec::len), Some(servers), "{key:?}");
        let options = get(Method::OPTIONS, "/whep/a", key).await;
        assert_eq!((options.status.as_u16(), options.headers("link").len()), (200, servers), "{key:?}");
    }
}

#[tokio::test]
async fn without_keys_lists_are_for_callers_on_this_machine() {
    type Headers = [(&'static str, &'static str)];
    let server = Server::open();
    let rows: [(&str, &Headers, u16); 11] = [
        ("127.0.0.1", &[], 200),
        ("::1", &[], 200),
        ("::ffff:127.0.0.1", &[], 200),
        ("192.0.2.1", &[], 403),
        // A proxy on this machine speaks for others, whether the configuration names it or not.
        ("127.0.0.1", &[("x-forwarded-for", "192.0.2.1")], 403),
        ("127.0.0.1", &[("x-real-ip", "192.0.2.1")], 403),
        ("127.0.0.1", &[("forwarded", "for=192.0.2.1")], 403),
        ("127.0.0.1", &[("via", "1.1 cache")], 403),
        // So does the operator's own browser, in which other sites' pages run.
        ("127.0.0.1", &[("origin", "https://other.example"), ("host", "127.0.0.1:8080")], 403),
        ("127.0.0.1", &[("origin", "null"), ("host", "127.0.0.1:8080")], 403),
        ("127.0.0.1", &[("origin", "http://127.0.0.1:8080"), ("host", "127.0.0.1:8080")], 200),
    ];
    for (caller, headers, expected) in rows {
        let answer = server.send_from(caller, request(Method::GET, "/api/v1/rooms", headers, "")).await;
        assert_eq!(answer.status, expected, "{caller} {headers:?}");
        assert_eq!(expected == 403, answer.body.contains("call from the server's machine"), "{}", answer.body);
    }
}

#[tokio::test]
async fn an_operators_key_is_good_for_its_rooms_only() {
    let key = |key: &str, rooms: &str| Key {
        key: key.into(),
        identity: None,
        publish: true,
        play: true,
        admin: true,
        rooms: vec![rooms.into()],
    };
    let auth = AuthMode::Keys(vec![key(ADMIN_KEY, "*"), key(PLAY_KEY, "north-*")]);
    let server = Server::with(Settings { auth, ..settings() });
    let send = async |method: Method, path: &str| -> Response {
        let authorization = format!("Bearer {PLAY_KEY}");
        server.send(request(method, path, &[("authorization", &authorization)], "{}")).await
    };
    let (ours, theirs) = (
        server.session("/whip/north-1", Some(ADMIN_KEY)).await,
        server.session("/whip/south-1", Some(ADMIN_KEY)).await,
    );
    let rooms = send(Method::GET, "/api/v1/rooms").await.json();
    assert_eq!(rooms.as_array().map(Vec::len), Some(1), "{rooms}");
    let rows = [
        (Method::PATCH, "/api/v1/rooms/south-1".to_owned(), 403),
        (Method::PATCH, "/api/v1/rooms/north-1".to_owned(), 204),
        (Method::DELETE, format!("/api/v1{theirs}"), 403),
        (Method::DELETE, theirs, 403),
        (Method::DELETE, format!("/api/v1{ours}"), 200),
    ];
    for (method, path, status) in rows {
        let response = send(method, &path).await;
        assert_eq!(response.status, status, "{path}: {response:?}");
    }
}
