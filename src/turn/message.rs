//! STUN messages on the wire (RFC 8489): read in place, written once.
//!
//! Framing is our own: it is small, and the codec crate logs a warning for every malformed datagram, which anybody can
//! send. Keys, integrity and fingerprint are the codec's. Not here: what a message asks for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stun_types::attribute::{Fingerprint, MessageIntegrity};
use stun_types::message::IntegrityKey;

/// The 20 bytes every message starts with.
const HEADER: usize = 20;

/// What tells STUN from its predecessor (RFC 8489 section 5).
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// XORed onto the CRC (RFC 8489 section 14.7).
const FINGERPRINT_XOR: [u8; 4] = [0x53, 0x54, 0x55, 0x4e];

/// Bytes of an integrity attribute and of a fingerprint attribute, their headers included.
const INTEGRITY_BYTES: usize = 24;
const FINGERPRINT_BYTES: usize = 8;

/// Identifies a request and its response.
pub(super) type Transaction = [u8; 12];

/// Methods this server knows (RFC 8489 section 18.2, RFC 8656 section 17).
pub(super) mod method {
    pub(crate) const BINDING: u16 = 0x001;
    pub(crate) const ALLOCATE: u16 = 0x003;
    pub(crate) const REFRESH: u16 = 0x004;
    pub(crate) const SEND: u16 = 0x006;
    pub(crate) const DATA: u16 = 0x007;
    pub(crate) const CREATE_PERMISSION: u16 = 0x008;
    pub(crate) const CHANNEL_BIND: u16 = 0x009;
}

/// Attributes this server knows (RFC 8489 section 18.3, RFC 8656 section 18).
pub(super) mod attribute {
    pub(crate) const USERNAME: u16 = 0x0006;
    pub(crate) const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub(crate) const ERROR_CODE: u16 = 0x0009;
    pub(crate) const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub(crate) const CHANNEL_NUMBER: u16 = 0x000c;
    pub(crate) const LIFETIME: u16 = 0x000d;
    pub(crate) const XOR_PEER_ADDRESS: u16 = 0x0012;
    pub(crate) const DATA: u16 = 0x0013;
    pub(crate) const REALM: u16 = 0x0014;
    pub(crate) const NONCE: u16 = 0x0015;
    pub(crate) const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    pub(crate) const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    pub(crate) const EVEN_PORT: u16 = 0x0018;
    pub(crate) const REQUESTED_TRANSPORT: u16 = 0x0019;
    pub(crate) const DONT_FRAGMENT: u16 = 0x001a;
    pub(crate) const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    pub(crate) const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub(crate) const RESERVATION_TOKEN: u16 = 0x0022;
    pub(crate) const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    pub(crate) const ADDRESS_ERROR_CODE: u16 = 0x8001;
    pub(crate) const FINGERPRINT: u16 = 0x8028;
    pub(crate) const MOBILITY_TICKET: u16 = 0x8030;
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Request,
    Indication,
    Success,
    Error,
}

/// A message that is whole: its length fits, its attributes do, and its fingerprint, if it has one, is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    class: Class,
    method: u16,
    transaction: Transaction,
}

