//! Keyframes of a stream whose payload is encrypted from end to end, and which has no dependency descriptors.
//!
//! Nothing says which frame is one. But an encoder begins with one, and makes one when it is asked to; and a keyframe
//! is several times as large as the frames around it. Where it is not, because hardly anything moves, the request is
//! repeated and less is asked of the size each time, until the next frame is taken for it whatever its size: a receiver
//! for which that was wrong asks again.

use crate::publish::Packet;

/// The sizes of a stream's frames, as they come in.
#[derive(Debug, Default)]
pub(crate) struct FrameSizes {
    timestamp: u64,
    /// Number of the frame's first packet, and of the newest packet that has come, with its stream.
    first: u64,
    newest: Option<(u32, u64)>,
    bytes: u64,
    /// Of frames that are no keyframes, smoothed.
    usual_bytes: u64,
}

/// How much larger than usual a keyframe is, in percent, by the number of requests that went without an answer.
/// Browsers' are 3 to 10 times as large as the frame before.
const SIZE_PERCENT: [u64; 3] = [200, 200, 150];

impl FrameSizes {
    /// Where the frame that ends with this packet begins, if it is taken for a keyframe. `asked`: so many requests are
    /// out.
    pub(crate) fn keyframe(&mut self, packet: &Packet, asked: u32) -> Option<u64> {
        if packet.timestamp < self.timestamp {
            return None;
        }
        if packet.timestamp > self.timestamp {
            // What is missing before it may be its beginning, without which it is no picture.
            let before = self.newest.filter(|(stream, _)| *stream == packet.stream);
            let first = before.map_or(packet.seq, |(_, newest)| newest + 1);
            (self.timestamp, self.first, self.bytes) = (packet.timestamp, first, 0);
        }
        self.newest = self.newest.max(Some((packet.stream, packet.seq)));
        self.first = self.first.min(packet.seq);
        self.bytes += packet.payload.len() as u64;
        if !packet.marker {
            return None;
        }
        let asked = usize::try_from(asked).unwrap_or(usize::MAX);
        let percent = SIZE_PERCENT.get(asked).copied().unwrap_or(0);
        let compared = self.usual_bytes > 0 || percent == 0;
        if asked > 0 && compared && self.bytes * 100 >= self.usual_bytes * percent {
            return Some(self.first);
        }
        self.usual_bytes = match self.usual_bytes {
            0 => self.bytes,
            usual => (usual * 7 + self.bytes) / 8,
        };
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use str0m::format::{Codec, CodecSpec, FormatParams};
    use str0m::media::Frequency;
    use str0m::rtp::ExtensionValues;

    use super::*;
    use crate::layering::Frame;

    /// Frames of two packets.
    fn frame(number: u64, bytes: usize) -> [Packet; 2] {
        [0, 1].map(|packet| Packet {
            layer: 0,
            stream: 0,
            seq: number * 2 + packet,
            timestamp: number * 3_000,
            marker: packet == 1,
            codec: Arc::new(CodecSpec {
                codec: Codec::Vp8,
                clock_rate: Frequency::NINETY_KHZ,
                channels: None,
                format: FormatParams::default(),
            }),
            red: None,
            encrypted: false,
            starts_keyframe: false,
            counters: None,
            frame: Frame::PLAIN,
            descriptor: None,
            arrived: Instant::now(),
            captured: None,
            repaired_within: Duration::ZERO,
            extensions: ExtensionValues::default(),
            payload: vec![0; bytes / 2].into(),
        })
    }

    fn found(sizes: &mut FrameSizes, number: u64, bytes: usize, asked: u32) -> Option<u64> {
        let packets = frame(number, bytes);
        let found = packets.iter().map(|packet| sizes.keyframe(packet, asked));
        found.last().flatten()
    }

    #[test]
    fn a_large_frame_is_a_keyframe_once_one_has_been_asked_for() {
        let mut sizes = FrameSizes::default();
        for number in 1..20 {
            assert_eq!(found(&mut sizes, number, 1_000, 0), None);
        }
        assert_eq!(found(&mut sizes, 20, 4_000, 0), None, "nobody has asked");
        assert_eq!(found(&mut sizes, 21, 1_900, 1), None);
        assert_eq!(found(&mut sizes, 22, 4_000, 1), Some(44));
    }

    #[test]
    fn a_keyframe_whose_beginning_is_missing_does_not_begin_with_what_has_come() {
        let mut sizes = FrameSizes::default();
        for number in 1..20 {
            found(&mut sizes, number, 1_000, 0);
        }
        let [_, end] = frame(20, 8_000);
        assert_eq!(sizes.keyframe(&end, 1), Some(40), "which has not come");
    }

    #[test]
    fn what_is_asked_for_again_and_again_may_be_small() {
        let mut sizes = FrameSizes::default();
        for number in 1..20 {
            found(&mut sizes, number, 1_000, 0);
        }
        assert_eq!(found(&mut sizes, 20, 1_000, 2), None);
        assert_eq!(found(&mut sizes, 21, 1_000, 3), Some(42));
    }
}
