//! The TCP port beside the UDP port of media.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::proxied::{Ends, Proxies};
use super::{Carrier, Streams};

/// How long a connection may take to say its first byte, and to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Connections that have not yet shown what they are; more wait in the kernel's queue. Larger: strangers can hold more
/// file descriptors for [`HANDSHAKE`]; smaller: they can keep others waiting with fewer.
const HALF_OPEN: usize = 1024;

/// Pause after `accept` failed (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// First byte of a TLS connection: a handshake record (RFC 8446 section 5.1).
pub const TLS_HANDSHAKE: u8 = 22;

/// A bound TCP socket for media, with TLS where there is a certificate.
pub struct MediaListener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    proxies: Proxies,
    address: SocketAddr,
}

impl std::fmt::Debug for MediaListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MediaListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl MediaListener {
    /// Opens it.
    ///
    /// # Errors
    /// In the system's words.
    pub async fn bind(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> io::Result<Self> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        Ok(Self { socket, tls: tls.map(TlsAcceptor::from), proxies: Proxies::default(), address })
    }

    /// Takes the callers' addresses from these proxies.
    #[must_use]
    pub fn behind(self, proxies: Proxies) -> Self {
        Self { proxies, ..self }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled.
    pub async fn serve(self, streams: Streams, stop: CancellationToken) {
        let free = Arc::new(Semaphore::new(HALF_OPEN));
        loop {
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&free).acquire_owned().await else { return };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    let (streams, tls, proxies) = (streams.clone(), self.tls.clone(), self.proxies.clone());
                    let stop = stop.clone();
                    tokio::spawn(async move {
                        let connection = Connection { stream, streams, permit };
                        stop.run_until_cancelled(connection.handle(remote, &proxies, tls)).await;
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a media connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// One accepted connection.
struct Connection {
    stream: TcpStream,
    streams: Streams,
    /// Given back when it has shown what it is: then it counts among the [`Streams`].
    permit: OwnedSemaphorePermit,
}

impl Connection {
    /// With or without TLS: the first byte tells.
    async fn handle(mut self, peer: SocketAddr, proxies: &Proxies, tls: Option<TlsAcceptor>) {
        // Media is wanted at once.
        let _ = self.stream.set_nodelay(true);
        let Some(Ends { remote, local }) = proxies.ends(&mut self.stream, peer).await else { return };
        let Self { stream, streams, permit } = self;
        let mut first = [0];
        if !matches!(timeout(HANDSHAKE, stream.peek(&mut first)).await, Ok(Ok(1))) {
            return;
        }
        let Some(tls) = tls.filter(|_| first == [TLS_HANDSHAKE]) else {
            drop(permit);
            return streams.serve(stream, Carrier::Tcp, remote, local).await;
        };
        match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                drop(permit);
                streams.serve(stream, Carrier::Tls, remote, local).await;
            }
            Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
        }
    }
}
