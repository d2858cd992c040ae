//! A publisher and a viewer through a relay that copies packets: what leaves the one arrives at the other.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::change::SdpOffer;
use str0m::format::Codec as RtcCodec;
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpPacket, RtpWrite};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::*;
use crate::media::Codec;
use crate::net::{Conditions, NetemConfig, Network, Probability, RandomLoss};
use crate::oracle::{Expectations, Losses, Report};
use crate::spec::{KeyRequests, PictureId, Rotation, VideoFormat, VideoSpec};

const PUBLISHER: &str = "10.0.0.1:1000";
const VIEWER: &str = "10.0.0.2:1000";
const INGRESS: &str = "10.0.1.1:1000";
const EGRESS: &str = "10.0.1.2:1000";

/// One half of the relay.
struct Leg {
    rtc: Rtc,
    address: SocketAddr,
    deadline: Instant,
    lines: Vec<(MediaKind, Mid)>,
    outbox: Vec<Datagram>,
}

/// Copies every packet of its publisher to its viewer, numbers and all.
struct Relay {
    ingress: Leg,
    egress: Leg,
}

/// A publisher, a viewer, the relay and the network between them, on virtual time.
struct World {
    now: Instant,
    network: Network,
    publisher: Client,
    viewer: Client,
    relay: Relay,
}

impl World {
    fn new(publisher: PublisherSpec, viewer: ViewerSpec, conditions: Conditions) -> Self {
        let now = Instant::now();
        let clock = Clock::starting_at(now);
        let mut network = Network::new(7);
        network.attach(address(PUBLISHER), Conditions::IDEAL);
        network.attach(address(VIEWER), conditions);
        let setup = |at, seed| Setup { address: address(at), clock, seed };
        let (publisher, offer) = Client::publisher(publisher, setup(PUBLISHER, 1), now).unwrap();
        let (mut viewer, request) = Client::viewer(viewer, setup(VIEWER, 2), now).unwrap();
        let (ingress, answer) = Leg::answering(INGRESS, &offer, now);
        let (egress, request_answer) = Leg::answering(EGRESS, &request, now);
        viewer.accept_answer(&request_answer).unwrap();
        let relay = Relay { ingress, egress };
        let mut world = Self { now, network, publisher, viewer, relay };
        // The relay starts nobody in the middle: the viewer is there first.
        while world.viewer.connected_after().is_none() {
            world.run(Duration::from_millis(10));
        }
        world.publisher.accept_answer(&answer).unwrap();
        world
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.settle();
            let own = [self.relay.ingress.deadline, self.relay.egress.deadline, end];
            let others = [self.publisher.deadline(), self.viewer.deadline(), self.network.deadline()];
            let next = own.into_iter().chain(others.into_iter().flatten()).min().unwrap();
            if next >= end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
        }
    }

    /// Everything that happens at this moment.
    fn settle(&mut self) {
        let now = self.now;
        loop {
            let mut sent: Vec<Datagram> = self.publisher.poll(now).collect();
            sent.extend(self.viewer.poll(now));
            sent.extend(self.relay.poll(now));
            for datagram in sent {
                self.network.send(now, datagram);
            }
            let mut arrived = false;
            while let Some(Datagram { source, destination, contents }) = self.network.poll(now) {
                arrived = true;
                match destination {
                    to if to == address(PUBLISHER) => self.publisher.handle(now, source, &contents),
                    to if to == address(VIEWER) => self.viewer.handle(now, source, &contents),
                    to => self.relay.handle(now, source, to, &contents),
                }
            }
            if !arrived {
                return;
            }
        }
    }

    fn report(&self) -> Report {
        self.viewer.report(self.now).unwrap()
    }
}

impl Leg {
    fn answering(at: &str, offer: &str, now: Instant) -> (Self, String) {
        let mut config = RtcConfig::new().set_rtp_mode(true).set_ice_lite(true);
        config.extension_map().set(5, str0m::rtp::Extension::AbsoluteCaptureTime);
        config.extension_map().set(6, str0m::rtp::Extension::PlayoutDelay);
        let mut rtc = config.build(now);
        rtc.add_local_candidate(Candidate::host(address(at), "udp").unwrap());
        let answer = rtc.sdp_api().accept_offer(SdpOffer::from_sdp_string(offer).unwrap()).unwrap();
        (
            Self { rtc, address: address(at), deadline: now, lines: Vec::new(), outbox: Vec::new() },
            answer.to_sdp_string(),
        )
    }

