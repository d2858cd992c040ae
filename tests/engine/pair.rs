//! Two engines and the path between them: one sends video of a constant bitrate, the other reports what arrives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use loadtest::Datagram;
use loadtest::net::{Conditions, Network};
use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{Direction, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, IceConnectionState, Input, Output, Reason, Rtc, RtcConfig};

/// Bytes of a packet's payload.
const PAYLOAD: usize = 1000;

/// Pictures are this far apart.
const FRAME: Duration = Duration::from_millis(33);

/// VP8 in the engine's own numbering.
const VP8: u8 = 96;

/// Ticks one drain may take: the estimator can ask for them without end.
const MAX_TICKS: u32 = 256;

/// A tick this close is asked for by the pacer, which hands out one packet each.
const AGAIN: Duration = Duration::from_micros(20);

/// What the sender believes at some time, in bit/s.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Belief {
    pub(crate) at: Instant,
    pub(crate) bitrate: u64,
    pub(crate) rtt: Duration,
}

pub(crate) struct Pair {
    pub(crate) now: Instant,
    network: Network,
    pub(crate) sender: End,
    pub(crate) receiver: End,
    pub(crate) mid: Mid,
    next_frame: Instant,
    sequence: u64,
    /// Bytes of payload owed to the bitrate.
    owed: f64,
}

pub(crate) struct End {
    pub(crate) rtc: Rtc,
    address: SocketAddr,
    timeout: Instant,
    connected: bool,
    /// Times it wanted to be woken without end.
    pub(crate) endless: u64,
    /// RTP packets that were handed out.
    pub(crate) packets: u64,
    /// What the statistics told, ten times a second.
    pub(crate) told: Vec<Belief>,
    /// What the event about estimates told.
    pub(crate) announced: Vec<(Instant, u64)>,
    /// Whether events are fetched behind each datagram, as they have to be.
    pub(crate) drains: bool,
}

impl Pair {
    /// Two connected engines, the sender behind a line.
    pub(crate) fn new(line: Conditions) -> Self {
        let now = Instant::now();
        let config = || RtcConfig::new().set_rtp_mode(true);
        let estimating = config().enable_bwe(Some(Bitrate::kbps(500)));
        let mut sender = End::new(estimating.set_stats_interval(Some(FRAME * 3)), 1, now);
        let mut receiver = End::new(config(), 2, now);
        let mut changes = sender.rtc.sdp_api();
        let mid = changes.add_media(MediaKind::Video, Direction::SendOnly, None, None, None);
        let (offer, pending) = changes.apply().unwrap();
        let answer = receiver.rtc.sdp_api().accept_offer(offer).unwrap();
        sender.rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let mut network = Network::new(1);
        network.attach(sender.address, line);
        let mut pair = Self { now, network, sender, receiver, mid, next_frame: now, sequence: 1, owed: 0.0 };
        for _ in 0..100 {
            pair.run(FRAME, 0);
        }
        assert!(pair.sender.connected && pair.receiver.connected);
        pair
    }

    pub(crate) fn change(&mut self, line: Conditions) {
        self.network.attach(self.sender.address, line);
    }

    /// Lets the time pass while the sender sends this many bit/s.
    pub(crate) fn run(&mut self, time: Duration, bitrate: u64) {
        let end = self.now + time;
        loop {
            let next = [self.sender.timeout, self.receiver.timeout, self.next_frame];
            let next = next.into_iter().chain(self.network.deadline()).min().unwrap().max(self.now);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            while let Some(datagram) = self.network.poll(next) {
                let Self { sender, receiver, .. } = self;
                let to = [sender, receiver].into_iter().find(|end| end.address == datagram.destination);
                to.unwrap().receive(next, &datagram, &mut self.network);
            }
            if next >= self.next_frame {
                self.next_frame = next + FRAME;
                self.write(bitrate);
            }
            for end in [&mut self.sender, &mut self.receiver] {
                if end.timeout <= next {
                    end.tick(next, &mut self.network);
                }
            }
        }
    }

    fn write(&mut self, bitrate: u64) {
        self.owed += bitrate as f64 / 8.0 * FRAME.as_secs_f64();
        while self.owed >= PAYLOAD as f64 {
            self.owed -= PAYLOAD as f64;
            self.sequence += 1;
            let payload: Arc<[u8]> = Arc::new([0; PAYLOAD]);
            let write = RtpWrite::new(VP8.into(), self.sequence.into(), self.sequence as u32 * 3000, self.now, payload);
            self.sender.rtc.direct_api().stream_tx_by_mid(self.mid, None).unwrap().write_rtp(write.nackable(true));
        }
        self.sender.timeout = self.now;
    }

    /// What the sender believes now, in bit/s.
    pub(crate) fn believed(&self) -> u64 {
        self.sender.told.last().map_or(0, |belief| belief.bitrate)
    }
}

impl End {
    fn new(config: RtcConfig, number: u8, now: Instant) -> Self {
        let address = SocketAddr::from(([10, 0, 0, number], 4000));
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            address,
            timeout: now,
            connected: false,
            endless: 0,
            packets: 0,
            told: Vec::new(),
            announced: Vec::new(),
            drains: true,
        }
    }

    fn receive(&mut self, now: Instant, datagram: &Datagram, network: &mut Network) {
        let receive = Receive::new(Protocol::Udp, datagram.source, datagram.destination, &datagram.contents).unwrap();
        self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
        if self.drains {
            self.drain(now, network);
        }
    }

    fn tick(&mut self, now: Instant, network: &mut Network) {
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(now, network);
    }

    fn drain(&mut self, now: Instant, network: &mut Network) {
        let mut ticks = 0;
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) if at > now + AGAIN || ticks == MAX_TICKS => {
                    self.timeout = at.max(now + AGAIN);
                    return;
                }
                Output::Timeout(at) => {
                    ticks += 1;
                    self.endless += u64::from(ticks == MAX_TICKS && self.is_estimators_wish());
                    self.rtc.handle_input(Input::Timeout(at.max(now))).unwrap();
                }
                Output::Transmit(transmit) => {
                    let contents: Vec<u8> = transmit.contents.into();
                    let (source, destination) = (self.address, transmit.destination);
                    network.send(now, Datagram { source, destination, contents });
                }
                Output::Event(event) => self.note(now, event),
            }
        }
    }

    fn is_estimators_wish(&self) -> bool {
        self.rtc.last_timeout_reason() == Reason::BweDelayControl
    }

    fn note(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => self.connected = true,
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => self.connected = false,
            Event::RtpPacket(_) => self.packets += 1,
            Event::PeerStats(stats) => self.told.extend(stats.bwe_tx.map(|bitrate| Belief {
                at: now,
                bitrate: bitrate.as_u64(),
                rtt: stats.rtt.unwrap_or_default(),
            })),
            Event::EgressBitrateEstimate(BweKind::Twcc { estimate, .. }) => {
                self.announced.push((now, estimate.as_u64()));
            }
            _ => {}
        }
    }
}
