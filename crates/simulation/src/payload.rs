//! RTP payloads of the synthetic encoders: real payload descriptors around a [`Tag`].
//!
//! Written and parsed here independently of the core, so that a mistake there is not repeated here.

mod h264;

use std::time::Duration;

pub use h264::{parse_h264, write_h264};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    Vp8,
    H264,
    Vp9,
    Av1,
    Opus,
}

/// The layers of one stream, as `scalabilityMode` names them: `L3T3`, or `L3T3_KEY` where a larger picture is
/// predicted from the smaller one in keyframes alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    pub spatial: u8,
    pub temporal: u8,
    pub key: bool,
}

impl Mode {
    pub const fn new(spatial: u8, temporal: u8) -> Self {
        Self {
            spatial,
            temporal,
            key: false,
        }
    }

    pub const fn key(spatial: u8, temporal: u8) -> Self {
        Self {
            spatial,
            temporal,
            key: true,
        }
    }
}

/// What every synthetic packet says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// The publication: one microphone, camera or screen of one browser.
    pub source: u32,
    /// Position of the simulcast layer, 0 is the smallest. Of audio: the talk spurt, modulo 256.
    pub layer: u8,
    /// Spatial layer within the stream, 0 is the smallest.
    pub spatial: u8,
    /// Temporal layer, 0 is the base.
    pub temporal: u8,
    /// Number of the frame within its layer. Of audio: number of the packet.
    pub frame: u32,
    /// Position of the packet within its frame. Of audio: position within the talk spurt.
    pub packet: u16,
    /// Packets of the frame.
    pub packets: u16,
    /// The frame that this one is predicted from; a keyframe has none.
    pub reference: Option<u32>,
    /// The frame of the spatial layer below that this one is predicted from.
    pub below: Option<u32>,
    /// When it was captured, in virtual time.
    pub captured: Duration,
}

const MAGIC: u32 = 0x6d61_6464;
const NO_REFERENCE: u32 = u32::MAX;

impl Tag {
    pub const BYTES: usize = 35;

    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let captured = u64::try_from(self.captured.as_micros()).unwrap_or(u64::MAX);
        let fields: [&[u8]; 11] = [
            &MAGIC.to_be_bytes(),
            &self.source.to_be_bytes(),
            &[self.layer],
            &[self.spatial],
            &[self.temporal],
            &self.frame.to_be_bytes(),
            &self.packet.to_be_bytes(),
            &self.packets.to_be_bytes(),
            &self.reference.unwrap_or(NO_REFERENCE).to_be_bytes(),
            &self.below.unwrap_or(NO_REFERENCE).to_be_bytes(),
            &captured.to_be_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// `None` where the bytes do not begin with a tag.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u32()? != MAGIC {
            return None;
        }
        Some(Self {
            source: reader.u32()?,
            layer: reader.u8()?,
            spatial: reader.u8()?,
            temporal: reader.u8()?,
            frame: reader.u32()?,
            packet: reader.u16()?,
            packets: reader.u16()?,
            reference: Some(reader.u32()?).filter(|frame| *frame != NO_REFERENCE),
            below: Some(reader.u32()?).filter(|frame| *frame != NO_REFERENCE),
            captured: Duration::from_micros(reader.u64()?),
        })
    }

    /// How many smaller pictures there are, be they other streams or other layers of this one.
    pub fn rank(&self) -> u8 {
        self.layer.max(self.spatial)
    }

    /// Nothing has to be there before it.
    pub fn is_keyframe(&self) -> bool {
        self.reference.is_none() && self.below.is_none()
    }

    pub(crate) fn starts_keyframe(&self) -> bool {
        self.is_keyframe() && self.packet == 0
    }
}

/// The VP8 payload descriptor (RFC 7741 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp8Descriptor {
    /// The packet starts a frame (S bit with partition 0).
    pub start: bool,
    /// The 15-bit form is written where `long_picture_id` says so.
    pub picture_id: Option<u16>,
    pub long_picture_id: bool,
    pub tl0: Option<u8>,
    pub temporal: Option<u8>,
    /// The frame is predicted from temporal layer 0 alone.
    pub sync: bool,
}

