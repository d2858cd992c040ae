//! WHIP (RFC 9725) and WHEP over HTTP: an offer for an answer, and the session's end. Blocking.
//!
//! Not here: trickle (the offer holds the only candidate) and counter-offers (a client that offers every codec gets
//! none).

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use ureq::Agent;
use ureq::http::{Response, StatusCode, Uri, header};

/// A server that takes longer is broken: sessions are answered in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Redirects followed (RFC 9725 section 4.5); a loop ends here.
const MAX_REDIRECTS: usize = 3;

/// How much of an error page is shown.
const SHOWN: usize = 300;

/// A WHIP or WHEP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its URL.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
}

/// A session that a server created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    url: String,
    token: Option<String>,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Nobody there.
    #[error("{url}: {reason}; is the server running, and is this its HTTP address?")]
    Unreachable {
        /// As given.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// The server said no.
    #[error("{url}: {status}{}", explanation(.detail))]
    Refused {
        /// As given.
        url: String,
        /// HTTP status.
        status: StatusCode,
        /// The server's words, if any.
        detail: String,
    },
    /// 201 without what must come with it.
    #[error("{url}: the server created a session but {lack}: not a WHIP or WHEP endpoint?")]
    Incomplete {
        /// As given.
        url: String,
        /// What is not there.
        lack: &'static str,
    },
}

/// Talks to servers; keeps connections.
#[derive(Debug, Clone)]
pub struct Http {
    agent: Agent,
}

impl Default for Http {
    fn default() -> Self {
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // ureq drops the body of a redirected POST; they are followed here.
            .max_redirects(0)
            .build();
        Self { agent: config.into() }
    }
}

impl Http {
    /// Posts an offer. Returns the session with the server's answer.
    pub fn start(&self, endpoint: &Endpoint, offer: &str) -> Result<(Session, String), HttpError> {
        let mut url = endpoint.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.agent.post(&url).header(header::CONTENT_TYPE, "application/sdp");
            let request = match &endpoint.token {
                Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
                None => request,
            };
            let mut response = request.send(offer).map_err(|error| unreachable(&url, &error))?;
            let location = location(&url, &response);
            match (response.status(), location) {
                (StatusCode::CREATED, Some(session)) => {
                    let answer = response.body_mut().read_to_string().map_err(|error| unreachable(&url, &error))?;
                    return Ok((Session { url: session, token: endpoint.token.clone() }, answer));
                }
                (StatusCode::CREATED, None) => {
                    return Err(HttpError::Incomplete { url, lack: "gave no Location" });
                }
                (StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT, Some(next)) => url = next,
                _ => return Err(refused(url, response)),
            }
        }
        let detail = format!("more than {MAX_REDIRECTS} redirects");
        Err(HttpError::Refused { url, status: StatusCode::TEMPORARY_REDIRECT, detail })
    }

    /// Deletes a session.
    pub fn end(&self, session: &Session) -> Result<(), HttpError> {
        let request = self.agent.delete(&session.url);
        let request = match &session.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let response = request.call().map_err(|error| unreachable(&session.url, &error))?;
        if response.status().is_success() { Ok(()) } else { Err(refused(session.url.clone(), response)) }
    }
}

impl Endpoint {
    /// The address this machine reaches the server from: what a client behind no NAT offers as its candidate.
    pub fn local_address(&self) -> Result<IpAddr, HttpError> {
        let unreachable = |reason: String| HttpError::Unreachable { url: self.url.clone(), reason };
        let server = self.resolve().map_err(unreachable)?;
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
        };
        // Connecting a UDP socket sends nothing; it asks the routing table.
        let route = || -> std::io::Result<IpAddr> {
            let socket = UdpSocket::bind(any)?;
            socket.connect(server)?;
            Ok(socket.local_addr()?.ip())
        };
        route().map_err(|error| unreachable(error.to_string()))
    }

    fn resolve(&self) -> Result<SocketAddr, String> {
        let uri: Uri = self.url.parse().map_err(|error| format!("not a URL ({error})"))?;
        let host = uri.host().ok_or("not a URL: it names no host (http://HOST:PORT/whip/ROOM)")?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let mut addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
        addresses.next().ok_or_else(|| "the name has no address".to_owned())
    }
}

/// The Location header as an absolute URL.
fn location<T>(base: &str, response: &Response<T>) -> Option<String> {
    let location = response.headers().get(header::LOCATION)?.to_str().ok()?;
    absolute(base, location)
}

