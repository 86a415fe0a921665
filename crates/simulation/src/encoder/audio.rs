//! A microphone with an Opus encoder.

use std::time::Duration;

use fastrand::Rng;

use super::{EncodedPacket, StartValues, media_ticks};
use crate::payload::{Codec, Tag, write_opus};

/// A microphone.
#[derive(Debug)]
pub struct AudioEncoder {
    source: u32,
    sequence: u64,
    timestamp_base: u32,
    packets: u32,
    spurt: u8,
    in_spurt: u16,
    ticks: u64,
    /// dBov while somebody talks, `None` in silence.
    talking: Option<i8>,
    /// Silence is not sent (DTX), instead of being sent as level -127.
    dtx: bool,
    level_extension: bool,
}

/// Duration of one audio packet.
const AUDIO_PACKET: Duration = Duration::from_millis(20);
const AUDIO_PACKET_BYTES: usize = 80;
/// In DTX, Opus sends one comfort-noise packet for every so many packets of silence (400 ms).
const DTX_PACKETS: u64 = 20;

impl AudioEncoder {
    pub fn new(
        source: u32,
        dtx: bool,
        level_extension: bool,
        start: StartValues,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            source,
            sequence: u64::from(start.sequence.unwrap_or_else(|| rng.u16(0..0x8000))),
            timestamp_base: start.timestamp.unwrap_or_else(|| rng.u32(..)),
            packets: 0,
            spurt: 0,
            in_spurt: 0,
            ticks: 0,
            talking: None,
            dtx,
            level_extension,
        }
    }

    /// Starts or ends a talk spurt.
    pub fn talk(&mut self, level: Option<i8>) {
        if level.is_some() && self.talking.is_none() {
            self.spurt = self.spurt.wrapping_add(1);
            self.in_spurt = 0;
        }
        self.talking = level;
    }

    pub fn next_capture(&self) -> Duration {
        AUDIO_PACKET.saturating_mul(u32::try_from(self.ticks).unwrap_or(u32::MAX))
    }

    pub fn skip_packet(&mut self) {
        self.ticks += 1;
    }

    /// The next 20 ms; `None` where DTX sends nothing.
    pub fn encode_packet(&mut self, captured: Duration) -> Option<EncodedPacket> {
        self.ticks += 1;
        if self.talking.is_none() && self.dtx && !self.ticks.is_multiple_of(DTX_PACKETS) {
            return None;
        }
        let marker = self.talking.is_some() && self.in_spurt == 0;
        let tag = Tag {
            source: self.source,
            layer: if self.talking.is_some() {
                self.spurt
            } else {
                0
            },
            spatial: 0,
            temporal: 0,
            frame: self.packets,
            packet: self.in_spurt,
            packets: 1,
            reference: None,
            below: None,
            captured,
        };
        let packet = EncodedPacket {
            codec: Codec::Opus,
            rid: None,
            sequence: self.sequence,
            timestamp: self
                .timestamp_base
                .wrapping_add(media_ticks(captured, 48_000)),
            marker,
            captured,
            level: self.level_extension.then(|| self.talking.unwrap_or(-127)),
            descriptor: None,
            allocation: None,
            payload: write_opus(&tag, AUDIO_PACKET_BYTES),
        };
        self.packets += 1;
        self.sequence += 1;
        if self.talking.is_some() {
            self.in_spurt = self.in_spurt.saturating_add(1);
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_talk_spurt_starts_with_a_marker_and_silence_is_not_sent_in_dtx() {
        let mut microphone = AudioEncoder::new(1, true, true, StartValues::default(), 1);
        assert_eq!(microphone.encode_packet(Duration::ZERO), None);
        microphone.talk(Some(-20));
        let first = microphone.encode_packet(AUDIO_PACKET).unwrap();
        let second = microphone.encode_packet(AUDIO_PACKET * 2).unwrap();
        assert_eq!((first.marker, second.marker), (true, false));
        assert_eq!(second.timestamp.wrapping_sub(first.timestamp), 960);
    }
}
