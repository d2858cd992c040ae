//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use loadtest::media::Codec;
use loadtest::oracle::{Expectations, Stamps};
use loadtest::socket::Taking;
use loadtest::spec::{VideoFormat, VideoSpec};
use loadtest::{AudioSpec, MemberSpec, PublisherSpec, ViewerSpec};

/// Load for WHIP and WHEP servers.
///
/// Publishes synthetic streams and watches them in numbers. Packets are numbered and carry the time they were sent, so
/// that viewers on the same machine measure the delay and check that everything arrives as a decoder needs it.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = "RUST_LOG=str0m=debug shows what ICE and DTLS do.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Publish synthetic audio and video (WHIP).
    Publish(Publish),
    /// Watch (WHEP), and report what the viewers received.
    Watch(Watch),
    /// Fill a room with members who publish and receive, and report what they received and what it cost the server.
    Room(Room),
    /// Measure a server: CPU per forwarded packet, delay, memory, beside the machine's own floor. Linux, two cores.
    Bench(Bench),
    /// Measure a TURN server: CPU per relayed datagram, beside coturn's. Linux, two cores.
    Relay(Relay),
    /// Call a TURN server from many addresses without credentials, and see whether its memory grows. Linux.
    Strangers(Strangers),
}

/// Where, how many, how long.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The endpoint, for example http://127.0.0.1:8080/whip/room. {n} stands for the client's number.
    #[arg(long)]
    pub(crate) url: String,
    /// Bearer token.
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Number of clients.
    #[arg(long, default_value_t = 1)]
    pub(crate) count: usize,
    /// Clients that join per second. A higher rate measures the server's handshakes, not its forwarding.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) ramp: u32,
    /// How long to run once all have been added: 30s, 5m, 1h. Until Ctrl-C if not given.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    pub(crate) time: Option<Duration>,
    /// Report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Media is the same for the same seed.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What is published.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Video codec.
    #[arg(long, value_enum, default_value_t = CodecName::Vp8)]
    codec: CodecName,
    /// Video bits per second: 500k, 1M, 2.5M. With --simulcast, of the largest layer.
    #[arg(long, default_value = "1M", value_parser = bitrate)]
    bitrate: u64,
    /// Frames per second.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    /// Temporal layers (VP8 and VP9), 1 to 3.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    temporal_layers: u8,
    /// A key frame at this interval, besides those that are asked for.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    key_interval: Option<Duration>,
    /// Three simulcast layers: a quarter, half and all of the size.
    #[arg(long)]
    simulcast: bool,
    /// Behave like OBS: H.264 High labelled as Baseline, a key frame every 2 s and none on request, no pacing.
    #[arg(long, conflicts_with_all = ["codec", "simulcast", "temporal_layers"])]
    obs: bool,
    /// No audio track.
    #[arg(long)]
    no_audio: bool,
    /// No video track.
    #[arg(long)]
    no_video: bool,
}

/// What is watched.
#[derive(Debug, Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Offer only this video codec.
    #[arg(long, value_enum)]
    codec: Option<CodecName>,
    /// Check more: look at every datagram before decryption for sequence numbers that are used twice.
    #[arg(long)]
    strict: bool,
}

