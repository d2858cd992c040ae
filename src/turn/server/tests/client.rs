//! A client of the server under test.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::super::*;
use crate::turn::credentials::{Credential, WallClock, key};
use crate::turn::{Carrier, StreamId};

pub(super) const UNIX: u64 = 1_800_000_000;
pub(super) const SECRET: &[u8] = b"the secret";
pub(super) const MEDIA: &str = "203.0.113.1:3478";
pub(super) const PEER: &str = "8.8.8.8:9000";

/// A server, a client of it, and the time.
pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) now: Instant,
    pub(super) client: Client,
    pub(super) user: Credential,
    pub(super) transaction: u8,
}

/// What an answer says, as far as tests look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// The error code, 0 for success.
    pub(super) code: u16,
    pub(super) bytes: Vec<u8>,
}

pub(super) fn settings(now: Instant) -> Settings {
    Settings {
        relaying: true,
        secrets: vec![SECRET.to_vec()],
        nonce_key: [9; 32],
        clock: WallClock { at: now, unix: Duration::from_secs(UNIX) },
        relay_ips: vec!["203.0.113.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ports: 50_000..=50_099,
        dynamic_ports: None,
        media: vec![at(MEDIA), at("[2001:db8::1]:3478")],
        allowed_peers: Vec::new(),
        shard: 0,
        shards: 1,
        allocations: 10,
        allocations_per_user: 3,
        bandwidth: 1_000_000,
    }
}

pub(super) fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

pub(super) fn user(who: &str) -> Credential {
    Credential::mint(SECRET, Duration::from_secs(UNIX + 3600), who)
}

/// Attributes of a request, ready to be added.
pub(super) type Attributes<'a> = &'a [(u16, &'a [u8])];

pub(super) const UDP: (u16, &[u8]) = (attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let now = Instant::now();
        let mut settings = settings(now);
        change(&mut settings);
        let client = Client { carrier: Carrier::Udp, remote: at("192.0.2.9:4000"), local_ip: None };
        Self { server: Server::new(settings, [1; 32]), now, client, user: user("alice"), transaction: 0 }
    }

    /// Another client port of the same user.
    pub(super) fn port(&mut self, port: u16) -> &mut Self {
        self.client.remote.set_port(port);
        self
    }

    pub(super) fn over_tcp(&mut self) -> &mut Self {
        self.client.carrier = Carrier::Stream(StreamId(1));
        self
    }

    pub(super) fn later(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self.server.expire(self.now);
        self
    }

    pub(super) fn send<'a>(&mut self, datagram: &'a [u8]) -> Output<'a> {
        self.server.handle(self.now, &self.client, datagram)
    }

    pub(super) fn next(&mut self) -> [u8; 12] {
        self.transaction = self.transaction.wrapping_add(1);
        [self.transaction; 12]
    }

    /// Sends a request as it is.
    pub(super) fn raw(&mut self, method: u16, attributes: Attributes<'_>, peers: &[&str]) -> Answer {
        let transaction = self.next();
        let request = build(method, &transaction, attributes, peers).finish(None, false);
        self.exchange(&request)
    }

    /// Sends a request with a fresh nonce, signed.
    pub(super) fn ask(&mut self, method: u16, attributes: Attributes<'_>, peers: &[&str]) -> Answer {
        let transaction = self.next();
        let request = self.sign(build(method, &transaction, attributes, peers));
        self.exchange(&request)
    }

    pub(super) fn code(&mut self, method: u16, attributes: Attributes<'_>, peers: &[&str]) -> u16 {
        self.ask(method, attributes, peers).code
    }

    pub(super) fn allocate(&mut self) -> Answer {
        let answer = self.ask(method::ALLOCATE, &[UDP], &[]);
        assert_eq!(answer.code, 0);
        answer
    }

    pub(super) fn permit(&mut self, peer: &str) {
        assert_eq!(self.code(method::CREATE_PERMISSION, &[], &[peer]), 0);
    }

    pub(super) fn bind(&mut self, number: u16, peer: &str) -> u16 {
        let number = [number.to_be_bytes().as_slice(), &[0, 0]].concat();
        self.code(method::CHANNEL_BIND, &[(attribute::CHANNEL_NUMBER, &number)], &[peer])
    }

    pub(super) fn sign(&mut self, request: Writer) -> Vec<u8> {
        let nonce = self.nonce();
        let Credential { username, password } = self.user.clone();
        request
            .add(attribute::USERNAME, username.as_bytes())
            .add(attribute::REALM, REALM.as_bytes())
            .add(attribute::NONCE, nonce.as_bytes())
            .finish(Some(&key(&username, &password)), true)
    }

    pub(super) fn nonce(&mut self) -> String {
        let challenge = self.raw(method::ALLOCATE, &[UDP], &[]);
        challenge.message().text(attribute::NONCE).unwrap().to_owned()
    }

    pub(super) fn exchange(&mut self, request: &[u8]) -> Answer {
        let transaction = Message::parse(request).unwrap().transaction();
        let Output::Reply(bytes) = self.send(request) else { panic!("no answer") };
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.transaction(), transaction);
        let code = match message.get(attribute::ERROR_CODE) {
            Some(&[0, 0, class, number, ..]) => u16::from(class) * 100 + u16::from(number),
            Some(other) => panic!("a malformed error code: {other:?}"),
            None => 0,
        };
        assert_eq!(message.class(), if code == 0 { Class::Success } else { Class::Error });
        Answer { code, bytes }
    }
}

impl Answer {
    pub(super) fn message(&self) -> Message<'_> {
        Message::parse(&self.bytes).unwrap()
    }

    pub(super) fn relayed(&self) -> Vec<SocketAddr> {
        self.message().addresses(attribute::XOR_RELAYED_ADDRESS).flatten().collect()
    }

    pub(super) fn lifetime(&self) -> u32 {
        u32::from_be_bytes(self.message().get(attribute::LIFETIME).unwrap().try_into().unwrap())
    }
}

pub(super) fn build(method: u16, transaction: &[u8; 12], attributes: Attributes<'_>, peers: &[&str]) -> Writer {
    let request = Writer::new(Class::Request, method, transaction);
    let request = attributes.iter().fold(request, |request, (kind, value)| request.add(*kind, value));
    peers.iter().fold(request, |request, peer| request.add_address(attribute::XOR_PEER_ADDRESS, at(peer)))
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
