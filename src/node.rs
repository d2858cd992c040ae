//! One process: shards, control plane, orderly start and stop.

mod turn;

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use rand::TryRng as _;
use rand::rngs::SysRng;
use str0m::config::DtlsCert;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use self::turn::TurnPlan;
use crate::banner::Banner;
use crate::check::{self, Finding, Subject};
use crate::config::{self, Config};
use crate::control::{self, Control, ListenError, Listener};
use crate::lan::Lan;
use crate::sfu::command::{Command, Event};
use crate::sfu::signal::RoomMode;
use crate::sfu::{self, ShardIndex};
use crate::shard::addresses::{self, AddressSettings, Advertised};
use crate::shard::{
    BindError, MediaListener, Proxies, ShardHandle, SocketOptions, StreamLimits, Streams, UdpSocket, Worker, mailbox,
};

/// Events of all shards waiting for the control plane. Larger: a slow control plane loses fewer; smaller: less memory.
const EVENTS: usize = 65_536;

/// Runs a node until it is told to stop (SIGTERM, SIGINT).
///
/// # Errors
/// It could not be started; the text says what to change.
pub fn run(config: &Config, lan: Option<&Lan>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stopped = stop_signal()?;
        let node = Node::start(config, lan).await?;
        node.announce(config, lan);
        tokio::spawn(report(node.subject.clone()));
        stopped.await;
        node.stop().await;
        Ok(())
    })
}

/// Asks whether the server can be reached: one that runs already, or one started for the purpose.
///
/// # Errors
/// It could not be started; the text says what to change.
pub fn check(config: &Config) -> anyhow::Result<Vec<Finding>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match Node::start(config, None).await {
            Ok(node) => {
                let findings = check::examine(&node.subject).await;
                node.stop().await;
                Ok(findings)
            }
            Err(error) if is_taken(&error) => {
                let media = SocketAddr::new(config.media.bind, config.media.port);
                if !check::is_served(media).await {
                    return Err(error);
                }
                let plan = TurnPlan::new(config, config.media.tcp == config::Switch::On)?;
                let subject = plan.subject(config, &advertise(config, media).await?, config.http.listen);
                let ours = !config.turn.secret.is_empty();
                info!(
                    "a server runs here already: it is the one examined{}",
                    if ours { "" } else { ", but its relay" }
                );
                Ok(check::examine(&Subject { credential: subject.credential.filter(|_| ours), ..subject }).await)
            }
            Err(error) => Err(error),
        }
    })
}

/// A port is taken, perhaps by a server like this.
fn is_taken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ListenError::InUse(_)))
        || matches!(error.downcast_ref(), Some(BindError::InUse { .. }))
}

/// One line in the log for each path, and one for each thing to do.
async fn report(subject: Subject) {
    let findings = check::examine(&subject).await;
    for Finding { path, result } in &findings {
        match result {
            Ok(found) => info!("{path}: {found}"),
            Err(problem) => warn!("{path}: {}", problem.symptom),
        }
    }
    check::remedies(&findings).iter().for_each(|remedy| warn!("{remedy}"));
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    control: Control,
    shards: Vec<ShardHandle>,
    threads: Vec<JoinHandle<()>>,
    stopping: CancellationToken,
    servers: TaskTracker,
    http: SocketAddr,
    lan: Option<SocketAddr>,
    media: SocketAddr,
    advertised: Advertised,
    subject: Subject,
    shutdown: Duration,
}

impl Node {
    /// Opens the ports and starts everything. Must be called on a tokio runtime.
    ///
    /// # Errors
    /// A port is taken, an address is wrong, a certificate cannot be read: the text says what to change.
    pub async fn start(config: &Config, lan: Option<&Lan>) -> anyhow::Result<Self> {
        let certificate = tls(config)?;
        let listener = Listener::bind(config.http.listen, certificate.clone()).await?;
        let lan_listener = match lan {
            Some(lan) => Some(Listener::bind(lan.listen, Some(lan_tls(lan)?)).await?),
            None => None,
        };
        let sockets = open_sockets(config)?;
        let media = sockets.first().map(UdpSocket::local_addr).context("no shard was configured")?;
        let advertised = advertise(config, media).await?;
        let (events, received) = mpsc::channel(EVENTS);
        let https = certificate.is_some().then(|| listener.address().port());
        let proxies = Proxies::new(config.proxies.tcp.clone());
        let tcp = media_tcp(config, media, certificate).await.map(|tcp| tcp.behind(proxies.clone()));
        let turn = TurnPlan::new(config, tcp.is_some())?;
        let (shards, threads) = start_shards(config, sockets, &advertised, &turn, &events)?;
        let streams = Streams::new(shards.clone(), stream_limits(config));
        let settings = control_settings(config, turn.offered(config, &advertised, https), proxies.clone());
        let control = Control::new(settings, shards.clone(), received)?;
        let (stopping, servers) = (CancellationToken::new(), TaskTracker::new());
        let http = listener.address();
        let lan_address = lan_listener.as_ref().map(Listener::address);
        if let Some(tcp) = tcp {
            servers.spawn(tcp.serve(streams.clone(), stopping.clone()));
        }
        for listener in [Some(listener), lan_listener].into_iter().flatten() {
            let listener = listener.carrying(streams.clone()).behind(proxies.clone());
            let app = control::router(control.clone());
            let connections = config.limits.http_connections as usize;
            servers.spawn(listener.serve(app, connections, stopping.clone(), config.timeouts.shutdown));
        }
        servers.close();
        let subject = turn.subject(config, &advertised, http);
        let shutdown = config.timeouts.shutdown;
        Ok(Self {
            control,
            shards,
            threads,
            stopping,
            servers,
            http,
            lan: lan_address,
            media,
            advertised,
            subject,
            shutdown,
        })
    }

