//! The WebRTC engine of one participant: the only holder of a `str0m::Rtc`.
//!
//! Keeps str0m's rules. Every received datagram is drained at once (str0m holds one pending RTP packet; a second
//! receive would overwrite it). Writes are collected and drained once per turn. Not here: what is forwarded to whom
//! (`room`), what SDP says (`negotiate`).

mod channels;
mod paths;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{ExtensionValues, RtpPacket, RtpWrite, Ssrc, Vp8Descriptor};
use str0m::{Event, IceConnectionState, IceCreds, Input, Output, Reason, Rtc, RtcConfig, RtcError};

pub(super) use channels::{ChannelEvent, Written};

use self::paths::{Paths, Transaction};
use super::demux::Class;
use super::outbox::{self, Datagram, Outbox, Outgoing, Source, Via};
use super::{Settings, extensions};
use crate::forward::{Basis, Reading, Rewritten};
use crate::rtp::{MediaKind, Packet};

/// A timeout this close is served at once: str0m's pacer releases one packet per tick and asks for the next 1 us later.
const TICK_AGAIN_WITHIN: Duration = Duration::from_micros(20);

/// Ticks one drain may take. Larger: one peer may hold the turn longer; smaller: paced bursts spread over turns.
const MAX_TICKS: u32 = 256;

/// Sent packets kept for retransmission per video stream. Each costs about 545 bytes beside the shared payload.
/// Larger: longer round trips can be repaired; smaller: less memory per viewer.
const RTX_PACKETS: usize = 256;

/// How long they are kept.
const RTX_AGE: Duration = Duration::from_millis(1000);

/// Share of a stream's bitrate that may be retransmissions.
const RTX_RATIO: f32 = 0.25;

/// Time between RTCP reports on video. Each report costs about 20 us per stream sent; lip-sync needs two of them.
const VIDEO_REPORTS: Duration = Duration::from_secs(3);

/// Time between RTCP reports on audio.
const AUDIO_REPORTS: Duration = Duration::from_secs(3);

/// Time between the engine's statistics: loss, round trip, a viewer's sign of life.
const STATISTICS: Duration = Duration::from_secs(2);

/// Silence after which an encoding counts as paused. Short, so that a layer its sender stopped is left soon.
const PAUSED_AFTER: Duration = Duration::from_millis(500);

/// Clock rate of every video payload format (RFC 6184, 7741, 7798, 9628); only video is replayed.
const VIDEO_CLOCK: f64 = 90_000.0;

/// How every engine is set up. Codecs and header extensions come from the offer.
pub(super) fn config(settings: &Settings, credentials: &IceCreds) -> RtcConfig {
    RtcConfig::new()
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_local_ice_credentials(credentials.clone())
        .set_dtls_cert(settings.certificate.clone())
        .set_rtcp_report_interval_video(VIDEO_REPORTS)
        .set_rtcp_report_interval_audio(AUDIO_REPORTS)
        .set_stats_interval(Some(STATISTICS))
        .set_pause_threshold(PAUSED_AFTER)
        .set_send_buffer_video(RTX_PACKETS)
}

/// Least time between wake-ups that only the estimator asks for. Larger: probes that fall into it become coarser;
/// smaller: more work for viewers close by.
const ESTIMATOR_TICK: Duration = Duration::from_millis(5);

/// An engine for somebody who has not offered anything yet.
pub(super) fn idle(settings: &Settings, credentials: &IceCreds, now: Instant) -> Rtc {
    config(settings, credentials).build(now)
}

pub(super) struct Peer {
    rtc: Rtc,
    paths: Paths,
    /// Our host candidates: str0m answers checks only when they were sent to one of these.
    candidates: Vec<SocketAddr>,
    /// Where DTLS and media went last.
    nominated: Option<Source>,
    checks_answered: u64,
    /// Something was written or changed since time last passed: the engine sends it at the next tick.
    changed: bool,
    /// When the engine wants to be woken.
    pub(super) timeout: Instant,
}

/// What the engine reports.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "packets are the common case; boxing them would allocate per packet")]
pub(super) enum PeerEvent {
    /// ICE and DTLS are up.
    Connected,
    /// ICE found or lost a working pair.
    Ice(IceConnectionState),
    /// The remote side closed.
    Closed,
    /// Something happened to a data channel.
    Channel(ChannelEvent),
    /// A packet arrived.
    Rtp(RtpPacket),
    /// The remote side wants a key frame on what we send.
    KeyframeRequest(Mid),
    /// A sender report: the remote wall clock and RTP timestamp of one instant, and when it arrived.
    SenderReport { mid: Mid, rid: Option<Rid>, theirs: SystemTime, timestamp: u32, ours: Instant },
    /// An encoding we receive fell silent.
    Paused { mid: Mid, rid: Option<Rid> },
    /// Reported by the remote side about what we send.
    Egress { mid: Mid, loss: Option<f32>, rtt: Option<Duration>, highest_sequence: Option<u64> },
    /// What the connection is believed to carry.
    Estimate(Reading),
    /// Measured on what we receive.
    Ingress { mid: Mid, loss: Option<f32>, rtt: Option<Duration> },
}

