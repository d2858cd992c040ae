//! SRTP and SRTCP with AES-GCM (RFC 7714): keys from what DTLS exported, sealing RTP, opening and sealing RTCP. Pure:
//! bytes in, bytes out (level 0).
//!
//! A nonce is made of SSRC and packet index, and a key must never see one twice: who calls [`RtpSealer::seal`] owns the
//! SSRC's numbers, alone and for the life of the key. Not here: opening others' RTP, and the AES-CM profiles (str0m's).

use std::fmt;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

/// Bytes of the authentication tag of both profiles.
pub const TAG: usize = 16;

/// Bytes of the word with E flag and index behind an SRTCP packet.
const INDEX: usize = 4;

/// Bytes of an RTCP packet's head that stay readable: the first word and the sender's SSRC.
const CLEAR: usize = 8;

/// Bytes of master and session salts (RFC 7714 section 12).
const SALT: usize = 12;

/// The longest key.
const MAX_KEY: usize = 32;

/// E: the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;

/// Which cipher was agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// `AEAD_AES_128_GCM`.
    Aes128Gcm,
    /// `AEAD_AES_256_GCM`.
    Aes256Gcm,
}

/// Which side of the DTLS handshake this is: it tells whose half of the exported keys is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Sent the ClientHello.
    Client,
    /// Answered it.
    Server,
}

/// The master key and salt of one direction.
pub struct MasterKey {
    profile: Profile,
    key: [u8; MAX_KEY],
    salt: [u8; SALT],
}

/// Both directions of a connection.
#[derive(Debug)]
pub struct MasterKeys {
    /// For what we send.
    pub local: MasterKey,
    /// For what we receive.
    pub remote: MasterKey,
}

/// What the session keys are for (RFC 3711 section 4.3.2).
#[derive(Debug, Clone, Copy)]
enum Label {
    RtpKey = 0,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpSalt = 5,
}

/// Protects RTP packets of one direction, and opens what it has protected.
pub struct RtpSealer {
    key: LessSafeKey,
    salt: [u8; SALT],
}

/// Opens and protects RTCP packets of one direction.
pub struct RtcpCipher {
    key: LessSafeKey,
    salt: [u8; SALT],
}

impl Profile {
    fn key_length(self) -> usize {
        match self {
            Profile::Aes128Gcm => 16,
            Profile::Aes256Gcm => 32,
        }
    }
}

impl MasterKeys {
    /// Splits what DTLS exported: client's key, server's key, client's salt, server's salt (RFC 5764 section 4.2).
    /// `None` when that has another length than the profile says.
    pub fn from_exported(profile: Profile, exported: &[u8], side: Side) -> Option<Self> {
        let (client_key, rest) = exported.split_at_checked(profile.key_length())?;
        let (server_key, rest) = rest.split_at_checked(profile.key_length())?;
        let (client_salt, server_salt) = rest.split_at_checked(SALT)?;
        let client = MasterKey::new(profile, client_key, client_salt)?;
        let server = MasterKey::new(profile, server_key, server_salt)?;
        Some(match side {
            Side::Client => MasterKeys { local: client, remote: server },
            Side::Server => MasterKeys { local: server, remote: client },
        })
    }
}

impl MasterKey {
    fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        let mut padded = [0; MAX_KEY];
        padded.get_mut(..profile.key_length())?.copy_from_slice(key.get(..profile.key_length())?);
        Some(Self { profile, key: padded, salt: salt.try_into().ok()? })
    }

    /// The sealer of this direction's RTP packets.
    pub fn rtp(&self) -> Option<RtpSealer> {
        Some(RtpSealer { key: self.session_key(Label::RtpKey)?, salt: self.session_salt(Label::RtpSalt)? })
    }

    /// The cipher of this direction's RTCP packets.
    pub fn rtcp(&self) -> Option<RtcpCipher> {
        Some(RtcpCipher { key: self.session_key(Label::RtcpKey)?, salt: self.session_salt(Label::RtcpSalt)? })
    }

    fn session_key(&self, label: Label) -> Option<LessSafeKey> {
        let mut bytes = [0; MAX_KEY];
        let bytes = bytes.get_mut(..self.profile.key_length())?;
        self.derive(label, bytes)?;
        let algorithm = match self.profile {
            Profile::Aes128Gcm => &AES_128_GCM,
            Profile::Aes256Gcm => &AES_256_GCM,
        };
        Some(LessSafeKey::new(UnboundKey::new(algorithm, bytes).ok()?))
    }

    fn session_salt(&self, label: Label) -> Option<[u8; SALT]> {
        let mut salt = [0; SALT];
        self.derive(label, &mut salt)?;
        Some(salt)
    }

    fn derive(&self, label: Label, output: &mut [u8]) -> Option<()> {
        // A salt of 96 bits is padded to the 112 that the derivation is written for (RFC 7714 section 11).
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.salt;
        let key = self.key.get(..self.profile.key_length())?;
        derive(self.profile, key, [a, b, c, d, e, f, g, h, i, j, k, l, 0, 0], label, output)
    }
}

