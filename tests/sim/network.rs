//! Viewers on links that are thin, change, lose and delay: what they get, in numbers that must be met, and a scoreboard
//! of all of them to compare with.
//!
//! `tests/sim/scoreboard.txt` is what the last change to these numbers gave. A run that differs from it by more than
//! its columns tremble fails; `CROSSPOINT_SCOREBOARD=write` writes it anew. `CROSSPOINT_SEEDS=obs:16` plays one
//! scenario over 16 seeds instead, and compares nothing.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crosspoint::rtp::MediaKind;
use crosspoint::sfu::command::LayerReport;
use loadtest::media::Codec;
use loadtest::net::{Bitrate, Conditions, DataSize, GilbertElliot, NetemConfig, Probability, RandomLoss};
use loadtest::oracle::Report;
use loadtest::spec::{LayerSpec, Prediction, Svc, Timestamps};
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec};

use crate::world::{Options, Who, World};

const SECOND: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);

/// What a viewer on some link got.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score {
    /// Video received, of what the link carries or the largest layer takes, in percent.
    utilisation: f64,
    /// Time without a new picture for 200 ms and more, in percent.
    frozen: f64,
    longest_freeze: Duration,
    first_frame: Duration,
    key_frames: u64,
}

/// How far a figure may be from the scoreboard's: handshakes have random lengths, which shift everything a little.
const TOLERANCES: [f64; 5] = [10.0, 1.5, 400.0, 150.0, 4.0];

/// A publisher in three layers and one viewer.
struct Scene {
    world: World,
    viewer: Who,
    joined: Instant,
    /// Rid or height of what is sent, from when on.
    seen: Vec<(Duration, Option<String>)>,
    /// Payload of the video received until each look.
    received: Vec<(Duration, u64)>,
}

impl Scene {
    fn new(seed: u64, codec: Codec, line: Conditions) -> Self {
        Self::of(seed, VideoSpec::new(codec).with_simulcast(), line)
    }

    fn of(seed: u64, video: VideoSpec, line: Conditions) -> Self {
        let mut world = World::new(Options::seed(seed));
        let spec = PublisherSpec::new(1).with_video(video);
        world.publish("studio", spec, access()).unwrap();
        world.run(3 * SECOND);
        let viewer = world.watch("studio", ViewerSpec::default(), line).unwrap();
        let joined = world.now;
        Self { world, viewer, joined, seen: Vec::new(), received: Vec::new() }
    }

    fn run(&mut self, time: Duration) {
        let end = self.world.now + time;
        while self.world.now < end {
            self.world.run(LOOK);
            let session = self.world.inspect(self.viewer);
            let video = session.media.iter().find(|media| media.kind == MediaKind::Video);
            let layer = video.and_then(|video| video.sending.as_ref());
            let height = |layer: &LayerReport| layer.height.map(|height| format!("{height}p"));
            let name = layer.and_then(|layer| layer.rid.clone().or_else(|| height(layer)));
            if self.seen.last().is_none_or(|(_, before)| *before != name) {
                self.seen.push((self.world.now - self.joined, name));
            }
            let bytes = self.report().video().map_or(0, |video| video.payload_bytes);
            self.received.push((self.world.now - self.joined, bytes));
        }
    }

    /// Time until 90 % of a bitrate came for half a second.
    fn reaches(&self, bitrate: u64) -> Option<Duration> {
        let enough = bitrate * 9 / 10 / 8 / 2;
        let half_seconds = self.received.windows(6).filter_map(|looks| Some((looks.first()?, looks.last()?)));
        half_seconds.map(|(from, to)| (to.0, to.1 - from.1)).find(|(_, bytes)| *bytes >= enough).map(|(at, _)| at)
    }

    /// Runs on, and tells the longest queue that stood for half a second: what the quickest packet waited.
    fn standing_queue(&mut self, time: Duration, path: Duration) -> Duration {
        let mut longest = Duration::ZERO;
        let end = self.world.now + time;
        while self.world.now < end {
            self.world.client(self.viewer).oracle_mut().unwrap().restart_latency();
            self.run(SECOND / 2);
            let quickest = self.report().video().map_or(Duration::ZERO, |video| video.latency.quantile(0.0));
            longest = longest.max(quickest.saturating_sub(path));
        }
        longest
    }

    /// Lets the viewer settle before its line becomes bad: what is lost of a handshake depends on its random lengths.
    fn settle(&mut self, line: Conditions) {
        self.run(3 * SECOND);
        self.change(line);
        self.world.client(self.viewer).oracle_mut().unwrap().restart_freezes();
    }

