//! H.264 in RTP (RFC 6184), packetization mode 1, as browsers send it: parameter sets in a STAP-A before each IDR picture,
//! slices in FU-As, or whole where they fit into a packet.

use super::encoder::{Frame, payload_lengths};

/// Constrained baseline, level 3.1: what every browser takes, up to 1280×720 at 30 frames per second.
pub(super) const PROFILE_LEVEL_ID: u32 = 0x42_e0_1f;

const NAL_SLICE: u8 = 1;
const NAL_IDR: u8 = 5;
const NAL_SEI: u8 = 6;
const NAL_SPS: u8 = 7;
const NAL_PPS: u8 = 8;
const NAL_STAP_A: u8 = 24;
const NAL_FU_A: u8 = 28;
/// `nal_ref_idc` of what others refer to.
const REFERENCE: u8 = 0x60;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;
/// One slice group, CAVLC, no weighting.
const PPS: [u8; 4] = [REFERENCE | NAL_PPS, 0xce, 0x3c, 0x80];
/// User data that whoever does not know its UUID ignores; the tag takes the place of the UUID.
const SEI_USER_DATA: [u8; 3] = [NAL_SEI, 5, 16];
/// The first byte of a slice header: macroblock 0, and a picture of which all slices are I or P.
const I_SLICE: u8 = 0x88;
const P_SLICE: u8 = 0x9a;

/// Packs the frames of one layer.
#[derive(Debug)]
pub(super) struct Packetizer {
    sps: Vec<u8>,
}

impl Packetizer {
    pub(super) fn new(width: u16, height: u16) -> Self {
        Self {
            sps: sequence_parameter_set(width.into(), height.into()),
        }
    }

    /// The payloads of a frame, which is one slice.
    pub(super) fn pack(&self, frame: &Frame) -> Vec<Vec<u8>> {
        let sets = frame.keyframe.then(|| self.parameter_sets(frame));
        let left = frame.bytes - sets.as_ref().map_or(0, Vec::len).min(frame.bytes);
        let lengths: Vec<_> = payload_lengths(left).collect();
        let last = lengths.len() - 1;
        let (kind, slice) = if frame.keyframe {
            (NAL_IDR, I_SLICE)
        } else {
            (NAL_SLICE, P_SLICE)
        };
        let slices = lengths.into_iter().enumerate().map(|(position, length)| {
            let mut payload = Vec::with_capacity(length);
            if last == 0 {
                payload.push(REFERENCE | kind);
            } else {
                let start = if position == 0 { FU_START } else { 0 };
                let end = if position == last { FU_END } else { 0 };
                payload.extend([REFERENCE | NAL_FU_A, start | end | kind]);
            }
            if position == 0 {
                payload.push(slice);
            }
            frame.fill(payload, length)
        });
        sets.into_iter().chain(slices).collect()
    }

    fn parameter_sets(&self, frame: &Frame) -> Vec<u8> {
        let mut sei = SEI_USER_DATA.to_vec();
        frame.tag.write(&mut sei);
        sei.push(0x80);
        let mut payload = vec![REFERENCE | NAL_STAP_A];
        for unit in [self.sps.as_slice(), &PPS, &sei] {
            payload.extend(u16::try_from(unit.len()).unwrap_or_default().to_be_bytes());
            payload.extend(unit);
        }
        payload
    }
}

/// ITU-T H.264 section 7.3.2.1.1.
fn sequence_parameter_set(width: u32, height: u32) -> Vec<u8> {
    const MACROBLOCK: u32 = 16;
    let (columns, rows) = (width.div_ceil(MACROBLOCK), height.div_ceil(MACROBLOCK));
    let mut bits = Bits::default();
    bits.push(24, PROFILE_LEVEL_ID);
    bits.golomb(0); // seq_parameter_set_id
    bits.golomb(0); // log2_max_frame_num_minus4
    bits.golomb(2); // pic_order_cnt_type: the order of decoding
    bits.golomb(1); // max_num_ref_frames
    bits.push(1, 0); // gaps_in_frame_num_value_allowed_flag
    bits.golomb(columns - 1);
    bits.golomb(rows - 1);
    bits.push(2, 0b11); // frame_mbs_only_flag, direct_8x8_inference_flag
    bits.push(1, 1); // frame_cropping_flag
    bits.golomb(0); // left
    bits.golomb((columns * MACROBLOCK - width) / 2); // right, in samples of chroma
    bits.golomb(0); // top
    bits.golomb((rows * MACROBLOCK - height) / 2); // bottom
    bits.push(1, 0); // vui_parameters_present_flag
    bits.push(1, 1); // rbsp_stop_one_bit
    let mut unit = vec![REFERENCE | NAL_SPS];
    unit.extend(bits.bytes);
    unit
}

