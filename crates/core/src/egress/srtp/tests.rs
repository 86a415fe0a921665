//! Vectors of RFC 3711 and RFC 7714, and both ends of one key.

use dimpl::SrtpProfile;

use super::*;

const HEADER_BYTES: usize = 12;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn crypto() -> &'static dyn SrtpProvider {
    str0m_aws_lc_rs::default_provider().srtp_provider
}

fn gcm(algorithm: &'static Algorithm, key: &[u8]) -> Cipher {
    let salt = hex("51756964 2070726f 2071756f");
    Cipher::Gcm {
        key: LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap()),
        salt: salt.try_into().unwrap(),
    }
}

fn session_keys(algorithm: &'static Algorithm, key: &[u8]) -> Keys {
    Keys {
        send_rtp: gcm(algorithm, key),
        send_rtcp: gcm(algorithm, key),
        receive_rtcp: gcm(algorithm, key),
    }
}

/// RFC 7714 section 16: "Gallia est omnis divisa in partes tres".
const RTP: &str = "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120
    696e2070 61727465 73207472 6573";

fn sealed_rtp(keys: &Keys) -> Vec<u8> {
    let mut packet = hex(RTP);
    packet.resize(packet.len() + keys.rtp_tag_bytes(), 0);
    keys.seal_rtp(&mut packet, HEADER_BYTES, 0x5501_a0b2, 0xf17b)
        .unwrap();
    packet
}

