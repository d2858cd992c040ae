//! Two engines and a wire between them: what was negotiated carries media.

use std::collections::VecDeque;
use std::time::Duration;

use str0m::change::{SdpAnswer, SdpOffer};
use str0m::media::MediaKind as EngineKind;
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RawPacket, RtpWrite};
use str0m::{Event, IceConnectionState, IceCreds, Input, Output};

use super::*;
use crate::rtp::Codec;
use crate::rtp::format::Profile;

const SERVER: &str = "192.0.2.1:3478";
const CLIENT: &str = "192.0.2.9:40000";
const STEP: Duration = Duration::from_millis(10);

/// A server and a client, and the time.
struct Wire {
    server: Rtc,
    client: Rtc,
    now: Instant,
    server_events: Vec<Event>,
    client_events: Vec<Event>,
}

impl Wire {
    fn new(server: Rtc, client: Rtc, now: Instant) -> Self {
        Self { server, client, now, server_events: Vec::new(), client_events: Vec::new() }
    }

    /// Lets time pass, delivering everything at once.
    fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.now < end {
            self.now += STEP;
            let now = self.now;
            let mut in_flight: VecDeque<(bool, Transmit)> = VecDeque::new();
            for to_server in [true, false] {
                self.side(to_server).0.handle_input(Input::Timeout(now)).unwrap();
                self.drain(to_server, &mut in_flight);
            }
            while let Some((to_server, transmit)) = in_flight.pop_front() {
                let contents = (&*transmit.contents).try_into().unwrap();
                let source = if to_server { CLIENT } else { SERVER }.parse().unwrap();
                let receive = Receive { proto: Protocol::Udp, source, destination: transmit.destination, contents };
                self.side(to_server).0.handle_input(Input::Receive(now, receive)).unwrap();
                self.drain(to_server, &mut in_flight);
            }
        }
    }

    fn side(&mut self, server: bool) -> (&mut Rtc, &mut Vec<Event>) {
        if server { (&mut self.server, &mut self.server_events) } else { (&mut self.client, &mut self.client_events) }
    }

    fn drain(&mut self, server: bool, in_flight: &mut VecDeque<(bool, Transmit)>) {
        let (rtc, events) = self.side(server);
        loop {
            match rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => in_flight.push_back((!server, transmit)),
                Output::Event(event) => events.push(event),
            }
        }
    }

    fn connect(&mut self) {
        self.run(Duration::from_secs(2));
        assert!(self.server.is_connected() && self.client.is_connected(), "connected");
    }
}

/// Sends a packet; it leaves at the next step.
fn send(rtc: &mut Rtc, now: Instant, mid: Mid, payload_type: u8, sequence: u64) {
    let mut direct = rtc.direct_api();
    let stream = direct.stream_tx_by_mid(mid, None).unwrap();
    let payload: std::sync::Arc<[u8]> = [0x10, 0, 0, 0].as_slice().into();
    let timestamp = 3000 * u32::try_from(sequence).unwrap();
    let packet = RtpWrite::new(payload_type.into(), sequence.into(), timestamp, now, payload).nackable(true);
    stream.write_rtp(packet);
}

/// Payload type and sequence number of each RTP packet received.
fn packets(events: &[Event]) -> Vec<(u8, u64)> {
    let packet = |event: &Event| match event {
        Event::RtpPacket(packet) => Some((*packet.header.payload_type, *packet.seq_no)),
        _ => None,
    };
    events.iter().filter_map(packet).collect()
}

fn client(now: Instant) -> Rtc {
    let mut rtc = RtcConfig::new().set_rtp_mode(true).build(now);
    rtc.add_local_candidate(host(CLIENT));
    rtc
}

