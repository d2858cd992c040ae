//! The server: whose message it is, whether it may be answered, and what runs out when.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;
use slotmap::SlotMap;
use stun_types::message::IntegrityKey;

use super::allocation::Allocation;
use super::credentials::{Guard, Nonce, REALM, who};
use super::limiter::Limiter;
use super::message::{Class, Message, Writer, attribute, method};
use super::peers::Policy;
use super::ports::Ports;
use super::relay::Drop;
use super::requests::Request;
use super::{AllocationKey, Client, Output, Settings, SocketRequest};

/// How long a reserved port waits for its allocation (RFC 8656 section 7.2: 30 s).
pub(super) const RESERVATION: Duration = Duration::from_secs(30);

/// Longest message that is looked at before its sender has authenticated. Larger: more work for strangers; smaller:
/// long user names and realms are refused.
const LONGEST_REQUEST: usize = 2048;

/// The STUN and TURN server of one shard.
pub struct Server {
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    pub(super) rng: StdRng,
    pub(super) allocations: SlotMap<AllocationKey, Allocation>,
    /// Keyed by what callers choose: the standard library's seeded hash.
    pub(super) by_client: HashMap<Client, AllocationKey>,
    pub(super) by_port: FxHashMap<u16, AllocationKey>,
    /// Allocations of each user.
    pub(super) users: HashMap<Arc<str>, usize>,
    pub(super) ports: Ports,
    pub(super) reservations: VecDeque<Reservation>,
    /// When each allocation is due, and times that were left for earlier ones when its life was cut short.
    pub(super) expiries: BinaryHeap<Reverse<(Instant, AllocationKey)>>,
    pub(super) counters: Counters,
    guard: Guard,
    limiter: Limiter,
    sockets: Vec<SocketRequest>,
}

/// A port kept for who has its token.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reservation {
    pub(super) token: [u8; 8],
    pub(super) port: u16,
    pub(super) expires: Instant,
}

/// Counters and gauges of one server.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Allocations now.
    pub allocations: u64,
    /// Allocations made.
    pub allocated: u64,
    /// Binding requests answered.
    pub bindings: u64,
    /// Requests refused, by error code (RFC 8656 section 19). 401 and 438 are part of every first request.
    pub refused: BTreeMap<u16, u64>,
    /// Unauthenticated messages not answered because their source sends too many.
    pub limited: u64,
    /// Datagrams of clients relayed.
    pub datagrams_from_clients: u64,
    /// Their bytes.
    pub bytes_from_clients: u64,
    /// Datagrams of peers relayed.
    pub datagrams_to_clients: u64,
    /// Their bytes.
    pub bytes_to_clients: u64,
    /// Datagrams not relayed, in the order of [`Drop::ALL`].
    pub dropped: [u64; Drop::ALL.len()],
}

/// Why a request is refused: a code, words for people, and what else the answer carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: u16,
    /// Left out of what strangers get: an answer should not be much longer than the request (S2 in coturn's history).
    pub(super) reason: &'static str,
    /// For 420.
    pub(super) unknown: Vec<u16>,
}

/// Who sent a request, and the key both sides sign with.
pub(super) struct Authenticated {
    pub(super) who: Arc<str>,
    pub(super) key: IntegrityKey,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("allocations", &self.allocations.len()).finish_non_exhaustive()
    }
}

