//! The web pages, embedded in the binary: `/`, `/room/{room}`, `/publish/{room}`, `/watch/{room}`, and every file
//! of `web/` under `/assets/`. Uncompressed: all of it together is smaller than one second of video.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use data_encoding::HEXLOWER;

use super::Control;
use super::headers::{check_name, set};
use super::path::Path;
use super::problem::Problem;

/// What a page may load and talk to: this server only. Pictures and media also from memory (test pattern, QR code).
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; \
     object-src 'none'; base-uri 'none'; form-action 'self'";

/// What a page may ask of the browser; an embedding page must delegate these to a frame as well.
const PERMISSIONS_POLICY: &str = "camera=(self), microphone=(self), display-capture=(self), autoplay=(self), \
     speaker-selection=(self), screen-wake-lock=(self), fullscreen=(self), picture-in-picture=(self), geolocation=()";

#[derive(rust_embed::RustEmbed)]
#[folder = "web/"]
struct Files;

/// Who may show a page in a frame.
#[derive(Debug, Clone, Copy)]
enum Framing {
    /// Any site: being embedded is what the page is for. Camera and microphone then need the embedding page's own
    /// delegation, and the browser asks in its name.
    Anyone,
    /// This site only: a page that uses the camera must not be clicked through.
    SameOrigin,
}

/// The routes.
pub(super) fn router() -> Router<Control> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { page("index.html", Framing::SameOrigin, &headers) }))
        .route("/check", get(|headers: HeaderMap| async move { page("check.html", Framing::SameOrigin, &headers) }))
        .route("/room/{room}", get(room))
        .route("/publish/{room}", get(publish))
        .route("/watch/{room}", get(watch))
        .route("/assets/{*path}", get(asset))
        .route(
            "/favicon.ico",
            get(|headers: HeaderMap| async move { page("favicon.svg", Framing::SameOrigin, &headers) }),
        )
}

async fn room(State(_): State<Control>, Path(room): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    page_of_room("room.html", Framing::Anyone, &room, &headers)
}

async fn publish(State(_): State<Control>, Path(room): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    page_of_room("publish.html", Framing::SameOrigin, &room, &headers)
}

async fn watch(State(_): State<Control>, Path(room): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    page_of_room("watch.html", Framing::Anyone, &room, &headers)
}

fn page_of_room(path: &str, framing: Framing, room: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    match check_name("room", room) {
        Ok(()) => page(path, framing, headers),
        Err(problem) => missing(problem, headers),
    }
}

/// What is said of an address that leads nowhere: to people a page, to programs the problem.
pub(super) fn missing(problem: Problem, request: &HeaderMap) -> Result<Response, Problem> {
    let accepted = request.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if !accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim().starts_with("text/html")) {
        return Err(problem);
    }
    let mut response = page("missing.html", Framing::SameOrigin, &HeaderMap::new())?;
    *response.status_mut() = problem.status();
    Ok(response)
}

async fn asset(Path(path): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    page(&path, Framing::SameOrigin, &headers)
}

/// A file, or 304 when the browser has it already. Browsers ask each time (`no-cache`): names carry no version.
fn page(path: &str, framing: Framing, request: &HeaderMap) -> Result<Response, Problem> {
    let file = Files::get(path).ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "no such file"))?;
    let tag = format!("\"{}\"", HEXLOWER.encode(&file.metadata.sha256_hash()[..12]));
    let known = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut response = if known.flat_map(|value| value.split(',')).any(|known| known.trim() == tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = file.data.into_response();
        set(response.headers_mut(), header::CONTENT_TYPE, file.metadata.mimetype());
        response
    };
    let headers = response.headers_mut();
    set(headers, header::ETAG, &tag);
    set(headers, header::CACHE_CONTROL, "no-cache");
    protect(headers, framing);
    Ok(response)
}

/// Security headers. No referrer: the address of a page may hold a token until its script has taken it out.
fn protect(headers: &mut HeaderMap, framing: Framing) {
    let ancestors = match framing {
        Framing::Anyone => "*",
        Framing::SameOrigin => "'self'",
    };
    let policy = format!("{CONTENT_SECURITY_POLICY}; frame-ancestors {ancestors}");
    set(headers, header::CONTENT_SECURITY_POLICY, &policy);
    set(headers, HeaderName::from_static("permissions-policy"), PERMISSIONS_POLICY);
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(headers, header::REFERRER_POLICY, "no-referrer");
}