/// Resolves a reference against the URL it was found at (RFC 3986 section 5.2, as far as servers use it).
fn absolute(base: &str, reference: &str) -> Option<String> {
    if reference.starts_with("http://") || reference.starts_with("https://") {
        return Some(reference.to_owned());
    }
    let uri: Uri = base.parse().ok()?;
    let origin = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
    if reference.starts_with('/') {
        return Some(format!("{origin}{reference}"));
    }
    let directory = uri.path().rsplit_once('/').map_or("", |(directory, _)| directory);
    Some(format!("{origin}{directory}/{reference}"))
}

fn unreachable(url: &str, error: &ureq::Error) -> HttpError {
    HttpError::Unreachable { url: url.to_owned(), reason: error.to_string() }
}

/// The server's own words: the detail of a problem document (RFC 9457), or the beginning of its page.
fn refused(url: String, mut response: Response<ureq::Body>) -> HttpError {
    let status = response.status();
    let body = response.body_mut().read_to_string().unwrap_or_default();
    let problem: Option<serde_json::Value> = serde_json::from_str(&body).ok();
    let field = |name| problem.as_ref().and_then(|problem| problem.get(name)?.as_str()).map(str::to_owned);
    let words = field("detail").or_else(|| field("title")).unwrap_or(body);
    HttpError::Refused { url, status, detail: words.trim().chars().take(SHOWN).collect() }
}

fn explanation(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(": {detail}") }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that gives the same answer to each of `requests`, and hands back what it was sent.
    fn server(responses: Vec<String>) -> (String, thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let thread = thread::spawn(move || responses.iter().map(|response| serve_one(&listener, response)).collect());
        (base, thread)
    }

    fn serve_one(listener: &TcpListener, response: &str) -> String {
        let (mut stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut request = String::new();
        let mut length = 0;
        while !request.ends_with("\r\n\r\n") {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            request.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
        request + &String::from_utf8(body).unwrap()
    }

    fn response(head: &str, body: &str) -> String {
        format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_session_is_created_through_a_redirect_and_deleted_where_it_lives() {
        let (base, thread) = server(vec![
            response("307 Temporary Redirect\r\nLocation: /there", ""),
            response("201 Created\r\nLocation: sessions/1", "the answer"),
            response("200 OK", ""),
        ]);
        let (http, endpoint) =
            (Http::default(), Endpoint { url: format!("{base}/whip/room"), token: Some("secret".to_owned()) });
        let (session, answer) = http.start(&endpoint, "the offer").unwrap();
        assert_eq!(answer, "the answer");
        http.end(&session).unwrap();
        let requests = thread.join().unwrap();
        assert!(requests[1].starts_with("POST /there ") && requests[1].ends_with("the offer"), "{}", requests[1]);
        assert!(requests[2].starts_with("DELETE /sessions/1 "), "{}", requests[2]);
        assert!(requests.iter().all(|request| request.to_lowercase().contains("authorization: bearer secret")));
    }

    #[test]
    fn refusals_carry_the_servers_words() {
        for (answer, words) in [
            (response("409 Conflict", r#"{"title":"Conflict","detail":"room taken"}"#), "409 Conflict: room taken"),
            (response("503 Service Unavailable", "full"), "503 Service Unavailable: full"),
            (response("404 Not Found", ""), "404 Not Found"),
            (response("201 Created", "v=0"), "gave no Location"),
        ] {
            let (base, thread) = server(vec![answer]);
            let error = Http::default().start(&Endpoint { url: base, token: None }, "offer").unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            thread.join().unwrap();
        }
    }

    #[test]
    fn references_resolve_against_the_url_they_were_found_at() {
        let base = "http://host:8080/whip/room";
        for (reference, url) in [
            ("/sessions/1", "http://host:8080/sessions/1"),
            ("room/1", "http://host:8080/whip/room/1"),
            ("https://other/1", "https://other/1"),
        ] {
            assert_eq!(absolute(base, reference).unwrap(), url);
        }
    }

    #[test]
    fn a_client_of_a_server_on_loopback_is_on_loopback() {
        let endpoint = |url: &str| Endpoint { url: url.to_owned(), token: None };
        assert_eq!(endpoint("http://127.0.0.1:8080/whip/a").local_address().unwrap(), Ipv4Addr::LOCALHOST);
        let error = endpoint("/whip/a").local_address().unwrap_err();
        assert!(error.to_string().contains("names no host"), "{error}");
    }
}
