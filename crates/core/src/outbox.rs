//! Datagrams that are ready to leave, in one reused buffer.

use std::net::SocketAddr;
use std::ops::Range;

use crate::egress::Route;
use crate::peer::Moved;

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

/// A place between two datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    transmits: usize,
    bytes: usize,
}

/// The kernel's limit on segments of one GSO send (`UDP_MAX_SEGMENTS`; 64 before Linux 6.9).
const SEGMENTS_MAX: usize = 64;
/// The largest UDP payload of one send over IPv4, in bytes.
const TRANSMIT_BYTES_MAX: usize = 65_507;

/// Collects datagrams and joins consecutive ones of one destination for GSO.
#[derive(Debug, Default)]
pub struct Outbox {
    diverted: Option<Moved>,
    bytes: Vec<u8>,
    transmits: Vec<Transmit>,
    datagrams_total: u64,
    bytes_total: u64,
}

impl Outbox {
    /// Appends a datagram. It joins the transmit before it where GSO allows: same addresses, and all
    /// datagrams but the last of one size.
    pub fn push(&mut self, source: SocketAddr, destination: SocketAddr, datagram: &[u8]) {
        let (source, destination) = match self.diverted {
            Some(moved) if moved.from == destination && is_media(datagram) => {
                (moved.to.source, moved.to.destination)
            }
            _ => (source, destination),
        };
        self.write(source, destination, |bytes| {
            bytes.extend_from_slice(datagram);
            Some(())
        });
    }

    /// From now on, what is pushed for somebody who has moved goes where he is; but for checks of the address before.
    pub(crate) fn divert(&mut self, moved: Option<Moved>) {
        self.diverted = moved;
    }

    /// Appends a datagram that `write` puts behind what is there, in place; nothing where it says `None`.
    pub(crate) fn write(
        &mut self,
        source: SocketAddr,
        destination: SocketAddr,
        write: impl FnOnce(&mut Vec<u8>) -> Option<()>,
    ) {
        let start = self.bytes.len();
        let written = write(&mut self.bytes);
        let end = self.bytes.len();
        if written.is_none() || end <= start {
            self.bytes.truncate(start);
            return;
        }
        let length = end - start;
        self.datagrams_total += 1;
        self.bytes_total += length as u64;
        if let Some(last) = self.transmits.last_mut() {
            let so_far = last.range.len();
            let joins = last.source == source
                && last.destination == destination
                && length <= last.segment_size
                && so_far % last.segment_size == 0
                && so_far / last.segment_size < SEGMENTS_MAX
                && so_far + length <= TRANSMIT_BYTES_MAX;
            if joins {
                last.range.end = end;
                return;
            }
        }
        self.transmits.push(Transmit {
            source,
            destination,
            segment_size: length,
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
    pub(crate) fn position(&self) -> Position {
        Position {
            transmits: self.transmits.len(),
            bytes: self.bytes.len(),
        }
    }

    /// Whether a STUN success response (RFC 8489) to `destination` stands behind `position`.
    pub(crate) fn answered_stun(&self, position: Position, destination: SocketAddr) -> bool {
        const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
        self.since(position).any(|(transmit, datagram)| {
            transmit.destination == destination && datagram.starts_with(&BINDING_SUCCESS)
        })
    }

    /// Where the newest DTLS or SRTP datagram behind `position` goes: to the nominated candidate pair, as nothing
    /// but STUN goes anywhere else.
    pub(crate) fn route(&self, position: Position) -> Option<Route> {
        self.since(position)
            .filter(|(_, datagram)| is_media(datagram))
            .last()
            .map(|(transmit, _)| Route {
                source: transmit.source,
                destination: transmit.destination,
            })
    }

    /// The DTLS datagrams behind `position` (RFC 7983).
    pub(crate) fn dtls(&self, position: Position) -> impl Iterator<Item = &[u8]> {
        let datagrams = self.since(position).map(|(_, datagram)| datagram);
        datagrams.filter(|datagram| matches!(datagram.first(), Some(20..=63)))
    }

    /// The datagrams behind `position`. The first of them may have joined the transmit before it.
    fn since(&self, position: Position) -> impl Iterator<Item = (&Transmit, &[u8])> {
        self.transmits
            .iter()
            .skip(position.transmits.saturating_sub(1))
            .flat_map(move |transmit| {
                let start = transmit.range.start.max(position.bytes);
                let bytes = self
                    .bytes
                    .get(start..transmit.range.end)
                    .unwrap_or_default();
                bytes
                    .chunks(transmit.segment_size)
                    .map(move |datagram| (transmit, datagram))
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

/// DTLS, SRTP or SRTCP (RFC 7983).
fn is_media(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63 | 128..=191))
}
