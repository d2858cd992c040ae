//! Which addresses are advertised, from which interfaces and settings.

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an address"))
}

/// `name address`, or `name address down`.
fn interfaces(lines: &[&str]) -> Vec<Interface> {
    let parse = |line: &&str| {
        let mut words = line.split(' ');
        let name = words.next().expect("a name").to_owned();
        Interface { name, ip: ip(words.next().expect("an address")), up: words.next().is_none() }
    };
    lines.iter().map(parse).collect()
}

#[test]
fn the_likeliest_addresses_are_chosen() {
    let nothing = AddressSettings::default();
    let fixed = AddressSettings {
        public_ips: vec![ip("203.0.113.7"), ip("2001:db8::7")],
        stun_server: Some("stun.example.org".into()),
        ..nothing.clone()
    };
    let stun = AddressSettings { stun_server: Some("stun.example.org".into()), ..nothing.clone() };
    let named = AddressSettings { interfaces: vec!["docker0".into()], ..nothing.clone() };
    let looped = AddressSettings { loopback: true, ..nothing.clone() };
    let lo = ["lo 127.0.0.1", "lo ::1"];
    let home = [&lo[..], &["eth0 192.168.1.7", "eth0 fd00::7", "eth0 2001:db8::7", "eth0 fe80::7"]].concat();
    let cloud = [&lo[..], &["eth0 10.0.0.5", "eth1 198.51.100.9", "docker0 172.17.0.1", "eth2 10.1.0.5 down"]].concat();
    let bridge = [&lo[..], &["docker0 172.17.0.1", "eth0 169.254.3.3"]].concat();
    let learned = Some(Ipv4Addr::new(203, 0, 113, 7));

    for (what, settings, local, interfaces_of, learned, expected) in [
        ("IPv4 before IPv6, public before private", &nothing, "[::]", &home, None, "192.168.1.7 2001:db8::7 fd00::7"),
        ("an IPv4 socket has no IPv6", &nothing, "0.0.0.0", &home, None, "192.168.1.7"),
        ("no bridge, nothing that is down", &nothing, "[::]", &cloud, None, "198.51.100.9 10.0.0.5"),
        ("a bridge when it is all there is", &nothing, "[::]", &bridge, None, "172.17.0.1"),
        ("a bridge when it is named", &named, "[::]", &cloud, None, "172.17.0.1"),
        ("the address it is bound to", &nothing, "10.0.0.5", &cloud, None, "10.0.0.5"),
        ("bound to loopback", &nothing, "127.0.0.1", &home, None, "127.0.0.1"),
        ("loopback when there is nothing else", &nothing, "[::]", &lo.to_vec(), None, "127.0.0.1 ::1"),
        ("loopback when the interfaces are unknown", &nothing, "[::]", &vec![], None, "127.0.0.1"),
        ("loopback when asked", &looped, "0.0.0.0", &home, None, "192.168.1.7 127.0.0.1"),
        ("fixed ones and no others", &fixed, "[::]", &home, learned, "203.0.113.7 2001:db8::7"),
        ("the one learned, then the interfaces", &stun, "0.0.0.0", &home, learned, "203.0.113.7 192.168.1.7"),
        ("the one learned is our own", &stun, "0.0.0.0", &vec!["eth0 203.0.113.7"], learned, "203.0.113.7"),
        ("the STUN server was silent", &stun, "0.0.0.0", &home, None, "192.168.1.7"),
    ] {
        let local = format!("{local}:3478").parse().expect("an address");
        let chosen = choose(settings, local, &interfaces(interfaces_of), learned);
        let shown: Vec<_> = chosen.addresses.iter().map(|address| address.ip().to_string()).collect();
        assert_eq!(shown.join(" "), expected, "{what}");
        assert!(chosen.addresses.iter().all(|address| address.port() == 3478), "{what}");
    }
}

#[test]
fn a_machine_with_many_addresses_advertises_a_few() {
    let lines: Vec<_> = (0..50).map(|last| format!("eth0 10.0.0.{last}")).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let chosen = choose(&AddressSettings::default(), ([0, 0, 0, 0], 3478).into(), &interfaces(&lines), None);
    assert_eq!(chosen.addresses.len(), ADDRESSES);
}

#[test]
fn loopback_is_known_for_local_callers_where_the_socket_hears_it() {
    let lo = interfaces(&["lo 127.0.0.1", "lo ::1", "eth0 10.0.0.5"]);
    for (local, expected) in [
        ("[::]:1", vec!["127.0.0.1:1", "[::1]:1"]),
        ("0.0.0.0:1", vec!["127.0.0.1:1"]),
        ("[::1]:1", vec!["[::1]:1"]),
        ("10.0.0.5:1", vec![]),
    ] {
        let chosen = choose(&AddressSettings::default(), local.parse().expect("an address"), &lo, None);
        let shown: Vec<_> = chosen.loopback.iter().map(ToString::to_string).collect();
        assert_eq!(shown, expected, "{local}");
    }
}

#[test]
fn the_log_sentence_tells_the_addresses_and_why() {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    for (addresses, origin, expected) in [
        (
            vec!["203.0.113.7:3478", "[2001:db8::7]:3478"],
            Origin::Configured,
            "advertising 203.0.113.7:3478, [2001:db8::7]:3478 (media.public_ip)",
        ),
        (
            vec!["203.0.113.7:3478"],
            Origin::Stun("stun.example.org".into()),
            "advertising 203.0.113.7:3478 (the first learned from STUN server stun.example.org)",
        ),
        (vec!["203.0.113.7:3478"], Origin::Interfaces, "advertising 203.0.113.7:3478 (this machine's interfaces)"),
        (
            vec!["192.168.1.7:3478", "100.64.0.1:3478"],
            Origin::Interfaces,
            "advertising 192.168.1.7:3478, 100.64.0.1:3478 (this machine's interfaces; all private, so clients outside \
             this network need media.public_ip or media.stun_server)",
        ),
        (
            vec!["127.0.0.1:3478"],
            Origin::Loopback,
            "advertising 127.0.0.1:3478 (loopback only, so clients on other machines cannot connect; media.bind or \
             media.public_ip changes that)",
        ),
    ] {
        let addresses = addresses.into_iter().map(address).collect();
        assert_eq!(Advertised { addresses, loopback: vec![], origin }.to_string(), expected);
    }
}

#[test]
fn discovery_on_this_machine_finds_something() {
    let found = discover(&AddressSettings::default(), ([0, 0, 0, 0], 3478).into());
    assert!(!found.addresses.is_empty());
}
