//! Connections in memory, and the shard's end of its mailbox.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::shard::{Mailbox, mailbox};

const REQUEST: [u8; 20] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

const LIMITS: StreamLimits = StreamLimits { all: 100, per_source: 10 };

struct Bench {
    streams: Streams,
    mailbox: Mailbox<Parcel>,
}

impl Bench {
    fn new() -> Self {
        let (handle, mailbox) = mailbox().expect("a pipe");
        Self { streams: Streams::new(vec![handle], LIMITS), mailbox }
    }

    fn open(&self, remote: &str) -> (DuplexStream, JoinHandle<()>) {
        let (client, server) = duplex(1 << 16);
        (client, self.serve(server, Carrier::Tcp, remote))
    }

    fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        carrier: Carrier,
        remote: &str,
    ) -> JoinHandle<()> {
        let (streams, remote) = (self.streams.clone(), remote.parse().expect("an address"));
        let local = "[::ffff:203.0.113.1]:3478".parse().expect("an address");
        tokio::spawn(async move { streams.serve(stream, carrier, remote, local).await })
    }

    async fn next(&self) -> StreamEvent {
        loop {
            match self.mailbox.crossing() {
                Some(Parcel::Stream(event)) => return event,
                Some(other) => panic!("not of a stream: {other:?}"),
                None => tokio::task::yield_now().await,
            }
        }
    }

    async fn opened(&self) -> mpsc::Sender<Vec<u8>> {
        match self.next().await {
            StreamEvent::Opened { outgoing, .. } => outgoing,
            other => panic!("not opened: {other:?}"),
        }
    }

    async fn messages(&self) -> Vec<Vec<u8>> {
        match self.next().await {
            StreamEvent::Messages { remote, local, batch, .. } => {
                assert_eq!((remote.to_string(), local.to_string()), ("192.0.2.1:5".into(), "203.0.113.1:3478".into()));
                batch
            }
            other => panic!("no messages: {other:?}"),
        }
    }
}

#[tokio::test]
async fn messages_reach_the_shard_and_answers_are_framed_as_the_client_frames() {
    for (framed, answer) in [(REQUEST.to_vec(), vec![9, 9]), ([&[0, 20][..], &REQUEST].concat(), vec![0, 2, 9, 9])] {
        let bench = Bench::new();
        let (mut client, served) = bench.open("[::ffff:192.0.2.1]:5");
        let outgoing = bench.opened().await;
        client.write_all(&framed).await.expect("written");
        assert_eq!(bench.messages().await, [REQUEST.to_vec()]);
        outgoing.send(vec![9, 9]).await.expect("taken");
        let mut read = vec![0; answer.len()];
        client.read_exact(&mut read).await.expect("an answer");
        assert_eq!(read, answer);
        drop(client);
        assert!(matches!(bench.next().await, StreamEvent::Closed { .. }));
        served.await.expect("it ends");
    }
}

/// A stream that notes what is written at once.
struct Noting(DuplexStream, Arc<Mutex<Vec<Vec<u8>>>>);

impl AsyncRead for Noting {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Noting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.lock().unwrap().push(bytes.to_vec());
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn messages_that_wait_are_written_together_but_inside_tls_each_is_a_record() {
    for (carrier, expected) in [(Carrier::Tcp, vec![vec![1, 2]]), (Carrier::Tls, vec![vec![1], vec![2]])] {
        let (bench, written) = (Bench::new(), Arc::default());
        let (mut client, server) = duplex(1 << 16);
        let _served = bench.serve(Noting(server, Arc::clone(&written)), carrier, "192.0.2.1:5");
        let outgoing = bench.opened().await;
        client.write_all(&REQUEST).await.expect("written");
        bench.messages().await;
        for message in [1, 2] {
            outgoing.try_send(vec![message]).expect("taken");
        }
        client.read_exact(&mut [0; 2]).await.expect("both");
        assert_eq!(*written.lock().unwrap(), expected);
    }
}

#[tokio::test]
async fn a_connection_that_speaks_otherwise_is_closed() {
    let bench = Bench::new();
    let (mut client, served) = bench.open("192.0.2.1:5");
    bench.opened().await;
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    assert!(matches!(bench.next().await, StreamEvent::Closed { .. }));
    served.await.expect("it ends");
}

#[tokio::test]
async fn one_address_has_a_bounded_number_of_connections() {
    let bench = Bench::new();
    let (mut open, mut outgoing) = (Vec::new(), Vec::new());
    for _ in 0..LIMITS.per_source {
        open.push(bench.open("192.0.2.1:5"));
        outgoing.push(bench.opened().await);
    }
    let (_client, refused) = bench.open("192.0.2.1:6");
    refused.await.expect("closed at once");
    let _another_address = bench.open("192.0.2.2:5");
    outgoing.push(bench.opened().await);
    let (client, served) = open.pop().expect("one of them");
    drop(client);
    served.await.expect("it ends");
    let _in_its_place = bench.open("192.0.2.1:7");
    assert!(matches!(bench.next().await, StreamEvent::Closed { .. }));
    bench.opened().await;
}
