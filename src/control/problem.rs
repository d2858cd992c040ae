//! Error bodies: `application/problem+json` (RFC 9457), one type for the whole HTTP surface.
//!
//! The `detail` is a sentence for the person who sent the request and says what to do. Which command errors become
//! which status is decided here too, in one table. No machine-readable problem types: RFC 9725 section 4.1 forbids
//! clients to tell causes apart by them.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::sfu::command::{CommandError, Reply};
use crate::sfu::negotiate::DescriptionError;
use crate::shard::AskError;

/// When a caller told to come back later should do so, where the cause does not say. Larger: people wait for a server
/// that is free again; smaller: a full server hears from everybody more often.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// An error response. Built by one of the constructors, refined by the `with_` methods.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of an error response.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(super) struct ProblemBody {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong and what to do.
    detail: String,
}

impl Problem {
    /// A problem with this status and explanation.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), headers: Vec::new() }
    }

    /// 400.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 404 for a session URL.
    pub(super) fn unknown_session() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no such session: it has ended, or the URL is not one this server gave out")
    }

    /// 503.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
    }

    /// 500: a reply that does not belong to the command. Only a defect of this program leads here.
    pub(super) fn unexpected(reply: &Reply) -> Self {
        tracing::error!(?reply, "a shard gave a reply that does not belong to the command");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server made a mistake; its log says more")
    }

    /// Its HTTP status.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong and what to do.
    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    /// The same with one more header. A value no header can hold is left out.
    pub(super) fn with_header(mut self, name: HeaderName, value: impl TryInto<HeaderValue>) -> Self {
        if let Ok(value) = value.try_into() {
            self.headers.push((name, value));
        }
        self
    }

    /// The same with `Retry-After`, in whole seconds, at least one.
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_millis().div_ceil(1000).max(1);
        self.with_header(header::RETRY_AFTER, seconds.to_string())
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::Description(DescriptionError::Malformed(_)) => Self::bad_request(detail),
            CommandError::Description(DescriptionError::Unacceptable(_)) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
            }
            CommandError::RoomTaken { .. } => Self::new(StatusCode::CONFLICT, detail).retry_after(RETRY_AFTER),
            CommandError::RoomForTwo { .. } => Self::new(StatusCode::FORBIDDEN, detail),
            CommandError::NothingPublished { retry_after, .. } => {
                Self::new(StatusCode::CONFLICT, detail).retry_after(retry_after)
            }
            CommandError::Full { .. } | CommandError::ShuttingDown => Self::unavailable(detail),
            CommandError::UnknownSession => Self::unknown_session(),
            CommandError::UnknownRoom { .. } => Self::new(StatusCode::NOT_FOUND, detail),
            CommandError::TooLong { .. } => Self::new(StatusCode::PAYLOAD_TOO_LARGE, detail),
            CommandError::StaleGeneration { .. } => Self::new(StatusCode::PRECONDITION_FAILED, detail),
            CommandError::NotExpectingAnswer => Self::new(StatusCode::CONFLICT, detail),
            CommandError::UnknownLayer { .. } => Self::bad_request(detail),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or("Error");
        let body = ProblemBody { kind: "about:blank", title, status: self.status.as_u16(), detail: self.detail };
        let mut response = (self.status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_error_has_the_status_its_rule_asks_for() {
        let rows = [
            (DescriptionError::Malformed("x".into()).into(), 400, None),
            (DescriptionError::Unacceptable("x".into()).into(), 422, None),
            (CommandError::RoomTaken { room: "r".into(), silent_for: None }, 409, Some("2")),
            (CommandError::RoomForTwo { room: "r".into() }, 403, None),
            (
                CommandError::NothingPublished { room: "r".into(), retry_after: Duration::from_millis(4001) },
                409,
                Some("5"),
            ),
            (CommandError::Full { limit: "x".into() }, 503, Some("2")),
            (CommandError::ShuttingDown, 503, Some("2")),
            (CommandError::UnknownSession, 404, None),
            (CommandError::StaleGeneration { current: 3 }, 412, None),
            (CommandError::NotExpectingAnswer, 409, None),
            (CommandError::UnknownLayer { what: "x".into() }, 400, None),
        ];
        for (error, status, retry_after) in rows {
            let name = format!("{error:?}");
            let response = Problem::from(error).into_response();
            assert_eq!(response.status(), status, "{name}");
            let header = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after, "{name}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        }
    }
}
