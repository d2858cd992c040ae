//! Whose datagram is it? Classification by first byte, the route inside our ICE ufrags, and the table of learned
//! addresses.
//!
//! An address is learned only from an authenticated ICE check, so nobody can divert a stream by sending from somewhere.
//! Not here: checking that authentication (the peer's `Rtc` does), STUN and TURN service.

use std::collections::HashMap;

use data_encoding::BASE32_NOPAD;
use rand::Rng;
use slotmap::{Key, KeyData};
use str0m::IceCreds;

use super::outbox::Source;
use super::{ParticipantKey, ShardIndex};

/// Addresses one `Sfu` remembers, its own peers' and those it forwards to other shards. Larger: more memory when many
/// peers use many addresses; smaller: peers beyond it cannot connect.
const MAX_ADDRESSES: usize = 1 << 17;

/// Version of the ufrag layout. Another version is not ours.
const VERSION: u16 = 1;

/// Bytes in a ufrag: version and shard (2), slot and generation (8), salt (2).
const UFRAG_BYTES: usize = 12;

/// The same in base32 characters. RFC 8839 section 5.4 allows 4 to 256.
const UFRAG_LENGTH: usize = 20;

/// Random bytes of an ICE password: 160 bits in 32 characters (RFC 8839 section 5.4 asks for 128 bits).
const PASSWORD_BYTES: usize = 20;

/// What the first byte of a datagram says (RFC 7983 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// STUN (0..=3).
    Stun,
    /// DTLS (20..=63) or SRTP and SRTCP (128..=191): belongs to whom its source address belongs.
    Media,
    /// TURN ChannelData (64..=79, and up to 127 as RFC 5766 had it).
    Channel,
    /// Anything else, or nothing.
    Unknown,
}

impl Class {
    pub(super) fn of(datagram: &[u8]) -> Self {
        match datagram.first() {
            Some(0..=3) => Class::Stun,
            Some(20..=63 | 128..=191) => Class::Media,
            Some(64..=127) => Class::Channel,
            _ => Class::Unknown,
        }
    }
}

/// The participant a ufrag of ours belongs to: routing a check needs no table, on no shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route {
    /// The shard that owns it.
    pub(super) shard: ShardIndex,
    /// The participant there. Its generation makes a reused slot a different key.
    pub(super) participant: ParticipantKey,
}

impl Route {
    /// Mints ICE credentials. The ufrag is version (4 bits), shard (12), slot and generation (32 each) and 16 random
    /// bits, so that every ICE restart has its own.
    pub(super) fn mint(self, rng: &mut impl Rng) -> IceCreds {
        let head = (VERSION << 12) | (self.shard.0 & 0x0fff);
        let mut ufrag = Vec::with_capacity(UFRAG_BYTES);
        ufrag.extend(head.to_be_bytes());
        ufrag.extend(self.participant.data().as_ffi().to_be_bytes());
        let mut random = [0; PASSWORD_BYTES + 2];
        rng.fill_bytes(&mut random);
        let (salt, password) = random.split_at(2);
        ufrag.extend(salt);
        IceCreds {
            ufrag: BASE32_NOPAD.encode(&ufrag).to_ascii_lowercase(),
            pass: BASE32_NOPAD.encode(password).to_ascii_lowercase(),
        }
    }

    /// Reads the route back. `None` for anything we did not mint.
    pub(super) fn of_ufrag(ufrag: &[u8]) -> Option<Self> {
        let mut upper: [u8; UFRAG_LENGTH] = ufrag.try_into().ok()?;
        upper.make_ascii_uppercase();
        let mut bytes = [0; UFRAG_BYTES];
        BASE32_NOPAD.decode_mut(&upper, &mut bytes).ok()?;
        let (head, rest) = bytes.split_first_chunk::<2>()?;
        let (key, _salt) = rest.split_first_chunk::<8>()?;
        let head = u16::from_be_bytes(*head);
        (head >> 12 == VERSION).then(|| Route {
            shard: ShardIndex(head & 0x0fff),
            participant: KeyData::from_ffi(u64::from_be_bytes(*key)).into(),
        })
    }
}

