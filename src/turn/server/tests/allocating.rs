//! Allocations, permissions, channels: T1 to T26 and T31 to T37.

use std::net::{IpAddr, SocketAddr};

use super::super::*;
use super::client::*;
use crate::turn::StreamId;

const FAMILY: u16 = attribute::REQUESTED_ADDRESS_FAMILY;
const ADDITIONAL: u16 = attribute::ADDITIONAL_ADDRESS_FAMILY;
const IPV4: (u16, &[u8]) = (FAMILY, &[1, 0, 0, 0]);
const IPV6: (u16, &[u8]) = (FAMILY, &[2, 0, 0, 0]);
const EVEN: (u16, &[u8]) = (attribute::EVEN_PORT, &[0]);
const PAIR: (u16, &[u8]) = (attribute::EVEN_PORT, &[0x80]);
const TOKEN: (u16, &[u8]) = (attribute::RESERVATION_TOKEN, &[7; 8]);

#[test]
fn an_allocate_request_gets_what_it_asks_for_or_a_code_that_says_why_not() {
    let rows: [(&str, Attributes<'_>, u16); 18] = [
        ("plain", &[UDP], 0),
        ("T1 no transport", &[], 400),
        ("T2 another transport", &[(attribute::REQUESTED_TRANSPORT, &[132, 0, 0, 0])], 442),
        ("T3 TCP over UDP", &[(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])], 400),
        ("T5 don't fragment", &[UDP, (attribute::DONT_FRAGMENT, &[])], 0),
        ("T6 even port and token", &[UDP, EVEN, TOKEN], 400),
        ("T6 family and token", &[UDP, IPV4, TOKEN], 400),
        ("T7 an unknown token", &[UDP, TOKEN], 508),
        ("T7 a token that is none", &[UDP, (attribute::RESERVATION_TOKEN, &[7; 4])], 400),
        ("T9 IPv6", &[UDP, IPV6], 0),
        ("T9 a family nobody knows", &[UDP, (FAMILY, &[9, 0, 0, 0])], 440),
        ("T10 both families asked for", &[UDP, IPV4, (ADDITIONAL, &[2, 0, 0, 0])], 400),
        ("T10 additional and a pair", &[UDP, PAIR, (ADDITIONAL, &[2, 0, 0, 0])], 400),
        ("T10 additional and a token", &[UDP, TOKEN, (ADDITIONAL, &[2, 0, 0, 0])], 400),
        ("T10 additional IPv4", &[UDP, (ADDITIONAL, &[1, 0, 0, 0])], 400),
        ("T11 dual", &[UDP, (ADDITIONAL, &[2, 0, 0, 0])], 0),
        ("T37 mobility", &[UDP, (attribute::MOBILITY_TICKET, &[])], 405),
        ("T8 an even port", &[UDP, EVEN], 0),
    ];
    for (what, attributes, expected) in rows {
        let mut bench = Bench::new();
        assert_eq!(bench.code(method::ALLOCATE, attributes, &[]), expected, "{what}");
        assert_eq!(bench.server.is_empty(), expected != 0, "{what}");
    }
    let mut bench = Bench::new();
    bench.over_tcp();
    assert_eq!(bench.code(method::ALLOCATE, &[(attribute::REQUESTED_TRANSPORT, &[6, 0, 0, 0])], &[]), 442);
    assert_eq!(bench.code(0x00a, &[], &[]), 400, "RFC 6062's Connect");
}

#[test]
fn the_answer_carries_relayed_and_mapped_address_lifetime_and_signature() {
    let mut bench = Bench::new();
    let answer = bench.allocate();
    let [relayed] = answer.relayed()[..] else { panic!("one relayed address") };
    assert_eq!(relayed.ip(), ip("203.0.113.1"));
    assert!((50_000..=50_099).contains(&relayed.port()) && relayed.port().is_multiple_of(2));
    let mapped: Vec<_> = answer.message().addresses(attribute::XOR_MAPPED_ADDRESS).collect();
    assert_eq!(mapped, [Some(bench.client.remote)]);
    assert_eq!(answer.lifetime(), 600);
    let key = crate::turn::credentials::key(&bench.user.username, &bench.user.password);
    assert!(answer.message().is_signed_with(&key));
}

