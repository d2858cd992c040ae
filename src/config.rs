//! Configuration: what can be set, its defaults, and where the values come from.
//!
//! The sections here are plain values. [`Config::load`] fills them: defaults, then the file, then the environment, then
//! the flags, each overriding the one before. `config/crosspoint.toml` is the manual: every key, its default, and why
//! one would change it. Nothing here opens a socket or reads a certificate; that is done where the value is used.

mod check;
mod flags;
mod load;
mod problem;
mod proxies;
mod schema;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod turn;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::sfu::RoomDelay;

pub use flags::{Flags, LAN_PORT, Task};
pub use problem::{LoadError, Place, Problem};
pub use proxies::{ForwardedField, Proxies};
pub use secret::Secret;
pub use turn::{Switch, Turn};

/// The annotated configuration file: every key with its default.
pub const MANUAL: &str = include_str!("../config/crosspoint.toml");

/// Everything that can be configured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Pages, WHIP, WHEP and the API.
    pub http: Http,
    /// The UDP port and the addresses clients are told.
    pub media: Media,
    /// What happens around a stream that starts, stops and comes back.
    pub rooms: Rooms,
    /// Bounds of this node.
    pub limits: Limits,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Who may publish and play.
    pub auth: Auth,
    /// STUN and TURN servers named to clients.
    pub ice: Ice,
    /// The STUN and TURN server inside.
    pub turn: Turn,
    /// Programs in front of this server.
    pub proxies: Proxies,
    /// What is written to standard error, and how.
    pub log: Log,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Address and port; port 0 takes any free one.
    #[serde(deserialize_with = "text::listen_address")]
    pub listen: SocketAddr,
    /// PEM file with the certificate chain; with it, `listen` speaks HTTPS.
    #[serde(with = "text::optional")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    #[serde(with = "text::optional")]
    pub tls_key: Option<PathBuf>,
    /// Origins whose scripts may read responses (CORS); `*` is any.
    pub allowed_origins: Vec<String>,
}

/// `[media]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// UDP port of media and STUN; 0 takes any free one.
    #[serde(deserialize_with = "text::whole::<_, _, 0, 65535>")]
    pub port: u16,
    /// Whether TCP is accepted at the same port number.
    pub tcp: Switch,
    /// Address the UDP port is opened on; `::` is every IPv6 and IPv4 address.
    #[serde(deserialize_with = "text::ip_address")]
    pub bind: IpAddr,
    /// Addresses clients are told instead of the interfaces' own (1:1 NAT, containers).
    #[serde(deserialize_with = "text::ip_addresses")]
    pub public_ip: Vec<IpAddr>,
    /// `host:port` of a STUN server asked at start for the public address.
    #[serde(with = "text::optional")]
    pub stun_server: Option<String>,
    /// Names of the interfaces whose addresses are told; empty: all.
    pub interfaces: Vec<String>,
    /// When a client is told a loopback address.
    pub loopback: Loopback,
    /// Threads that forward media; 0: one per core.
    #[serde(deserialize_with = "text::whole::<_, _, 0, 256>")]
    pub shards: u16,
    /// Percent of a layer's bytes that key frames made on request may take.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 100>")]
    pub keyframe_percent: u8,
    /// Bytes asked of the kernel for the receive and for the send buffer of each shard's socket.
    #[serde(with = "text::bytes")]
    pub socket_buffer: usize,
}

/// When a client is told a loopback address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loopback {
    /// To callers from loopback, and to everybody when there is no other address.
    Auto,
    /// To everybody.
    Always,
    /// To nobody.
    Never,
}

/// `[rooms]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// What a viewer gets who comes before the publisher.
    pub early_viewers: EarlyViewers,
    /// How long viewers wait for a publisher that went away.
    #[serde(with = "text::duration")]
    pub resume_window: Duration,
    /// Silence after which the same credential may take over from a publisher.
    #[serde(with = "text::duration")]
    pub takeover_after: Duration,
    /// How long receivers hold pictures back, by room.
    #[serde(with = "text::parsed")]
    pub playout_delays: Vec<RoomDelay>,
    /// Viewers of one room.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub max_viewers: u32,
    /// How the media of conferences is to travel until somebody changes it.
    pub mode: RoomMode,
    /// Members of one room.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 10_000>")]
    pub max_members: u32,
    /// Pictures that a member is to receive at once. At their most, these and the voices leave five of the 32 m-lines
    /// of an offer: for data, microphone, camera, screen and its sound.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 22>")]
    pub video_slots: u32,
    /// Voices that a member is to hear at once.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 5>")]
    pub audio_slots: u32,
    /// Sessions of one room on one shard before further ones are placed on others.
    #[serde(deserialize_with = "text::whole::<_, _, 2, 1_000_000>")]
    pub spill_after: u32,
    /// How long the place of a member is kept whose connection was lost.
    #[serde(with = "text::duration")]
    pub member_resume_window: Duration,
}

/// How the media of conferences travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomMode {
    /// Directly between two who are alone, else over the server.
    Auto,
    /// Over the server.
    Sfu,
    /// As `Auto`, and nobody else may come to the two.
    P2p,
}

