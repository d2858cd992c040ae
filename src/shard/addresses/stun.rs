//! Asks an outside STUN server for our public IPv4 address: a Binding request (RFC 8489) over UDP, blocking.
//!
//! IPv4 only: an IPv6 address is public as it stands. The port it reports is not used: it belongs to this query's own
//! socket, and the media port has to be forwarded anyway for clients to reach it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::time::{Duration, Instant};

use stun_types::attribute::XorMappedAddress;
use stun_types::message::{BINDING, Message, MessageClass, MessageWrite as _, MessageWriteVec};

/// How long an answer to each transmission is waited for. The first is RFC 8489's initial timeout and each next doubles
/// (section 6.2.1). More: start-up takes longer when the server is dead; fewer: a lossy path looks like a dead server.
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_millis(1000), Duration::from_millis(2000)];

/// The port of STUN (RFC 8489 section 18.6).
const DEFAULT_PORT: u16 = 3478;

/// Why the public address could not be learned.
#[derive(Debug, thiserror::Error)]
pub enum StunError {
    /// Its name means nothing, or nothing in IPv4.
    #[error("STUN server \"{server}\" has no IPv4 address ({reason}); check media.stun_server and the DNS")]
    Unresolved {
        /// As configured.
        server: String,
        /// In the system's words.
        reason: String,
    },
    /// No answer.
    #[error(
        "STUN server \"{server}\" did not answer within {} s; is it right, and does the firewall let UDP to it out? \
         media.public_ip makes it unnecessary", .waited.as_secs_f32()
    )]
    Silent {
        /// As configured.
        server: String,
        /// How long was waited.
        waited: Duration,
    },
    /// An answer without an IPv4 address in it.
    #[error("STUN server \"{server}\" answered without telling our address; use another or set media.public_ip")]
    Useless {
        /// As configured.
        server: String,
    },
    /// The system would not send.
    #[error("cannot ask STUN server \"{server}\": {source}")]
    Network {
        /// As configured.
        server: String,
        /// In the system's words.
        source: io::Error,
    },
}

/// Our address as `server` (`host` or `host:port`) sees it, asked from the IPv4 address `bound` if that is one.
pub(super) fn public_ip(server: &str, bound: IpAddr) -> Result<Ipv4Addr, StunError> {
    let address = resolve(server)?;
    let own = if bound.is_ipv4() { bound } else { Ipv4Addr::UNSPECIFIED.into() };
    match ask(address, own, &WAITS) {
        Ok(Some(ip)) => Ok(ip),
        Ok(None) => Err(StunError::Useless { server: server.to_owned() }),
        Err(error) if is_silence(&error) => {
            Err(StunError::Silent { server: server.to_owned(), waited: WAITS.iter().sum() })
        }
        Err(source) => Err(StunError::Network { server: server.to_owned(), source }),
    }
}

fn resolve(server: &str) -> Result<SocketAddr, StunError> {
    let unresolved = |reason: String| StunError::Unresolved { server: server.to_owned(), reason };
    let resolved =
        if server.contains(':') { server.to_socket_addrs() } else { (server, DEFAULT_PORT).to_socket_addrs() };
    let mut addresses = resolved.map_err(|error| unresolved(error.to_string()))?;
    addresses.find(SocketAddr::is_ipv4).ok_or_else(|| unresolved("only IPv6 addresses".to_owned()))
}

