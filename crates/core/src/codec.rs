//! Reading payload descriptors: where a keyframe starts, how large the picture is, which layer a frame is of, and the
//! counters that have to stay continuous across a switch. Everything else in a payload is none of
//! our business (it may be encrypted end to end).

use str0m::format::{Codec, CodecSpec};

use crate::h264;
use crate::layering::{Frame, Point, Points, SPATIAL_LAYERS};
use crate::vp9;

/// Width and height in pixels of each spatial layer, where they are known.
pub(crate) type Sizes = [Option<(u32, u32)>; SPATIAL_LAYERS as usize];

/// What one payload tells about its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// The packet is the first of a keyframe.
    pub(crate) starts_keyframe: bool,
    /// Where a keyframe says so.
    pub(crate) sizes: Sizes,
    /// The `profile-level-id` of H.264, where a keyframe says so.
    pub(crate) profile: Option<u32>,
    pub(crate) counters: Option<Counters>,
    pub(crate) frame: Frame,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            starts_keyframe: false,
            sizes: Sizes::default(),
            profile: None,
            counters: None,
            frame: Frame::PLAIN,
        }
    }
}

/// The counters of a VP8 or VP9 payload descriptor (RFC 7741 section 4.2, RFC 9628 section 4.2), and where they stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counters {
    /// 15 bits wide, or 7 where `short`.
    pub(crate) picture_id: Option<u16>,
    pub(crate) short: bool,
    pub(crate) tl0_pic_idx: Option<u8>,
    picture_id_at: u8,
    tl0_at: u8,
    /// Receivers take a gap in the picture ids for a loss. Those of VP9 count references by them instead.
    pub(crate) gapless: bool,
}

impl Counters {
    /// Reads a picture id that stands here; where it ends.
    pub(crate) fn read_picture_id(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let high = *payload.get(at)?;
        self.picture_id_at = u8::try_from(at).ok()?;
        self.short = high & 0x80 == 0;
        if self.short {
            self.picture_id = Some(u16::from(high));
            return Some(at + 1);
        }
        let low = *payload.get(at + 1)?;
        self.picture_id = Some(u16::from_be_bytes([high & 0x7f, low]));
        Some(at + 2)
    }

    /// Reads the index of the base layer's picture that stands here; where it ends.
    pub(crate) fn read_tl0(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        self.tl0_at = u8::try_from(at).ok()?;
        self.tl0_pic_idx = Some(*payload.get(at)?);
        Some(at + 1)
    }

    /// Puts other counters into a payload that has these; the widths stay as they are.
    pub(crate) fn patch(
        self,
        payload: &mut [u8],
        picture_id: Option<u16>,
        tl0_pic_idx: Option<u8>,
    ) {
        if let (Some(_), Some(id)) = (self.picture_id, picture_id) {
            let [high, low] = id.to_be_bytes();
            let rest = payload.get_mut(usize::from(self.picture_id_at)..);
            match (rest.unwrap_or_default(), self.short) {
                ([one, ..], true) => *one = low & 0x7f,
                ([first, second, ..], false) => (*first, *second) = (0x80 | high, low),
                _ => {}
            }
        }
        if let (Some(_), Some(index)) = (self.tl0_pic_idx, tl0_pic_idx)
            && let Some(byte) = payload.get_mut(usize::from(self.tl0_at))
        {
            *byte = index;
        }
    }
}

/// Reads a payload of the given codec; an unreadable one is no keyframe.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "a codec that is not read here tells nothing"
)]
pub(crate) fn read(codec: Codec, payload: &[u8]) -> Reading {
    match codec {
        Codec::Vp8 => vp8(payload).unwrap_or_default(),
        Codec::H264 => h264(payload),
        Codec::Vp9 => vp9::read(payload).unwrap_or_default(),
        Codec::Av1 => Reading {
            starts_keyframe: av1_starts_sequence(payload),
            ..Reading::default()
        },
        _ => Reading {
            starts_keyframe: codec.is_audio(),
            ..Reading::default()
        },
    }
}

fn vp8(payload: &[u8]) -> Option<Reading> {
    let first = *payload.first()?;
    let start_of_partition = first & 0x10 != 0 && first & 0x07 == 0;
    let mut at = 1;
    let mut counters = Counters {
        short: true,
        gapless: true,
        ..Counters::default()
    };
    let mut frame = Frame::PLAIN;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        at = 2;
        if extension & 0x80 != 0 {
            at = counters.read_picture_id(payload, at)?;
        }
        if extension & 0x40 != 0 {
            at = counters.read_tl0(payload, at)?;
        }
        if extension & 0x20 != 0 {
            frame = vp8_frame(*payload.get(at)?, start_of_partition);
        }
        if extension & 0x30 != 0 {
            at += 1;
        }
    }
    let contents = payload.get(at..)?;
    // RFC 6386 section 9.1: bit 0 of the frame tag is clear in a keyframe, then come a start code
    // of three bytes and the size.
    let starts_keyframe = start_of_partition && contents.first().is_some_and(|tag| tag & 1 == 0);
    let size = match contents {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] if starts_keyframe => Some((
            u32::from(u16::from_le_bytes([*w0, *w1]) & 0x3fff),
            u32::from(u16::from_le_bytes([*h0, *h1]) & 0x3fff),
        )),
        _ => None,
    };
    Some(Reading {
        starts_keyframe,
        sizes: [size, None, None, None],
        profile: None,
        counters: Some(counters),
        frame,
    })
}

