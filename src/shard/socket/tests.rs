//! Real sockets on loopback. Nothing sleeps: waiting is polling with a deadline that only a failure reaches.

use std::net::UdpSocket as Client;
use std::os::fd::AsFd as _;
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Every way of passing datagrams that this system has.
fn ways() -> Vec<Batching> {
    let all = [Batching::Segments, Batching::Messages, Batching::None];
    if cfg!(target_os = "linux") { all.to_vec() } else { vec![Batching::None] }
}

fn bind(address: &str, batching: Batching) -> UdpSocket {
    let options = SocketOptions { batching, ..SocketOptions::default() };
    let sockets = UdpSocket::bind_all(address.parse().expect("an address"), NonZeroUsize::MIN, &options);
    sockets.expect("a free port").pop().expect("one socket")
}

fn client(address: &str) -> Client {
    let client = Client::bind(address).expect("a free port");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client
}

/// Loopback has IPv6 here; containers often have not.
fn has_ipv6() -> bool {
    Client::bind("[::1]:0").is_ok()
}

/// A descriptor that is never readable.
fn silent_pipe() -> (io::PipeReader, io::PipeWriter) {
    io::pipe().expect("a pipe")
}

/// Owned copies of what arrives, until `count` did.
fn receive(socket: &UdpSocket, count: usize) -> Vec<(SocketAddr, Option<IpAddr>, Vec<u8>)> {
    let (mailbox, _writer) = silent_pipe();
    let mut batch = RecvBatch::new();
    let mut received = Vec::new();
    while received.len() < count {
        let ready = wait(socket, mailbox.as_fd(), None, Some(PATIENCE)).expect("poll");
        assert!(ready.socket, "{} of {count} arrived", received.len());
        let datagrams = socket.recv_batch(&mut batch).expect("receive");
        received.extend(datagrams.map(|datagram| (datagram.remote, datagram.local_ip, datagram.contents.to_vec())));
    }
    received
}

fn receive_std(client: &Client, count: usize) -> Vec<Vec<u8>> {
    let mut buffer = [0; 65_536];
    (0..count)
        .map(|index| {
            let (len, _) = client.recv_from(&mut buffer).unwrap_or_else(|error| panic!("datagram {index}: {error}"));
            buffer[..len].to_vec()
        })
        .collect()
}

/// A datagram that tells its number and is `len` bytes long.
fn numbered(number: u32, len: usize) -> Vec<u8> {
    let mut contents = vec![0xA5; len.max(4)];
    contents[..4].copy_from_slice(&number.to_be_bytes());
    contents
}

