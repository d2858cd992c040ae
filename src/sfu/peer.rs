//! The WebRTC engine of one participant: the only holder of a `str0m::Rtc`.
//!
//! Keeps str0m's rules. Every received datagram is drained at once (str0m holds one pending RTP packet; a second
//! receive would overwrite it). Writes are collected and drained once per turn. Not here: what is forwarded to whom
//! (`room`), what SDP says (`negotiate`).

mod channels;
mod event;
mod handover;
mod kept;
mod keys;
mod missing;
mod numbers;
mod padding;
mod paths;
mod retired;
mod sending;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::media::{KeyframeRequestKind, Mid, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::Ssrc;
use str0m::{IceCreds, Input, Output, PacerReason, Reason, Rtc, RtcConfig, RtcError};

pub(super) use channels::{ChannelEvent, Written};
pub(super) use event::PeerEvent;
pub(super) use keys::exporting;
pub(super) use writer::StreamSpec;

use self::handover::HandedOver;
use self::missing::Missing;
use self::paths::Paths;
pub(super) use self::paths::Transaction;
use self::retired::Retired;
use super::Settings;
use super::deadlines::Patience;
use super::demux::Class;
use super::outbox::{self, Datagram, Outbox, Outgoing, Source, Via};
use crate::forward::{Arrived, Departures};
use crate::rtp::header;
use writer::{Heard, Writer};

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
        .set_sctp_max_buffered_amount(channels::MAX_BUFFERED)
}

/// Least time between wake-ups that only the estimator asks for. Larger: probes that fall into it become coarser;
/// smaller: more work for viewers close by.
const ESTIMATOR_TICK: Duration = Duration::from_millis(5);

/// The same while nothing is sent that it could estimate from. Larger: other wake-ups behind these (reports, every 3 s)
/// come later; smaller: more work for viewers of a single layer, and for those who came before their publisher.
const IDLE_ESTIMATOR_TICK: Duration = Duration::from_secs(1);

