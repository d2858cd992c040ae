//! A member's signalling on a real server: one WebSocket, joined, then read in a thread of its own until it is dropped.
//! Blocking.
//!
//! Not here: what members say later. The load is in the media.

use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use crate::http::{Endpoint, HttpError};
use crate::media::Kind;

/// How often the reading thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(500);

/// For the server to answer a join.
const ANSWER: Duration = Duration::from_secs(10);

/// A joined member's connection. It leaves the room when dropped.
#[derive(Debug)]
pub struct Membership {
    ended: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

/// What a member says when it joins.
#[derive(Debug, Clone)]
pub struct Joining {
    /// Its identity.
    pub identity: String,
    /// Its SDP offer.
    pub offer: String,
    /// The m-lines it sends on.
    pub lines: Vec<(String, Kind)>,
}

/// Joins the room of `ws://HOST:PORT/rooms/NAME/ws`. Returns the connection with the server's SDP answer.
pub fn join(endpoint: &Endpoint, joining: &Joining) -> Result<(Membership, String), HttpError> {
    let mut socket = connect(endpoint)?;
    let unreachable = |reason: String| HttpError::Unreachable { url: endpoint.url.clone(), reason };
    let tracks: Vec<Value> =
        joining.lines.iter().map(|(mid, kind)| json!({"mid": mid, "source": source(*kind)})).collect();
    let params = json!({"version": 1, "identity": joining.identity, "offer": joining.offer, "tracks": tracks});
    let request = json!({"id": 1, "method": "join", "params": params});
    socket.send(Message::text(request.to_string())).map_err(|error| unreachable(error.to_string()))?;
    let answer = loop {
        let message = socket.read().map_err(|error| unreachable(error.to_string()))?;
        let Message::Text(text) = message else { continue };
        let message: Value = serde_json::from_str(&text).map_err(|error| unreachable(error.to_string()))?;
        if let Some(error) = message.get("error") {
            return Err(unreachable(format!("the server refused the join: {}", error["message"])));
        }
        if let Some(answer) = message["result"]["answer"].as_str() {
            break answer.to_owned();
        }
    };
    let ended = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&ended);
    let reader = std::thread::spawn(move || read(socket, &stop));
    Ok((Membership { ended, reader: Some(reader) }, answer))
}

fn connect(endpoint: &Endpoint) -> Result<WebSocket<TcpStream>, HttpError> {
    let unreachable = |reason: String| HttpError::Unreachable { url: endpoint.url.clone(), reason };
    let mut request = endpoint.url.as_str().into_client_request().map_err(|error| unreachable(error.to_string()))?;
    let headers = request.headers_mut();
    let protocol = tungstenite::http::HeaderValue::from_static("crosspoint.v1");
    headers.insert("sec-websocket-protocol", protocol);
    if let Some(token) = &endpoint.token
        && let Ok(bearer) = format!("Bearer {token}").parse()
    {
        headers.insert("authorization", bearer);
    }
    let authority = endpoint.url.strip_prefix("ws://").and_then(|rest| rest.split('/').next());
    let authority = authority.ok_or_else(|| unreachable("write ws://HOST:PORT/rooms/NAME/ws".to_owned()))?;
    let address = authority.to_socket_addrs().map_err(|error| unreachable(error.to_string()))?.next();
    let address = address.ok_or_else(|| unreachable("the host has no address".to_owned()))?;
    let stream = TcpStream::connect_timeout(&address, ANSWER).map_err(|error| unreachable(error.to_string()))?;
    stream.set_read_timeout(Some(ANSWER)).map_err(|error| unreachable(error.to_string()))?;
    let (socket, _) = tungstenite::client(request, stream).map_err(|error| unreachable(error.to_string()))?;
    Ok(socket)
}

/// Reads (and so answers pings) until told to end; then leaves.
fn read(mut socket: WebSocket<TcpStream>, ended: &AtomicBool) {
    // A socket that cannot be given a timeout is read to its end.
    let _ = socket.get_ref().set_read_timeout(Some(LOOK));
    while !ended.load(Ordering::Relaxed) {
        match socket.read() {
            Ok(_) => {}
            Err(tungstenite::Error::Io(error)) if is_timeout(&error) => {}
            Err(_) => return,
        }
    }
    // The server notices by itself when this does not arrive.
    let _ = socket.send(Message::text(json!({"id": 2, "method": "leave"}).to_string()));
    let _ = socket.close(None);
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn source(kind: Kind) -> &'static str {
    match kind {
        Kind::Audio => "microphone",
        Kind::Video => "camera",
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}
