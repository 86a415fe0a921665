//! AES-128-GCM as SRTP uses it (RFC 7714): a header of 12 bytes is authenticated, the rest is encrypted.

use std::hint::black_box;

use aws_lc_rs::aead as aws;
use ring::aead as other;

use super::{Floor, PACKET_BYTES, floor, timed};

const HEADER_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const KEY: [u8; 16] = [7; 16];
const PACKETS: u64 = 400_000;

/// A key that is set up once.
pub(super) struct Sealer(aws::LessSafeKey);

impl Sealer {
    /// `None` where the library refuses the key.
    pub(super) fn new() -> Option<Self> {
        let key = aws::UnboundKey::new(&aws::AES_128_GCM, &KEY).ok()?;
        Some(Self(aws::LessSafeKey::new(key)))
    }

    /// Appends a sealed packet of `payload` to `out`.
    pub(super) fn seal(&self, number: u64, payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&header(number));
        out.extend_from_slice(payload);
        let Some(packet) = out.get_mut(start..) else {
            return;
        };
        let (header, body) = packet.split_at_mut(HEADER_BYTES);
        let nonce = aws::Nonce::assume_unique_for_key(nonce(number));
        let sealed = self
            .0
            .seal_in_place_separate_tag(nonce, aws::Aad::from(header), body);
        if let Ok(tag) = sealed {
            out.extend_from_slice(tag.as_ref());
        }
    }
}

pub(super) fn measure() -> Vec<Floor> {
    let payload = [1; PACKET_BYTES - HEADER_BYTES - TAG_BYTES];
    let mut floors = Vec::new();
    if let Some(sealer) = Sealer::new() {
        let mut out = Vec::with_capacity(PACKET_BYTES);
        let cpu = timed(|| {
            for number in 0..PACKETS {
                out.clear();
                sealer.seal(number, black_box(&payload), &mut out);
                black_box(&out);
            }
        });
        floors.push(floor("loop", "copy and seal, aws-lc", cpu, PACKETS));
    }
    if let Ok(key) = other::UnboundKey::new(&other::AES_128_GCM, &KEY) {
        let key = other::LessSafeKey::new(key);
        let mut body = payload;
        let cpu = timed(|| {
            for number in 0..PACKETS {
                body.copy_from_slice(black_box(&payload));
                let nonce = other::Nonce::assume_unique_for_key(nonce(number));
                let aad = other::Aad::from(header(number));
                let _ = black_box(key.seal_in_place_separate_tag(nonce, aad, &mut body));
            }
        });
        floors.push(floor("loop", "copy and seal, ring", cpu, PACKETS));
    }
    floors
}

fn header(number: u64) -> [u8; HEADER_BYTES] {
    nonce(number)
}

fn nonce(number: u64) -> [u8; 12] {
    let mut nonce = [0x80; 12];
    let (_, low) = nonce.split_at_mut(4);
    low.copy_from_slice(&number.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_packet_is_header_ciphertext_and_tag() {
        let sealer = Sealer::new().unwrap();
        let mut out = vec![9];
        sealer.seal(1, &[5; 100], &mut out);
        assert_eq!(out.len(), 1 + HEADER_BYTES + 100 + TAG_BYTES);
        assert_eq!(out[1..13], header(1));
        assert_ne!(out[13..113], [5; 100]);
    }
}
