//! Which worker a datagram is for, read from the datagram alone.
//!
//! The local ICE username fragment names the node and the worker, so that a STUN request can be
//! routed without a table (RFC 8445 section 7.2.2: USERNAME is `<receiver's ufrag>:<sender's>`).

/// What a username fragment of ours says. 80 bits, written as 16 characters of base32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ufrag {
    /// The node, 16 bits; 0 where there is only one.
    pub node: u16,
    /// When the node started; a stale fragment of an earlier process is told apart by it.
    pub epoch: u16,
    /// The worker that owns the peer.
    pub worker: u8,
    /// Counts up with every ICE generation of the worker, 24 bits.
    pub number: u32,
}

const VERSION: u128 = 1;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl Ufrag {
    /// The fragment as it stands in SDP: version 4 | cluster 12 (zero) | node 16 | worker 8 |
    /// number 24 | epoch 16 bits.
    pub fn encode(self) -> String {
        let bits = (VERSION << 76)
            | (u128::from(self.node) << 48)
            | (u128::from(self.worker) << 40)
            | (u128::from(self.number & 0x00ff_ffff) << 16)
            | u128::from(self.epoch);
        (0..16)
            .rev()
            .filter_map(|i| ALPHABET.get(((bits >> (i * 5)) & 31) as usize))
            .map(|byte| char::from(*byte))
            .collect()
    }

    /// `None` where the text is not a fragment of ours.
    pub fn decode(text: &[u8]) -> Option<Self> {
        if text.len() != 16 {
            return None;
        }
        let mut bits: u128 = 0;
        for byte in text {
            let digit = match byte {
                b'a'..=b'z' => byte - b'a',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return None,
            };
            bits = (bits << 5) | u128::from(digit);
        }
        if bits >> 76 != VERSION || (bits >> 64) & 0xfff != 0 {
            return None;
        }
        let [
            ..,
            node_1,
            node_0,
            worker,
            number_2,
            number_1,
            number_0,
            epoch_1,
            epoch_0,
        ] = bits.to_be_bytes();
        Some(Self {
            node: u16::from_be_bytes([node_1, node_0]),
            worker,
            number: u32::from_be_bytes([0, number_2, number_1, number_0]),
            epoch: u16::from_be_bytes([epoch_1, epoch_0]),
        })
    }
}

/// What a datagram is (RFC 7983), as far as routing needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Datagram {
    /// A STUN request that carries one of our fragments.
    StunRequest(Ufrag),
    /// Any other STUN message: a response to a check of ours, or one that is not for us.
    Stun,
    /// DTLS, RTP or RTCP: goes by the remote address.
    Media,
    /// Nothing that a WebRTC client sends.
    Unknown,
}

const STUN_HEADER_BYTES: usize = 20;
const STUN_MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_ATTRIBUTE_USERNAME: u16 = 0x0006;

/// Classifies a datagram by its first byte (RFC 7983) and, for STUN, its USERNAME attribute.
pub fn classify(datagram: &[u8]) -> Datagram {
    match datagram.first() {
        Some(0..=3) if datagram.get(4..8) == Some(&STUN_MAGIC_COOKIE[..]) => {
            stun_username(datagram).map_or(Datagram::Stun, Datagram::StunRequest)
        }
        Some(20..=63 | 128..=191) => Datagram::Media,
        _ => Datagram::Unknown,
    }
}

fn stun_username(datagram: &[u8]) -> Option<Ufrag> {
    let mut rest = datagram.get(STUN_HEADER_BYTES..)?;
    loop {
        let [kind_1, kind_0, length_1, length_0] = *rest.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([length_1, length_0]));
        let value = rest.get(4..4 + length)?;
        if u16::from_be_bytes([kind_1, kind_0]) == STUN_ATTRIBUTE_USERNAME {
            let local = value.split(|byte| *byte == b':').next()?;
            return Ufrag::decode(local);
        }
        rest = rest.get(4 + length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_survives_the_round_trip() {
        let ufrag = Ufrag {
            node: 0xbeef,
            epoch: 0x1234,
            worker: 7,
            number: 0x00ab_cdef,
        };
        let text = ufrag.encode();
        assert_eq!(text.len(), 16);
        assert_eq!(Ufrag::decode(text.as_bytes()), Some(ufrag));
    }

    #[test]
    fn foreign_fragments_are_none_of_ours() {
        for text in [
            "",
            "short",
            "ABCDEFGHIJKLMNOP",
            "aaaaaaaaaaaaaaaa",
            "7777777777777777",
        ] {
            assert_eq!(Ufrag::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_binding_request_names_its_worker() {
        let ufrag = Ufrag {
            node: 0,
            epoch: 9,
            worker: 3,
            number: 42,
        };
        let username = format!("{}:remote", ufrag.encode());
        let mut datagram = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        datagram.extend_from_slice(&[7; 12]);
        datagram.extend_from_slice(&[0x00, 0x24, 0, 4, 1, 2, 3, 4]);
        datagram.extend_from_slice(&[0, 6, 0, u8::try_from(username.len()).unwrap()]);
        datagram.extend_from_slice(username.as_bytes());
        assert_eq!(classify(&datagram), Datagram::StunRequest(ufrag));
        assert_eq!(classify(&datagram[..24]), Datagram::Stun);
        assert_eq!(classify(&[22, 254, 253]), Datagram::Media);
        assert_eq!(classify(&[128, 96]), Datagram::Media);
        assert_eq!(classify(&[]), Datagram::Unknown);
    }
}
