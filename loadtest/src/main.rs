//! The load generator: publishes synthetic streams, watches in numbers, and says what the viewers went through.

#[cfg(target_os = "linux")]
mod bench;
mod cli;
mod interrupt;
mod room;
mod summary;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use loadtest::engine::{Engine, Seat};
use loadtest::http::Endpoint;
use tracing_subscriber::EnvFilter;

use cli::{Bench, Cli, Command, Publish, Relay, Strangers, Target, Watch};
use summary::Summary;

/// How often the state of a run is told.
const PROGRESS: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    interrupt::install();
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(io::stderr).init();
    let outcome = match Cli::parse().command {
        Command::Publish(arguments) => publish(&arguments),
        Command::Watch(arguments) => watch(&arguments),
        Command::Room(arguments) => room::run(&arguments),
        Command::Bench(arguments) => bench(&arguments),
        Command::Relay(arguments) => relay(&arguments),
        Command::Strangers(arguments) => strangers(&arguments),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn publish(arguments: &Publish) -> anyhow::Result<bool> {
    let target = &arguments.target;
    if target.count > 1 && !target.url.contains("{n}") {
        bail!("{} publishers need as many rooms: put {{n}} into the URL (…/whip/room-{{n}})", target.count);
    }
    let mut engine = Engine::new(target.seed)?;
    run(&mut engine, target, |engine, n| {
        let spec = arguments.spec(u16::try_from(n).unwrap_or(u16::MAX));
        Ok(engine.publish(spec, endpoint(target, n))?)
    })
}

fn watch(arguments: &Watch) -> anyhow::Result<bool> {
    let target = &arguments.target;
    let mut engine = Engine::new(target.seed)?;
    run(&mut engine, target, |engine, n| Ok(engine.watch(arguments.spec(), endpoint(target, n))?))
}

#[cfg(target_os = "linux")]
fn bench(arguments: &Bench) -> anyhow::Result<bool> {
    let outcome = bench::run(arguments)?;
    let text = if arguments.json { serde_json::to_string_pretty(&outcome)? } else { outcome.to_string() };
    writeln!(io::stdout(), "{text}")?;
    Ok(true)
}

#[cfg(target_os = "linux")]
fn relay(arguments: &Relay) -> anyhow::Result<bool> {
    let outcome = bench::relay::run(arguments)?;
    let text = if arguments.json { serde_json::to_string_pretty(&outcome)? } else { outcome.to_string() };
    writeln!(io::stdout(), "{text}")?;
    Ok(true)
}

#[cfg(target_os = "linux")]
fn strangers(arguments: &Strangers) -> anyhow::Result<bool> {
    let outcome = bench::strangers::run(arguments)?;
    let text = if arguments.json { serde_json::to_string_pretty(&outcome)? } else { outcome.to_string() };
    writeln!(io::stdout(), "{text}")?;
    Ok(outcome.is_good())
}

#[cfg(not(target_os = "linux"))]
fn strangers(_arguments: &Strangers) -> anyhow::Result<bool> {
    bail!("strangers reads /proc: Linux only")
}

#[cfg(not(target_os = "linux"))]
fn relay(_arguments: &Relay) -> anyhow::Result<bool> {
    bail!("relay reads /proc and pins processes to cores: Linux only")
}

#[cfg(not(target_os = "linux"))]
fn bench(_arguments: &Bench) -> anyhow::Result<bool> {
    bail!("bench reads /proc and pins processes to cores: Linux only")
}

/// Adds clients at the asked rate, serves them for the asked time, and reports. False when something went wrong.
fn run(
    engine: &mut Engine,
    target: &Target,
    mut add: impl FnMut(&mut Engine, usize) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let started = Instant::now();
    for n in 0..target.count {
        let due = started + target.join_interval() * u32::try_from(n)?;
        engine.run_until(due, |_| interrupt::requested())?;
        if interrupt::requested() {
            break;
        }
        add(engine, n).with_context(|| format!("client {n}"))?;
    }
    let end = target.time.map(|time| Instant::now() + time);
    while end.is_none_or(|end| Instant::now() < end) && !interrupt::requested() {
        let next = Instant::now() + PROGRESS;
        engine.run_until(end.map_or(next, |end| end.min(next)), all_over)?;
        if engine.seats().iter().all(|seat| seat.failure.is_some()) {
            break;
        }
        if !target.json {
            eprintln!("{:>5.0} s: {}", started.elapsed().as_secs_f64(), progress(engine.seats()));
        }
    }
    let summary = Summary::of(engine.seats(), Instant::now());
    engine.stop()?;
    let text = if target.json { serde_json::to_string_pretty(&summary)? } else { summary.to_string() };
    writeln!(io::stdout(), "{text}")?;
    Ok(summary.is_good())
}

fn endpoint(target: &Target, n: usize) -> Endpoint {
    Endpoint { url: target.url.replace("{n}", &n.to_string()), token: target.token.clone() }
}

/// Nobody is left to serve, or the person at the keyboard has seen enough.
fn all_over(seats: &[Seat]) -> bool {
    interrupt::requested() || seats.iter().all(|seat| seat.failure.is_some())
}

fn progress(seats: &[Seat]) -> String {
    let connected = seats.iter().filter(|seat| seat.is_connected()).count();
    let failed = seats.iter().filter(|seat| seat.failure.is_some()).count();
    let received: u64 = seats.iter().filter_map(|seat| Some(seat.client.oracle()?.packets())).sum();
    let sent: u64 = seats.iter().filter_map(|seat| Some(seat.client.sent()?.packets)).sum();
    format!("{connected} of {} connected, {failed} failed; packets: {sent} sent, {received} received", seats.len())
}