impl Vp8Descriptor {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(0x80 | u8::from(self.start) << 4);
        out.push(
            u8::from(self.picture_id.is_some()) << 7
                | u8::from(self.tl0.is_some()) << 6
                | u8::from(self.temporal.is_some()) << 5,
        );
        if let Some(id) = self.picture_id {
            let [high, low] = id.to_be_bytes();
            if self.long_picture_id {
                out.extend([0x80 | high, low]);
            } else {
                out.push(low & 0x7f);
            }
        }
        out.extend(self.tl0);
        let sync = u8::from(self.sync) << 5;
        out.extend(self.temporal.map(|temporal| temporal << 6 | sync));
    }

    /// The descriptor and what follows it.
    pub fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut reader = Reader(payload);
        let first = reader.u8()?;
        let mut descriptor = Self {
            start: first & 0x17 == 0x10,
            ..Self::default()
        };
        let extension = if first & 0x80 == 0 { 0 } else { reader.u8()? };
        if extension & 0x80 != 0 {
            let high = reader.u8()?;
            descriptor.long_picture_id = high & 0x80 != 0;
            descriptor.picture_id = Some(if descriptor.long_picture_id {
                u16::from_be_bytes([high & 0x7f, reader.u8()?])
            } else {
                u16::from(high)
            });
        }
        if extension & 0x40 != 0 {
            descriptor.tl0 = Some(reader.u8()?);
        }
        if extension & 0x30 != 0 {
            let temporal = reader.u8()?;
            descriptor.temporal = (extension & 0x20 != 0).then_some(temporal >> 6);
            descriptor.sync = extension & 0x20 != 0 && temporal & 0x20 != 0;
        }
        Some((descriptor, reader.0))
    }
}

/// One video packet as a receiver reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoPacket {
    pub tag: Tag,
    /// What the bitstream itself says, beside the tag.
    pub starts_frame: bool,
    pub starts_keyframe: bool,
    pub vp8: Option<Vp8Descriptor>,
    pub vp9: Option<Vp9Descriptor>,
}

/// A VP8 packet: descriptor, in a frame's first packet the frame header (RFC 6386 section 9.1), tag, filling.
pub fn write_vp8(
    descriptor: &Vp8Descriptor,
    tag: &Tag,
    size: (u16, u16),
    length: usize,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(length + 32);
    descriptor.write(&mut out);
    if descriptor.start {
        // Bit 0 is 0 for a keyframe; bit 4 shows the frame.
        out.extend([0x10 | u8::from(!tag.is_keyframe()), 0, 0]);
        if tag.is_keyframe() {
            out.extend([0x9d, 0x01, 0x2a]);
            out.extend(size.0.to_le_bytes());
            out.extend(size.1.to_le_bytes());
        }
    }
    finish(out, tag, length)
}

pub fn parse_vp8(payload: &[u8]) -> Option<VideoPacket> {
    let (vp8, mut rest) = Vp8Descriptor::parse(payload)?;
    let mut starts_keyframe = false;
    if vp8.start {
        starts_keyframe = rest.first()? & 1 == 0;
        if starts_keyframe && rest.get(3..6)? != [0x9d, 0x01, 0x2a] {
            return None;
        }
        rest = rest.get(if starts_keyframe { 10 } else { 3 }..)?;
    }
    Some(VideoPacket {
        tag: Tag::decode(rest)?,
        starts_frame: vp8.start,
        starts_keyframe,
        vp8: Some(vp8),
        vp9: None,
    })
}

/// The VP9 payload descriptor (RFC 9628 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vp9Descriptor {
    pub picture_id: u16,
    /// In non-flexible mode.
    pub tl0: Option<u8>,
    /// In flexible mode: how many pictures back the one is that this one is predicted from.
    pub back: Option<u8>,
    pub spatial: u8,
    pub temporal: u8,
    pub predicted: bool,
    /// Predicted from the spatial layer below.
    pub inter_layer: bool,
    /// First and last packet of the layer's frame.
    pub start: bool,
    pub end: bool,
    /// Higher temporal layers depend on nothing before this picture from now on.
    pub switching_up: bool,
    /// Larger spatial layers do not depend on this frame.
    pub not_referenced: bool,
}

/// A VP9 packet; `sizes` are the pictures' sizes, where a keyframe begins.
pub fn write_vp9(
    descriptor: &Vp9Descriptor,
    sizes: Option<&[(u16, u16)]>,
    tag: &Tag,
    length: usize,
) -> Vec<u8> {
    let d = descriptor;
    let [high, low] = d.picture_id.to_be_bytes();
    let flags = 0xa0
        | u8::from(d.predicted) << 6
        | u8::from(d.tl0.is_none()) << 4
        | u8::from(d.start) << 3
        | u8::from(d.end) << 2
        | u8::from(sizes.is_some()) << 1
        | u8::from(d.not_referenced);
    let layers =
        d.temporal << 5 | u8::from(d.switching_up) << 4 | d.spatial << 1 | u8::from(d.inter_layer);
    let mut out = vec![flags, 0x80 | high, low, layers];
    out.extend(d.tl0);
    out.extend(d.back.map(|back| back << 1));
    if let Some(sizes) = sizes {
        out.push((u8::try_from(sizes.len()).unwrap_or(1) - 1) << 5 | 0x10);
        for (width, height) in sizes {
            out.extend(width.to_be_bytes());
            out.extend(height.to_be_bytes());
        }
    }
    finish(out, tag, length)
}

