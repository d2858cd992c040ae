//! Is the server that runs with this configuration ready? What a container's health check asks, over HTTP or HTTPS,
//! wherever it listens.
//!
//! It asks the machine it runs on and sends nothing secret, so any certificate will do: the one in the file may be
//! newer than the one that is served, and is made out to a name and not to a loopback address.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::config::Config;

/// How long connecting, and each part of the answer, may take. Longer: a stuck server is noticed later; shorter: a busy
/// one counts as stuck. Shards answer within 5 s, or the server says that they do not.
const PATIENCE: Duration = Duration::from_secs(6);

/// Bytes of an answer that are read.
const ANSWER: u64 = 4096;

/// Asks `/readyz`.
///
/// # Errors
/// What is wrong, in a sentence: nobody listens, it speaks otherwise than the configuration says, or it is not ready.
pub fn ask(config: &Config) -> Result<(), String> {
    let address = own_address(config.http.listen)?;
    let answer = fetch(address, config).map_err(|error| format!("no answer from {address}: {error}"))?;
    let mut lines = answer.lines();
    match lines.next().and_then(|status| status.split(' ').nth(1)) {
        Some("200") => Ok(()),
        Some(status) => {
            Err(format!("{address} is not ready, and answers {status}: {}", lines.last().unwrap_or_default()))
        }
        None => Err(format!("{address} does not speak HTTP as this configuration says (http.tls_cert)")),
    }
}

/// Where it can be called from this machine.
fn own_address(listen: SocketAddr) -> Result<SocketAddr, String> {
    if listen.port() == 0 {
        return Err("`http.listen` takes any free port, which is not known here; give it one".to_owned());
    }
    // A listener on every IPv6 address takes IPv4 as well.
    let ip = if listen.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { listen.ip() };
    Ok(SocketAddr::new(ip, listen.port()))
}

fn fetch(address: SocketAddr, config: &Config) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let caller = stream.local_addr()?.ip();
    if config.proxies.tcp.iter().any(|network| network.contains(caller)) {
        // From here a header is due on each connection; this one says nothing.
        stream.write_all(b"PROXY UNKNOWN\r\n")?;
    }
    if config.http.tls_cert.is_none() {
        return exchange(stream);
    }
    let client = ClientConnection::new(Arc::new(tls()?), ServerName::from(address.ip())).map_err(io::Error::other)?;
    exchange(StreamOwned::new(client, stream))
}

fn exchange(mut stream: impl Read + Write) -> io::Result<String> {
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn tls() -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(io::Error::other)?;
    let verifier = Arc::new(AnyCertificate(provider));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Takes whatever certificate is shown, if its key is there.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    fn config() -> Config {
        let mut config = Config::default();
        config.http.listen = "127.0.0.1:0".parse().expect("an address");
        config.media.port = 0;
        config.media.bind = [127, 0, 0, 1].into();
        config
    }

    async fn asked(config: &Config) -> Result<(), String> {
        let config = config.clone();
        tokio::task::spawn_blocking(move || ask(&config)).await.expect("no panic")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_is_ready_over_http_https_and_where_proxies_call() {
        let folder = std::env::temp_dir().join(format!("crosspoint-ready-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let made = rcgen::generate_simple_self_signed(["example.org".to_owned()]).expect("a certificate");
        let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&certificate, made.cert.pem()).expect("written");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
        for (tls, proxied) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut config = config();
            if tls {
                (config.http.tls_cert, config.http.tls_key) = (Some(certificate.clone()), Some(key.clone()));
            }
            if proxied {
                config.proxies.tcp = vec!["127.0.0.1".parse().expect("a network")];
            }
            let node = Node::start(&config, None).await.expect("a node");
            config.http.listen = node.http();
            assert_eq!(asked(&config).await, Ok(()), "tls {tls}, proxied {proxied}");
            let other =
                Config { http: crate::config::Http { tls_cert: None, ..config.http.clone() }, ..config.clone() };
            assert_eq!(asked(&other).await.is_ok(), !tls, "it speaks otherwise than the configuration says");
            // The port of a connection is nobody else's, and nobody listens there.
            let held = TcpStream::connect(node.http()).and_then(|held| Ok((held.local_addr()?, held)));
            config.http.listen = held.as_ref().expect("a connection").0;
            let refused = asked(&config).await.unwrap_err();
            assert!(refused.starts_with("no answer from 127.0.0.1:"), "{refused}");
            drop(held);
            node.stop().await;
        }
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn it_is_called_where_it_listens() {
        let rows = [
            ("0.0.0.0:8080", Ok("127.0.0.1:8080")),
            ("[::]:443", Ok("127.0.0.1:443")),
            ("[::1]:8080", Ok("[::1]:8080")),
            ("192.0.2.1:80", Ok("192.0.2.1:80")),
            ("127.0.0.1:0", Err(())),
        ];
        for (listen, expected) in rows {
            let found = own_address(listen.parse().expect("an address"));
            assert_eq!(found.map(|address| address.to_string()).map_err(drop), expected.map(str::to_owned), "{listen}");
        }
    }
}