/// What a viewer gets who comes before the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EarlyViewers {
    /// 201: media starts when the publisher arrives.
    Accept,
    /// 409 with `Retry-After` (draft-ietf-wish-whep).
    Refuse,
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Publishers and viewers of this node.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub sessions: u32,
    /// HTTP connections open at once.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub http_connections: u32,
    /// TCP connections of media open at once: ICE and TURN.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub tcp_connections: u32,
    /// Those of one address.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub tcp_connections_per_address: u32,
    /// Requests of one address in a minute that change something, and as many that read, in the long run; loopback is
    /// exempt.
    #[serde(deserialize_with = "text::whole::<_, _, 1, 1_000_000>")]
    pub requests_per_minute: u32,
    /// Bytes of a request body: an SDP offer, or a fragment of one.
    #[serde(with = "text::bytes")]
    pub offer_size: usize,
}

/// `[timeouts]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timeouts {
    /// From the answer to a working connection.
    #[serde(with = "text::duration")]
    pub connect: Duration,
    /// Without anything authenticated from the peer (RFC 7675).
    #[serde(with = "text::duration")]
    pub consent: Duration,
    /// From SIGTERM to the end of the process.
    #[serde(with = "text::duration")]
    pub shutdown: Duration,
}

/// `[auth]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether a key is needed.
    pub mode: AuthMode,
    /// The keys.
    #[serde(deserialize_with = "text::short_or_full")]
    pub keys: Vec<Key>,
}

/// Whether a key is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// When there are keys; without keys only a loopback `http.listen` is accepted.
    Auto,
    /// Never: whoever reaches the server may publish and play.
    Open,
    /// Always.
    Keys,
}

/// `[[auth.keys]]`: what the bearer of a key may do. A bare string is a key with the defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Key {
    /// The bearer token.
    pub key: Secret,
    /// Name of the bearer in lists and logs; without it each session gets a made-up one.
    #[serde(with = "text::optional")]
    pub identity: Option<String>,
    /// May publish.
    pub publish: bool,
    /// May play.
    pub play: bool,
    /// May list rooms and end the sessions of others.
    pub admin: bool,
    /// Rooms it is good for; `*` stands for any run of characters.
    pub rooms: Vec<String>,
}

/// `[ice]`
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ice {
    /// One `Link` header each (RFC 9725 section 4.6).
    #[serde(deserialize_with = "text::short_or_full")]
    pub servers: Vec<IceServer>,
}

/// `[[ice.servers]]`. A bare string is a server with that URL.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, `turns:host:port`.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(with = "text::optional")]
    pub username: Option<String>,
    /// For TURN.
    pub credential: Secret,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// For people or for programs.
    pub format: LogFormat,
    /// `level`, or `module=level` separated by commas.
    pub filter: String,
}

/// For people or for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line per event.
    Text,
    /// A JSON object per line.
    Json,
}

/// What requests must carry, once `auth.mode = "auto"` is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Nothing.
    Open,
    /// One of `auth.keys`.
    Keys,
}

impl Auth {
    /// Resolves [`AuthMode::Auto`]: keys are needed as soon as there is one.
    pub fn authentication(&self) -> Authentication {
        match self.mode {
            AuthMode::Open => Authentication::Open,
            AuthMode::Keys => Authentication::Keys,
            AuthMode::Auto if self.keys.is_empty() => Authentication::Open,
            AuthMode::Auto => Authentication::Keys,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            tls_cert: None,
            tls_key: None,
            allowed_origins: vec!["*".to_owned()],
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            port: 3478,
            tcp: Switch::On,
            bind: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            public_ip: Vec::new(),
            stun_server: None,
            interfaces: Vec::new(),
            loopback: Loopback::Auto,
            shards: 0,
            keyframe_percent: 15,
            socket_buffer: 4 << 20,
        }
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            early_viewers: EarlyViewers::Accept,
            resume_window: Duration::from_secs(30),
            takeover_after: Duration::from_secs(2),
            playout_delays: Vec::new(),
            max_viewers: 5000,
            mode: RoomMode::Auto,
            max_members: 500,
            video_slots: 9,
            audio_slots: 4,
            spill_after: 50,
            member_resume_window: Duration::from_secs(10),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            http_connections: 4096,
            tcp_connections: 4096,
            tcp_connections_per_address: 128,
            requests_per_minute: 1200,
            offer_size: 64 << 10,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: Duration::from_secs(15), consent: Duration::from_secs(30), shutdown: Duration::from_secs(5) }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self { mode: AuthMode::Auto, keys: Vec::new() }
    }
}

impl Default for Key {
    fn default() -> Self {
        Self {
            key: Secret::default(),
            identity: None,
            publish: true,
            play: true,
            admin: false,
            rooms: vec!["*".to_owned()],
        }
    }
}

impl From<String> for Key {
    fn from(key: String) -> Self {
        Self { key: Secret::from(key), ..Self::default() }
    }
}

impl From<String> for IceServer {
    fn from(url: String) -> Self {
        Self { urls: vec![url], ..Self::default() }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}