#[test]
fn a_retransmitted_request_gets_the_same_answer_and_a_second_one_437() {
    let mut bench = Bench::new();
    let transaction = bench.next();
    let request = bench.sign(build(method::ALLOCATE, &transaction, &[UDP, PAIR], &[]));
    let (first, again) = (bench.exchange(&request), bench.exchange(&request));
    assert_eq!(first, again);
    assert_eq!(bench.code(method::ALLOCATE, &[UDP], &[]), 437);
    assert_eq!(bench.server.counters().allocations, 1);
}

#[test]
fn two_families_have_one_port_and_a_missing_one_is_named() {
    let mut bench = Bench::new();
    let dual: Attributes<'_> = &[UDP, (ADDITIONAL, &[2, 0, 0, 0])];
    let answer = bench.ask(method::ALLOCATE, dual, &[]);
    let ips: Vec<_> = answer.relayed().iter().map(SocketAddr::ip).collect();
    assert_eq!(ips, [ip("203.0.113.1"), ip("2001:db8::1")]);
    assert!(!answer.message().has(attribute::ADDRESS_ERROR_CODE));

    let mut bench = Bench::with(|settings| settings.relay_ips.truncate(1));
    let answer = bench.ask(method::ALLOCATE, dual, &[]);
    assert_eq!((answer.code, answer.relayed().len()), (0, 1));
    let expected = [&[2, 0, 4, 40][..], b"Address Family not Supported"].concat();
    assert_eq!(answer.message().get(attribute::ADDRESS_ERROR_CODE), Some(&expected[..]));
    assert_eq!(Bench::with(|settings| settings.relay_ips.truncate(1)).code(method::ALLOCATE, &[UDP, IPV6], &[]), 440);

    let six_only = || Bench::with(|settings| settings.relay_ips.retain(IpAddr::is_ipv6));
    assert_eq!(six_only().ask(method::ALLOCATE, &[UDP], &[]).relayed()[0].ip(), ip("2001:db8::1"), "as browsers ask");

    assert_eq!(six_only().code(method::ALLOCATE, &[UDP, IPV4], &[]), 440, "who wants IPv4 is told");
}

#[test]
fn a_reserved_port_is_the_one_above_and_good_for_half_a_minute_once() {
    let mut bench = Bench::new();
    let answer = bench.ask(method::ALLOCATE, &[UDP, PAIR], &[]);
    let token = answer.message().get(attribute::RESERVATION_TOKEN).unwrap().to_vec();
    assert_eq!(token.len(), 8);
    let with_token =
        |bench: &mut Bench| bench.ask(method::ALLOCATE, &[UDP, (attribute::RESERVATION_TOKEN, &token)], &[]);
    let second = with_token(bench.port(4001));
    assert_eq!(second.relayed()[0].port(), answer.relayed()[0].port() + 1);
    assert_eq!(with_token(bench.port(4002)).code, 508, "used");

    let mut bench = Bench::new();
    let answer = bench.ask(method::ALLOCATE, &[UDP, PAIR], &[]);
    let token = answer.message().get(attribute::RESERVATION_TOKEN).unwrap().to_vec();
    bench.later(30).port(4001);
    assert_eq!(bench.code(method::ALLOCATE, &[UDP, (attribute::RESERVATION_TOKEN, &token)], &[]), 508, "expired");
}

#[test]
fn quotas_are_counted_per_user_and_for_all() {
    let mut bench = Bench::new();
    for n in 0..3 {
        bench.port(4000 + n).allocate();
    }
    assert_eq!(bench.port(4003).code(method::ALLOCATE, &[UDP], &[]), 486);
    bench.user = crate::turn::Credential::mint(SECRET, Duration::from_secs(UNIX + 7200), "alice");
    assert_eq!(bench.code(method::ALLOCATE, &[UDP], &[]), 486, "a new credential is the same user");
    for n in 3..10 {
        bench.user = user(&format!("user {n}"));
        bench.port(4000 + n).allocate();
    }
    bench.user = user("one more");
    assert_eq!(bench.port(4010).code(method::ALLOCATE, &[UDP], &[]), 508);

    let mut bench = Bench::with(|settings| settings.ports = 50_000..=50_003);
    bench.port(4000).allocate();
    bench.port(4001).allocate();
    assert_eq!(bench.port(4002).code(method::ALLOCATE, &[UDP], &[]), 508, "no port left");
}