impl Server {
    /// A server without allocations. The seed orders ports and makes reservation tokens.
    pub fn new(settings: Settings, seed: [u8; 32]) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            policy: Policy::new(
                settings.media.clone(),
                settings.relay_ips.clone(),
                settings.ports.clone(),
                settings.allowed_peers.clone(),
            ),
            ports: Ports::new(&settings, &mut rng),
            guard: Guard::new(settings.secrets.clone(), settings.clock, &settings.nonce_key),
            limiter: Limiter::new(&settings.nonce_key),
            rng,
            allocations: SlotMap::with_key(),
            by_client: HashMap::new(),
            by_port: FxHashMap::default(),
            users: HashMap::new(),
            reservations: VecDeque::new(),
            expiries: BinaryHeap::new(),
            counters: Counters::default(),
            sockets: Vec::new(),
            settings,
        }
    }

    /// A message of a client: STUN, or ChannelData. Binding requests among it are answered as a STUN server does; ICE
    /// checks do not belong here.
    pub fn handle<'a>(&mut self, now: Instant, client: &Client, datagram: &'a [u8]) -> Output<'a> {
        match datagram.first() {
            Some(0x40..=0x7f) => self.channel_data(now, client, datagram),
            Some(0..=3) => match Message::parse(datagram) {
                Some(message) => self.handle_message(now, client, &message, datagram.len()),
                None => Output::Nothing,
            },
            _ => Output::Nothing,
        }
    }

    /// Ends what has run out.
    pub fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, key))) = self.expiries.peek().copied().filter(|Reverse((at, _))| *at <= now) {
            self.expiries.pop();
            let Some(allocation) = self.allocations.get_mut(key).filter(|allocation| allocation.due == at) else {
                continue;
            };
            if allocation.expires > at {
                allocation.due = allocation.expires;
                self.expiries.push(Reverse((allocation.due, key)));
            } else {
                self.release(key);
            }
        }
        while let Some(port) = self.reservations.front().filter(|first| first.expires <= now).map(|first| first.port) {
            self.reservations.pop_front();
            self.ports.give_back(port);
        }
    }

    /// When [`expire`](Self::expire) has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let allocation = self.expiries.peek().map(|Reverse((at, _))| *at);
        let reservation = self.reservations.front().map(|reservation| reservation.expires);
        allocation.into_iter().chain(reservation).min()
    }

    /// A client's connection is gone, and its allocation with it (RFC 8656 section 3: the 5-tuple ended).
    pub fn client_gone(&mut self, client: &Client) {
        if let Some(key) = self.by_client.get(client).copied() {
            self.release(key);
        }
    }

    /// The shell could not open an allocation's socket. The client learns it with its next request (437), and asks
    /// anew.
    pub fn socket_failed(&mut self, relay: AllocationKey) {
        self.release(relay);
    }

    /// What the shell is to do about sockets since the last call.
    pub fn socket_requests(&mut self) -> std::vec::Drain<'_, SocketRequest> {
        self.sockets.drain(..)
    }

    /// A copy of the counters, with the gauge filled in.
    pub fn counters(&self) -> Counters {
        Counters { allocations: self.allocations.len() as u64, ..self.counters.clone() }
    }

    /// Nothing is kept of anybody.
    pub fn is_empty(&self) -> bool {
        self.allocations.is_empty()
            && self.by_client.is_empty()
            && self.by_port.is_empty()
            && self.users.is_empty()
            && self.reservations.is_empty()
    }

    /// Ends an allocation.
    pub(super) fn release(&mut self, key: AllocationKey) {
        let Some(allocation) = self.allocations.remove(key) else { return };
        self.by_client.remove(&allocation.client);
        self.by_port.remove(&allocation.port);
        self.ports.give_back(allocation.port);
        if let Some(count) = self.users.get_mut(&allocation.who) {
            *count -= 1;
            if *count == 0 {
                self.users.remove(&allocation.who);
            }
        }
        if allocation.has_socket {
            self.sockets.push(SocketRequest::Close { relay: key });
        }
    }

    /// Asks for a socket, once.
    pub(super) fn open_socket(&mut self, key: AllocationKey) {
        if let Some(allocation) = self.allocations.get_mut(key).filter(|allocation| !allocation.has_socket) {
            allocation.has_socket = true;
            self.sockets.push(SocketRequest::Open { relay: key, port: allocation.port });
        }
    }

    /// Eight bytes nobody can guess.
    pub(super) fn token(&mut self) -> [u8; 8] {
        let mut token = [0; 8];
        self.rng.fill_bytes(&mut token);
        token
    }

    fn handle_message<'a>(
        &mut self,
        now: Instant,
        client: &Client,
        message: &Message<'a>,
        length: usize,
    ) -> Output<'a> {
        match (message.class(), message.method()) {
            (Class::Request, method::BINDING) => self.bind(now, client, message),
            (Class::Request, _) if length <= LONGEST_REQUEST && self.settings.relaying => {
                self.request(now, client, message)
            }
            (Class::Indication, method::SEND) => self.send_indication(now, client, message),
            _ => Output::Nothing,
        }
    }

    /// A STUN server's only service (RFC 8489 section 12).
    fn bind(&mut self, now: Instant, client: &Client, message: &Message<'_>) -> Output<'static> {
        use attribute::{MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, NONCE, REALM, USERNAME, XOR_MAPPED_ADDRESS};
        if !self.limiter.admits(now, client.remote.ip()) {
            self.counters.limited += 1;
            return Output::Nothing;
        }
        let with_fingerprint = message.has(attribute::FINGERPRINT);
        let unknown = message.unknown(&[USERNAME, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, REALM, NONCE]);
        if !unknown.is_empty() {
            return self.refuse(now, client, message, None, &Refusal::unknown(unknown));
        }
        self.counters.bindings += 1;
        let answer = Writer::new(Class::Success, method::BINDING, &message.transaction())
            .add_address(XOR_MAPPED_ADDRESS, client.remote);
        Output::Reply(answer.finish(None, with_fingerprint))
    }

    fn request(&mut self, now: Instant, client: &Client, message: &Message<'_>) -> Output<'static> {
        match self.authenticate(now, client, message) {
            Ok(authenticated) => match self.serve(&Request { now, client, message, who: &authenticated.who }) {
                Ok(answer) => {
                    let with_fingerprint = message.has(attribute::FINGERPRINT);
                    Output::Reply(answer.finish(Some(&authenticated.key), with_fingerprint))
                }
                Err(refusal) => self.refuse(now, client, message, Some(&authenticated.key), &refusal),
            },
            Err(refusal) if self.limiter.admits(now, client.remote.ip()) => {
                self.refuse(now, client, message, None, &refusal)
            }
            Err(_) => {
                self.counters.limited += 1;
                Output::Nothing
            }
        }
    }

    /// Long-term authentication (RFC 8489 section 9.2.4), in the order given there.
    fn authenticate(&self, now: Instant, client: &Client, message: &Message<'_>) -> Result<Authenticated, Refusal> {
        if !message.has(attribute::MESSAGE_INTEGRITY) {
            return Err(Refusal::new(401, "Unauthorized"));
        }
        let (username, realm) = (message.text(attribute::USERNAME), message.text(attribute::REALM));
        let (Some(username), Some(realm), Some(nonce)) = (username, realm, message.get(attribute::NONCE)) else {
            return Err(Refusal::new(400, "Bad Request"));
        };
        if self.guard.judge_nonce(now, client.carrier, client.remote, nonce) == Nonce::Stale {
            return Err(Refusal::new(438, "Stale Nonce"));
        }
        let mut keys = self.guard.keys(now, username).filter(|_| realm == REALM);
        match keys.find(|key| message.is_signed_with(key)) {
            Some(key) => Ok(Authenticated { who: Arc::from(who(username)), key }),
            None => Err(Refusal::new(401, "Unauthorized")),
        }
    }

    /// An error response. Whoever has to authenticate (anew) is told how.
    fn refuse(
        &mut self,
        now: Instant,
        client: &Client,
        message: &Message<'_>,
        key: Option<&IntegrityKey>,
        refusal: &Refusal,
    ) -> Output<'static> {
        *self.counters.refused.entry(refusal.code).or_default() += 1;
        let reason = if key.is_some() { refusal.reason } else { "" };
        let mut answer = Writer::new(Class::Error, message.method(), &message.transaction()).add_error(
            attribute::ERROR_CODE,
            0,
            refusal.code,
            reason,
        );
        if !refusal.unknown.is_empty() {
            let list: Vec<u8> = refusal.unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            answer = answer.add(attribute::UNKNOWN_ATTRIBUTES, &list);
        }
        if matches!(refusal.code, 401 | 438) {
            let nonce = self.guard.nonce(now, client.carrier, client.remote);
            answer = answer.add(attribute::REALM, REALM.as_bytes()).add(attribute::NONCE, nonce.as_bytes());
        }
        Output::Reply(answer.finish(key, message.has(attribute::FINGERPRINT)))
    }
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str) -> Self {
        Self { code, reason, unknown: Vec::new() }
    }

    pub(super) fn unknown(unknown: Vec<u16>) -> Self {
        Self { code: 420, reason: "Unknown Attribute", unknown }
    }
}

#[cfg(test)]
mod tests;
