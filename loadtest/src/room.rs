//! A room full of members: everybody joins, they speak in turn, and at the end it is told what each received and what
//! the server spent on it, by its own metrics.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use loadtest::Voice;
use loadtest::engine::Engine;
use loadtest::http::Endpoint;
use serde::Serialize;

use crate::cli::Room;
use crate::interrupt;
use crate::summary::Summary;

/// Seed of the media.
const SEED: u64 = 1;

/// What a run came to.
#[derive(Debug, Serialize)]
struct Outcome {
    server: Cost,
    members: Summary,
}

/// What the server spent while everybody was there.
#[derive(Debug, Serialize)]
struct Cost {
    packets_per_second: f64,
    cpu_percent: f64,
    cpu_us_per_packet: f64,
    /// What one core would forward, fully used.
    packets_per_second_and_core: f64,
    /// Of the packets forwarded, those that were handed to another shard first, once for each.
    crossed_per_second: f64,
    resident_kib_per_member: f64,
}

/// Counters of the server at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    at: Instant,
    cpu_seconds: f64,
    forwarded: f64,
    crossed: f64,
    resident: f64,
}

/// Fills the room. False when something went wrong.
pub(crate) fn run(arguments: &Room) -> anyhow::Result<bool> {
    let Some(host) = arguments.base.strip_prefix("http://") else {
        bail!("--base {}: write http://HOST:PORT", arguments.base);
    };
    let url = format!("ws://{}/rooms/{}/ws", host.trim_end_matches('/'), arguments.room);
    let empty = Reading::take(arguments)?;
    let mut engine = Engine::new(SEED)?;
    let started = Instant::now();
    for number in 0..arguments.members {
        engine.run_until(started + Duration::from_secs(1) / arguments.ramp * u32::try_from(number)?, |_| {
            interrupt::requested()
        })?;
        let spec = arguments.spec(u16::try_from(number)?);
        let endpoint = Endpoint { url: url.clone(), token: arguments.token.clone() };
        engine.enter(spec, endpoint, format!("member-{number}")).with_context(|| format!("member {number}"))?;
    }
    engine.run_for(Duration::from_secs(2))?;
    engine.seats_mut().for_each(|seat| seat.client.speak(Voice::Quiet));
    let before = Reading::take(arguments)?;
    speak_in_turn(&mut engine, arguments)?;
    let after = Reading::take(arguments)?;
    let members = Summary::of(engine.seats(), Instant::now());
    engine.stop()?;
    let outcome = Outcome { server: Cost::of(&empty, &before, &after, arguments.members), members };
    let text = if arguments.json { serde_json::to_string_pretty(&outcome)? } else { outcome.to_string() };
    writeln!(io::stdout(), "{text}")?;
    Ok(outcome.members.is_good())
}

fn speak_in_turn(engine: &mut Engine, arguments: &Room) -> anyhow::Result<()> {
    let end = Instant::now() + arguments.time;
    let speakers = arguments.publishers.unwrap_or(arguments.members).max(1);
    let mut turn = 0;
    while Instant::now() < end && !interrupt::requested() {
        let voice = |index| if index == turn % speakers { Voice::Speaking } else { Voice::Quiet };
        engine.seats_mut().enumerate().for_each(|(index, seat)| seat.client.speak(voice(index)));
        engine.run_until(end.min(Instant::now() + arguments.turn), |_| interrupt::requested())?;
        turn += 1;
    }
    Ok(())
}

impl Reading {
    fn take(arguments: &Room) -> anyhow::Result<Self> {
        let url = format!("{}/metrics", arguments.base.trim_end_matches('/'));
        let mut request = ureq::get(&url);
        if let Some(token) = &arguments.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let text = request.call().with_context(|| format!("cannot read {url}"))?.body_mut().read_to_string()?;
        let sum = |name: &str| -> f64 {
            let samples = text.lines().filter(|line| line.split(['{', ' ']).next() == Some(name));
            samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok(Self {
            at: Instant::now(),
            cpu_seconds: sum("process_cpu_seconds_total"),
            forwarded: sum("crosspoint_packets_forwarded_total"),
            crossed: sum("crosspoint_packets_crossed_total"),
            resident: sum("process_resident_memory_bytes"),
        })
    }
}

impl Cost {
    fn of(empty: &Reading, before: &Reading, after: &Reading, members: usize) -> Self {
        let seconds = (after.at - before.at).as_secs_f64().max(f64::EPSILON);
        let (cpu, packets) = (after.cpu_seconds - before.cpu_seconds, after.forwarded - before.forwarded);
        Self {
            packets_per_second: packets / seconds,
            cpu_percent: 100.0 * cpu / seconds,
            cpu_us_per_packet: if packets > 0.0 { 1e6 * cpu / packets } else { 0.0 },
            packets_per_second_and_core: packets / cpu.max(f64::EPSILON),
            crossed_per_second: (after.crossed - before.crossed) / seconds,
            resident_kib_per_member: (after.resident - empty.resident) / 1024.0 / members.max(1) as f64,
        }
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { packets_per_second, cpu_percent, cpu_us_per_packet, resident_kib_per_member, .. } = &self.server;
        let Cost { packets_per_second_and_core, crossed_per_second, .. } = &self.server;
        writeln!(f, "server     {packets_per_second:.0} packets/s forwarded, {cpu_percent:.0} % of a core")?;
        writeln!(f, "           {crossed_per_second:.0} packets/s handed to other shards")?;
        writeln!(
            f,
            "           {cpu_us_per_packet:.1} us of CPU per packet ({packets_per_second_and_core:.0} packets/s and \
             core), {resident_kib_per_member:.0} KiB per member"
        )?;
        write!(f, "{}", self.members)
    }
}
