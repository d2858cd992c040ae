//! Who may allocate: time-limited user names whose password follows from a secret (draft-uberti-behave-turn-rest), and
//! nonces that need no memory.
//!
//! A user name is `<Unix time it expires>:<who>`, its password base64(HMAC-SHA1(secret, user name)). So whoever has the
//! secret makes credentials, this server keeps no list of them, and all shards (and nodes) agree.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use data_encoding::{BASE64, BASE64URL_NOPAD};
use stun_types::message::{IntegrityAlgorithm, IntegrityKey, LongTermCredentials};
use subtle::ConstantTimeEq as _;

use super::Carrier;

/// Named in challenges (RFC 8489 section 9.2). Short, because strangers are challenged: longer, and a challenge is more
/// than three times the shortest request, which an attacker would send in another's name.
pub const REALM: &str = "turn";

/// How long a nonce is good for. Longer: a captured request can be replayed for longer (from the same address only);
/// shorter: clients are asked to repeat requests more often.
const NONCE_LIFETIME: Duration = Duration::from_secs(3600);

/// Longest time into the future a user name may be good for. Longer: a leaked password is of use for longer; shorter:
/// credentials of others' making are refused.
const LONGEST_LIFETIME: Duration = Duration::from_secs(86_400);

/// Bytes of a nonce: seconds since the server started (4) and a keyed hash of them and the client's address (8).
const NONCE_BYTES: usize = 12;

/// A user name and its password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// `<expiry>:<who>`.
    pub username: String,
    /// base64, 28 characters.
    pub password: String,
}

impl Credential {
    /// Makes a credential that is good until `expiry`, in Unix time.
    pub fn mint(secret: &[u8], expiry: Duration, who: &str) -> Self {
        let username = format!("{}:{who}", expiry.as_secs());
        let password = password(secret, &username);
        Self { username, password }
    }
}

/// The Unix time at one moment of the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct WallClock {
    /// The moment.
    pub at: Instant,
    /// The Unix time then.
    pub unix: Duration,
}

impl WallClock {
    fn unix(&self, now: Instant) -> Duration {
        self.unix + now.saturating_duration_since(self.at)
    }
}

/// What a nonce was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nonce {
    Fresh,
    /// Too old, another client's, or not ours.
    Stale,
}

#[derive(Debug)]
pub(super) struct Guard {
    secrets: Vec<Vec<u8>>,
    clock: WallClock,
    nonce_key: hmac::Key,
}

impl Guard {
    /// Nonces are made with `nonce_key`; the same one on every shard.
    pub(super) fn new(secrets: Vec<Vec<u8>>, clock: WallClock, nonce_key: &[u8]) -> Self {
        Self { secrets, clock, nonce_key: hmac::Key::new(hmac::HMAC_SHA256, nonce_key) }
    }

    /// A nonce for a client at this address.
    pub(super) fn nonce(&self, now: Instant, carrier: Carrier, remote: SocketAddr) -> String {
        let seconds = now.saturating_duration_since(self.clock.at).as_secs();
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let mut nonce = seconds.to_be_bytes().to_vec();
        nonce.extend(self.seal(seconds, carrier, remote));
        BASE64URL_NOPAD.encode(&nonce)
    }

    pub(super) fn judge_nonce(&self, now: Instant, carrier: Carrier, remote: SocketAddr, nonce: &[u8]) -> Nonce {
        let read = || {
            let bytes: [u8; NONCE_BYTES] = BASE64URL_NOPAD.decode(nonce).ok()?.try_into().ok()?;
            let (seconds, seal) = bytes.split_first_chunk::<4>()?;
            Some((u32::from_be_bytes(*seconds), seal.to_vec()))
        };
        let Some((seconds, seal)) = read() else { return Nonce::Stale };
        let age = now.saturating_duration_since(self.clock.at).as_secs().checked_sub(seconds.into());
        let in_time = age.is_some_and(|age| age <= NONCE_LIFETIME.as_secs());
        let genuine = seal.ct_eq(&self.seal(seconds, carrier, remote));
        if in_time && genuine.into() { Nonce::Fresh } else { Nonce::Stale }
    }

    /// The keys a user name may sign with: one per secret. None if it is not of our form, or not good now.
    pub(super) fn keys<'a>(&'a self, now: Instant, username: &'a str) -> impl Iterator<Item = IntegrityKey> + 'a {
        let unix = self.clock.unix(now).as_secs();
        let in_time = expiry(username).is_some_and(|at| at > unix && at - unix <= LONGEST_LIFETIME.as_secs());
        let secrets = in_time.then_some(&self.secrets).into_iter().flatten();
        secrets.map(move |secret| key(username, &password(secret, username)))
    }

