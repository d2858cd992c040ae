//! A whole node over real sockets on loopback: WHIP in, WHEP out, two shards. What the simulator cannot see: system
//! calls, batching, threads, HTTP.

use std::time::{Duration, Instant};

use crosspoint::config::Config;
use crosspoint::node::Node;
use loadtest::engine::Engine;
use loadtest::http::Endpoint;
use loadtest::oracle::{Expectations, Losses, Report};
use loadtest::{PublisherSpec, ViewerSpec};

/// A test that has not seen what it waits for by then has failed. Nothing is concluded from how long it took.
const PATIENCE: Duration = Duration::from_secs(60);

/// Frames every viewer must have decoded.
const FRAMES: u64 = 90;

#[test]
fn two_shards_carry_streams_in_and_out() {
    let server = Server::start();
    let mut engine = Engine::new(1).unwrap();
    for (number, room) in (1..).zip(["red", "green", "blue"]) {
        engine.publish(PublisherSpec::new(number), server.endpoint("whip", room)).unwrap();
        for _ in 0..2 {
            engine.watch(viewer_of(number), server.endpoint("whep", room)).unwrap();
        }
    }
    run_until_all_have_seen(&mut engine, FRAMES);
    for report in reports(&engine) {
        assert!(report.violations.is_empty(), "{}", report.violations);
        assert!(report.audio().is_some_and(|audio| audio.packets > FRAMES), "{report:?}");
    }
    let metrics = server.get("/metrics");
    let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    assert_eq!(value("crosspoint_rooms"), Some(3.0), "{metrics}");
    engine.stop().unwrap();
    assert!(server.get("/api/v1/rooms").contains("[]"), "every DELETE was served");
}

#[test]
fn a_broadcast_that_outgrows_its_shard_is_seen_on_both() {
    let server = Server::spilling_after(2);
    let mut engine = Engine::new(3).unwrap();
    engine.publish(PublisherSpec::new(1), server.endpoint("whip", "show")).unwrap();
    for _ in 0..5 {
        engine.watch(viewer_of(1), server.endpoint("whep", "show")).unwrap();
    }
    run_until_all_have_seen(&mut engine, FRAMES);
    for report in reports(&engine) {
        assert!(report.violations.is_empty(), "{}", report.violations);
    }
    let metrics = server.get("/metrics");
    let value = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
    assert_eq!(value("crosspoint_rooms"), Some(1.0), "{metrics}");
    assert!(value("crosspoint_packets_crossed_total").is_some_and(|crossed| crossed > 90.0), "{metrics}");
    let rooms = server.get("/api/v1/rooms");
    assert!(rooms.contains(r#""viewers":5"#) && rooms.matches(r#""name""#).count() == 1, "{rooms}");
    engine.stop().unwrap();
    assert!(server.get("/api/v1/rooms").contains("[]"), "every DELETE was served");
}

#[test]
fn a_stream_loses_nothing_while_malformed_offers_arrive() {
    let server = Server::start();
    let mut engine = Engine::new(2).unwrap();
    engine.publish(PublisherSpec::new(1), server.endpoint("whip", "studio")).unwrap();
    engine.watch(viewer_of(1), server.endpoint("whep", "studio")).unwrap();
    run_until_all_have_seen(&mut engine, 10);
    // Without a fingerprint no part of it is an offer.
    let bad = include_str!("offers/chromium_whip_simulcast.sdp").replace("a=fingerprint", "a=finger");
    let url = server.url("/whip/other");
    let flood = std::thread::spawn(move || {
        let agent = ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        for cut in (0..bad.len()).step_by(37) {
            let body = &bad.as_bytes()[..cut];
            let response = agent.post(&url).content_type("application/sdp").send(body).unwrap();
            assert!(response.status().is_client_error(), "{} for the first {cut} bytes", response.status());
        }
    });
    while !flood.is_finished() {
        engine.run_for(Duration::from_millis(100)).unwrap();
    }
    flood.join().unwrap();
    run_until_all_have_seen(&mut engine, FRAMES);
    for report in reports(&engine) {
        assert!(report.violations.is_empty(), "{}", report.violations);
        assert_eq!(report.video().map(|video| video.lost), Some(0), "{report:?}");
    }
    engine.stop().unwrap();
}

struct Server {
    runtime: tokio::runtime::Runtime,
    node: Option<Node>,
}

impl Server {
    fn start() -> Self {
        Self::spilling_after(50)
    }

    fn spilling_after(sessions: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let mut config = Config::default();
        config.http.listen.set_port(0);
        config.media.port = 0;
        config.media.bind = [127, 0, 0, 1].into();
        config.media.shards = 2;
        config.rooms.spill_after = sessions;
        let node = runtime.block_on(Node::start(&config, None)).unwrap();
        Self { runtime, node: Some(node) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.node.as_ref().unwrap().http())
    }

    fn endpoint(&self, kind: &str, room: &str) -> Endpoint {
        Endpoint { url: self.url(&format!("/{kind}/{room}")), token: None }
    }

    fn get(&self, path: &str) -> String {
        ureq::get(self.url(path)).call().unwrap().body_mut().read_to_string().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.stop());
        }
    }
}

fn viewer_of(publisher: u16) -> ViewerSpec {
    let expectations =
        Expectations { losses: Losses::None, publishers: Some(vec![publisher]), wire: true, ..Expectations::default() };
    ViewerSpec { expectations, ..ViewerSpec::default() }
}

fn reports(engine: &Engine) -> Vec<Report> {
    let now = Instant::now();
    engine.seats().iter().filter_map(|seat| seat.client.report(now)).collect()
}

fn run_until_all_have_seen(engine: &mut Engine, frames: u64) {
    let seen = |seat: &loadtest::engine::Seat| {
        let report = seat.client.report(Instant::now());
        report.is_none_or(|report| report.video().is_some_and(|video| video.frames >= frames))
    };
    engine.run_until(Instant::now() + PATIENCE, |seats| seats.iter().all(seen)).unwrap();
    let waiting = engine.seats().iter().filter(|seat| !seen(seat)).count();
    let failures: Vec<_> = engine.seats().iter().filter_map(|seat| seat.failure.clone()).collect();
    assert_eq!(waiting, 0, "viewers without {frames} frames; failures: {failures:?}");
}