/// Sends the request once per wait until it is answered; `None` is an answer that tells nothing.
fn ask(server: SocketAddr, own: IpAddr, waits: &[Duration]) -> io::Result<Option<Ipv4Addr>> {
    let socket = UdpSocket::bind((own, 0))?;
    // The kernel then drops what does not come from the server.
    socket.connect(server)?;
    let request = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
    for wait in waits {
        let deadline = Instant::now() + *wait;
        // A refusal (ICMP) of the last transmission may surface here; the server may just be starting.
        let _ = socket.send(&request);
        while let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            socket.set_read_timeout(Some(left))?;
            let mut buffer = [0; 1500];
            match socket.recv(&mut buffer) {
                Ok(len) => match answer(&request, &buffer[..len]) {
                    Answer::Address(ip) => return Ok(Some(ip)),
                    Answer::Nothing => return Ok(None),
                    Answer::Unrelated => {}
                },
                Err(error) if is_silence(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// What a datagram from the server is to our request.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Address(Ipv4Addr),
    /// An error response, or one without an IPv4 address.
    Nothing,
    /// Not a response to it.
    Unrelated,
}

fn answer(request: &[u8], datagram: &[u8]) -> Answer {
    let (Ok(request), Ok(response)) = (Message::from_bytes(request), Message::from_bytes(datagram)) else {
        return Answer::Unrelated;
    };
    let transaction = request.transaction_id();
    if !response.is_response() || response.transaction_id() != transaction {
        return Answer::Unrelated;
    }
    let mapped = response.attribute::<XorMappedAddress>().map(|mapped| mapped.addr(transaction).ip());
    match mapped {
        Ok(IpAddr::V4(ip)) if response.has_class(MessageClass::Success) => Answer::Address(ip),
        _ => Answer::Nothing,
    }
}

/// No answer yet, or the port was closed a moment ago.
fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock
            | io::ErrorKind::TimedOut
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use std::thread;

    use stun_types::message::MessageWriteExt as _;

    use super::*;

    /// The datagrams a server sends for a request.
    type Script = fn(&Message<'_>) -> Vec<Vec<u8>>;

    /// Answers each request in turn by one of the scripts, from loopback.
    fn server(answers: Vec<Script>) -> (SocketAddr, thread::JoinHandle<()>) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        let address = socket.local_addr().expect("bound");
        let thread = thread::spawn(move || {
            for answer in answers {
                let mut buffer = [0; 1500];
                let (len, client) = socket.recv_from(&mut buffer).expect("a request");
                let request = Message::from_bytes(&buffer[..len]).expect("a STUN message");
                for datagram in answer(&request) {
                    socket.send_to(&datagram, client).expect("sent");
                }
            }
        });
        (address, thread)
    }

    fn success(request: &Message<'_>) -> Vec<u8> {
        told(Message::builder_success(request, MessageWriteVec::new()), [203, 0, 113, 7], request)
    }

    fn refusal(request: &Message<'_>) -> Vec<u8> {
        told(Message::builder_error(request, MessageWriteVec::new()), [203, 0, 113, 7], request)
    }

    fn of_another(_: &Message<'_>) -> Vec<u8> {
        let other = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        let other = Message::from_bytes(&other).expect("a STUN message");
        told(Message::builder_success(&other, MessageWriteVec::new()), [198, 51, 100, 1], &other)
    }

    fn told(mut response: MessageWriteVec, ip: [u8; 4], request: &Message<'_>) -> Vec<u8> {
        let mapped = XorMappedAddress::new(SocketAddr::from((ip, 4000)), request.transaction_id());
        response.add_attribute(&mapped).expect("room");
        response.finish()
    }

    #[test]
    fn the_address_the_server_saw_is_learned() {
        let (address, thread) = server(vec![|request| vec![success(request)]]);
        assert_eq!(public_ip(&address.to_string(), Ipv4Addr::LOCALHOST.into()).ok(), Some([203, 0, 113, 7].into()));
        thread.join().expect("the server is done");
    }

    #[test]
    fn a_lost_request_is_repeated_and_strange_datagrams_are_passed_over() {
        let (address, thread) =
            server(vec![|_| vec![], |request| vec![b"noise".to_vec(), of_another(request), success(request)]]);
        let waits = [Duration::from_millis(1), Duration::from_secs(5)];
        let learned = ask(address, Ipv4Addr::LOCALHOST.into(), &waits).expect("an answer");
        assert_eq!(learned, Some([203, 0, 113, 7].into()));
        thread.join().expect("the server is done");
    }

    #[test]
    fn a_server_that_refuses_or_is_silent_or_has_no_name_is_told_apart() {
        let (address, thread) = server(vec![|request| vec![refusal(request)]]);
        let useless = public_ip(&address.to_string(), Ipv4Addr::LOCALHOST.into()).expect_err("refused");
        assert!(matches!(useless, StunError::Useless { .. }), "{useless}");
        thread.join().expect("the server is done");

        let closed = UdpSocket::bind("127.0.0.1:0").expect("a free port").local_addr().expect("bound");
        let silent = ask(closed, Ipv4Addr::LOCALHOST.into(), &[Duration::from_millis(1)]).expect_err("nobody there");
        assert!(is_silence(&silent), "{silent}");

        let unresolved = public_ip("[::1]:3478", Ipv4Addr::LOCALHOST.into()).expect_err("not IPv4");
        assert!(unresolved.to_string().contains("media.stun_server"), "{unresolved}");
    }
}
