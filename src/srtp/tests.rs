//! The examples of RFC 7714 and RFC 3711, and what is not a packet.

use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    data_encoding::HEXLOWER.decode(digits.as_bytes()).unwrap()
}

fn key(profile: Profile, length: u8) -> LessSafeKey {
    let algorithm = if profile == Profile::Aes128Gcm { &AES_128_GCM } else { &AES_256_GCM };
    LessSafeKey::new(UnboundKey::new(algorithm, &(0..length).collect::<Vec<u8>>()).unwrap())
}

const SALT_OF_EXAMPLES: [u8; SALT] = *b"Quid pro quo";

/// The packet of RFC 7714 section 16: header, and "Gallia est omnis divisa in partes tres".
const PACKET: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 \
                      61727465 73207472 6573";

#[test]
fn rtp_is_sealed_as_in_rfc_7714_section_16() {
    let rows = [
        (
            Profile::Aes128Gcm,
            16,
            "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833 \
             899d7f27 beb16a91 52cf765e e4390cce",
        ),
        (
            Profile::Aes256Gcm,
            32,
            "32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b \
             7aa3db36 dfffd6b0 f9bb7878 d7a76c13",
        ),
    ];
    for (profile, length, expected) in rows {
        let sealer = RtpSealer { key: key(profile, length), salt: SALT_OF_EXAMPLES };
        let mut buffer = vec![0xee; 5];
        buffer.extend(hex(PACKET));
        assert!(sealer.seal(&mut buffer, 5, 12, 0x5501_a0b2, 0xf17b));
        assert_eq!(buffer[..5], [0xee; 5]);
        assert_eq!(buffer[5..17], hex(PACKET)[..12], "the header stays readable");
        assert_eq!(buffer[17..], hex(expected));
        let mut packet = buffer[5..].to_vec();
        assert!(!sealer.open(&mut packet.clone(), 12, 0x5501_a0b2, 0x1_f17b), "of another index");
        assert!(sealer.open(&mut packet, 12, 0x5501_a0b2, 0xf17b) && packet == hex(PACKET));
        assert!(!sealer.open(&mut packet, 80, 1, 1), "no packet there");
        assert!(!sealer.seal(&mut buffer, 80, 12, 1, 1), "no packet there");
    }
}

#[test]
fn rtcp_is_sealed_as_in_rfc_7714_section_17() {
    let plain =
        hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef \
                     deadbeef deadbeef");
    let cipher = RtcpCipher { key: key(Profile::Aes128Gcm, 16), salt: SALT_OF_EXAMPLES };
    let sealed = cipher.seal(plain.clone(), 0x5d4).unwrap();
    let expected = hex("81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda \
                        4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4");
    assert_eq!(sealed, expected);
    assert_eq!(cipher.open(&sealed), Some((plain, 0x5d4)));
    for broken in 0..sealed.len() {
        let mut broken_packet = sealed.clone();
        broken_packet[broken] ^= 0x80;
        assert_eq!(cipher.open(&broken_packet), None, "byte {broken}");
    }
    for short in 0..sealed.len() {
        assert_eq!(cipher.open(&sealed[..short]), None, "{short} bytes");
    }
}

#[test]
fn keys_are_derived_as_in_rfc_3711_appendix_b_3() {
    let key = hex("e1f97a0d3e018be0d64fa32c06de4139");
    let salt = hex("0ec675ad498afeebb6960b3aabe6").try_into().unwrap();
    for (label, expected) in
        [(Label::RtpKey, "c61e7a93744f39ee10734afe3ff7a087"), (Label::RtpSalt, "30cbbc08863d8c85d49db34a9ae1")]
    {
        let expected = hex(expected);
        let mut derived = vec![0; expected.len()];
        derive(Profile::Aes128Gcm, &key, salt, label, &mut derived).unwrap();
        assert_eq!(derived, expected, "{label:?}");
    }
}

#[test]
fn exported_keys_are_split_by_sides() {
    let exported: Vec<u8> = (0..56).collect();
    let client = MasterKeys::from_exported(Profile::Aes128Gcm, &exported, Side::Client).unwrap();
    assert_eq!(
        (client.local.key[0], client.remote.key[0], client.local.salt[0], client.remote.salt[0]),
        (0, 16, 32, 44)
    );
    let server = MasterKeys::from_exported(Profile::Aes128Gcm, &exported, Side::Server).unwrap();
    assert_eq!(
        (server.local.key[0], server.remote.key[0], server.local.salt[0], server.remote.salt[0]),
        (16, 0, 44, 32)
    );
    assert!(MasterKeys::from_exported(Profile::Aes256Gcm, &exported, Side::Server).is_none(), "too short");
    assert!(MasterKeys::from_exported(Profile::Aes128Gcm, &[0; 57], Side::Server).is_none(), "too long");
}
