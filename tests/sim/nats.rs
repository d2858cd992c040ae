//! Two people behind NATs, with this server's STUN and TURN as all the help they get: which of them find a direct way,
//! and that all others are relayed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crosspoint::sfu::{self, Sfu, Via};
use crosspoint::turn::client::{self, Answer};
use crosspoint::turn::{AllocationKey, Credential, REALM, Settings, SocketRequest};
use loadtest::Datagram;
use loadtest::net::{Conditions, Depends, Nat, Network};
use stun_types::attribute::{AttributeType, Nonce, RawAttribute, Realm, Username, XorMappedAddress};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageType, MessageWriteVec, Method,
};
use stun_types::prelude::*;

use crate::world::{Options, SERVER, settings};

const SECRET: &[u8] = b"the secret";
const PEER_ADDRESS: AttributeType = AttributeType::new(0x0012);
const DATA: AttributeType = AttributeType::new(0x0013);

const OPEN: Nat = Nat { mapping: Depends::OnNothing, filtering: Depends::OnNothing };
const BY_ADDRESS: Nat = Nat { mapping: Depends::OnNothing, filtering: Depends::OnAddress };
const BY_PORT: Nat = Nat { mapping: Depends::OnNothing, filtering: Depends::OnPort };
const SYMMETRIC: Nat = Nat { mapping: Depends::OnPort, filtering: Depends::OnPort };

#[test]
fn only_a_symmetric_nat_opposite_one_that_minds_ports_needs_the_relay() {
    let kinds = [OPEN, BY_ADDRESS, BY_PORT, SYMMETRIC];
    let direct =
        [[true, true, true, true], [true, true, true, true], [true, true, true, false], [true, true, false, false]];
    for (here, row) in kinds.iter().zip(direct) {
        for (there, expected) in kinds.iter().zip(row) {
            let mut pair = Pair::new(*here, *there);
            pair.prepare();
            pair.probe();
            assert_eq!(pair.direct(), expected, "{here:?} and {there:?}");
            assert!(pair.relayed(), "{here:?} and {there:?}");
        }
    }
}

/// Two people and the server.
struct Pair {
    now: Instant,
    start: Instant,
    network: Network,
    sfu: Sfu,
    /// Sockets of relayed addresses: what the shell would have opened.
    relays: BTreeMap<u16, AllocationKey>,
    people: [Person; 2],
    transactions: u8,
}

struct Person {
    address: SocketAddr,
    nonce: String,
    reflexive: Option<SocketAddr>,
    relayed: Option<SocketAddr>,
    answers: VecDeque<Vec<u8>>,
    /// What came from the other, and how: its words, and whether through the relay.
    heard: BTreeSet<(Vec<u8>, bool)>,
}

impl Pair {
    fn new(here: Nat, there: Nat) -> Self {
        let start = Instant::now();
        let server: SocketAddr = SERVER.parse().unwrap();
        let turn = Settings {
            relaying: true,
            secrets: vec![SECRET.to_vec()],
            relay_ips: vec![server.ip()],
            media: vec![server],
            allocations: 10,
            allocations_per_user: 10,
            bandwidth: 1 << 20,
            ..Settings::stun_only(start)
        };
        let options = Options::seed(1);
        let sfu = Sfu::new(sfu::Settings { turn, ..settings(sfu::ShardIndex(0), options, start) }, [1; 32]);
        let mut network = Network::new(1);
        let people = [("10.0.1.1:5000", "8.8.1.1:7000", here), ("10.0.2.2:5000", "8.8.2.2:7000", there)];
        let people = people.map(|(inside, outside, nat)| {
            let address = inside.parse().unwrap();
            network.attach(address, Conditions::IDEAL);
            network.translate(address, outside.parse().unwrap(), nat);
            Person {
                address,
                nonce: String::new(),
                reflexive: None,
                relayed: None,
                answers: VecDeque::new(),
                heard: BTreeSet::new(),
            }
        });
        Self { now: start, start, network, sfu, relays: BTreeMap::new(), people, transactions: 0 }
    }

