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
use str0m::config::DtlsCert;

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
        takeover_after: Duration::from_secs(2),
        connect_timeout: Duration::from_secs(15),
        consent_timeout: Duration::from_secs(30),
        keyframe_share: 0.15,
        max_sessions: 4,
        max_viewers: 4,
        tcp: false,
        turn: crosspoint::turn::Settings::stun_only(start()),
        max_members: 100,
        member_resume_window: Duration::from_secs(10),
        clock: (start(), Duration::from_secs(1_000_000)),
    };
    Sfu::new(settings, [1; 32])
}

fn join(role: Role, offer: &str) -> Command {
    Command::Join(Box::new(Join {
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
