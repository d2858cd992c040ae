//! What sending one datagram costs by each way of passing it to the kernel, on loopback.
//!
//! The receivers are never read, so the kernel discards at the end of the path, and loopback does the receiver's half
//! of the work in the sender's time. Compare the ways with each other, not with a network card.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket as Receiver};
use std::num::NonZeroUsize;

use criterion::{BatchSize, Criterion, Throughput};
use crosspoint::shard::{Batching, SendBatch, SocketOptions, UdpSocket};

/// Datagrams per flush.
const DATAGRAMS: usize = 64;

/// Bytes per datagram: a full video packet.
const BYTES: usize = 1200;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    send(&mut criterion);
    criterion.final_summary();
}

fn send(criterion: &mut Criterion) {
    let receivers: Vec<_> =
        (0..DATAGRAMS).map(|_| Receiver::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port")).collect();
    let remotes: Vec<_> = receivers.iter().map(|receiver| receiver.local_addr().expect("bound")).collect();
    let mut group = criterion.benchmark_group("send");
    group.throughput(Throughput::Elements(DATAGRAMS as u64));
    for (name, batching, per_remote) in [
        ("send_to", Batching::None, 1),
        ("sendmmsg", Batching::Messages, 1),
        ("sendmmsg and runs of 1", Batching::Segments, 1),
        ("sendmmsg and runs of 4", Batching::Segments, 4),
        ("sendmmsg and runs of 8", Batching::Segments, 8),
        ("sendmmsg and runs of 16", Batching::Segments, 16),
    ] {
        let options = SocketOptions { batching, ..SocketOptions::default() };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = UdpSocket::bind_all(address, NonZeroUsize::MIN, &options).expect("a free port").remove(0);
        assert_eq!(socket.batching(), batching, "this system does not have it");
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || filled(&remotes, per_remote),
                |batch| black_box(batch.flush(&socket)),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// A batch with so many datagrams for each of the first few receivers.
fn filled(remotes: &[SocketAddr], per_remote: usize) -> SendBatch {
    let mut batch = SendBatch::new();
    for remote in &remotes[..DATAGRAMS / per_remote] {
        for _ in 0..per_remote {
            batch.push(*remote, None, vec![0; BYTES]);
        }
    }
    batch
}