    /// Where HTTP is served.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// What [`check::examine`] is to look at.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Where media arrives.
    pub fn media(&self) -> SocketAddr {
        self.media
    }

    /// Stops: no new sessions, goodbye to every peer, open requests finished; all within the configured time.
    pub async fn stop(self) {
        info!("stopping");
        self.control.stop();
        for shard in &self.shards {
            let stop = async {
                // The members' pages hear of it before they hear the last word.
                let told = shard.ask(Command::Drain { remaining: self.shutdown }).await;
                told.and(shard.ask(Command::Shutdown).await)
            };
            if tokio::time::timeout(self.shutdown, stop).await.is_err() {
                warn!("a shard did not stop in time");
            }
        }
        self.stopping.cancel();
        if tokio::time::timeout(self.shutdown, self.servers.wait()).await.is_err() {
            warn!("open HTTP requests were cut off");
        }
        for thread in self.threads {
            // A thread that has panicked has said so itself.
            let _ = thread.join();
        }
        info!("stopped");
    }

    fn announce(&self, config: &Config, lan: Option<&Lan>) {
        Banner {
            http: self.http,
            tls: config.http.tls_cert.is_some(),
            authentication: config.auth.authentication(),
            media: &self.advertised.to_string(),
            lan: lan.zip(self.lan),
        }
        .announce(config.log.format);
    }
}

fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn open_sockets(config: &Config) -> anyhow::Result<Vec<UdpSocket>> {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let shards = NonZeroUsize::new(config.media.shards.into()).unwrap_or(cores);
    let buffer = config.media.socket_buffer;
    let options = SocketOptions { receive_buffer: buffer, send_buffer: buffer, ..SocketOptions::default() };
    Ok(UdpSocket::bind_all(SocketAddr::new(config.media.bind, config.media.port), shards, &options)?)
}

fn stream_limits(config: &Config) -> StreamLimits {
    StreamLimits {
        all: config.limits.tcp_connections as usize,
        per_source: config.limits.tcp_connections_per_address as usize,
    }
}

/// Opens the TCP port beside the UDP port. Calls go on without: whoever needs it is told which candidates there are.
async fn media_tcp(
    config: &Config,
    media: SocketAddr,
    tls: Option<Arc<rustls::ServerConfig>>,
) -> Option<MediaListener> {
    if config.media.tcp == config::Switch::Off {
        return None;
    }
    MediaListener::bind(media, tls)
        .await
        .inspect_err(|problem| {
            warn!(
                "TCP port {} cannot be opened ({problem}): clients whose network lets no UDP out will not connect; \
                 stop the program that has it (`ss -tlpn` names it), or say media.tcp = \"off\"",
                media.port()
            );
        })
        .ok()
}

/// Finds the addresses to advertise. May ask a STUN server, so it runs beside the runtime.
async fn advertise(config: &Config, media: SocketAddr) -> anyhow::Result<Advertised> {
    let settings = AddressSettings {
        public_ips: config.media.public_ip.clone(),
        stun_server: config.media.stun_server.clone(),
        interfaces: config.media.interfaces.clone(),
        loopback: config.media.loopback == config::Loopback::Always,
    };
    Ok(tokio::task::spawn_blocking(move || addresses::discover(&settings, media)).await?)
}

fn start_shards(
    config: &Config,
    sockets: Vec<UdpSocket>,
    advertised: &Advertised,
    turn: &TurnPlan,
    events: &mpsc::Sender<Event>,
) -> anyhow::Result<(Vec<ShardHandle>, Vec<JoinHandle<()>>)> {
    let certificate = certificate()?;
    let count = u16::try_from(sockets.len()).context("too many shards")?;
    let (handles, mailboxes): (Vec<_>, Vec<_>) =
        sockets.iter().map(|_| mailbox()).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let mut threads = Vec::with_capacity(sockets.len());
    for (index, (socket, mailbox)) in (0..count).zip(sockets.into_iter().zip(mailboxes)) {
        let settings = shard_settings(config, ShardIndex(index), count, advertised, &certificate, turn);
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed)?;
        let (shards, events) = (handles.clone(), events.clone());
        let worker = Worker { settings, seed, socket, relay_bind: config.media.bind, mailbox, shards, events };
        threads.push(worker.spawn()?);
    }
    Ok((handles, threads))
}

