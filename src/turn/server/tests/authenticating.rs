//! Binding, and who is let in (RFC 8489; S2 to S8).

use std::net::SocketAddr;

use super::super::*;
use super::client::*;
use crate::turn::credentials::{Credential, key};

#[test]
fn a_binding_request_is_told_its_address_and_gets_a_fingerprint_if_it_has_one() {
    for (remote, with_fingerprint) in [("192.0.2.9:4000", true), ("[2001:db8::9]:4000", false)] {
        let mut bench = Bench::new();
        bench.client.remote = at(remote);
        let request = build(method::BINDING, &[5; 12], &[], &[]).finish(None, with_fingerprint);
        let answer = bench.exchange(&request);
        let found: Vec<_> = answer.message().addresses(attribute::XOR_MAPPED_ADDRESS).collect();
        assert_eq!(found, [Some(at(remote))]);
        assert_eq!(answer.message().has(attribute::FINGERPRINT), with_fingerprint);
        assert!(answer.bytes.len() < 3 * request.len(), "amplifies");
    }
}

#[test]
fn attributes_that_must_be_understood_and_are_not_are_listed_all() {
    let mut bench = Bench::new();
    let odd: Attributes<'_> = &[(0x0003, &[0, 0, 0, 6]), (0x7fff, &[1]), (0xff00, &[1])];
    let answer = bench.raw(method::BINDING, odd, &[]);
    assert_eq!(answer.code, 420);
    assert_eq!(answer.message().get(attribute::UNKNOWN_ATTRIBUTES), Some(&[0, 3, 0x7f, 0xff][..]));
    assert_eq!(bench.raw(method::BINDING, &[(0xff00, &[1])], &[]).code, 0, "these may be ignored");
    assert_eq!(bench.code(method::ALLOCATE, &[UDP, (0x7fff, &[1])], &[]), 420);
}

#[test]
fn responses_indications_and_what_is_no_stun_are_not_answered() {
    let mut bench = Bench::new();
    for class in [Class::Indication, Class::Success, Class::Error] {
        let message = Writer::new(class, method::BINDING, &[0; 12]).finish(None, true);
        assert_eq!(bench.send(&message), Output::Nothing, "{class:?}");
    }
    for datagram in [&[][..], &[0; 20], &[1, 2, 3], b"GET / HTTP/1.1", &[0x80; 40], &[22; 40]] {
        assert_eq!(bench.send(datagram), Output::Nothing, "{datagram:?}");
    }
}

#[test]
fn whoever_has_not_authenticated_is_challenged_in_few_bytes() {
    let mut bench = Bench::new();
    let request = build(method::ALLOCATE, &[5; 12], &[], &[]).finish(None, false);
    let answer = bench.exchange(&request);
    assert_eq!(answer.code, 401);
    assert_eq!(answer.message().text(attribute::REALM), Some(REALM));
    for absent in [attribute::USERNAME, attribute::MESSAGE_INTEGRITY] {
        assert!(!answer.message().has(absent));
    }
    assert!(answer.bytes.len() < 3 * request.len(), "{} bytes for {}", answer.bytes.len(), request.len());
}

#[test]
fn wrong_credentials_and_nonces_have_their_codes() {
    let mut bench = Bench::new();
    let nonce = bench.nonce();
    let good = user("alice");
    let other = Credential { password: "wrong".to_owned(), ..good.clone() };
    let expired = Credential::mint(SECRET, Duration::from_secs(UNIX - 1), "alice");
    let foreign = Credential::mint(b"another secret", Duration::from_secs(UNIX + 60), "alice");
    let untimed = Credential { username: "alice".to_owned(), password: "x".to_owned() };
    let rows: [(&str, &Credential, &str, &str, u16); 9] = [
        ("the right ones", &good, REALM, &nonce, 0),
        ("a wrong password", &other, REALM, &nonce, 401),
        ("an expired user name", &expired, REALM, &nonce, 401),
        ("another's secret", &foreign, REALM, &nonce, 401),
        ("a user name without a time", &untimed, REALM, &nonce, 401),
        ("another realm", &good, "elsewhere", &nonce, 401),
        ("an unknown nonce", &good, REALM, "AAAAAAAAAAAAAAAA", 438),
        ("no nonce", &good, REALM, "", 400),
        ("no realm", &good, "", &nonce, 400),
    ];
    for (what, credential, realm, nonce, expected) in rows {
        bench.transaction += 1;
        let mut request = build(method::REFRESH, &[bench.transaction; 12], &[(attribute::LIFETIME, &[0; 4])], &[])
            .add(attribute::USERNAME, credential.username.as_bytes());
        for (kind, value) in [(attribute::REALM, realm), (attribute::NONCE, nonce)] {
            if !value.is_empty() {
                request = request.add(kind, value.as_bytes());
            }
        }
        let key = key(&credential.username, &credential.password);
        let answer = bench.exchange(&request.finish(Some(&key), false));
        // Who got through has no allocation to refresh.
        let code = if answer.code == 437 { 0 } else { answer.code };
        assert_eq!(code, expected, "{what}");
        assert_eq!(answer.message().has(attribute::NONCE), matches!(code, 401 | 438), "{what}");
        assert_eq!(answer.message().is_signed_with(&key), code == 0, "{what}");
    }
}

