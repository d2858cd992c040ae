//! What is kept per client: its relayed address, whom it permits, its channels, its allowance.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Client;
use super::message::Transaction;

/// Permissions of one allocation. Larger: more memory and a longer look per datagram; smaller: a client that tries many
/// candidates of many peers is refused.
pub(super) const MAX_PERMISSIONS: usize = 64;

/// Channels of one allocation; as for permissions.
pub(super) const MAX_CHANNELS: usize = 64;

/// How long a permission lasts (RFC 8656 section 9).
const PERMISSION: Duration = Duration::from_secs(300);

/// How long a channel lasts (RFC 8656 section 12).
const CHANNEL: Duration = Duration::from_secs(600);

/// How long an expired channel's number and peer may not be bound otherwise (RFC 8656 section 12).
const CHANNEL_REST: Duration = Duration::from_secs(300);

#[derive(Debug)]
pub(super) struct Allocation {
    pub(super) client: Client,
    pub(super) who: Arc<str>,
    /// Of the request that made it: repeated, it gets the same answer.
    pub(super) transaction: Transaction,
    pub(super) port: u16,
    /// One address, or one of each family.
    pub(super) ips: Vec<IpAddr>,
    /// Of the port above this one, if it was reserved.
    pub(super) token: Option<[u8; 8]>,
    pub(super) expires: Instant,
    /// When it is looked at next: not later than it expires.
    pub(super) due: Instant,
    /// The shell was asked for a socket.
    pub(super) has_socket: bool,
    pub(super) sent: Meter,
    pub(super) received: Meter,
    pub(super) permissions: Permissions,
    pub(super) channels: Channels,
}

impl Allocation {
    /// The relayed address a peer sees: the one of its family.
    pub(super) fn relayed_for(&self, peer: IpAddr) -> Option<SocketAddr> {
        let ip = self.ips.iter().find(|ip| ip.is_ipv4() == peer.is_ipv4())?;
        Some(SocketAddr::new(*ip, self.port))
    }

    /// Gives the permission, or renews it. False when there are too many.
    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.grant(now, ip)
    }

    /// Binds a channel, or renews it, and the permission that goes with it (RFC 8656 section 12.2).
    pub(super) fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), Unbindable> {
        self.channels.bind(now, number, peer)?;
        if self.permissions.grant(now, peer.ip()) { Ok(()) } else { Err(Unbindable::Full) }
    }
}

/// Peers' addresses data may come from and go to. Few, so they are simply looked through.
#[derive(Debug, Default)]
pub(super) struct Permissions(Vec<(IpAddr, Instant)>);

impl Permissions {
    pub(super) fn covers(&self, now: Instant, ip: IpAddr) -> bool {
        self.0.iter().any(|(permitted, expires)| *permitted == ip && now < *expires)
    }

    /// How many more fit.
    pub(super) fn free(&mut self, now: Instant) -> usize {
        self.0.retain(|(_, expires)| now < *expires);
        MAX_PERMISSIONS.saturating_sub(self.0.len())
    }

    fn grant(&mut self, now: Instant, ip: IpAddr) -> bool {
        let expires = now + PERMISSION;
        if let Some(known) = self.0.iter_mut().find(|(permitted, _)| *permitted == ip) {
            known.1 = expires;
            return true;
        }
        let fits = self.free(now) > 0;
        if fits {
            self.0.push((ip, expires));
        }
        fits
    }
}

/// Channels, the expired ones that rest among them.
#[derive(Debug, Default)]
pub(super) struct Channels(Vec<Channel>);

#[derive(Debug, Clone, Copy)]
struct Channel {
    number: u16,
    peer: SocketAddr,
    expires: Instant,
}

/// Why a channel was not bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unbindable {
    /// The number has another peer, or the peer another number.
    Taken,
    /// There are too many.
    Full,
}

impl Channels {
    pub(super) fn peer(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let found = self.0.iter().find(|channel| channel.number == number && now < channel.expires)?;
        Some(found.peer)
    }