/// A publisher of audio and video, connected. Returns the offer, and the answer it got.
fn publisher(config: RtcConfig, change: impl Fn(String) -> String) -> (Wire, Offer, String, Vec<NegotiatedMedia>) {
    let now = Instant::now();
    let mut client = client(now);
    let mut api = client.sdp_api();
    api.add_media(EngineKind::Audio, Direction::SendOnly, None, None, None);
    api.add_media(EngineKind::Video, Direction::SendOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let offer = Offer::parse(&change(offer.to_sdp_string()), &Role::Publish).unwrap();
    let candidates = [host(SERVER)];
    let local = Local { candidates: &candidates, stream: "lobby" };
    let Accepted { rtc, answer, media } = accept(config, &offer, &local, now).unwrap();
    client.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    let mut wire = Wire::new(rtc, client, now);
    wire.connect();
    (wire, offer, answer, media)
}

fn payload_type(media: &NegotiatedMedia, codec: Codec) -> u8 {
    media.formats.iter().find(|format| format.codec == codec).unwrap().payload_type
}

#[test]
fn a_publishers_media_arrives_under_its_payload_types() {
    let (mut wire, _, _, media) = publisher(config(), |offer| offer);
    let (audio, video) = (payload_type(&media[0], Codec::Opus), payload_type(&media[1], Codec::Vp9));
    send(&mut wire.client, wire.now, media[0].mid, audio, 7);
    send(&mut wire.client, wire.now, media[1].mid, video, 9);
    wire.run(Duration::from_millis(100));
    let mut arrived = packets(&wire.server_events);
    arrived.sort_by_key(|(_, sequence)| *sequence);
    assert_eq!(arrived, [(audio, 7), (video, 9)]);
}

#[test]
fn a_client_that_wants_to_be_dtls_server_is_connected_to() {
    // FFmpeg: the answer's role is the other one, so the client here has to be told what it offered.
    let now = Instant::now();
    let mut client = client(now);
    let mut api = client.sdp_api();
    let mid = api.add_media(EngineKind::Video, Direction::SendOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let text = offer.to_sdp_string().replace("a=setup:actpass", "a=setup:passive");
    let candidates = [host(SERVER)];
    let local = Local { candidates: &candidates, stream: "lobby" };
    let accepted = accept(config(), &Offer::parse(&text, &Role::Publish).unwrap(), &local, now).unwrap();
    assert_eq!(values(&accepted.answer, "setup:"), ["active"]);
    client.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&accepted.answer).unwrap()).unwrap();
    let mut wire = Wire::new(accepted.rtc, client, now);
    wire.connect();
    send(&mut wire.client, wire.now, mid, payload_type(&accepted.media[0], Codec::Vp8), 1);
    wire.run(Duration::from_millis(100));
    assert_eq!(packets(&wire.server_events).len(), 1);
}

#[test]
fn a_viewer_receives_what_is_sent_to_it() {
    let now = Instant::now();
    let mut client = client(now);
    let mut api = client.sdp_api();
    api.add_media(EngineKind::Video, Direction::RecvOnly, None, None, None);
    let (offer, pending) = api.apply().unwrap();
    let candidates = [host(SERVER)];
    let local = Local { candidates: &candidates, stream: "lobby" };
    let offer = Offer::parse(&offer.to_sdp_string(), &PLAY).unwrap();
    let accepted = accept(config(), &offer, &local, now).unwrap();
    client.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&accepted.answer).unwrap()).unwrap();
    let mut wire = Wire::new(accepted.rtc, client, now);
    wire.connect();
    let h264 = payload_type(&accepted.media[0], Codec::H264);
    send(&mut wire.server, wire.now, accepted.media[0].mid, h264, 3);
    wire.run(Duration::from_millis(100));
    assert_eq!(packets(&wire.client_events), [(h264, 3)]);
}

/// The credentials in a description.
fn credentials(text: &str) -> IceCreds {
    IceCreds { ufrag: values(text, "ice-ufrag:")[0].to_owned(), pass: values(text, "ice-pwd:")[0].to_owned() }
}

