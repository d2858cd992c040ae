//! The other side, as far as a server asks itself whether it can be reached: requests and what is said to them.

use std::net::SocketAddr;

use super::credentials::{Credential, REALM, key};
use super::message::{Class, Message, Writer, attribute, method};

/// Identifies a request and its answer.
pub type Transaction = super::message::Transaction;

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To a Binding request: the address it came from.
    Mapped(SocketAddr),
    /// To an Allocate request: the relayed address.
    Relayed(SocketAddr),
    /// It asks for credentials, with this nonce.
    Challenged(String),
    /// It refuses, with this error code.
    Refused(u16),
}

/// A Binding request.
pub fn binding(transaction: &Transaction) -> Vec<u8> {
    Writer::new(Class::Request, method::BINDING, transaction).finish(None, true)
}

/// An Allocate request; the first has no nonce yet.
pub fn allocate(transaction: &Transaction, credential: &Credential, nonce: Option<&str>) -> Vec<u8> {
    let request = Writer::new(Class::Request, method::ALLOCATE, transaction);
    let request = request.add(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    sign(request, credential, nonce)
}

/// Gives an allocation back.
pub fn release(transaction: &Transaction, credential: &Credential, nonce: &str) -> Vec<u8> {
    let request = Writer::new(Class::Request, method::REFRESH, transaction).add(attribute::LIFETIME, &[0; 4]);
    sign(request, credential, Some(nonce))
}

/// Reads the answer to a request; `None` for everything else.
pub fn read(datagram: &[u8], transaction: &Transaction) -> Option<Answer> {
    let message = Message::parse(datagram).filter(|message| message.transaction() == *transaction)?;
    let address = |kind| message.addresses(kind).next().flatten();
    match (message.class(), message.method()) {
        (Class::Success, method::BINDING) => address(attribute::XOR_MAPPED_ADDRESS).map(Answer::Mapped),
        (Class::Success, method::ALLOCATE) => address(attribute::XOR_RELAYED_ADDRESS).map(Answer::Relayed),
        (Class::Error, _) => {
            let (_, [class, number]) = message.get(attribute::ERROR_CODE)?.first_chunk::<4>()?.split_last_chunk()?;
            let code = u16::from(*class) * 100 + u16::from(*number);
            let nonce = message.text(attribute::NONCE).filter(|_| matches!(code, 401 | 438));
            Some(nonce.map_or(Answer::Refused(code), |nonce| Answer::Challenged(nonce.to_owned())))
        }
        _ => None,
    }
}

fn sign(request: Writer, credential: &Credential, nonce: Option<&str>) -> Vec<u8> {
    let Some(nonce) = nonce else { return request.finish(None, true) };
    request
        .add(attribute::USERNAME, credential.username.as_bytes())
        .add(attribute::REALM, REALM.as_bytes())
        .add(attribute::NONCE, nonce.as_bytes())
        .finish(Some(&key(&credential.username, &credential.password)), true)
}
