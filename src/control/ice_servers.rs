//! Which STUN and TURN servers a caller is told to use: the configured ones, and the one inside with a credential of
//! its own.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Control, IceServer};
use crate::sfu::command::SessionId;
use crate::turn::Credential;

/// The STUN and TURN server inside, as clients are told of it.
#[derive(Debug, Clone, Default)]
pub struct OwnIceServers {
    /// Where it can be reached, best first.
    pub addresses: Vec<SocketAddr>,
    /// Name told instead.
    pub host: Option<String>,
    /// TCP connections are accepted at the same port.
    pub tcp: bool,
    /// Port of HTTPS, where TURN over TLS is accepted, too.
    pub tls: Option<u16>,
    /// Makes credentials; `None`: it does not relay.
    pub secret: Option<Vec<u8>>,
    /// How long they are good for.
    pub lifetime: Duration,
}

impl Control {
    /// Servers for the caller of a session that is being created. The credential is good for this session's quota only.
    pub(super) fn ice_servers(&self, session: SessionId, caller: Option<IpAddr>) -> Vec<IceServer> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = self.settings().own_ice_servers.offer(&session.to_string(), caller, now);
        self.settings().ice_servers.iter().cloned().chain(own).collect()
    }
}

impl OwnIceServers {
    /// `now` is Unix time.
    fn offer(&self, who: &str, caller: Option<IpAddr>, now: Duration) -> Vec<IceServer> {
        let Some(address) = self.address_for(caller) else { return Vec::new() };
        let place = match &self.host {
            Some(host) => format!("{host}:{}", address.port()),
            None => address.to_string(),
        };
        let mut offered = vec![IceServer { urls: vec![format!("stun:{place}")], ..IceServer::default() }];
        let Some(secret) = &self.secret else { return offered };
        let credential = Credential::mint(secret, now + self.lifetime, who);
        let relay = |urls, peers_only| IceServer {
            urls,
            username: Some(credential.username.clone()),
            credential: Some(credential.password.clone()),
            peers_only,
        };
        offered.push(relay(vec![format!("turn:{place}?transport=udp")], true));
        let streams = self.stream_urls(&place);
        if !streams.is_empty() {
            offered.push(relay(streams, false));
        }
        offered
    }

    /// Whether callers are told of a relay for their connection to this server.
    pub fn relays_here(&self) -> bool {
        self.secret.is_some() && self.addresses.first().is_some_and(|to| !self.stream_urls(&to.to_string()).is_empty())
    }

    /// For networks that let no UDP out; those that do need no relay to get here. Chromium, moreover, gives whatever
    /// comes from the address of a TURN server it uses over UDP to the relay's machinery, which throws away what is no
    /// TURN: the direct path to the same address is dead, and ICE over TCP wins over a relay.
    fn stream_urls(&self, place: &str) -> Vec<String> {
        let tcp = self.tcp.then(|| format!("turn:{place}?transport=tcp"));
        // TLS needs a name that the certificate has.
        let tls = self.host.as_ref().zip(self.tls).map(|(host, port)| format!("turns:{host}:{port}?transport=tcp"));
        [tcp, tls].into_iter().flatten().collect()
    }

    /// The best address of the family the caller used, or else the best one. An IPv4 network may have no way to IPv6,
    /// and every server named that cannot be reached costs the client time.
    fn address_for(&self, caller: Option<IpAddr>) -> Option<SocketAddr> {
        let family = caller.map(|caller| caller.to_canonical().is_ipv4());
        let same = self.addresses.iter().find(|address| Some(address.is_ipv4()) == family);
        same.or(self.addresses.first()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_is_told_one_address_and_a_credential_of_its_own() {
        let own = OwnIceServers {
            addresses: vec!["203.0.113.7:3478".parse().unwrap(), "[2001:db8::7]:3478".parse().unwrap()],
            host: None,
            tcp: false,
            tls: None,
            secret: Some(b"north".to_vec()),
            lifetime: Duration::from_secs(600),
        };
        let now = Duration::from_secs(1_800_000_000);
        let urls = |own: &OwnIceServers, caller: Option<&str>| -> Vec<String> {
            let caller = caller.map(|caller| caller.parse().unwrap());
            own.offer("alice", caller, now).into_iter().flat_map(|server| server.urls).collect()
        };
        assert_eq!(urls(&own, None), ["stun:203.0.113.7:3478", "turn:203.0.113.7:3478?transport=udp"]);
        assert_eq!(urls(&own, Some("::ffff:192.0.2.1"))[0], "stun:203.0.113.7:3478");
        assert_eq!(urls(&own, Some("2001:db8::9"))[0], "stun:[2001:db8::7]:3478");
        let relay = own.offer("alice", None, now).pop().unwrap();
        assert_eq!(relay.username.as_deref(), Some("1800000600:alice"));
        assert_eq!(relay.credential.as_deref(), Some("8ZET7dsUGGXZ8WEDxmkDf0cN13Y="));

        let host = Some("turn.example.org".to_owned());
        let named = OwnIceServers { host, tcp: true, tls: Some(443), ..own.clone() };
        let expected = [
            "stun:turn.example.org:3478",
            "turn:turn.example.org:3478?transport=udp",
            "turn:turn.example.org:3478?transport=tcp",
            "turns:turn.example.org:443?transport=tcp",
        ];
        assert_eq!(urls(&named, None), expected);
        let for_peers = named.offer("alice", None, now).into_iter().filter(|server| server.peers_only);
        assert_eq!(for_peers.flat_map(|server| server.urls).collect::<Vec<_>>(), expected[1..2]);
        let nameless = OwnIceServers { tls: Some(443), ..own.clone() };
        assert_eq!(urls(&nameless, None).len(), 2, "no certificate has an address");
        assert!(named.relays_here() && !nameless.relays_here() && !own.relays_here());
        let off = OwnIceServers { secret: None, ..own };
        assert_eq!(urls(&off, None), ["stun:203.0.113.7:3478"]);
        assert!(urls(&OwnIceServers::default(), None).is_empty());
    }
}