#[test]
fn an_old_nonce_is_replaced_and_the_allocation_stays() {
    let mut bench = Bench::with(|settings| settings.allocations = 1);
    bench.user = Credential::mint(SECRET, Duration::from_secs(UNIX + 7200), "alice");
    let nonce = bench.nonce();
    assert_eq!(bench.code(method::ALLOCATE, &[UDP, (attribute::LIFETIME, &3600u32.to_be_bytes())], &[]), 0);
    bench.later(3500);
    assert_eq!(bench.code(method::REFRESH, &[(attribute::LIFETIME, &3600u32.to_be_bytes())], &[]), 0);
    bench.later(200);
    let Credential { username, password } = bench.user.clone();
    let stale = build(method::REFRESH, &[77; 12], &[], &[])
        .add(attribute::USERNAME, username.as_bytes())
        .add(attribute::REALM, REALM.as_bytes())
        .add(attribute::NONCE, nonce.as_bytes())
        .finish(Some(&key(&username, &password)), false);
    assert_eq!(bench.exchange(&stale).code, 438);
    assert_eq!(bench.code(method::REFRESH, &[], &[]), 0);
}

#[test]
fn a_credential_that_runs_out_refreshes_nothing_any_more() {
    let mut bench = Bench::new();
    assert_eq!(bench.code(method::ALLOCATE, &[UDP, (attribute::LIFETIME, &3600u32.to_be_bytes())], &[]), 0);
    bench.later(3599);
    assert_eq!(bench.code(method::REFRESH, &[], &[]), 0);
    bench.later(1);
    assert_eq!(bench.code(method::REFRESH, &[], &[]), 401);
    bench.user = Credential::mint(SECRET, Duration::from_secs(UNIX + 7200), "alice");
    assert_eq!(bench.code(method::REFRESH, &[], &[]), 0, "the same user's new one does");
}

#[test]
fn a_flood_of_strangers_is_answered_no_faster_than_its_rate_and_leaves_nothing() {
    let mut bench = Bench::new();
    let request = build(method::ALLOCATE, &[5; 12], &[UDP], &[]).finish(None, false);
    let answered = (0..10_000).filter(|_| bench.send(&request) != Output::Nothing).count();
    assert!(answered < 1000, "{answered}");
    assert_eq!(bench.server.counters().limited, 10_000 - answered as u64);
    for source in 0..500_000u32 {
        bench.client.remote = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0b00_0000 + source), 4000));
        let _ = bench.send(&request);
    }
    assert!(bench.server.is_empty());
    assert_eq!(bench.server.deadline(), None);
}

#[test]
fn who_signs_with_a_wrong_password_leaves_nothing_either() {
    let mut bench = Bench::new();
    bench.user.password.push('x');
    for source in 0..50_000u32 {
        bench.client.remote = SocketAddr::from((std::net::Ipv4Addr::from_bits(0x0b00_0000 + source), 4000));
        bench.now += Duration::from_millis(1);
        assert_eq!(bench.code(method::ALLOCATE, &[UDP], &[]), 401);
    }
    assert_eq!(bench.server.counters().allocated, 0);
    assert!(bench.server.is_empty());
    let Server { by_client, by_port, users, expiries, ports, .. } = &bench.server;
    let room = [by_client.capacity(), by_port.capacity(), users.capacity(), expiries.capacity()];
    assert_eq!(room, [0; 4], "room was made for somebody");
    assert_eq!(ports.in_use(), 0);
}

#[test]
fn without_relaying_only_binding_is_answered() {
    let mut bench = Bench::with(|settings| settings.relaying = false);
    assert_eq!(bench.raw(method::BINDING, &[], &[]).code, 0);
    let request = build(method::ALLOCATE, &[5; 12], &[UDP], &[]).finish(None, false);
    assert_eq!(bench.send(&request), Output::Nothing);
}
