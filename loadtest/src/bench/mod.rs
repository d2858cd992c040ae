//! Server CPU per forwarded packet, with the machine's own floor beside it.
//!
//! The server is pinned to one core and the generator to another. One publisher, N viewers over loopback; the CPU time
//! of all server threads over what the viewers received. Loopback runs the receiving half of the network stack in the
//! sender's context, so both the server's figure and the floor's include it. Delays are counted from the publisher's
//! stamp to the kernel's receiving. Linux only: `/proc`, affinity, GSO.
//!
//! `relay` measures the TURN server in the same way.
//!
//! Not here: networks that lose (the simulator's), servers on other machines (their CPU cannot be read).

mod floor;
pub(crate) mod relay;
mod server;
pub(crate) mod strangers;
mod system;
mod turn;

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use loadtest::engine::{Engine, Seat};
use loadtest::http::Endpoint;
use loadtest::media::Codec;
use loadtest::oracle::Latency;
use loadtest::spec::{Pacing, Vp8Descriptor};
use loadtest::{PublisherSpec, VideoSpec, ViewerSpec};
use serde::Serialize;

use crate::cli::Bench;
use floor::Floor;
use server::Server;

/// Cores: one for the server, one for the generator, each to itself.
const SERVER_CORE: usize = 0;
const GENERATOR_CORE: usize = 1;

/// For clients to connect and to see their first frame.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between a change and a measurement.
const SETTLING: Duration = Duration::from_secs(2);

/// Joining rate, per second. Handshakes cost both sides about a millisecond and a half.
const JOIN_RATE: u32 = 100;

/// A generator busier than this may be what limits the result.
const BUSY: f64 = 0.85;

/// The whole run.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    machine: String,
    bitrate: u64,
    publishers: u16,
    /// The viewers took datagrams one by one.
    singly: bool,
    rows: Vec<Row>,
}

/// One number of viewers.
#[derive(Debug, Serialize)]
struct Row {
    viewers: usize,
    delivered_per_second: f64,
    lost: u64,
    violations: u64,
    /// Server CPU per packet that a viewer received, in microseconds.
    server_us: f64,
    /// Share of its core that the server used.
    server_busy: f64,
    generator_busy: f64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
    /// Server memory per viewer, in KiB: connected without media, and with.
    idle_kib: f64,
    active_kib: f64,
    floor: Floor,
}

/// Runs all rows.
pub(crate) fn run(arguments: &Bench) -> anyhow::Result<Outcome> {
    if system::cores() <= GENERATOR_CORE {
        bail!("this machine has {} core: the server and the generator need one each", system::cores());
    }
    let mut rows = Vec::new();
    for viewers in &arguments.viewers {
        eprintln!("{viewers} viewers ...");
        let mut row = measure(arguments, *viewers).with_context(|| format!("with {viewers} viewers"))?;
        system::pin(SERVER_CORE)?;
        row.floor = floor::measure(*viewers, GENERATOR_CORE, arguments.taking())?;
        system::pin(GENERATOR_CORE)?;
        rows.push(row);
    }
    let Bench { bitrate, publishers, singly, .. } = *arguments;
    Ok(Outcome { machine: system::machine(), bitrate, publishers, singly, rows })
}

/// One server, `count` viewers who come first, then the publishers.
fn measure(arguments: &Bench, count: usize) -> anyhow::Result<Row> {
    // A child inherits the affinity of the thread that starts it.
    system::pin(SERVER_CORE)?;
    let mut server = Server::start(&arguments.server, &arguments.arguments, &arguments.base)?;
    system::pin(GENERATOR_CORE)?;
    let mut engine = Engine::new(1)?;
    engine.set_taking(arguments.taking());
    server.wait_until_ready(|time| engine.run_for(time))?;
    engine.run_for(SETTLING)?;
    let empty = server.memory()?;

    let endpoint = |role, room| {
        let url = format!("{}/{role}/bench-{room}", arguments.base);
        Endpoint { url, token: arguments.token.clone() }
    };
    for room in (0..arguments.publishers).cycle().take(count) {
        engine.watch(ViewerSpec::default(), endpoint("whep", room))?;
        engine.run_for(Duration::from_secs(1) / JOIN_RATE)?;
    }
    until(&mut engine, "viewers to connect", |seats| seats.iter().all(Seat::is_connected))?;
    engine.run_for(SETTLING)?;
    let idle = server.memory()?;

    let pacing = if arguments.spread { Pacing::Spread } else { Pacing::Burst };
    let plain = VideoSpec { vp8: Vp8Descriptor::LIBWEBRTC, pacing, ..VideoSpec::new(Codec::Vp8) };
    let video = match arguments.simulcast {
        true => plain.with_simulcast_of(arguments.bitrate),
        false => plain.with_bitrate(arguments.bitrate),
    };
    for room in 0..arguments.publishers {
        engine.publish(PublisherSpec::new(room).with_video(video.clone()), endpoint("whip", room))?;
        engine.run_for(Duration::from_secs(1) / JOIN_RATE)?;
    }
    until(&mut engine, "every viewer's first frame", |seats| {
        seats.iter().filter_map(|seat| seat.client.oracle()).all(|oracle| oracle.time_to_first_frame().is_some())
    })?;
    engine.run_for(SETTLING)?;
    let mut row = watch(&mut engine, &server, arguments.time)?;
    let active = server.memory()?;
    let per_viewer = |bytes: u64| bytes.saturating_sub(empty) as f64 / 1_024.0 / count as f64;
    (row.viewers, row.idle_kib, row.active_kib) = (count, per_viewer(idle), per_viewer(active));
    engine.stop()?;
    Ok(row)
}

