//! Sockets for the router: accepts connections, wraps them in TLS where asked to, serves HTTP/1.1 and HTTP/2, stops in
//! order. Knows nothing of what is served.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::shard::{Carrier, Ends, Proxies, Streams};

/// How long the first byte of a connection may take. Larger: connections stay that say nothing; smaller: slow clients
/// are given up.
const FIRST_BYTE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the head of a request may take, idle time between two requests included. Longer than the 60 s for which
/// nginx and load balancers keep an idle connection: who closes first must be the one that sends, or its next request
/// meets the end of the connection, and callers see a 502. Larger: idle connections stay.
const HEADER_TIMEOUT: Duration = Duration::from_secs(75);

/// How often an HTTP/2 client is asked whether it is still there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests one HTTP/2 connection may have open. Larger: one connection can keep the server busier; smaller: a proxy
/// that shares a connection among viewers runs out (event streams stay open).
const STREAMS: u32 = 1024;

/// Pause after `accept` failed (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bytes of a TLS connection read ahead to tell HTTP from media. Larger: more memory per connection; smaller: more
/// calls.
const TLS_BUFFER: usize = 4096;

/// A bound HTTP or HTTPS socket.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    streams: Option<Streams>,
    proxies: Proxies,
    address: SocketAddr,
}

