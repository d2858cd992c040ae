//! The listener on real (loopback) sockets: HTTP, HTTPS, the caller's address, orderly stop, clear errors.

use std::net::SocketAddr;
use std::time::Duration;

use crosspoint::control::{ListenError, Listener, tls_from_pem};
use crosspoint::node::Node;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::offers;
use crate::server::{Server, Target as _};

/// Long enough for any machine; nothing here waits for it to pass.
const GRACE: Duration = Duration::from_secs(60);

const TYPE: &str = "content-type: application/sdp\r\n";

#[tokio::test]
async fn requests_over_a_socket_carry_the_callers_address() {
    let listening = Listening::start(Server::open(), 16).await;
    let offer = offers::publish();
    let head = format!(
        "POST /whip/a HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{TYPE}content-length: {}\r\n\r\n",
        offer.len()
    );
    let created = listening.talk(&format!("{head}{offer}")).await;
    assert!(created.starts_with("HTTP/1.1 201 Created\r\n"), "{created}");
    let location = created.lines().find_map(|line| line.strip_prefix("location: ")).expect("name, colon, space (W14)");
    let report = listening.talk(&get(&format!("/api/v1{location}"))).await;
    assert!(report.contains("caller Some(127.0.0.1)"), "{report}");
}

#[tokio::test]
async fn stopping_ends_event_streams_and_lets_serve_return() {
    let server = Server::open();
    let session = server.session("/whep/a", None).await;
    let listening = Listening::start(server.clone(), 16).await;
    let mut stream = TcpStream::connect(listening.address).await.expect("a connection");
    stream.write_all(format!("GET {session}/events HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.expect("sent");
    let mut head = [0; 15];
    stream.read_exact(&mut head).await.expect("a response");
    assert_eq!(&head, b"HTTP/1.1 200 OK");
    server.control.stop();
    listening.stop.cancel();
    listening.served.await.expect("serve returns well before the grace is over");
    stream.read_to_end(&mut Vec::new()).await.expect("the stream ends in order");
    assert!(TcpStream::connect(listening.address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_connection_that_has_said_nothing_is_not_waited_for() {
    let mut config = crate::node::config();
    config.timeouts.shutdown = GRACE * 60;
    let node = Node::start(&config, None).await.expect("a node");
    let _silent = TcpStream::connect(node.http()).await.expect("a connection");
    // Accepted in order: the one before was taken, too.
    let mut served = TcpStream::connect(node.http()).await.expect("a connection");
    served.write_all(get("/healthz").as_bytes()).await.expect("sent");
    served.read_to_end(&mut Vec::new()).await.expect("a response");
    drop(served);
    tokio::time::timeout(GRACE, node.stop()).await.expect("a stop at once");
}

#[tokio::test]
async fn half_a_request_is_not_waited_for() {
    let mut config = crate::node::config();
    config.timeouts.shutdown = GRACE * 60;
    let half = b"GET /healthz HTTP/1.1\r\nho";
    for served_before in [false, true] {
        let node = Node::start(&config, None).await.expect("a node");
        let mut slow = TcpStream::connect(node.http()).await.expect("a connection");
        if served_before {
            slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
            slow.read_exact(&mut [0; 15]).await.expect("a response");
        }
        slow.write_all(half).await.expect("sent");
        // Read in order: what came before has been, too.
        let mut served = TcpStream::connect(node.http()).await.expect("a connection");
        served.write_all(get("/healthz").as_bytes()).await.expect("sent");
        served.read_to_end(&mut Vec::new()).await.expect("a response");
        tokio::time::timeout(GRACE, node.stop()).await.expect("a stop at once");
    }
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_when_the_grace_is_over() {
    let listening = Listening::start_with(Server::open(), 16, Duration::ZERO).await;
    let mut stream = TcpStream::connect(listening.address).await.expect("a connection");
    let head = format!("POST /whip/a HTTP/1.1\r\nhost: x\r\n{TYPE}content-length: 100\r\nexpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The interim response says that the request is being read.
    let mut interim = [0; 12];
    stream.read_exact(&mut interim).await.expect("an interim response");
    assert_eq!(&interim, b"HTTP/1.1 100");
    listening.stop.cancel();
    listening.served.await.expect("serve returns");
    // Cut: an end or a reset, and no response.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(!String::from_utf8_lossy(&rest).contains("HTTP/1.1"), "{rest:?}");
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_a_place() {
    let idle = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let undecided = "GET /rooms/a/ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    for (first, answer) in [(idle, "HTTP/1.1 200 OK"), (undecided, "HTTP/1.1 101 Sw")] {
        waits_for(first, answer).await;
    }
}

async fn waits_for(request: &str, response: &str) {
    let listening = Listening::start(Server::open(), 1).await;
    let mut first = TcpStream::connect(listening.address).await.expect("a connection");
    first.write_all(request.as_bytes()).await.expect("sent");
    let mut head = [0; 15];
    first.read_exact(&mut head).await.expect("a response");
    assert_eq!(&head, response.as_bytes());
    let mut second = TcpStream::connect(listening.address).await.expect("the kernel accepts");
    second.write_all(get("/healthz").as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    tokio::select! {
        biased;
        read = second.read_to_end(&mut answer) => panic!("served beside {request}: {read:?}"),
        () = yield_often() => {}
    }
    drop(first);
    second.read_to_end(&mut answer).await.expect("a response");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn https_speaks_both_versions_of_http() {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (certified.cert.pem(), certified.signing_key.serialize_pem());
    let tls = tls_from_pem(certificate.as_bytes(), key.as_bytes()).expect("TLS");
    let listener = Listener::bind(loopback(), Some(tls)).await.expect("bound");
    let address = listener.address();
    let stop = CancellationToken::new();
    let served = tokio::spawn(listener.serve(Server::open().app, 16, stop.clone(), GRACE));
    for (protocol, hello, answer) in [
        ("http/1.1", get("/healthz"), &b"HTTP/1.1 200 OK"[..]),
        // The preface and an empty SETTINGS frame; the server's first frame is SETTINGS (type 4) too.
        ("h2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u{4}\0\0\0\0\0".to_owned(), &[0, 0]),
    ] {
        let mut stream = tls_connect(address, certified.cert.der().clone(), protocol).await;
        stream.write_all(hello.as_bytes()).await.expect("sent");
        let mut head = vec![0; answer.len()];
        stream.read_exact(&mut head).await.expect("an answer");
        assert_eq!(head, answer, "{protocol}");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
    }
    stop.cancel();
    served.await.expect("served");
}

#[tokio::test]
async fn what_cannot_be_bound_is_explained() {
    let taken = Listener::bind(loopback(), None).await.expect("bound");
    let again = Listener::bind(taken.address(), None).await.expect_err("the port is taken");
    assert!(matches!(again, ListenError::InUse(address) if address == taken.address()));
    assert!(again.to_string().contains("http.listen"), "{again}");
    let foreign = Listener::bind("192.0.2.1:0".parse().expect("an address"), None).await.expect_err("not ours");
    assert!(matches!(foreign, ListenError::NoSuchAddress(_)), "{foreign}");
}

#[test]
fn a_certificate_that_cannot_be_used_is_explained() {
    let [one, other] =
        ["a", "b"].map(|name| rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate"));
    let (certificate, key, other_key) =
        (one.cert.pem(), one.signing_key.serialize_pem(), other.signing_key.serialize_pem());
    let rows = [
        ("", key.as_str(), "holds no certificate"),
        (&key, &key, "holds no certificate"),
        (&certificate, "", "holds no private key"),
        (&certificate, &certificate, "holds no private key"),
        (&certificate, &other_key, "do not go together"),
    ];
    for (certificate, key, says) in rows {
        let error = tls_from_pem(certificate.as_bytes(), key.as_bytes()).expect_err(says).to_string();
        assert!(error.contains(says), "{error} should contain {says}");
    }
}

struct Listening {
    address: SocketAddr,
    stop: CancellationToken,
    served: tokio::task::JoinHandle<()>,
}

impl Listening {
    async fn start(server: Server, connections: usize) -> Self {
        Self::start_with(server, connections, GRACE).await
    }

    async fn start_with(server: Server, connections: usize, grace: Duration) -> Self {
        let listener = Listener::bind(loopback(), None).await.expect("bound");
        let (address, stop) = (listener.address(), CancellationToken::new());
        let served = tokio::spawn(listener.serve(server.app, connections, stop.clone(), grace));
        Self { address, stop, served }
    }

    /// Sends a request and reads until the server closes.
    async fn talk(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.expect("a response");
        String::from_utf8(response).expect("text")
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Lets every other task of the test's one thread run many times.
async fn yield_often() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}

async fn tls_connect(
    address: SocketAddr,
    root: rustls::pki_types::CertificateDer<'static>,
    protocol: &str,
) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).expect("a root");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    connector.connect("localhost".try_into().expect("a name"), stream).await.expect("a handshake")
}