/// A room and its members.
#[derive(Debug, Args)]
pub(crate) struct Room {
    /// The server.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) base: String,
    /// The room.
    #[arg(long, default_value = "load")]
    pub(crate) room: String,
    /// Bearer token.
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// People in the room.
    #[arg(long, default_value_t = 10)]
    pub(crate) members: usize,
    /// How many of them publish; all if not given.
    #[arg(long)]
    pub(crate) publishers: Option<usize>,
    /// Video slots of each.
    #[arg(long, default_value_t = 9)]
    pub(crate) videos: usize,
    /// Audio slots of each.
    #[arg(long, default_value_t = 4)]
    pub(crate) voices: usize,
    /// Video bits per second of each publisher. With --simulcast, of the largest layer.
    #[arg(long, default_value = "300k", value_parser = bitrate)]
    pub(crate) bitrate: u64,
    /// Three simulcast layers: a quarter, half and all of the size.
    #[arg(long)]
    pub(crate) simulcast: bool,
    /// Frames per second.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=240))]
    pub(crate) fps: u32,
    /// How long each speaks before the next one does.
    #[arg(long, value_name = "TIME", default_value = "4s", value_parser = duration)]
    pub(crate) turn: Duration,
    /// Members that join per second.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) ramp: u32,
    /// How long to run once all have been added.
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Room {
    /// The member of that number.
    pub(crate) fn spec(&self, number: u16) -> MemberSpec {
        let publishes = usize::from(number) < self.publishers.unwrap_or(self.members);
        let video = VideoSpec::new(Codec::Vp8);
        let video =
            if self.simulcast { video.with_simulcast_of(self.bitrate) } else { video.with_bitrate(self.bitrate) };
        let video = VideoSpec { frame_rate: self.fps, ..video };
        MemberSpec {
            publisher: publishes.then(|| PublisherSpec::new(number).with_video(video)),
            viewer: ViewerSpec {
                videos: self.videos,
                formats: vec![VideoFormat::of(Codec::Vp8)],
                ..ViewerSpec::default()
            },
            audio_slots: self.voices,
        }
    }
}

/// A server to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The server's binary; it is started once for each number of viewers, on one core.
    #[arg(long, default_value = "target/release/crosspoint")]
    pub(crate) server: PathBuf,
    /// Where its HTTP is.
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) base: String,
    /// Bearer token.
    #[arg(long, env = "LOADTEST_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Numbers of viewers.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 300])]
    pub(crate) viewers: Vec<usize>,
    /// Video bits per second.
    #[arg(long, default_value = "1M", value_parser = bitrate)]
    pub(crate) bitrate: u64,
    /// Spread the packets of a picture over 13 ms, as libwebrtc used to, instead of sending them at once, as Chromium
    /// and OBS do.
    #[arg(long)]
    pub(crate) spread: bool,
    /// Publish three encodings, the largest of this bitrate: viewers have a choice, so their connections are estimated.
    #[arg(long)]
    pub(crate) simulcast: bool,
    /// Publishers, each in a room of its own, among which the viewers are divided.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) publishers: u16,
    /// Have viewers take datagrams one by one, as browsers do. Over loopback the server's processor is then charged
    /// with cutting its runs apart, which it would not be behind a network card.
    #[arg(long)]
    pub(crate) singly: bool,
    /// How long each is measured.
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Arguments for the server, after --. Give it as many threads as it has cores: one.
    #[arg(last = true)]
    pub(crate) arguments: Vec<String>,
}

impl Bench {
    /// How the viewers take datagrams from the kernel.
    pub(crate) fn taking(&self) -> Taking {
        if self.singly { Taking::Singly } else { Taking::Joined }
    }
}

