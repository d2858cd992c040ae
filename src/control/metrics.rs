//! `/metrics` for Prometheus. Counters of the data plane are plain integers in each shard, copied out and summed at
//! each scrape; the control plane counts its requests here. Nothing is labelled by room or session: those have reports
//! (`/api/v1/sessions/{id}`), and would make a time series each.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::core::Collector;
use prometheus::{Counter, CounterVec, Encoder as _, Gauge, IntCounterVec, Opts, Registry, TextEncoder};

use super::problem::{Problem, ProblemBody};
use super::{Caller, Control};
use crate::forward::DropReason;
use crate::sfu::command::{Command, Reply};
use crate::sfu::failure::Failure;
use crate::sfu::stats::Stats;
use crate::turn;

/// A metric of the data plane: name, help, and where in [`Stats`] it is found.
type Metric = (&'static str, &'static str, fn(&Stats) -> u64);

/// What goes up and down.
#[rustfmt::skip]
const GAUGES: &[Metric] = &[
    ("crosspoint_rooms", "Rooms that exist.", |s| s.rooms),
    ("crosspoint_publishers", "Sessions that publish.", |s| s.publishers),
    ("crosspoint_viewers", "Sessions that play.", |s| s.viewers),
    ("crosspoint_members", "Members of conferences.", |s| s.members),
    ("crosspoint_turn_allocations", "TURN allocations now.", |s| s.turn.allocations),
    ("crosspoint_peer_addresses", "Peer addresses known to the demultiplexer.", |s| s.addresses),
];

/// What only goes up.
#[rustfmt::skip]
const COUNTERS: &[Metric] = &[
    ("crosspoint_sessions_created_total", "Sessions created.", |s| s.sessions_created),
    ("crosspoint_sessions_connected_total", "Sessions that got connected.", |s| s.sessions_connected),
    ("crosspoint_joins_refused_total", "Offers refused.", |s| s.joins_refused),
    ("crosspoint_packets_received_total", "RTP packets received from publishers.", |s| s.packets_received),
    ("crosspoint_bytes_received_total", "RTP payload bytes received from publishers.", |s| s.bytes_received),
    ("crosspoint_packets_forwarded_total", "RTP packets sent to viewers.", |s| s.packets_forwarded),
    ("crosspoint_bytes_forwarded_total", "RTP payload bytes sent to viewers.", |s| s.bytes_forwarded),
    ("crosspoint_keyframes_requested_total", "Key frame requests sent to publishers.", |s| s.keyframes_requested),
    ("crosspoint_keyframe_requests_total", "Key frame requests received from viewers.", |s| s.keyframe_requests),
    ("crosspoint_ice_checks_accepted_total", "ICE checks that passed.", |s| s.checks_accepted),
    ("crosspoint_ice_checks_refused_total", "ICE checks that failed authentication.", |s| s.checks_refused),
    ("crosspoint_datagrams_handed_over_total", "Datagrams handed to another shard.", |s| s.datagrams_handed_over),
    ("crosspoint_datagrams_unknown_total", "Datagrams from addresses nobody owns.", |s| s.datagrams_unknown),
    ("crosspoint_datagrams_unclassified_total", "Datagrams of no known protocol.", |s| s.datagrams_unclassified),
    ("crosspoint_stun_bindings_total", "STUN Binding requests answered.", |s| s.turn.bindings),
    ("crosspoint_turn_allocated_total", "TURN allocations made.", |s| s.turn.allocated),
    ("crosspoint_turn_limited_total", "Strangers' messages not answered for their rate.", |s| s.turn.limited),
    ("crosspoint_turn_datagrams_from_clients_total", "Clients' datagrams relayed.", |s| s.turn.datagrams_from_clients),
    ("crosspoint_turn_bytes_from_clients_total", "Their bytes.", |s| s.turn.bytes_from_clients),
    ("crosspoint_turn_datagrams_to_clients_total", "Peers' datagrams relayed.", |s| s.turn.datagrams_to_clients),
    ("crosspoint_turn_bytes_to_clients_total", "Their bytes.", |s| s.turn.bytes_to_clients),
    ("crosspoint_data_dropped_total", "Data messages dropped: a member's data channel was full.", |s| s.data_dropped),
    ("crosspoint_events_lost_total", "Events the control plane was too slow for.", |s| s.events_lost),
    ("crosspoint_datagrams_received_total", "Datagrams received.", |s| s.io.datagrams_received),
    ("crosspoint_datagram_bytes_received_total", "Bytes of datagrams received.", |s| s.io.bytes_received),
    ("crosspoint_datagrams_sent_total", "Datagrams sent.", |s| s.io.datagrams_sent),
    ("crosspoint_datagram_bytes_sent_total", "Bytes of datagrams sent.", |s| s.io.bytes_sent),
    ("crosspoint_datagrams_unsent_total", "Datagrams the system refused to send.", |s| s.io.datagrams_unsent),
    ("crosspoint_send_calls_total", "System calls that sent.", |s| s.io.send_calls),
    ("crosspoint_send_messages_total", "Messages handed to those calls.", |s| s.io.send_messages),
    ("crosspoint_turns_total", "Turns of the shards' loops.", |s| s.io.turns),
    ("crosspoint_packets_crossed_total", "RTP packets handed to other shards, once for each.", |s| s.packets_crossed),
    ("crosspoint_crossings_lost_total", "Values between shards that found no room.", |s| s.io.crossings_lost),
];