#[test]
fn media_outlives_an_ice_restart() {
    let (mut wire, mut offer, answer, media) = publisher(config(), |offer| offer);
    let vp8 = payload_type(&media[1], Codec::Vp8);
    send(&mut wire.client, wire.now, media[1].mid, vp8, 1);
    wire.run(Duration::from_millis(100));
    wire.server_events.clear();

    let mut api = wire.client.sdp_api();
    let restarted = api.ice_restart(true);
    let (_, pending) = api.apply().unwrap();
    let text = format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", restarted.ufrag, restarted.pass);
    let fragment = Fragment::parse(&text).unwrap();
    let ours = IceCreds { ufrag: "second".into(), pass: "a-password-of-the-second-generation".into() };
    let reply = restart(&mut wire.server, &mut offer, &fragment, &ours, &[host(SERVER)]).unwrap();

    let lines: Vec<&str> = reply.lines().collect();
    assert_eq!(lines[0], "a=ice-lite");
    assert_eq!(lines[1], "a=ice-options:trickle");
    assert!(lines[2].starts_with("a=group:BUNDLE ") && lines[3].starts_with("m=audio 9 UDP/TLS/RTP/SAVPF "));
    assert_eq!(credentials(&reply), ours);
    assert_eq!(*lines.last().unwrap(), "a=end-of-candidates");
    assert_eq!(offer.credentials(), &restarted);
    assert_eq!(wire.server.direct_api().local_ice_credentials(), ours);

    // Before the client has the reply, media flows as before.
    send(&mut wire.client, wire.now, media[1].mid, vp8, 2);
    wire.run(Duration::from_millis(50));
    let old = credentials(&answer);
    let answer = answer.replace(&old.ufrag, &ours.ufrag).replace(&old.pass, &ours.pass);
    wire.client.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    wire.run(Duration::from_secs(2));
    send(&mut wire.client, wire.now, media[1].mid, vp8, 3);
    wire.run(Duration::from_secs(20));
    assert!(wire.server.is_connected(), "the new generation is checked and kept");
    assert_eq!(packets(&wire.server_events), [(vp8, 2), (vp8, 3)]);
    let lost = |event: &Event| matches!(event, Event::IceConnectionStateChange(IceConnectionState::Disconnected));
    assert!(!wire.server_events.iter().any(lost));
}

#[test]
fn a_fragment_that_restarts_nothing_changes_nothing() {
    let (mut wire, mut offer, answer, _) = publisher(config(), |offer| offer);
    let current = offer.credentials().clone();
    let same = format!("a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", current.ufrag, current.pass);
    let ours = IceCreds { ufrag: "second".into(), pass: "a-password-of-the-second-generation".into() };
    for text in [same.as_str(), "a=end-of-candidates"] {
        let fragment = Fragment::parse(text).unwrap();
        assert!(restart(&mut wire.server, &mut offer, &fragment, &ours, &[host(SERVER)]).is_err(), "{text}");
    }
    assert_eq!(offer.credentials(), &current);
    assert_eq!(wire.server.direct_api().local_ice_credentials(), credentials(&answer));
    wire.run(Duration::from_secs(20));
    assert!(wire.server.is_connected());
}

#[test]
fn lost_packets_are_asked_for_where_the_publisher_resends_without_rtx() {
    let without_rtx = |offer: String| -> String {
        let line = |line: &&str| !line.contains("apt=") && !line.contains(" rtx/") && !line.starts_with("a=ssrc");
        let kept: Vec<&str> = offer.lines().filter(line).collect();
        let mut text = kept.join("\r\n");
        for value in values(&offer, "ssrc-group:FID ") {
            let main = value.split(' ').next().unwrap();
            text += &format!("\r\na=ssrc:{main} cname:x");
        }
        text + "\r\n"
    };
    let (mut wire, _, _, media) = publisher(config().enable_raw_packets(true), without_rtx);
    assert!(media[1].nacks_without_rtx);
    let vp8 = payload_type(&media[1], Codec::Vp8);
    for sequence in [1, 2, 5, 6] {
        send(&mut wire.client, wire.now, media[1].mid, vp8, sequence);
        wire.run(STEP);
    }
    wire.run(Duration::from_millis(300));
    let nack = |event: &&Event| matches!(event.as_raw_packet(), Some(RawPacket::RtcpTx(Rtcp::Nack(_))));
    assert!(wire.server_events.iter().any(|event| nack(&event)), "3 and 4 are asked for");
}