    pub(super) fn number(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let found = self.0.iter().find(|channel| channel.peer == peer && now < channel.expires)?;
        Some(found.number)
    }

    fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), Unbindable> {
        self.0.retain(|channel| now < channel.expires + CHANNEL_REST);
        let expires = now + CHANNEL;
        let full = self.0.len() >= MAX_CHANNELS;
        match self.0.iter_mut().find(|channel| channel.number == number || channel.peer == peer) {
            Some(channel) if channel.number == number && channel.peer == peer => channel.expires = expires,
            Some(_) => return Err(Unbindable::Taken),
            None if full => return Err(Unbindable::Full),
            None => self.0.push(Channel { number, peer, expires }),
        }
        Ok(())
    }
}

/// Bytes one direction may still carry: up to one second's worth at once.
#[derive(Debug, Default)]
pub(super) struct Meter {
    left: u64,
    filled: Option<Instant>,
}

impl Meter {
    /// Counts bytes; false when they are more than the rate allows.
    pub(super) fn admits(&mut self, now: Instant, bytes: usize, per_second: u64) -> bool {
        let since = self.filled.map_or(Duration::from_secs(1), |filled| now.saturating_duration_since(filled));
        let earned = u128::from(per_second) * since.as_nanos() / 1_000_000_000;
        if earned > 0 || self.filled.is_none() {
            self.left = u64::try_from(earned).unwrap_or(u64::MAX).saturating_add(self.left).min(per_second);
            self.filled = Some(now);
        }
        let bytes = bytes as u64;
        let admitted = bytes <= self.left;
        if admitted {
            self.left -= bytes;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_permission_lasts_five_minutes_and_a_channel_ten_with_five_of_rest() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut permissions = Permissions::default();
        assert!(permissions.grant(now, peer(1).ip()));
        assert!(permissions.covers(after(299), peer(1).ip()) && !permissions.covers(after(300), peer(1).ip()));
        let mut channels = Channels::default();
        channels.bind(now, 0x4000, peer(1)).unwrap();
        assert_eq!(channels.peer(after(599), 0x4000), Some(peer(1)));
        assert_eq!(channels.peer(after(600), 0x4000), None);
        assert_eq!(channels.bind(after(899), 0x4000, peer(2)), Err(Unbindable::Taken));
        assert_eq!(channels.bind(after(899), 0x4001, peer(1)), Err(Unbindable::Taken));
        assert_eq!(channels.bind(after(900), 0x4000, peer(2)), Ok(()));
        assert_eq!(channels.number(after(900), peer(2)), Some(0x4000));
    }

    #[test]
    fn both_lists_are_bounded_and_what_expired_makes_room() {
        let now = Instant::now();
        let (mut permissions, mut channels) = (Permissions::default(), Channels::default());
        for n in 0..MAX_PERMISSIONS as u16 {
            assert!(permissions.grant(now, SocketAddr::from(([10, 0, 0, n as u8], 1)).ip()));
            channels.bind(now, 0x4000 + n, peer(n + 1)).unwrap();
        }
        assert!(!permissions.grant(now, "10.0.1.1".parse().unwrap()));
        assert!(permissions.grant(now, "10.0.0.1".parse().unwrap()), "known ones are renewed");
        assert_eq!(channels.bind(now, 0x4fff, peer(999)), Err(Unbindable::Full));
        assert!(permissions.grant(now + PERMISSION, "10.0.1.1".parse().unwrap()));
        assert_eq!(channels.bind(now + CHANNEL + CHANNEL_REST, 0x4fff, peer(999)), Ok(()));
    }

    #[test]
    fn a_meter_lets_through_what_its_rate_allows() {
        let start = Instant::now();
        let mut meter = Meter::default();
        let sent = |meter: &mut Meter, at: Instant| (0..100).filter(|_| meter.admits(at, 100, 1000)).count();
        assert_eq!(sent(&mut meter, start), 10, "a second's worth at once");
        assert_eq!(sent(&mut meter, start + Duration::from_millis(500)), 5);
        assert_eq!(sent(&mut meter, start + Duration::from_secs(60)), 10);
    }
}