#[test]
fn rfc_7714_section_16_1_1_aes_128_gcm() {
    let keys = session_keys(&AES_128_GCM, &hex("000102030405060708090a0b0c0d0e0f"));
    let expected = hex(
        "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a
         51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
    assert_eq!(sealed_rtp(&keys), expected);
}

#[test]
fn rfc_7714_section_16_2_1_aes_256_gcm() {
    let key = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let keys = session_keys(&AES_256_GCM, &key);
    let expected = hex(
        "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02
         76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
    );
    assert_eq!(sealed_rtp(&keys), expected);
}

/// RFC 7714 section 17.
const RTCP: &str =
    "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef
     deadbeef deadbeef deadbeef";

/// `sealed` is what comes of `plain` with this index, and the other way round.
fn seals_rtcp(keys: &Keys, plain: &str, index: u32, sealed: &str) {
    let plain = hex(plain);
    let ssrc = u32::from_be_bytes(*plain[4..].first_chunk().unwrap());
    let mut packet = plain.clone();
    keys.seal_rtcp(&mut packet, 0, ssrc, index).unwrap();
    assert_eq!(packet, hex(sealed));
    let opened = keys.open_rtcp(&mut packet).unwrap();
    assert_eq!(opened, (plain.as_slice(), index));
}

#[test]
fn rfc_7714_section_17_1_srtcp_aes_128_gcm() {
    let keys = session_keys(&AES_128_GCM, &hex("000102030405060708090a0b0c0d0e0f"));
    let sealed =
        "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda
         4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4";
    seals_rtcp(&keys, RTCP, 0x5d4, sealed);
}

#[test]
fn rfc_7714_section_17_3_srtcp_aes_256_gcm() {
    let key = hex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    let keys = session_keys(&AES_256_GCM, &key);
    let sealed =
        "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be
         8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4";
    seals_rtcp(&keys, RTCP, 0x5d4, sealed);
}

/// With its tag, of which RFC 3711 gives no vector: the one that libsrtp tests itself with.
#[test]
fn libsrtp_s_vector_of_aes_cm_128_hmac_sha1_80() {
    let key = "e1f97a0d3e018be0d64fa32c06de4139";
    let salt = "0ec675ad498afeebb6960b3aabe6";
    let keying = Keying {
        profile: SrtpProfile::AES128_CM_SHA1_80,
        material: hex(&[key, key, salt, salt].concat()),
        active: true,
    };
    let keys = Keys::new(&keying, crypto()).unwrap();
    let mut packet = hex("800f1234 decafbad cafebabe abababab abababab abababab abababab");
    packet.resize(packet.len() + keys.rtp_tag_bytes(), 0);
    keys.seal_rtp(&mut packet, HEADER_BYTES, 0xcafe_babe, 0x1234)
        .unwrap();
    let sealed =
        "800f1234 decafbad cafebabe 4e55dc4c e79978d8 8ca4d215 949d2402 b78d6acc 99ea179b 8dbb";
    assert_eq!(packet, hex(sealed));
    seals_rtcp(
        &keys,
        "81c8000b cafebabe abababab abababab abababab abababab",
        1,
        "81c8000b cafebabe 7128035b e487b9bd bef89041 f977a5a8 80000001 993e08cd 54d6c123 0798",
    );
}

#[test]
fn rfc_3711_appendix_b_3_key_derivation() {
    let master = Master {
        key: &hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
        salt: &hex("0EC675AD498AFEEBB6960B3AABE6"),
    };
    let derived = |label, bytes| {
        let mut out = vec![0; bytes];
        master.derive(crypto(), label, &mut out);
        out
    };
    assert_eq!(derived(0, 16), hex("C61E7A93744F39EE10734AFE3FF7A087"));
    assert_eq!(derived(2, 14), hex("30CBBC08863D8C85D49DB34A9AE1"));
    let auth = "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4";
    assert_eq!(derived(1, 20), hex(auth));
}

#[test]
fn rfc_3711_appendix_b_2_counter_mode() {
    let key = UnboundCipherKey::new(&AES_128, &hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    let key = EncryptingKey::ctr(key).unwrap();
    let salt: [u8; CM_SALT_BYTES] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
    let mut stream = [0; 48];
    cm_apply(&key, &salt, 0, 0, &mut stream).unwrap();
    let expected = "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0";
    assert_eq!(stream.to_vec(), hex(expected));
}

/// The two ends of one DTLS association.
fn pair(profile: SrtpProfile) -> (Keys, Keys) {
    let material: Vec<u8> = (0..).take(profile.keying_material_len()).collect();
    let end = |active| {
        let keying = Keying {
            profile,
            material: material.clone(),
            active,
        };
        Keys::new(&keying, crypto()).unwrap()
    };
    (end(true), end(false))
}

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AEAD_AES_256_GCM,
    SrtpProfile::AEAD_AES_128_GCM,
    SrtpProfile::AES128_CM_SHA1_80,
];

#[test]
fn what_one_end_seals_only_the_other_opens() {
    for profile in PROFILES {
        let (client, server) = pair(profile);
        let plain = hex("80c90001 01020304 81cd0003 01020304 05060708 00010000");
        let mut packet = plain.clone();
        client.seal_rtcp(&mut packet, 0, 0x0102_0304, 77).unwrap();
        assert!(packet.len() <= plain.len() + GCM_TAG_BYTES + INDEX_BYTES);
        assert_ne!(packet[8..24], plain[8..24]);
        assert!(client.open_rtcp(&mut packet.clone()).is_none());
        let (opened, index) = server.open_rtcp(&mut packet).unwrap();
        assert_eq!((opened, index), (plain.as_slice(), 77), "{profile:?}");
    }
}

#[test]
fn a_changed_bit_is_noticed_anywhere() {
    for profile in PROFILES {
        let (client, server) = pair(profile);
        let mut packet = hex("80c90001 01020304 81cd0003 01020304 05060708 00010000");
        client.seal_rtcp(&mut packet, 0, 0x0102_0304, 1).unwrap();
        for at in 0..packet.len() * 8 {
            let mut forged = packet.clone();
            forged[at / 8] ^= 1 << (at % 8);
            assert!(server.open_rtcp(&mut forged).is_none(), "{profile:?} {at}");
        }
        for length in 0..packet.len() {
            assert!(server.open_rtcp(&mut packet[..length].to_vec()).is_none());
        }
    }
}

#[test]
fn the_rollover_counter_is_part_of_the_seal() {
    for profile in PROFILES {
        let (client, _) = pair(profile);
        let seal = |index| {
            let mut packet = hex(RTP);
            packet.resize(packet.len() + client.rtp_tag_bytes(), 0);
            client
                .seal_rtp(&mut packet, HEADER_BYTES, 1, index)
                .unwrap();
            packet
        };
        assert_ne!(seal(5), seal(5 + 0x1_0000), "{profile:?}");
    }
}