#[test]
fn lifetimes_are_clamped_and_what_is_not_refreshed_ends() {
    for (wanted, granted) in [(0, 600), (1, 600), (600, 600), (1234, 1234), (3600, 3600), (999_999, 3600)] {
        let mut bench = Bench::new();
        let lifetime = u32::to_be_bytes(wanted);
        let answer = bench.ask(method::ALLOCATE, &[UDP, (attribute::LIFETIME, &lifetime)], &[]);
        assert_eq!(answer.lifetime(), granted, "{wanted}");
        bench.later(u64::from(granted) - 1);
        assert!(!bench.server.is_empty(), "{wanted}");
        bench.later(1);
        assert!(bench.server.is_empty() && bench.server.deadline().is_none(), "{wanted}");
    }
    let mut bench = Bench::new();
    bench.allocate();
    bench.permit(PEER);
    assert_eq!(bench.later(500).ask(method::REFRESH, &[], &[]).lifetime(), 600);
    bench.later(599);
    assert_eq!(bench.server.counters().allocations, 1);
    let deadline = bench.server.deadline().unwrap();
    assert_eq!(deadline, bench.now + Duration::from_secs(1));
    bench.later(1);
    assert!(bench.server.is_empty());
    assert!(matches!(bench.server.socket_requests().next_back(), Some(SocketRequest::Close { .. })));
}