/// The temporal layer, and whether the frame depends on layer 0 alone (Y, "layer sync").
fn vp8_frame(layers: u8, starts: bool) -> Frame {
    let temporal = layers >> 6;
    let sync = layers & 0x20 != 0 && temporal > 0;
    let (switch, base) = if sync {
        // One step: frames of layers above may still depend on earlier ones of this.
        (
            Points::temporal(temporal),
            Points::from(Point::new(0, temporal - 1)),
        )
    } else {
        (Points::NONE, Points::NONE)
    };
    let layer = Point::new(0, temporal);
    Frame {
        layer,
        needed: Points::from(layer),
        switch,
        base,
        starts,
        ..Frame::PLAIN
    }
}

const H264_SPS: u8 = 7;
const H264_STAP_A: u8 = 24;

/// A keyframe that a decoder can start with begins with its parameter sets (RFC 6184 section 5).
fn h264(payload: &[u8]) -> Reading {
    let Some(first) = payload.first() else {
        return Reading::default();
    };
    let sps = match first & 0x1f {
        H264_SPS => Some(payload),
        H264_STAP_A => {
            stap_units(payload).find(|unit| unit.first().is_some_and(|b| b & 0x1f == H264_SPS))
        }
        _ => None,
    };
    Reading {
        starts_keyframe: sps.is_some(),
        sizes: [sps.and_then(h264::picture_size), None, None, None],
        profile: sps.and_then(h264::profile),
        ..Reading::default()
    }
}

fn stap_units(payload: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = payload.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let [high, low] = *rest.first_chunk()?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let unit = rest.get(2..2 + length)?;
        rest = rest.get(2 + length..)?;
        Some(unit)
    })
}

/// AV1 RTP section 4.4: N marks the first packet of a coded video sequence.
fn av1_starts_sequence(payload: &[u8]) -> bool {
    payload
        .first()
        .is_some_and(|aggregation| aggregation & 0x08 != 0 && aggregation & 0x80 == 0)
}

/// How well what somebody negotiated fits what is published; the better, the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fit {
    /// Decoders take it, as a rule, and nobody has promised that they do.
    Likely,
    Compatible,
    Same,
}

/// Whether packets of `published` can go to somebody who negotiated `wanted`.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "other codecs have no variants that matter"
)]
pub(crate) fn fit(published: &CodecSpec, wanted: &CodecSpec) -> Option<Fit> {
    if published.codec != wanted.codec || published.clock_rate != wanted.clock_rate {
        return None;
    }
    let (a, b) = (&published.format, &wanted.format);
    let same = match published.codec {
        Codec::H264 => {
            // Mode 1 has the packets of mode 0, and more (RFC 6184 section 6.2).
            let [from, to] = [a, b].map(|format| format.packetization_mode.unwrap_or(0));
            let fit = h264_fit(a.profile_level_id, b.profile_level_id);
            return match (from, to) {
                (0, 1) => Some(fit.min(Fit::Compatible)),
                _ => (from == to).then_some(fit),
            };
        }
        Codec::Vp9 => a.profile_id.unwrap_or(0) == b.profile_id.unwrap_or(0),
        Codec::Av1 => a.profile.unwrap_or(0) == b.profile.unwrap_or(0),
        _ => true,
    };
    same.then_some(Fit::Same)
}

/// Compares profiles; the level is no part of them (RFC 6184 section 8.1). None is refused: what a program has offered says
/// little about its encoder, and the decoders of browsers go by the stream itself.
fn h264_fit(published: Option<u32>, wanted: Option<u32>) -> Fit {
    let [published, wanted] = [published, wanted].map(|id| id.unwrap_or(H264_BASELINE));
    let constrained = |id: u32| id & H264_CONSTRAINT_SET1 != 0;
    if published >> 16 == wanted >> 16 && constrained(published) == constrained(wanted) {
        Fit::Same
    } else if h264::is_within(published, wanted) {
        Fit::Compatible
    } else {
        Fit::Likely
    }
}

/// What no `profile-level-id` stands for.
const H264_BASELINE: u32 = 0x0042_001f;
/// Tells constrained baseline from baseline.
const H264_CONSTRAINT_SET1: u32 = 0x0000_4000;

