//! `/metrics` for Prometheus. Counters of the data plane are plain integers in each shard, copied out and summed at each
//! scrape; the control plane counts its requests here. Nothing is labelled by room or session: those have reports
//! (`/api/v1/sessions/{id}`), and would make a time series each.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::{Counter, Encoder as _, Gauge, IntCounterVec, Opts, Registry, TextEncoder};

use super::problem::Problem;
use super::{Caller, Control};
use crate::sfu::command::{Command, Reply};
use crate::sfu::stats::Stats;

/// One metric of the data plane: what it is and where in [`Stats`] it is found.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    value: fn(&Stats) -> u64,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Goes up and down.
    Gauge,
}

/// Every metric of the data plane.
const METRICS: &[Metric] =
    &[Metric { name: "crosspoint_rooms", help: "Rooms that exist.", kind: Kind::Gauge, value: |stats| stats.rooms }];

/// What the control plane counts itself.
#[derive(Debug)]
pub(super) struct Metrics {
    started: SystemTime,
    requests: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        let opts = Opts::new("crosspoint_http_requests_total", "HTTP requests answered, by route and status.");
        // The name and the labels are constants that Prometheus allows; a test scrapes them.
        let requests = IntCounterVec::new(opts, &["route", "status"]).expect("a valid metric");
        Self { started: SystemTime::now(), requests }
    }
}

/// Counters and gauges for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn scrape(State(control): State<Control>) -> Result<impl IntoResponse, Problem> {
    let mut shards = Vec::new();
    for reply in control.ask_all(|| Command::Stats).await? {
        match reply {
            Reply::Stats(stats) => shards.push(*stats),
            other => return Err(Problem::unexpected(&other)),
        }
    }
    let failed = |error| Problem::unavailable(format!("the metrics cannot be written: {error}"));
    let text = render(&control, &shards).map_err(failed)?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text))
}

/// The middleware: counts a request and logs it, without its query, which may hold a token.
pub(super) async fn count(
    State(control): State<Control>,
    caller: Caller,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    control.metrics().requests.with_label_values(&[route, status.as_str()]).inc();
    tracing::debug!(%method, path, status = status.as_u16(), caller = ?caller.0, "request");
    response
}

fn render(control: &Control, shards: &[Stats]) -> prometheus::Result<String> {
    let registry = Registry::new();
    for Metric { name, help, kind, value } in METRICS {
        let sum = shards.iter().map(value).sum::<u64>() as f64;
        match kind {
            Kind::Gauge => gauge(&registry, name, help, sum)?,
        }
    }
    gauge(&registry, "crosspoint_shards", "Shards of this node.", shards.len() as f64)?;
    gauge(&registry, "crosspoint_sessions", "Living sessions.", control.sessions().living() as f64)?;
    registry.register(Box::new(control.metrics().requests.clone()))?;
    process(&registry, control.metrics().started)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

/// Metrics of the process, under the names Prometheus' own client libraries use. What the system does not tell is left out.
fn process(registry: &Registry, started: SystemTime) -> prometheus::Result<()> {
    let since_epoch = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    gauge(registry, "process_start_time_seconds", "When the process started, in Unix time.", since_epoch)?;
    counter(registry, "process_cpu_seconds_total", "CPU time used, user and system.", cpu_seconds())?;
    if let Some(bytes) = resident_bytes() {
        gauge(registry, "process_resident_memory_bytes", "Resident memory.", bytes)?;
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge(registry, "process_open_fds", "Open file descriptors.", open.count() as f64)?;
    }
    Ok(())
}

/// User and system time of all threads.
fn cpu_seconds() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable for the length of the call, and all-zero is a valid value of the plain C struct.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime].iter().map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6).sum()
}

/// Resident memory, where there is a `/proc`.
fn resident_bytes() -> Option<f64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    Some(pages * page as f64)
}

fn gauge(registry: &Registry, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
    let gauge = Gauge::new(name, help)?;
    gauge.set(value);
    register(registry, gauge)
}

fn counter(registry: &Registry, name: &str, help: &str, value: f64) -> prometheus::Result<()> {
    let counter = Counter::new(name, help)?;
    counter.inc_by(value);
    register(registry, counter)
}

fn register(registry: &Registry, metric: impl Collector + 'static) -> prometheus::Result<()> {
    registry.register(Box::new(metric))
}
