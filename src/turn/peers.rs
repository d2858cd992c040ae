//! Which addresses a relay may send to (RFC 8656 section 21.1.5 and the history of relays used to reach inside).
//!
//! Denied by default is everything that is not a public unicast address, in all the disguises an IPv4 address has in
//! IPv6: a relay stands inside the operator's network and would reach what the internet cannot. Allowed beyond that are
//! the networks the operator opens, this server's own media address (without a socket) and its own relayed addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

/// IPv4 networks nobody may be relayed to unless the operator says so (RFC 6890, cloud metadata among link-local).
const DENIED_V4: &[(Ipv4Addr, u8)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// Global unicast (RFC 4291 section 2.4); of IPv6 only this is not denied outright.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Parts of it that are not: protocol assignments with Teredo, ORCHID and benchmarking in them, documentation.
const DENIED_V6: &[(Ipv6Addr, u8)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a network; write an address and a prefix length like 10.0.0.0/8 or fd00::/8, or one address")]
pub struct NotANetwork(String);

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip) {
            (IpAddr::V4(network), IpAddr::V4(ip)) => covers(network.to_bits(), self.prefix, 32, ip.to_bits()),
            (IpAddr::V6(network), IpAddr::V6(ip)) => covers(network.to_bits(), self.prefix, 128, ip.to_bits()),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let read = || {
            let (address, prefix) = text.split_once('/').map_or((text, None), |(ip, prefix)| (ip, Some(prefix)));
            let address: IpAddr = address.parse().ok()?;
            let longest = if address.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.map_or(Some(longest), |prefix| prefix.parse().ok())?;
            (prefix <= longest).then_some(Self { address, prefix })
        };
        read().ok_or_else(|| NotANetwork(text.to_owned()))
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// How a peer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is this server's media address: in process.
    Media,
    /// It is in the range of this server's relayed addresses: in process.
    Relayed,
    /// Through the relay's socket.
    Outside,
    /// Not at all.
    Denied,
}

/// What the operator decided.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Our media addresses.
    media: Vec<SocketAddr>,
    /// Addresses relays have.
    relays: Vec<IpAddr>,
    ports: RangeInclusive<u16>,
    allowed: Vec<Network>,
}

impl Policy {
    pub(super) fn new(
        media: Vec<SocketAddr>,
        relays: Vec<IpAddr>,
        ports: RangeInclusive<u16>,
        allowed: Vec<Network>,
    ) -> Self {
        Self { media, relays, ports, allowed }
    }

    /// Whether a permission may be given. Ports do not count in permissions, so for our own addresses
    /// [`reach`](Self::reach) has the last word on each datagram.
    pub(super) fn permits(&self, ip: IpAddr) -> bool {
        self.is_ours(ip) || self.is_allowed(ip) || !is_denied(ip)
    }

    /// How a datagram for a peer travels.
    pub(super) fn reach(&self, peer: SocketAddr) -> Reach {
        let ip = peer.ip();
        if self.media.contains(&peer) {
            Reach::Media
        } else if self.relays.contains(&ip) && self.ports.contains(&peer.port()) {
            Reach::Relayed
        } else if peer.port() != 0 && (self.is_allowed(ip) || !self.is_ours(ip) && !is_denied(ip)) {
            Reach::Outside
        } else {
            Reach::Denied
        }
    }

    /// The media address with this IP address: where a client of ours thinks our answers come from.
    pub(super) fn media_address(&self, ip: IpAddr) -> Option<SocketAddr> {
        self.media.iter().find(|address| address.ip() == ip).copied()
    }

    fn is_ours(&self, ip: IpAddr) -> bool {
        self.relays.contains(&ip) || self.media.iter().any(|address| address.ip() == ip)
    }

    fn is_allowed(&self, ip: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(ip))
    }
}

