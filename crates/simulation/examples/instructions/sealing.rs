//! What sealing takes by itself: to tell it from the rest of forwarding.

use std::hint::black_box;
use std::iter;
use std::time::Instant;

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const HEADER_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// A frame of four packets for everybody is a batch.
const PACKETS_EACH: u8 = 4;
const PACKETS: usize = 100_000;

/// Nanoseconds for copying a payload behind a header and sealing it there (RFC 7714), with a key for each receiver.
pub(crate) fn time_per_packet(bytes: usize, receivers: usize) -> f64 {
    let keys: Vec<LessSafeKey> = iter::repeat_with(key).take(receivers).collect();
    let payload = vec![7; bytes.saturating_sub(HEADER_BYTES + TAG_BYTES)];
    let batch = receivers * usize::from(PACKETS_EACH);
    let mut out = Vec::with_capacity(batch * bytes);
    let batches = PACKETS.div_ceil(batch);
    seal_for_all(&mut out, &keys, &payload);
    let start = Instant::now();
    (0..batches).for_each(|_| seal_for_all(&mut out, &keys, &payload));
    start.elapsed().as_secs_f64() * 1e9 / (batches * batch) as f64
}

fn seal_for_all(out: &mut Vec<u8>, keys: &[LessSafeKey], payload: &[u8]) {
    out.clear();
    for key in keys {
        for number in 0..PACKETS_EACH {
            let start = out.len();
            out.resize(start + HEADER_BYTES, 1);
            out.extend_from_slice(payload);
            let (header, body) = out.split_at_mut(start + HEADER_BYTES);
            let header = Aad::from(header.get(start..).unwrap_or_default());
            let nonce = Nonce::assume_unique_for_key([number; 12]);
            let tag = key
                .seal_in_place_separate_tag(nonce, header, body)
                .expect("a packet is short enough");
            out.extend_from_slice(tag.as_ref());
        }
    }
    black_box(out);
}

fn key() -> LessSafeKey {
    let key = UnboundKey::new(&AES_128_GCM, &[3; 16]).expect("a key of 16 bytes");
    LessSafeKey::new(key)
}
