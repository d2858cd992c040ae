//! What ICE needs beside str0m: whose a check is, checks str0m would refuse, and life signs of clients that send none.
//!
//! STUN itself (RFC 8489) is `stun-types`' work; here are a cheap look at USERNAME, and two ways to speak to str0m in
//! the words it expects. Not here: answering checks (str0m), the plain STUN server and TURN (`turn`).

use stun_types::attribute::{AttributeType, MessageIntegrity, RawAttribute, Username};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageIntegrityCredentials, MessageType, MessageWrite,
    MessageWriteExt, MessageWriteVec, ShortTermCredentials, TransactionId,
};
use stun_types::prelude::*;

const HEADER: usize = 20;
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const PRIORITY: AttributeType = AttributeType::new(0x0024);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);

/// Never has to decide: an ICE-lite agent is controlled. Not zero, which some take for none.
const TIE_BREAKER: [u8; 8] = [1; 8];

/// Priority of a peer-reflexive candidate of component 1 (RFC 8445 section 5.1.2.1): what a check without PRIORITY most
/// likely meant. It orders candidate pairs and nothing else.
const DEFAULT_PRIORITY: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Transaction id of the keepalives we make for str0m; its replies to them are known by it.
const KEEPALIVE: [u8; 12] = *b"cp-keepalive";

/// The datagram is a STUN Binding request (RFC 8489 section 5), as far as its header tells.
pub fn is_binding_request(datagram: &[u8]) -> bool {
    datagram.starts_with(&[0, 1]) && datagram.get(4..8) == Some(&COOKIE) && datagram.len() >= HEADER
}

/// The two halves of an ICE check's USERNAME: the receiver's ufrag and the sender's (RFC 8445 section 7.2.2). `None`
/// for everything else, among it a plain Binding request, which asks a STUN server for an address.
///
/// Nothing is verified: this only says who has the password to verify with.
pub fn username(datagram: &[u8]) -> Option<(&str, &str)> {
    if !is_binding_request(datagram) {
        return None;
    }
    let username = attribute(datagram, Username::TYPE)?;
    std::str::from_utf8(username).ok()?.split_once(':')
}

/// A check made whole for str0m, which refuses those without PRIORITY: FFmpeg's lack it. `None` when the check has one,
/// and when it is not a check that this password signed; then the datagram goes on as it is.
pub fn with_priority(datagram: &[u8], password: &str) -> Option<Vec<u8>> {
    if !is_binding_request(datagram) || attribute(datagram, PRIORITY).is_some() {
        return None;
    }
    let message = Message::from_bytes(datagram).ok()?;
    let credentials = credentials(password);
    message.validate_integrity(&credentials).ok()?;
    let mut request = Message::builder(message.get_type(), message.transaction_id(), MessageWriteVec::new());
    let signed = message.iter_attributes().map(|(_, attribute)| attribute);
    for attribute in signed.take_while(|attribute| attribute.get_type() != MessageIntegrity::TYPE) {
        request.add_attribute(&attribute).ok()?;
    }
    finish(request, &credentials)
}

/// A check as the client would send it, for str0m, which gives an ICE-lite pair up 15 s after the last one. libnice
/// (GStreamer) sends none after nomination, so authenticated media has to stand for them: feed this in with the
/// client's address as source, and drop the reply ([`is_keepalive_reply`]).
///
/// `None` only if the ufrags are longer than a USERNAME may be.
pub fn keepalive(local_ufrag: &str, remote_ufrag: &str, password: &str) -> Option<Vec<u8>> {
    finish(request(local_ufrag, remote_ufrag, KEEPALIVE)?, &credentials(password))
}

/// A check of ours for a client, signed with its password. It says that the client controls (RFC 8445 section 7.1.3):
/// libjuice refuses checks that say nothing about it. `None` only if the ufrags are longer than a USERNAME may be.
pub fn check(receiver: &str, sender: &str, password: &str, id: [u8; 12]) -> Option<Vec<u8>> {
    let mut request = request(receiver, sender, id)?;
    request.add_attribute(&RawAttribute::new(ICE_CONTROLLED, &TIE_BREAKER)).ok()?;
    finish(request, &credentials(password))
}

/// The datagram is an answer to a check, as far as its header tells.
pub fn is_answer(datagram: &[u8]) -> bool {
    datagram.starts_with(&[1, 1]) && datagram.get(4..8) == Some(&COOKIE) && datagram.len() >= HEADER
}

