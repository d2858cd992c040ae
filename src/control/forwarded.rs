//! Who called, when a reverse proxy passed the request on: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Anybody can write such a field, so only the part that trusted proxies wrote counts: read from the right, the first
//! address that is not a trusted proxy's. Of the two fields only the configured one is read, for a proxy that writes
//! one passes the other on as it came.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::turn::Network;

/// The field most proxies write, by convention.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What nginx's examples write beside it.
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Reverse proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Forwarders {
    /// Where they are; nowhere: nobody is believed.
    pub networks: Vec<Network>,
    /// What they write.
    pub field: ForwardedField,
}

/// The header field a proxy names the caller in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedField {
    /// `X-Forwarded-For: 192.0.2.1, 10.0.0.7`
    #[default]
    XForwardedFor,
    /// `Forwarded: for=192.0.2.1;proto=https, for="[2001:db8::1]:4711"`
    Forwarded,
}

impl Forwarders {
    /// Whose request it is that arrived from `peer`.
    pub(super) fn caller(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        let field = match self.field {
            ForwardedField::XForwardedFor => X_FORWARDED_FOR,
            ForwardedField::Forwarded => header::FORWARDED,
        };
        let trusted = |ip: &IpAddr| self.networks.iter().any(|network| network.contains(*ip));
        if !trusted(&peer) {
            return peer;
        }
        // Lines of the same name are one list (RFC 9110 section 5.3).
        let lines = headers.get_all(field).iter().rev().filter_map(|line| line.to_str().ok());
        let hops = lines.flat_map(|line| line.rsplit(',')).map(|hop| match self.field {
            ForwardedField::XForwardedFor => address(hop),
            ForwardedField::Forwarded => forwarded_for(hop).and_then(address),
        });
        let mut caller = peer;
        // What cannot be read (`unknown`, `_hidden`) hides who is behind it: the proxy that wrote it stands for them.
        for hop in hops.map_while(|hop| hop) {
            caller = hop;
            if !trusted(&hop) {
                break;
            }
        }
        caller
    }
}

/// Whether a proxy passed the request on, known or not. What comes from this machine is then somebody else's all the
/// same.
pub(super) fn is_passed_on(headers: &HeaderMap) -> bool {
    [X_FORWARDED_FOR, X_REAL_IP, header::FORWARDED, header::VIA].iter().any(|field| headers.contains_key(field))
}

/// The `for` parameter of one element.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    named.next().map(|(_, value)| value.trim().trim_matches('"'))
}

/// An address with or without a port, brackets or none around IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarders(field: ForwardedField) -> Forwarders {
        let networks = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"];
        Forwarders { networks: networks.map(|network| network.parse().unwrap()).into(), field }
    }

    #[test]
    fn the_caller_is_the_first_from_the_right_who_is_no_trusted_proxy() {
        let rows: [(&str, &[&str], &str); 13] = [
            ("10.0.0.7", &["192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.7", &["192.0.2.1"], "192.0.2.1"),
            ("192.0.2.9", &["192.0.2.1"], "192.0.2.9"),
            ("10.0.0.7", &[], "10.0.0.7"),
            ("10.0.0.7", &["198.51.100.1, 192.0.2.1, 10.0.0.8"], "192.0.2.1"),
            ("10.0.0.7", &["198.51.100.1", "192.0.2.1 ,10.0.0.8"], "192.0.2.1"),
            ("10.0.0.7", &["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            ("10.0.0.7", &["192.0.2.1, unknown"], "10.0.0.7"),
            ("10.0.0.7", &["192.0.2.1, nonsense, 10.0.0.8"], "10.0.0.8"),
            ("10.0.0.7", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.7", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.7", &["2001:db8::1, ::ffff:10.0.0.3"], "2001:db8::1"),
            ("10.0.0.7", &[""], "10.0.0.7"),
        ];
        for (peer, lines, expected) in rows {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(X_FORWARDED_FOR, line.parse().unwrap());
            }
            headers.insert(header::FORWARDED, "for=203.0.113.66".parse().unwrap());
            let caller = forwarders(ForwardedField::XForwardedFor).caller(peer.parse().unwrap(), &headers);
            assert_eq!(caller, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
        }
    }

    #[test]
    fn the_standard_field_is_read_in_all_its_forms() {
        let rows = [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"192.0.2.1:4711\";proto=https;by=10.0.0.7", "192.0.2.1"),
            ("proto=https; for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=\"[2001:db8::1]\", for=10.0.0.8", "2001:db8::1"),
            ("for=192.0.2.1, for=_hidden", "10.0.0.7"),
            ("for=192.0.2.1, by=10.0.0.7", "10.0.0.7"),
        ];
        for (line, expected) in rows {
            let mut headers = HeaderMap::new();
            headers.insert(header::FORWARDED, line.parse().unwrap());
            headers.insert(X_FORWARDED_FOR, "203.0.113.66".parse().unwrap());
            let caller = forwarders(ForwardedField::Forwarded).caller("10.0.0.7".parse().unwrap(), &headers);
            assert_eq!(caller, expected.parse::<IpAddr>().unwrap(), "{line}");
        }
    }
}
