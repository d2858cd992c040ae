//! What the TURN server and those who hand out its credentials are told.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use rand::TryRng as _;
use rand::rngs::SysRng;
use tracing::info;

use crate::check::Subject;
use crate::config::{Config, Switch};
use crate::control;
use crate::shard::addresses::Advertised;
use crate::turn::{self, Credential, WallClock};

/// How long the credential of the look at oneself is good for, from the start.
const SELF_CHECK: Duration = Duration::from_secs(60);

/// What all shards and the control plane agree on for as long as the process lives.
pub(super) struct TurnPlan {
    /// The configured secret, or one made up.
    secret: Vec<u8>,
    nonce_key: [u8; 32],
    clock: WallClock,
    /// TCP is accepted at the media port's number.
    pub(super) tcp: bool,
}

impl TurnPlan {
    pub(super) fn new(config: &Config, tcp: bool) -> anyhow::Result<Self> {
        let mut random = [[0; 32]; 2];
        for bytes in &mut random {
            SysRng.try_fill_bytes(bytes).context("the system has no randomness")?;
        }
        let [made_up, nonce_key] = random;
        let configured = config.turn.secret.expose();
        let secret = if configured.is_empty() { made_up.to_vec() } else { configured.as_bytes().to_vec() };
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self { secret, nonce_key, clock: WallClock { at: Instant::now(), unix }, tcp })
    }

    /// For one shard.
    pub(super) fn settings(&self, config: &Config, shard: u16, shards: u16, advertised: &Advertised) -> turn::Settings {
        let media = known_addresses(advertised);
        let share = config.turn.allocations.div_ceil(shards.into()) as usize;
        turn::Settings {
            relaying: config.turn.mode == Switch::On,
            secrets: vec![self.secret.clone()],
            nonce_key: self.nonce_key,
            clock: self.clock,
            relay_ips: relay_ips(&advertised.addresses),
            ports: config.turn.relay_ports.clone(),
            dynamic_ports: dynamic_ports(),
            media,
            allowed_peers: config.turn.allow_peers.clone(),
            shard,
            shards,
            allocations: share,
            allocations_per_user: config.turn.allocations_per_user as usize,
            bandwidth: config.turn.bandwidth as u64,
        }
    }

    /// For a look at oneself. Loopback is left out: clients elsewhere are not told it.
    pub(super) fn subject(&self, config: &Config, advertised: &Advertised, http: SocketAddr) -> Subject {
        let expiry = self.clock.unix + SELF_CHECK;
        let relays = config.turn.mode == Switch::On;
        // From a proxy's address a header is due that this look does not send.
        let is_proxy = |address: &SocketAddr| config.proxies.tcp.iter().any(|network| network.contains(address.ip()));
        let streams = !advertised.addresses.iter().any(is_proxy);
        Subject {
            addresses: advertised.addresses.clone(),
            tcp: self.tcp && streams,
            http: (streams && !http.ip().is_loopback()).then(|| http.port()),
            credential: relays.then(|| Credential::mint(&self.secret, expiry, "check")),
        }
    }

    /// For those who join.
    pub(super) fn offered(
        &self,
        config: &Config,
        advertised: &Advertised,
        https: Option<u16>,
    ) -> control::OwnIceServers {
        let own = control::OwnIceServers {
            addresses: known_addresses(advertised),
            host: config.turn.host.clone(),
            tcp: self.tcp,
            tls: https,
            secret: (config.turn.mode == Switch::On).then(|| self.secret.clone()),
            lifetime: config.turn.credential_lifetime,
        };
        if own.secret.is_some() && !own.relays_here() {
            info!(
                "clients that may use relays only (iceTransportPolicy \"relay\") are told of none that leads here: \
                 that takes media.tcp = \"on\", or a certificate (http.tls_cert) with its name (turn.host)"
            );
        }
        own
    }
}

/// Ports the system gives to programs that ask for any (ip(7)); other systems than Linux do not say.
fn dynamic_ports() -> Option<RangeInclusive<u16>> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_whitespace().map(str::parse);
    Some(bounds.next()?.ok()?..=bounds.next()?.ok()?)
}

/// Every address media arrives at, those of loopback last.
fn known_addresses(advertised: &Advertised) -> Vec<SocketAddr> {
    let mut addresses = advertised.addresses.clone();
    let more = advertised.loopback.iter().filter(|address| !advertised.addresses.contains(address));
    addresses.extend(more);
    addresses
}

/// The first address of each family. Not loopback, unless clients are told that: to whoever is elsewhere a relayed
/// address there is worse than none.
fn relay_ips(addresses: &[SocketAddr]) -> Vec<IpAddr> {
    let first = |v4: bool| addresses.iter().map(SocketAddr::ip).find(|ip| ip.is_ipv4() == v4);
    [first(true), first(false)].into_iter().flatten().collect()
}
