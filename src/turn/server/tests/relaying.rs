//! Datagrams through allocations: T27 to T32.

use std::net::SocketAddr;

use super::super::*;
use super::client::*;
use crate::turn::{AllocationKey, ToClient, ToPeer};

fn only(bench: &Bench) -> AllocationKey {
    bench.server.allocations.keys().next().unwrap()
}

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    [&number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

fn send_indication(attributes: Attributes<'_>, peer: Option<&str>) -> Vec<u8> {
    let message = Writer::new(Class::Indication, method::SEND, &[0; 12]);
    let message = attributes.iter().fold(message, |message, (kind, value)| message.add(*kind, value));
    let message = match peer {
        Some(peer) => message.add_address(attribute::XOR_PEER_ADDRESS, at(peer)),
        None => message,
    };
    message.finish(None, false)
}

const DATA: (u16, &[u8]) = (attribute::DATA, b"abc");

#[test]
fn data_goes_where_it_was_permitted_to_and_nowhere_else() {
    let mut bench = Bench::new();
    let relayed = bench.allocate().relayed()[0];
    for peer in [PEER, MEDIA, "203.0.113.1:50007"] {
        bench.permit(peer);
    }
    let relay = only(&bench);
    let to_peer = Output::ToPeer(ToPeer { relay, peer: at(PEER), contents: b"abc".to_vec() });
    let to_media = Output::ToMedia { relay, relayed, media: at(MEDIA), data: b"abc" };
    let to_relay = Output::ToRelay { from: relayed, to: at("203.0.113.1:50007"), data: b"abc" };
    let rows = [
        ("a peer", send_indication(&[DATA], Some(PEER)), to_peer),
        ("T31 another port of it", send_indication(&[DATA], Some("8.8.8.8:1")), Output::Nothing),
        ("our media address", send_indication(&[DATA], Some(MEDIA)), to_media),
        ("another relayed address", send_indication(&[DATA], Some("203.0.113.1:50007")), to_relay),
        ("our SSH port", send_indication(&[DATA], Some("203.0.113.1:22")), Output::Nothing),
        ("T29 no permission", send_indication(&[DATA], Some("8.8.4.4:9000")), Output::Nothing),
        ("T29 no data", send_indication(&[], Some(PEER)), Output::Nothing),
        ("T29 no peer", send_indication(&[DATA], None), Output::Nothing),
        ("an unknown attribute", send_indication(&[DATA, (0x7fff, &[])], Some(PEER)), Output::Nothing),
        ("T27 an unbound channel", channel_data(0x4000, b"abc"), Output::Nothing),
    ];
    for (what, datagram, expected) in rows {
        let output = bench.send(&datagram);
        if what.starts_with("T31") {
            let Output::ToPeer(sent) = output else { panic!("{what}: {output:?}") };
            assert_eq!(sent.peer, at("8.8.8.8:1"), "ports do not count");
            continue;
        }
        assert_eq!(output, expected, "{what}");
    }
    let large = [7; 1473];
    let fragile: Attributes<'_> = &[(attribute::DATA, &large), (attribute::DONT_FRAGMENT, &[])];
    assert_eq!(bench.send(&send_indication(fragile, Some(PEER))), Output::Nothing);
}

#[test]
fn channels_carry_data_both_ways_with_padding_on_streams_only() {
    for tcp in [false, true] {
        let mut bench = Bench::new();
        if tcp {
            bench.over_tcp();
        }
        bench.allocate();
        bench.bind(0x4123, PEER);
        let relay = only(&bench);
        let padded = [channel_data(0x4123, b"abc"), vec![0]].concat();
        for datagram in [&channel_data(0x4123, b"abc"), &padded] {
            let expected = Output::ToPeer(ToPeer { relay, peer: at(PEER), contents: b"abc".to_vec() });
            assert_eq!(bench.send(datagram), expected);
        }
        let mut cut = channel_data(0x4123, b"abc");
        cut.truncate(6);
        assert_eq!(bench.send(&cut), Output::Nothing, "T27 longer than the datagram");
        let back = bench.server.from_peer(bench.now, relay, at(PEER), b"abc").unwrap();
        let contents = if tcp { padded } else { channel_data(0x4123, b"abc") };
        assert_eq!(back, ToClient { client: bench.client, contents });
    }
}

#[test]
fn peers_are_heard_while_they_are_permitted() {
    let mut bench = Bench::new();
    bench.allocate();
    let relay = only(&bench);
    let heard = |bench: &mut Bench, peer: &str| bench.server.from_peer(bench.now, relay, at(peer), b"hello");
    assert_eq!(heard(&mut bench, PEER), None);
    bench.permit(PEER);
    let indication = heard(&mut bench, "8.8.8.8:77").unwrap();
    let message = Message::parse(&indication.contents).unwrap();
    assert_eq!((message.class(), message.method()), (Class::Indication, method::DATA));
    assert_eq!(message.addresses(attribute::XOR_PEER_ADDRESS).next(), Some(Some(at("8.8.8.8:77"))));
    assert_eq!(message.get(attribute::DATA), Some(&b"hello"[..]));
    bench.later(299);
    bench.send(&send_indication(&[DATA], Some(PEER)));
    assert!(heard(&mut bench, PEER).is_some());
    bench.later(2);
    assert_eq!(heard(&mut bench, PEER), None, "T31: traffic refreshes nothing");
    assert_eq!(bench.send(&send_indication(&[DATA], Some(PEER))), Output::Nothing);
    bench.bind(0x4000, PEER);
    bench.later(200);
    assert!(heard(&mut bench, PEER).is_some(), "a channel brings a permission along");
}

#[test]
fn two_clients_of_this_server_reach_each_other_in_process() {
    let mut bench = Bench::new();
    let first = bench.allocate().relayed()[0];
    let second = bench.port(4001).allocate().relayed()[0];
    let far_end = bench.client;
    bench.permit(&first.to_string());
    bench.port(4000).permit(&second.to_string());
    let datagram = send_indication(&[DATA], Some(&second.to_string()));
    let Output::ToRelay { from, to, data } = bench.server.handle(bench.now, &bench.client, &datagram) else { panic!() };
    assert_eq!((from, to), (first, second));
    let arrived = bench.server.from_relay(bench.now, from, to, data).unwrap();
    assert_eq!(arrived.client, far_end);
    let unused = SocketAddr::new(second.ip(), 50_098);
    assert_eq!(bench.server.from_relay(bench.now, from, unused, data), None);
}

#[test]
fn the_media_address_answers_through_the_allocation() {
    let mut bench = Bench::new();
    bench.allocate();
    bench.bind(0x4000, MEDIA);
    let relay = only(&bench);
    let answer = bench.server.from_media(bench.now, relay, ip("203.0.113.1"), b"abc").unwrap();
    assert_eq!(answer, ToClient { client: bench.client, contents: channel_data(0x4000, b"abc") });
    assert_eq!(bench.server.from_media(bench.now, relay, ip("203.0.113.2"), b"abc"), None);
}

#[test]
fn more_than_the_bandwidth_is_dropped_and_counted() {
    let mut bench = Bench::with(|settings| settings.bandwidth = 10_000);
    bench.allocate();
    bench.bind(0x4000, PEER);
    let datagram = channel_data(0x4000, &[0; 1000]);
    let sent = (0..30).filter(|_| bench.send(&datagram) != Output::Nothing).count();
    assert_eq!(sent, 10);
    assert_eq!(bench.server.counters().dropped, [0, 0, 0, 0, 20]);
    assert_eq!(bench.server.counters().bytes_from_clients, 10_000);
}

#[test]
fn a_client_whose_connection_ends_takes_its_allocation_along() {
    let mut bench = Bench::new();
    bench.over_tcp().allocate();
    bench.server.client_gone(&bench.client.clone());
    assert!(bench.server.is_empty());
}
