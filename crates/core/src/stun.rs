//! Binding requests and responses (RFC 8489) that str0m does not take as they are.

use std::net::{IpAddr, SocketAddr};

use ring::hmac;
use subtle::ConstantTimeEq;

const HEADER_BYTES: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0, 1];
const BINDING_SUCCESS: [u8; 2] = [1, 1];
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Type, length and HMAC-SHA1.
const INTEGRITY_BYTES: usize = 24;
/// Type, length and an IPv6 address, the largest attribute that is added.
const ADDED_BYTES_MAX: usize = 24;

/// What the check's candidate is taken for: a peer-reflexive one, as the request says nothing better (RFC 8445
/// section 5.1.2.1).
const PEER_REFLEXIVE: u32 = (110 << 24) | (65_535 << 8) | 255;

/// Whether a datagram is a Binding request without PRIORITY.
pub(crate) fn lacks_priority(request: &[u8]) -> bool {
    request.starts_with(&BINDING_REQUEST) && attribute(request, PRIORITY).is_none()
}

/// Whether a datagram is a Binding request whose sender is going to use the pair (RFC 8445 section 7.1.2).
pub(crate) fn nominates(request: &[u8]) -> bool {
    request.starts_with(&BINDING_REQUEST) && attribute(request, USE_CANDIDATE).is_some()
}

/// The request with a PRIORITY, signed again. `None` where its own signature does not hold.
pub(crate) fn with_priority(request: &[u8], password: &[u8]) -> Option<Vec<u8>> {
    with_attribute(request, password, PRIORITY, &PEER_REFLEXIVE.to_be_bytes())
}

/// Whether a datagram is a Binding success response without XOR-MAPPED-ADDRESS.
pub(crate) fn lacks_mapped_address(response: &[u8]) -> bool {
    response.starts_with(&BINDING_SUCCESS) && attribute(response, XOR_MAPPED_ADDRESS).is_none()
}

/// The response with the address that it leaves out, signed again. `None` where its own signature does not hold.
pub(crate) fn with_mapped_address(
    response: &[u8],
    password: &[u8],
    address: SocketAddr,
) -> Option<Vec<u8>> {
    // RFC 8489 section 14.2: the address is combined with magic cookie and transaction id, the port with half the cookie.
    let mask = response.get(4..HEADER_BYTES)?;
    let (family, mut octets) = match address.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    let mut value = vec![0, family];
    let port = address.port().to_be_bytes();
    value.extend(port.iter().zip(mask).map(|(octet, mask)| octet ^ mask));
    octets
        .iter_mut()
        .zip(mask)
        .for_each(|(octet, mask)| *octet ^= mask);
    value.append(&mut octets);
    with_attribute(response, password, XOR_MAPPED_ADDRESS, &value)
}

/// A message with one more attribute, whose value needs no padding, signed again.
fn with_attribute(message: &[u8], password: &[u8], kind: u16, value: &[u8]) -> Option<Vec<u8>> {
    let at = attribute(message, MESSAGE_INTEGRITY)?;
    let signature = message.get(at + 4..at + INTEGRITY_BYTES)?;
    let signed = message.get(..at)?;
    if !bool::from(sign(signed, password)?.as_ref().ct_eq(signature)) {
        return None;
    }
    let mut repaired = Vec::with_capacity(at + ADDED_BYTES_MAX + INTEGRITY_BYTES);
    repaired.extend_from_slice(signed);
    repaired.extend_from_slice(&kind.to_be_bytes());
    repaired.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
    repaired.extend_from_slice(value);
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
    use str0m::net::{Protocol, Receive};

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
    fn a_mapped_address_is_added_and_the_response_signed_again() {
        let mut response = vec![1, 1, 0, 24, 0x21, 0x12, 0xa4, 0x42];
        response.extend_from_slice(&[7; 12]);
        let tag = sign(&response, b"secret").unwrap();
        response.extend_from_slice(&[0, 8, 0, 20]);
        response.extend_from_slice(tag.as_ref());
        for address in ["192.0.2.1:32853", "[2001:db8::1]:32853"] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(lacks_mapped_address(&response));
            assert_eq!(with_mapped_address(&response, b"guess", address), None);
            let repaired = with_mapped_address(&response, b"secret", address).unwrap();
            assert!(!lacks_mapped_address(&repaired));
            let received = Receive::new(Protocol::Udp, address, address, &repaired).unwrap();
            assert!(format!("{received:?}").contains(&address.to_string()));
        }
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
            let _ = lacks_mapped_address(&datagram);
            let _ = with_mapped_address(&datagram, b"secret", ([192, 0, 2, 1], 1).into());
        }
    }
}
