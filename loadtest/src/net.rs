//! A virtual network: datagrams go in with the time, and come out when they would arrive.
//!
//! Every attached address has an access line with conditions for each direction; addresses that are not attached
//! (servers) sit on the backbone, which is perfect. Randomness comes from one seed: the same calls give the same
//! deliveries. Not here: TCP, and anything that reads a datagram.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
pub use str0m_netem::{Bitrate, DataSize, GilbertElliot, LossModel, NetemConfig, Probability, RandomLoss};
use str0m_netem::{Input, Netem, Output};

use crate::client::Datagram;
use crate::nat::Translator;
pub use crate::nat::{Depends, Nat};

/// Conditions of an access line. A link's buffer also holds what is in flight: add rate times latency to it.
#[derive(Debug, Clone, Copy)]
pub struct Conditions {
    /// From the client. Seeds are replaced by the network's own.
    pub up: NetemConfig,
    /// To the client.
    pub down: NetemConfig,
}

impl Conditions {
    /// No delay, no loss.
    pub const IDEAL: Self = Self::symmetric(NetemConfig::new());

    /// The same both ways.
    pub const fn symmetric(conditions: NetemConfig) -> Self {
        Self { up: conditions, down: conditions }
    }

    /// Nothing gets through.
    pub fn severed() -> Self {
        Self::symmetric(NetemConfig::new().loss(RandomLoss::new(Probability::ONE)))
    }
}

/// The network.
pub struct Network {
    rng: StdRng,
    lines: Vec<Line>,
    /// The line behind a public address; `None` for one that a NAT has forgotten.
    routes: BTreeMap<SocketAddr, Option<usize>>,
    /// The line of a client's own address.
    owners: BTreeMap<SocketAddr, usize>,
    /// When a direction of a line has something to hand on. May name a time that is past its use.
    agenda: BinaryHeap<Reverse<(Instant, usize, Direction)>>,
    ready: VecDeque<(Instant, Datagram)>,
}

/// The access line of one client, with the NAT at its end.
struct Line {
    inside: SocketAddr,
    public: SocketAddr,
    nat: Option<Translator>,
    up: Netem<Packet>,
    down: Netem<Packet>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Up,
    Down,
}

/// A datagram under way, in the form the emulator wants.
#[derive(Debug, Clone)]
struct Packet(Datagram);

impl AsRef<[u8]> for Packet {
    fn as_ref(&self) -> &[u8] {
        &self.0.contents
    }
}

