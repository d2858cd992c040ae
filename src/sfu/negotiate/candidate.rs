//! Remote ICE candidates: those that can be used are read, the others are dropped without a word (RFC 9725 section
//! 4.3.2): names (mDNS), TCP, RTCP's component, and whatever cannot be read.

use std::net::IpAddr;

use str0m::Candidate;

/// Reads the value of `a=candidate:` (RFC 8839 section 5.1).
///
/// Only what comes first is looked at: extensions differ between clients in order and number, and none is needed.
pub(super) fn usable(value: &str) -> Option<Candidate> {
    let mut words = value.split_ascii_whitespace();
    let foundation = words.next()?;
    let component = words.next()?;
    let protocol = words.next()?;
    let priority: u32 = words.next()?.parse().ok()?;
    let address: IpAddr = words.next()?.parse().ok()?;
    let port: u16 = words.next()?.parse().ok().filter(|port| *port > 0)?;
    let (Some("typ"), Some(kind)) = (words.next(), words.next()) else { return None };
    if component != "1" || !protocol.eq_ignore_ascii_case("udp") || address.is_unspecified() || address.is_multicast() {
        return None;
    }
    // libwebrtc allows a foundation of 32 characters; it only has to differ between candidates.
    let foundation = foundation.get(..32).unwrap_or(foundation);
    Candidate::from_sdp_string(&format!("candidate:{foundation} 1 udp {priority} {address} {port} typ {kind}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_addresses_of_component_one_are_usable() {
        let rows = [
            ("1 1 udp 2130706431 192.0.2.1 5000 typ host", Some("192.0.2.1:5000")),
            (
                "1 1 UDP 2130706431 192.0.2.1 5000 typ host generation 0 ufrag x network-cost 999",
                Some("192.0.2.1:5000"),
            ),
            ("1 1 udp 1 2001:db8::1 5000 typ srflx raddr x.local rport 9", Some("[2001:db8::1]:5000")),
            ("1 1 udp 1 192.0.2.1 5000 typ relay raddr 0.0.0.0 rport 0 tcptype passive", Some("192.0.2.1:5000")),
            ("1 2 udp 1 192.0.2.1 5001 typ host", None),
            ("1 1 tcp 1 192.0.2.1 9 typ host tcptype active", None),
            ("1 1 udp 1 9078d9a9-6005-4f54-bbee-70293edf1f4d.local 45582 typ host", None),
            ("1 1 udp 1 192.0.2.1 0 typ host", None),
            ("1 1 udp 1 0.0.0.0 5000 typ host", None),
            ("1 1 udp 1 192.0.2.1 5000 typ elsewhere", None),
            ("1 1 udp 99999999999 192.0.2.1 5000 typ host", None),
            ("1 1 udp", None),
            ("", None),
        ];
        for (value, expected) in rows {
            let found = usable(value).map(|candidate| candidate.addr().to_string());
            assert_eq!(found.as_deref(), expected, "{value}");
        }
    }
}