/// What is left to do after a datagram was fed to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Nothing.
    Drained,
    /// The peer has to be settled in this turn.
    Undrained,
}

/// How a check from the network was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// Authentic: its source is learned, in place of an older address where there were too many.
    Accepted { evicted: Option<Source> },
    /// Authentic, but from where nothing came before media flowed: somebody may have overheard it.
    Unproven,
    /// Not signed with our password, or not for this ICE generation.
    Refused,
}

impl Peer {
    pub(super) fn new(rtc: Rtc, candidates: Vec<SocketAddr>, now: Instant) -> Self {
        Self {
            rtc,
            paths: Paths::default(),
            candidates,
            nominated: None,
            checks_answered: 0,
            changed: true,
            timeout: now,
        }
    }

    /// For negotiation: restarts and counter-answers.
    pub(super) fn rtc(&mut self) -> &mut Rtc {
        self.changed = true;
        &mut self.rtc
    }

    /// Where media goes.
    pub(super) fn nominated(&self) -> Option<Source> {
        self.nominated
    }

    pub(super) fn is_alive(&self) -> bool {
        self.rtc.is_alive()
    }

    /// ICE checks answered, those among them that were made up for a client that sends none.
    pub(super) fn checks_answered(&self) -> u64 {
        self.checks_answered
    }