impl Network {
    /// A network without clients.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            lines: Vec::new(),
            routes: BTreeMap::new(),
            owners: BTreeMap::new(),
            agenda: BinaryHeap::new(),
            ready: VecDeque::new(),
        }
    }

    /// Gives `address` an access line, or changes the conditions of the one it has. Datagrams under way stay so.
    pub fn attach(&mut self, address: SocketAddr, conditions: Conditions) {
        let (up, down) = (seeded(conditions.up, &mut self.rng), seeded(conditions.down, &mut self.rng));
        if let Some(line) = self.owners.get(&address).and_then(|index| self.lines.get_mut(*index)) {
            line.up.set_config(up);
            line.down.set_config(down);
            return;
        }
        self.owners.insert(address, self.lines.len());
        self.routes.insert(address, Some(self.lines.len()));
        self.lines.push(Line {
            inside: address,
            public: address,
            nat: None,
            up: Netem::new(up),
            down: Netem::new(down),
        });
    }

    /// The NAT of `address` forgets its binding: from now on its datagrams come from `public`, and what is sent to the
    /// old public address is lost.
    pub fn rebind(&mut self, address: SocketAddr, public: SocketAddr) {
        let Some(index) = self.owners.get(&address).copied() else { return };
        let Some(line) = self.lines.get_mut(index) else { return };
        self.routes.insert(line.public, None);
        line.public = public;
        self.routes.insert(public, Some(index));
    }

    /// Puts `address` behind a NAT of this kind, whose outside address and first port are given.
    pub fn translate(&mut self, address: SocketAddr, outside: SocketAddr, nat: Nat) {
        let Some(index) = self.owners.get(&address).copied() else { return };
        let Some(line) = self.lines.get_mut(index) else { return };
        self.routes.insert(line.public, None);
        line.nat = Some(Translator::new(nat, outside));
    }

    /// Sends a datagram.
    pub fn send(&mut self, now: Instant, datagram: Datagram) {
        match self.owners.get(&datagram.source) {
            Some(index) => self.enter(now, *index, Direction::Up, datagram),
            None => self.cross(now, datagram),
        }
    }

    /// The next datagram that has arrived, translated as its receiver sees it. Call until `None`.
    pub fn poll(&mut self, now: Instant) -> Option<Datagram> {
        while self.ready.is_empty() {
            let Reverse((at, index, direction)) = *self.agenda.peek()?;
            if at > now {
                return None;
            }
            self.agenda.pop();
            self.leave(at, index, direction);
        }
        self.ready.pop_front().map(|(_, datagram)| datagram)
    }

    /// When [`Self::poll`] has something to give, or to look at.
    pub fn deadline(&self) -> Option<Instant> {
        let arrived = self.ready.front().map(|(at, _)| *at);
        arrived.or_else(|| self.agenda.peek().map(|Reverse((at, ..))| *at))
    }

    fn enter(&mut self, now: Instant, index: usize, direction: Direction, datagram: Datagram) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let netem = line.direction(direction);
        netem.handle_input(Input::Packet(now, Packet(datagram)));
        if !netem.is_empty() {
            self.agenda.push(Reverse((netem.poll_timeout(), index, direction)));
        }
    }

    /// Hands on what a line lets out at `now`.
    fn leave(&mut self, now: Instant, index: usize, direction: Direction) {
        let Some(line) = self.lines.get_mut(index) else { return };
        let (inside, public) = (line.inside, line.public);
        let netem = line.direction(direction);
        netem.handle_input(Input::Timeout(now));
        let mut out = Vec::new();
        loop {
            match netem.poll_output() {
                Some(Output::Packet(Packet(datagram))) => out.push(datagram),
                Some(Output::Timeout(at)) => self.agenda.push(Reverse((at, index, direction))),
                None => break,
            }
        }
        for datagram in out {
            match direction {
                Direction::Up => {
                    let source = self.outside(index, datagram.destination).unwrap_or(public);
                    self.cross(now, Datagram { source, ..datagram });
                }
                Direction::Down => self.ready.push_back((now, Datagram { destination: inside, ..datagram })),
            }
        }
    }

    /// The address a NAT gives a datagram, and where answers come in.
    fn outside(&mut self, index: usize, to: SocketAddr) -> Option<SocketAddr> {
        let outside = self.lines.get_mut(index)?.nat.as_mut()?.out(to);
        self.routes.insert(outside, Some(index));
        Some(outside)
    }

    fn admits(&self, index: usize, datagram: &Datagram) -> bool {
        let nat = self.lines.get(index).and_then(|line| line.nat.as_ref());
        nat.is_none_or(|nat| nat.admits(datagram.destination, datagram.source))
    }

    /// From the backbone to whoever has the address: a client's line, or a server.
    fn cross(&mut self, now: Instant, datagram: Datagram) {
        match self.routes.get(&datagram.destination) {
            Some(Some(index)) if !self.admits(*index, &datagram) => {}
            Some(Some(index)) => self.enter(now, *index, Direction::Down, datagram),
            Some(None) => {}
            None => self.ready.push_back((now, datagram)),
        }
    }
}