/// What the control plane counts itself.
#[derive(Debug)]
pub(super) struct Metrics {
    started: SystemTime,
    requests: IntCounterVec,
}

impl Metrics {
    /// # Errors
    /// A metric's name or label is none Prometheus allows.
    pub(super) fn new() -> prometheus::Result<Self> {
        let opts = Opts::new("crosspoint_http_requests_total", "HTTP requests answered, by route and status.");
        let requests = IntCounterVec::new(opts, &["route", "status"])?;
        Ok(Self { started: SystemTime::now(), requests })
    }
}

/// Counters and gauges for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, body = String), (status = "4XX", body = ProblemBody),
        (status = 503, body = ProblemBody)))]
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
    for (name, help, value) in GAUGES {
        gauge(&registry, name, help, shards.iter().map(value).sum::<u64>() as f64)?;
    }
    for (name, help, value) in COUNTERS {
        counter(&registry, name, help, shards.iter().map(value).sum::<u64>() as f64)?;
    }
    labelled(&registry, shards)?;
    gauge(&registry, "crosspoint_shards", "Shards of this node.", shards.len() as f64)?;
    gauge(&registry, "crosspoint_sessions", "Living sessions.", control.sessions().living() as f64)?;
    let refused = control.settings().proxies.refused() as f64;
    counter(
        &registry,
        "crosspoint_proxy_headers_refused_total",
        "Connections of proxies closed: no good PROXY header.",
        refused,
    )?;
    registry.register(Box::new(control.metrics().requests.clone()))?;
    process(&registry, control.metrics().started)?;
    let mut text = Vec::new();
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

/// What has a cause, or differs by shard (the busiest one is the limit).
fn labelled(registry: &Registry, shards: &[Stats]) -> prometheus::Result<()> {
    let vector = |name, help, label| CounterVec::new(Opts::new(name, help), &[label]);
    let ended = vector("crosspoint_sessions_ended_total", "Sessions ended, by reason.", "reason")?;
    let failed = vector("crosspoint_sessions_failed_total", "Sessions that failed, by what failed.", "reason")?;
    let dropped =
        vector("crosspoint_packets_dropped_total", "Packets not forwarded to a viewer, by reason.", "reason")?;
    let busy = vector("crosspoint_shard_busy_seconds_total", "Time a shard spent working, by shard.", "shard")?;
    for (index, shard) in shards.iter().enumerate() {
        for (reason, count) in &shard.sessions_ended {
            ended.with_label_values(&[label(reason)]).inc_by(*count as f64);
        }
        for (reason, count) in Failure::ALL.iter().zip(shard.sessions_failed) {
            failed.with_label_values(&[label(reason)]).inc_by(count as f64);
        }
        for (reason, count) in DropReason::ALL.iter().zip(shard.packets_dropped) {
            dropped.with_label_values(&[reason.label()]).inc_by(count as f64);
        }
        busy.with_label_values(&[&index.to_string()]).inc_by(shard.io.busy_ns as f64 / 1e9);
    }
    relay(registry, shards)?;
    register(registry, ended)?;
    register(registry, failed)?;
    register(registry, dropped)?;
    register(registry, busy)
}

/// What the TURN server refused and dropped.
fn relay(registry: &Registry, shards: &[Stats]) -> prometheus::Result<()> {
    let vector = |name, help, label| CounterVec::new(Opts::new(name, help), &[label]);
    let refused = vector("crosspoint_turn_refused_total", "STUN and TURN requests refused, by error code.", "code")?;
    let dropped = vector("crosspoint_turn_dropped_total", "Datagrams not relayed, by reason.", "reason")?;
    for shard in shards {
        for (code, count) in &shard.turn.refused {
            refused.with_label_values(&[code.to_string()]).inc_by(*count as f64);
        }
        for (reason, count) in turn::Drop::ALL.iter().zip(shard.turn.dropped) {
            dropped.with_label_values(&[reason.label()]).inc_by(count as f64);
        }
    }
    register(registry, refused)?;
    register(registry, dropped)
}

/// The value of the `reason` label: as in session reports.
fn label(reason: &impl serde::Serialize) -> String {
    serde_json::to_value(reason).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Metrics of the process, under the names Prometheus' own client libraries use. What the system does not tell is left
/// out.
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