/// Measures a run in full swing.
fn watch(engine: &mut Engine, server: &Server, time: Duration) -> anyhow::Result<Row> {
    for seat in engine.seats_mut() {
        if let Some(oracle) = seat.client.oracle_mut() {
            oracle.restart_latency();
        }
    }
    let before = (received(engine), server.cpu_time()?, system::own_cpu_time()?, Instant::now());
    engine.run_for(time)?;
    let after = (received(engine), server.cpu_time()?, system::own_cpu_time()?, Instant::now());

    let seconds = (after.3 - before.3).as_secs_f64();
    let packets = (after.0 - before.0) as f64;
    // A thread that ended in between took its share of the sum along.
    let server_time = after.1.saturating_sub(before.1).as_secs_f64();
    let mut latency = Latency::default();
    let (mut lost, mut violations) = (0, 0);
    for report in engine.seats().iter().filter_map(|seat| seat.client.report(after.3)) {
        violations += report.violations.count();
        for stream in &report.streams {
            lost += stream.lost;
            latency.merge(&stream.latency);
        }
    }
    Ok(Row {
        viewers: 0,
        delivered_per_second: packets / seconds,
        lost,
        violations,
        server_us: server_time * 1e6 / packets,
        server_busy: server_time / seconds,
        generator_busy: (after.2 - before.2).as_secs_f64() / seconds,
        latency_p50_ms: latency.quantile(0.5).as_secs_f64() * 1e3,
        latency_p99_ms: latency.quantile(0.99).as_secs_f64() * 1e3,
        idle_kib: 0.0,
        active_kib: 0.0,
        floor: Floor::default(),
    })
}

fn received(engine: &Engine) -> u64 {
    engine.seats().iter().filter_map(|seat| Some(seat.client.oracle()?.packets())).sum()
}

fn until(engine: &mut Engine, what: &str, done: impl Fn(&[Seat]) -> bool) -> anyhow::Result<()> {
    let failed = |seats: &[Seat]| seats.iter().any(|seat| seat.failure.is_some());
    engine.run_until(Instant::now() + PATIENCE, |seats| done(seats) || failed(seats))?;
    if let Some(failure) = engine.seats().iter().find_map(|seat| seat.failure.as_ref()) {
        bail!("waiting for {what}: {failure}");
    }
    if !done(engine.seats()) {
        bail!("waited {} s in vain for {what}", PATIENCE.as_secs());
    }
    Ok(())
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, megabits, publishers) = (&self.machine, self.bitrate as f64 / 1e6, self.publishers);
        let taken = if self.singly { "one by one" } else { "joined" };
        write!(f, "{machine}. {publishers} publisher(s) at {megabits:.1} Mbps and Opus; loopback, ")?;
        writeln!(f, "datagrams taken {taken}.\n")?;
        write!(f, "| viewers | packets/s | server us/packet | of send_to | server core | latency p50 / p99 ms ")?;
        writeln!(f, "| KiB idle | KiB active | lost | generator core |")?;
        writeln!(f, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        let payload = floor::PAYLOAD;
        writeln!(f, "\nFloor of this machine: AES-256-GCM of {payload} bytes and the system call, us/packet.")?;
        writeln!(f, "A hot loop; \"paced\": in the rhythm of one publisher, asleep in between.\n")?;
        writeln!(f, "| receivers | send_to | sendmmsg | sendmmsg, GSO of 4 | sendmmsg, GSO of 8 | send_to, paced |")?;
        writeln!(f, "|---:|---:|---:|---:|---:|---:|")?;
        for Row { viewers, floor, .. } in &self.rows {
            let Floor { send_to_us, sendmmsg_us, gso4_us, gso8_us, paced_us } = floor;
            write!(f, "| {viewers} | {send_to_us:.2} | {sendmmsg_us:.2} | {gso4_us:.2} | {gso8_us:.2} ")?;
            writeln!(f, "| {paced_us:.2} |")?;
        }
        let violations: u64 = self.rows.iter().map(|row| row.violations).sum();
        if violations > 0 {
            writeln!(f, "\n{violations} violation(s) of the protocol's rules: run `loadtest watch` to see which.")?;
        }
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { viewers, delivered_per_second: rate, server_us, latency_p50_ms: p50, latency_p99_ms: p99, .. } =
            self;
        let Self { idle_kib, active_kib, lost, .. } = self;
        let ratio = server_us / self.floor.send_to_us;
        let (server, generator) = (self.server_busy * 100.0, self.generator_busy * 100.0);
        let warning = if self.generator_busy > BUSY { " (!)" } else { "" };
        write!(f, "| {viewers} | {rate:.0} | {server_us:.2} | {ratio:.2}x | {server:.0} % | {p50:.2} / {p99:.2} ")?;
        write!(f, "| {idle_kib:.0} | {active_kib:.0} | {lost} | {generator:.0} %{warning} |")
    }
}