    fn drain(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) if at <= now => self.rtc.handle_input(Input::Timeout(now)).unwrap(),
                Output::Timeout(at) => {
                    self.deadline = at;
                    return events;
                }
                Output::Transmit(t) => {
                    let contents = t.contents.into();
                    self.outbox.push(Datagram { source: t.source, destination: t.destination, contents });
                }
                Output::Event(event) => events.push(event),
            }
        }
    }

    /// The negotiated payload type of a codec.
    fn pt(&self, mid: Mid, codec: RtcCodec) -> Pt {
        let pts = self.rtc.media(mid).unwrap().remote_pts();
        *pts.iter().find(|pt| self.codec(**pt) == codec).unwrap()
    }

    fn mid(&self, kind: MediaKind) -> Mid {
        self.lines.iter().find(|line| line.0 == kind).unwrap().1
    }

    fn kind(&self, mid: Mid) -> MediaKind {
        self.lines.iter().find(|line| line.1 == mid).unwrap().0
    }

    fn codec(&self, pt: Pt) -> RtcCodec {
        self.rtc.codec_config().params().iter().find(|p| p.pt() == pt).unwrap().spec().codec
    }
}

impl Relay {
    fn handle(&mut self, now: Instant, source: SocketAddr, to: SocketAddr, contents: &[u8]) {
        let leg = if to == self.ingress.address { &mut self.ingress } else { &mut self.egress };
        let receive = Receive::new(Protocol::Udp, source, to, contents).unwrap();
        leg.rtc.handle_input(Input::Receive(now, receive)).unwrap();
        self.drain(now);
    }

    fn poll(&mut self, now: Instant) -> Vec<Datagram> {
        while self.ingress.deadline.min(self.egress.deadline) <= now {
            self.ingress.rtc.handle_input(Input::Timeout(now)).unwrap();
            self.egress.rtc.handle_input(Input::Timeout(now)).unwrap();
            self.drain(now);
        }
        let mut out = std::mem::take(&mut self.ingress.outbox);
        out.append(&mut self.egress.outbox);
        out
    }

    fn drain(&mut self, now: Instant) {
        for event in self.ingress.drain(now) {
            self.on_ingress(now, event);
        }
        for event in self.egress.drain(now) {
            self.on_egress(now, event);
        }
    }

    fn on_ingress(&mut self, now: Instant, event: Event) {
        match event {
            Event::RtpPacket(packet) => self.forward(now, &packet),
            Event::MediaAdded(media) => self.ingress.lines.push((media.kind, media.mid)),
            _ => {}
        }
    }

    fn on_egress(&mut self, now: Instant, event: Event) {
        match event {
            Event::MediaAdded(media) => self.egress.lines.push((media.kind, media.mid)),
            Event::KeyframeRequest(request) => {
                let mid = self.ingress.mid(self.egress.kind(request.mid));
                let mut direct = self.ingress.rtc.direct_api();
                direct.stream_rx_by_mid(mid, None).unwrap().request_keyframe(request.kind);
                self.ingress.deadline = now;
            }
            _ => {}
        }
    }

