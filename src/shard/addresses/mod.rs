//! Which addresses to advertise as ICE candidates: fixed ones (1:1 NAT), one learned from a STUN server, or those of
//! the interfaces.
//!
//! [`choose`] decides and is pure; [`discover`] asks the system and the STUN server, blocking, once at start-up. Not
//! here: mapping a datagram's local address to the candidate it came in by, and noticing that interfaces change.

mod stun;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use stun::StunError;

/// Addresses advertised at most. Larger: a client checks each, so a machine with many addresses slows its connecting;
/// smaller: the one that works may be missing.
const ADDRESSES: usize = 8;

/// Names of interfaces made by container and virtual-machine software. Their addresses mean something on this machine
/// only, and the same ones occur on many machines, where a client would check against the wrong host.
const BRIDGES: [&str; 13] = [
    "docker", "br-", "bridge", "veth", "virbr", "lxcbr", "lxdbr", "podman", "cni", "flannel", "cali", "vmnet",
    "vboxnet",
];

/// What the operator asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressSettings {
    /// Addresses to advertise instead of any other; empty: find out.
    pub public_ips: Vec<IpAddr>,
    /// A STUN server to learn the public address from, as `host` or `host:port`.
    pub stun_server: Option<String>,
    /// Names of the only interfaces to use; empty: all.
    pub interfaces: Vec<String>,
    /// Advertise loopback too.
    pub loopback: bool,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The interface's name.
    pub name: String,
    /// The address.
    pub ip: IpAddr,
    /// The interface is running.
    pub up: bool,
}

/// The addresses to advertise. Displays as a sentence for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// Host candidates, the likeliest first; ffmpeg uses only the first. Never empty.
    pub addresses: Vec<SocketAddr>,
    /// Loopback addresses that reach the socket, for clients on this machine.
    pub loopback: Vec<SocketAddr>,
    /// Where they come from.
    pub origin: Origin,
}

/// Where the advertised addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `media.public_ip`.
    Configured,
    /// This STUN server; the interfaces' own addresses follow the one learned.
    Stun(String),
    /// The interfaces.
    Interfaces,
    /// There is nothing but loopback.
    Loopback,
}

/// Finds out what to advertise for a socket bound to `local`. Blocks for at most a few seconds, and only with a STUN
/// server; when that fails, says so in the log and goes on with the interfaces.
pub fn discover(settings: &AddressSettings, local: SocketAddr) -> Advertised {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot list the network interfaces; set media.public_ip");
        Vec::new()
    });
    let interfaces: Vec<_> = interfaces
        .into_iter()
        .map(|found| Interface { ip: found.ip(), up: found.is_oper_up(), name: found.name })
        .collect();
    let has_ipv4 = local.is_ipv4() || local.ip().is_unspecified();
    let server = settings.stun_server.as_deref().filter(|_| settings.public_ips.is_empty() && has_ipv4);
    let learned = server.and_then(|server| {
        stun::public_ip(server, local.ip())
            .inspect_err(|error| tracing::warn!("{error}; using the addresses of the interfaces"))
            .ok()
    });
    choose(settings, local, &interfaces, learned)
}

/// The choice itself. `learned` is what the STUN server said.
pub fn choose(
    settings: &AddressSettings,
    local: SocketAddr,
    interfaces: &[Interface],
    learned: Option<Ipv4Addr>,
) -> Advertised {
    let loopback = loopback(local, interfaces);
    let (mut ips, origin) = if !settings.public_ips.is_empty() {
        (settings.public_ips.clone(), Origin::Configured)
    } else {
        let own = usable(settings, local, interfaces);
        match (learned, &settings.stun_server) {
            (Some(learned), Some(server)) => {
                (std::iter::once(IpAddr::V4(learned)).chain(own).collect(), Origin::Stun(server.clone()))
            }
            _ if own.is_empty() => (Vec::new(), Origin::Loopback),
            _ => (own, Origin::Interfaces),
        }
    };
    if settings.loopback || ips.is_empty() {
        ips.extend(loopback.iter().map(SocketAddr::ip));
    }
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for ip in ips {
        let address = SocketAddr::new(ip, local.port());
        if !addresses.contains(&address) && addresses.len() < ADDRESSES {
            addresses.push(address);
        }
    }
    Advertised { addresses, loopback, origin }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("advertising ")?;
        for (index, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if index == 0 { "" } else { ", " })?;
        }
        let private = self.addresses.iter().all(|address| !is_public(address.ip()));
        match &self.origin {
            Origin::Configured => write!(f, " (media.public_ip)"),
            Origin::Stun(server) => write!(f, " (the first learned from STUN server {server})"),
            Origin::Interfaces if private => write!(
                f,
                " (this machine's interfaces; all private, so clients outside this network need media.public_ip or \
                 media.stun_server)"
            ),
            Origin::Interfaces => write!(f, " (this machine's interfaces)"),
            Origin::Loopback => write!(
                f,
                " (loopback only, so clients on other machines cannot connect; media.bind or media.public_ip changes \
                 that)"
            ),
        }
    }
}

/// Addresses of ours that a client elsewhere can use, the likeliest first.
fn usable(settings: &AddressSettings, local: SocketAddr, interfaces: &[Interface]) -> Vec<IpAddr> {
    if !local.ip().is_unspecified() {
        return Some(local.ip()).filter(|ip| !ip.is_loopback()).into_iter().collect();
    }
    // An interface asked for by name is taken for what it is.
    let all = settings.interfaces.is_empty();
    let mut candidates: Vec<&Interface> = interfaces
        .iter()
        .filter(|interface| all || settings.interfaces.contains(&interface.name))
        .filter(|interface| interface.up && covers(local, interface.ip) && is_routable(interface.ip))
        .collect();
    let bridges_only = candidates.iter().all(|interface| is_bridge(&interface.name));
    candidates.retain(|interface| !all || bridges_only || !is_bridge(&interface.name));
    // IPv4 first: every client has it. The sort is stable, so the system's own order decides among equals.
    candidates.sort_by_key(|interface| (interface.ip.is_ipv6(), !is_public(interface.ip)));
    candidates.into_iter().map(|interface| interface.ip).collect()
}

/// Loopback addresses that reach a socket bound to `local`.
fn loopback(local: SocketAddr, interfaces: &[Interface]) -> Vec<SocketAddr> {
    let has_ipv6 = interfaces.iter().any(|interface| interface.up && interface.ip == Ipv6Addr::LOCALHOST);
    let ips: Vec<IpAddr> = match local.ip() {
        bound if bound.is_loopback() => vec![bound],
        bound if !bound.is_unspecified() => vec![],
        IpAddr::V6(_) if has_ipv6 => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        _ => vec![Ipv4Addr::LOCALHOST.into()],
    };
    ips.into_iter().map(|ip| SocketAddr::new(ip, local.port())).collect()
}

/// Whether a socket bound to all addresses by `local` receives what is sent to `ip`: `[::]` takes IPv4 too.
fn covers(local: SocketAddr, ip: IpAddr) -> bool {
    local.is_ipv6() || ip.is_ipv4()
}

/// A client on another machine can send to it without naming an interface.
fn is_routable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(link_local || ip.is_loopback() || ip.is_unspecified() || ip.is_multicast())
}

/// Not of the ranges for private use (RFC 1918, RFC 4193) or for carriers' NAT (RFC 6598).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !(ip.is_private() || ip.octets()[0] == 100 && ip.octets()[1] & 0xC0 == 64),
        IpAddr::V6(ip) => !ip.is_unique_local(),
    }
}

fn is_bridge(name: &str) -> bool {
    BRIDGES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests;
