//! One WHIP publisher, WHEP viewer or member of a room: an `Rtc` that offers, with synthetic media going in, an oracle
//! at the end, or both.
//!
//! The loop around it: hand in datagrams with [`Client::handle`], call [`Client::poll`] at [`Client::deadline`] and
//! after every datagram, send what it returns. Nothing happens in between. str0m allows one undrained datagram at a
//! time, so each one is drained where it comes in.

mod channels;
mod dependency;
mod negotiate;
mod publisher;
#[cfg(test)]
mod tests;
mod viewer;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::bwe::BweKind;
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::channel::ChannelConfig;
use str0m::net::{Protocol, Receive};
use str0m::{Event, Input, Output, Rtc};

use crate::clock::Clock;
use crate::media::Codec;
use crate::oracle::{Oracle, Report};
use crate::spec::{MemberSpec, PublisherSpec, ViewerSpec, Voice};

pub use publisher::Sent;
pub use viewer::{Extensions, Received};

use channels::Channels;
use publisher::Publisher;
use viewer::Viewer;

/// Turns of str0m's timer taken at once. It asks for the present moment again while it has more to do; more turns than
/// this would mean it never stops.
const MAX_TURNS: usize = 1_000;

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// From.
    pub source: SocketAddr,
    /// To.
    pub destination: SocketAddr,
    /// Payload.
    pub contents: Vec<u8>,
}

/// What a client is placed into.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Its own address, offered as its only candidate.
    pub address: SocketAddr,
    /// The clock of stamps.
    pub clock: Clock,
    /// Randomness of media and of ICE credentials. (str0m's own, in SSRCs and keys, is not seeded.)
    pub seed: u64,
}

/// How far a client has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// ICE and DTLS are under way.
    Connecting,
    /// Media can flow.
    Connected,
    /// Ended by itself or by the server.
    Closed,
    /// It went away without a word, as a crash does.
    Vanished,
    /// str0m refused to go on.
    Failed(String),
}

