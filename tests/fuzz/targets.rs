//! What must hold for every input, one function per way in. `cargo fuzz` searches for inputs that break it, and
//! `tests/corpus.rs` replays those it has found interesting.
//!
//! Not here: what arrives inside an authenticated DTLS session; a fuzzer cannot forge one. The simulator sends that.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crosspoint::rtp::{self, Codec};
use crosspoint::sfu::command::{Command, Credential, EndReason, ExpectedIce, Join, Reply, Role, SessionId};
use crosspoint::sfu::{Datagram, EarlyViewers, Settings, Sfu, ShardIndex, Via};
use crosspoint::turn::framing::{Deframer, LONGEST};
use crosspoint::turn::{self, Carrier, StreamId};
use str0m::config::DtlsCert;
use stun_types::attribute::{AttributeType, Nonce, RawAttribute, Realm, Username};
use stun_types::message::{IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageWriteVec, Method};
use stun_types::prelude::*;

/// Longer than every timeout of [`machine`].
const AN_AGE: Duration = Duration::from_secs(120);

/// A session that only waits is woken a few times a second at most.
const WAKE_UPS: usize = 10_000;

const SESSION: SessionId = SessionId([7; 16]);

/// An offer that is accepted, for targets that need a session.
const OFFER: &str = include_str!("../offers/chromium_whip_simulcast.sdp");

/// First byte: codec; second: how many of the next bytes are the dependency descriptor; the rest is payload.
///
/// Parsing any payload ends, without a panic, and gives the same result twice.
pub(crate) fn descriptors(input: &[u8]) {
    let [codec, length, rest @ ..] = input else { return };
    const CODECS: [Codec; 6] = [Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::H265, Codec::Av1];
    let codec = CODECS[usize::from(*codec) % CODECS.len()];
    let (descriptor, payload) = rest.split_at(usize::from(*length).min(rest.len()));
    let descriptor = (*length > 0).then_some(descriptor);
    let inspected = rtp::inspect(codec, payload, descriptor);
    assert_eq!(inspected, rtp::inspect(codec, payload, descriptor));
    if codec == Codec::Opus {
        let mut retyped = payload.to_vec();
        rtp::red::retype(&mut retyped, 96);
        assert_eq!(rtp::red::primary(&retyped), rtp::red::primary(payload));
    }
}

/// Any text as the offer of a publisher and of a viewer: it is answered or refused, and nothing remains of it.
pub(crate) fn offer(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let now = start();
    let mut sfu = machine();
    for role in [Role::Publish, Role::Play { participant: None }] {
        let reply = sfu.command(now, join(role, &text));
        match reply {
            Reply::Joined(joined) => {
                assert!(joined.answer.starts_with("v=0\r\n"), "FFmpeg wants `v=` first");
                assert!(joined.answer.ends_with("\r\n"), "OBS wants the last line to be one");
            }
            Reply::Failed(_) | Reply::CounterOffer { .. } => {}
            other => panic!("not a reply to a join: {other:?}"),
        }
        sfu.command(now, Command::Leave { session: SESSION, reason: EndReason::Deleted });
        settle(&mut sfu, now);
        assert!(sfu.is_empty(), "something remained");
    }
}

/// Any text as a trickle or restart of a living session: the session survives it.
pub(crate) fn fragment(input: &[u8]) {
    let fragment = String::from_utf8_lossy(input).into_owned();
    let now = start();
    let mut sfu = machine();
    let reply = sfu.command(now, join(Role::Publish, OFFER));
    assert!(matches!(reply, Reply::Joined(_)), "the fixture is accepted: {reply:?}");
    let reply = sfu.command(now, Command::Patch { session: SESSION, expected: ExpectedIce::Any, fragment });
    assert!(matches!(reply, Reply::Done | Reply::Restarted { .. } | Reply::Failed(_)), "{reply:?}");
    assert!(matches!(sfu.command(now, Command::Inspect { session: SESSION }), Reply::Session(_)));
}