/// An attribute and where in the message it starts.
#[derive(Debug, Clone, Copy)]
struct Attribute<'a> {
    offset: usize,
    kind: u16,
    value: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram. `None` is to be dropped without an answer (RFC 8489 section 6.3).
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (&[t0, t1, l0, l1], rest) = bytes.split_first_chunk()?;
        let (cookie, rest) = rest.split_first_chunk::<4>()?;
        let (transaction, body) = rest.split_first_chunk()?;
        let (kind, length) = (u16::from_be_bytes([t0, t1]), usize::from(u16::from_be_bytes([l0, l1])));
        if kind >> 14 != 0 || *cookie != COOKIE || length != body.len() || !length.is_multiple_of(4) {
            return None;
        }
        let class = match kind & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        };
        let method = (kind & 0x000f) | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2;
        let message = Self { bytes, class, method, transaction: *transaction };
        message.is_whole().then_some(message)
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    pub(super) fn method(&self) -> u16 {
        self.method
    }

    pub(super) fn transaction(&self) -> Transaction {
        self.transaction
    }

    /// The value of the first attribute of a kind.
    pub(super) fn get(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes().find(|attribute| attribute.kind == kind).map(|attribute| attribute.value)
    }

    /// The same as text.
    pub(super) fn text(&self, kind: u16) -> Option<&'a str> {
        self.get(kind).and_then(|value| std::str::from_utf8(value).ok())
    }

    pub(super) fn has(&self, kind: u16) -> bool {
        self.get(kind).is_some()
    }

    /// The first byte of an attribute of four, as families, protocols and the R bit are written.
    pub(super) fn byte(&self, kind: u16) -> Option<u8> {
        self.get(kind).and_then(|value| value.first().copied())
    }

    /// Every address of a kind; `None` stands for one that cannot be read.
    pub(super) fn addresses(&self, kind: u16) -> impl Iterator<Item = Option<SocketAddr>> + use<'a> {
        let transaction = self.transaction;
        let attributes = self.attributes().filter(move |attribute| attribute.kind == kind);
        attributes.map(move |attribute| read_address(attribute.value, &transaction))
    }

    /// Attributes that must be understood and are not in `known` (RFC 8489 section 14: types below 0x8000).
    pub(super) fn unknown(&self, known: &[u16]) -> Vec<u16> {
        let kinds = self.attributes().map(|attribute| attribute.kind);
        kinds.filter(|kind| *kind < 0x8000 && !known.contains(kind)).collect()
    }

    /// Whether the message was signed with this key. Compares in constant time.
    pub(super) fn is_signed_with(&self, key: &IntegrityKey) -> bool {
        let signature = self.attributes().find(|attribute| attribute.kind == attribute::MESSAGE_INTEGRITY);
        let Some((signature, offset)) = signature.map(|attribute| (attribute.value, attribute.offset)) else {
            return false;
        };
        let (Ok(signature), Some(signed)) = (<&[u8; 20]>::try_from(signature), self.bytes.get(4..offset)) else {
            return false;
        };
        let head = head(self.bytes, offset + INTEGRITY_BYTES - HEADER);
        MessageIntegrity::verify(&[&head, signed], key, signature)
    }

    /// Attributes up to the signature; behind it only those that belong to it count (RFC 8489 section 14.5).
    fn attributes(&self) -> impl Iterator<Item = Attribute<'a>> + use<'a> {
        let mut signed = false;
        Attributes { bytes: self.bytes, offset: HEADER }.map_while(Result::ok).filter(move |attribute| {
            use self::attribute::{FINGERPRINT, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256};
            let counts = !signed || matches!(attribute.kind, MESSAGE_INTEGRITY_SHA256 | FINGERPRINT);
            signed |= attribute.kind == MESSAGE_INTEGRITY;
            counts
        })
    }

    fn is_whole(&self) -> bool {
        let mut attributes = Attributes { bytes: self.bytes, offset: HEADER };
        attributes.all(|attribute| attribute.is_ok_and(|attribute| self.has_no_wrong_fingerprint(&attribute)))
    }

    fn has_no_wrong_fingerprint(&self, attribute: &Attribute<'_>) -> bool {
        if attribute.kind != attribute::FINGERPRINT {
            return true;
        }
        let Some(covered) = self.bytes.get(4..attribute.offset) else { return false };
        let head = head(self.bytes, attribute.offset + FINGERPRINT_BYTES - HEADER);
        attribute.value == fingerprint(&[&head, covered])
    }
}

/// Walks the attributes. Ends after one that does not fit.
struct Attributes<'a> {
    bytes: &'a [u8],
    offset: usize,
}

/// An attribute is longer than the message.
struct Cut;

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Cut>;

    fn next(&mut self) -> Option<Self::Item> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let read = || {
            let (&[t0, t1, l0, l1], rest) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            // Padding is there, because the whole is a multiple of four.
            let value = rest.get(..length)?;
            Some(Attribute { offset, kind: u16::from_be_bytes([t0, t1]), value })
        };
        let Some(attribute) = read() else {
            self.offset = self.bytes.len();
            return Some(Err(Cut));
        };
        self.offset = offset + 4 + attribute.value.len().next_multiple_of(4);
        Some(Ok(attribute))
    }
}

