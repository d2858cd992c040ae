//! What a crowd of clients went through, as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use loadtest::engine::Seat;
use loadtest::media::Kind;
use loadtest::oracle::{Latency, Report, StreamReport};
use serde::Serialize;

/// All clients of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    clients: usize,
    connected: usize,
    /// Reasons with the number of clients they kept out.
    failures: BTreeMap<String, usize>,
    connect_ms: Option<Percentiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sent: Option<Sent>,
    #[serde(skip_serializing_if = "Option::is_none")]
    received: Option<Received>,
}

/// What publishers sent.
#[derive(Debug, Default, Serialize)]
struct Sent {
    packets: u64,
    payload_bytes: u64,
    key_frame_requests: u64,
}

/// What viewers received.
#[derive(Debug, Serialize)]
struct Received {
    first_frame_ms: Option<Percentiles>,
    viewers_with_video: usize,
    video: Media,
    audio: Media,
    /// Publisher to viewer, packet by packet. Only for streams published by this program on this machine.
    latency_ms: Option<Percentiles>,
    violations: u64,
    /// The first few, in words.
    first_violations: Vec<String>,
}

/// Streams of one kind.
#[derive(Debug, Default, Serialize)]
struct Media {
    packets: u64,
    lost: u64,
    loss_percent: f64,
    frames: u64,
    key_frames: u64,
    undecodable: u64,
    frames_per_second_each: f64,
    kilobits_per_second_each: f64,
    freezes: u64,
    longest_gap_ms: f64,
}

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Percentiles {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

/// Violations shown in full; the others are counted.
const SHOWN_VIOLATIONS: usize = 10;

impl Summary {
    pub(crate) fn of(seats: &[Seat], now: Instant) -> Self {
        let mut failures = BTreeMap::new();
        for failure in seats.iter().filter_map(failure) {
            *failures.entry(failure).or_insert(0) += 1;
        }
        let connect: Vec<Duration> = seats.iter().filter_map(|seat| seat.client.connected_after()).collect();
        let reports: Vec<Report> = seats.iter().filter_map(|seat| seat.client.report(now)).collect();
        let received = (!reports.is_empty()).then(|| Received::of(&reports));
        Self {
            clients: seats.len(),
            connected: connect.len(),
            failures,
            connect_ms: Percentiles::of(connect),
            sent: sent(seats),
            received,
        }
    }

    /// Whether everybody got what they came for.
    pub(crate) fn is_good(&self) -> bool {
        let all_connected = self.clients > 0 && self.connected == self.clients && self.failures.is_empty();
        all_connected && self.received.as_ref().is_none_or(|received| received.violations == 0)
    }
}

impl Received {
    fn of(reports: &[Report]) -> Self {
        let streams = |kind| reports.iter().flat_map(|report| &report.streams).filter(move |s| s.codec.kind() == kind);
        let first_frames: Vec<Duration> =
            reports.iter().filter_map(|report| report.video()?.first_frame_after).collect();
        let mut latency = Latency::default();
        streams(Kind::Video).chain(streams(Kind::Audio)).for_each(|stream| latency.merge(&stream.latency));
        let violations = reports.iter().map(|report| report.violations.count()).sum();
        let words = reports.iter().flat_map(|report| report.violations.iter()).map(ToString::to_string);
        Self {
            viewers_with_video: first_frames.len(),
            first_frame_ms: Percentiles::of(first_frames),
            video: Media::of(streams(Kind::Video)),
            audio: Media::of(streams(Kind::Audio)),
            latency_ms: (latency.count() > 0).then(|| Percentiles::of_latency(&latency)),
            violations,
            first_violations: words.take(SHOWN_VIOLATIONS).collect(),
        }
    }
}

impl Media {
    fn of<'a>(streams: impl Iterator<Item = &'a StreamReport>) -> Self {
        let mut media = Self::default();
        let (mut seconds, mut bytes) = (0.0, 0);
        for stream in streams {
            media.packets += stream.packets;
            media.lost += stream.lost;
            media.frames += stream.frames;
            media.key_frames += stream.key_frames;
            media.undecodable += stream.undecodable;
            media.freezes += stream.freezes;
            media.longest_gap_ms = media.longest_gap_ms.max(milliseconds(stream.longest_gap));
            seconds += stream.active_for.as_secs_f64();
            bytes += stream.payload_bytes;
        }
        if media.packets > 0 {
            media.loss_percent = 100.0 * media.lost as f64 / (media.packets + media.lost) as f64;
        }
        if seconds > 0.0 {
            media.frames_per_second_each = media.frames as f64 / seconds;
            media.kilobits_per_second_each = bytes as f64 * 8.0 / 1_000.0 / seconds;
        }
        media
    }
}

