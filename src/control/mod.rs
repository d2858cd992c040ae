//! The control plane: HTTP for people, programs and operators (level 3, on tokio).
//!
//! [`Control`] is the shared state, [`router`] the HTTP surface over it, [`Listener`] the sockets under it. A request
//! becomes a [`Command`] for the shard its room or session lives on; the reply becomes the response. No SDP is read or
//! written here (`sfu::negotiate` does that, behind the mailbox), and no media passes.

mod api;
mod auth;
mod cors;
mod endpoint;
mod events;
mod forwarded;
mod headers;
mod ice_servers;
mod layer;
mod links;
mod listen;
mod metrics;
mod pages;
mod path;
mod placement;
mod problem;
mod rates;
mod room_settings;
mod rooms;
mod session;
mod sessions;
mod tokens;

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::middleware;
use rand::TryRng as _;
use rand::rngs::{SysError, SysRng};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::{AuthMode, Key};
pub use cors::Origins;
pub use forwarded::{ForwardedField, Forwarders};
pub use ice_servers::OwnIceServers;
pub use listen::{ListenError, Listener, tls_from_der, tls_from_pem};
pub use rates::Rates;

use crate::sfu::ShardIndex;
use crate::sfu::command::{Command, Event, EventKind, Reply, SessionId};
use crate::shard::{Proxies, ShardHandle};
use auth::Auth;
use links::{Links, Writer};
use metrics::Metrics;
use problem::Problem;
use rates::RateLimiter;
use sessions::{Session, Sessions};

/// How long a shard may take to answer. Larger: callers of a stuck shard wait for nothing; smaller: a busy one is given
/// up too early. OBS itself gives up after 8 s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How often sessions are compared with the shards' own lists, in case the event that ended one was lost. Larger: such
/// a session holds its room's place longer; smaller: shards spend more time listing.
const RECONCILE_INTERVAL: Duration = Duration::from_secs(60);

/// What the control plane needs to know from the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may do what.
    pub auth: AuthMode,
    /// Web origins whose pages may call this server.
    pub allowed_origins: Origins,
    /// STUN and TURN servers clients are told to use.
    pub ice_servers: Vec<IceServer>,
    /// The one inside.
    pub own_ice_servers: OwnIceServers,
    /// Longest offer, answer or fragment in bytes.
    pub offer_bytes: usize,
    /// Living sessions this node holds at most.
    pub sessions: usize,
    /// Slots for pictures and for voices that members are told to offer.
    pub slots: (u32, u32),
    /// Reverse proxies that say who called.
    pub forwarders: Forwarders,
    /// Proxies that say it in front of a connection; their errors are counted.
    pub proxies: Proxies,
    /// Sessions of one room on one shard before further ones are placed on others.
    pub spill_after: usize,
    /// Requests per caller address.
    pub rates: Rates,
}

/// A STUN or TURN server for clients (RFC 9725 section 4.6).
#[derive(Debug, Clone, Default, serde::Serialize, utoipa::ToSchema)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, ...
    pub urls: Vec<String>,
    /// TURN user name. No comma or semicolon: OBS splits the header there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password. No comma or semicolon either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// Only for connections with other clients, not for those with this server.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub peers_only: bool,
}

