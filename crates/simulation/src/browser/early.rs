//! Packets from before the first that has come, or from long ago: the engine takes them for old ones, a browser keeps them until it
//! has a picture (libwebrtc's `PacketBuffer`).

use std::time::Duration;

use str0m::media::Mid;
use str0m::rtp::{RtpHeader, Ssrc};

use super::{Browser, Missing};
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
/// The engine takes nothing that is older than so many packets.
const ENGINE_WINDOW: u64 = 100;
/// There are so many sequence numbers.
const NUMBERS: u64 = 1 << 16;

impl Browser {
    /// SSRCs of pictures that answers have declared.
    pub fn picture_ssrcs(&mut self) -> Vec<u32> {
        self.pictures().map(|(ssrc, _)| ssrc).collect()
    }

    /// Those under which packets of pictures are sent again.
    pub fn repair_ssrcs(&mut self) -> Vec<u32> {
        self.pictures().map(|(_, rtx)| rtx).collect()
    }

    fn pictures(&mut self) -> impl Iterator<Item = (u32, u32)> {
        let mut direct = self.rtc.direct_api();
        let declared = self.declared.iter();
        declared.filter_map(move |ssrc| {
            let rtx = direct.stream_rx(&(*ssrc).into())?.rtx()?;
            Some((*ssrc, *rtx))
        })
    }

    /// A packet, as it came. If it repeats one from before the first of its stream, or one that the engine is not waiting for any more, it
    /// is taken here.
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
        let missing = self.missing.get(&first.mid);
        let newest = missing.and_then(Missing::newest).unwrap_or(first.sequence);
        #[expect(
            clippy::cast_possible_truncation,
            reason = "sequence numbers are 16 bits on the wire"
        )]
        let newest_on_wire = newest as u16;
        let number = number
            .iter()
            .fold(0, |high, low| high << 8 | u16::from(*low));
        let before = u64::from(newest_on_wire.wrapping_sub(number));
        let sequence = newest.checked_sub(before).filter(|sequence| {
            let is_old = *sequence < first.sequence || before > ENGINE_WINDOW;
            is_old && before <= NUMBERS / 2
        });
        let (Some(sequence), first) = (sequence, *first) else {
            return;
        };
        let repaired = self.note_arrival(now, first.mid, sequence);
        let received = Received {
            at: now,
            codec,
            ssrc: *first.ssrc,
            sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            descriptor: header
                .ext_vals
                .user_values
                .get::<DescriptorBytes>()
                .map(|bytes| bytes.0.clone()),
            repaired,
            hold: None,
            payload: payload.to_vec(),
        };
        if let Some(decoder) = self.video.get_mut(&first.mid) {
            decoder.receive(received);
        }
    }
}
