//! A publisher's packet, as the media engine has decrypted it.

use std::sync::Arc;
use std::time::Instant;

use str0m::media::Pt;
use str0m::rtp::{RtpHeader, RtpPacket, Ssrc};

#[derive(Debug)]
pub(crate) struct Incoming {
    /// Both without wrapping around.
    pub(crate) seq: u64,
    pub(crate) timestamp: u64,
    pub(crate) header: RtpHeader,
    pub(crate) payload: Arc<[u8]>,
    pub(crate) arrived: Instant,
}

/// What stands before the payload of a packet that is sent again: its sequence number (RFC 4588 section 4).
const ORIGINAL_SEQUENCE_BYTES: usize = 2;

impl From<RtpPacket> for Incoming {
    fn from(packet: RtpPacket) -> Self {
        Self {
            seq: *packet.seq_no,
            timestamp: packet.time.numer(),
            header: packet.header,
            payload: packet.payload,
            arrived: packet.timestamp,
        }
    }
}

impl Incoming {
    /// What a packet of an RTX stream repeats of this stream, of which the newest number and timestamp are known. `None` for padding, and where
    /// that was before the stream began.
    pub(crate) fn repeated(
        now: Instant,
        mut header: RtpHeader,
        bytes: &[u8],
        (ssrc, payload_type): (Ssrc, Pt),
        (newest_seq, newest_timestamp): (u64, u64),
    ) -> Option<Self> {
        let (number, payload) = bytes.split_first_chunk::<ORIGINAL_SEQUENCE_BYTES>()?;
        let number = u16::from_be_bytes(*number);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "numbers wrap at 16 bits on the wire, timestamps at 32"
        )]
        let (ahead, later) = (
            number.wrapping_sub(newest_seq as u16).cast_signed(),
            header.timestamp.wrapping_sub(newest_timestamp as u32),
        );
        header.ssrc = ssrc;
        header.payload_type = payload_type;
        header.sequence_number = number;
        Some(Self {
            seq: newest_seq.checked_add_signed(ahead.into())?,
            timestamp: newest_timestamp.checked_add_signed(later.cast_signed().into())?,
            header,
            payload: payload.into(),
            arrived: now,
        })
    }
}