    /// Both learn their addresses, allocate, and permit the other's.
    fn prepare(&mut self) {
        for who in 0..2 {
            let transaction = self.transaction();
            let Answer::Mapped(mapped) = self.ask(who, client::binding(&transaction), transaction) else { panic!() };
            self.people[who].reflexive = Some(mapped);
            let first = self.transaction();
            let request = client::allocate(&first, &self.credential(), None);
            let Answer::Challenged(nonce) = self.ask(who, request, first) else { panic!() };
            let second = self.transaction();
            let request = client::allocate(&second, &self.credential(), Some(&nonce));
            let Answer::Relayed(relayed) = self.ask(who, request, second) else { panic!() };
            self.people[who].nonce = nonce;
            self.people[who].relayed = Some(relayed);
        }
        for who in 0..2 {
            let others = self.candidates(1 - who);
            let request = self.permission(who, &others);
            self.send(who, SERVER.parse().unwrap(), request);
            let answer = self.people[who].answers.pop_front().expect("an answer");
            assert_eq!(answer[..2], [0x01, 0x08], "CreatePermission succeeds");
        }
    }

    /// As ICE does: everybody sends to every address of the other, directly and through the own relay, a few times, and
    /// answers whence it was asked.
    fn probe(&mut self) {
        for _ in 0..3 {
            for who in 0..2 {
                for candidate in self.candidates(1 - who) {
                    self.send(who, candidate, b"are you there?".to_vec());
                    let wrapped = indication(candidate, b"are you there?");
                    self.send(who, SERVER.parse().unwrap(), wrapped);
                }
            }
        }
    }

    /// Somebody got an answer without the server.
    fn direct(&self) -> bool {
        self.people.iter().any(|person| person.heard.contains(&(b"yes".to_vec(), false)))
    }

    /// Both got answers through it.
    fn relayed(&self) -> bool {
        self.people.iter().all(|person| person.heard.contains(&(b"yes".to_vec(), true)))
    }

    fn candidates(&self, who: usize) -> Vec<SocketAddr> {
        [self.people[who].reflexive, self.people[who].relayed].into_iter().flatten().collect()
    }

    fn credential(&self) -> Credential {
        Credential::mint(SECRET, Duration::from_secs(3600), "somebody")
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.transactions += 1;
        [self.transactions; 12]
    }

    fn ask(&mut self, who: usize, request: Vec<u8>, transaction: [u8; 12]) -> Answer {
        self.send(who, SERVER.parse().unwrap(), request);
        let answer = self.people[who].answers.pop_front().expect("an answer");
        client::read(&answer, &transaction).expect("an answer to the request")
    }

    fn permission(&mut self, who: usize, peers: &[SocketAddr]) -> Vec<u8> {
        let mut request = Message::builder_request(Method::new(8), MessageWriteVec::new());
        for peer in peers {
            request.add_attribute(&peer_attribute(*peer, request.transaction_id())).unwrap();
        }
        let Credential { username, password } = self.credential();
        request.add_attribute(&Username::new(&username).unwrap()).unwrap();
        request.add_attribute(&Realm::new(REALM).unwrap()).unwrap();
        request.add_attribute(&Nonce::new(&self.people[who].nonce).unwrap()).unwrap();
        let credentials = LongTermKeyCredentials::new(username, password, REALM.to_owned()).into();
        request.add_message_integrity(&credentials, IntegrityAlgorithm::Sha1).unwrap();
        request.finish()
    }

    fn send(&mut self, who: usize, destination: SocketAddr, contents: Vec<u8>) {
        let source = self.people[who].address;
        self.network.send(self.now, Datagram { source, destination, contents });
        self.settle();
    }

    /// Until nothing is under way any more.
    fn settle(&mut self) {
        while let Some(at) = self.network.deadline() {
            self.now = self.now.max(at);
            assert!(self.now < self.start + Duration::from_secs(60), "it never ends");
            while let Some(datagram) = self.network.poll(self.now) {
                self.deliver(&datagram);
            }
        }
    }