fn published() -> Vec<Format> {
    let format = |codec, payload_type, fmtp: &str| Format {
        payload_type,
        rtx: None,
        red: None,
        codec,
        clock_rate: if codec == Codec::Opus { 48_000 } else { 90_000 },
        channels: (codec == Codec::Opus).then_some(2),
        profile: Profile::from_fmtp(codec, fmtp),
    };
    let h264 = "packetization-mode=1;profile-level-id=42e01f";
    vec![format(Codec::Opus, 111, ""), format(Codec::H264, 96, h264), format(Codec::H264, 97, h264)]
}

fn counter(now: Instant, published: &[Format]) -> Result<CounterOffer, DescriptionError> {
    let candidates = [host(SERVER)];
    counter_offer(config(), published, &Local { candidates: &candidates, stream: "lobby" }, now)
}

#[test]
fn a_counter_offer_is_what_is_published_and_its_answer_plays() {
    let now = Instant::now();
    let counter = counter(now, &published()).unwrap();
    assert_eq!(values(&counter.offer, "rtpmap:"), ["96 opus/48000/2", "97 H264/90000", "98 rtx/90000"]);
    assert_eq!(values(&counter.offer, "sendonly").len(), 2);
    assert_eq!(values(&counter.offer, "end-of-candidates").len(), 1);
    assert!(values(&counter.offer, "msid:").iter().all(|msid| msid.starts_with("lobby ")));

    let mut client = client(now);
    let answer = client.sdp_api().accept_offer(SdpOffer::from_sdp_string(&counter.offer).unwrap()).unwrap();
    let answer = counter.read_answer(&answer.to_sdp_string()).unwrap();
    let (rtc, media) = counter.accept(&answer).unwrap();
    let mut wire = Wire::new(rtc, client, now);
    wire.connect();
    send(&mut wire.server, wire.now, media[1].mid, payload_type(&media[1], Codec::H264), 5);
    wire.run(Duration::from_millis(100));
    assert_eq!(packets(&wire.client_events), [(97, 5)]);
}

#[test]
fn answers_that_do_not_fit_the_counter_offer_are_refused() {
    let now = Instant::now();
    assert!(counter(now, &[]).is_err(), "nothing to offer");
    let counter = counter(now, &published()).unwrap();
    let mut client = client(now);
    let answer = client.sdp_api().accept_offer(SdpOffer::from_sdp_string(&counter.offer).unwrap()).unwrap();
    let answer = answer.to_sdp_string();
    let audio_only = answer.split("m=video").next().unwrap().to_owned();
    let rows = [
        ("hello".to_owned(), "line 1"),
        (answer.replace("a=recvonly", "a=sendonly"), "WHEP needs recvonly"),
        (answer.replace("a=setup:passive", "a=setup:actpass"), "a=setup:active or a=setup:passive"),
        (audio_only, "has 1 m-lines, the offer 2"),
        (without_video(&answer), "rejects an m-line"),
        (answer.replace(" 97", " 120").replace(":97 ", ":120 "), "no payload type that the connection began with"),
    ];
    for (text, sentence) in rows {
        let error = counter.read_answer(&text).unwrap_err().to_string();
        assert!(error.contains(sentence), "{error}");
    }
    let mids: Vec<&str> = values(&answer, "mid:");
    let other = answer.replace(mids[0], "zzz");
    let other = counter.read_answer(&other).unwrap();
    assert!(counter.accept(&other).is_err(), "its mids are not ours");
}

/// The answer with its video disabled.
fn without_video(answer: &str) -> String {
    let video = values(answer, "mid:")[1];
    answer.replace("m=video 9", "m=video 0").replacen(&format!(" {video}\r\n"), "\r\n", 1)
}
