//! VP8 in RTP (RFC 7741).

use fastrand::Rng;

use super::encoder::{Frame, payload_lengths};

/// Packs the frames of one layer.
#[derive(Debug)]
pub(super) struct Packetizer {
    width: u16,
    height: u16,
    picture_id: u16,
    tl0_pic_idx: u8,
}

impl Packetizer {
    pub(super) fn new((width, height): (u16, u16), rng: &mut Rng) -> Self {
        Self {
            width,
            height,
            picture_id: rng.u16(..) & 0x7fff,
            tl0_pic_idx: rng.u8(..),
        }
    }

    /// The payloads of a frame.
    pub(super) fn pack(&mut self, frame: &Frame) -> Vec<Vec<u8>> {
        let payloads = payload_lengths(frame.bytes).enumerate();
        let payloads = payloads.map(|(position, length)| {
            let mut payload = Vec::with_capacity(length);
            self.write_descriptor(position == 0, &mut payload);
            if position == 0 {
                self.write_frame_header(frame.keyframe, &mut payload);
            }
            frame.fill(payload, length)
        });
        let payloads = payloads.collect();
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
        payloads
    }

    /// RFC 7741 section 4.2: picture id of 15 bits, TL0PICIDX, temporal layer 0.
    fn write_descriptor(&self, first: bool, out: &mut Vec<u8>) {
        let [high, low] = self.picture_id.to_be_bytes();
        out.extend([
            0x80 | u8::from(first) << 4,
            0xe0,
            0x80 | high,
            low,
            self.tl0_pic_idx,
            0,
        ]);
    }

    /// RFC 6386 section 9.1: a frame that is shown; a keyframe has a start code and its size.
    fn write_frame_header(&self, keyframe: bool, out: &mut Vec<u8>) {
        out.extend([0x10 | u8::from(!keyframe), 0, 0]);
        if keyframe {
            out.extend([0x9d, 0x01, 0x2a]);
            out.extend(self.width.to_le_bytes());
            out.extend(self.height.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tag::{StreamId, Tag};

    fn frame(keyframe: bool) -> Frame {
        Frame {
            keyframe,
            bytes: 4_000,
            tag: Tag {
                stream: StreamId(1),
                sent_ns: 5,
            },
        }
    }

    fn packetizer() -> Packetizer {
        Packetizer::new((1_280, 720), &mut Rng::with_seed(1))
    }

    #[test]
    fn a_keyframe_begins_with_its_start_code_and_size() {
        let mut packetizer = packetizer();
        let key = packetizer.pack(&frame(true));
        assert_eq!(key[0][0], 0x90, "extension, start of partition 0");
        assert_eq!(key[0][6] & 1, 0, "keyframe");
        assert_eq!(key[0][9..16], [0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        assert_eq!(key[1][0], 0x80, "no second start");
        let delta = packetizer.pack(&frame(false));
        assert_eq!(delta[0][6] & 1, 1, "delta frame");
    }

    #[test]
    fn counters_go_on_and_wrap() {
        let mut packetizer = packetizer();
        packetizer.picture_id = 0x7fff;
        packetizer.tl0_pic_idx = 0xff;
        let (one, two) = (
            packetizer.pack(&frame(true)),
            packetizer.pack(&frame(false)),
        );
        assert_eq!(one[0][2..5], [0xff, 0xff, 0xff]);
        assert_eq!(two[0][2..5], [0x80, 0x00, 0x00]);
    }
}
