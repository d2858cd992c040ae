//! What a peer reports, in words of its own.

use std::time::{Duration, Instant, SystemTime};

use str0m::bwe::BweKind;
use str0m::media::{Mid, Rid};
use str0m::rtp::RtpPacket;
use str0m::{Event, IceConnectionState};

use super::channels::ChannelEvent;
use crate::forward::{Arrived, Basis, Reading};

/// What the engine reports.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "packets are the common case; boxing them would allocate per packet")]
pub(in crate::sfu) enum PeerEvent {
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

impl PeerEvent {
    /// What the engine's own estimator believes, not what a receiver told.
    pub(super) fn is_engines_estimate(&self) -> bool {
        matches!(self, PeerEvent::Estimate(Reading { basis: Basis::Transport, .. }))
    }

    /// Completes the engine's reading with what is known to have arrived.
    pub(super) fn arriving(mut self, arrived: Option<Arrived>) -> Self {
        if let PeerEvent::Estimate(reading) = &mut self {
            reading.arrived = arrived;
        }
        self
    }

    pub(super) fn of(event: Event) -> Option<Self> {
        Some(match event {
            Event::RtpPacket(packet) => PeerEvent::Rtp(packet),
            Event::Connected => PeerEvent::Connected,
            Event::IceConnectionStateChange(state) => PeerEvent::Ice(state),
            Event::Closed => PeerEvent::Closed,
            event @ (Event::ChannelOpen(..)
            | Event::ChannelData(_)
            | Event::ChannelBufferedAmountLow(_)
            | Event::ChannelClose(_)) => PeerEvent::Channel(ChannelEvent::of(event)?),
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
                arrived: None,
                basis: Basis::Transport,
            }),
            Event::EgressBitrateEstimate(BweKind::Remb { estimate, .. }) => PeerEvent::Estimate(Reading {
                bitrate: estimate.as_u64(),
                loss: 0.0,
                rtt: None,
                arrived: None,
                basis: Basis::Receiver,
            }),
            Event::MediaIngressStats(stats) => PeerEvent::Ingress { mid: stats.mid, loss: stats.loss, rtt: stats.rtt },
            _ => return None,
        })
    }
}
