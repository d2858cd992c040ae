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
        Ok(Self { socket, tls: tls.map(TlsAcceptor::from), address })
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
                    tokio::spawn(async move {
                        stop.run_until_cancelled(handle(stream, remote, &streams, tls)).await;
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

/// With or without TLS: the first byte tells.
async fn handle(stream: TcpStream, remote: SocketAddr, streams: &Streams, tls: Option<TlsAcceptor>) {
    // Media is wanted at once.
    let _ = stream.set_nodelay(true);
    let Ok(local) = stream.local_addr() else { return };
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
