//! As much of a TURN client as a benchmark needs: an allocation with one channel, over UDP (RFC 8656).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use aws_lc_rs::hmac;
use data_encoding::BASE64;
use stun_types::attribute::MessageIntegrity;
use stun_types::message::{IntegrityAlgorithm, IntegrityKey, LongTermCredentials};

/// Between two attempts, and how many there are.
const RETRY: Duration = Duration::from_millis(500);
const TRIES: usize = 20;

/// How long credentials are good for.
const LIFETIME: Duration = Duration::from_secs(3_600);

/// Channel of every client.
const CHANNEL: [u8; 2] = [0x40, 0x00];

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const HEADER: usize = 20;

const ALLOCATE: u16 = 0x0003;
const CHANNEL_BIND: u16 = 0x0009;
const SUCCESS: u16 = 0x0100;
const ERROR: u16 = 0x0110;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const REALM: u16 = 0x0014;
const NONCE: u16 = 0x0015;
const REQUESTED_TRANSPORT: u16 = 0x0019;

/// A client with an allocation.
#[derive(Debug)]
pub(super) struct Relayed {
    socket: UdpSocket,
}

/// What challenges are answered with.
struct Credential {
    username: String,
    realm: String,
    nonce: Vec<u8>,
    key: IntegrityKey,
}

impl Relayed {
    /// Allocates from `own` at `server`, with the secret of the TURN REST API, and binds a channel to `peer`.
    pub(super) fn new(own: IpAddr, server: SocketAddr, secret: &str, peer: SocketAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(RETRY))?;
        let transport = attribute(REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        let challenge = ask(&socket, ALLOCATE, &transport, None)?;
        let Answer::Refused(attributes) = challenge else { bail!("the server relays for anybody: no challenge") };
        let credential = Credential::answering(&attributes, secret, &own.to_string())?;
        for (method, wish) in [
            (ALLOCATE, transport),
            (CHANNEL_BIND, [attribute(CHANNEL_NUMBER, &[0x40, 0, 0, 0]), peer_address(peer)?].concat()),
        ] {
            if let Answer::Refused(attributes) = ask(&socket, method, &wish, Some(&credential))? {
                bail!("the server refuses {own} its request {method:#06x}: {attributes:?}");
            }
        }
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Sends a datagram made by [`channel_data`] to the peer.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram)
    }
}

/// A caller that has no credentials.
#[derive(Debug)]
pub(super) struct Stranger {
    socket: UdpSocket,
    own: IpAddr,
    transaction: [u8; 12],
}

impl Stranger {
    /// A caller from `own` to `server`.
    pub(super) fn new(own: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(RETRY))?;
        Ok(Self { socket, own, transaction: [0; 12] })
    }

    /// Asks for an allocation.
    pub(super) fn ask(&mut self) -> anyhow::Result<()> {
        self.request(None)
    }

    /// Asks again, with a password that is none.
    pub(super) fn guess(&mut self, challenge: &Attributes) -> anyhow::Result<()> {
        let credential = Credential::answering(challenge, "a guess", &self.own.to_string())?;
        self.request(Some(&credential))
    }

    /// What the last request was refused with: its challenge. `None` if it was not answered.
    pub(super) fn answer(&self) -> anyhow::Result<Option<Attributes>> {
        let mut buffer = [0; 2_048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            match read(&buffer[..length], &self.transaction) {
                Some((kind, attributes)) if kind & 0x0110 == ERROR => return Ok(Some(attributes)),
                Some(_) => bail!("the server relays for {}, who has no credentials", self.own),
                None => {}
            }
        }
        Ok(None)
    }

    fn request(&mut self, credential: Option<&Credential>) -> anyhow::Result<()> {
        self.transaction = rand::random();
        let transport = attribute(REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
        self.socket.send(&request(ALLOCATE, &self.transaction, &transport, credential)?)?;
        Ok(())
    }
}

/// ChannelData for the peer.
pub(super) fn channel_data(payload: &[u8]) -> Vec<u8> {
    [&CHANNEL, &(payload.len() as u16).to_be_bytes()[..], payload].concat()
}

/// Types and values, in their order.
pub(super) type Attributes = Vec<(u16, Vec<u8>)>;

enum Answer {
    Success,
    Refused(Attributes),
}

