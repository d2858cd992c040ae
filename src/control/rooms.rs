//! `GET /rooms/{room}/ws`: a member's WebSocket. Text frames of JSON go to the shard of its room as requests, and what
//! the shard says comes back, in one order.
//!
//! Here are the connection's own concerns: who may open one, sizes, pings, readers that are too slow. What messages
//! mean is `sfu::conference`'s business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message as Frame, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant as TokioInstant, MissedTickBehavior, timeout};

use super::auth::Permit;
use super::cors::{self, Origins};
use super::headers::check_name;
use super::links;
use super::listen::Place;
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::sessions::Session;
use super::{Caller, Control, mint, shard_index};
use crate::sfu::command::{Command, CommandError, Link, Parting, Reply, SessionId};
use crate::sfu::conference::{Enter, MAX_MESSAGE};
use crate::sfu::signal::{self, CloseReason, Envelope, ErrorCode, Event, Failure, JoinRequest, Message, Request};

/// The subprotocol clients ask for.
const PROTOCOL: &str = "crosspoint.v1";

/// How long a connection may stay without a `join`.
const JOIN_WITHIN: Duration = Duration::from_secs(15);

/// Bytes of a member's connection read at once. Larger costs each member that memory for as long as it is there,
/// smaller takes more reads for an offer.
const READ_BUFFER: usize = 4096;

/// How often a client is pinged. Proxies drop connections that are idle for a minute.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Silence after which a connection counts as lost: two pings unanswered. Larger: a lost one keeps its place as active
/// longer; smaller: a slow line is given up.
const SILENT_AFTER: Duration = Duration::from_secs(35);

/// How long one message may take on its way into the socket, and the last one of all.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Joins tried in vain on one connection before it is closed.
const MAX_ATTEMPTS: u32 = 5;

/// Take part in a room (WebSocket, subprotocol `crosspoint.v1`; the messages are declared in `/signalling.d.ts`)
#[utoipa::path(get, path = "/rooms/{room}/ws", tag = "rooms",
    responses(
        (status = 101, description = "The connection is a WebSocket now; say `join`"),
        (status = 400, body = ProblemBody, description = "Not a WebSocket handshake, or an impossible name"),
        (status = 401, body = ProblemBody, description = "No key or token, or an unknown one"),
        (status = 403, body = ProblemBody,
            description = "The key or token is not for this room, or the page of another site"),
        (status = 429, body = ProblemBody, description = "Too many connections; `Retry-After`"),
        (status = 503, body = ProblemBody, description = "The server is stopping; `Retry-After`")))]
pub(super) async fn connect(
    State(control): State<Control>,
    permit: Permit,
    caller: Caller,
    Path(room): Path<String>,
    headers: HeaderMap,
    place: Option<Extension<Place>>,
    upgrade: Result<WebSocketUpgrade, axum::extract::ws::rejection::WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    check_name("room", &room)?;
    let permissions = permit.permissions(&room)?;
    check_origin(&control.settings().allowed_origins, &headers)?;
    if let Some(address) = caller.0
        && !address.is_loopback()
        && let Err(wait) = control.0.rates.admit(address, Instant::now())
    {
        let detail = "too many requests from this address; slow down";
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(wait));
    }
    if control.stopping().is_cancelled() {
        return Err(Problem::unavailable("the server is shutting down"));
    }
    let upgrade =
        upgrade.map_err(|_| Problem::bad_request("this is a WebSocket: open it with `new WebSocket(...)`"))?;
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(MAX_MESSAGE).max_frame_size(MAX_MESSAGE);
    let upgrade = upgrade.read_buffer_size(READ_BUFFER);
    let place = place.map(|Extension(place)| place);
    let guest = Guest { control, permit, permissions, caller, room: room.into(), place };
    Ok(upgrade.on_upgrade(move |socket| guest.serve(socket)))
}