/// Why HTTP cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another program has the port.
    #[error(
        "HTTP cannot listen on {0}: another program uses the port (`ss -tlpn` names it); stop it, or choose \
         another with `http.listen`"
    )]
    InUse(SocketAddr),
    /// The system does not allow the port.
    #[error(
        "HTTP cannot listen on {0}: the system does not allow it; ports below 1024 need root or CAP_NET_BIND_SERVICE, \
         so choose a higher one with `http.listen`"
    )]
    Denied(SocketAddr),
    /// The address is not of this machine.
    #[error("HTTP cannot listen on {0}: this machine has no such address; see `ip address`, and set `http.listen`")]
    NoSuchAddress(SocketAddr),
    /// Anything else.
    #[error("HTTP cannot listen on {address}: {source}")]
    Other {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl Listener {
    /// Binds the socket, for HTTPS when `tls` is given.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self, ListenError> {
        let explain = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(address),
            io::ErrorKind::PermissionDenied => ListenError::Denied(address),
            io::ErrorKind::AddrNotAvailable => ListenError::NoSuchAddress(address),
            _ => ListenError::Other { address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(explain)?;
        let address = socket.local_addr().map_err(explain)?;
        Ok(Self { socket, tls: tls.map(TlsAcceptor::from), streams: None, proxies: Proxies::default(), address })
    }

    /// Carries TURN and ICE on the same port: the first bytes tell them from HTTP.
    #[must_use]
    pub fn carrying(self, streams: Streams) -> Self {
        Self { streams: Some(streams), ..self }
    }

    /// Takes the callers' addresses from these proxies.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Where it listens: the port the system chose when it was asked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves at most `connections` at a time (more wait in the kernel's queue) until `stop` is cancelled, then lets
    /// open requests finish for at most `grace`.
    pub async fn serve(self, app: Router, connections: usize, stop: CancellationToken, grace: Duration) {
        let free = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        let open = GracefulShutdown::new();
        // Cancelled when the grace is over: drops what is still open.
        let abort = CancellationToken::new();
        loop {
            let (stream, peer, permit) = tokio::select! {
                accepted = self.accept(&free) => accepted,
                () = stop.cancelled() => break,
            };
            let (app, streams) = (app.clone(), self.streams.clone());
            let (watcher, tls, abort, proxies, stop) =
                (open.watcher(), self.tls.clone(), abort.clone(), self.proxies.clone(), stop.clone());
            let handled = async move {
                let mut stream = stream;
                // Browsers open connections that they may never use: those are not waited for.
                let ends = stop.run_until_cancelled(proxies.ends(&mut stream, peer)).await.flatten();
                let Some(Ends { remote, local }) = ends else { return };
                let begun = stop.run_until_cancelled(begin(stream, tls, streams.is_some(), remote)).await.flatten();
                let place = permit.map(Place::from);
                let connection = Connection { app, streams, peer: remote, local, watcher, place, stop };
                match begun {
                    Some((first, Begun::Plain(stream))) => connection.tell_apart(first, stream, Carrier::Tcp).await,
                    Some((first, Begun::Tls(stream))) => connection.tell_apart(first, stream, Carrier::Tls).await,
                    None => {}
                }
            };
            tokio::spawn(async move { abort.run_until_cancelled(handled).await });
        }
        drop(self.socket);
        if timeout(grace, open.shutdown()).await.is_err() {
            tracing::warn!("HTTP connections were still open after {grace:?} and are cut");
        }
        abort.cancel();
    }

    async fn accept(&self, free: &Arc<Semaphore>) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed; if it were, connections would go uncounted rather than unserved.
        let permit = Arc::clone(free).acquire_owned().await.ok();
        loop {
            match self.socket.accept().await {
                Ok((stream, peer)) => return (stream, peer, permit),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("address", &self.address).field("tls", &self.tls.is_some()).finish()
    }
}

/// TLS with this certificate chain and key, for HTTP/2 and HTTP/1.1.
///
/// # Errors
/// The texts are not PEM, hold no certificate or key, or the two do not belong together.
pub fn tls_from_pem(certificates: &[u8], key: &[u8]) -> Result<Arc<ServerConfig>, ListenError> {
    let chain = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| ListenError::Tls(format!("the certificate is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(ListenError::Tls("the certificate file holds no certificate (BEGIN CERTIFICATE)".into()));
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|error| ListenError::Tls(format!("the key file holds no private key in PEM: {error}")))?;
    tls_from_der(chain, key)
}

/// The same from values in memory.
///
/// # Errors
/// Certificate and key do not belong together.
pub fn tls_from_der(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, ListenError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ListenError::Tls(error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| ListenError::Tls(format!("the certificate and the key do not go together: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), b"stun.turn".to_vec()];
    Ok(Arc::new(config))
}

/// A STUN message starts like this, and so does the length in front of one; TLS and HTTP do not.
fn is_stun(first: u8) -> bool {
    first <= 3
}

/// A place among the connections. Kept by whoever goes on with a connection that is no longer HTTP's.
#[derive(Debug, Clone)]
pub(super) struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl From<OwnedSemaphorePermit> for Place {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        Self { _permit: Arc::new(permit) }
    }
}

/// A connection on which something was said.
enum Begun {
    Plain(TcpStream),
    Tls(Box<BufReader<TlsStream<TcpStream>>>),
}

/// Waits for the first byte, inside TLS where that is spoken. Where nothing but HTTP is expected (`mixed` is false), it
/// is not looked at.
async fn begin(stream: TcpStream, tls: Option<TlsAcceptor>, mixed: bool, peer: SocketAddr) -> Option<(u8, Begun)> {
    // Events and answers are small and wanted at once.
    let _ = stream.set_nodelay(true);
    let mut first = [0xff];
    if mixed && !matches!(timeout(FIRST_BYTE_TIMEOUT, stream.peek(&mut first)).await, Ok(Ok(1))) {
        return None;
    }
    let Some(tls) = tls.filter(|_| !is_stun(first[0])) else { return Some((first[0], Begun::Plain(stream))) };
    let accepted = match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(accepted) => accepted.inspect_err(|error| tracing::debug!(%peer, %error, "TLS handshake failed")).ok()?,
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake took too long");
            return None;
        }
    };
    let mut stream = BufReader::with_capacity(TLS_BUFFER, accepted);
    if mixed {
        let heard = timeout(FIRST_BYTE_TIMEOUT, stream.fill_buf()).await.ok()?.ok()?;
        first = [*heard.first()?];
    }
    Some((first[0], Begun::Tls(Box::new(stream))))
}

/// One accepted connection.
struct Connection {
    app: Router,
    streams: Option<Streams>,
    peer: SocketAddr,
    local: SocketAddr,
    watcher: hyper_util::server::graceful::Watcher,
    place: Option<Place>,
    stop: CancellationToken,
}

impl Connection {
    /// HTTP, or media: no request starts with the bytes STUN does.
    async fn tell_apart(
        self,
        first: u8,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        carrier: Carrier,
    ) {
        match &self.streams {
            Some(streams) if is_stun(first) => {
                let (streams, peer, local) = (streams.clone(), self.peer, self.local);
                // Media has a limit of its own, and its shard says goodbye to it.
                drop(self);
                streams.serve(stream, carrier, peer, local).await;
            }
            _ => self.serve(stream).await,
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        let peer = self.peer;
        let place = self.place;
        let has_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&has_asked);
        let service = self.app.map_request(move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(peer));
            place.clone().and_then(|place| request.extensions_mut().insert(place));
            request
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL);
        let connection = builder
            .serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service))
            .into_owned();
        // Hyper closes what is idle, and waits for half of a first request as for a whole one.
        let not_yet_asked = async {
            self.stop.cancelled().await;
            if has_asked.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            ended = self.watcher.watch(connection) => if let Err(error) = ended {
                tracing::debug!(%peer, error, "HTTP connection ended");
            },
            () = not_yet_asked => {}
        }
    }
}