/// Who owns an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A participant of this `Sfu`.
    Participant(ParticipantKey),
    /// A participant of another shard.
    Shard(ShardIndex),
}

/// Learned addresses. Keyed by an attacker-chosen value, so with the standard library's seeded hash.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    owners: HashMap<Source, Owner>,
}

impl AddressBook {
    pub(super) fn owner(&self, address: Source) -> Option<Owner> {
        self.owners.get(&address).copied()
    }

    /// Records an owner, replacing another (NAT port reuse). Returns false when the book is full.
    pub(super) fn learn(&mut self, address: Source, owner: Owner) -> bool {
        if self.owners.len() >= MAX_ADDRESSES && !self.owners.contains_key(&address) {
            return false;
        }
        self.owners.insert(address, owner);
        true
    }

    /// Forgets an address, if it is still that owner's.
    pub(super) fn forget(&mut self, address: Source, owner: Owner) {
        if self.owners.get(&address) == Some(&owner) {
            self.owners.remove(&address);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.owners.len()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use slotmap::SlotMap;

    use super::super::outbox::Protocol;
    use super::*;

    #[test]
    fn a_ufrag_carries_shard_slot_and_generation() {
        let mut participants = SlotMap::<ParticipantKey, ()>::with_key();
        let mut rng = StdRng::seed_from_u64(1);
        for shard in [0, 1, 77, 0x0fff] {
            let participant = participants.insert(());
            let route = Route { shard: ShardIndex(shard), participant };
            let (first, second) = (route.mint(&mut rng), route.mint(&mut rng));
            assert_ne!(first.ufrag, second.ufrag, "each restart has its own");
            assert_eq!(Route::of_ufrag(first.ufrag.as_bytes()), Some(route));
            assert_eq!(Route::of_ufrag(second.ufrag.as_bytes()), Some(route));
        }
    }

    #[test]
    fn a_reused_slot_is_another_route() {
        let mut participants = SlotMap::<ParticipantKey, ()>::with_key();
        let first = participants.insert(());
        participants.remove(first);
        let second = participants.insert(());
        assert_ne!(first, second);
    }

    #[test]
    fn a_foreign_ufrag_has_no_route() {
        for ufrag in ["", "UIBf", "aaaaaaaaaaaaaaaaaaaa", "1111111111111111111!", "ÄÄÄÄÄÄÄÄÄÄ", "aaaaaaaaaaaaaaaaaaaaa"]
        {
            assert_eq!(Route::of_ufrag(ufrag.as_bytes()), None, "{ufrag}");
        }
    }

    #[test]
    fn first_bytes_are_classified_by_rfc_7983_and_its_predecessor() {
        for byte in 0..=255u8 {
            let expected = match byte {
                0..=3 => Class::Stun,
                20..=63 | 128..=191 => Class::Media,
                64..=127 => Class::Channel,
                _ => Class::Unknown,
            };
            assert_eq!(Class::of(&[byte, 0]), expected, "{byte}");
        }
        assert_eq!(Class::of(&[]), Class::Unknown);
    }

    #[test]
    fn an_address_is_forgotten_only_by_its_present_owner() {
        let mut participants = SlotMap::<ParticipantKey, ()>::with_key();
        let (old, new) = (Owner::Participant(participants.insert(())), Owner::Participant(participants.insert(())));
        let address = Source { address: "192.0.2.1:5000".parse().unwrap(), protocol: Protocol::Udp };
        let mut book = AddressBook::default();
        assert!(book.learn(address, old));
        assert!(book.learn(address, new), "a verified check re-points it");
        book.forget(address, old);
        assert_eq!(book.owner(address), Some(new));
        book.forget(address, new);
        assert_eq!(book.len(), 0);
    }
}