/// A run of datagrams, each behind two bytes: which of four addresses it comes from, and its length.
///
/// Without the session's ICE password none of them moves anything: no address is learned, nobody is connected, and at
/// most one datagram is answered for each that came, so that the server amplifies nothing.
pub(crate) fn datagrams(input: &[u8]) {
    let now = start();
    let mut sfu = machine();
    let reply = sfu.command(now, join(Role::Publish, OFFER));
    assert!(matches!(reply, Reply::Joined(_)), "the fixture is accepted: {reply:?}");
    let (mut rest, mut arrived) = (input, 0);
    while let [source, length, after @ ..] = rest {
        let (contents, behind) = after.split_at(usize::from(*length).min(after.len()));
        let remote = SocketAddr::from(([127, 0, 0, 1], 40_000 + u16::from(source % 4)));
        sfu.handle(now, &Datagram { remote, local_ip: None, via: Via::Socket, contents });
        arrived += 1;
        rest = behind;
    }
    sfu.flush(now);
    assert!(sfu.outbox().datagrams.len() <= arrived, "the server amplifies");
    let stats = sfu.stats();
    if stats.checks_accepted == 0 {
        assert_eq!(stats.addresses, 0, "an address was learned without an authenticated check");
    }
    settle(&mut sfu, now);
    assert!(sfu.is_empty(), "a session that never connected remained");
}

/// A stream cut into pieces (their length is the first byte) holds the same messages as in one piece.
pub(crate) fn framing(input: &[u8]) {
    let [piece, stream @ ..] = input else { return };
    let read = |piece: usize| {
        let (mut deframer, mut messages) = (Deframer::default(), Vec::new());
        let mut pieces = stream.chunks(piece.max(1));
        let ended = pieces.try_for_each(|bytes| deframer.push(bytes, |message| messages.push(message.to_vec())));
        (messages, ended, deframer.framing())
    };
    let (whole, ended, framing) = read(stream.len());
    let (pieces, ended_in_pieces, framing_in_pieces) = read(usize::from(*piece));
    assert_eq!((&whole, ended, framing), (&pieces, ended_in_pieces, framing_in_pieces));
    assert!(whole.iter().all(|message| message.len() <= LONGEST));
}

/// A run of messages, each behind three bytes: which of four clients sends it, its kind, its length. Of kind 0 it is
/// sent as it is; of the others it is the attributes of a request with that method, which is signed.
///
/// Each is answered once at most, strangers in less than three times what they sent, and when time has passed nothing
/// is left.
pub(crate) fn turn(input: &[u8]) {
    let mut now = start();
    let mut server = turn::Server::new(relaying(), [1; 32]);
    let mut rest = input;
    while let [source, kind, length, after @ ..] = rest {
        let (contents, behind) = after.split_at(usize::from(*length).min(after.len()));
        rest = behind;
        let remote = SocketAddr::from(([192, 0, 2, 1], 40_000 + u16::from(source % 4)));
        let carrier = if source & 4 == 0 { Carrier::Udp } else { Carrier::Stream(StreamId((source % 4).into())) };
        let client = turn::Client { carrier, remote, local_ip: None };
        // Time passes with every message, so that what runs out does so in between.
        now += Duration::from_secs(u64::from(source >> 3) * 10);
        server.expire(now);
        match kind {
            0 => {
                if let turn::Output::Reply(answer) = server.handle(now, &client, contents) {
                    assert!(answer.len() < 3 * contents.len(), "the server amplifies");
                }
            }
            method => {
                let request = signed(&mut server, now, &client, u16::from(*method % 12), contents);
                let _ = server.handle(now, &client, &request);
            }
        }
        assert!(server.counters().allocations <= 8);
    }
    server.expire(now + AN_AGE * 60);
    assert!(server.is_empty(), "an allocation outlived its time");
    assert_eq!(server.deadline(), None);
}