/// The engine pads what it sends up to 50 kbit/s, with a packet of 31 bytes every 5 ms, also where there is nothing to
/// send: to a member all of whose people are connected directly. Then it is woken this much later.
/// Larger: other wake-ups behind these come later; smaller: more packets for nothing.
const PADDING_TICK: Duration = Duration::from_millis(100);

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
    /// The engine was fed something it was not drained after.
    undrained: bool,
    /// Writes the streams that need nothing of the engine's congestion control; there as soon as there are keys, where
    /// they were [exported](exporting).
    writer: Option<Box<Writer>>,
    /// What was written here and is the engine's now.
    handed_over: Option<Box<HandedOver>>,
    /// The engine has none of the streams yet.
    withheld: bool,
    departures: Departures,
    /// The id under which packets carry transport-wide numbers; zero where they do not.
    numbering: u8,
    missing: Missing,
    retired: Retired,
    /// What the remote side reported to have arrived; not known without its keys.
    arrived: Option<Arrived>,
    /// Nothing the estimator is told would help it: none of the streams is written by the engine.
    estimates_nothing: bool,
    /// There is nothing to send.
    silent: bool,
    /// When the engine wants to be woken.
    pub(super) timeout: Instant,
    /// For what.
    reason: Reason,
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
            undrained: false,
            writer: None,
            handed_over: None,
            withheld: false,
            departures: Departures::default(),
            numbering: 0,
            missing: Missing::default(),
            retired: Retired::default(),
            arrived: None,
            estimates_nothing: false,
            silent: false,
            timeout: now,
            reason: Reason::NotHappening,
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
        let evicted = self.paths.learn(now, datagram, self.nominated);
        self.feed(now, input)?;
        self.ask_path(datagram.source());
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
        self.paths.doubt(now, datagram, fresh, self.nominated)
    }

    /// What a source was asked that has not answered yet.
    pub(super) fn asked(&self, source: Source) -> Option<Transaction> {
        self.paths.asked(source)
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
        if is_rtcp(datagram.contents) {
            if self.hear(now, datagram.contents, outbox, events) == Heard::All {
                return Ok(Received::Drained);
            }
            self.feed(now, Input::Receive(now, receive))?;
            self.undrained = true;
            return Ok(Received::Undrained);
        }
        if self.is_past(now, datagram.contents) {
            return Ok(Received::Drained);
        }
        self.feed(now, Input::Receive(now, receive))?;
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
            self.feed(now, Input::Timeout(now))?;
        }
        self.drain(now, outbox, events)
    }

    /// Settling would do something.
    pub(super) fn is_unsettled(&self, now: Instant) -> bool {
        self.changed || self.undrained || self.timeout <= now
    }

    /// Whether what the engine wants to be woken for may wait for another reason to take a turn: reports and feedback,
    /// looks for what to ask again while nothing is missing, and what nobody makes use of.
    pub(super) fn patience(&self, now: Instant) -> Patience {
        let idle = self.estimates_nothing && is_for_estimates(self.reason);
        match self.reason {
            Reason::Nack if !self.missing.is_likely(now) => Patience::Patient,
            Reason::Feedback | Reason::Twcc | Reason::Stats | Reason::Ice | Reason::NotHappening => Patience::Patient,
            _ if idle => Patience::Patient,
            _ => Patience::Prompt,
        }
    }

    /// Has the engine look for this much bandwidth, in bit/s; zero: for no more than is used.
    pub(super) fn set_desired_bitrate(&mut self, desired: u64) {
        self.changed = true;
        self.rtc.bwe().set_bitrate(Bitrate::ZERO, Bitrate::bps(desired));
    }

    /// There is something to send, or there is not.
    pub(super) fn set_silent(&mut self, silent: bool) {
        self.silent = silent;
    }

    /// Has the engine forget what it learned of the connection, and start from this estimate in bit/s.
    pub(super) fn restart_estimate(&mut self, bitrate: u64) {
        self.changed = true;
        self.rtc.bwe().reset(Bitrate::bps(bitrate));
    }

    /// Has nothing resent of what was sent so far on a video stream.
    pub(super) fn forget_sent(&mut self, ssrc: Ssrc) {
        if self.writer.as_mut().is_some_and(|writer| writer.forget_sent(*ssrc)) {
            return;
        }
        if let Some(stream) = self.rtc.direct_api().stream_tx(&ssrc) {
            stream.set_rtx_cache(RTX_PACKETS, RTX_AGE, Some(RTX_RATIO));
        }
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

    /// Tells the remote side to send at most this many bit/s, all in all (REMB, draft-alvestrand-rmcat-remb-03).
    pub(super) fn limit_sender(&mut self, mid: Mid, rid: Option<Rid>, bitrate: u64) {
        self.changed = true;
        if let Some(stream) = self.rtc.direct_api().stream_rx_by_mid(mid, rid) {
            stream.request_remb(Bitrate::bps(bitrate));
        }
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
        self.undrained = false;
        loop {
            let output = self.rtc.poll_output();
            self.take_keys(now);
            match output? {
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
                    let Some(contents) = self.revise(now, transmit.contents.into()) else { continue };
                    if !self.estimates_nothing && !is_rtcp(&contents) {
                        self.note_departure(now, &contents);
                    }
                    let (via, local_ip) = self.way(to);
                    outbox.send(via, Outgoing { remote: to.address, local_ip, contents });
                }
                Output::Event(event) => {
                    if let str0m::Event::RtpPacket(packet) = &event {
                        self.missing.received(now, packet.header.ssrc, *packet.seq_no);
                    }
                    let event = PeerEvent::of(event).map(|event| event.arriving(self.arrived));
                    events.extend(event.filter(|event| !self.estimates_nothing || !event.is_engines_estimate()));
                }
                Output::Timeout(at) => {
                    let at = self.worth_waking(now, at);
                    if at > now + TICK_AGAIN_WITHIN || ticks >= MAX_TICKS {
                        (self.timeout, self.reason) = (at, self.rtc.last_timeout_reason());
                        return Ok(());
                    }
                    ticks += 1;
                    self.feed(now, Input::Timeout(at.max(now)))?;
                }
            }
        }
    }

    fn note_departure(&mut self, now: Instant, packet: &[u8]) {
        if let Some(&[high, low]) = header::element(packet, self.numbering) {
            self.departures.sent(now, u16::from_be_bytes([high, low]), packet.len());
        }
    }

    fn feed(&mut self, now: Instant, input: Input<'_>) -> Result<(), RtcError> {
        let fed = self.rtc.handle_input(input);
        self.take_keys(now);
        fed
    }

    /// Between two reports of arrivals the estimator wants to be woken once per round trip, at most every 25 ms:
    /// without end where there is no delay, a thousand times a second on a local network.
    fn worth_waking(&self, now: Instant, at: Instant) -> Instant {
        match self.rtc.last_timeout_reason() {
            reason if self.estimates_nothing && is_for_estimates(reason) => at.max(now + IDLE_ESTIMATOR_TICK),
            Reason::Pacer(PacerReason::Padding) if self.silent => at.max(now + PADDING_TICK),
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

/// A wake-up for the estimator alone, or for the statistics it is read from.
fn is_for_estimates(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::BweDelayControl
            | Reason::BweProbeControl
            | Reason::BweProbeEstimator
            | Reason::Pacer(_)
            | Reason::Stats
    )
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
