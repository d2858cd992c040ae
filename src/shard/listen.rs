//! The TCP port beside the UDP port of media.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Streams;
use super::proxied::{Ends, Proxies};

/// How long a connection may take to say its first byte, and to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(10);

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
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => return,
            };
            match accepted {
                Ok((stream, remote)) => {
                    let (streams, tls, stop) = (streams.clone(), self.tls.clone(), stop.clone());
                    let proxies = self.proxies.clone();
                    let handled = async move {
                        let mut stream = stream;
                        if let Some(ends) = proxies.ends(&mut stream, remote).await {
                            handle(stream, ends, &streams, tls).await;
                        }
                    };
                    tokio::spawn(async move { stop.run_until_cancelled(handled).await });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a media connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// With or without TLS: the first byte tells.
async fn handle(stream: TcpStream, ends: Ends, streams: &Streams, tls: Option<TlsAcceptor>) {
    let Ends { remote, local } = ends;
    // Media is wanted at once.
    let _ = stream.set_nodelay(true);
    let mut first = [0];
    if !matches!(timeout(HANDSHAKE, stream.peek(&mut first)).await, Ok(Ok(1))) {
        return;
    }
    match tls {
        Some(tls) if first == [TLS_HANDSHAKE] => match timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => streams.serve(stream, remote, local).await,
            Ok(Err(error)) => tracing::debug!(%remote, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%remote, "TLS handshake took too long"),
        },
        _ => streams.serve(stream, remote, local).await,
    }
}