/// A request with these attributes in front of valid credentials.
fn signed(server: &mut turn::Server, now: Instant, client: &turn::Client, method: u16, attributes: &[u8]) -> Vec<u8> {
    let challenged = Message::builder_request(Method::new(3), MessageWriteVec::new()).finish();
    let turn::Output::Reply(challenge) = server.handle(now, client, &challenged) else { return Vec::new() };
    let challenge = Message::from_bytes(&challenge).expect("an answer is well-formed");
    let nonce = challenge.attribute::<Nonce>().expect("a challenge has a nonce");
    let expiry = now.duration_since(start()) + Duration::from_secs(600);
    let turn::Credential { username, password } = turn::Credential::mint(b"secret", expiry, "somebody");
    let mut request = Message::builder_request(Method::new(method), MessageWriteVec::new());
    let mut rest = attributes;
    while let [kind, length, after @ ..] = rest {
        let (value, behind) = after.split_at(usize::from(*length).min(after.len()));
        rest = behind;
        // Those of RFC 8489 and 8656 below 0x40, and the optional ones from 0x8000.
        let kind = u16::from(kind & 0x3f) | u16::from(kind & 0x80) << 8;
        if !matches!(kind, 0x06 | 0x08 | 0x14 | 0x15 | 0x1c | 0x8028) {
            let _ = request.add_attribute(&RawAttribute::new(AttributeType::new(kind), value));
        }
    }
    let user = Username::new(&username).expect("a user name");
    let realm = Realm::new(turn::REALM).expect("a realm");
    let added = [request.add_attribute(&user), request.add_attribute(&realm), request.add_attribute(&nonce)];
    assert!(added.iter().all(Result::is_ok));
    let credentials = LongTermKeyCredentials::new(username, password, turn::REALM.to_owned());
    request.add_message_integrity(&credentials.into(), IntegrityAlgorithm::Sha1).expect("a signature");
    request.finish()
}

fn relaying() -> turn::Settings {
    turn::Settings {
        relaying: true,
        secrets: vec![b"secret".to_vec()],
        relay_ips: vec!["203.0.113.1".parse().expect("an address"), "2001:db8::1".parse().expect("an address")],
        ports: 50_000..=50_031,
        media: vec![SocketAddr::from(([203, 0, 113, 1], 3478))],
        allocations: 8,
        allocations_per_user: 6,
        bandwidth: 1000,
        ..turn::Settings::stun_only(start())
    }
}

/// A machine like a node's, always with the same seed, so that the ufrags in the corpus stay valid.
fn machine() -> Sfu {
    let settings = Settings {
        shard: ShardIndex(0),
        shards: 2,
        candidates: vec![SocketAddr::from(([192, 0, 2, 1], 3478))],
        loopback_candidates: Vec::new(),
        certificate: certificate(),
        early_viewers: EarlyViewers::Accept,
        resume_window: Duration::from_secs(30),
        playout_delays: Vec::new(),
        takeover_after: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(15),
        consent_timeout: Duration::from_secs(30),
        keyframe_share: 0.15,
        max_sessions: 4,
        max_viewers: 4,
        tcp: false,
        turn: crosspoint::turn::Settings::stun_only(start()),
        room_mode: crosspoint::sfu::signal::RoomMode::Sfu,
        max_members: 100,
        video_slots: 9,
        audio_slots: 4,
        member_resume_window: Duration::from_secs(10),
        clock: (start(), Duration::from_secs(1_000_000)),
    };
    Sfu::new(settings, [1; 32])
}

fn join(role: Role, offer: &str) -> Command {
    Command::Join(Box::new(Join {
        home: ShardIndex(0),
        session: SESSION,
        room: Arc::from("room"),
        role,
        identity: Arc::from("somebody"),
        credential: Credential::Anonymous,
        offer: offer.to_owned(),
        caller: None,
    }))
}

/// Lets every deadline pass.
fn settle(sfu: &mut Sfu, now: Instant) {
    let end = now + AN_AGE;
    let mut now = now;
    for _ in 0..WAKE_UPS {
        let Some(deadline) = sfu.deadline().filter(|deadline| *deadline <= end) else { return };
        now = now.max(deadline);
        sfu.flush(now);
        sfu.outbox().datagrams.clear();
    }
    panic!("the machine asks to be woken again and again");
}

/// Making a key pair takes longer than most inputs, so there is one of each.
fn certificate() -> DtlsCert {
    static CERTIFICATE: OnceLock<DtlsCert> = OnceLock::new();
    CERTIFICATE
        .get_or_init(|| {
            let provider = str0m::crypto::from_feature_flags();
            let certificate = provider.dtls_provider.generate_certificate();
            provider.install_process_default();
            certificate.expect("this machine can make a key pair")
        })
        .clone()
}

fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