    /// Addresses this peer was learned at.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Source> + '_ {
        self.paths.sources()
    }

    /// Judges an ICE check; feeds it to the engine and remembers where it came from when it is authentic.
    pub(super) fn check(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        outbox: &mut Outbox,
        events: &mut Vec<PeerEvent>,
    ) -> Result<Check, RtcError> {
        let destination = self.destination(datagram);
        let Ok(receive) = Receive::new(protocol(datagram), datagram.remote, destination, datagram.contents) else {
            return Ok(Check::Refused);
        };
        let input = Input::Receive(now, receive);
        if !self.rtc.accepts(&input) {
            return Ok(Check::Refused);
        }
        if self.nominated.is_some() && !self.paths.is_proven(datagram.source()) {
            return Ok(Check::Unproven);
        }
        let evicted = self.paths.learn(now, datagram);
        self.rtc.handle_input(input)?;
        self.drain(now, outbox, events)?;
        Ok(Check::Accepted { evicted })
    }

    /// Keeps an unproven check until its source has answered. Gives the address that had to make room, and what to ask.
    pub(super) fn doubt(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        fresh: Transaction,
    ) -> (Option<Source>, Transaction) {
        self.paths.doubt(now, datagram, fresh)
    }

    /// A source has answered. Gives the check that waited for it.
    pub(super) fn prove(&mut self, source: Source, answered: Transaction) -> Option<Vec<u8>> {
        self.paths.prove(source, answered)
    }

    /// Feeds DTLS, SRTP or SRTCP from a learned address to the engine, and drains it, except behind SRTCP: reports wait
    /// for this turn's [`settle`](Self::settle), since a viewer sends many and a drain costs the same with or without
    /// them. What RTP brings would be overwritten by the next packet.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        datagram: &Datagram<'_>,
        outbox: &mut Outbox,
        events: &mut Vec<PeerEvent>,
    ) -> Result<Received, RtcError> {
        let destination = self.destination(datagram);
        let Ok(receive) = Receive::new(protocol(datagram), datagram.remote, destination, datagram.contents) else {
            return Ok(Received::Drained);
        };
        self.paths.hear(now, datagram.source());
        self.rtc.handle_input(Input::Receive(now, receive))?;
        if is_rtcp(datagram.contents) {
            return Ok(Received::Undrained);
        }
        self.drain(now, outbox, events)?;
        Ok(Received::Drained)
    }

    /// Ends the turn: lets time pass if there is a reason to (which also releases what was written), and drains.
    pub(super) fn settle(
        &mut self,
        now: Instant,
        outbox: &mut Outbox,
        events: &mut Vec<PeerEvent>,
    ) -> Result<(), RtcError> {
        if std::mem::take(&mut self.changed) || self.timeout <= now {
            self.rtc.handle_input(Input::Timeout(now))?;
        }
        self.drain(now, outbox, events)
    }

    /// Has the engine look for this much bandwidth, in bit/s; zero: for no more than is used.
    pub(super) fn set_desired_bitrate(&mut self, desired: u64) {
        self.changed = true;
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(desired));
    }

    /// Has the engine forget what it learned of the connection, and start from this estimate in bit/s.
    pub(super) fn restart_estimate(&mut self, bitrate: u64) {
        self.changed = true;
        self.rtc.bwe().reset(Bitrate::bps(bitrate));
    }

    /// Has nothing resent of what was sent so far on a video stream.
    pub(super) fn forget_sent(&mut self, ssrc: Ssrc) {
        if let Some(stream) = self.rtc.direct_api().stream_tx(&ssrc) {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_RATIO));
        }
    }

    /// Queues a packet for sending. It leaves when the peer [settles](Self::settle).
    pub(super) fn write(&mut self, ssrc: Ssrc, payload_type: u8, rewritten: &Rewritten, packet: &Packet) {
        self.changed = true;
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx(&ssrc) else { return };
        let mut extensions = ExtensionValues::default();
        extensions::write(&packet.extensions, &mut extensions);
        extensions::write_dependency(packet, rewritten, &mut extensions);
        // The wall clock of the timestamp it is sent with, which sender reports are made of.
        let captured = packet.captured + Duration::from_secs_f64(f64::from(rewritten.catching_up) / VIDEO_CLOCK);
        let payload = if rewritten.empty { Arc::default() } else { Arc::clone(&packet.payload) };
        let mut write =
            RtpWrite::new(payload_type.into(), rewritten.sequence.into(), rewritten.timestamp, captured, payload)
                .marker(rewritten.marker)
                .nackable(packet.codec.kind() == MediaKind::Video)
                .ext_vals(extensions);
        if let Some(vp8) = rewritten.vp8
            && let Ok(descriptor) = Vp8Descriptor::parse(&packet.payload)
        {
            let mut patch = descriptor.patch();
            if let Some(picture_id) = vp8.picture_id {
                patch = patch.picture_id(picture_id);
            }
            if let Some(index) = vp8.tl0_picture_index {
                patch = patch.tl0_pic_idx(index);
            }
            if let Some(index) = vp8.key_index {
                patch = patch.key_idx(index);
            }
            if let Ok(patch) = patch.build() {
                write = write.vp8_patch(patch);
            }
        }
        stream.write_rtp(write);
    }

    /// The SSRC we send an m-line on, with its retransmission cache sized.
    pub(super) fn prepare_sending(&mut self, mid: Mid, kind: MediaKind) -> Option<Ssrc> {
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_tx_by_mid(mid, None)?;
        if kind == MediaKind::Video {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_RATIO));
            // The publisher has paced already. The engine's pacer would hold back what a collapsed link cannot take,
            // for up to two seconds, and has no way to drop it when a smaller layer takes its place.
            stream.set_unpaced(true);
        }
        Some(stream.ssrc())
    }

    /// Which m-line and encoding a received SSRC belongs to.
    pub(super) fn origin(&mut self, ssrc: Ssrc) -> Option<(Mid, Option<Rid>)> {
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_rx(&ssrc)?;
        Some((stream.mid(), stream.rid()))
    }

    /// Has lost packets of a stream asked for although there is no separate stream for retransmissions.
    pub(super) fn nack_without_rtx(&mut self, ssrc: Ssrc) {
        if let Some(stream) = self.rtc.direct_api().stream_rx(&ssrc) {
            stream.suppress_nack(false);
        }
    }

    /// Asks the remote side for a key frame. The request leaves when the peer [settles](Self::settle).
    pub(super) fn request_keyframe(&mut self, mid: Mid, rid: Option<Rid>) -> bool {
        self.changed = true;
        let mut direct = self.rtc.direct_api();
        let stream = direct.stream_rx_by_mid(mid, rid);
        stream.map(|stream| stream.request_keyframe(KeyframeRequestKind::Pli)).is_some()
    }

    /// Says goodbye (RTCP BYE, DTLS close_notify). What is to be sent goes to the outbox.
    pub(super) fn close(&mut self, now: Instant, outbox: &mut Outbox) {
        let mut ignored = Vec::new();
        // An engine that fails to say goodbye is dropped without one: its remote side times out instead.
        if self.rtc.close().is_ok() {
            self.changed = true;
            let _ = self.settle(now, outbox, &mut ignored);
        }
    }

    fn drain(&mut self, now: Instant, outbox: &mut Outbox, events: &mut Vec<PeerEvent>) -> Result<(), RtcError> {
        let mut ticks = 0;
        loop {
            match self.rtc.poll_output()? {
                Output::Transmit(transmit) => {
                    let protocol =
                        if transmit.proto == Protocol::Udp { outbox::Protocol::Udp } else { outbox::Protocol::Tcp };
                    let mut to = Source { address: transmit.destination, protocol };
                    if Class::of(&transmit.contents) == Class::Media {
                        to = self.paths.living(to);
                        self.nominated = Some(to);
                    } else {
                        // An ICE-lite agent asks nothing: what it sends are answers.
                        self.checks_answered += 1;
                    }
                    let (via, local_ip) = self.way(to);
                    let outgoing = Outgoing { remote: to.address, local_ip, contents: transmit.contents.into() };
                    outbox.send(via, outgoing);
                }
                Output::Event(event) => events.extend(PeerEvent::of(event)),
                Output::Timeout(at) => {
                    let at = self.worth_waking(now, at);
                    if at > now + TICK_AGAIN_WITHIN || ticks >= MAX_TICKS {
                        self.timeout = at;
                        return Ok(());
                    }
                    ticks += 1;
                    self.rtc.handle_input(Input::Timeout(at.max(now)))?;
                }
            }
        }
    }

    /// Between two reports of arrivals the estimator wants to be woken once per round trip, at most every 25 ms:
    /// without end where there is no delay, a thousand times a second on a local network.
    fn worth_waking(&self, now: Instant, at: Instant) -> Instant {
        match self.rtc.last_timeout_reason() {
            Reason::BweDelayControl => at.max(now + ESTIMATOR_TICK),
            _ => at,
        }
    }

    /// The candidate a datagram was sent to. Behind a NAT or on a wildcard socket the address it arrived at is none of
    /// ours: then it came through the one that was advertised for that family.
    fn destination(&self, datagram: &Datagram<'_>) -> SocketAddr {
        let exact = self.candidates.iter().find(|candidate| Some(candidate.ip()) == datagram.local_ip);
        let family = || self.candidates.iter().find(|candidate| candidate.is_ipv4() == datagram.remote.is_ipv4());
        exact.or_else(family).or(self.candidates.first()).copied().unwrap_or(datagram.remote)
    }

    /// How datagrams from there travel, and the local address they arrive at.
    pub(super) fn way(&self, source: Source) -> (Via, Option<IpAddr>) {
        self.paths.way(source)
    }
}

