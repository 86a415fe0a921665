//! Packets from before the first that has come: the engine takes them for old ones, a browser keeps them until it has a picture
//! (libwebrtc's `PacketBuffer`).

use std::time::Duration;

use str0m::media::Mid;
use str0m::rtp::{RtpHeader, Ssrc};

use super::Browser;
use crate::decoder::Received;
use crate::dependency::DescriptorBytes;

/// The first packet that has come of a stream of pictures.
#[derive(Debug, Clone, Copy)]
pub(super) struct First {
    pub(super) mid: Mid,
    pub(super) ssrc: Ssrc,
    pub(super) sequence: u64,
}

/// What stands before the payload of a packet that is sent again (RFC 4588 section 4).
const ORIGINAL_SEQUENCE_BYTES: usize = 2;

impl Browser {
    /// SSRCs of pictures that answers have declared.
    pub fn picture_ssrcs(&mut self) -> Vec<u32> {
        let mut direct = self.rtc.direct_api();
        let declared = self.declared.iter().copied();
        declared
            .filter(|ssrc| {
                let stream = direct.stream_rx(&(*ssrc).into());
                stream.is_some_and(|stream| stream.rtx().is_some())
            })
            .collect()
    }

    /// A packet, as it came. If it repeats one from before the first of its stream, it is taken here.
    pub(super) fn receive_early(&mut self, now: Duration, header: &RtpHeader, bytes: &[u8]) {
        let mut direct = self.rtc.direct_api();
        let first = self.firsts.iter().find(|first| {
            let stream = direct.stream_rx(&first.ssrc);
            stream.is_some_and(|stream| stream.rtx() == Some(header.ssrc))
        });
        let Some((first, (number, payload))) =
            first.zip(bytes.split_at_checked(ORIGINAL_SEQUENCE_BYTES))
        else {
            return;
        };
        let mut params = self.rtc.codec_config().params().iter();
        let original = params.find(|params| params.resend() == Some(header.payload_type));
        let Some(codec) = original.and_then(|params| self.codec_of(params.pt())) else {
            return;
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence numbers are 16 bits on the wire"
        )]
        let newest = first.sequence as u16;
        let number = number
            .iter()
            .fold(0, |high, low| high << 8 | u16::from(*low));
        let before = newest.wrapping_sub(number);
        let sequence = first.sequence.checked_sub(u64::from(before));
        let Some(sequence) = sequence.filter(|_| (1..=i16::MAX.unsigned_abs()).contains(&before))
        else {
            return;
        };
        let received = Received {
            at: now,
            codec,
            ssrc: *first.ssrc,
            sequence,
            timestamp: header.timestamp,
            reported: None,
            marker: header.marker,
            descriptor: header
                .ext_vals
                .user_values
                .get::<DescriptorBytes>()
                .map(|bytes| bytes.0.clone()),
            repaired: false,
            hold: None,
            payload: payload.to_vec(),
        };
        if let Some(decoder) = self.video.get_mut(&first.mid) {
            decoder.receive(received);
        }
    }
}