    fn change(&mut self, line: Conditions) {
        self.world.change_line(self.viewer, line);
    }

    /// Time from `from` until a layer was sent, which may be there already.
    fn until(&self, rid: &str, from: Duration) -> Option<Duration> {
        let since = self.seen.iter().rev().find(|(at, _)| *at <= from);
        if since.is_some_and(|(_, sent)| sent.as_deref() == Some(rid)) {
            return Some(Duration::ZERO);
        }
        let first = self.seen.iter().find(|(at, sent)| *at > from && sent.as_deref() == Some(rid));
        first.map(|(at, _)| *at - from)
    }

    fn report(&self) -> Report {
        self.world.report(self.viewer)
    }

    fn score(&self, capacity: u64) -> Score {
        let report = self.report();
        assert!(report.violations.is_empty(), "{}", report.violations);
        let video = report.video().expect("video came");
        let watched = (self.world.now - self.joined).as_secs_f64();
        Score {
            utilisation: video.payload_bytes as f64 * 8.0 / watched / capacity as f64 * 100.0,
            frozen: video.frozen.as_secs_f64() / watched * 100.0,
            longest_freeze: video.longest_gap,
            first_frame: video.first_frame_after.expect("a picture came"),
            key_frames: video.key_frames,
        }
    }
}

fn access() -> Conditions {
    Conditions::symmetric(NetemConfig::new().latency(Duration::from_millis(10)))
}

/// A bottleneck towards the client with this much of a queue, 20 ms away.
pub(crate) fn thin(kbps: u64, queue: Duration) -> Conditions {
    let latency = Duration::from_millis(20);
    let held = kbps * (queue + latency).as_millis() as u64 / 8;
    let down = NetemConfig::new().latency(latency).link(Bitrate::kbps(kbps), DataSize::bytes(held as i64));
    Conditions { up: NetemConfig::new().latency(latency), down }
}

pub(crate) const QUEUE: Duration = Duration::from_millis(300);

/// 90 % of what a link can be used for comes within three seconds, and stays: of the largest layer that fits.
fn climb(mut scene: Scene, rid: &str, bitrate: u64) -> Score {
    scene.run(8 * SECOND);
    let full = scene.reaches(bitrate);
    assert!(full.is_some_and(|full| full < 3 * SECOND), "90 % after {full:?}: {:?}", scene.seen);
    assert_eq!(scene.seen.last().unwrap().1.as_deref(), Some(rid), "{:?}", scene.seen);
    scene.score(bitrate)
}

/// A good link, which carries everything.
fn good(seed: u64) -> Score {
    climb(Scene::new(seed, Codec::Vp8, thin(5000, QUEUE)), "f", 1_500_000)
}

/// A link that carries more than twice the middle layer, and less than the largest.
fn between(seed: u64) -> Score {
    climb(Scene::new(seed, Codec::Vp8, thin(1200, QUEUE)), "h", 500_000)
}

/// 2.5 Mbps, 400 kbps, 2.5 Mbps: down to the lowest layer within 1.5 s, up to the highest again within 6 s.
fn down_and_up(mut scene: Scene, low: &str, high: &str) -> Score {
    scene.run(9 * SECOND);
    let settled = scene.until(high, Duration::ZERO);
    assert!(settled.is_some_and(|settled| settled < 3 * SECOND), "up after {settled:?}: {:?}", scene.seen);
    assert_eq!(scene.seen.last().unwrap().1.as_deref(), Some(high), "{:?}", scene.seen);
    scene.change(thin(400, QUEUE));
    scene.run(9 * SECOND);
    let down = scene.until(low, 9 * SECOND);
    assert!(down.is_some_and(|down| down < SECOND * 3 / 2), "down after {down:?}: {:?}", scene.seen);
    scene.change(thin(2500, QUEUE));
    scene.run(9 * SECOND);
    let up = scene.until(high, 18 * SECOND);
    assert!(up.is_some_and(|up| up < 6 * SECOND), "up after {up:?}: {:?}", scene.seen);
    scene.score((2 * 1_500_000 + 400_000) / 3)
}

/// A link that collapses and comes back, and no freeze over 600 ms.
fn step(seed: u64) -> Score {
    let score = down_and_up(Scene::new(seed, Codec::Vp8, thin(2500, QUEUE)), "q", "f");
    // The queue has to drain before the small picture gets through.
    assert!(score.longest_freeze < SECOND * 6 / 10, "{score:?}");
    score
}