/// A TURN server to measure.
#[derive(Debug, Args)]
pub(crate) struct Relay {
    /// The server's binary; it is started anew for each number of allocations, on one core.
    #[arg(long, default_value = "target/release/crosspoint")]
    pub(crate) server: PathBuf,
    /// coturn's server, to be measured beside it (Debian: /usr/bin/turnserver).
    #[arg(long)]
    pub(crate) coturn: Option<PathBuf>,
    /// Port its HTTP gets.
    #[arg(long, default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// Port its TURN gets; the next one is the peer's, the one after that coturn's.
    #[arg(long, default_value_t = 3478)]
    pub(crate) port: u16,
    /// Numbers of allocations.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 400, 4000])]
    pub(crate) allocations: Vec<usize>,
    /// Datagrams per second, of all clients together.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
    /// Send each datagram at its time, not all that are due once in a millisecond. Keeps a core busy.
    #[arg(long)]
    pub(crate) even: bool,
    /// How often each case is measured; the cheapest counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// How long each time.
    #[arg(long = "for", value_name = "TIME", default_value = "2s", value_parser = duration)]
    pub(crate) time: Duration,
    /// Report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Callers without credentials.
#[derive(Debug, Args)]
pub(crate) struct Strangers {
    /// The server's binary.
    #[arg(long, default_value = "target/release/crosspoint")]
    pub(crate) server: PathBuf,
    /// Port its HTTP gets.
    #[arg(long, default_value_t = 8080)]
    pub(crate) http_port: u16,
    /// Port its TURN gets.
    #[arg(long, default_value_t = 3478)]
    pub(crate) port: u16,
    /// Callers, each from an address of its own: once without credentials, once with a wrong password.
    #[arg(long, default_value_t = 500_000)]
    pub(crate) count: usize,
    /// Report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CodecName {
    Vp8,
    Vp9,
    H264,
    H265,
    Av1,
}

impl Target {
    /// Time between two clients' joining.
    pub(crate) fn join_interval(&self) -> Duration {
        Duration::from_secs(1) / self.ramp
    }
}

impl Publish {
    /// The publisher of that number.
    pub(crate) fn spec(&self, publisher: u16) -> PublisherSpec {
        let audio = (!self.no_audio).then(AudioSpec::default);
        let video = (!self.no_video).then(|| self.video());
        PublisherSpec { audio, video, ..PublisherSpec::new(publisher) }
    }

    fn video(&self) -> VideoSpec {
        let base = if self.obs { VideoSpec::obs() } else { VideoSpec::new(self.codec.into()) };
        let base = if self.simulcast { base.with_simulcast_of(self.bitrate) } else { base.with_bitrate(self.bitrate) };
        VideoSpec {
            frame_rate: self.fps,
            temporal_layers: self.temporal_layers,
            key_interval: self.key_interval.or(base.key_interval),
            ..base
        }
    }
}

impl Watch {
    /// Each of the viewers.
    pub(crate) fn spec(&self) -> ViewerSpec {
        let expectations = Expectations { stamps: Stamps::Optional, wire: self.strict, ..Expectations::default() };
        let all = ViewerSpec { expectations, ..ViewerSpec::default() };
        match self.codec {
            Some(codec) => ViewerSpec { formats: vec![VideoFormat::of(codec.into())], ..all },
            None => all,
        }
    }
}

impl From<CodecName> for Codec {
    fn from(name: CodecName) -> Self {
        match name {
            CodecName::Vp8 => Codec::Vp8,
            CodecName::Vp9 => Codec::Vp9,
            CodecName::H264 => Codec::H264,
            CodecName::H265 => Codec::H265,
            CodecName::Av1 => Codec::Av1,
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let seconds = quantity(text, &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3_600.0)])
        .ok_or_else(|| format!("\"{text}\" is no time: write 500ms, 30s, 5m or 1h"))?;
    Ok(Duration::from_secs_f64(seconds))
}

fn bitrate(text: &str) -> Result<u64, String> {
    let bits = quantity(text, &[("k", 1e3), ("M", 1e6), ("", 1.0)])
        .ok_or_else(|| format!("\"{text}\" is no bitrate: write 500k, 1M or 2.5M (bits per second)"))?;
    Ok(bits as u64)
}

/// A positive number with one of the units.
fn quantity(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '.');
    let (_, factor) = units.iter().find(|(unit, _)| *unit == &text[digits.len()..])?;
    let number: f64 = digits.parse().ok()?;
    (number > 0.0).then_some(number * factor)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_and_bitrates_are_read_with_their_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!((bitrate("2.5M"), bitrate("800k"), bitrate("64000")), (Ok(2_500_000), Ok(800_000), Ok(64_000)));
        for wrong in ["30", "s", "-3s", "0s", "3x", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(bitrate("1G").is_err());
    }
}