/// Pages of other sites may not open connections in their visitors' names, unless the configuration says so.
fn check_origin(allowed: &Origins, headers: &HeaderMap) -> Result<(), Problem> {
    if matches!(allowed, Origins::Any) || cors::is_trusted(allowed, headers) {
        return Ok(());
    }
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    let detail = format!("pages of {origin:.100} may not use this server; see http.allowed_origins");
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Somebody with a connection who has not joined yet.
struct Guest {
    control: Control,
    permit: Permit,
    permissions: signal::Permissions,
    caller: Caller,
    room: Arc<str>,
    /// Among the connections of HTTP, until the session's own limit counts.
    place: Option<Place>,
}

/// A member's connection.
struct Connection {
    control: Control,
    socket: WebSocket,
    queue: mpsc::Receiver<Utf8Bytes>,
    link: Link,
    session: SessionId,
    shard: usize,
}

/// Why a connection ends, when it is not the shard's decision.
enum End {
    /// The client closed it, or it broke.
    Gone,
    /// The client's page was closed or is loaded anew, says its browser.
    PageLeft,
    /// The shard has said its last word.
    Said,
    /// Closed by this side for a reason.
    Because(CloseReason, &'static str),
}

impl Guest {
    /// Waits for a `join` that is accepted, then serves the member.
    async fn serve(self, mut socket: WebSocket) {
        for _ in 0..MAX_ATTEMPTS {
            let Ok(Some(Ok(frame))) = timeout(JOIN_WITHIN, socket.recv()).await else { break };
            let answer = match envelope(&frame) {
                None => continue,
                Some(Err((id, error))) => Message::Refusal { id, error },
                Some(Ok(Envelope { id, request: Request::Join(request) })) => match self.join(id, request).await {
                    Ok((link, queue, session, shard)) => {
                        let control = self.control;
                        drop(self.place);
                        return Connection { control, socket, queue, link, session, shard }.serve().await;
                    }
                    Err(error) => Message::Refusal { id: Some(id), error },
                },
                Some(Ok(Envelope { id, request: Request::Ping(nothing) })) => {
                    Message::Reply { id, result: Box::new(signal::Response::Nothing(nothing)) }
                }
                Some(Ok(Envelope { id, .. })) => {
                    let error = Failure::new(ErrorCode::NotJoined, "say `join` first");
                    Message::Refusal { id: Some(id), error }
                }
            };
            if !send(&mut socket, links::write(&answer)).await {
                return;
            }
        }
        close(&mut socket, CloseReason::Timeout, "no `join` was accepted on this connection").await;
    }

    /// Takes a place up again, or a new one.
    async fn join(
        &self,
        id: u64,
        request: Box<JoinRequest>,
    ) -> Result<(Link, mpsc::Receiver<Utf8Bytes>, SessionId, usize), Failure> {
        let earlier = request.resume.as_ref().and_then(|resume| resume.session.parse().ok());
        let earlier = earlier.and_then(|session| self.control.sessions().find(session));
        if let Some(earlier) = earlier.filter(|earlier| !earlier.ended && earlier.room == self.room) {
            let (link, queue) = self.control.links().open();
            let enter = self.enter(id, link, &earlier, request.clone());
            match self.ask(earlier.shard, enter).await {
                Ok(()) => return Ok((link, queue, earlier.id, earlier.shard)),
                Err(failure) => {
                    self.control.links().close(link);
                    if failure.code != ErrorCode::NotFound {
                        return Err(failure);
                    }
                }
            }
        }
        // What cannot be resumed is joined anew: the reply says so.
        self.join_anew(id, Box::new(JoinRequest { resume: None, ..*request })).await
    }

    async fn join_anew(
        &self,
        id: u64,
        request: Box<JoinRequest>,
    ) -> Result<(Link, mpsc::Receiver<Utf8Bytes>, SessionId, usize), Failure> {
        if let Some(refusal) = self.permit.refusal() {
            return Err(Failure::new(ErrorCode::Forbidden, refusal));
        }
        let session = mint().map_err(|problem| Failure::new(ErrorCode::Internal, problem.detail()))?;
        let owner = self.permit.credential;
        let Ok(opened) = self.control.sessions().open(session, &self.room, false, owner, Instant::now()) else {
            let message = "the server is full (limits.sessions); try again later";
            return Err(Failure::new(ErrorCode::ServerFull, message));
        };
        let (link, queue) = self.control.links().open();
        let enter = self.enter(id, link, &opened, request);
        // Runs to its end even when the caller hangs up, so that shard and control never disagree.
        let asked = match self.control.prepare(&opened).await {
            Ok(_) => self.ask(opened.shard, enter).await,
            Err(problem) => Err(Failure::new(ErrorCode::Internal, problem.detail())),
        };
        if let Err(failure) = asked {
            self.control.links().close(link);
            self.control.sessions().abandon(session);
            return Err(failure);
        }
        Ok((link, queue, session, opened.shard))
    }

    fn enter(&self, id: u64, link: Link, session: &Session, mut request: Box<JoinRequest>) -> Enter {
        self.permit.introduce(&mut request);
        let servers = self.control.ice_servers(session.id, self.caller.0);
        Enter {
            session: session.id,
            home: shard_index(session.home),
            link,
            id,
            room: Arc::clone(&self.room),
            credential: self.permit.credential,
            identity: self.permit.identity.clone(),
            permissions: self.permissions,
            expired: self.permit.refusal().is_some(),
            caller: self.caller.0,
            ice_servers: servers.into_iter().map(ice_server).collect(),
            request,
        }
    }

    async fn ask(&self, shard: usize, enter: Enter) -> Result<(), Failure> {
        match self.control.ask_patiently(shard, Command::Enter(Box::new(enter))).await {
            Ok(Reply::Refused(failure)) => Err(failure),
            Ok(_) => Ok(()),
            Err(problem) => Err(Failure::new(ErrorCode::Internal, problem.detail())),
        }
    }
}

impl Connection {
    async fn serve(mut self) {
        let end = self.run().await;
        self.control.links().close(self.link);
        if let End::Because(reason, message) = end {
            close(&mut self.socket, reason, message).await;
        } else if let End::Said = end {
            let _ = timeout(WRITE_TIMEOUT, self.socket.send(Frame::Close(None))).await;
        }
        let parting = if matches!(end, End::PageLeft) { Parting::PageLeft } else { Parting::Lost };
        let unlinked = Command::Unlinked { session: self.session, link: self.link, parting };
        // A session that has ended meanwhile is as good as told.
        let _ = self.control.ask_patiently(self.shard, unlinked).await;
    }

    async fn run(&mut self) -> End {
        let mut pings = tokio::time::interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = TokioInstant::now();
        loop {
            tokio::select! {
                biased;
                queued = self.queue.recv() => {
                    let Some(text) = queued else {
                        return End::Because(CloseReason::SlowReader, "messages were read too slowly");
                    };
                    let last = is_last(&text);
                    if !send(&mut self.socket, text).await {
                        return End::Because(CloseReason::SlowReader, "messages were read too slowly");
                    }
                    if last {
                        return End::Said;
                    }
                }
                received = self.socket.recv() => {
                    let Some(Ok(frame)) = received else { return End::Gone };
                    if is_page_left(&frame) {
                        return End::PageLeft;
                    }
                    heard = TokioInstant::now();
                    if let Some(envelope) = envelope(&frame)
                        && let Some(end) = self.pass_on(envelope).await
                    {
                        return end;
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() > SILENT_AFTER {
                        return End::Because(CloseReason::Timeout, "nothing was heard from you");
                    }
                    if !matches!(timeout(WRITE_TIMEOUT, self.socket.send(Frame::Ping("".into()))).await, Ok(Ok(()))) {
                        return End::Gone;
                    }
                }
            }
        }
    }

    /// Hands a request to the shard, whose answer comes through the queue.
    async fn pass_on(&mut self, envelope: Result<Envelope, (Option<u64>, Failure)>) -> Option<End> {
        let (id, error) = match envelope {
            Err(refused) => refused,
            Ok(Envelope { id, request }) => {
                let (session, link) = (self.session, self.link);
                let command = Command::Request { session, link, id, request: Box::new(request) };
                match self.control.ask_patiently(self.shard, command).await {
                    Ok(_) => return None,
                    Err(problem) if problem.status() == StatusCode::NOT_FOUND => {
                        (Some(id), CommandError::UnknownSession.into())
                    }
                    Err(problem) => (Some(id), Failure::new(ErrorCode::Internal, problem.detail())),
                }
            }
        };
        let sent = send(&mut self.socket, links::write(&Message::Refusal { id, error })).await;
        (!sent).then_some(End::Gone)
    }
}

/// The request in a frame; `None` for pings and the like.
fn envelope(frame: &Frame) -> Option<Result<Envelope, (Option<u64>, Failure)>> {
    match frame {
        Frame::Text(text) => Some(Envelope::parse(text)),
        Frame::Binary(_) => {
            Some(Err((None, Failure::new(ErrorCode::BadRequest, "send JSON in text frames, not in binary ones"))))
        }
        Frame::Ping(_) | Frame::Pong(_) | Frame::Close(_) => None,
    }
}

/// Browsers close the sockets of a page that is left as going away (RFC 6455 section 7.4.1). One without a network
/// closes nothing.
fn is_page_left(frame: &Frame) -> bool {
    matches!(frame, Frame::Close(Some(CloseFrame { code: close_code::AWAY, .. })))
}

/// `closed` is the last message of all.
fn is_last(text: &Utf8Bytes) -> bool {
    text.starts_with(r#"{"event":"closed""#)
}

async fn send(socket: &mut WebSocket, text: Utf8Bytes) -> bool {
    matches!(timeout(WRITE_TIMEOUT, socket.send(Frame::Text(text))).await, Ok(Ok(())))
}

async fn close(socket: &mut WebSocket, reason: CloseReason, message: &str) {
    let event = Event::Closed { reason, message: message.to_owned() };
    if send(socket, links::write(&Message::Event(Box::new(event)))).await {
        let frame = CloseFrame { code: close_code::POLICY, reason: Utf8Bytes::from(message) };
        let _ = timeout(WRITE_TIMEOUT, socket.send(Frame::Close(Some(frame)))).await;
    }
}

fn ice_server(server: super::IceServer) -> signal::IceServer {
    let super::IceServer { urls, username, credential, peers_only } = server;
    signal::IceServer { urls, username, credential, peers_only }
}