#[derive(Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    /// Bits that are free in the last byte.
    free: u32,
}

impl Bits {
    /// The lowest `count` bits of `value`.
    fn push(&mut self, count: u32, value: u32) {
        for position in (0..count).rev() {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            self.free -= 1;
            if let Some(byte) = self.bytes.last_mut() {
                *byte |= u8::from(value >> position & 1 == 1) << self.free;
            }
        }
    }

    /// An Exp-Golomb code (section 9.1).
    fn golomb(&mut self, value: u32) {
        let length = (value + 1).ilog2();
        self.push(length, 0);
        self.push(length + 1, value + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::tag::{StreamId, Tag};

    const TAG: Tag = Tag {
        stream: StreamId(1),
        sent_ns: 1_700_000_000_123_456_789,
    };

    fn pack(keyframe: bool, bytes: usize) -> Vec<Vec<u8>> {
        Packetizer::new(1_280, 720).pack(&Frame {
            keyframe,
            bytes,
            tag: TAG,
        })
    }

    fn units(payload: &[u8]) -> Vec<&[u8]> {
        let mut rest = &payload[1..];
        let mut units = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let (unit, after) = after.split_at(u16::from_be_bytes(*length).into());
            units.push(unit);
            rest = after;
        }
        units
    }

    #[test]
    fn parameter_sets_come_before_an_idr_picture_and_only_there() {
        let key = pack(true, 4_000);
        assert_eq!(key[0][0] & 0x1f, NAL_STAP_A);
        let kinds: Vec<_> = units(&key[0]).iter().map(|unit| unit[0] & 0x1f).collect();
        assert_eq!(kinds, [NAL_SPS, NAL_PPS, NAL_SEI]);
        assert_eq!(key[1][1] & 0x1f, NAL_IDR);
        let delta = pack(false, 4_000);
        assert_eq!(
            (delta[0][0] & 0x1f, delta[0][1] & 0x1f),
            (NAL_FU_A, NAL_SLICE)
        );
    }

    #[test]
    fn a_slice_is_cut_into_fu_as_with_a_start_and_an_end() {
        let delta = pack(false, 4_000);
        let flags: Vec<_> = delta.iter().map(|payload| payload[1] & 0xc0).collect();
        assert_eq!(flags, [FU_START, 0, 0, FU_END]);
        assert!(delta.iter().all(|payload| payload[0] & 0x1f == NAL_FU_A));
        assert_eq!(delta.iter().map(Vec::len).sum::<usize>(), 4_000);
        let small = pack(false, 600);
        assert_eq!(small.len(), 1);
        assert_eq!(small[0][0], REFERENCE | NAL_SLICE, "whole where it fits");
    }

    #[test]
    fn every_payload_has_its_tag() {
        for payload in [pack(true, 4_000), pack(false, 4_000), pack(false, 40)].concat() {
            assert_eq!(Tag::find(&payload), Some(TAG), "{payload:x?}");
        }
    }

    fn golomb(bits: &mut impl Iterator<Item = u32>) -> u32 {
        let zeros = bits.take_while(|bit| *bit == 0).count();
        bits.take(zeros).fold(1, |all, bit| all << 1 | bit) - 1
    }

    /// Reads what follows the three bytes of the profile.
    fn picture_size(unit: &[u8]) -> (u32, u32) {
        let bits = unit[4..].iter();
        let bits = bits.flat_map(|byte| (0..8).rev().map(move |at| u32::from(byte >> at & 1)));
        let mut bits = &mut bits.into_iter();
        assert_eq!([(); 4].map(|()| golomb(&mut bits)), [0, 0, 2, 1]);
        assert_eq!(bits.next(), Some(0));
        let (columns, rows) = (golomb(&mut bits) + 1, golomb(&mut bits) + 1);
        assert_eq!(bits.take(3).collect::<Vec<_>>(), [1, 1, 1]);
        let [_, right, _, bottom] = [(); 4].map(|()| golomb(&mut bits));
        assert_eq!(bits.take(2).collect::<Vec<_>>(), [0, 1]);
        assert!(bits.all(|bit| bit == 0), "nothing follows");
        (columns * 16 - right * 2, rows * 16 - bottom * 2)
    }

    #[test]
    fn the_size_stands_in_the_sequence_parameter_set() {
        for (width, height) in [(1_280, 720), (640, 360), (320, 180)] {
            let unit = sequence_parameter_set(width, height);
            assert_eq!(unit[..4], [0x67, 0x42, 0xe0, 0x1f]);
            assert_eq!(picture_size(&unit), (width, height));
            let emulates = |three: &[u8]| three[..2] == [0, 0] && three[2] <= 3;
            assert!(!unit.windows(3).any(emulates), "no byte needs an escape");
        }
    }
}