fn is_denied(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_denied_v4(ip),
        IpAddr::V6(ip) => {
            let lies_in = |(network, prefix): &(Ipv6Addr, u8)| covers(network.to_bits(), *prefix, 128, ip.to_bits());
            match embedded(ip) {
                Some(embedded) => is_denied_v4(embedded),
                None => !lies_in(&GLOBAL_V6) || DENIED_V6.iter().any(lies_in),
            }
        }
    }
}

fn is_denied_v4(ip: Ipv4Addr) -> bool {
    DENIED_V4.iter().any(|(network, prefix)| covers(network.to_bits(), *prefix, 32, ip.to_bits()))
}

/// The IPv4 address a packet to this IPv6 address would end at: 6to4 (RFC 3056) and NAT64 (RFC 6052). The forms the
/// system itself turns into IPv4 (`::ffff:a.b.c.d`, `::a.b.c.d`) are denied with everything outside global unicast.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let join = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match [a, b, c, d, e, f] {
        [0x2002, high, low, ..] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0] => Some(join(g, h)),
        _ => None,
    }
}

fn covers<T: Into<u128>>(network: T, prefix: u8, bits: u8, ip: T) -> bool {
    let shift = u32::from(bits.saturating_sub(prefix));
    let cut = |bits: T| bits.into().checked_shr(shift).unwrap_or(0);
    cut(network) == cut(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let media = vec!["203.0.113.1:3478".parse().unwrap(), "10.1.1.1:3478".parse().unwrap()];
        let relays = vec!["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        Policy::new(media, relays, 50_000..=50_999, vec!["192.168.7.0/24".parse().unwrap()])
    }

    #[test]
    fn only_public_unicast_addresses_are_relayed_to_in_whatever_disguise() {
        let denied = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.9.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.99",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "100::1",
            "2001:db8::5",
            "2001:0:1:2::3",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::127.0.0.1",
            "::8.8.8.8",
            "2002:7f00:1::1",
            "2002:a00:1::",
            "2002:a9fe:a9fe::",
            "64:ff9b::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::8.8.8.8",
        ];
        let allowed = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "2606:4700::1111", "2002:808:808::1", "64:ff9b::8.8.8.8"];
        for ip in denied {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(!policy().permits(ip), "{ip}");
            assert_eq!(policy().reach(SocketAddr::new(ip, 1234)), Reach::Denied, "{ip}");
        }
        for ip in allowed {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(policy().permits(ip), "{ip}");
            assert_eq!(policy().reach(SocketAddr::new(ip, 1234)), Reach::Outside, "{ip}");
            assert_eq!(policy().reach(SocketAddr::new(ip, 0)), Reach::Denied, "port 0 of {ip}");
        }
    }

    #[test]
    fn of_our_own_addresses_only_media_and_relays_are_reached() {
        let rows = [
            ("203.0.113.1:3478", Reach::Media),
            ("10.1.1.1:3478", Reach::Media),
            ("203.0.113.1:50000", Reach::Relayed),
            ("[2001:db8::1]:50999", Reach::Relayed),
            ("203.0.113.1:22", Reach::Denied),
            ("10.1.1.1:50000", Reach::Denied),
            ("203.0.113.1:51000", Reach::Denied),
            ("192.168.7.9:22", Reach::Outside),
            ("192.168.8.9:22", Reach::Denied),
        ];
        for (peer, expected) in rows {
            let peer: SocketAddr = peer.parse().unwrap();
            assert_eq!(policy().reach(peer), expected, "{peer}");
        }
        for ip in ["203.0.113.1", "10.1.1.1", "2001:db8::1", "192.168.7.200"] {
            assert!(policy().permits(ip.parse().unwrap()), "{ip}");
        }
    }

    #[test]
    fn networks_are_read_and_cover_their_addresses() {
        let rows = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7/32", "192.0.2.8", false),
            ("::/0", "fd00::1", true),
            ("fd00::/8", "fd12::1", true),
            ("fd00::/8", "fc12::1", false),
        ];
        for (network, ip, expected) in rows {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(ip.parse().unwrap()), expected, "{network} {ip}");
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "host/8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