/// Which check a datagram answers, if whoever has the password signed it.
pub fn answered(datagram: &[u8], password: &str) -> Option<[u8; 12]> {
    let message = Message::from_bytes(datagram).ok().filter(|_| is_answer(datagram))?;
    message.validate_integrity(&credentials(password)).ok()?;
    datagram.get(8..HEADER)?.try_into().ok()
}

/// The datagram is str0m's reply to a [`keepalive`], which no client waits for.
pub fn is_keepalive_reply(datagram: &[u8]) -> bool {
    datagram.starts_with(&[1, 1]) && datagram.get(4..8) == Some(&COOKIE) && datagram.get(8..HEADER) == Some(&KEEPALIVE)
}

/// The value of the first attribute of this type before MESSAGE-INTEGRITY: what comes after does not count.
fn attribute(datagram: &[u8], wanted: AttributeType) -> Option<&[u8]> {
    let mut rest = datagram.get(HEADER..)?;
    while let Some((&[t0, t1, l0, l1], after)) = rest.split_first_chunk() {
        let attribute_type = AttributeType::new(u16::from_be_bytes([t0, t1]));
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        if attribute_type == wanted {
            return after.get(..length);
        }
        if attribute_type == MessageIntegrity::TYPE {
            return None;
        }
        rest = after.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Adds PRIORITY, signature and fingerprint.
fn request(receiver: &str, sender: &str, id: [u8; 12]) -> Option<MessageWriteVec> {
    let request_type = MessageType::from_class_method(MessageClass::Request, BINDING);
    let mut request = Message::builder(request_type, transaction(id), MessageWriteVec::new());
    request.add_attribute(&Username::new(&format!("{receiver}:{sender}")).ok()?).ok()?;
    Some(request)
}

fn finish(mut request: MessageWriteVec, credentials: &MessageIntegrityCredentials) -> Option<Vec<u8>> {
    request.add_attribute(&RawAttribute::new(PRIORITY, &DEFAULT_PRIORITY.to_be_bytes())).ok()?;
    request.add_message_integrity(credentials, IntegrityAlgorithm::Sha1).ok()?;
    request.add_fingerprint().ok()?;
    Some(request.finish())
}

fn credentials(password: &str) -> MessageIntegrityCredentials {
    ShortTermCredentials::new(password.to_owned()).into()
}

fn transaction(id: [u8; 12]) -> TransactionId {
    id.iter().fold(0, |number: u128, byte| (number << 8) | u128::from(*byte)).into()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, Instant};

    use str0m::net::{DatagramRecv, Protocol, Receive};
    use str0m::{Candidate, IceConnectionState, IceCreds, Input, Output, Rtc};

    use super::*;

    const LOCAL: (&str, &str) = ("srvUfrag", "server-password-0123456789");
    const USE_CANDIDATE: AttributeType = AttributeType::new(0x0025);

    fn client() -> SocketAddr {
        "192.0.2.9:40000".parse().unwrap()
    }

    fn server() -> SocketAddr {
        "192.0.2.1:3478".parse().unwrap()
    }

    /// What FFmpeg's first WHIP muxer sends.
    fn ffmpeg_check(password: &str) -> Vec<u8> {
        let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
        request.add_attribute(&Username::new("srvUfrag:cliU").unwrap()).unwrap();
        request.add_attribute(&RawAttribute::new(USE_CANDIDATE, &[])).unwrap();
        request.add_message_integrity(&credentials(password), IntegrityAlgorithm::Sha1).unwrap();
        request.add_fingerprint().unwrap();
        request.finish()
    }

    fn rtc(now: Instant) -> Rtc {
        let (ufrag, pass) = (LOCAL.0.to_owned(), LOCAL.1.to_owned());
        let builder = Rtc::builder().set_ice_lite(true).set_local_ice_credentials(IceCreds { ufrag, pass });
        let mut rtc = builder.build(now);
        rtc.add_local_candidate(Candidate::host(server(), "udp").unwrap());
        let remote = IceCreds { ufrag: "cliU".into(), pass: "client-password-0123456789".into() };
        rtc.direct_api().set_remote_ice_credentials(remote);
        rtc
    }

    /// Hands a datagram over and returns what str0m sends, and the last state of ICE it tells.
    fn feed(rtc: &mut Rtc, now: Instant, datagram: &[u8]) -> (Vec<Vec<u8>>, Option<IceConnectionState>) {
        let contents = DatagramRecv::try_from(datagram).unwrap();
        let receive = Receive { proto: Protocol::Udp, source: client(), destination: server(), contents };
        rtc.handle_input(Input::Receive(now, receive)).unwrap();
        drain(rtc)
    }

    fn drain(rtc: &mut Rtc) -> (Vec<Vec<u8>>, Option<IceConnectionState>) {
        let (mut sent, mut state) = (Vec::new(), None);
        loop {
            match rtc.poll_output().unwrap() {
                Output::Timeout(_) => return (sent, state),
                Output::Transmit(transmit) => sent.push(transmit.contents.to_vec()),
                Output::Event(str0m::Event::IceConnectionStateChange(new)) => state = Some(new),
                Output::Event(_) => {}
            }
        }
    }

    #[test]
    fn str0m_answers_ffmpegs_check_once_it_has_a_priority() {
        let now = Instant::now();
        let check = ffmpeg_check(LOCAL.1);
        assert!(DatagramRecv::try_from(check.as_slice()).is_err(), "str0m takes it as it is; with_priority can go");
        let whole = with_priority(&check, LOCAL.1).unwrap();
        let mut rtc = rtc(now);
        let (replies, _) = feed(&mut rtc, now, &whole);
        let [reply] = replies.as_slice() else { panic!("one reply, not {}", replies.len()) };
        assert_eq!(reply[..2], [1, 1], "binding success");
        assert_eq!(reply[4..20], check[4..20], "the client's transaction");
        rtc.handle_input(Input::Timeout(now + Duration::from_millis(50))).unwrap();
        assert_eq!(drain(&mut rtc).1, Some(IceConnectionState::Completed), "USE-CANDIDATE was kept");
    }

    #[test]
    fn only_checks_signed_with_the_password_are_made_whole() {
        let whole = with_priority(&ffmpeg_check(LOCAL.1), LOCAL.1).unwrap();
        let mut flipped = ffmpeg_check(LOCAL.1);
        flipped[30] ^= 1;
        let mut truncated = ffmpeg_check(LOCAL.1);
        truncated.truncate(40);
        let plain = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        let rows = [ffmpeg_check("another-password-0123456789"), whole, flipped, truncated, plain, vec![0; 20], vec![]];
        for (index, datagram) in rows.iter().enumerate() {
            assert_eq!(with_priority(datagram, LOCAL.1), None, "row {index}");
        }
    }

    #[test]
    fn a_keepalive_keeps_a_silent_pair_alive() {
        let start = Instant::now();
        for keep in [true, false] {
            let mut rtc = rtc(start);
            feed(&mut rtc, start, &with_priority(&ffmpeg_check(LOCAL.1), LOCAL.1).unwrap());
            let mut last = None;
            for second in 1..30 {
                let now = start + Duration::from_secs(second);
                rtc.handle_input(Input::Timeout(now)).unwrap();
                last = drain(&mut rtc).1.or(last);
                if keep && second % 5 == 0 {
                    let (replies, _) = feed(&mut rtc, now, &keepalive(LOCAL.0, "cliU", LOCAL.1).unwrap());
                    assert!(replies.iter().all(|reply| is_keepalive_reply(reply)), "the reply can be told");
                    assert_eq!(replies.len(), 1);
                }
            }
            assert_eq!(last == Some(IceConnectionState::Disconnected), !keep, "{last:?}");
        }
    }

    #[test]
    fn a_username_is_found_before_the_signature_and_nowhere_else() {
        let check = ffmpeg_check(LOCAL.1);
        assert_eq!(username(&check), Some(("srvUfrag", "cliU")));
        assert!(is_binding_request(&check) && !is_keepalive_reply(&check));

        let plain = Message::builder_request(BINDING, MessageWriteVec::new()).finish();
        assert!(is_binding_request(&plain));
        assert_eq!(username(&plain), None);

        for cut in 0..check.len() {
            // Never a panic, whatever is missing.
            let _ = username(&check[..cut]);
        }
        let mut dtls = check.clone();
        dtls[0] = 22;
        let mut cookie = check.clone();
        cookie[4] ^= 1;
        let mut long = check.clone();
        long[22] = 255;
        for datagram in [dtls, cookie, long] {
            assert_eq!(username(&datagram), None);
        }
        let mut after = Message::builder_request(BINDING, MessageWriteVec::new());
        after.add_message_integrity(&credentials(LOCAL.1), IntegrityAlgorithm::Sha1).unwrap();
        let mut after = after.finish();
        after.extend_from_slice(&[0, 6, 0, 3, b'a', b':', b'b', 0]);
        assert_eq!(username(&after), None);
    }
}
