//! Requests of authenticated clients (RFC 8656 sections 7, 8, 10, 12; RFC 6156 for IPv6).

use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::allocation::{Allocation, Channels, Meter, Permissions, Unbindable};
use super::message::{Class, Message, Writer, attribute, method};
use super::peers::Reach;
use super::server::{RESERVATION, Refusal, Reservation, Server};
use super::{AllocationKey, Carrier, Client};

/// Life of an allocation whose client asks for none, or for less (RFC 8656 section 3.2).
const SHORTEST_LIFE: Duration = Duration::from_secs(600);

/// Longest life granted. Longer: clients that vanish hold their ports for longer; shorter: more Refresh requests.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);

/// Protocol numbers of REQUESTED-TRANSPORT.
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Address families as attributes name them.
const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// Channels that may be bound. RFC 8656 ends at 0x4FFF, RFC 5766 at 0x7FFE, and clients of coturn's make pick any
/// number that starts with these two bits. Nothing else on this port does.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x7fff;

/// Peers one CreatePermission may name. Larger: longer requests; smaller: clients need several.
const MAX_PEERS: usize = 32;

/// What every request may carry.
const COMMON: [u16; 5] = [
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::MESSAGE_INTEGRITY_SHA256,
    attribute::REALM,
    attribute::NONCE,
];

/// What requests of this server's methods carry beside it. One that has no meaning for its method is passed over.
const KNOWN: [u16; 11] = [
    attribute::CHANNEL_NUMBER,
    attribute::LIFETIME,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REQUESTED_ADDRESS_FAMILY,
    attribute::EVEN_PORT,
    attribute::REQUESTED_TRANSPORT,
    attribute::DONT_FRAGMENT,
    attribute::RESERVATION_TOKEN,
    attribute::XOR_MAPPED_ADDRESS,
    attribute::XOR_RELAYED_ADDRESS,
];

/// A request of a client that has authenticated.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) now: Instant,
    pub(super) client: &'a Client,
    pub(super) message: &'a Message<'a>,
    /// Whose credentials signed it.
    pub(super) who: &'a Arc<str>,
}

/// What an Allocate request asks for, once it makes sense.
struct Wish {
    ips: Vec<IpAddr>,
    /// IPv6 was wanted as well and cannot be had.
    lacks_ipv6: bool,
    reserve: bool,
    token: Option<[u8; 8]>,
}

impl Server {
    /// Carries out a request of an authenticated client.
    pub(super) fn serve(&mut self, request: &Request<'_>) -> Result<Writer, Refusal> {
        let Request { message, .. } = *request;
        let known: Vec<u16> = COMMON.into_iter().chain(KNOWN).collect();
        let unknown = message.unknown(&known);
        if !unknown.is_empty() {
            return Err(Refusal::unknown(unknown));
        }
        match message.method() {
            method::ALLOCATE => self.allocate(request),
            method::REFRESH => self.refresh(request),
            method::CREATE_PERMISSION => self.create_permission(request),
            method::CHANNEL_BIND => self.channel_bind(request),
            _ => Err(bad("Method Not Supported")),
        }
    }