/// A link that gets worse every second, and good again at once.
fn sawtooth(seed: u64) -> Score {
    let mut scene = Scene::new(seed, Codec::Vp8, thin(2500, QUEUE));
    scene.run(5 * SECOND);
    for kbps in [2500, 2200, 1900, 1600, 1300, 1000, 800, 700, 600, 2500] {
        scene.change(thin(kbps, QUEUE));
        scene.run(SECOND * 3 / 2);
    }
    let score = scene.score(1_150_000);
    assert!(score.frozen < 1.0, "{score:?} {:?}", scene.seen);
    score
}

/// 5 % lost in bursts, as Wi-Fi does, on a link that carries everything else.
fn lossy(seed: u64) -> Score {
    let loss = GilbertElliot::new().good_duration(60.0).bad_duration(3.0);
    let down = NetemConfig::new().latency(Duration::from_millis(15)).loss(loss);
    let mut scene = Scene::new(seed, Codec::Vp8, access());
    scene.settle(Conditions { down, ..access() });
    scene.run(15 * SECOND);
    let score = scene.score(1_500_000);
    // The receiver asks again for a lost retransmission after 105 ms: it takes the round trip it cannot measure for
    // 100 ms. Two lost in a row are a pause of 250 ms; the layer stays.
    assert!(score.frozen < 1.0 && score.utilisation > 95.0, "{score:?} {:?}", scene.seen);
    score
}

/// A fifth of what the viewer says is lost: reports of arrivals, and requests for lost packets.
fn deaf(seed: u64) -> Score {
    let up = NetemConfig::new().latency(Duration::from_millis(20)).loss(RandomLoss::new(Probability::new(0.2)));
    let mut scene = Scene::new(seed, Codec::Vp8, thin(2500, QUEUE));
    scene.settle(Conditions { up, ..thin(2500, QUEUE) });
    scene.run(12 * SECOND);
    let score = scene.score(1_500_000);
    assert!(score.frozen < 1.0 && score.utilisation > 80.0, "{score:?} {:?}", scene.seen);
    score
}

/// A link with a long queue: it must not be filled, not even while it is found out what the link carries.
fn bloated(seed: u64, queue: Duration) -> Score {
    let mut scene = Scene::new(seed, Codec::Vp8, thin(900, queue));
    // 10 ms to the server, 20 ms from there.
    let path = Duration::from_millis(30);
    // The past is replayed at first, whose delay is no queue's.
    scene.run(SECOND * 3 / 2);
    let standing = scene.standing_queue(12 * SECOND, path);
    assert!(standing < Duration::from_millis(200), "{standing:?} stood: {:?}", scene.seen);
    scene.world.client(scene.viewer).oracle_mut().unwrap().restart_latency();
    scene.run(8 * SECOND);
    let report = scene.report();
    let delay = report.video().unwrap().latency.quantile(0.95);
    assert!(delay < path + Duration::from_millis(200), "p95 of the delay is {delay:?}: {:?}", scene.seen);
    scene.score(500_000)
}

/// One of two seconds, as home routers have.
fn deep(seed: u64) -> Score {
    bloated(seed, 2 * SECOND)
}

/// One of 150 ms, which loses what the other keeps. Three seconds of the small layer's past are shown at first.
fn shallow(seed: u64) -> Score {
    let score = bloated(seed, Duration::from_millis(150));
    assert!(score.longest_freeze < SECOND * 6 / 10, "{score:?}");
    score
}

/// Simulcast as OBS sends it: the largest first, one clock, key frames every 2 s and none when asked.
fn obs(seed: u64) -> Score {
    let layer = |rid, size: u16, bitrate| LayerSpec { rid: Some(rid), width: 1280 / size, height: 720 / size, bitrate };
    let layers = vec![layer("0", 1, 1_500_000), layer("1", 2, 500_000), layer("2", 4, 150_000)];
    let video = VideoSpec { layers, timestamps: Timestamps::Shared, ..VideoSpec::obs() };
    let score = down_and_up(Scene::of(seed, video, thin(2500, QUEUE)), "2", "0");
    // The key frame that is gone back to is replayed with what followed: up to two seconds of the small layer.
    assert!(score.longest_freeze < SECOND * 6 / 10, "{score:?}");
    score
}