impl Percentiles {
    fn of(mut delays: Vec<Duration>) -> Option<Self> {
        delays.sort();
        let max = delays.last()?;
        let at = |share: f64| {
            let place = (share * delays.len() as f64).ceil() as usize;
            delays.get(place.saturating_sub(1)).copied().map_or(0.0, milliseconds)
        };
        Some(Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: milliseconds(*max) })
    }

    fn of_latency(latency: &Latency) -> Self {
        let at = |share| milliseconds(latency.quantile(share));
        Self { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1.0) }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | |\n|---|---|")?;
        writeln!(f, "| connected | {} of {} |", self.connected, self.clients)?;
        for (reason, count) in &self.failures {
            writeln!(f, "| failed: {count} | {reason} |")?;
        }
        row(f, "time to connect", self.connect_ms)?;
        if let Some(sent) = &self.sent {
            let megabytes = sent.payload_bytes as f64 / 1e6;
            writeln!(f, "| sent | {} packets, {megabytes:.1} MB |", sent.packets)?;
            writeln!(f, "| key frame requests | {} |", sent.key_frame_requests)?;
        }
        if let Some(received) = &self.received {
            write!(f, "{received}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| viewers with video | {} |", self.viewers_with_video)?;
        row(f, "time to first frame", self.first_frame_ms)?;
        for (name, media) in [("video", &self.video), ("audio", &self.audio)] {
            let Media { packets, lost, loss_percent, frames_per_second_each: rate, .. } = media;
            let kilobits = media.kilobits_per_second_each;
            writeln!(f, "| {name} per viewer | {kilobits:.0} kbps, {rate:.1} frames/s |")?;
            writeln!(f, "| {name} packets | {packets}, {lost} lost ({loss_percent:.2} %) |")?;
            writeln!(f, "| {name} freezes | {}, longest gap {:.0} ms |", media.freezes, media.longest_gap_ms)?;
        }
        let Media { frames, key_frames, undecodable, .. } = self.video;
        writeln!(f, "| frames | {frames}, of them {key_frames} key; {undecodable} not decodable |")?;
        row(f, "latency", self.latency_ms)?;
        writeln!(f, "| violations | {} |", self.violations)?;
        for words in &self.first_violations {
            writeln!(f, "| | {words} |")?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, percentiles: Option<Percentiles>) -> fmt::Result {
    match percentiles {
        Some(Percentiles { p50, p95, p99, max }) => {
            writeln!(f, "| {name} | p50 {p50:.1} ms, p95 {p95:.1}, p99 {p99:.1}, max {max:.1} |")
        }
        None => writeln!(f, "| {name} | - |"),
    }
}

/// Why a client got nowhere, without what is only its own (its number in the URL stays).
fn failure(seat: &Seat) -> Option<String> {
    let refused = seat.failure.as_ref().map(ToString::to_string);
    refused.or_else(|| match seat.client.state() {
        loadtest::ConnectionState::Connected => None,
        loadtest::ConnectionState::Connecting => {
            Some("answered over HTTP, but no connection over UDP: is the server's UDP port reachable?".to_owned())
        }
        loadtest::ConnectionState::Closed => Some("the server ended the connection".to_owned()),
        other => Some(format!("{other:?}")),
    })
}

fn sent(seats: &[Seat]) -> Option<Sent> {
    let publishers: Vec<_> = seats.iter().filter_map(|seat| seat.client.sent()).collect();
    (!publishers.is_empty()).then(|| {
        publishers.iter().fold(Sent::default(), |sum, one| Sent {
            packets: sum.packets + one.packets,
            payload_bytes: sum.payload_bytes + one.payload_bytes,
            key_frame_requests: sum.key_frame_requests + one.key_frame_requests,
        })
    })
}

fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e5).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_delays() {
        let delays = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(Percentiles::of(delays), Some(Percentiles { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 }));
        assert_eq!(Percentiles::of(Vec::new()), None);
    }

    #[test]
    fn a_run_without_clients_is_not_good() {
        assert!(!Summary::of(&[], Instant::now()).is_good());
    }
}
