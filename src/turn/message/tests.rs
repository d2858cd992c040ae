//! The vectors of RFC 5769, and messages of an independent codec.

use stun_types::message::{IntegrityAlgorithm, Message as Codec, MessageWriteVec};
use stun_types::message::{LongTermCredentials, MessageIntegrityCredentials, ShortTermCredentials};
use stun_types::prelude::*;

use super::*;

/// RFC 5769 section 2.1.
const REQUEST: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420636c69656e74002400046\
    e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b57\
    1a280280004e57a3bcf";
/// Section 2.2.
const RESPONSE_V4: &str = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a\
    147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
/// Section 2.3.
const RESPONSE_V6: &str = "010100482112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000140002a\
    1470113a9faa5d3f179bc25f4b5bed2b9d900080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c";
/// Section 2.4: long-term authentication. The username is "マトリックス" prepared, the realm "example.org".
const LONG_TERM: &str = "000100602112a44278ad3433c6ad72c029da412e00060012e3839ee38388e383aae38383e382afe382b9000\
    00015001c662f2f3439396b39353464364f4c33346f4c394653547679363473410014000b6578616d706c652e6f72670000080014f67\
    024656dd64a3e02b8e0712e85c9a28ca89666";

fn bytes(hex: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn short_term() -> IntegrityKey {
    ShortTermCredentials::new("VOkJxbRl1RmTxUk/WvJxBt".to_owned()).make_key()
}

#[test]
fn the_vectors_of_rfc_5769_are_read() {
    let request = bytes(REQUEST);
    let request = Message::parse(&request).unwrap();
    assert_eq!((request.class(), request.method()), (Class::Request, method::BINDING));
    assert_eq!(request.text(attribute::USERNAME), Some("evtj:h6vY"));
    assert!(request.is_signed_with(&short_term()));
    for (vector, address) in
        [(RESPONSE_V4, "192.0.2.1:32853"), (RESPONSE_V6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853")]
    {
        let response = bytes(vector);
        let response = Message::parse(&response).unwrap();
        assert_eq!(response.class(), Class::Success);
        assert!(response.is_signed_with(&short_term()));
        let found: Vec<_> = response.addresses(attribute::XOR_MAPPED_ADDRESS).collect();
        assert_eq!(found, [Some(address.parse().unwrap())]);
    }
    let long_term = bytes(LONG_TERM);
    let long_term = Message::parse(&long_term).unwrap();
    let user = long_term.text(attribute::USERNAME).unwrap().to_owned();
    let key = LongTermCredentials::new(user, "TheMatrIX".to_owned()).to_key("example.org".to_owned());
    assert!(long_term.is_signed_with(&key.make_key(IntegrityAlgorithm::Sha1)));
    assert!(!long_term.is_signed_with(&short_term()));
}

#[test]
fn a_changed_bit_is_noticed_wherever_it_is_signed() {
    let request = bytes(REQUEST);
    let signed = request.len() - FINGERPRINT_BYTES;
    for at in 0..signed {
        let mut changed = request.clone();
        changed[at] ^= 1;
        let accepted = Message::parse(&changed).is_some_and(|message| message.is_signed_with(&short_term()));
        assert!(!accepted, "byte {at}");
    }
}

#[test]
fn what_is_not_whole_is_dropped() {
    let whole = bytes(REQUEST);
    assert!(Message::parse(&whole).is_some());
    for cut in 0..whole.len() {
        assert!(Message::parse(&whole[..cut]).is_none(), "cut at {cut}");
    }
    let mut trailing = whole.clone();
    trailing.extend([0; 4]);
    assert!(Message::parse(&trailing).is_none(), "trailing bytes");
    let empty = Writer::new(Class::Request, method::BINDING, &[7; 12]).finish(None, false);
    assert_eq!(Message::parse(&empty).unwrap().transaction(), [7; 12]);
    let mut cookie = empty.clone();
    cookie[4] ^= 1;
    assert!(Message::parse(&cookie).is_none(), "another cookie");
    let mut long =
        Writer::new(Class::Request, method::BINDING, &[7; 12]).add(attribute::NONCE, b"abcd").finish(None, false);
    long[23] = 5;
    assert!(Message::parse(&long).is_none(), "an attribute longer than the message");
}

#[test]
fn an_independent_codec_reads_what_is_written_and_writes_what_is_read() {
    let address: SocketAddr = "[2001:db8::1]:1234".parse().unwrap();
    for method in [method::BINDING, method::ALLOCATE, method::CHANNEL_BIND, 0x0fff] {
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            let written = Writer::new(class, method, &[3; 12])
                .add_address(attribute::XOR_MAPPED_ADDRESS, address)
                .add_error(attribute::ERROR_CODE, 0, 437, "Mismatch")
                .finish(Some(&short_term()), true);
            let theirs = Codec::from_bytes(&written).unwrap();
            assert_eq!(theirs.method().value(), method);
            let credentials: MessageIntegrityCredentials =
                ShortTermCredentials::new("VOkJxbRl1RmTxUk/WvJxBt".to_owned()).into();
            theirs.validate_integrity(&credentials).unwrap();
            let ours = Message::parse(&written).unwrap();
            assert_eq!((ours.class(), ours.method()), (class, method));
        }
    }
    let credentials: MessageIntegrityCredentials =
        ShortTermCredentials::new("VOkJxbRl1RmTxUk/WvJxBt".to_owned()).into();
    let mut theirs = Codec::builder_request(stun_types::message::BINDING, MessageWriteVec::new());
    theirs.add_message_integrity(&credentials, IntegrityAlgorithm::Sha1).unwrap();
    theirs.add_fingerprint().unwrap();
    assert!(Message::parse(&theirs.finish()).unwrap().is_signed_with(&short_term()));
}

#[test]
fn behind_the_signature_only_its_own_kind_counts_and_of_duplicates_the_first() {
    let message = Writer::new(Class::Request, method::BINDING, &[0; 12])
        .add(attribute::REALM, b"one1")
        .add(attribute::REALM, b"two2")
        .add(attribute::MESSAGE_INTEGRITY, &[0; 20])
        .add(attribute::NONCE, b"late")
        .add(attribute::MESSAGE_INTEGRITY_SHA256, &[0; 32])
        .finish(None, true);
    let message = Message::parse(&message).unwrap();
    assert_eq!(message.text(attribute::REALM), Some("one1"));
    assert!(!message.has(attribute::NONCE));
    assert!(message.has(attribute::MESSAGE_INTEGRITY_SHA256) && message.has(attribute::FINGERPRINT));
    assert_eq!(message.unknown(&[attribute::REALM, attribute::MESSAGE_INTEGRITY]), [0x001c]);
}