#[test]
fn equal_sizes_share_a_message_and_unequal_ones_do_not() {
    for way in ways() {
        let socket = bind("127.0.0.1:0", way);
        let viewer = client("127.0.0.1:0");
        let remote = viewer.local_addr().expect("bound");
        for (lengths, runs) in [(vec![1000; 8], 1), (vec![1000, 1000, 400], 1), (vec![100, 200, 300, 400], 4)] {
            let sent: Vec<_> = lengths.iter().zip(0..).map(|(len, number)| numbered(number, *len)).collect();
            let mut batch = SendBatch::new();
            sent.iter().for_each(|contents| batch.push(remote, None, contents.clone()));
            let report = batch.flush(&socket);
            let messages = if socket.batching() == Batching::Segments { runs } else { sent.len() as u64 };
            assert_eq!(report.messages, messages, "{way:?} {lengths:?}");
            assert_eq!(report.datagrams, sent.len() as u64);
            assert_eq!(report.bytes, lengths.iter().sum::<usize>() as u64);
            assert_eq!(receive_std(&viewer, sent.len()), sent, "{way:?} {lengths:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_run_arrives_as_one_message_where_the_kernel_joins() {
    for (way, joined) in [(Batching::Segments, 1), (Batching::Messages, 8)] {
        let (sender, receiver) = (bind("127.0.0.1:0", Batching::Segments), bind("127.0.0.1:0", way));
        if sender.batching() != Batching::Segments {
            return;
        }
        let mut batch = SendBatch::new();
        (0..8).for_each(|number| batch.push(receiver.local_addr(), None, numbered(number, 1000)));
        assert_eq!(batch.flush(&sender).messages, 1);
        let mut received = RecvBatch::new();
        assert_eq!(receiver.recv_batch(&mut received).expect("receive").count(), 8);
        assert_eq!(received.messages(), joined, "{way:?}");
    }
}

#[test]
fn a_thousand_datagrams_go_there_and_back_in_order() {
    for way in ways() {
        let (here, there) = (bind("127.0.0.1:0", way), bind("127.0.0.1:0", way));
        let mut batch = SendBatch::new();
        for round in 0..20 {
            let sent: Vec<_> = (0..50).map(|number| numbered(round * 50 + number, 1200)).collect();
            sent.iter().for_each(|contents| batch.push(there.local_addr(), None, contents.clone()));
            assert_eq!(batch.flush(&here).datagrams, 50);
            for (remote, _, contents) in receive(&there, 50) {
                batch.push(remote, None, contents);
            }
            assert_eq!(batch.flush(&there).datagrams, 50);
            let back: Vec<_> = receive(&here, 50).into_iter().map(|(_, _, contents)| contents).collect();
            assert_eq!(back, sent, "{way:?} round {round}");
        }
    }
}

#[test]
fn one_dual_stack_socket_serves_ipv4_and_ipv6() {
    if !has_ipv6() {
        return;
    }
    for way in ways() {
        let socket = bind("[::]:0", way);
        let port = socket.local_addr().port();
        for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
            let to: IpAddr = to.parse().expect("an address");
            let viewer = client(from);
            viewer.send_to(b"there", (to, port)).expect("sent");
            let (remote, local_ip, contents) = receive(&socket, 1).remove(0);
            assert_eq!((remote, contents.as_slice()), (viewer.local_addr().expect("bound"), &b"there"[..]), "{way:?}");
            assert_eq!(local_ip, (way != Batching::None).then_some(to), "{way:?}");
            let mut batch = SendBatch::new();
            for number in 0..3 {
                batch.push(remote, local_ip, numbered(number, 500));
            }
            assert_eq!(batch.flush(&socket).datagrams, 3, "{way:?} {from}");
            assert_eq!(receive_std(&viewer, 3).len(), 3);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn replies_leave_from_the_address_the_datagram_was_sent_to() {
    let dual_stack = if has_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    for way in [Batching::Segments, Batching::Messages] {
        for wildcard in ["0.0.0.0:0", dual_stack] {
            let socket = bind(wildcard, way);
            let viewer = client("127.0.0.1:0");
            for last in [2, 3] {
                let to = SocketAddr::from(([127, 0, 0, last], socket.local_addr().port()));
                viewer.send_to(b"there", to).expect("sent");
                let (remote, local_ip, _) = receive(&socket, 1).remove(0);
                assert_eq!(local_ip, Some(to.ip()), "{way:?} {wildcard}");
                let mut batch = SendBatch::new();
                (0..2).for_each(|number| batch.push(remote, local_ip, numbered(number, 500)));
                assert_eq!(batch.flush(&socket).dropped_total(), 0);
                let mut buffer = [0; 500];
                for _ in 0..2 {
                    assert_eq!(viewer.recv_from(&mut buffer).expect("a reply").1, to, "{way:?} {wildcard}");
                }
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_only_sends_takes_nothing_that_arrives() {
    let dual_stack = if has_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
    let (socket, viewer) = (bind(dual_stack, Batching::Messages), client("127.0.0.1:0"));
    let port = socket.local_addr().port();
    let addresses: Vec<SocketAddr> = (1..=12).map(|last| ([127, 0, 0, last], port).into()).collect();
    let senders = socket.senders.as_deref().expect("it is on all addresses");
    let opened = |ip| senders.find(Some(ip), viewer.local_addr().expect("bound")).is_some();
    for round in 0..3 {
        for address in &addresses {
            viewer.send_to(b"there", address).expect("sent");
            let (remote, local_ip, _) = receive(&socket, 1).remove(0);
            assert_eq!(local_ip, Some(address.ip()), "round {round}");
            let mut batch = SendBatch::new();
            batch.push(remote, local_ip, numbered(round, 500));
            assert_eq!(batch.flush(&socket).datagrams, 1);
            assert_eq!(viewer.recv_from(&mut [0; 500]).expect("a reply").1, *address, "round {round}");
        }
    }
    let own = addresses.iter().filter(|address| opened(address.ip())).count();
    assert_eq!(own, 8, "the others have their address in each message");
    assert!(!opened(IpAddr::from([192, 0, 2, 1])), "no address of ours");
    assert!(bind("127.0.0.1:0", Batching::Messages).senders.is_none(), "it says its address by itself");
}

#[test]
fn a_socket_bound_to_one_address_tells_it_in_every_way() {
    for way in ways() {
        let socket = bind("127.0.0.1:0", way);
        client("127.0.0.1:0").send_to(b"there", socket.local_addr()).expect("sent");
        assert_eq!(receive(&socket, 1)[0].1, Some([127, 0, 0, 1].into()), "{way:?}");
    }
}

#[test]
fn shards_share_a_port_and_divide_the_senders() {
    let two = NonZeroUsize::new(2).expect("not zero");
    let sockets = UdpSocket::bind_all(([127, 0, 0, 1], 0).into(), two, &SocketOptions::default()).expect("a free port");
    assert_eq!(sockets[0].local_addr(), sockets[1].local_addr());
    let clients: Vec<_> = (0..32).map(|_| client("127.0.0.1:0")).collect();
    for client in &clients {
        client.send_to(b"there", sockets[0].local_addr()).expect("sent");
    }
    let mut batch = RecvBatch::new();
    // Loopback delivers within the send call, so everything is there already.
    let counts: Vec<_> = sockets.iter().map(|socket| socket.recv_batch(&mut batch).expect("receive").count()).collect();
    assert_eq!(counts.iter().sum::<usize>(), clients.len());
    // That all 32 hash to one socket happens once in two thousand million runs.
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[test]
fn a_port_that_is_taken_is_refused_even_when_the_owner_would_share_it() {
    let owner = bind("127.0.0.1:0", Batching::None);
    let refused = UdpSocket::bind_all(owner.local_addr(), NonZeroUsize::MIN, &SocketOptions::default());
    let error = refused.expect_err("the port is taken");
    assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains("media.port"), "{error}");
}

#[test]
fn an_address_of_another_machine_is_refused_with_advice() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 77], 0));
    let refused = UdpSocket::bind_all(elsewhere, NonZeroUsize::MIN, &SocketOptions::default());
    let error = refused.expect_err("not an address of ours");
    assert!(error.to_string().contains("192.0.2.77 is not an address of this machine"), "{error}");
}

#[test]
fn a_datagram_that_can_not_be_sent_is_counted_and_stops_no_other() {
    let nobody = client("127.0.0.1:0").local_addr().expect("bound");
    for way in ways() {
        let socket = bind("127.0.0.1:0", way);
        let viewer = client("127.0.0.1:0");
        let remote = viewer.local_addr().expect("bound");
        let broadcast = SocketAddr::from(([255, 255, 255, 255], 9));
        let ipv6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9));
        let mut batch = SendBatch::new();
        for number in 0..4 {
            batch.push(broadcast, None, numbered(number, 100));
            batch.push(broadcast, None, numbered(number, 100));
            batch.push(remote, None, numbered(number, 100 + number as usize));
            batch.push(remote, None, vec![0; 70_000]);
            batch.push(ipv6, None, numbered(number, 100));
            // Nobody listens: the kernel hears so by ICMP, between our calls.
            batch.push(nobody, None, numbered(number, 100));
        }
        let report = batch.flush(&socket);
        let expected = [(SendDrop::Forbidden, 8), (SendDrop::TooBig, 4), (SendDrop::Unreachable, 4)];
        for (reason, count) in expected {
            assert_eq!(report.dropped(reason), count, "{way:?} {reason:?}");
        }
        assert_eq!((report.datagrams, report.dropped_total()), (8, 16), "{way:?}");
        let arrived: Vec<_> = receive_std(&viewer, 4).iter().map(Vec::len).collect();
        assert_eq!(arrived, [100, 101, 102, 103], "{way:?}");
    }
}

/// SO_NO_CHECK makes the kernel refuse segmentation and nothing else: what an unfit interface does.
#[cfg(target_os = "linux")]
#[test]
fn a_kernel_that_refuses_runs_gets_single_datagrams_and_soon_no_runs() {
    let socket = bind("127.0.0.1:0", Batching::Segments);
    if socket.batching() != Batching::Segments {
        return;
    }
    linux::set_option(&socket.socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("a known option");
    let viewer = client("127.0.0.1:0");
    let mut batch = SendBatch::new();
    for round in 1..=linux::REFUSED_RUNS {
        assert_eq!(socket.batching(), Batching::Segments, "before round {round}");
        let sent: Vec<_> = (0..4).map(|number| numbered(round * 4 + number, 300)).collect();
        sent.iter().for_each(|contents| batch.push(viewer.local_addr().expect("bound"), None, contents.clone()));
        let report = batch.flush(&socket);
        assert_eq!((report.datagrams, report.messages, report.dropped_total()), (4, 4, 0), "round {round}");
        assert_eq!(receive_std(&viewer, 4), sent);
    }
    assert_eq!(socket.batching(), Batching::Messages);
}

#[test]
fn what_is_sent_is_what_is_received_in_order_per_destination() {
    for seed in 0..8 {
        for way in ways() {
            let mut rng = StdRng::seed_from_u64(seed);
            let any = if has_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
            let sender = bind(any, way);
            let homes: &[&str] = if has_ipv6() { &["127.0.0.1:0", "[::1]:0"] } else { &["127.0.0.1:0"] };
            // Each way of receiving meets each way of sending.
            let receivers: Vec<_> =
                ways().into_iter().zip(homes.iter().cycle()).map(|(way, home)| bind(home, way)).collect();
            let mut batch = SendBatch::new();
            for _ in 0..4 {
                let mut sent = vec![Vec::new(); receivers.len()];
                for number in 0..rng.random_range(1..60) {
                    let to = rng.random_range(0..receivers.len());
                    let len = if rng.random_bool(0.7) { 1200 } else { rng.random_range(4..1500) };
                    batch.push(receivers[to].local_addr(), None, numbered(number, len));
                    sent[to].push(numbered(number, len));
                }
                let report = batch.flush(&sender);
                assert_eq!(report.datagrams, sent.iter().map(|to| to.len() as u64).sum::<u64>(), "seed {seed} {way:?}");
                for (receiver, sent) in receivers.iter().zip(&sent) {
                    let received: Vec<_> =
                        receive(receiver, sent.len()).into_iter().map(|(_, _, contents)| contents).collect();
                    assert_eq!(&received, sent, "seed {seed} {way:?}");
                }
            }
        }
    }
}

#[test]
fn waiting_tells_what_is_ready_and_ends_at_the_deadline() {
    let socket = bind("127.0.0.1:0", Batching::Segments);
    let (mailbox, mut writer) = silent_pipe();
    let ready = |timeout| wait(&socket, mailbox.as_fd(), None, Some(timeout)).expect("poll");
    assert_eq!(ready(Duration::from_micros(1)), Ready { socket: false, mailbox: false, relays: false });
    io::Write::write_all(&mut writer, &[1]).expect("written");
    assert_eq!(ready(PATIENCE), Ready { socket: false, mailbox: true, relays: false });
    client("127.0.0.1:0").send_to(b"there", socket.local_addr()).expect("sent");
    assert_eq!(ready(PATIENCE), Ready { socket: true, mailbox: true, relays: false });
}

#[test]
fn an_empty_socket_gives_an_empty_batch_and_forgets_the_last_one() {
    for way in ways() {
        let socket = bind("127.0.0.1:0", way);
        let mut batch = RecvBatch::new();
        client("127.0.0.1:0").send_to(b"there", socket.local_addr()).expect("sent");
        assert_eq!(socket.recv_batch(&mut batch).expect("receive").count(), 1, "{way:?}");
        assert_eq!(socket.recv_batch(&mut batch).expect("receive").count(), 0, "{way:?}");
    }
}
