//! A rule as a row: what was there before, a request, and what the response must be.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Method;

use crate::server::{Response, Target, request};
use crate::{offers, script};

/// One row. Read it as a sentence: rule, what it says, request, response.
pub(crate) struct Row {
    rule: &'static str,
    says: &'static str,
    given: Given,
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    status: u16,
    checks: Vec<Check>,
    scripted: bool,
}

/// What is there before the request; `{session}` in its path is that session's URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    Nothing,
    /// A publisher.
    Publisher,
    /// A viewer.
    Viewer,
    /// A viewer that got a counter-offer.
    CounterOffer,
    /// A session that was ended by DELETE.
    Ended,
}

#[derive(Clone, Copy)]
enum Check {
    Header(&'static str, &'static str),
    HeaderContains(&'static str, &'static str),
    HeaderAbsent(&'static str),
    HeaderLine(&'static str, &'static str),
    BodyContains(&'static str),
    BodyEmpty,
}

/// Starts a row.
pub(crate) fn row(rule: &'static str, says: &'static str) -> Row {
    Row {
        rule,
        says,
        given: Given::Nothing,
        method: Method::GET,
        path: "/",
        headers: Vec::new(),
        body: Vec::new(),
        status: 200,
        checks: Vec::new(),
        scripted: false,
    }
}

impl Row {
    pub(crate) fn given(self, given: Given) -> Self {
        Self { given, ..self }
    }

    pub(crate) fn request(self, method: &str, path: &'static str) -> Self {
        Self { method: method.parse().expect("a method"), path, ..self }
    }

    /// Only the scripted shard answers like this.
    pub(crate) fn scripted(self) -> Self {
        Self { scripted: true, ..self }
    }

    /// POST of a publisher's offer.
    pub(crate) fn publish(self, path: &'static str) -> Self {
        self.request("POST", path).with("content-type", "application/sdp").body(offers::publish())
    }

    /// POST of a viewer's offer.
    pub(crate) fn play(self, path: &'static str) -> Self {
        self.request("POST", path).with("content-type", "application/sdp").body(offers::play())
    }

    /// PATCH of a fragment.
    pub(crate) fn patch(self, fragment: &str) -> Self {
        self.request("PATCH", "{session}").with("content-type", "application/trickle-ice-sdpfrag").body(fragment)
    }

    /// A header of the request; in place of one of the same name.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value));
        self
    }

    /// The request without this header.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    /// The response has this header with this value.
    pub(crate) fn header(self, name: &'static str, value: &'static str) -> Self {
        self.check(Check::Header(name, value))
    }

    /// The response has this header, and this text in it.
    pub(crate) fn header_contains(self, name: &'static str, text: &'static str) -> Self {
        self.check(Check::HeaderContains(name, text))
    }

    /// The response does not have this header.
    pub(crate) fn no_header(self, name: &'static str) -> Self {
        self.check(Check::HeaderAbsent(name))
    }

    /// One line of this header is this.
    pub(crate) fn header_line(self, name: &'static str, line: &'static str) -> Self {
        self.check(Check::HeaderLine(name, line))
    }

    /// The body has this text in it.
    pub(crate) fn body_contains(self, text: &'static str) -> Self {
        self.check(Check::BodyContains(text))
    }

    /// There is no body.
    pub(crate) fn no_body(self) -> Self {
        self.check(Check::BodyEmpty)
    }

    fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Whether only the scripted shard answers like this.
    pub(crate) fn needs_script(&self) -> bool {
        let room = self.path.split('/').nth(2).unwrap_or_default();
        self.scripted || self.given == Given::CounterOffer || script::ROOMS.contains(&room)
    }

    async fn run(&self, server: &impl Target) -> Result<(), String> {
        let path = self.path.replace("{session}", &given(server, self.given).await);
        let body = Body::from(self.body.clone());
        let response = server.send(request(self.method.clone(), &path, &self.headers, body)).await;
        let mut wrong = Vec::new();
        if response.status != self.status {
            wrong.push(format!("status {}, not {}", response.status, self.status));
        }
        wrong.extend(self.checks.iter().filter_map(|check| check.fails(&response)));
        // What holds for every error response (RFC 9457; RFC 9110 sections 15.5.2 and 15.5.6).
        if response.status.as_u16() >= 400 && response.status != 406 && self.method != Method::HEAD {
            wrong.extend(problem(&response));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let (rule, says, method) = (self.rule, self.says, &self.method);
        Err(format!("{rule} {says}\n  {method} {path}\n  {}\n  {response:?}", wrong.join("; ")))
    }
}

/// Runs every row and reports all that fail.
pub(crate) async fn check(server: &impl Target, rows: Vec<Row>) {
    let mut failures = Vec::new();
    for row in &rows {
        failures.extend(row.run(server).await.err());
    }
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), rows.len(), failures.join("\n"));
}

async fn given(server: &impl Target, given: Given) -> String {
    static ROOMS: AtomicUsize = AtomicUsize::new(0);
    let room = format!("given-{}", ROOMS.fetch_add(1, Ordering::Relaxed));
    match given {
        Given::Nothing => "/sessions/aaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        Given::Publisher => server.session(&format!("/whip/{room}"), None).await,
        Given::Viewer => server.session(&format!("/whep/{room}"), None).await,
        Given::CounterOffer => server.session(&format!("/whep/{}", script::CODECS), None).await,
        Given::Ended => {
            let session = server.session(&format!("/whip/{room}"), None).await;
            let ended = server.send(request(Method::DELETE, &session, &[], Body::empty())).await;
            assert_eq!(ended.status, 200, "{ended:?}");
            session
        }
    }
}

impl Check {
    fn fails(&self, response: &Response) -> Option<String> {
        let (holds, claim) = match *self {
            Self::Header(name, value) => (response.header(name) == Some(value), format!("{name}: {value}")),
            Self::HeaderContains(name, text) => {
                (response.header(name).is_some_and(|value| value.contains(text)), format!("{name} with {text}"))
            }
            Self::HeaderAbsent(name) => (response.headers(name).is_empty(), format!("no {name}")),
            Self::HeaderLine(name, line) => (response.headers(name).contains(&line), format!("a line {name}: {line}")),
            Self::BodyContains(text) => (response.body.contains(text), format!("a body with {text}")),
            Self::BodyEmpty => (response.body.is_empty(), "no body".to_owned()),
        };
        (!holds).then(|| format!("should have {claim}"))
    }
}

fn problem(response: &Response) -> Vec<String> {
    let mut wrong = Vec::new();
    let body: serde_json::Value = serde_json::from_str(&response.body).unwrap_or_default();
    if response.header("content-type") != Some("application/problem+json")
        || body["status"] != response.status.as_u16()
        || body["detail"].as_str().is_none_or(|detail| detail.len() <= 10)
    {
        wrong.push("should be a problem with a detail".to_owned());
    }
    if response.status == 401 && !response.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")) {
        wrong.push("401 needs WWW-Authenticate".to_owned());
    }
    if response.status == 405 && response.header("allow").is_none_or(str::is_empty) {
        wrong.push("405 needs Allow".to_owned());
    }
    wrong
}
