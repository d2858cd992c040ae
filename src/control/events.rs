//! Server-sent events of a session (draft-ietf-wish-whep's events extension): active, inactive, layers, viewercount.
//!
//! A client POSTs the list of events it wants and gets the URL of a stream, whose last segment is a secret of its own.
//! A GET on the collection itself streams everything in the shape of the first drafts, which is what Broadcast Box's
//! player does. Events carry state, not history: a reader that falls behind sees the latest.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream as EventStream};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::auth::Permit;
use super::headers::read_text;
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::sessions::{Refused, Stream, View};
use super::{Control, mint, session};
use crate::sfu::command::{LayerReport, SessionId};

/// Event streams a session may have, and readers of all of them together. Larger: more connections per viewer;
/// smaller: a page that reloads before its old connection is noticed dead finds no room.
const STREAMS: usize = 8;

/// Longest list of events in bytes.
const LIST_BYTES: usize = 4096;

/// Silence after which a comment is sent, so that proxies keep the connection (most give up after 60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Has nginx, and proxies that follow it, pass each event on at once instead of gathering a page of them.
const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");

/// An event a client can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventName {
    /// What is watched is published. Data: `{}`.
    Active,
    /// It is no longer. Data: `{}`.
    Inactive,
    /// The layers of each m-line. Data: `{"1": [{"rid": "h", ...}]}`.
    Layers,
    /// What is wrong with what is published, a sentence each. Data: `{"warnings": ["..."]}`.
    Warnings,
    /// How many watch the room. Data: `{"viewercount": 3}`.
    ViewerCount,
}

impl EventName {
    pub(super) const ALL: [Self; 5] = [Self::Active, Self::Inactive, Self::Layers, Self::Warnings, Self::ViewerCount];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::Warnings => "warnings",
            Self::ViewerCount => "viewercount",
        }
    }
}

/// Ask for a stream of events
#[utoipa::path(post, path = "/sessions/{session}/events", tag = "events",
    request_body(content = Vec<EventName>, description = "The events wanted; all of them when there is no body"),
    responses(
        (status = 201, description = "`Location` is the stream, for an `EventSource`"),
        (status = 400, body = ProblemBody, description = "An event this server does not have"),
        (status = "4XX", body = ProblemBody)))]
pub(super) async fn subscribe(
    State(control): State<Control>,
    permit: Permit,
    Path(session): Path<String>,
    body: Body,
) -> Result<Response, Problem> {
    let session = session::owned(&control, &permit, &session)?;
    let events = wanted(&read_text(body, LIST_BYTES).await?)?;
    let secret = mint()?;
    let stream = Stream { secret, events, stop: Arc::default() };
    control.sessions().add_stream(session.id, stream, STREAMS).map_err(refused)?;
    let location = format!("/sessions/{}/events/{secret}", session.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// Every event of the session, in the shape of the extension's first drafts
#[utoipa::path(get, path = "/sessions/{session}/events", tag = "events",
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = ProblemBody)))]
pub(super) async fn watch_all(
    State(control): State<Control>,
    Path(session): Path<String>,
) -> Result<Response, Problem> {
    let session = session::living(&control, &session)?;
    open(&control, session.id, EventName::ALL.into(), Dialect::FirstDrafts, Arc::default())
}

/// A stream of events
#[utoipa::path(get, path = "/sessions/{session}/events/{stream}", tag = "events",
    responses((status = 200, content_type = "text/event-stream", body = String), (status = 404, body = ProblemBody)))]
pub(super) async fn watch(
    State(control): State<Control>,
    Path((session, secret)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let session = session::living(&control, &session)?;
    let known = secret.parse().ok().and_then(|secret| control.sessions().stream(session.id, secret));
    let Stream { events, stop, .. } = known.ok_or_else(unknown_stream)?;
    open(&control, session.id, events, Dialect::Current, stop)
}

/// End a stream of events
#[utoipa::path(delete, path = "/sessions/{session}/events/{stream}", tag = "events",
    responses((status = 200), (status = 404, body = ProblemBody)))]
pub(super) async fn unsubscribe(
    State(control): State<Control>,
    Path((session, secret)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let session = session::living(&control, &session)?;
    let removed = secret.parse().is_ok_and(|secret| control.sessions().remove_stream(session.id, secret));
    if removed { Ok(StatusCode::OK) } else { Err(unknown_stream()) }
}

/// The shape of the `layers` event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    /// `{"1": [{"rid": "h"}]}`
    Current,
    /// `{"1": {"layers": [{"encodingId": "h"}]}}`
    FirstDrafts,
}

/// The events a request body asks for. An event this server does not have refuses the whole list, as the draft demands.
fn wanted(body: &str) -> Result<Vec<EventName>, Problem> {
    if body.trim().is_empty() {
        return Ok(EventName::ALL.into());
    }
    serde_json::from_str(body).map_err(|_| {
        let names = EventName::ALL.map(EventName::as_str).join("\", \"");
        Problem::bad_request(format!("send a JSON list of events out of [\"{names}\"]"))
    })
}

fn open(
    control: &Control,
    session: SessionId,
    wanted: Vec<EventName>,
    dialect: Dialect,
    stop: Arc<CancellationToken>,
) -> Result<Response, Problem> {
    let view = control.sessions().watch(session, STREAMS).map_err(refused)?;
    let follower = Follower { view, sent: View::default(), queue: VecDeque::new(), wanted, dialect };
    let events = Sse::new(follower.events(stop, control.stopping().clone()));
    let events = events.keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    Ok(([(UNBUFFERED, "no")], events).into_response())
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Gone => Problem::unknown_session(),
        Refused::Full => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            format!("this session has {STREAMS} event streams already; close one first"),
        )
        .retry_after(KEEP_ALIVE),
    }
}

