//! What an H.264 sequence parameter set says (ITU-T H.264 section 7.3.2.1.1): profile and picture size.

/// Baseline, main and high: what browsers decode.
const USUAL_PROFILES: [u8; 3] = [66, 77, 100];

/// Profile, constraints and level of an SPS unit, header byte included, as a `profile-level-id` has them (RFC 6184 section 8.1).
/// An encoder's settings decide here, whatever the program around it has offered.
pub(crate) fn profile(unit: &[u8]) -> Option<u32> {
    let &[_, profile, constraints, level, ..] = unit else {
        return None;
    };
    Some(u32::from_be_bytes([0, profile, constraints, level]))
}

/// Whether a stream of this `profile-level-id` is none that browsers are sure to decode: one of 10 bits, for example.
pub(crate) fn is_unusual(profile: u32) -> bool {
    let [_, profile, ..] = profile.to_be_bytes();
    !USUAL_PROFILES.contains(&profile)
}

/// Whether decoders of `wanted` are made for what has been `published`. Encoders that say baseline use none of its tools
/// that the higher profiles lack.
pub(crate) fn is_within(published: u32, wanted: u32) -> bool {
    let rank = |profile: u32| {
        let [_, profile, ..] = profile.to_be_bytes();
        USUAL_PROFILES.iter().position(|usual| *usual == profile)
    };
    rank(published).is_some_and(|published| rank(wanted).is_some_and(|wanted| published <= wanted))
}

/// Width and height in pixels of an SPS unit, header byte included; `None` where it cannot be read.
pub(crate) fn picture_size(unit: &[u8]) -> Option<(u32, u32)> {
    let payload = without_emulation_prevention(unit.get(1..)?);
    let mut bits = Bits {
        bytes: &payload,
        at: 0,
    };
    let profile = bits.take(8)?;
    bits.take(16)?; // constraint flags, level
    bits.golomb()?; // seq_parameter_set_id
    let chroma_format = if has_chroma_format(profile) {
        high_profile_fields(&mut bits)?
    } else {
        1
    };
    bits.golomb()?; // log2_max_frame_num_minus4
    picture_order_count(&mut bits)?;
    bits.golomb()?; // max_num_ref_frames
    bits.take(1)?; // gaps_in_frame_num_value_allowed_flag
    let width_units = bits.golomb()?.checked_add(1)?;
    let height_units = bits.golomb()?.checked_add(1)?;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?; // mb_adaptive_frame_field_flag
    }
    bits.take(1)?; // direct_8x8_inference_flag
    let width = width_units.checked_mul(16)?;
    let height = height_units.checked_mul(16)?.checked_mul(2 - frames_only)?;
    let (crop_width, crop_height) = if bits.take(1)? == 1 {
        cropping(&mut bits, chroma_format, frames_only)?
    } else {
        (0, 0)
    };
    let size = (
        width.checked_sub(crop_width)?,
        height.checked_sub(crop_height)?,
    );
    /// Level 6.2 goes up to 16,384; anything beyond is noise.
    const SIDE_MAX: u32 = 16_384;
    (size.0 > 0 && size.1 > 0 && size.0 <= SIDE_MAX && size.1 <= SIDE_MAX).then_some(size)
}

/// Profiles whose SPS carries the chroma format and bit depths.
fn has_chroma_format(profile: u32) -> bool {
    matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    )
}

fn high_profile_fields(bits: &mut Bits<'_>) -> Option<u32> {
    let chroma_format = bits.golomb()?;
    if chroma_format == 3 {
        bits.take(1)?; // separate_colour_plane_flag
    }
    bits.golomb()?; // bit_depth_luma_minus8
    bits.golomb()?; // bit_depth_chroma_minus8
    bits.take(1)?; // qpprime_y_zero_transform_bypass_flag
    if bits.take(1)? == 1 {
        for list in 0..if chroma_format == 3 { 12 } else { 8 } {
            if bits.take(1)? == 1 {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(chroma_format)
}

fn skip_scaling_list(bits: &mut Bits<'_>, size: u32) -> Option<()> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = (last + bits.signed_golomb()? + 256).rem_euclid(256);
        }
        last = if next == 0 { last } else { next };
    }
    Some(())
}

fn picture_order_count(bits: &mut Bits<'_>) -> Option<()> {
    match bits.golomb()? {
        0 => {
            bits.golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            bits.take(1)?; // delta_pic_order_always_zero_flag
            bits.golomb()?; // offset_for_non_ref_pic
            bits.golomb()?; // offset_for_top_to_bottom_field
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?; // offset_for_ref_frame
            }
        }
        _ => {}
    }
    Some(())
}