/// A message being written.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(class: Class, method: u16, transaction: &Transaction) -> Self {
        let class = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        let kind = class | (method & 0x000f) | (method & 0x0070) << 1 | (method & 0x0f80) << 2;
        let mut bytes = Vec::with_capacity(128);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 0]);
        bytes.extend(COOKIE);
        bytes.extend(transaction);
        Self(bytes)
    }

    /// Adds an attribute. Values are ours or were in a message before: none is longer than the 16-bit length says.
    pub(super) fn add(mut self, kind: u16, value: &[u8]) -> Self {
        let Ok(length) = u16::try_from(value.len()) else { return self };
        self.0.extend(kind.to_be_bytes());
        self.0.extend(length.to_be_bytes());
        self.0.extend(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an address, XORed (RFC 8489 section 14.2).
    pub(super) fn add_address(self, kind: u16, address: SocketAddr) -> Self {
        let transaction: Transaction =
            self.0.get(8..HEADER).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        let value = write_address(address, &transaction);
        self.add(kind, &value)
    }

    /// Adds ERROR-CODE (RFC 8489 section 14.8).
    pub(super) fn add_error(self, kind: u16, family: u8, code: u16, reason: &str) -> Self {
        let mut value = vec![family, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend(reason.as_bytes());
        self.add(kind, &value)
    }

    /// Signs if there is a key, adds the fingerprint if asked to, and hands the bytes out.
    pub(super) fn finish(mut self, key: Option<&IntegrityKey>, with_fingerprint: bool) -> Vec<u8> {
        if let Some(key) = key {
            self.set_length(INTEGRITY_BYTES);
            // The codec's signature never fails; a message without one is refused by the client.
            if let Ok(signature) = MessageIntegrity::compute(&[&self.0], key) {
                self = self.add(attribute::MESSAGE_INTEGRITY, &signature);
            }
        }
        if with_fingerprint {
            self.set_length(FINGERPRINT_BYTES);
            let value = fingerprint(&[&self.0]);
            self = self.add(attribute::FINGERPRINT, &value);
        }
        self.set_length(0);
        self.0
    }

    /// Writes the length as it will be with `more` bytes.
    fn set_length(&mut self, more: usize) {
        let length = u16::try_from(self.0.len() + more - HEADER).unwrap_or(u16::MAX);
        if let Some(field) = self.0.get_mut(2..4) {
            field.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// The first four bytes of a message with another length: what a signature or fingerprint covers ends with itself.
fn head(bytes: &[u8], length: usize) -> [u8; 4] {
    let kind = bytes.first_chunk::<2>().copied().unwrap_or_default();
    let [l0, l1] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    let [t0, t1] = kind;
    [t0, t1, l0, l1]
}

fn fingerprint(parts: &[&[u8]]) -> [u8; 4] {
    let crc = u32::from_be_bytes(Fingerprint::compute(parts));
    (crc ^ u32::from_be_bytes(FINGERPRINT_XOR)).to_be_bytes()
}

/// Reads an XOR-…-ADDRESS.
fn read_address(value: &[u8], transaction: &Transaction) -> Option<SocketAddr> {
    let (&[_, family, p0, p1], address) = value.split_first_chunk()?;
    let [c0, c1, ..] = COOKIE;
    let port = u16::from_be_bytes([p0 ^ c0, p1 ^ c1]);
    let pad = pad(transaction);
    let ip: IpAddr = match family {
        1 => Ipv4Addr::from(xor(*<&[u8; 4]>::try_from(address).ok()?, &pad)).into(),
        2 => Ipv6Addr::from(xor(*<&[u8; 16]>::try_from(address).ok()?, &pad)).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn write_address(address: SocketAddr, transaction: &Transaction) -> Vec<u8> {
    let [p0, p1] = address.port().to_be_bytes();
    let [c0, c1, ..] = COOKIE;
    let pad = pad(transaction);
    let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }, p0 ^ c0, p1 ^ c1];
    match address.ip() {
        IpAddr::V4(ip) => value.extend(xor(ip.octets(), &pad)),
        IpAddr::V6(ip) => value.extend(xor(ip.octets(), &pad)),
    }
    value
}

/// What addresses are XORed with: the cookie, then the transaction.
fn pad(transaction: &Transaction) -> [u8; 16] {
    let mut pad = [0; 16];
    for (byte, from) in pad.iter_mut().zip(COOKIE.iter().chain(transaction)) {
        *byte = *from;
    }
    pad
}

fn xor<const N: usize>(mut address: [u8; N], pad: &[u8; 16]) -> [u8; N] {
    for (byte, with) in address.iter_mut().zip(pad) {
        *byte ^= with;
    }
    address
}

#[cfg(test)]
mod tests;