    fn allocate(&mut self, request: &Request<'_>) -> Result<Writer, Refusal> {
        let Request { now, client, message, who } = *request;
        if let Some(existing) = self.by_client.get(client).and_then(|key| self.allocations.get(*key)) {
            // A retransmission gets the answer that was lost.
            let repeated = existing.transaction == message.transaction() && existing.who == *who;
            let mismatch = Refusal::new(437, "Allocation Mismatch");
            return if repeated { Ok(allocated(request, existing, false)) } else { Err(mismatch) };
        }
        let wish = self.wish(request)?;
        if self.users.get(who).is_some_and(|count| *count >= self.settings.allocations_per_user) {
            return Err(Refusal::new(486, "Allocation Quota Reached"));
        }
        if self.allocations.len() >= self.settings.allocations {
            return Err(Refusal::new(508, "Insufficient Capacity: turn.allocations"));
        }
        let port = self.port(now, &wish)?;
        let expires = now + granted(message);
        let allocation = Allocation {
            client: *client,
            who: Arc::clone(who),
            transaction: message.transaction(),
            port,
            ips: wish.ips,
            token: wish.reserve.then(|| self.reserve(now, port)),
            expires,
            due: expires,
            has_socket: false,
            sent: Meter::default(),
            received: Meter::default(),
            permissions: Permissions::default(),
            channels: Channels::default(),
        };
        let answer = allocated(request, &allocation, wish.lacks_ipv6);
        let key = self.allocations.insert(allocation);
        self.by_client.insert(*client, key);
        self.by_port.insert(port, key);
        *self.users.entry(Arc::clone(who)).or_default() += 1;
        self.expiries.push(Reverse((expires, key)));
        self.counters.allocated += 1;
        Ok(answer)
    }

    /// Reads an Allocate request (RFC 8656 section 7.2).
    fn wish(&self, request: &Request<'_>) -> Result<Wish, Refusal> {
        use attribute::{ADDITIONAL_ADDRESS_FAMILY, EVEN_PORT, MOBILITY_TICKET, REQUESTED_ADDRESS_FAMILY};
        use attribute::{REQUESTED_TRANSPORT, RESERVATION_TOKEN};
        let Request { client, message, .. } = *request;
        match (message.byte(REQUESTED_TRANSPORT), client.carrier) {
            (Some(UDP), _) => {}
            // RFC 6062 section 5.1: over UDP it makes no sense, else it is just not done here.
            (None, _) => return Err(bad("REQUESTED-TRANSPORT is missing")),
            (Some(TCP), Carrier::Udp) => return Err(bad("TCP relaying needs a TCP connection")),
            (Some(_), _) => return Err(Refusal::new(442, "Unsupported Transport Protocol")),
        }
        if message.has(MOBILITY_TICKET) {
            return Err(Refusal::new(405, "Mobility Forbidden"));
        }
        let family = message.byte(REQUESTED_ADDRESS_FAMILY);
        let additional = message.byte(ADDITIONAL_ADDRESS_FAMILY);
        let reserve = message.byte(EVEN_PORT).is_some_and(|byte| byte & 0x80 != 0);
        let token = message.get(RESERVATION_TOKEN);
        let contradictory = token.is_some() && (message.has(EVEN_PORT) || family.is_some() || additional.is_some())
            || additional.is_some() && (family.is_some() || reserve)
            || additional.is_some_and(|family| family != IPV6);
        let token = token.map(<[u8; 8]>::try_from).transpose().map_err(|_| bad("RESERVATION-TOKEN is not 8 bytes"))?;
        if contradictory {
            return Err(bad("attributes that exclude each other"));
        }
        let of = |v4: bool| self.settings.relay_ips.iter().find(|ip| ip.is_ipv4() == v4).copied();
        let unsupported = Refusal::new(440, "Address Family not Supported");
        let wanted = match family {
            // Without a wish it is IPv4 (RFC 8656 section 7.2). Browsers never wish, so where there is none they get
            // what there is and not 440.
            None if additional.is_none() => of(true).or(of(false)),
            None | Some(IPV4) => of(true),
            Some(IPV6) => of(false),
            Some(_) => None,
        };
        let (also, lacks_ipv6) = match additional {
            Some(_) => (of(false), of(false).is_none()),
            None => (None, false),
        };
        let mut ips: Vec<IpAddr> = wanted.into_iter().collect();
        if ips.is_empty() && also.is_none() {
            return Err(unsupported);
        }
        ips.extend(also);
        Ok(Wish { ips, lacks_ipv6, reserve, token })
    }

