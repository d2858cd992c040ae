//! The PROXY protocol (HAProxy's proxy-protocol.txt, versions 1 and 2): a proxy that passes TCP on says in front of the
//! stream who called it.
//!
//! From configured proxies a header is due on every connection, and from nobody else is one taken: whoever could send
//! one at will could pass for anybody. Not here: proxies that speak HTTP and name the caller in a header field
//! (`control`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::turn::Network;

/// How long a header may take to arrive; proxies send it with the first segment. Longer: broken proxies hold
/// connections; shorter: lost segments are not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest header of version 2. Larger: more memory for each connection that begins; smaller: headers that carry a
/// client's certificate are refused.
const LONGEST: usize = 4096;

/// Longest header of version 1, its line end included.
const LONGEST_TEXT: usize = 107;

/// What version 1 starts with.
const TEXT: &[u8] = b"PROXY ";

/// What version 2 starts with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The length of version 2 up to its addresses: the signature, version and command, family, length of the rest.
const FIXED: usize = 16;

/// The proxies whose connections begin with a header. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    networks: Vec<Network>,
    refused: AtomicU64,
}

/// Both ends of a connection: the caller's address and the one it called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The caller.
    pub remote: SocketAddr,
    /// Ours, or the proxy's in front of us.
    pub local: SocketAddr,
}

impl Proxies {
    /// The proxies in these networks.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(Arc::new(Inner { networks, refused: AtomicU64::new(0) }))
    }

    /// Whose connection it is. Reads the header if it comes from a proxy, and nothing behind it. `None`: the connection
    /// is to be closed.
    pub async fn ends(&self, stream: &mut TcpStream, peer: SocketAddr) -> Option<Ends> {
        let direct = Ends { remote: canonical(peer), local: canonical(stream.local_addr().ok()?) };
        if !self.0.networks.iter().any(|network| network.contains(direct.remote.ip())) {
            return Some(direct);
        }
        match timeout(PATIENCE, read(stream)).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(proxied) => Some(proxied.unwrap_or(direct)),
            // Whoever closes again without a word asks only whether the port is open.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => {
                self.0.refused.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(proxy = %direct.remote, %error, "a connection without a PROXY header is closed");
                None
            }
        }
    }

    /// Connections closed for a bad or missing header.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// IPv4 addresses are never shown as mapped ones.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Reads a header. `None`: the proxy speaks for itself (LOCAL, as for its health checks), or does not say who called.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Ends>> {
    let bytes = gather(stream).await?;
    // What else a header says (TLVs) is skipped.
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    let (header, length) = ProxyHeader::parse(&bytes, config).map_err(io::Error::other)?;
    if length != bytes.len() {
        return Err(io::Error::other("the header is longer than it says"));
    }
    let ends = |proxied: &proxy_header::ProxiedAddress| Ends {
        remote: canonical(proxied.source),
        local: canonical(proxied.destination),
    };
    Ok(header.proxied_address().map(ends))
}

/// The header's bytes, and none of those behind it.
async fn gather(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; SIGNATURE.len()];
    stream.read_exact(&mut bytes).await?;
    if bytes.starts_with(TEXT) {
        while bytes.last() != Some(&b'\n') && bytes.len() < LONGEST_TEXT {
            bytes.push(stream.read_u8().await?);
        }
        return Ok(bytes);
    }
    if bytes != SIGNATURE {
        return Err(io::Error::other("it begins with something else"));
    }
    bytes.resize(FIXED, 0);
    stream.read_exact(&mut bytes[SIGNATURE.len()..]).await?;
    let rest = usize::from(u16::from_be_bytes([bytes[FIXED - 2], bytes[FIXED - 1]]));
    if rest > LONGEST {
        return Err(io::Error::other(format!("the header says it is {rest} bytes long; at most {LONGEST} are read")));
    }
    bytes.resize(FIXED + rest, 0);
    stream.read_exact(&mut bytes[FIXED..]).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 2: command and version, family, addresses (and what is behind them).
    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn ends(remote: &str, local: &str) -> Option<Ends> {
        Some(Ends { remote: remote.parse().unwrap(), local: local.parse().unwrap() })
    }

    const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0x9c, 0x40, 0x0d, 0x96];

    /// 16 bytes of each address, mapped in the first case.
    fn v6(mapped: bool) -> Vec<u8> {
        let source: std::net::Ipv6Addr =
            if mapped { "::ffff:192.0.2.1".parse().unwrap() } else { "2001:db8::1".parse().unwrap() };
        let destination: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
        [&source.octets()[..], &destination.octets()[..], &[0x9c, 0x40, 0x0d, 0x96]].concat()
    }

    #[tokio::test]
    async fn headers_name_both_ends_and_leave_what_follows() {
        let v4 = ends("192.0.2.1:40000", "198.51.100.7:3478");
        let with_tlvs = [V4, &[0x03, 0, 4, 1, 2, 3, 4], &[0x04, 0, 0], &[0xe0, 0, 2, 9, 9]].concat();
        let rows: [(&str, Vec<u8>, Option<Ends>); 9] = [
            ("TCP over IPv4", binary(0x21, 0x11, V4), v4),
            ("with TLVs", binary(0x21, 0x11, &with_tlvs), v4),
            ("TCP over IPv6", binary(0x21, 0x21, &v6(false)), ends("[2001:db8::1]:40000", "[2001:db8::7]:3478")),
            ("mapped", binary(0x21, 0x21, &v6(true)), ends("192.0.2.1:40000", "[2001:db8::7]:3478")),
            ("LOCAL", binary(0x20, 0x00, &[]), None),
            ("LOCAL with addresses", binary(0x20, 0x11, V4), None),
            ("unspecified", binary(0x21, 0x00, &[1, 2, 3]), None),
            ("version 1", b"PROXY TCP4 192.0.2.1 198.51.100.7 40000 3478\r\n".to_vec(), v4),
            ("version 1, unknown", b"PROXY UNKNOWN\r\n".to_vec(), None),
        ];
        for (name, mut bytes, expected) in rows {
            bytes.extend(b"GET /");
            let mut stream = &bytes[..];
            assert_eq!(read(&mut stream).await.unwrap(), expected, "{name}");
            assert_eq!(stream, b"GET /", "{name}");
        }
    }

    #[tokio::test]
    async fn everything_else_is_an_error() {
        let long = vec![0; LONGEST + 1];
        let rows: [(&str, Vec<u8>); 9] = [
            ("nothing", Vec::new()),
            ("HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n".to_vec()),
            ("TLS", [&[22, 3, 1, 2, 0, 1, 0][..], &[0; 40]].concat()),
            ("version 3", binary(0x31, 0x11, V4)),
            ("command 2", binary(0x22, 0x11, V4)),
            ("a family there is not", binary(0x21, 0x41, V4)),
            ("addresses cut off", binary(0x21, 0x11, &V4[..11])),
            ("too long", binary(0x21, 0x11, &long)),
            ("version 1 without an end", [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat()),
        ];
        for (name, bytes) in rows {
            assert!(read(&mut &bytes[..]).await.is_err(), "{name}");
        }
    }
}
