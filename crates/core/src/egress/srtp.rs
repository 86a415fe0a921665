//! SRTP and SRTCP of the send lane (RFC 3711, RFC 7714): session keys set up once per peer, packets
//! sealed where they lie.
//!
//! The peer's DTLS engine exports one set of master keys. The media engine uses both halves; the lane
//! uses the half that sends for RTP and RTCP of the slots' SSRCs, and the half that receives to read
//! feedback. No (key, SSRC, index) is ever used twice, since the engine sends nothing under these SSRCs.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, Algorithm, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use str0m::crypto::SrtpProvider;

use crate::crypto::Keying;

const GCM_TAG_BYTES: usize = 16;

const INDEX_BYTES: usize = 4;
/// The first 8 bytes of RTCP stay readable: header and sender's SSRC.
const RTCP_CLEAR_BYTES: usize = 8;
/// E, the flag for "encrypted", stands before the 31 bits of the SRTCP index.
const ENCRYPTED: u32 = 1 << 31;
const SHA1_80_TAG_BYTES: usize = 10;
const CM_SALT_BYTES: usize = 14;
const GCM_SALT_BYTES: usize = 12;

/// What the lane needs of a peer's keys.
pub(crate) struct Keys {
    send_rtp: Cipher,
    send_rtcp: Cipher,
    receive_rtcp: Cipher,
}

impl Keys {
    /// `None` for a profile that is not known here: the DTLS engine offers none such.
    pub(crate) fn new(keying: &Keying, derive: &dyn SrtpProvider) -> Option<Self> {
        let profile = Profile::of(keying)?;
        let sends = Master::of(keying, &profile, keying.active)?;
        let receives = Master::of(keying, &profile, !keying.active)?;
        Some(Self {
            send_rtp: Cipher::derive(&profile, &sends, Label::RTP, derive)?,
            send_rtcp: Cipher::derive(&profile, &sends, Label::RTCP, derive)?,
            receive_rtcp: Cipher::derive(&profile, &receives, Label::RTCP, derive)?,
        })
    }

    /// Bytes that [`Keys::seal_rtp`] appends.
    pub(crate) fn rtp_tag_bytes(&self) -> usize {
        match &self.send_rtp {
            Cipher::Gcm { .. } => GCM_TAG_BYTES,
            Cipher::Cm { .. } => SHA1_80_TAG_BYTES,
        }
    }