/// Spatial layers that all predict from one another: who goes up waits for a key frame, which comes as a burst after a
/// long time at little. The viewer stays where it has gone up to.
fn spatial(seed: u64) -> Score {
    let video = VideoSpec {
        svc: Some(Svc { layers: 3, prediction: Prediction::Always }),
        temporal_layers: 3,
        dependency_descriptor: true,
        frame_rate: 15,
        ..VideoSpec::new(Codec::Av1).with_bitrate(1_200_000)
    };
    let scene = Scene::of(seed, video, thin(2500, QUEUE));
    let score = down_and_up(scene, "180p", "720p");
    assert!(score.longest_freeze < SECOND * 6 / 10, "{score:?}");
    score
}

/// One scenario of the scoreboard: its name, what runs it, and the seeds.
type Scenario = (&'static str, fn(u64) -> Score, &'static [u64]);

const SCENARIOS: [Scenario; 10] = [
    ("good", good, &[1, 2]),
    ("between", between, &[1, 2]),
    ("step", step, &[1, 2, 3, 4]),
    ("sawtooth", sawtooth, &[1, 2]),
    ("lossy", lossy, &[1, 2]),
    ("deaf", deaf, &[1]),
    ("deep", deep, &[1, 2]),
    ("shallow", shallow, &[1, 2]),
    ("obs", obs, &[1, 2, 3]),
    ("spatial", spatial, &[1, 2, 3]),
];

const SCOREBOARD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/scoreboard.txt");

impl Score {
    fn figures(&self) -> [f64; 5] {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let key_frames = self.key_frames as f64;
        [self.utilisation, self.frozen, ms(self.longest_freeze), ms(self.first_frame), key_frames]
    }

    fn line(&self, name: &str, seed: u64) -> String {
        let [utilisation, frozen, longest, first, keys] = self.figures();
        format!("{name:<10} {seed:>4} {utilisation:>13.0} {frozen:>10.1} {longest:>18.0} {first:>15.0} {keys:>11.0}")
    }
}

type Run = (&'static str, fn(u64) -> Score, u64);

/// Plays scenarios side by side.
fn play(runs: impl Iterator<Item = Run>) -> Vec<(&'static str, u64, Score)> {
    std::thread::scope(|scope| {
        let started: Vec<_> = runs.map(|(name, run, seed)| (name, seed, scope.spawn(move || run(seed)))).collect();
        let join = |(name, seed, run): (_, _, std::thread::ScopedJoinHandle<'_, Score>)| {
            (name, seed, run.join().unwrap_or_else(|_| panic!("{name}, seed {seed}")))
        };
        started.into_iter().map(join).collect()
    })
}

#[test]
fn every_link_is_used_as_well_as_the_scoreboard_says() {
    if let Ok(wish) = std::env::var("CROSSPOINT_SEEDS") {
        let (wanted, seeds) = wish.split_once(':').expect("CROSSPOINT_SEEDS=scenario:seeds");
        let scenario = SCENARIOS.iter().find(|(name, ..)| *name == wanted).expect("a scenario of the scoreboard");
        let scores = play((1..=seeds.parse().unwrap()).map(|seed| (scenario.0, scenario.1, seed)));
        scores.iter().for_each(|(name, seed, score)| eprintln!("{}", score.line(name, *seed)));
        return;
    }
    let mut board = String::from("scenario   seed utilisation % frozen % longest pause ms first frame ms key frames\n");
    let runs = SCENARIOS.iter().flat_map(|(name, run, seeds)| seeds.iter().map(|seed| (*name, *run, *seed)));
    let scores = play(runs);
    for (name, seed, score) in &scores {
        let _ = writeln!(board, "{}", score.line(name, *seed));
    }
    if std::env::var_os("CROSSPOINT_SCOREBOARD").is_some_and(|wish| wish == "write") {
        std::fs::write(SCOREBOARD, board).unwrap();
        return;
    }
    let kept = std::fs::read_to_string(SCOREBOARD).unwrap();
    for ((name, seed, score), line) in scores.iter().zip(kept.lines().skip(1)) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(columns[..2], [*name, &seed.to_string()], "another scenario: write the scoreboard anew");
        for ((figure, kept), tolerance) in score.figures().iter().zip(&columns[2..]).zip(TOLERANCES) {
            let kept: f64 = kept.parse().unwrap();
            assert!((figure - kept).abs() <= tolerance, "{} was\n{line}", score.line(name, *seed));
        }
    }
}