    /// The port reserved by a token, or a new one.
    fn port(&mut self, now: Instant, wish: &Wish) -> Result<u16, Refusal> {
        let Some(token) = wish.token else {
            return self.ports.take(wish.reserve).ok_or(Refusal::new(508, "Insufficient Capacity: turn.relay_ports"));
        };
        let waiting = |reservation: &Reservation| reservation.token == token && now < reservation.expires;
        let found = self.reservations.iter().position(waiting).and_then(|at| self.reservations.remove(at));
        found.map(|reservation| reservation.port).ok_or(Refusal::new(508, "Insufficient Capacity: no such reservation"))
    }

    /// Keeps the port above for who has the token.
    fn reserve(&mut self, now: Instant, port: u16) -> [u8; 8] {
        let token = self.token();
        self.reservations.push_back(Reservation { token, port: port | 1, expires: now + RESERVATION });
        token
    }

    fn refresh(&mut self, request: &Request<'_>) -> Result<Writer, Refusal> {
        let Request { now, message, .. } = *request;
        let key = self.owned(request)?;
        let Some(allocation) = self.allocations.get_mut(key) else { return Err(mismatch()) };
        let family = message.byte(attribute::REQUESTED_ADDRESS_FAMILY);
        let has = |v4: bool| allocation.ips.iter().any(|ip| ip.is_ipv4() == v4);
        match family {
            None => {}
            Some(IPV4) if has(true) => {}
            Some(IPV6) if has(false) => {}
            Some(_) => return Err(Refusal::new(443, "Peer Address Family Mismatch")),
        }
        let life = if lifetime(message) == Some(0) { Duration::ZERO } else { granted(message) };
        if !life.is_zero() {
            allocation.expires = now + life;
            if allocation.expires < allocation.due {
                allocation.due = allocation.expires;
                self.expiries.push(Reverse((allocation.due, key)));
            }
        } else if let (Some(family), 2..) = (family, allocation.ips.len()) {
            // Of two relayed addresses only the one named goes (RFC 8656 section 8.2).
            allocation.ips.retain(|ip| ip.is_ipv4() != (family == IPV4));
        } else {
            self.release(key);
        }
        let seconds = u32::try_from(life.as_secs()).unwrap_or(u32::MAX);
        Ok(success(message).add(attribute::LIFETIME, &seconds.to_be_bytes()))
    }

    /// All peers get their permission, or none does (RFC 8656 section 10.2).
    fn create_permission(&mut self, request: &Request<'_>) -> Result<Writer, Refusal> {
        let Request { now, message, .. } = *request;
        let key = self.owned(request)?;
        let read: Option<Vec<SocketAddr>> = message.addresses(attribute::XOR_PEER_ADDRESS).collect();
        let peers = read.filter(|peers| (1..=MAX_PEERS).contains(&peers.len()));
        let peers = peers.ok_or(bad("XOR-PEER-ADDRESS is missing or cannot be read"))?;
        for peer in &peers {
            self.check_peer(key, *peer)?;
        }
        let Some(allocation) = self.allocations.get_mut(key) else { return Err(mismatch()) };
        let new = peers.iter().filter(|peer| !allocation.permissions.covers(now, peer.ip())).count();
        if new > allocation.permissions.free(now) {
            return Err(Refusal::new(508, "Insufficient Capacity: too many permissions"));
        }
        for peer in &peers {
            allocation.permit(now, peer.ip());
        }
        self.open_socket_for(key, &peers);
        Ok(success(message))
    }