impl Line {
    fn direction(&mut self, direction: Direction) -> &mut Netem<Packet> {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

fn seeded(config: NetemConfig, rng: &mut StdRng) -> NetemConfig {
    config.seed(rng.random())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CLIENT: &str = "10.0.0.1:1";
    const OTHER: &str = "10.0.0.2:1";
    const SERVER: &str = "10.0.0.9:9";

    fn datagram(source: &str, destination: &str, size: usize) -> Datagram {
        Datagram { source: at(source), destination: at(destination), contents: vec![0; size] }
    }

    fn at(address: &str) -> SocketAddr {
        address.parse().unwrap()
    }

    fn latency(milliseconds: u64) -> NetemConfig {
        NetemConfig::new().latency(Duration::from_millis(milliseconds))
    }

    /// Everything that arrives, with its time in milliseconds.
    fn arrivals(network: &mut Network, start: Instant) -> Vec<(u128, Datagram)> {
        let mut arrived = Vec::new();
        while let Some(now) = network.deadline() {
            while let Some(datagram) = network.poll(now) {
                arrived.push(((now - start).as_millis(), datagram));
            }
        }
        arrived
    }

    #[test]
    fn a_datagram_passes_both_access_lines() {
        let start = Instant::now();
        let mut network = Network::new(1);
        network.attach(at(CLIENT), Conditions { up: latency(10), down: latency(1) });
        network.attach(at(OTHER), Conditions { up: latency(1), down: latency(30) });
        network.send(start, datagram(CLIENT, OTHER, 100));
        network.send(start, datagram(CLIENT, SERVER, 100));
        network.send(start, datagram(SERVER, CLIENT, 100));
        let times: Vec<_> = arrivals(&mut network, start).into_iter().map(|(ms, d)| (ms, d.destination)).collect();
        assert_eq!(times, [(1, at(CLIENT)), (10, at(SERVER)), (40, at(OTHER))]);
    }

    #[test]
    fn the_same_seed_loses_the_same_datagrams() {
        let run = |seed| {
            let start = Instant::now();
            let mut network = Network::new(seed);
            let lossy = latency(20).jitter(Duration::from_millis(5)).loss(GilbertElliot::wifi_lossy());
            network.attach(at(CLIENT), Conditions::symmetric(lossy));
            for n in 0..500 {
                network.send(start + Duration::from_millis(n), datagram(CLIENT, SERVER, n as usize));
            }
            arrivals(&mut network, start).into_iter().map(|(ms, d)| (ms, d.contents.len())).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!((400..500).contains(&run(1).len()));
    }

    #[test]
    fn a_bottleneck_delays_up_to_its_buffer_and_drops_the_rest() {
        let start = Instant::now();
        let mut network = Network::new(1);
        let narrow = NetemConfig::new().link(Bitrate::kbps(800), DataSize::bytes(5_000));
        network.attach(at(CLIENT), Conditions::symmetric(narrow));
        for _ in 0..10 {
            network.send(start, datagram(CLIENT, SERVER, 1_000));
        }
        // 1000 bytes take 10 ms at 800 kbps.
        let times: Vec<_> = arrivals(&mut network, start).into_iter().map(|(ms, _)| ms).collect();
        assert_eq!(times, [0, 10, 20, 30, 40]);
    }

    #[test]
    fn a_nat_that_forgets_gives_another_address_and_loses_what_goes_to_the_old() {
        let start = Instant::now();
        let mut network = Network::new(1);
        network.attach(at(CLIENT), Conditions::IDEAL);
        network.rebind(at(CLIENT), at(OTHER));
        network.send(start, datagram(CLIENT, SERVER, 1));
        network.send(start, datagram(SERVER, CLIENT, 2));
        network.send(start, datagram(SERVER, OTHER, 3));
        let arrived: Vec<_> = arrivals(&mut network, start).into_iter().map(|(_, d)| d).collect();
        assert_eq!(arrived, [datagram(OTHER, SERVER, 1), datagram(SERVER, CLIENT, 3)]);
    }

    #[test]
    fn a_severed_line_can_be_mended() {
        let start = Instant::now();
        let mut network = Network::new(1);
        network.attach(at(CLIENT), Conditions::severed());
        network.send(start, datagram(CLIENT, SERVER, 1));
        network.attach(at(CLIENT), Conditions::IDEAL);
        network.send(start, datagram(CLIENT, SERVER, 2));
        let sizes: Vec<_> = arrivals(&mut network, start).into_iter().map(|(_, d)| d.contents.len()).collect();
        assert_eq!(sizes, [2]);
    }
}