    fn forward(&mut self, now: Instant, packet: &RtpPacket) {
        let codec = self.ingress.codec(packet.header.payload_type);
        let kind = if codec.is_video() { MediaKind::Video } else { MediaKind::Audio };
        let to = self.egress.mid(kind);
        let pt = self.egress.pt(to, codec);
        let write = RtpWrite::new(pt, packet.seq_no, packet.header.timestamp, now, packet.payload.clone())
            .marker(packet.header.marker)
            .ext_vals(packet.header.ext_vals.clone())
            .nackable(codec.is_video());
        self.egress.rtc.direct_api().stream_tx_by_mid(to, None).unwrap().write_rtp(write);
        self.egress.deadline = now;
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn strict() -> ViewerSpec {
    let expectations =
        Expectations { losses: Losses::None, publishers: Some(vec![1]), wire: true, ..Expectations::default() };
    ViewerSpec { expectations, keep_records: true, ..ViewerSpec::default() }
}

fn delay(milliseconds: u64) -> NetemConfig {
    NetemConfig::new().latency(Duration::from_millis(milliseconds))
}

#[test]
fn every_codec_arrives_whole_and_without_a_violation() {
    let long = PictureId::Bits15;
    let short = PictureId::Bits7;
    for (codec, temporal_layers, picture_id) in [
        (Codec::Vp8, 1, long),
        (Codec::Vp8, 3, short),
        (Codec::Vp8, 2, long),
        (Codec::H264, 1, long),
        (Codec::Vp9, 2, long),
        (Codec::H265, 1, long),
        (Codec::Av1, 1, long),
    ] {
        let mut video =
            VideoSpec { temporal_layers, key_interval: Some(Duration::from_secs(2)), ..VideoSpec::new(codec) };
        video.vp8.picture_id = picture_id;
        let viewer = ViewerSpec { formats: vec![VideoFormat::of(codec)], ..strict() };
        let mut world = World::new(PublisherSpec::new(1).with_video(video), viewer, Conditions::symmetric(delay(20)));
        world.run(Duration::from_secs(6));
        let report = world.report();
        let case = format!("{codec:?}, {temporal_layers} temporal layers");
        assert!(report.violations.is_empty(), "{case}: {}", report.violations);
        let (audio, video) = (report.audio().expect(&case), report.video().expect(&case));
        assert!(
            audio.packets > 250 && video.frames > 150,
            "{case}: {} packets, {} frames",
            audio.packets,
            video.frames
        );
        assert!(video.key_frames >= 3 && video.undecodable == 0 && video.lost == 0 && video.freezes == 0, "{case}");
        let latency = video.latency.quantile(0.5);
        assert!((Duration::from_millis(19)..Duration::from_millis(22)).contains(&latency), "{case}: {latency:?}");
    }
}

#[test]
fn retransmission_repairs_five_percent_loss_on_either_side() {
    let lossy = delay(20).loss(RandomLoss::new(Probability::new(0.05)));
    let clean = Conditions::symmetric(delay(20));
    for (publisher, viewer) in
        [(Conditions { up: lossy, down: delay(20) }, clean), (clean, Conditions { up: delay(20), down: lossy })]
    {
        let spec = ViewerSpec { formats: vec![VideoFormat::of(Codec::Vp8)], ..ViewerSpec::default() };
        let mut world = World::new(PublisherSpec::new(1), spec, viewer);
        world.network.attach(address(PUBLISHER), publisher);
        world.run(Duration::from_secs(20));
        let report = world.report();
        assert!(report.violations.is_empty(), "{}", report.violations);
        let video = report.video().unwrap();
        assert!(video.reordered > 50, "nothing was repaired: {video:?}");
        assert!(video.lost <= video.packets / 200, "{} of {} lost", video.lost, video.packets);
        assert!(video.frames > 500, "{} frames", video.frames);
    }
}

#[test]
fn a_viewer_that_cannot_decode_gets_a_key_frame_by_asking() {
    // The first second is lost to the viewer, and with it the only key frame.
    let viewer = || ViewerSpec { formats: vec![VideoFormat::of(Codec::Vp8)], ..ViewerSpec::default() };
    for (key_requests, decodes) in
        [(KeyRequests::After(Duration::from_millis(50)), true), (KeyRequests::Ignored, false)]
    {
        let publisher = PublisherSpec::new(1).with_video(VideoSpec { key_requests, ..VideoSpec::new(Codec::Vp8) });
        let mut world = World::new(publisher, viewer(), Conditions::IDEAL);
        while world.publisher.sent().unwrap().packets == 0 || world.viewer.connected_after().is_none() {
            world.run(Duration::from_millis(1));
            if world.publisher.sent().unwrap().packets > 0 {
                world.network.attach(address(VIEWER), Conditions::severed());
                world.run(Duration::from_secs(1));
                world.network.attach(address(VIEWER), Conditions::IDEAL);
            }
        }
        world.run(Duration::from_secs(3));
        let report = world.report();
        assert!(report.violations.is_empty(), "{}", report.violations);
        assert_eq!(report.video().unwrap().frames > 50, decodes, "{report:?}");
        assert!(world.publisher.sent().unwrap().key_frame_requests > 0);
    }
}

#[test]
fn extensions_and_the_obs_stream_arrive_as_sent() {
    let video = VideoSpec { timing_extensions: true, rotation: Some(Rotation::Deg90), ..VideoSpec::obs() };
    let viewer = ViewerSpec { formats: vec![VideoFormat::h264(0x42_e01f)], ..strict() };
    let mut world = World::new(PublisherSpec::new(1).with_video(video), viewer, Conditions::IDEAL);
    world.run(Duration::from_secs(3));
    let report = world.report();
    assert!(report.violations.is_empty(), "{}", report.violations);
    assert_eq!(report.video().unwrap().codec, Codec::H264);
    let extensions: Vec<_> = world.viewer.received().iter().map(|packet| packet.extensions).collect();
    assert!(extensions.iter().any(|e| e.audio_level == Some(-30)), "no audio level");
    assert!(extensions.iter().any(|e| e.orientation == Some(str0m::rtp::VideoOrientation::Deg90)));
    assert!(extensions.iter().any(|e| e.capture_time.is_some() && e.playout_delay.is_some()));
}

#[test]
fn a_rebound_client_is_heard_again_from_its_new_address() {
    let mut world = World::new(PublisherSpec::new(1), ViewerSpec::default(), Conditions::IDEAL);
    world.run(Duration::from_secs(3));
    world.network.rebind(address(VIEWER), address("10.0.0.2:2000"));
    world.run(Duration::from_secs(30));
    let report = world.report();
    assert!(report.video().unwrap().quiet_for < Duration::from_millis(200), "{report:?}");
}

#[test]
fn endings_differ_in_what_the_server_hears() {
    let start = || {
        let mut world = World::new(PublisherSpec::new(1), ViewerSpec::default(), Conditions::IDEAL);
        world.run(Duration::from_secs(2));
        world
    };
    let mut stopped = start();
    stopped.publisher.stop(stopped.now);
    stopped.run(Duration::from_millis(100));
    assert_eq!(*stopped.publisher.state(), ConnectionState::Closed);
    assert!(!stopped.relay.ingress.rtc.is_alive(), "close_notify did not arrive");

    let mut vanished = start();
    vanished.publisher.vanish();
    vanished.run(Duration::from_secs(1));
    assert_eq!(vanished.publisher.deadline(), None);
    assert!(vanished.relay.ingress.rtc.is_alive());
    assert!(vanished.report().video().unwrap().quiet_for > Duration::from_millis(900));

    let mut silent = start();
    silent.publisher.fall_silent();
    silent.run(Duration::from_secs(30));
    assert!(silent.relay.ingress.rtc.is_connected(), "the connection did not outlive the media");
    assert!(silent.report().video().unwrap().quiet_for > Duration::from_secs(29));
}

#[test]
fn an_answer_is_taken_once_and_only_when_it_is_one() {
    let now = Instant::now();
    let setup = Setup { address: address(PUBLISHER), clock: Clock::starting_at(now), seed: 1 };
    let (mut client, offer) = Client::publisher(PublisherSpec::new(1), setup, now).unwrap();
    assert!(matches!(client.accept_answer("not SDP"), Err(ClientError::Parse(_))));
    let (_leg, answer) = Leg::answering(INGRESS, &offer, now);
    client.accept_answer(&answer).unwrap();
    assert!(matches!(client.accept_answer(&answer), Err(ClientError::NothingOffered)));
    let nothing = PublisherSpec { audio: None, video: None, ..PublisherSpec::new(1) };
    assert!(matches!(Client::publisher(nothing, setup, now), Err(ClientError::NothingToOffer)));
}
