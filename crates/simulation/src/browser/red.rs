//! Sound that is sent twice (RED, RFC 2198).

use std::time::Duration;

use str0m::media::{Mid, Pt};
use str0m::rtp::{RedDecoder, RedEncoder, RedundantBlock, RtpPacket};

use super::Browser;
use crate::decoder::Received;
use crate::encoder::EncodedPacket;
use crate::payload::Codec;

/// What a microphone has sent last.
#[derive(Debug)]
pub(super) struct Sound {
    sequence: u64,
    timestamp: u32,
    payload: Vec<u8>,
}

impl Browser {
    /// What is sent instead of a packet of sound: it, and the sound of the packet before it. `None` for pictures, and where that is
    /// not done.
    pub(super) fn sound_twice(
        &mut self,
        mid: Mid,
        pt: Pt,
        packet: &EncodedPacket,
    ) -> Option<(Pt, Vec<u8>)> {
        if packet.codec != Codec::Opus || !self.config.sends_red {
            return None;
        }
        let params = self.rtc.codec_config().find(|params| params.pt() == pt)?;
        let red = params.red()?;
        let sound = Sound {
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            payload: packet.payload.clone(),
        };
        let before = self.sounds.insert(mid, sound);
        let before = before.filter(|before| before.sequence + 1 == packet.sequence);
        let before = before.map(|before| RedundantBlock {
            pt: *pt,
            timestamp_offset: packet.timestamp.wrapping_sub(before.timestamp),
            payload: before.payload,
        });
        let blocks: Vec<_> = before.into_iter().collect();
        Some((red, RedEncoder::encode(*pt, &packet.payload, &blocks)))
    }

    /// Sound that came in RED, and that of packets before it which have not come.
    pub(super) fn receive_red(&mut self, now: Duration, mid: Mid, packet: &RtpPacket) {
        let Ok(blocks) = RedDecoder::decode(&packet.payload) else {
            return;
        };
        self.red_packets += 1;
        let decoder = self.audio.entry(mid).or_default();
        for (back, block) in (0..).zip(blocks.iter().rev()) {
            decoder.receive(Received {
                at: now,
                codec: Codec::Opus,
                ssrc: *packet.header.ssrc,
                sequence: packet.seq_no.saturating_sub(back),
                timestamp: packet.header.timestamp.wrapping_sub(block.timestamp_offset),
                marker: packet.header.marker && back == 0,
                descriptor: None,
                repaired: false,
                hold: None,
                payload: block.payload.to_vec(),
            });
        }
    }
}