    /// Encrypts a packet in place. `packet` holds header and payload, and behind them room for the tag.
    /// `index` is the extended sequence number (RFC 3711 section 3.3.1).
    pub(crate) fn seal_rtp(
        &self,
        packet: &mut [u8],
        header_bytes: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<()> {
        let (packet, tag) = packet.split_at_mut_checked(packet.len() - self.rtp_tag_bytes())?;
        match &self.send_rtp {
            Cipher::Gcm { key, salt } => {
                let (header, payload) = packet.split_at_mut_checked(header_bytes)?;
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                let sealed = key.seal_in_place_separate_tag(nonce, Aad::from(&*header), payload);
                tag.copy_from_slice(sealed.ok()?.as_ref());
            }
            Cipher::Cm { key, salt, auth } => {
                cm_apply(key, salt, ssrc, index, packet.get_mut(header_bytes..)?)?;
                let rollover = rollover_counter(index).to_be_bytes();
                tag.copy_from_slice(cm_tag(auth, &[packet, &rollover]).get(..SHA1_80_TAG_BYTES)?);
            }
        }
        Some(())
    }

    /// Encrypts the RTCP packet that `bytes` end with, from `start` on, and appends what belongs behind it.
    /// `index` counts the packets of this SSRC.
    pub(crate) fn seal_rtcp(
        &self,
        bytes: &mut Vec<u8>,
        start: usize,
        ssrc: u32,
        index: u32,
    ) -> Option<()> {
        let packet = bytes.get_mut(start..)?;
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match &self.send_rtcp {
            Cipher::Gcm { key, salt } => {
                let (header, payload) = packet.split_at_mut_checked(RTCP_CLEAR_BYTES)?;
                let aad = rtcp_aad(header, trailer)?;
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), payload);
                bytes.extend_from_slice(tag.ok()?.as_ref());
                bytes.extend_from_slice(&trailer);
            }
            Cipher::Cm { key, salt, auth } => {
                let payload = packet.get_mut(RTCP_CLEAR_BYTES..)?;
                cm_apply(key, salt, ssrc, u64::from(index), payload)?;
                bytes.extend_from_slice(&trailer);
                let tag = cm_tag(auth, &[bytes.get(start..)?]);
                bytes.extend_from_slice(tag.get(..SHA1_80_TAG_BYTES)?);
            }
        }
        Some(())
    }

    /// Verifies and decrypts an SRTCP packet in place: the compound RTCP packet in it and its index.
    /// `None` for a forged one, or one that is sent in the clear (which no WebRTC client does).
    pub(crate) fn open_rtcp<'a>(&self, packet: &'a mut [u8]) -> Option<(&'a [u8], u32)> {
        let ssrc = u32::from_be_bytes(*packet.get(4..)?.first_chunk()?);
        match &self.receive_rtcp {
            Cipher::Gcm { key, salt } => {
                let (body, trailer) = packet.split_last_chunk_mut::<INDEX_BYTES>()?;
                let index = encrypted_index(*trailer)?;
                let (header, sealed) = body.split_at_mut_checked(RTCP_CLEAR_BYTES)?;
                let aad = rtcp_aad(header, *trailer)?;
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                let opened = key.open_in_place(nonce, Aad::from(aad), sealed).ok()?.len();
                Some((packet.get(..RTCP_CLEAR_BYTES + opened)?, index))
            }
            Cipher::Cm { key, salt, auth } => {
                let (signed, tag) = packet.split_last_chunk_mut::<SHA1_80_TAG_BYTES>()?;
                let expected = cm_tag(auth, &[signed]);
                let expected = expected.get(..SHA1_80_TAG_BYTES)?;
                if !bool::from(subtle::ConstantTimeEq::ct_eq(expected, tag.as_slice())) {
                    return None;
                }
                let (body, trailer) = signed.split_last_chunk_mut::<INDEX_BYTES>()?;
                let index = encrypted_index(*trailer)?;
                let payload = body.get_mut(RTCP_CLEAR_BYTES..)?;
                cm_apply(key, salt, ssrc, u64::from(index), payload)?;
                Some((body, index))
            }
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

enum Cipher {
    Gcm {
        key: LessSafeKey,
        salt: [u8; GCM_SALT_BYTES],
    },
    Cm {
        key: EncryptingKey,
        salt: [u8; CM_SALT_BYTES],
        auth: hmac::Key,
    },
}

/// What tells the session keys of one master key apart (RFC 3711 section 4.3.2): the labels of key,
/// authentication key and salt.
struct Label {
    key: u8,
    auth: u8,
    salt: u8,
}

impl Label {
    const RTP: Self = Self {
        key: 0,
        auth: 1,
        salt: 2,
    };
    const RTCP: Self = Self {
        key: 3,
        auth: 4,
        salt: 5,
    };
}

impl Cipher {
    fn derive(
        profile: &Profile,
        master: &Master<'_>,
        label: Label,
        crypto: &dyn SrtpProvider,
    ) -> Option<Self> {
        let mut session_key = [0; 32];
        let session_key = session_key.get_mut(..profile.key_bytes)?;
        master.derive(crypto, label.key, session_key);
        let Some(algorithm) = profile.gcm else {
            let (mut salt, mut auth) = ([0; CM_SALT_BYTES], [0; 20]);
            master.derive(crypto, label.salt, &mut salt);
            master.derive(crypto, label.auth, &mut auth);
            let key = UnboundCipherKey::new(&AES_128, session_key).ok()?;
            return Some(Self::Cm {
                key: EncryptingKey::ctr(key).ok()?,
                salt,
                auth: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &auth),
            });
        };
        let mut salt = [0; GCM_SALT_BYTES];
        master.derive(crypto, label.salt, &mut salt);
        let key = UnboundKey::new(algorithm, session_key).ok()?;
        Some(Self::Gcm {
            key: LessSafeKey::new(key),
            salt,
        })
    }
}

/// The sizes that an SRTP protection profile sets.
struct Profile {
    key_bytes: usize,
    salt_bytes: usize,
    gcm: Option<&'static Algorithm>,
}

impl Profile {
    fn of(keying: &Keying) -> Option<Self> {
        use dimpl::SrtpProfile;
        let (key_bytes, salt_bytes, gcm) = match keying.profile {
            SrtpProfile::AEAD_AES_256_GCM => (32, GCM_SALT_BYTES, Some(&AES_256_GCM)),
            SrtpProfile::AEAD_AES_128_GCM => (16, GCM_SALT_BYTES, Some(&AES_128_GCM)),
            SrtpProfile::AES128_CM_SHA1_80 => (16, CM_SALT_BYTES, None),
            _ => return None,
        };
        Some(Self {
            key_bytes,
            salt_bytes,
            gcm,
        })
    }
}

/// One side's master key and salt.
struct Master<'a> {
    key: &'a [u8],
    salt: &'a [u8],
}