pub fn parse_vp9(payload: &[u8]) -> Option<VideoPacket> {
    let mut reader = Reader(payload);
    let flags = reader.u8()?;
    let (high, low) = (reader.u8()?, reader.u8()?);
    let layers = reader.u8()?;
    let (predicted, flexible) = (flags & 0x40 != 0, flags & 0x10 != 0);
    let tl0 = if flexible { None } else { Some(reader.u8()?) };
    let back = if flexible && predicted {
        Some(reader.u8()? >> 1)
    } else {
        None
    };
    let descriptor = Vp9Descriptor {
        picture_id: u16::from_be_bytes([high & 0x7f, low]),
        tl0,
        back,
        spatial: (layers >> 1) & 7,
        temporal: layers >> 5,
        predicted,
        inter_layer: layers & 1 != 0,
        start: flags & 0x08 != 0,
        end: flags & 0x04 != 0,
        switching_up: layers & 0x10 != 0,
        not_referenced: flags & 0x01 != 0,
    };
    if flags & 0x02 != 0 {
        let structure = reader.u8()?;
        for _ in 0..=structure >> 5 {
            reader.u32()?;
        }
    }
    Some(VideoPacket {
        tag: Tag::decode(reader.0)?,
        starts_frame: descriptor.start,
        starts_keyframe: descriptor.start && !descriptor.predicted && descriptor.spatial == 0,
        vp8: None,
        vp9: Some(descriptor),
    })
}

/// An AV1 packet: an aggregation header (AV1 RTP specification section 4.4), whose N bit marks a new sequence.
pub fn write_av1(tag: &Tag, length: usize) -> Vec<u8> {
    let continues = u8::from(tag.packet > 0) << 7;
    let goes_on = u8::from(tag.packet + 1 < tag.packets) << 6;
    let new = u8::from(tag.is_keyframe() && tag.packet == 0) << 3;
    finish(vec![continues | goes_on | 0x10 | new], tag, length)
}

pub fn parse_av1(payload: &[u8]) -> Option<VideoPacket> {
    let (header, rest) = payload.split_first()?;
    Some(VideoPacket {
        tag: Tag::decode(rest)?,
        starts_frame: header & 0x80 == 0,
        starts_keyframe: header & 0x88 == 0x08,
        vp8: None,
        vp9: None,
    })
}

/// What an end-to-end encrypted payload begins with here: whoever took it for VP8, VP9 or AV1 would find a keyframe
/// in each packet, and counters to rewrite.
const OPAQUE: &[u8] = &[0x9a, 0xe0, 0x81, 0x23, 0x45, 0x20, 0x10, 0x00];

/// A packet that only its receiver can read.
pub fn write_opaque(tag: &Tag, length: usize) -> Vec<u8> {
    finish(OPAQUE.to_vec(), tag, length)
}

pub fn parse_opaque(payload: &[u8]) -> Option<VideoPacket> {
    let tag = Tag::decode(payload.strip_prefix(OPAQUE)?)?;
    Some(VideoPacket {
        tag,
        starts_frame: tag.packet == 0,
        starts_keyframe: tag.packet == 0 && tag.is_keyframe(),
        vp8: None,
        vp9: None,
    })
}

/// An Opus packet: a TOC byte for 20 ms of full-band CELT, then the tag.
pub fn write_opus(tag: &Tag, length: usize) -> Vec<u8> {
    finish(vec![0xf8], tag, length)
}

pub fn parse_opus(payload: &[u8]) -> Option<Tag> {
    Tag::decode(payload.get(1..)?)
}

fn finish(mut out: Vec<u8>, tag: &Tag, length: usize) -> Vec<u8> {
    out.extend(tag.encode());
    if out.len() < length {
        out.resize(length, 0x5a);
    }
    out
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(super) fn tag(packet: u16, packets: u16, reference: Option<u32>) -> Tag {
        let captured = Duration::from_micros(1_234_567);
        Tag {
            source: 9,
            layer: 2,
            spatial: 1,
            temporal: 1,
            frame: 77,
            packet,
            packets,
            reference,
            below: None,
            captured,
        }
    }

    #[test]
    fn vp8_packets_survive_the_round_trip() {
        for long_picture_id in [false, true] {
            let picture_id = Some(if long_picture_id { 0x7ffe } else { 0x7e });
            for (packet, reference) in [(0, None), (1, None), (0, Some(76))] {
                let tag = tag(packet, 2, reference);
                let descriptor = Vp8Descriptor {
                    start: packet == 0,
                    picture_id,
                    long_picture_id,
                    tl0: Some(255),
                    temporal: Some(1),
                    sync: packet == 1,
                };
                let read = parse_vp8(&write_vp8(&descriptor, &tag, (640, 360), 500)).unwrap();
                assert_eq!(read.tag, tag);
                assert_eq!(read.vp8, Some(descriptor));
                assert_eq!(read.starts_keyframe, packet == 0 && reference.is_none());
            }
        }
    }

    #[test]
    fn opus_packets_survive_the_round_trip_and_garbage_is_none() {
        let tag = tag(0, 1, None);
        assert_eq!(parse_opus(&write_opus(&tag, 80)), Some(tag));
        assert_eq!(parse_opus(&[0xf8; 40]), None);
        assert_eq!(parse_vp8(&[]), None);
    }
}