    fn channel_bind(&mut self, request: &Request<'_>) -> Result<Writer, Refusal> {
        let Request { now, message, .. } = *request;
        let key = self.owned(request)?;
        let number = message.get(attribute::CHANNEL_NUMBER).and_then(|value| value.first_chunk());
        let number = number.map(|bytes| u16::from_be_bytes(*bytes));
        let peer = message.addresses(attribute::XOR_PEER_ADDRESS).next().flatten();
        let (Some(number), Some(peer)) = (number.filter(|number| CHANNELS.contains(number)), peer) else {
            return Err(bad("CHANNEL-NUMBER (0x4000 to 0x7FFF) or XOR-PEER-ADDRESS is missing"));
        };
        self.check_peer(key, peer)?;
        let Some(allocation) = self.allocations.get_mut(key) else { return Err(mismatch()) };
        match allocation.bind(now, number, peer) {
            Ok(()) => {}
            Err(Unbindable::Taken) => return Err(bad("the channel or the peer is bound otherwise")),
            Err(Unbindable::Full) => return Err(Refusal::new(508, "Insufficient Capacity: too many channels")),
        }
        self.open_socket_for(key, &[peer]);
        Ok(success(message))
    }

    /// The client's allocation, if it is this user's.
    fn owned(&self, request: &Request<'_>) -> Result<AllocationKey, Refusal> {
        let Request { client, who, .. } = *request;
        let key = self.by_client.get(client).copied().ok_or(mismatch())?;
        let owner = self.allocations.get(key).map(|allocation| &allocation.who);
        if owner == Some(who) { Ok(key) } else { Err(Refusal::new(441, "Wrong Credentials")) }
    }

    fn check_peer(&self, key: AllocationKey, peer: SocketAddr) -> Result<(), Refusal> {
        let allocation = self.allocations.get(key).ok_or(mismatch())?;
        if allocation.relayed_for(peer.ip()).is_none() {
            return Err(Refusal::new(443, "Peer Address Family Mismatch"));
        }
        if self.policy.permits(peer.ip()) { Ok(()) } else { Err(Refusal::new(403, "Forbidden")) }
    }

    /// A peer outside cannot reach the relayed address without a socket. Our own addresses need none, unless the
    /// operator opened their network.
    fn open_socket_for(&mut self, key: AllocationKey, peers: &[SocketAddr]) {
        let outside = |peer: &SocketAddr| {
            let any_port = SocketAddr::new(peer.ip(), 1);
            self.policy.reach(*peer) == Reach::Outside || self.policy.reach(any_port) == Reach::Outside
        };
        if peers.iter().any(outside) {
            self.open_socket(key);
        }
    }
}

/// The answer to an Allocate request (RFC 8656 section 7.3).
fn allocated(request: &Request<'_>, allocation: &Allocation, lacks_ipv6: bool) -> Writer {
    let Request { now, client, message, .. } = *request;
    let left = allocation.expires.saturating_duration_since(now).as_secs();
    let mut answer = success(message);
    for ip in &allocation.ips {
        answer = answer.add_address(attribute::XOR_RELAYED_ADDRESS, SocketAddr::new(*ip, allocation.port));
    }
    answer = answer
        .add(attribute::LIFETIME, &u32::try_from(left).unwrap_or(u32::MAX).to_be_bytes())
        .add_address(attribute::XOR_MAPPED_ADDRESS, client.remote);
    if let Some(token) = &allocation.token {
        answer = answer.add(attribute::RESERVATION_TOKEN, token);
    }
    if lacks_ipv6 {
        answer = answer.add_error(attribute::ADDRESS_ERROR_CODE, IPV6, 440, "Address Family not Supported");
    }
    answer
}

fn success(message: &Message<'_>) -> Writer {
    Writer::new(Class::Success, message.method(), &message.transaction())
}

fn lifetime(message: &Message<'_>) -> Option<u32> {
    let value = message.get(attribute::LIFETIME)?.first_chunk()?;
    Some(u32::from_be_bytes(*value))
}

fn granted(message: &Message<'_>) -> Duration {
    let wanted = Duration::from_secs(lifetime(message).unwrap_or(0).into());
    wanted.clamp(SHORTEST_LIFE, LONGEST_LIFE)
}

fn bad(reason: &'static str) -> Refusal {
    Refusal::new(400, reason)
}

fn mismatch() -> Refusal {
    Refusal::new(437, "Allocation Mismatch")
}