#[test]
fn a_refresh_may_shorten_a_life() {
    let mut bench = Bench::new();
    let lifetime = u32::to_be_bytes(3600);
    assert_eq!(bench.ask(method::ALLOCATE, &[UDP, (attribute::LIFETIME, &lifetime)], &[]).lifetime(), 3600);
    for _ in 0..3 {
        assert_eq!(bench.ask(method::REFRESH, &[(attribute::LIFETIME, &lifetime)], &[]).lifetime(), 3600);
        assert_eq!(bench.ask(method::REFRESH, &[], &[]).lifetime(), 600);
    }
    assert_eq!(bench.server.deadline(), Some(bench.now + Duration::from_secs(600)));
    assert_eq!(bench.server.expiries.len(), 2, "however often it changes its mind");
    bench.later(599);
    assert!(!bench.server.is_empty());
    bench.later(1);
    assert!(bench.server.is_empty());
    bench.later(3600);
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn a_refresh_of_zero_ends_the_allocation() {
    let mut bench = Bench::new();
    bench.allocate();
    let zero: Attributes<'_> = &[(attribute::LIFETIME, &[0; 4])];
    let answer = bench.ask(method::REFRESH, zero, &[]);
    assert_eq!((answer.code, answer.lifetime()), (0, 0));
    assert!(bench.server.is_empty());
    assert_eq!(bench.code(method::REFRESH, zero, &[]), 437);
    bench.allocate();
}

#[test]
fn requests_without_an_allocation_of_that_user_on_that_path_are_refused() {
    let methods: [(u16, Attributes<'_>); 3] = [
        (method::REFRESH, &[]),
        (method::CREATE_PERMISSION, &[]),
        (method::CHANNEL_BIND, &[(attribute::CHANNEL_NUMBER, &[0x40, 0, 0, 0])]),
    ];
    for (method, attributes) in methods {
        let mut bench = Bench::new();
        assert_eq!(bench.code(method, attributes, &[PEER]), 437, "T16 {method}");
        bench.allocate();
        bench.user = user("bob");
        assert_eq!(bench.code(method, attributes, &[PEER]), 441, "T17 {method}");
        bench.user = user("alice");
        assert_eq!(bench.port(4001).code(method, attributes, &[PEER]), 437, "T35 {method}");
        bench.port(4000).client.carrier = crate::turn::Carrier::Stream(StreamId(3));
        assert_eq!(bench.code(method, attributes, &[PEER]), 437, "another connection {method}");
    }
}

#[test]
fn a_refresh_names_a_family_the_allocation_has() {
    let mut bench = Bench::new();
    bench.allocate();
    assert_eq!(bench.code(method::REFRESH, &[IPV4], &[]), 0);
    assert_eq!(bench.code(method::REFRESH, &[IPV6], &[]), 443);
    let mut bench = Bench::new();
    assert_eq!(bench.code(method::ALLOCATE, &[UDP, (ADDITIONAL, &[2, 0, 0, 0])], &[]), 0);
    assert_eq!(bench.code(method::REFRESH, &[IPV6, (attribute::LIFETIME, &[0; 4])], &[]), 0);
    assert_eq!(bench.code(method::REFRESH, &[IPV6], &[]), 443, "only that one went");
    assert_eq!(bench.code(method::REFRESH, &[IPV4], &[]), 0);
}

#[test]
fn permissions_are_given_to_all_peers_or_to_none() {
    let rows: [(&str, &[&str], u16); 8] = [
        ("one", &[PEER], 0),
        ("several", &[PEER, "1.1.1.1:1", "9.9.9.9:1"], 0),
        ("T20 none", &[], 400),
        ("T21 another family", &["[2606:4700::1]:1"], 443),
        ("T22 forbidden", &["10.0.0.1:1"], 403),
        ("T33 one forbidden", &[PEER, "127.0.0.1:1"], 403),
        ("T33 one of another family", &[PEER, "[2606:4700::1]:1"], 443),
        ("our own media address", &[MEDIA], 0),
    ];
    for (what, peers, expected) in rows {
        let mut bench = Bench::new();
        bench.allocate();
        assert_eq!(bench.code(method::CREATE_PERMISSION, &[], peers), expected, "{what}");
        let given = bench.server.allocations.values().next().unwrap();
        assert_eq!(
            given.permissions.covers(bench.now, ip("8.8.8.8")),
            expected == 0 && peers.contains(&PEER),
            "{what}"
        );
    }
    let mut bench = Bench::new();
    assert_eq!(bench.code(method::ALLOCATE, &[UDP, IPV6], &[]), 0);
    for (peer, expected) in [("[2606:4700::1]:1", 0), ("[::ffff:127.0.0.1]:1", 403), ("[2002:7f00:1::]:1", 403)] {
        assert_eq!(bench.code(method::CREATE_PERMISSION, &[], &[peer]), expected, "{peer}");
    }
}

#[test]
fn channels_have_one_peer_and_peers_one_channel() {
    let mut bench = Bench::new();
    bench.allocate();
    let number: Attributes<'_> = &[(attribute::CHANNEL_NUMBER, &[0x40, 0, 0, 0])];
    assert_eq!(bench.code(method::CHANNEL_BIND, number, &[]), 400, "T23 no peer");
    assert_eq!(bench.code(method::CHANNEL_BIND, &[], &[PEER]), 400, "T23 no number");
    for (number, expected) in [(0x3fff, 400), (0x8000, 400), (0x7fff, 0)] {
        assert_eq!(bench.bind(number, "1.1.1.1:1"), expected, "T24 {number:x}");
    }
    assert_eq!(bench.bind(0x4000, PEER), 0);
    assert_eq!(bench.bind(0x4000, "8.8.8.8:9001"), 400, "T25 another peer");
    assert_eq!(bench.bind(0x4001, PEER), 400, "T25 another channel");
    assert_eq!(bench.bind(0x4000, PEER), 0, "T26 again");
    assert_eq!(bench.bind(0x4002, "192.168.1.1:1"), 403);
    assert_eq!(bench.bind(0x4002, "[2606:4700::1]:1"), 443);
}

#[test]
fn a_socket_is_asked_for_once_and_only_for_peers_outside() {
    let mut bench = Bench::new();
    let port = bench.allocate().relayed()[0].port();
    bench.permit(MEDIA);
    bench.bind(0x4000, MEDIA);
    assert_eq!(bench.server.socket_requests().count(), 0);
    bench.permit(PEER);
    bench.bind(0x4001, PEER);
    let requests: Vec<_> = bench.server.socket_requests().collect();
    let [SocketRequest::Open { relay, port: opened }] = requests[..] else { panic!("{requests:?}") };
    assert_eq!(opened, port);
    bench.server.socket_failed(relay);
    assert_eq!(bench.server.socket_requests().collect::<Vec<_>>(), [SocketRequest::Close { relay }]);
    assert_eq!(bench.code(method::REFRESH, &[], &[]), 437);
    assert_ne!(bench.allocate().relayed()[0].port(), port, "who asks anew gets another one");
}