    fn seal(&self, seconds: u32, carrier: Carrier, remote: SocketAddr) -> [u8; 8] {
        let mut sealed = seconds.to_be_bytes().to_vec();
        sealed.push(u8::from(carrier == Carrier::Udp));
        match remote.ip() {
            IpAddr::V4(ip) => sealed.extend(ip.octets()),
            IpAddr::V6(ip) => sealed.extend(ip.octets()),
        }
        sealed.extend(remote.port().to_be_bytes());
        let tag = hmac::sign(&self.nonce_key, &sealed);
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// Who a user name stands for, whatever its expiry: quotas count by this, so that a renewed credential does not reset
/// them.
pub(super) fn who(username: &str) -> &str {
    username.split_once(':').map_or(username, |(_, who)| who)
}

/// The key of a long-term credential (RFC 8489 section 9.2.2).
pub(super) fn key(username: &str, password: &str) -> IntegrityKey {
    let credentials = LongTermCredentials::new(username.to_owned(), password.to_owned());
    credentials.to_key(REALM.to_owned()).make_key(IntegrityAlgorithm::Sha1)
}

fn expiry(username: &str) -> Option<u64> {
    let (digits, _) = username.split_once(':').unwrap_or((username, ""));
    digits.parse().ok()
}

fn password(secret: &[u8], username: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    BASE64.encode(hmac::sign(&key, username.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_800_000_000;

    fn guard(now: Instant) -> Guard {
        let clock = WallClock { at: now, unix: Duration::from_secs(UNIX) };
        Guard::new(vec![b"new".to_vec(), b"old".to_vec()], clock, b"nonce key")
    }

    #[test]
    fn a_password_is_what_others_compute_from_the_same_secret() {
        // openssl: printf 1800000600:alice | openssl dgst -sha1 -hmac north -binary | base64
        let credential = Credential::mint(b"north", Duration::from_secs(1_800_000_600), "alice");
        assert_eq!(credential.username, "1800000600:alice");
        assert_eq!(credential.password, "8ZET7dsUGGXZ8WEDxmkDf0cN13Y=");
    }

    #[test]
    fn user_names_are_good_while_their_time_lasts_and_no_longer_than_a_day_ahead() {
        let now = Instant::now();
        let rows = [
            (format!("{}:alice", UNIX + 60), 2),
            (format!("{}", UNIX + 60), 2),
            (format!("{}:alice", UNIX), 0),
            (format!("{}:alice", UNIX - 1), 0),
            (format!("{}:alice", UNIX + 86_400), 2),
            (format!("{}:alice", UNIX + 86_401), 0),
            ("alice".to_owned(), 0),
            (":alice".to_owned(), 0),
            ("alice:1800000060".to_owned(), 0),
            ("-5:alice".to_owned(), 0),
            (String::new(), 0),
        ];
        for (username, keys) in rows {
            assert_eq!(guard(now).keys(now, &username).count(), keys, "{username}");
        }
        let username = format!("{}:alice", UNIX + 60);
        assert_eq!(guard(now).keys(now + Duration::from_secs(60), &username).count(), 0, "a minute later");
    }

    #[test]
    fn a_nonce_is_good_for_an_hour_and_for_one_address() {
        let now = Instant::now();
        let guard = guard(now);
        let remote: SocketAddr = "192.0.2.1:5000".parse().unwrap();
        let nonce = guard.nonce(now, Carrier::Udp, remote);
        let judge = |at, carrier, remote: &str, nonce: &str| {
            guard.judge_nonce(at, carrier, remote.parse().unwrap(), nonce.as_bytes())
        };
        let hour = now + NONCE_LIFETIME;
        assert_eq!(judge(now, Carrier::Udp, "192.0.2.1:5000", &nonce), Nonce::Fresh);
        assert_eq!(judge(hour, Carrier::Udp, "192.0.2.1:5000", &nonce), Nonce::Fresh);
        assert_eq!(judge(hour + Duration::from_secs(1), Carrier::Udp, "192.0.2.1:5000", &nonce), Nonce::Stale);
        assert_eq!(judge(now, Carrier::Udp, "192.0.2.1:5001", &nonce), Nonce::Stale);
        assert_eq!(judge(now, Carrier::Udp, "192.0.2.2:5000", &nonce), Nonce::Stale);
        assert_eq!(judge(now, Carrier::Stream(super::super::StreamId(1)), "192.0.2.1:5000", &nonce), Nonce::Stale);
        for forged in ["", "x", "AAAAAAAAAAAAAAAA", &format!("{nonce}A")] {
            assert_eq!(judge(now, Carrier::Udp, "192.0.2.1:5000", forged), Nonce::Stale, "{forged}");
        }
    }
}