    fn deliver(&mut self, datagram: &Datagram) {
        let server: SocketAddr = SERVER.parse().unwrap();
        let Datagram { source, destination, contents } = datagram;
        if *destination == server {
            let received = sfu::Datagram { remote: *source, local_ip: None, via: Via::Socket, contents };
            self.sfu.handle(self.now, &received);
            self.flush();
        } else if destination.ip() == server.ip() {
            if let Some(relay) = self.relays.get(&destination.port()) {
                self.sfu.handle_peer(self.now, *relay, *source, contents);
                self.flush();
            }
        } else if let Some(who) = self.people.iter().position(|person| person.address == *destination) {
            self.hear(who, *source, contents);
        }
    }

    /// As the shell does.
    fn flush(&mut self) {
        self.sfu.flush(self.now);
        let outbox = self.sfu.outbox();
        for request in outbox.sockets.drain(..) {
            if let SocketRequest::Open { relay, port } = request {
                self.relays.insert(port, relay);
            }
        }
        let server: SocketAddr = SERVER.parse().unwrap();
        for outgoing in outbox.datagrams.drain(..) {
            let (destination, contents) = (outgoing.remote, outgoing.contents);
            self.network.send(self.now, Datagram { source: server, destination, contents });
        }
        for sent in outbox.to_peers.drain(..) {
            let port = self.relays.iter().find(|(_, relay)| **relay == sent.relay).map(|(port, _)| *port).unwrap();
            let source = SocketAddr::new(server.ip(), port);
            self.network.send(self.now, Datagram { source, destination: sent.peer, contents: sent.contents });
        }
    }

    fn hear(&mut self, who: usize, source: SocketAddr, contents: &[u8]) {
        let server: SocketAddr = SERVER.parse().unwrap();
        let wrapped = unwrap(contents).filter(|_| source == server);
        if source == server && wrapped.is_none() {
            self.people[who].answers.push_back(contents.to_vec());
            return;
        }
        // What came to the relayed address of the other, or from ours, went through the server.
        let through_us = wrapped.is_some() || source.ip() == server.ip();
        let (from, words) = wrapped.unwrap_or((source, contents.to_vec()));
        self.people[who].heard.insert((words.clone(), through_us));
        if words == b"are you there?" {
            let address = self.people[who].address;
            let answer = if source == server { indication(from, b"yes") } else { b"yes".to_vec() };
            self.network.send(self.now, Datagram { source: address, destination: source, contents: answer });
        }
    }
}

/// A Send indication.
fn indication(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let kind = MessageType::from_class_method(MessageClass::Indication, Method::new(6));
    let mut message = Message::builder(kind, 7u128.into(), MessageWriteVec::new());
    message.add_attribute(&peer_attribute(peer, 7u128.into())).unwrap();
    message.add_attribute(&RawAttribute::new(DATA, data)).unwrap();
    message.finish()
}

/// What a Data indication carries.
fn unwrap(datagram: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
    let message = Message::from_bytes(datagram).ok().filter(|message| message.method() == Method::new(7))?;
    let peer = message.raw_attribute(PEER_ADDRESS)?;
    let mapped = RawAttribute::new(XorMappedAddress::TYPE, &peer.value);
    let peer = XorMappedAddress::from_raw_ref(&mapped).ok()?.addr(message.transaction_id());
    Some((peer, message.raw_attribute(DATA)?.value.to_vec()))
}

/// XOR-PEER-ADDRESS is written like XOR-MAPPED-ADDRESS.
fn peer_attribute(peer: SocketAddr, transaction: stun_types::message::TransactionId) -> RawAttribute<'static> {
    let mapped = XorMappedAddress::new(peer, transaction);
    RawAttribute::new(PEER_ADDRESS, &mapped.to_raw().value).into_owned()
}