#[cfg(test)]
mod tests {
    use str0m::format::FormatParams;
    use str0m::media::Frequency;

    use super::*;

    #[test]
    fn a_vp8_keyframe_tells_its_size_and_counters() {
        let payload = [
            0x90, 0xe0, 0x92, 0x34, 0x55, 0x01, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0,
            0x02, 9,
        ];
        let reading = read(Codec::Vp8, &payload);
        assert!(reading.starts_keyframe);
        assert_eq!(reading.sizes[0], Some((1280, 720)));
        let counters = reading.counters.unwrap();
        assert_eq!(
            (counters.picture_id, counters.short, counters.tl0_pic_idx),
            (Some(0x1234), false, Some(0x55))
        );
        let mut patched = payload;
        counters.patch(&mut patched, Some(0x0102), Some(3));
        assert_eq!(patched[..6], [0x90, 0xe0, 0x81, 0x02, 3, 0x01]);
    }

    #[test]
    fn a_vp8_delta_frame_and_a_later_packet_start_no_keyframe() {
        assert!(!read(Codec::Vp8, &[0x90, 0x80, 0x11, 0x01, 0, 0]).starts_keyframe);
        assert!(!read(Codec::Vp8, &[0x80, 0x80, 0x11, 0x00, 0, 0]).starts_keyframe);
    }

    #[test]
    fn a_vp8_frame_tells_its_temporal_layer() {
        let frame = |layers: u8| read(Codec::Vp8, &[0x90, 0x20, layers, 1, 0, 0]).frame;
        let top = frame(2 << 6);
        assert!(top.starts && top.needed.contains(Point::new(0, 2)));
        assert!(!top.needed.contains(Point::new(0, 1)));
        assert_eq!(top.switch, Points::NONE);
        let sync = frame(1 << 6 | 0x20);
        assert!(sync.switch.contains(Point::new(0, 1)) && !sync.switch.contains(Point::new(0, 2)));
        assert!(sync.base.contains(Point::new(0, 0)));
        assert_eq!(frame(0).needed, Points::ALL);
    }

    #[test]
    fn an_h264_keyframe_begins_with_its_sps() {
        assert!(read(Codec::H264, &[0x67, 0x42]).starts_keyframe);
        assert!(read(Codec::H264, &[0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68]).starts_keyframe);
        assert!(!read(Codec::H264, &[0x7c, 0x85, 1]).starts_keyframe);
        assert!(!read(Codec::H264, &[0x78, 0, 9, 0x67]).starts_keyframe);
    }

    #[test]
    fn vp9_and_av1_keyframes() {
        assert!(read(Codec::Vp9, &[0x88, 0x01]).starts_keyframe);
        assert!(!read(Codec::Vp9, &[0xc8, 0x01]).starts_keyframe);
        assert!(
            !read(Codec::Vp9, &[0xa8, 0x01, 0x02]).starts_keyframe,
            "spatial layer 1"
        );
        assert!(read(Codec::Av1, &[0x18]).starts_keyframe);
        assert!(!read(Codec::Av1, &[0x10]).starts_keyframe);
    }

    #[test]
    fn h264_fits_its_own_profile_best() {
        let spec = |profile_level_id, mode| CodecSpec {
            codec: Codec::H264,
            clock_rate: Frequency::NINETY_KHZ,
            channels: None,
            format: FormatParams {
                profile_level_id,
                packetization_mode: mode,
                ..FormatParams::default()
            },
        };
        let constrained = spec(Some(0x42_e01f), Some(1));
        let fits = |profile, mode| fit(&constrained, &spec(profile, mode));
        assert_eq!(fits(Some(0x42_c034), Some(1)), Some(Fit::Same));
        assert_eq!(fits(Some(0x42_001f), Some(1)), Some(Fit::Compatible));
        assert_eq!(fits(None, Some(1)), Some(Fit::Compatible));
        assert_eq!(fits(Some(0x42_e01f), None), None);
        assert_eq!(fits(Some(0x64_001f), Some(1)), Some(Fit::Compatible));
        let high = spec(Some(0x64_001f), Some(1));
        assert_eq!(fit(&high, &high), Some(Fit::Same));
        assert_eq!(fit(&high, &constrained), Some(Fit::Likely));
        let single = spec(Some(0x42_e01f), None);
        let fragments = spec(Some(0x42_e01f), Some(1));
        assert_eq!(fit(&single, &fragments), Some(Fit::Compatible));
        assert_eq!(fit(&single, &single), Some(Fit::Same));
    }

    proptest::proptest! {
        #[test]
        fn no_payload_panics(payload: Vec<u8>) {
            for codec in [Codec::Vp8, Codec::H264, Codec::Vp9, Codec::Av1, Codec::Opus] {
                let _ = read(codec, &payload);
            }
        }
    }
}