/// The protocol in the engine's words.
fn protocol(datagram: &Datagram<'_>) -> Protocol {
    match datagram.via.protocol() {
        outbox::Protocol::Udp => Protocol::Udp,
        outbox::Protocol::Tcp => Protocol::Tcp,
    }
}

/// SRTCP among what shares its first byte (RFC 5761 section 4: packet types 192 to 223).
fn is_rtcp(datagram: &[u8]) -> bool {
    matches!(datagram, [128..=191, 192..=223, ..])
}

impl PeerEvent {
    fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::RtpPacket(packet) => PeerEvent::Rtp(packet),
            Event::Connected => PeerEvent::Connected,
            Event::IceConnectionStateChange(state) => PeerEvent::Ice(state),
            Event::Closed => PeerEvent::Closed,
            event @ (Event::ChannelOpen(..) | Event::ChannelData(_) | Event::ChannelClose(_)) => {
                PeerEvent::Channel(ChannelEvent::of(event)?)
            }
            Event::KeyframeRequest(request) => PeerEvent::KeyframeRequest(request.mid),
            Event::SenderFeedback(feedback) => PeerEvent::SenderReport {
                mid: feedback.mid,
                rid: feedback.rid,
                theirs: feedback.sender_info.ntp_time,
                timestamp: feedback.sender_info.rtp_time.numer() as u32,
                ours: feedback.received_at,
            },
            Event::StreamPaused(paused) if paused.paused => PeerEvent::Paused { mid: paused.mid, rid: paused.rid },
            Event::MediaEgressStats(stats) => PeerEvent::Egress {
                mid: stats.mid,
                loss: stats.loss,
                rtt: stats.rtt,
                highest_sequence: stats.remote.map(|remote| *remote.maximum_sequence_number),
            },
            Event::PeerStats(stats) => PeerEvent::Estimate(Reading {
                bitrate: stats.bwe_tx?.as_u64(),
                loss: stats.egress_loss_fraction.unwrap_or_default(),
                rtt: stats.rtt,
                basis: Basis::Transport,
            }),
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => PeerEvent::Estimate(Reading {
                bitrate: estimate.as_u64(),
                loss: 0.0,
                rtt: None,
                basis: Basis::Receiver,
            }),
            Event::MediaIngressStats(stats) => PeerEvent::Ingress { mid: stats.mid, loss: stats.loss, rtt: stats.rtt },
            _ => return None,
        })
    }
}