fn unknown_stream() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such event stream; POST to the session's /events for a new one")
}

/// Turns the changes of a session's view into events for one reader.
struct Follower {
    view: watch::Receiver<View>,
    sent: View,
    queue: VecDeque<Event>,
    wanted: Vec<EventName>,
    dialect: Dialect,
}

impl Follower {
    /// Events until the session ends, the stream is deleted or the server stops.
    fn events(
        self,
        stop: Arc<CancellationToken>,
        stopping: CancellationToken,
    ) -> impl EventStream<Item = Result<Event, Infallible>> {
        stream::unfold((self, stop, stopping), |(mut follower, stop, stopping)| async move {
            let event = tokio::select! {
                event = follower.next() => event,
                () = stop.cancelled() => None,
                () = stopping.cancelled() => None,
            };
            event.map(|event| (Ok(event), (follower, stop, stopping)))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let view = self.view.borrow_and_update().clone();
            if view.ended {
                return None;
            }
            self.queue = changes(&self.sent, &view)
                .into_iter()
                .filter(|name| self.wanted.contains(name))
                .map(|name| Event::default().event(name.as_str()).data(data(name, &view, self.dialect).to_string()))
                .collect();
            self.sent = view;
            if self.queue.is_empty() {
                self.view.changed().await.ok()?;
            }
        }
    }
}

/// What a reader who knows `sent` has to be told about `view`. Nothing published is where every reader starts, so
/// `inactive` never comes first.
fn changes(sent: &View, view: &View) -> Vec<EventName> {
    let mut changes = Vec::new();
    if sent.active != view.active {
        changes.push(if view.active { EventName::Active } else { EventName::Inactive });
    }
    if sent.layers != view.layers {
        changes.push(EventName::Layers);
    }
    if sent.warnings != view.warnings {
        changes.push(EventName::Warnings);
    }
    if sent.viewers != view.viewers {
        changes.push(EventName::ViewerCount);
    }
    changes
}

fn data(name: EventName, view: &View, dialect: Dialect) -> Value {
    match name {
        EventName::Active | EventName::Inactive => json!({}),
        EventName::Warnings => json!({ "warnings": view.warnings }),
        EventName::ViewerCount => json!({ "viewercount": view.viewers.unwrap_or(0) }),
        EventName::Layers => {
            let each = view.layers.iter().map(|media| {
                let layers: Vec<Value> = media.layers.iter().map(layer).collect();
                let value = match dialect {
                    Dialect::Current => json!(layers),
                    Dialect::FirstDrafts => json!({ "layers": layers }),
                };
                (media.media.to_string(), value)
            });
            Value::Object(each.collect())
        }
    }
}

/// A layer under the draft's names: `rid` is also the `encodingId` of the first drafts.
fn layer(report: &LayerReport) -> Value {
    let mut value = json!(report);
    if let Some(object) = value.as_object_mut() {
        if let Some(rid) = &report.rid {
            object.insert("encodingId".into(), json!(rid));
        }
        if let Some(spatial) = object.remove("spatial") {
            object.insert("spatialLayerId".into(), spatial);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sfu::command::MediaLayers;

    fn layers() -> Vec<MediaLayers> {
        let rid = Some("h".into());
        let size = (Some(640), None);
        let layer =
            LayerReport { rid, spatial: Some(1), bitrate: 9, width: size.0, height: size.1, live: true, wanted: None };
        vec![MediaLayers { media: 1, layers: vec![layer] }]
    }

    #[test]
    fn a_reader_is_told_what_changed_and_never_inactive_first() {
        let nothing = View::default();
        let active =
            View { active: true, layers: layers(), warnings: vec!["why".into()], viewers: Some(2), ended: false };
        let inactive = View { active: false, ..active.clone() };
        let rows = [
            (&nothing, &nothing, vec![]),
            (&nothing, &inactive, vec![EventName::Layers, EventName::Warnings, EventName::ViewerCount]),
            (
                &nothing,
                &active,
                vec![EventName::Active, EventName::Layers, EventName::Warnings, EventName::ViewerCount],
            ),
            (&active, &inactive, vec![EventName::Inactive]),
            (&active, &active, vec![]),
        ];
        for (sent, view, expected) in rows {
            assert_eq!(changes(sent, view), expected, "{sent:?} -> {view:?}");
        }
    }

    #[test]
    fn layers_are_told_in_both_dialects() {
        let view = View { layers: layers(), ..View::default() };
        let layer =
            json!({"rid": "h", "spatialLayerId": 1, "encodingId": "h", "bitrate": 9, "width": 640, "live": true});
        assert_eq!(data(EventName::Layers, &view, Dialect::Current), json!({"1": [layer]}));
        assert_eq!(data(EventName::Layers, &view, Dialect::FirstDrafts), json!({"1": {"layers": [layer]}}));
    }

    #[test]
    fn a_list_with_an_event_the_server_does_not_have_is_refused_whole() {
        let rows = [
            ("", Some(5)),
            (" \n", Some(5)),
            (r#"["active","layers"]"#, Some(2)),
            ("[]", Some(0)),
            (r#"["active","scte35"]"#, None),
            (r#"{"events":["active"]}"#, None),
            ("active", None),
        ];
        for (body, expected) in rows {
            assert_eq!(wanted(body).ok().map(|events| events.len()), expected, "{body}");
        }
    }
}
