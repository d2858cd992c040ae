//! The server under test: the real router in process over scripted shards, or a whole node over loopback. Requests and
//! responses are plain values, so that the same rows run against both.

use std::net::SocketAddr;
use std::thread;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use crosspoint::control::{
    AuthMode, Control, Forwarders, IceServer, Key, Origins, OwnIceServers, Rates, Settings, router,
};
use crosspoint::sfu::command::{Event, EventKind};
use crosspoint::shard::{Proxies, mailbox};
use tokio::sync::mpsc;
use tower::ServiceExt as _;

use crate::{offers, script};

/// The keys of [`Server::with_keys`].
pub(crate) const PUBLISH_KEY: &str = "publish-key-0123456789";
pub(crate) const OTHER_PUBLISH_KEY: &str = "other-publish-key-0123";
pub(crate) const PLAY_KEY: &str = "play-key-0123456789abc";
pub(crate) const ADMIN_KEY: &str = "admin-key-0123456789ab";
/// Rooms the publish keys are good for start with this.
pub(crate) const KEYED_ROOM: &str = "studio-1";

/// Longest body the servers here take.
pub(crate) const OFFER_BYTES: usize = 64 << 10;

/// The real router, in process, over scripted shards.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) control: Control,
    pub(crate) app: Router,
    events: mpsc::Sender<Event>,
}

/// What answers requests: a [`Server`] in process, or a node over the network.
pub(crate) trait Target {
    /// Sends a request from this machine.
    async fn send(&self, request: Request<Body>) -> Response;

    /// Creates a session at an endpoint and gives its URL.
    async fn session(&self, endpoint: &str, token: Option<&str>) -> String {
        let offer = if endpoint.starts_with("/whip") { offers::publish() } else { offers::play() };
        let mut request = Request::post(endpoint).header("content-type", "application/sdp");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self.send(request.body(offer.into()).expect("a request")).await;
        response.header("location").unwrap_or_else(|| panic!("no session at {endpoint}: {response:?}")).to_owned()
    }
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Server {
    /// Open to everybody.
    pub(crate) fn open() -> Self {
        Self::with(settings())
    }

    /// Only for holders of the keys above.
    pub(crate) fn with_keys() -> Self {
        let key = |key: &str, identity: Option<&str>, publish, play, admin, rooms: &str| Key {
            key: key.into(),
            identity: identity.map(Into::into),
            publish,
            play,
            admin,
            rooms: vec![rooms.into()],
        };
        let keys = vec![
            key(PUBLISH_KEY, Some("camera"), true, false, false, "studio-*"),
            key(OTHER_PUBLISH_KEY, None, true, false, false, "studio-*"),
            key(PLAY_KEY, None, false, true, false, "*"),
            key(ADMIN_KEY, None, true, true, true, "*"),
        ];
        Self::with(Settings { auth: AuthMode::Keys(keys), ..settings() })
    }

    /// With these settings and two scripted shards.
    pub(crate) fn with(settings: Settings) -> Self {
        let (events, received) = mpsc::channel(64);
        let shards = [(); 2].map(|()| {
            let (handle, mailbox) = mailbox().expect("a pipe");
            let events = events.clone();
            thread::spawn(move || script::run(mailbox, &events));
            handle
        });
        let control = Control::new(settings, shards.into(), received).expect("randomness");
        Self { app: router(control.clone()), control, events }
    }

    /// Sends a request that came from `caller`.
    pub(crate) async fn send_from(&self, caller: &str, mut request: Request<Body>) -> Response {
        let caller = SocketAddr::new(caller.parse().expect("an address"), 40_000);
        request.extensions_mut().insert(ConnectInfo(caller));
        let response = self.app.clone().oneshot(request).await.expect("the router does not fail");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        let body = String::from_utf8_lossy(&body).into_owned();
        Response { status: parts.status, headers: parts.headers, body }
    }

    /// Lets something happen to a session, as its shard would report it.
    pub(crate) async fn happens(&self, session_url: &str, kind: EventKind) {
        let id = session_url.trim_start_matches("/sessions/");
        let session = id.split('?').next().and_then(|id| id.parse().ok()).expect("a session URL");
        self.events.send(Event { session, kind }).await.expect("control listens");
    }
}

impl Target for Server {
    async fn send(&self, request: Request<Body>) -> Response {
        self.send_from("127.0.0.1", request).await
    }
}

/// A node over HTTP.
pub(crate) struct Remote {
    agent: ureq::Agent,
    authority: String,
}

impl Remote {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .allow_non_standard_methods(true)
            .build();
        Self { agent: config.into(), authority: address.to_string() }
    }
}

impl Target for Remote {
    async fn send(&self, request: Request<Body>) -> Response {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("http://{}{path}", self.authority).parse().expect("a URL");
        let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body").to_vec();
        let agent = self.agent.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let response = agent.run(Request::from_parts(parts, body))?;
            let (parts, mut body) = response.into_parts();
            let body = body.read_to_vec()?;
            Ok::<_, ureq::Error>(Response {
                status: parts.status,
                headers: parts.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        });
        asked.await.expect("no panic").expect("a response")
    }
}

impl Response {
    /// The value of a header that occurs at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter().map(|value| value.to_str().expect("text"));
        let first = values.next();
        assert!(values.next().is_none(), "{name} occurs more than once");
        first
    }

    /// Every line of a header.
    pub(crate) fn headers(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Settings that get in no test's way.
pub(crate) fn settings() -> Settings {
    let server = |url: &str, username: Option<&str>| IceServer {
        urls: vec![url.into()],
        username: username.map(Into::into),
        credential: username.map(|_| "secret".into()),
        peers_only: false,
    };
    Settings {
        auth: AuthMode::Open,
        allowed_origins: Origins::Any,
        own_ice_servers: OwnIceServers::default(),
        ice_servers: vec![server("stun:stun.example:3478", None), server("turn:turn.example:3478", Some("user"))],
        offer_bytes: OFFER_BYTES,
        slots: (9, 4),
        sessions: 100,
        forwarders: Forwarders::default(),
        proxies: Proxies::default(),
        spill_after: 50,
        rates: Rates::per_minute(60_000),
    }
}

/// A request with this method, path, headers and body.
pub(crate) fn request(method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body.into()).expect("a request")
}
