//! Datagrams that are ready to leave, in one reused buffer.

use std::net::SocketAddr;
use std::ops::Range;

/// One send call: datagrams of one size for one destination, back to back (UDP GSO).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// The local address to send from, as the candidate says it.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    /// Size of each datagram in bytes; the last may be shorter.
    pub segment_size: usize,
    range: Range<usize>,
}

/// The kernel's limit on segments of one GSO send (`UDP_MAX_SEGMENTS`; 64 before Linux 6.9).
const SEGMENTS_MAX: usize = 64;
/// The largest UDP payload of one send over IPv4, in bytes.
const TRANSMIT_BYTES_MAX: usize = 65_507;

/// Collects datagrams and joins consecutive ones of one destination for GSO.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    transmits: Vec<Transmit>,
    datagrams_total: u64,
    bytes_total: u64,
}

impl Outbox {
    /// Appends a datagram. It joins the transmit before it where GSO allows: same addresses, and all
    /// datagrams but the last of one size.
    pub fn push(&mut self, source: SocketAddr, destination: SocketAddr, datagram: &[u8]) {
        if datagram.is_empty() {
            return;
        }
        self.datagrams_total += 1;
        self.bytes_total += datagram.len() as u64;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        let end = self.bytes.len();
        if let Some(last) = self.transmits.last_mut() {
            let so_far = last.range.len();
            let joins = last.source == source
                && last.destination == destination
                && datagram.len() <= last.segment_size
                && so_far % last.segment_size == 0
                && so_far / last.segment_size < SEGMENTS_MAX
                && so_far + datagram.len() <= TRANSMIT_BYTES_MAX;
            if joins {
                last.range.end = end;
                return;
            }
        }
        self.transmits.push(Transmit {
            source,
            destination,
            segment_size: datagram.len(),
            range: start..end,
        });
    }

    /// The transmits in the order of pushing, with their bytes.
    pub fn iter(&self) -> impl Iterator<Item = (&Transmit, &[u8])> {
        self.transmits.iter().map(|transmit| {
            (
                transmit,
                self.bytes.get(transmit.range.clone()).unwrap_or_default(),
            )
        })
    }

    /// The single datagrams in the order of pushing.
    pub fn datagrams(&self) -> impl Iterator<Item = (&Transmit, &[u8])> {
        self.iter().flat_map(|(transmit, bytes)| {
            bytes
                .chunks(transmit.segment_size)
                .map(move |one| (transmit, one))
        })
    }

    /// Where the next datagram will stand.
    pub(crate) fn position(&self) -> usize {
        self.transmits.len()
    }

    /// Whether a STUN success response (RFC 8489) to `destination` stands behind `position`.
    pub(crate) fn answered_stun(&self, position: usize, destination: SocketAddr) -> bool {
        const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
        // The response may have joined the transmit before it.
        self.transmits
            .iter()
            .skip(position.saturating_sub(1))
            .any(|transmit| {
                let bytes = self.bytes.get(transmit.range.clone()).unwrap_or_default();
                transmit.destination == destination
                    && bytes
                        .chunks(transmit.segment_size)
                        .any(|datagram| datagram.starts_with(&BINDING_SUCCESS))
            })
    }

    pub fn is_empty(&self) -> bool {
        self.transmits.is_empty()
    }

    /// Number of send calls that this takes.
    pub fn len(&self) -> usize {
        self.transmits.len()
    }

    /// Datagrams and bytes pushed since the start.
    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.datagrams_total, self.bytes_total)
    }

    /// Empties the outbox and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.transmits.clear();
    }
}