fn shard_settings(
    config: &Config,
    shard: ShardIndex,
    shards: u16,
    advertised: &Advertised,
    certificate: &DtlsCert,
    turn: &TurnPlan,
) -> sfu::Settings {
    sfu::Settings {
        shard,
        shards,
        candidates: advertised.addresses.clone(),
        loopback_candidates: match config.media.loopback {
            config::Loopback::Never => Vec::new(),
            config::Loopback::Auto | config::Loopback::Always => advertised.loopback.clone(),
        },
        certificate: certificate.clone(),
        early_viewers: match config.rooms.early_viewers {
            config::EarlyViewers::Accept => sfu::EarlyViewers::Accept,
            config::EarlyViewers::Refuse => sfu::EarlyViewers::Refuse,
        },
        resume_window: config.rooms.resume_window,
        takeover_after: config.rooms.takeover_after,
        connect_timeout: config.timeouts.connect,
        consent_timeout: config.timeouts.consent,
        keyframe_share: f64::from(config.media.keyframe_percent) / 100.0,
        playout_delays: config.rooms.playout_delays.clone(),
        max_sessions: config.limits.sessions as usize,
        max_viewers: config.rooms.max_viewers as usize,
        tcp: turn.tcp,
        turn: turn.settings(config, shard.0, shards, advertised),
        room_mode: match config.rooms.mode {
            config::RoomMode::Auto => RoomMode::Auto,
            config::RoomMode::Sfu => RoomMode::Sfu,
            config::RoomMode::P2p => RoomMode::P2p,
        },
        max_members: config.rooms.max_members as usize,
        video_slots: config.rooms.video_slots,
        audio_slots: config.rooms.audio_slots,
        member_resume_window: config.rooms.member_resume_window,
        clock: (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()),
    }
}

/// One DTLS certificate for the node: making one per session would cost a key pair each.
fn certificate() -> anyhow::Result<DtlsCert> {
    let provider = str0m::crypto::from_feature_flags();
    let certificate = provider.dtls_provider.generate_certificate();
    provider.install_process_default();
    certificate.context("no DTLS certificate could be made")
}

fn control_settings(config: &Config, own_ice_servers: control::OwnIceServers, proxies: Proxies) -> control::Settings {
    let keys = config.auth.keys.iter().map(|key| control::Key {
        key: key.key.expose().to_owned(),
        identity: key.identity.clone(),
        publish: key.publish,
        play: key.play,
        admin: key.admin,
        rooms: key.rooms.clone(),
    });
    let servers = config.ice.servers.iter().map(|server| control::IceServer {
        urls: server.urls.clone(),
        username: server.username.clone(),
        credential: (!server.credential.is_empty()).then(|| server.credential.expose().to_owned()),
        peers_only: false,
    });
    control::Settings {
        auth: match config.auth.authentication() {
            config::Authentication::Open => control::AuthMode::Open,
            config::Authentication::Keys => control::AuthMode::Keys(keys.collect()),
        },
        allowed_origins: control::Origins::of(&config.http.allowed_origins),
        ice_servers: servers.collect(),
        own_ice_servers,
        offer_bytes: config.limits.offer_size,
        slots: (config.rooms.video_slots, config.rooms.audio_slots),
        sessions: config.limits.sessions as usize,
        forwarders: control::Forwarders {
            networks: config.proxies.http.clone(),
            field: match config.proxies.http_field {
                config::ForwardedField::XForwardedFor => control::ForwardedField::XForwardedFor,
                config::ForwardedField::Forwarded => control::ForwardedField::Forwarded,
            },
        },
        proxies,
        spill_after: config.rooms.spill_after as usize,
        rates: control::Rates::per_minute(config.limits.requests_per_minute),
    }
}

fn tls(config: &Config) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    let (Some(certificate), Some(key)) = (&config.http.tls_cert, &config.http.tls_key) else { return Ok(None) };
    let tls = control::tls_from_pem(&read(certificate, "http.tls_cert")?, &read(key, "http.tls_key")?);
    Ok(Some(tls?))
}

fn lan_tls(lan: &Lan) -> Result<Arc<rustls::ServerConfig>, ListenError> {
    control::tls_from_der(vec![lan.certificate.clone()], lan.private_key.clone_key())
}

fn read(path: &Path, key: &str) -> anyhow::Result<Vec<u8>> {
    fs::read(path).map_err(|error| anyhow!("{key}: cannot read {}: {error}", path.display()))
}