/// Why the control plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Session ids and key fingerprints could be guessed.
    #[error("the system has no randomness: {0}")]
    NoRandomness(#[from] SysError),
    /// A metric's name or label is none Prometheus allows.
    #[error("a metric cannot be made: {0}")]
    Metric(#[from] prometheus::Error),
}

/// The state all requests share. Clones are cheap.
#[derive(Debug, Clone)]
pub struct Control(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    auth: Auth,
    shards: Vec<ShardHandle>,
    sessions: Sessions,
    links: Links,
    rates: RateLimiter,
    read_rates: RateLimiter,
    metrics: Metrics,
    stopping: CancellationToken,
}

impl Control {
    /// Starts the bookkeeping on the current tokio runtime; it ends with the last clone of this state.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn new(
        settings: Settings,
        shards: Vec<ShardHandle>,
        events: mpsc::Receiver<Event>,
    ) -> Result<Self, StartError> {
        let mut secret = [0; 32];
        SysRng.try_fill_bytes(&mut secret)?;
        let control = Self(Arc::new(Inner {
            auth: Auth::new(settings.auth.clone(), secret),
            sessions: Sessions::new(shards.len(), settings.sessions, settings.spill_after),
            links: Links::default(),
            rates: RateLimiter::new(settings.rates),
            read_rates: RateLimiter::new(settings.rates),
            metrics: Metrics::new()?,
            stopping: CancellationToken::new(),
            shards,
            settings,
        }));
        tokio::spawn(keep_books(Arc::downgrade(&control.0), events));
        tokio::spawn(reconcile(Arc::downgrade(&control.0)));
        Ok(control)
    }

    /// Refuses new sessions from now on (503), says so on `/readyz`, and ends event streams, which would otherwise hold
    /// their connections open.
    pub fn stop(&self) {
        self.0.stopping.cancel();
    }

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn auth(&self) -> &Auth {
        &self.0.auth
    }

    fn sessions(&self) -> &Sessions {
        &self.0.sessions
    }

    fn links(&self) -> &Links {
        &self.0.links
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// Sends a command to a shard and waits a bounded time for its reply. A refusal becomes the error.
    async fn ask(&self, shard: usize, command: Command) -> Result<Reply, Problem> {
        in_time(self.ask_patiently(shard, command)).await
    }

    /// The same for as long as it takes, for those who must know how it ended.
    async fn ask_patiently(&self, shard: usize, command: Command) -> Result<Reply, Problem> {
        let Some(handle) = self.0.shards.get(shard) else {
            return Err(Problem::unavailable("the server has no shard running; see its log"));
        };
        match handle.ask(command).await? {
            Reply::Failed(error) => Err(error.into()),
            reply => Ok(reply),
        }
    }

    /// Has the home of a room tell the shard of a new session what it needs to know. An answer says that it has: what
    /// that shard is asked next finds it there.
    async fn prepare(&self, session: &Session) -> Result<ShardIndex, Problem> {
        let home = shard_index(session.home);
        if session.shard != session.home {
            let (room, to) = (Arc::clone(&session.room), shard_index(session.shard));
            self.ask_patiently(session.home, Command::Spill { room, to }).await?;
        }
        Ok(home)
    }

    /// Sends the same command to every shard. Fails when one of them does.
    async fn ask_all(&self, command: impl Fn() -> Command) -> Result<Vec<Reply>, Problem> {
        let asked = (0..self.0.shards.len()).map(|shard| self.ask(shard, command()));
        futures_util::future::try_join_all(asked).await
    }
}

/// The HTTP surface.
pub fn router(control: Control) -> axum::Router {
    let (documented, openapi) = OpenApiRouter::with_openapi(api::Documentation::openapi())
        .routes(routes!(endpoint::publish, endpoint::whip_exists, endpoint::whip_options))
        .routes(routes!(endpoint::play_room, endpoint::whep_exists, endpoint::whep_head, endpoint::whep_options))
        .routes(routes!(
            endpoint::play_participant,
            endpoint::participant_exists,
            endpoint::participant_head,
            endpoint::participant_options
        ))
        .routes(routes!(session::exists, session::end, session::patch, session::options))
        .routes(routes!(events::subscribe, events::watch_all))
        .routes(routes!(events::watch, events::unsubscribe))
        .routes(routes!(layer::select, layer::unselect))
        .routes(routes!(rooms::connect))
        .routes(routes!(api::hello))
        .routes(routes!(api::rooms))
        .routes(routes!(room_settings::change))
        .routes(routes!(tokens::make))
        .routes(routes!(api::session, api::kick))
        .routes(routes!(metrics::scrape))
        .routes(routes!(api::healthy))
        .routes(routes!(api::ready))
        .split_for_parts();
    documented
        .merge(pages::router())
        .route("/api/v1/openapi.json", axum::routing::get(move || api::openapi(openapi.clone())))
        .fallback(api::not_found)
        .method_not_allowed_fallback(api::method_not_allowed)
        .layer(middleware::from_fn_with_state(control.clone(), rates::limit))
        .layer(middleware::from_fn_with_state(control.clone(), cors::share))
        .layer(middleware::from_fn_with_state(control.clone(), metrics::count))
        .with_state(control)
}

/// There are as many shards as their indices can tell apart, at most.
fn shard_index(index: usize) -> ShardIndex {
    ShardIndex(u16::try_from(index).unwrap_or(u16::MAX))
}

/// Waits a bounded time for a shard's reply.
async fn in_time<T>(reply: impl Future<Output = Result<T, Problem>>) -> Result<T, Problem> {
    let timed_out = |_| Problem::unavailable("the server did not answer in time; try again");
    tokio::time::timeout(ANSWER_TIMEOUT, reply).await.map_err(timed_out)?
}

/// Takes note of the shards' events. Holds the state weakly, so that it does not keep alive what it serves.
async fn keep_books(control: Weak<Inner>, mut events: mpsc::Receiver<Event>) {
    let mut writer = Writer::default();
    while let Some(event) = events.recv().await {
        let Some(control) = control.upgrade() else { return };
        match event.kind {
            EventKind::Message { to, message } => {
                let text = writer.write(&message);
                to.into_iter().for_each(|(_, link)| control.links.deliver(link, text.clone()));
            }
            _ => control.sessions.note(event),
        }
    }
}

async fn reconcile(control: Weak<Inner>) {
    let mut interval = tokio::time::interval(RECONCILE_INTERVAL);
    loop {
        interval.tick().await;
        let Some(control) = control.upgrade().map(Control) else { return };
        for shard in 0..control.0.shards.len() {
            let Ok(Reply::Rooms(rooms)) = control.ask(shard, Command::Rooms).await else { continue };
            let sessions = rooms.iter().flat_map(|room| &room.sessions);
            let listed: HashSet<SessionId> = sessions.filter_map(|session| session.id.parse().ok()).collect();
            control.sessions().reconcile(shard, &listed, Instant::now());
        }
    }
}

/// Where a request came from, when it came over a socket.
#[derive(Debug, Clone, Copy)]
struct Caller(Option<IpAddr>);

impl FromRequestParts<Control> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, control: &Control) -> Result<Self, Self::Rejection> {
        let forwarders = &control.settings().forwarders;
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(peer.map(|ConnectInfo(address)| forwarders.caller(address.ip(), &parts.headers))))
    }
}

/// 128 random bits from the system: a session's id, or the secret of an event stream.
fn mint() -> Result<SessionId, Problem> {
    let mut bytes = [0; 16];
    match SysRng.try_fill_bytes(&mut bytes) {
        Ok(()) => Ok(SessionId(bytes)),
        Err(error) => Err(Problem::unavailable(format!("the system has no randomness: {error}"))),
    }
}