impl<'a> Master<'a> {
    /// The exported material is the client's key, the server's key, the client's salt, the server's salt
    /// (RFC 5764 section 4.2). The DTLS client is the active side.
    fn of(keying: &'a Keying, profile: &Profile, client: bool) -> Option<Self> {
        let (keys, salts) = keying.material.split_at_checked(2 * profile.key_bytes)?;
        let second = usize::from(!client);
        Some(Self {
            key: keys.chunks(profile.key_bytes).nth(second)?,
            salt: salts.chunks(profile.salt_bytes).nth(second)?,
        })
    }

    /// RFC 3711 section 4.3.3, with a key derivation rate of zero: AES in counter mode over the salt with
    /// the label in its eighth byte.
    fn derive(&self, crypto: &dyn SrtpProvider, label: u8, out: &mut [u8]) {
        for (round, chunk) in (0u16..).zip(out.chunks_mut(16)) {
            let mut input = [0; 16];
            for (byte, salt) in input.iter_mut().zip(self.salt) {
                *byte = *salt;
            }
            let [.., label_byte, _, _, _, _, _, _, high, low] = &mut input;
            *label_byte ^= label;
            [*high, *low] = round.to_be_bytes();
            let mut block = [0; 32];
            if self.key.len() == 32 {
                crypto.srtp_aes_256_ecb_round(self.key, &input, &mut block);
            } else {
                crypto.srtp_aes_128_ecb_round(self.key, &input, &mut block);
            }
            for (to, from) in chunk.iter_mut().zip(block) {
                *to = from;
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the index has 48 bits")]
fn rollover_counter(index: u64) -> u32 {
    (index >> 16) as u32
}

/// RFC 7714 section 8.1: two zero bytes, SSRC, rollover counter, sequence number, all under the salt.
fn gcm_rtp_nonce(salt: &[u8; GCM_SALT_BYTES], ssrc: u32, index: u64) -> Nonce {
    let value = (u128::from(ssrc) << 48) | u128::from(index & 0xffff_ffff_ffff);
    nonce(salt, value)
}

/// RFC 7714 section 9.1: two zero bytes, SSRC, two zero bytes, index, all under the salt.
fn gcm_rtcp_nonce(salt: &[u8; GCM_SALT_BYTES], ssrc: u32, index: u32) -> Nonce {
    nonce(salt, (u128::from(ssrc) << 48) | u128::from(index))
}

fn nonce(salt: &[u8; GCM_SALT_BYTES], value: u128) -> Nonce {
    let [_, _, _, _, value @ ..] = value.to_be_bytes();
    let mut nonce = *salt;
    for (byte, value) in nonce.iter_mut().zip(value) {
        *byte ^= value;
    }
    Nonce::assume_unique_for_key(nonce)
}

/// RFC 7714 section 9.2: header and sender's SSRC, then the index word.
fn rtcp_aad(header: &[u8], trailer: [u8; INDEX_BYTES]) -> Option<[u8; 12]> {
    let [a, b, c, d, e, f, g, h] = *header.first_chunk()?;
    let [i, j, k, l] = trailer;
    Some([a, b, c, d, e, f, g, h, i, j, k, l])
}

fn encrypted_index(trailer: [u8; INDEX_BYTES]) -> Option<u32> {
    let word = u32::from_be_bytes(trailer);
    (word & ENCRYPTED != 0).then_some(word & !ENCRYPTED)
}

/// RFC 3711 section 4.1.1: the key stream, which is its own inverse.
fn cm_apply(
    key: &EncryptingKey,
    salt: &[u8; CM_SALT_BYTES],
    ssrc: u32,
    index: u64,
    payload: &mut [u8],
) -> Option<()> {
    let value = (u128::from(ssrc) << 64) | (u128::from(index & 0xffff_ffff_ffff) << 16);
    let mut iv = value.to_be_bytes();
    for (byte, salt) in iv.iter_mut().zip(salt) {
        *byte ^= salt;
    }
    let context = EncryptionContext::Iv128(FixedLength::from(iv));
    key.less_safe_encrypt(payload, context).ok().map(drop)
}

fn cm_tag(auth: &hmac::Key, parts: &[&[u8]]) -> [u8; 20] {
    let mut signing = hmac::Context::with_key(auth);
    for part in parts {
        signing.update(part);
    }
    let tag = signing.sign();
    tag.as_ref().first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