/// The key derivation of RFC 3711 section 4.3.3: the key stream of AES in counter mode, with the label added to the
/// master salt.
fn derive(profile: Profile, key: &[u8], salt: [u8; 14], label: Label, output: &mut [u8]) -> Option<()> {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = salt;
    let counter = [a, b, c, d, e, f, g, h ^ label as u8, i, j, k, l, m, n, 0, 0];
    let algorithm = match profile {
        Profile::Aes128Gcm => &AES_128,
        Profile::Aes256Gcm => &AES_256,
    };
    let stream = EncryptingKey::ctr(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
    output.fill(0);
    stream.less_safe_encrypt(output, EncryptionContext::Iv128(FixedLength::from(counter))).ok()?;
    Some(())
}

impl RtpSealer {
    /// Protects the packet that begins at `start` and has a header of `header` bytes, in place, and appends the tag.
    /// `index` is its sequence number extended by the rollover counter. False when the offsets are not of a packet.
    pub fn seal(&self, buffer: &mut Vec<u8>, start: usize, header: usize, ssrc: u32, index: u64) -> bool {
        let Some((header, payload)) = buffer.get_mut(start..).and_then(|packet| packet.split_at_mut_checked(header))
        else {
            return false;
        };
        let nonce = self.nonce(ssrc, index);
        let Ok(tag) = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload) else { return false };
        buffer.extend_from_slice(tag.as_ref());
        true
    }

    /// Opens a packet that was sealed here, in place: header and payload are left of it. False when it was not, or not
    /// under this number.
    pub fn open(&self, packet: &mut Vec<u8>, header: usize, ssrc: u32, index: u64) -> bool {
        let Some((head, sealed)) = packet.split_at_mut_checked(header) else { return false };
        let nonce = self.nonce(ssrc, index);
        let Ok(payload) = self.key.open_in_place(nonce, Aad::from(&*head), sealed).map(|payload| payload.len()) else {
            return false;
        };
        packet.truncate(header + payload);
        true
    }

    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let [a, b, c, d] = ssrc.to_be_bytes();
        let [_, _, e, f, g, h, i, j] = index.to_be_bytes();
        nonce([0, 0, a, b, c, d, e, f, g, h, i, j], &self.salt)
    }
}

impl RtcpCipher {
    /// The plain compound packet and its index. `None` when it is not authentic, or authenticated only (E = 0).
    pub fn open(&self, protected: &[u8]) -> Option<(Vec<u8>, u32)> {
        let (packet, word) = protected.split_last_chunk::<INDEX>()?;
        let word = u32::from_be_bytes(*word);
        let (head, sealed) = packet.split_first_chunk::<CLEAR>()?;
        if word & ENCRYPTED == 0 || sealed.len() < TAG {
            return None;
        }
        let index = word & !ENCRYPTED;
        let mut plain = packet.to_vec();
        let body = plain.get_mut(CLEAR..)?;
        let length = self.key.open_in_place(self.nonce(head, index), Aad::from(data(head, word)), body).ok()?.len();
        plain.truncate(CLEAR + length);
        Some((plain, index))
    }

    /// Protects a plain compound packet in place. `None` when it is shorter than the head of one.
    ///
    /// A packet [opened](Self::open) here that never left may be changed and sealed again under its index: only one
    /// packet of that index is ever seen by anybody.
    pub fn seal(&self, mut packet: Vec<u8>, index: u32) -> Option<Vec<u8>> {
        let word = index | ENCRYPTED;
        let (head, body) = packet.split_first_chunk_mut::<CLEAR>()?;
        let tag =
            self.key.seal_in_place_separate_tag(self.nonce(head, index), Aad::from(data(head, word)), body).ok()?;
        packet.extend_from_slice(tag.as_ref());
        packet.extend_from_slice(&word.to_be_bytes());
        Some(packet)
    }

    fn nonce(&self, head: &[u8; CLEAR], index: u32) -> Nonce {
        let [_, _, _, _, a, b, c, d] = *head;
        let [e, f, g, h] = index.to_be_bytes();
        nonce([0, 0, a, b, c, d, 0, 0, e, f, g, h], &self.salt)
    }
}

/// What of an SRTCP packet is authenticated only (RFC 7714 section 9.2).
fn data(head: &[u8; CLEAR], word: u32) -> [u8; CLEAR + INDEX] {
    let [a, b, c, d, e, f, g, h] = *head;
    let [i, j, k, l] = word.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// The nonce of RFC 7714 sections 8.1 and 9.1.
fn nonce(mut packet: [u8; SALT], salt: &[u8; SALT]) -> Nonce {
    for (byte, salt) in packet.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    Nonce::assume_unique_for_key(packet)
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

impl fmt::Debug for RtpSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtpSealer").finish_non_exhaustive()
    }
}

impl fmt::Debug for RtcpCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RtcpCipher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
