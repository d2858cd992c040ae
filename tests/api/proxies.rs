//! A whole node behind proxies: those that speak HTTP and name the caller in a field, and those that pass TCP on with a
//! PROXY header in front. Who calls directly can say what they like.

use std::net::SocketAddr;

use axum::http::Method;
use crosspoint::config::Config;
use crosspoint::node::Node;
use crosspoint::turn::client::{Answer, binding, read};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::{Remote, Target as _, request};

/// Version 2, TCP over IPv4: from 192.0.2.1:40000 to 198.51.100.7:3478, with one TLV.
const HEADER: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x01\xc6\x33\x64\x07\x9c\x40\x0d\x96\x04\0\x02\0\0";

/// The same for the proxy itself: a health check.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\0\0";

const TRANSACTION: [u8; 12] = *b"transaction!";

#[tokio::test]
async fn a_proxys_header_says_who_called_on_every_port() {
    let node = start(&["127.0.0.0/8"], &[]).await;
    for port in [node.http(), node.media()] {
        assert_eq!(mapped(port, HEADER).await.as_deref(), Some("192.0.2.1:40000"), "STUN at {port}");
        let own = mapped(port, LOCAL).await.expect("an answer");
        assert!(own.starts_with("127.0.0.1:"), "a health check is the proxy's own: {own}");
        assert_eq!(mapped(port, b"").await, None, "without a header the connection is closed");
        assert_eq!(mapped(port, b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0").await, None, "and with one of version 3");
    }
    let answer = talk(node.http(), &[HEADER, get("/metrics").as_bytes()].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("crosspoint_proxy_headers_refused_total 4"), "{answer}");
    node.stop().await;
}

#[tokio::test]
async fn from_others_a_header_is_just_bytes() {
    let node = start(&["198.51.100.0/24"], &[]).await;
    assert_eq!(mapped(node.media(), HEADER).await, None);
    let answer = talk(node.http(), &[HEADER, get("/healthz").as_bytes()].concat()).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    let own = mapped(node.media(), b"").await.expect("an answer");
    assert!(own.starts_with("127.0.0.1:"), "{own}");
    node.stop().await;
}

#[tokio::test]
async fn a_reverse_proxy_is_believed_when_it_is_configured() {
    for (trusted, expected) in [(&["127.0.0.1"][..], "429"), (&[], "404")] {
        let node = start(&[], trusted).await;
        let remote = Remote::new(node.http());
        let mut last = String::new();
        // Loopback has no limit; one address somewhere has one of ten seconds' worth, here ten requests.
        for _ in 0..11 {
            let headers = [("x-forwarded-for", "203.0.113.66, 192.0.2.1")];
            let url = "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa";
            last = remote.send(request(Method::DELETE, url, &headers, "")).await.status.as_u16().to_string();
        }
        assert_eq!(last, expected, "{trusted:?}");
        node.stop().await;
    }
}

/// A node on free ports of loopback, ten requests at once per caller.
async fn start(tcp: &[&str], http: &[&str]) -> Node {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    let mut config = Config::default();
    config.http.listen.set_port(0);
    config.media.port = 0;
    config.media.bind = [127, 0, 0, 1].into();
    config.media.shards = 1;
    config.limits.requests_per_minute = 60;
    config.proxies.tcp = networks(tcp);
    config.proxies.http = networks(http);
    Node::start(&config, None).await.expect("a node")
}

/// What a Binding request behind `header` is told. `None`: the connection was closed.
async fn mapped(port: SocketAddr, header: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(port).await.expect("a connection");
    stream.write_all(&[header, &binding(&TRANSACTION)].concat()).await.ok()?;
    let mut answer = [0; 512];
    let length = stream.read(&mut answer).await.ok()?;
    match read(&answer[..length], &TRANSACTION)? {
        Answer::Mapped(address) => Some(address.to_string()),
        other => panic!("{other:?}"),
    }
}

/// Sends bytes and reads until the server closes.
async fn talk(port: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(port).await.expect("a connection");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}
