//! The session URL: DELETE ends it, PATCH trickles candidates, restarts ICE or answers a counter-offer (RFC 9725
//! sections 4.2 and 4.3, draft-ietf-wish-whep section 4.2), GET says that it exists.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Control;
use super::auth::Permit;
use super::headers::{ACCEPT_PATCH, Precondition, SDP, SDP_FRAGMENT, entity_tag, if_match, media_type, read_text, set};
use super::path::Path;
use super::problem::{Problem, ProblemBody};
use super::sessions::Session;
use crate::sfu::command::{Command, EndReason, ExpectedIce, Reply};

/// The session exists: 204
#[utoipa::path(get, path = "/sessions/{session}", tag = "session",
    responses((status = 204), (status = 404, body = ProblemBody)))]
pub(super) async fn exists(State(control): State<Control>, Path(session): Path<String>) -> Result<StatusCode, Problem> {
    living(&control, &session)?;
    Ok(StatusCode::NO_CONTENT)
}

/// End the session
///
/// 200 rather than 204: OBS and Meetecho's clients take anything else for a failure. `If-Match` is ignored.
#[utoipa::path(delete, path = "/sessions/{session}", tag = "session",
    responses((status = 200), (status = "4XX", body = ProblemBody), (status = 503, body = ProblemBody)))]
pub(super) async fn end(
    State(control): State<Control>,
    permit: Permit,
    Path(session): Path<String>,
) -> Result<StatusCode, Problem> {
    let known = session.parse().ok().and_then(|id| control.sessions().find(id));
    if let Some(closed) = known.filter(|session| session.awaits_delete) {
        permit.require_owner(&closed)?;
        if control.sessions().take_late_delete(closed.id) {
            return Ok(StatusCode::OK);
        }
    }
    let session = owned(&control, &permit, &session)?;
    deleted(leave(&control, &session, EndReason::Deleted).await)
}

/// A client that closes its connection first may be quicker than the news of that: its session was there when it asked,
/// and is gone when the shard hears of it. That is what was asked for.
fn deleted(ended: Result<StatusCode, Problem>) -> Result<StatusCode, Problem> {
    match ended {
        Err(problem) if problem.status() == StatusCode::NOT_FOUND => Ok(StatusCode::OK),
        ended => ended,
    }
}

/// Trickle candidates, restart ICE, or answer a counter-offer
#[utoipa::path(patch, path = "/sessions/{session}", tag = "session",
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag",
        description = "Candidates, or new ICE credentials; application/sdp answers a counter-offer"),
    params(("If-Match" = Option<String>, Header, description = "ETag of the last answer; `*` to restart ICE")),
    responses(
        (status = 200, description = "ICE restarted; new `ETag`", body = String,
            content_type = "application/trickle-ice-sdpfrag"),
        (status = 204, description = "Candidates (or the answer) taken"),
        (status = 409, body = ProblemBody, description = "No counter-offer waits for an answer"),
        (status = 412, body = ProblemBody, description = "`If-Match` is out of date"),
        (status = 415, body = ProblemBody, description = "Neither media type"),
        (status = 428, body = ProblemBody, description = "No `If-Match`"),
        (status = "4XX", body = ProblemBody),
        (status = 503, body = ProblemBody)))]
pub(super) async fn patch(
    State(control): State<Control>,
    permit: Permit,
    Path(session): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let session = owned(&control, &permit, &session)?;
    match media_type(&headers).as_deref() {
        Some(SDP_FRAGMENT) => {
            let expected = expected(&headers)?;
            let fragment = read_text(body, control.settings().offer_bytes).await?;
            let command = Command::Patch { session: session.id, expected, fragment };
            trickled(forward(&control, &session, command).await?)
        }
        // A publisher's offer is final (RFC 9725 section 4.2): there is never a counter-offer to answer.
        Some(SDP) if !session.publishes => {
            let answer = read_text(body, control.settings().offer_bytes).await?;
            match forward(&control, &session, Command::Answer { session: session.id, answer }).await? {
                Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
                other => Err(Problem::unexpected(&other)),
            }
        }
        _ => {
            let detail = format!("send candidates with `Content-Type: {SDP_FRAGMENT}`");
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).with_header(ACCEPT_PATCH, SDP_FRAGMENT))
        }
    }
}

/// What this session takes
#[utoipa::path(options, path = "/sessions/{session}", tag = "session", params(("session" = String, Path)),
    responses((status = 200)))]
pub(super) async fn options() -> impl IntoResponse {
    [(ACCEPT_PATCH, SDP_FRAGMENT), (header::ALLOW, "OPTIONS, GET, HEAD, PATCH, DELETE")]
}

/// The living session a URL names.
pub(super) fn living(control: &Control, session: &str) -> Result<Session, Problem> {
    let known = session.parse().ok().and_then(|id| control.sessions().find(id));
    known.filter(|session| !session.ended).ok_or_else(Problem::unknown_session)
}

/// The same, if the caller may touch it (RFC 9725 section 5: a token is not good for somebody else's session).
pub(super) fn owned(control: &Control, permit: &Permit, session: &str) -> Result<Session, Problem> {
    let session = living(control, session)?;
    permit.require_owner(&session)?;
    Ok(session)
}

/// Sends a session's shard a command about it. When the shard no longer knows the session, neither does this side.
pub(super) async fn forward(control: &Control, session: &Session, command: Command) -> Result<Reply, Problem> {
    let reply = control.ask(session.shard, command).await;
    if matches!(&reply, Err(problem) if problem.status() == StatusCode::NOT_FOUND) {
        control.sessions().close(session.id);
    }
    reply
}

/// Ends a session on its shard and here, without waiting for the event that says so.
pub(super) async fn leave(control: &Control, session: &Session, reason: EndReason) -> Result<StatusCode, Problem> {
    match forward(control, session, Command::Leave { session: session.id, reason }).await? {
        Reply::Done => {
            control.sessions().close(session.id);
            Ok(StatusCode::OK)
        }
        other => Err(Problem::unexpected(&other)),
    }
}

fn expected(headers: &HeaderMap) -> Result<ExpectedIce, Problem> {
    match if_match(headers) {
        Precondition::Expected(expected) => Ok(expected),
        Precondition::Missing => Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "send `If-Match` with the ETag of the last answer, or `*` to restart ICE",
        )),
        Precondition::Unmatchable => Err(Problem::new(
            StatusCode::PRECONDITION_FAILED,
            "`If-Match` holds no ETag of this session; send the one of the last answer, quotes included",
        )),
    }
}

/// A trickle is answered without a body and without an ETag, a restart with both (RFC 9725 section 4.3).
fn trickled(reply: Reply) -> Result<Response, Problem> {
    match reply {
        Reply::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        Reply::Restarted { fragment, generation } => {
            let mut response = ([(header::CONTENT_TYPE, SDP_FRAGMENT)], fragment).into_response();
            set(response.headers_mut(), header::ETAG, &entity_tag(generation));
            Ok(response)
        }
        other => Err(Problem::unexpected(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_while_it_was_being_deleted_is_deleted() {
        let busy = || Problem::unavailable("the shard is busy");
        let status = |ended| deleted(ended).map_err(|problem| problem.status());
        assert_eq!(status(Ok(StatusCode::OK)), Ok(StatusCode::OK));
        assert_eq!(status(Err(Problem::unknown_session())), Ok(StatusCode::OK));
        assert_eq!(status(Err(busy())), Err(StatusCode::SERVICE_UNAVAILABLE));
    }
}
