//! Cross-origin access (the Fetch standard's CORS protocol): browsers on other sites may use WHIP, WHEP and the API.
//!
//! Written here because tower-http's layer answers every OPTIONS itself, and RFC 9725 section 4.2 wants `Accept-Post`
//! on it. Credentials are bearer tokens, never cookies, so `*` is safe.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Control;

/// Headers that scripts of other origins may read.
const EXPOSED: HeaderValue =
    HeaderValue::from_static("Location, ETag, Link, Accept-Post, Accept-Patch, Retry-After, WWW-Authenticate");
const METHODS: HeaderValue = HeaderValue::from_static("OPTIONS, GET, HEAD, POST, PATCH, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type, If-Match");
/// How long a browser may remember a preflight, in seconds; Chromium caps it at two hours. Larger: fewer round trips;
/// smaller: a changed configuration shows sooner.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Web origins whose pages may call this server.
#[derive(Debug, Clone)]
pub enum Origins {
    /// All.
    Any,
    /// These, each as a browser writes it: `https://example.org`, no trailing slash.
    Only(Vec<String>),
}

impl Origins {
    /// From the configuration's list, in which `*` means all.
    #[must_use]
    pub fn of(list: &[String]) -> Self {
        if list.iter().any(|origin| origin == "*") { Self::Any } else { Self::Only(list.to_vec()) }
    }
}

/// Whether this is a preflight rather than a plain OPTIONS.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The middleware. Also makes OPTIONS work on every path that exists.
pub(super) async fn share(State(control): State<Control>, request: Request, next: Next) -> Response {
    let options = request.method() == Method::OPTIONS;
    let preflight = is_preflight(request.method(), request.headers());
    let allowed = allow_origin(&control.settings().allowed_origins, request.headers());
    let mut response = next.run(request).await;
    if options && response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = StatusCode::OK.into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    if matches!(control.settings().allowed_origins, Origins::Only(_)) {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        if preflight {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
    }
    response
}

/// Whether the request may act in the name of who sits at this browser: it comes from no page, from one of this server,
/// or from one that the configuration names. `*` names nobody.
pub(super) fn is_trusted(allowed: &Origins, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    let Some(origin) = headers.get(header::ORIGIN) else { return true };
    let origin = origin.to_str().unwrap_or_default();
    let own = origin.split_once("://").is_some_and(|(_, host)| Some(host) == text(header::HOST));
    own || matches!(allowed, Origins::Only(origins) if origins.iter().any(|allowed| allowed == origin))
}

fn allow_origin(allowed: &Origins, headers: &HeaderMap) -> Option<HeaderValue> {
    match allowed {
        Origins::Any => Some(HeaderValue::from_static("*")),
        Origins::Only(origins) => {
            let origin = headers.get(header::ORIGIN)?;
            origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
        }
    }
}