impl Credential {
    fn answering(challenge: &[(u16, Vec<u8>)], secret: &str, who: &str) -> anyhow::Result<Self> {
        let find = |kind| challenge.iter().find(|(found, _)| *found == kind).map(|(_, value)| value.clone());
        let (Some(realm), Some(nonce)) = (find(REALM), find(NONCE)) else {
            bail!("the server refuses before it has asked for credentials: {challenge:?}")
        };
        let realm = String::from_utf8(realm).context("the realm is not text")?;
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH)? + LIFETIME;
        let username = format!("{}:{who}", expiry.as_secs());
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
        let password = BASE64.encode(hmac::sign(&key, username.as_bytes()).as_ref());
        let long_term = LongTermCredentials::new(username.clone(), password).to_key(realm.clone());
        Ok(Self { username, realm, nonce, key: long_term.make_key(IntegrityAlgorithm::Sha1) })
    }
}

/// Sends a request until there is an answer.
fn ask(socket: &UdpSocket, method: u16, wish: &[u8], credential: Option<&Credential>) -> anyhow::Result<Answer> {
    let transaction: [u8; 12] = rand::random();
    let request = request(method, &transaction, wish, credential)?;
    let mut buffer = [0; 2_048];
    for _ in 0..TRIES {
        socket.send(&request).context("the server is not there")?;
        while let Ok(length) = socket.recv(&mut buffer) {
            let Some((kind, attributes)) = read(&buffer[..length], &transaction) else { continue };
            return match kind & 0x0110 {
                SUCCESS => Ok(Answer::Success),
                ERROR => Ok(Answer::Refused(attributes)),
                _ => continue,
            };
        }
    }
    bail!("the server does not answer")
}

fn request(
    method: u16,
    transaction: &[u8; 12],
    wish: &[u8],
    credential: Option<&Credential>,
) -> anyhow::Result<Vec<u8>> {
    let mut message = [&method.to_be_bytes()[..], &[0, 0], &COOKIE, transaction, wish].concat();
    if let Some(Credential { username, realm, nonce, key }) = credential {
        message.extend(attribute(USERNAME, username.as_bytes()));
        message.extend(attribute(REALM, realm.as_bytes()));
        message.extend(attribute(NONCE, nonce));
        // The signature covers a length that ends behind it (RFC 8489 section 14.5).
        set_length(&mut message, 24);
        let signature = MessageIntegrity::compute(&[&message], key).context("the request cannot be signed")?;
        message.extend(attribute(MESSAGE_INTEGRITY, &signature));
    }
    set_length(&mut message, 0);
    Ok(message)
}

fn set_length(message: &mut [u8], more: usize) {
    let length = (message.len() - HEADER + more) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = [&kind.to_be_bytes()[..], &(value.len() as u16).to_be_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// XOR-PEER-ADDRESS (RFC 8656 section 18.3), IPv4.
fn peer_address(peer: SocketAddr) -> anyhow::Result<Vec<u8>> {
    let IpAddr::V4(ip) = peer.ip() else { bail!("only IPv4 peers are measured") };
    let port = peer.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    let ip = u32::from(ip) ^ u32::from_be_bytes(COOKIE);
    Ok(attribute(XOR_PEER_ADDRESS, &[&[0, 1][..], &port.to_be_bytes(), &ip.to_be_bytes()].concat()))
}

/// Type and attributes of the answer to a transaction.
fn read(message: &[u8], transaction: &[u8; 12]) -> Option<(u16, Attributes)> {
    let (head, mut rest) = message.split_at_checked(HEADER)?;
    if head.get(8..)? != transaction {
        return None;
    }
    let mut attributes = Vec::new();
    while let Some((&[k0, k1, l0, l1], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        attributes.push((u16::from_be_bytes([k0, k1]), behind.get(..length)?.to_vec()));
        rest = behind.get(length.next_multiple_of(4)..)?;
    }
    Some((u16::from_be_bytes([head[0], head[1]]), attributes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_request_is_what_others_make() {
        // RFC 5769 section 2.4 is of another shape; what counts here: lengths, and an address XORed by hand.
        let peer = peer_address("192.0.2.1:32853".parse().unwrap()).unwrap();
        assert_eq!(peer, [0, 0x12, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        let message = request(ALLOCATE, &[7; 12], &peer, None).unwrap();
        assert_eq!(read(&message, &[7; 12]), Some((ALLOCATE, vec![(XOR_PEER_ADDRESS, peer[4..].to_vec())])));
        assert_eq!(read(&message, &[8; 12]), None);
    }
}
