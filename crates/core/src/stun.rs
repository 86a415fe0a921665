//! Binding requests (RFC 8489) that str0m does not take as they are.

use ring::hmac;
use subtle::ConstantTimeEq;

const HEADER_BYTES: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0, 1];
const PRIORITY: u16 = 0x0024;
const MESSAGE_INTEGRITY: u16 = 0x0008;
/// Type, length and HMAC-SHA1.
const INTEGRITY_BYTES: usize = 24;
const PRIORITY_BYTES: usize = 8;

/// What the check's candidate is taken for: a peer-reflexive one, as the request says nothing better (RFC 8445
/// section 5.1.2.1).
const PEER_REFLEXIVE: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Whether a datagram is a Binding request without PRIORITY.
pub(crate) fn lacks_priority(request: &[u8]) -> bool {
    request.starts_with(&BINDING_REQUEST) && attribute(request, PRIORITY).is_none()
}

/// The request with a PRIORITY, signed again. `None` where its own signature does not hold.
pub(crate) fn with_priority(request: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    let at = attribute(request, MESSAGE_INTEGRITY)?;
    let signature = request.get(at + 4..at + INTEGRITY_BYTES)?;
    let signed = request.get(..at)?;
    if !bool::from(sign(signed, password)?.as_ref().ct_eq(signature)) {
        return None;
    }
    let mut repaired = Vec::with_capacity(at + PRIORITY_BYTES + INTEGRITY_BYTES);
    repaired.extend_from_slice(signed);
    repaired.extend_from_slice(&PRIORITY.to_be_bytes());
    repaired.extend_from_slice(&4_u16.to_be_bytes());
    repaired.extend_from_slice(&PEER_REFLEXIVE.to_be_bytes());
    let tag = sign(&repaired, password)?;
    repaired.extend_from_slice(&MESSAGE_INTEGRITY.to_be_bytes());
    repaired.extend_from_slice(&20_u16.to_be_bytes());
    repaired.extend_from_slice(tag.as_ref());
    let length = u16::try_from(repaired.len() - HEADER_BYTES).ok()?;
    repaired
        .get_mut(2..4)?
        .copy_from_slice(&length.to_be_bytes());
    Some(repaired)
}

/// The HMAC of a message up to its MESSAGE-INTEGRITY, whose own length counts as if nothing came behind it
/// (RFC 8489 section 14.5).
fn sign(message: &[u8], password: &[u8]) -> Option<hmac::Tag> {
    let length = message.len().checked_sub(HEADER_BYTES)? + INTEGRITY_BYTES;
    let length = u16::try_from(length).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password);
    let mut signing = hmac::Context::with_key(&key);
    signing.update(message.get(..2)?);
    signing.update(&length.to_be_bytes());
    signing.update(message.get(4..)?);
    Some(signing.sign())
}

/// Where an attribute starts.
fn attribute(message: &[u8], wanted: u16) -> Option<usize> {
    let mut at = HEADER_BYTES;
    loop {
        let [kind_1, kind_0, length_1, length_0] = *message.get(at..)?.first_chunk()?;
        if u16::from_be_bytes([kind_1, kind_0]) == wanted {
            return Some(at);
        }
        let length = usize::from(u16::from_be_bytes([length_1, length_0]));
        at += 4 + length.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request with its signature, and nothing else.
    fn request(password: &[u8]) -> Vec<u8> {
        let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        request.extend_from_slice(&[7; 12]);
        request.extend_from_slice(&[0, 6, 0, 3, b'a', b':', b'b', 0]);
        let tag = sign(&request, password).unwrap();
        request.extend_from_slice(&[0, 8, 0, 20]);
        request.extend_from_slice(tag.as_ref());
        request[3] = u8::try_from(request.len() - HEADER_BYTES).unwrap();
        request
    }

    #[test]
    fn a_priority_is_added_and_the_request_signed_again() {
        let repaired = with_priority(&request(b"secret"), b"secret").unwrap();
        assert!(!lacks_priority(&repaired));
        let at = attribute(&repaired, MESSAGE_INTEGRITY).unwrap();
        assert_eq!(
            sign(&repaired[..at], b"secret").unwrap().as_ref(),
            &repaired[at + 4..]
        );
        assert_eq!(usize::from(repaired[3]), repaired.len() - HEADER_BYTES);
    }

    #[test]
    fn a_forged_request_is_not_signed() {
        assert_eq!(with_priority(&request(b"guess"), b"secret"), None);
        let mut cut = request(b"secret");
        cut.pop();
        assert_eq!(with_priority(&cut, b"secret"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_panics(datagram: Vec<u8>) {
            let _ = lacks_priority(&datagram);
            let _ = with_priority(&datagram, b"secret");
        }
    }
}
