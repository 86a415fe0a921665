//! H.264 payloads (RFC 6184).

use super::{Tag, VideoPacket, finish};

/// A H.264 packet (RFC 6184, packetization-mode 1): a keyframe starts with a STAP-A of SPS, PPS and
/// an SEI that carries the tag; slices are single NAL units or FU-As.
pub fn write_h264(tag: &Tag, size: (u16, u16), length: usize) -> Vec<u8> {
    let slice_type = if tag.is_keyframe() {
        NAL_IDR
    } else {
        NAL_SLICE
    };
    let slices_start = u16::from(tag.is_keyframe());
    let mut out = Vec::with_capacity(length + 8);
    if tag.is_keyframe() && tag.packet == 0 {
        let mut sei = vec![NAL_SEI];
        sei.extend(tag.encode());
        out.push(0x60 | NAL_STAP_A);
        for unit in [&parameters(size), PPS, &sei] {
            out.extend(u16::try_from(unit.len()).unwrap_or(u16::MAX).to_be_bytes());
            out.extend(unit);
        }
        return out;
    }
    if tag.packets == slices_start + 1 {
        out.push(0x60 | slice_type);
    } else {
        let start = tag.packet == slices_start;
        let end = tag.packet + 1 == tag.packets;
        out.extend([
            0x60 | NAL_FU_A,
            u8::from(start) << 7 | u8::from(end) << 6 | slice_type,
        ]);
    }
    finish(out, tag, length)
}

pub fn parse_h264(payload: &[u8]) -> Option<VideoPacket> {
    let (first, rest) = payload.split_first()?;
    let (tag, starts_frame, starts_keyframe) = match first & 0x1f {
        NAL_STAP_A => {
            let units = stap_units(rest)?;
            let sps = units
                .iter()
                .any(|unit| unit.first().is_some_and(|byte| byte & 0x1f == NAL_SPS));
            let sei = units.iter().find(|unit| unit.first() == Some(&NAL_SEI))?;
            (Tag::decode(sei.get(1..)?)?, true, sps)
        }
        NAL_FU_A => {
            let (header, rest) = rest.split_first()?;
            let first_slice = header & 0x80 != 0 && header & 0x1f == NAL_SLICE;
            (Tag::decode(rest)?, first_slice, false)
        }
        kind => (Tag::decode(rest)?, kind == NAL_SLICE, false),
    };
    Some(VideoPacket {
        tag,
        starts_frame,
        starts_keyframe,
        vp8: None,
        vp9: None,
    })
}

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;

const PPS: &[u8] = &[0x68, 0xce, 0x3c, 0x80];

fn stap_units(mut rest: &[u8]) -> Option<Vec<&[u8]>> {
    let mut units = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        units.push(unit);
        rest = after;
    }
    Some(units)
}

/// A sequence parameter set of constrained baseline, level 3.1 (ITU-T H.264 section 7.3.2.1.1): frames in macroblocks
/// of 16 pixels, cut to the picture's size in steps of two.
fn parameters((width, height): (u16, u16)) -> Vec<u8> {
    let mut bits = Bits::default();
    // log2_max_frame_num - 4, pic_order_cnt_type: frames are shown in the order in which they come.
    for value in [0, 0, 2] {
        bits.golomb(value);
    }
    bits.golomb(1); // max_num_ref_frames
    bits.push(0, 1); // gaps_in_frame_num_value_allowed_flag
    let units = [width, height].map(|side| u32::from(side.div_ceil(16)));
    for unit in units {
        bits.golomb(unit - 1);
    }
    bits.push(0b11, 2); // frame_mbs_only_flag, direct_8x8_inference_flag
    let [right, bottom] = [(units[0], width), (units[1], height)]
        .map(|(units, side)| (units * 16 - u32::from(side)) / 2);
    bits.push(1, 1); // frame_cropping_flag
    for crop in [0, right, 0, bottom] {
        bits.golomb(crop);
    }
    bits.push(0b01, 2); // no vui_parameters, and the stop bit
    let mut unit = vec![0x60 | NAL_SPS, 0x42, 0xe0, 0x1f];
    unit.extend(bits.bytes());
    unit
}

/// Bits, the first one the highest.
#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        self.0
            .extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    /// An unsigned Exp-Golomb code (section 9.1).
    fn golomb(&mut self, value: u32) {
        let digits = (value + 1).ilog2();
        self.push(0, digits);
        self.push(value + 1, digits + 1);
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.0.chunks(8).map(|chunk| {
            let bits = chunk.iter().zip((0..8).rev());
            bits.fold(0, |byte, (bit, place)| byte | u8::from(*bit) << place)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::tag;
    use super::*;

    #[test]
    fn h264_packets_survive_the_round_trip() {
        for (packet, packets, reference) in [
            (0, 4, None),
            (1, 4, None),
            (3, 4, None),
            (1, 2, None),
            (0, 1, Some(1)),
            (0, 3, Some(1)),
            (2, 3, Some(1)),
        ] {
            let tag = tag(packet, packets, reference);
            let read = parse_h264(&write_h264(&tag, (640, 360), 500)).unwrap();
            assert_eq!(read.tag, tag);
            assert_eq!(read.starts_frame, packet == 0, "{tag:?}");
            assert_eq!(read.starts_keyframe, packet == 0 && reference.is_none());
        }
    }

    #[test]
    fn garbage_is_none() {
        assert_eq!(parse_h264(&[24, 0, 200, 1]), None);
    }
}