/// Why a description could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be a candidate.
    #[error("{address} cannot be offered as a candidate: {reason}")]
    Address {
        /// The client's address.
        address: SocketAddr,
        /// str0m's reason.
        reason: str0m::error::IceError,
    },
    /// The spec asks for no media.
    #[error("neither audio nor video is asked for: nothing to offer")]
    NothingToOffer,
    /// No offer is waiting for an answer.
    #[error("there is no offer to answer (a second answer?)")]
    NothingOffered,
    /// The answer is not SDP.
    #[error("the answer cannot be parsed: {0}")]
    Parse(#[from] str0m::error::SdpError),
    /// The answer does not fit the offer.
    #[error("the answer does not fit the offer: {0}")]
    Answer(#[from] str0m::RtcError),
}

/// A publisher, a viewer, or both in one: a member of a room.
#[derive(Debug)]
pub struct Client {
    rtc: Rtc,
    address: SocketAddr,
    clock: Clock,
    publisher: Option<Box<Publisher>>,
    viewer: Option<Box<Viewer>>,
    state: ConnectionState,
    pending_offer: Option<SdpPendingOffer>,
    started: Instant,
    connected_at: Option<Instant>,
    rtc_deadline: Instant,
    /// The time that has come.
    time: Instant,
    /// When what is being handled arrived.
    arrived: Instant,
    outbox: VecDeque<Datagram>,
    channels: Channels,
}

impl Client {
    /// A publisher, and its offer.
    pub fn publisher(spec: PublisherSpec, setup: Setup, now: Instant) -> Result<(Self, String), ClientError> {
        let dependency_descriptor = spec.video.as_ref().is_some_and(|video| video.dependency_descriptor);
        let red = spec.audio.is_some_and(|audio| audio.red);
        let extras = negotiate::Extras { dependency_descriptor, transport_feedback: true, red };
        let mut rtc = negotiate::build(&setup, &negotiate::publisher_formats(&spec), extras, now)?;
        let (publisher, offer, pending) = negotiate::offer_publisher(&mut rtc, spec, &setup)?;
        Ok((Self::new(rtc, Some(publisher), None, pending, &setup, now), offer))
    }

    /// A viewer, and its offer.
    pub fn viewer(spec: ViewerSpec, setup: Setup, now: Instant) -> Result<(Self, String), ClientError> {
        let ViewerSpec { dependency_descriptor, transport_feedback, red, .. } = spec;
        let extras = negotiate::Extras { dependency_descriptor, transport_feedback, red };
        let mut rtc = negotiate::build(&setup, &negotiate::viewer_formats(&spec), extras, now)?;
        let (offer, pending) = negotiate::offer_viewer(&mut rtc, &spec)?;
        Ok((Self::new(rtc, None, Some(Viewer::new(spec, now)), pending, &setup, now), offer))
    }

    /// A member of a room, and its offer: it sends on some m-lines and has slots on others.
    pub fn member(spec: MemberSpec, setup: Setup, now: Instant) -> Result<(Self, String), ClientError> {
        let ViewerSpec { dependency_descriptor, transport_feedback, red, .. } = spec.viewer;
        let extras = negotiate::Extras { dependency_descriptor, transport_feedback, red };
        let mut rtc = negotiate::build(&setup, &negotiate::member_formats(&spec), extras, now)?;
        let (publisher, offer, pending) = negotiate::offer_member(&mut rtc, &spec, &setup)?;
        let viewer = Viewer::new(spec.viewer, now);
        Ok((Self::new(rtc, publisher, Some(viewer), pending, &setup, now), offer))
    }

    fn new(
        rtc: Rtc,
        publisher: Option<Publisher>,
        viewer: Option<Viewer>,
        pending: SdpPendingOffer,
        setup: &Setup,
        now: Instant,
    ) -> Self {
        Self {
            rtc,
            address: setup.address,
            clock: setup.clock,
            publisher: publisher.map(Box::new),
            viewer: viewer.map(Box::new),
            state: ConnectionState::Connecting,
            pending_offer: Some(pending),
            started: now,
            connected_at: None,
            rtc_deadline: now,
            time: now,
            arrived: now,
            outbox: VecDeque::new(),
            channels: Channels::default(),
        }
    }

    /// Takes the server's answer; ICE begins.
    pub fn accept_answer(&mut self, answer: &str) -> Result<(), ClientError> {
        let answer = SdpAnswer::from_sdp_string(answer)?;
        let pending = self.pending_offer.take().ok_or(ClientError::NothingOffered)?;
        self.rtc.sdp_api().accept_answer(pending, answer)?;
        // Whatever str0m wants to do now is due at once.
        self.rtc_deadline = self.started;
        if let Some(viewer) = &mut self.viewer {
            viewer.learn_formats(&self.rtc);
        }
        Ok(())
    }

    /// Another offer, with new ICE credentials: the network has changed.
    pub fn restart_ice(&mut self, now: Instant) -> Result<String, ClientError> {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let (offer, pending) = changes.apply().ok_or(ClientError::NothingToOffer)?;
        self.pending_offer = Some(pending);
        self.rtc_deadline = now;
        Ok(offer.to_sdp_string())
    }

    /// A datagram for [`Self::address`] has arrived, maybe a while ago: its sender is told of then, as by browsers. One
    /// that cannot be parsed is ignored, as a socket would.
    pub fn handle(&mut self, arrived: Instant, source: SocketAddr, contents: &[u8]) {
        self.arrived = arrived;
        let now = self.come_to(arrived);
        if !self.is_alive() {
            return;
        }
        if let Some(viewer) = &mut self.viewer {
            viewer.oracle.datagram(now, contents);
        }
        let Ok(receive) = Receive::new(Protocol::Udp, source, self.address, contents) else { return };
        let outcome = self.rtc.handle_input(Input::Receive(now, receive));
        self.drain(now, outcome);
    }

    /// Does what is due, and returns the datagrams to send.
    pub fn poll(&mut self, now: Instant) -> impl Iterator<Item = Datagram> {
        let now = self.come_to(now);
        if self.is_alive() {
            self.advance(now);
        }
        self.outbox.drain(..)
    }

    /// When [`Self::poll`] has something to do; `None` when it never will.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_alive() {
            return None;
        }
        let publisher = self.publisher.as_ref().and_then(|publisher| publisher.deadline());
        let viewer = self.viewer.as_ref().and_then(|viewer| viewer.deadline());
        [publisher, viewer, Some(self.rtc_deadline)].into_iter().flatten().min()
    }

    /// Ends in order: RTCP BYE and DTLS close_notify leave with the next [`Self::poll`]. The DELETE of the session is
    /// the caller's.
    pub fn stop(&mut self, now: Instant) {
        if self.is_alive() {
            let outcome = self.rtc.close();
            self.drain(now, outcome);
        }
    }

    /// Goes away without a word: sends nothing, hears nothing.
    pub fn vanish(&mut self) {
        if self.is_alive() {
            self.state = ConnectionState::Vanished;
            self.outbox.clear();
        }
    }

    /// Stops encoding one layer of the video, or goes on with it.
    pub fn stop_layer(&mut self, now: Instant, rid: &str, stopped: bool) {
        if let Some(publisher) = &mut self.publisher {
            publisher.stop_layer(rid, stopped, now);
        }
    }

    /// A publisher goes on under other SSRCs, as one whose sender or encoder was made anew; of a video in layers only
    /// with those that are named, if any are.
    pub fn change_ssrcs(&mut self, now: Instant, rids: Option<&[&str]>) {
        if let Some(publisher) = &mut self.publisher {
            publisher.change_ssrcs(&mut self.rtc, rids, self.clock, now);
        }
    }

    /// A publisher goes on with another codec of those that were agreed on, under the same SSRCs.
    pub fn change_codec(&mut self, now: Instant, codec: Codec) {
        if let Some(publisher) = &mut self.publisher {
            publisher.change_codec(&self.rtc, codec, self.clock, now);
        }
    }

    /// A publisher stops sending media, without BYE; the connection stays.
    pub fn fall_silent(&mut self) {
        if let Some(publisher) = &mut self.publisher {
            publisher.fall_silent();
        }
    }

    /// What the audio levels of a publisher say from now on.
    pub fn speak(&mut self, voice: Voice) {
        if let Some(publisher) = &mut self.publisher {
            publisher.speak(voice);
        }
    }

    /// Opens a data channel that is ordered and complete.
    pub fn open_channel(&mut self, now: Instant, label: &str) {
        let config = ChannelConfig { label: label.to_owned(), ..ChannelConfig::default() };
        self.rtc.direct_api().create_data_channel(config);
        self.rtc_deadline = now;
    }

    /// Sends a message over the data channel with this label. False while that is not open, or full.
    pub fn send_data(&mut self, now: Instant, label: &str, message: &[u8]) -> bool {
        self.rtc_deadline = now;
        let channel = self.channels.find(label).and_then(|id| self.rtc.channel(id));
        channel.is_some_and(|mut channel| channel.write(true, message).unwrap_or(false))
    }

    /// The messages that came over the data channel with this label since the last call.
    pub fn take_data(&mut self, label: &str) -> Vec<Vec<u8>> {
        self.channels.take(label)
    }

    /// The m-lines a publisher sends on.
    pub fn own_lines(&self) -> Vec<(String, crate::media::Kind)> {
        self.publisher.iter().flat_map(|publisher| publisher.lines()).collect()
    }

    /// Its own address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How far it has come.
    pub fn state(&self) -> &ConnectionState {
        &self.state
    }

    /// From its beginning to the end of the DTLS handshake.
    pub fn connected_after(&self) -> Option<Duration> {
        self.connected_at.map(|at| at - self.started)
    }

    /// What a publisher has sent so far. `None` for a viewer.
    pub fn sent(&self) -> Option<Sent> {
        self.publisher.as_ref().map(|publisher| publisher.sent())
    }

    /// A viewer's oracle. `None` for a publisher.
    pub fn oracle(&self) -> Option<&Oracle> {
        self.viewer.as_ref().map(|viewer| &viewer.oracle)
    }

    /// A viewer's oracle, to change what is expected.
    pub fn oracle_mut(&mut self) -> Option<&mut Oracle> {
        self.viewer.as_mut().map(|viewer| &mut viewer.oracle)
    }

    /// A viewer's findings. `None` for a publisher.
    pub fn report(&self, now: Instant) -> Option<Report> {
        self.oracle().map(|oracle| oracle.check(now))
    }

    /// Packets received, if the spec asked for records.
    pub fn received(&self) -> &[Received] {
        self.viewer.as_ref().map(|viewer| viewer.records()).unwrap_or_default()
    }

    fn is_alive(&self) -> bool {
        matches!(self.state, ConnectionState::Connecting | ConnectionState::Connected)
    }

    /// Time does not run backwards.
    fn come_to(&mut self, time: Instant) -> Instant {
        self.time = self.time.max(time);
        self.time
    }

    fn advance(&mut self, now: Instant) {
        let connected = self.connected_at.is_some();
        let mut changed = false;
        if let Some(publisher) = self.publisher.as_mut().filter(|_| connected) {
            changed |= publisher.send(&mut self.rtc, now);
        }
        if let Some(viewer) = &mut self.viewer {
            changed |= viewer.tick(&mut self.rtc, now);
        }
        if changed || self.rtc_deadline <= now {
            let outcome = self.rtc.handle_input(Input::Timeout(now));
            self.drain(now, outcome);
        }
    }

    /// Takes everything str0m has to give, and lets its timer run while it asks for the present moment.
    fn drain(&mut self, now: Instant, mut outcome: Result<(), str0m::RtcError>) {
        for _ in 0..MAX_TURNS {
            let output = match outcome.and_then(|()| self.rtc.poll_output()) {
                Ok(output) => output,
                Err(error) => {
                    self.state = ConnectionState::Failed(error.to_string());
                    return;
                }
            };
            outcome = Ok(());
            match output {
                Output::Timeout(at) if at <= now && self.rtc.is_alive() => {
                    outcome = self.rtc.handle_input(Input::Timeout(now));
                }
                Output::Timeout(at) => {
                    self.rtc_deadline = at;
                    break;
                }
                Output::Transmit(transmit) => self.outbox.push_back(Datagram {
                    source: transmit.source,
                    destination: transmit.destination,
                    contents: transmit.contents.into(),
                }),
                Output::Event(event) => self.on_event(now, event),
            }
        }
        if !self.rtc.is_alive() && self.is_alive() {
            self.state = ConnectionState::Closed;
        }
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                self.state = ConnectionState::Connected;
                self.connected_at.get_or_insert(now);
                if let Some(publisher) = &mut self.publisher {
                    publisher.start(&mut self.rtc, self.clock, now);
                }
            }
            Event::KeyframeRequest(request) => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.on_key_frame_request(request.mid, request.rid, now);
                }
            }
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => {
                if let Some(publisher) = &mut self.publisher {
                    publisher.on_limit(estimate.as_u64(), now);
                }
            }
            Event::ChannelOpen(id, label) => self.channels.opened(id, label),
            Event::ChannelClose(id) => self.channels.closed(id),
            Event::ChannelData(message) => self.channels.received(message),
            Event::RtpPacket(packet) => {
                if let Some(viewer) = &mut self.viewer {
                    viewer.receive(now, self.clock.nanos(self.arrived), &packet);
                }
            }
            _ => {}
        }
    }
}
