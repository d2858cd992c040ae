//! NATs as RFC 4787 sorts them: which outside address a socket gets, and who may answer to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// On what of the far end a NAT's behaviour depends (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depends {
    /// On nothing: endpoint-independent.
    OnNothing,
    /// On its address.
    OnAddress,
    /// On its address and port.
    OnPort,
}

/// A kind of NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nat {
    /// When a socket gets another outside port: `OnPort` is what is called symmetric.
    pub mapping: Depends,
    /// Whose datagrams are let in, of those the socket sent something to.
    pub filtering: Depends,
}

/// A NAT at work for one socket.
#[derive(Debug)]
pub(crate) struct Translator {
    nat: Nat,
    outside: IpAddr,
    next_port: u16,
    ports: BTreeMap<Key, u16>,
    opened: BTreeSet<(u16, Key)>,
}

/// As much of a far end as a behaviour depends on.
type Key = (Option<IpAddr>, Option<u16>);

impl Translator {
    pub(crate) fn new(nat: Nat, outside: SocketAddr) -> Self {
        let (ports, opened) = (BTreeMap::new(), BTreeSet::new());
        Self { nat, outside: outside.ip(), next_port: outside.port(), ports, opened }
    }

    /// The outside address towards this far end, from which answers are let in from now on.
    pub(crate) fn out(&mut self, to: SocketAddr) -> SocketAddr {
        let next = &mut self.next_port;
        let port = *self.ports.entry(key(self.nat.mapping, to)).or_insert_with(|| {
            *next += 1;
            *next - 1
        });
        self.opened.insert((port, key(self.nat.filtering, to)));
        SocketAddr::new(self.outside, port)
    }

    /// Whether a datagram from there is let in at this outside address.
    pub(crate) fn admits(&self, outside: SocketAddr, from: SocketAddr) -> bool {
        self.opened.contains(&(outside.port(), key(self.nat.filtering, from)))
    }
}

fn key(depends: Depends, far_end: SocketAddr) -> Key {
    match depends {
        Depends::OnNothing => (None, None),
        Depends::OnAddress => (Some(far_end.ip()), None),
        Depends::OnPort => (Some(far_end.ip()), Some(far_end.port())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nat_maps_and_filters_by_what_it_depends_on() {
        let far = ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"].map(|address| address.parse().unwrap());
        let outside: SocketAddr = "203.0.113.1:500".parse().unwrap();
        for (mapping, ports) in [
            (Depends::OnNothing, [500, 500, 500]),
            (Depends::OnAddress, [500, 500, 501]),
            (Depends::OnPort, [500, 501, 502]),
        ] {
            let mut nat = Translator::new(Nat { mapping, filtering: Depends::OnNothing }, outside);
            assert_eq!(far.map(|to| nat.out(to).port()), ports, "{mapping:?}");
        }
        for (filtering, admitted) in [
            (Depends::OnNothing, [true, true, true]),
            (Depends::OnAddress, [true, true, false]),
            (Depends::OnPort, [true, false, false]),
        ] {
            let mut nat = Translator::new(Nat { mapping: Depends::OnNothing, filtering }, outside);
            assert!(!nat.admits(outside, far[0]), "nothing was sent yet");
            nat.out(far[0]);
            assert_eq!(far.map(|from| nat.admits(outside, from)), admitted, "{filtering:?}");
        }
    }
}