/// Pixels cut off in width and height.
fn cropping(bits: &mut Bits<'_>, chroma_format: u32, frames_only: u32) -> Option<(u32, u32)> {
    let (left, right, top, bottom) = (
        bits.golomb()?,
        bits.golomb()?,
        bits.golomb()?,
        bits.golomb()?,
    );
    let unit_width = if matches!(chroma_format, 1 | 2) { 2 } else { 1 };
    let unit_height = if chroma_format == 1 { 2 } else { 1 };
    Some((
        left.checked_add(right)?.checked_mul(unit_width)?,
        top.checked_add(bottom)?
            .checked_mul(unit_height)?
            .checked_mul(2 - frames_only)?,
    ))
}

/// Section 7.3.1: a 3 after two zero bytes only keeps a start code from appearing.
fn without_emulation_prevention(bytes: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut zeros = 0;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        kept.push(byte);
    }
    kept
}

struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = (value << 1) | u32::from((byte >> (7 - self.at % 8)) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// An unsigned Exp-Golomb code (section 9.1).
    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        self.take(zeros)?.checked_add((1_u32 << zeros) - 1)
    }

    fn signed_golomb(&mut self) -> Option<i64> {
        let code = i64::from(self.golomb()?);
        Some(if code % 2 == 0 {
            -(code / 2)
        } else {
            (code + 1) / 2
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_real_encoders() {
        // x264, high profile, 1920 × 1080 with cropping.
        let high = [
            0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00,
            0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
        ];
        assert_eq!(picture_size(&high), Some((1920, 1080)));
        // OpenH264, constrained baseline, 320 × 180 with cropping.
        let baseline = [
            0x67, 0x42, 0xc0, 0x0d, 0x8c, 0x8d, 0x40, 0xa0, 0xcf, 0xe7, 0x80, 0xf0, 0x88, 0x46,
            0xa0,
        ];
        assert!(picture_size(&baseline).is_some());
    }

    #[test]
    fn whip_39_the_profile_is_what_the_encoder_writes() {
        // x264 by FFmpeg 9.0.2, 640 × 360, as it is told by -profile:v or -pix_fmt.
        let baseline: &[u8] = &[
            0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
            0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
        ];
        let main: &[u8] = &[
            0x67, 0x4d, 0x40, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03,
            0x00, 0x01, 0x00, 0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
        ];
        let high: &[u8] = &[
            0x67, 0x64, 0x00, 0x1e, 0xac, 0xb2, 0x01, 0x40, 0x5f, 0xf2, 0xe0, 0x22, 0x00, 0x00,
            0x03, 0x00, 0x02, 0x00, 0x00, 0x03, 0x00, 0x78, 0x1e, 0x2c, 0x5c, 0x90,
        ];
        let ten_bits: &[u8] = &[
            0x67, 0x6e, 0x00, 0x1e, 0xa6, 0xcb, 0x20, 0x14, 0x05, 0xff, 0x2e, 0x02, 0x20, 0x00,
            0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x07, 0x81, 0xe2, 0xc5, 0xc9,
        ];
        for (unit, expected, unusual) in [
            (baseline, 0x42_c01e, false),
            (main, 0x4d_401e, false),
            (high, 0x64_001e, false),
            (ten_bits, 0x6e_001e, true),
        ] {
            assert_eq!(profile(unit), Some(expected));
            assert_eq!(is_unusual(expected), unusual, "{expected:x}");
            assert_eq!(picture_size(unit), Some((640, 360)), "{expected:x}");
        }
        assert!(is_within(0x42_c01e, 0x4d_001f) && is_within(0x4d_401e, 0x64_001f));
        assert!(!is_within(0x64_001e, 0x42_e01f) && !is_within(0x6e_001e, 0x64_001f));
    }

    proptest::proptest! {
        #[test]
        fn no_unit_panics(unit: Vec<u8>) {
            let _ = profile(&unit);
            let _ = picture_size(&unit);
        }
    }
}
