//! A simulcast video encoder.

use std::time::Duration;

use fastrand::Rng;
use str0m::media::Rid;

use super::{EncodedPacket, LayerSpec, StartValues, media_ticks};
use crate::payload::{Codec, Tag, Vp8Descriptor, write_h264, write_vp8};

/// A simulcast video encoder.
#[derive(Debug)]
pub struct VideoEncoder {
    source: u32,
    codec: Codec,
    layers: Vec<VideoLayer>,
    /// Frames since the start.
    ticks: u64,
    rng: Rng,
}

#[derive(Debug)]
struct VideoLayer {
    spec: LayerSpec,
    sequence: u64,
    timestamp_base: u32,
    picture_id: u16,
    short_picture_id: bool,
    tl0: u8,
    frame: u32,
    /// The last frame of temporal layer 0, and the last of 0 or 1.
    base_frame: u32,
    middle_frame: u32,
    wants_keyframe: bool,
    /// The server has a use for it.
    wanted: bool,
    /// Its share of the uplink, in bit/s; 0 is too little to encode anything.
    share_bps: u64,
}

const FRAMES_PER_SECOND: u32 = 30;
/// A layer gets at least this share of its full rate or nothing.
const LAYER_PERCENT_MIN: u64 = 50;
/// The least that the smallest layer is encoded with (libwebrtc's minimum).
const SMALLEST_BPS: u64 = 30_000;
/// RTP payload of a full packet.
const PACKET_BYTES: usize = 1_050;
/// How much larger a keyframe is than the average frame.
const KEYFRAME_FACTOR: usize = 4;

impl VideoEncoder {
    pub fn new(
        source: u32,
        codec: Codec,
        specs: Vec<LayerSpec>,
        start: StartValues,
        seed: u64,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let layers = specs
            .into_iter()
            .map(|spec| VideoLayer::new(spec, start, &mut rng))
            .collect();
        Self {
            source,
            codec,
            layers,
            ticks: 0,
            rng,
        }
    }

    /// When the next frame is captured, counted from the first one.
    pub fn next_capture(&self) -> Duration {
        Duration::from_secs(self.ticks) / FRAMES_PER_SECOND
    }

    pub fn request_keyframe(&mut self, rid: Option<Rid>) {
        for layer in &mut self.layers {
            if rid.is_none() || layer.rid() == rid {
                layer.wants_keyframe = true;
            }
        }
    }

    /// Pauses a layer, or goes on with it.
    pub fn want(&mut self, rid: Option<Rid>, wanted: bool) {
        for layer in self.layers.iter_mut().filter(|layer| layer.rid() == rid) {
            layer.wanted = wanted;
        }
    }

    /// What the layers that somebody wants would take, in bit/s.
    pub fn desired_bps(&self) -> u64 {
        let wanted = self.layers.iter().filter(|layer| layer.wanted);
        wanted.map(|layer| layer.spec.bitrate_bps).sum()
    }

    /// Fits the layers into a rate, as browsers do: the smallest first, each up to its full rate, and a larger one
    /// only where there is enough for a picture worth looking at. What is taken, in bit/s.
    pub fn share(&mut self, bps: u64) -> u64 {
        let mut left = bps;
        for (position, layer) in self.layers.iter_mut().enumerate() {
            let full = layer.spec.bitrate_bps;
            let enough = full * LAYER_PERCENT_MIN / 100;
            let share = match left.min(full) {
                _ if !layer.wanted => 0,
                share if share >= enough => share,
                // The smallest goes on whatever happens.
                share if position == 0 => share.max(SMALLEST_BPS),
                _ => 0,
            };
            // A layer that comes back starts with a keyframe.
            layer.wants_keyframe |= layer.share_bps == 0 && share > 0;
            layer.share_bps = share;
            left = left.saturating_sub(share);
        }
        bps.saturating_sub(left)
    }

    /// Lets one frame pass without encoding it: the source is muted. What follows the pause is
    /// predicted from what was before it, as in a browser.
    pub fn skip_frame(&mut self) {
        self.ticks += 1;
    }

    /// Encodes the next frame in all layers.
    pub fn encode_frame(&mut self, captured: Duration) -> Vec<EncodedPacket> {
        self.ticks += 1;
        let mut packets = Vec::new();
        for (position, layer) in self.layers.iter_mut().enumerate() {
            let layer_number = u8::try_from(position).unwrap_or(u8::MAX);
            let varied = self.rng.u64(80..=120);
            if !layer.wanted || layer.share_bps == 0 {
                continue;
            }
            let bytes = layer.share_bps * varied / 100 / 8 / u64::from(FRAMES_PER_SECOND);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            packets.extend(layer.encode(self.source, self.codec, layer_number, captured, bytes));
        }
        packets
    }
}

impl VideoLayer {
    fn new(spec: LayerSpec, start: StartValues, rng: &mut Rng) -> Self {
        Self {
            sequence: u64::from(start.sequence.unwrap_or_else(|| rng.u16(0..0x8000))),
            timestamp_base: start.timestamp.unwrap_or_else(|| rng.u32(..)),
            picture_id: start.picture_id.unwrap_or_else(|| rng.u16(0..0x8000)),
            short_picture_id: start.short_picture_id,
            tl0: start.tl0.unwrap_or_else(|| rng.u8(..)),
            frame: 0,
            base_frame: 0,
            middle_frame: 0,
            wants_keyframe: true,
            wanted: true,
            share_bps: spec.bitrate_bps,
            spec,
        }
    }

    fn rid(&self) -> Option<Rid> {
        self.spec.rid.map(Rid::from)
    }

    fn encode(
        &mut self,
        source: u32,
        codec: Codec,
        layer: u8,
        captured: Duration,
        bytes: usize,
    ) -> Vec<EncodedPacket> {
        let keyframe = std::mem::take(&mut self.wants_keyframe);
        let (temporal, reference) = self.prediction(codec, keyframe);
        let bytes = if keyframe {
            bytes * KEYFRAME_FACTOR
        } else {
            bytes
        };
        let slices = bytes.div_ceil(PACKET_BYTES).max(1);
        let parameter_sets = usize::from(keyframe && codec == Codec::H264);
        let packets = u16::try_from(slices + parameter_sets).unwrap_or(u16::MAX);
        let timestamp = self
            .timestamp_base
            .wrapping_add(media_ticks(captured, 90_000));
        let encoded = (0..packets).map(|packet| {
            let tag = Tag {
                source,
                layer,
                temporal,
                frame: self.frame,
                packet,
                packets,
                reference,
                captured,
            };
            let payload = self.payload(codec, &tag, bytes / slices);
            let sequence = self.sequence + u64::from(packet);
            let marker = packet + 1 == packets;
            EncodedPacket {
                rid: self.rid(),
                sequence,
                timestamp,
                marker,
                captured,
                level: None,
                payload,
            }
        });
        let encoded = encoded.collect();
        self.sequence += u64::from(packets);
        self.frame += 1;
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        encoded
    }

    fn payload(&self, codec: Codec, tag: &Tag, length: usize) -> Vec<u8> {
        if codec == Codec::H264 {
            return write_h264(tag, length);
        }
        let descriptor = Vp8Descriptor {
            start: tag.packet == 0,
            picture_id: Some(if self.short_picture_id {
                self.picture_id & 0x7f
            } else {
                self.picture_id
            }),
            long_picture_id: !self.short_picture_id,
            tl0: Some(self.tl0),
            temporal: Some(tag.temporal),
        };
        write_vp8(
            &descriptor,
            tag,
            (self.spec.width, self.spec.height),
            length,
        )
    }

    /// Temporal layer and reference of the next frame: VP8 as browsers send it, L1T3 in the order
    /// 0 2 1 2; H.264 without temporal layers.
    fn prediction(&mut self, codec: Codec, keyframe: bool) -> (u8, Option<u32>) {
        let since_base = if keyframe {
            0
        } else {
            self.frame.wrapping_sub(self.base_frame) % 4
        };
        let temporal = match (codec, since_base) {
            (Codec::Vp8, 1 | 3) => 2,
            (Codec::Vp8, 2) => 1,
            _ => 0,
        };
        let reference = match temporal {
            _ if keyframe => None,
            0 => Some(self.base_frame),
            1 => Some(self.base_frame),
            _ => Some(self.middle_frame),
        };
        if temporal == 0 {
            self.base_frame = self.frame;
            self.tl0 = self.tl0.wrapping_add(1);
        }
        if temporal < 2 {
            self.middle_frame = self.frame;
        }
        (temporal, reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::parse_vp8;

    fn encoder(start: StartValues) -> VideoEncoder {
        VideoEncoder::new(3, Codec::Vp8, LayerSpec::camera(), start, 1)
    }

    #[test]
    fn counters_wrap_as_their_width_says() {
        let start = StartValues {
            sequence: Some(65_534),
            timestamp: Some(u32::MAX - 10),
            picture_id: Some(0x7fff),
            tl0: Some(255),
            short_picture_id: false,
        };
        let mut encoder = encoder(start);
        let first = encoder.encode_frame(Duration::ZERO);
        let second = encoder.encode_frame(Duration::from_millis(33));
        let read = |packets: &[EncodedPacket]| parse_vp8(&packets[0].payload).unwrap().vp8.unwrap();
        assert_eq!(
            (read(&first).picture_id, read(&second).picture_id),
            (Some(0x7fff), Some(0))
        );
        assert_eq!(read(&first).tl0, Some(0));
        assert_eq!(first[0].sequence, 65_534);
        assert!(second[0].timestamp < 3_000);
    }

    #[test]
    fn a_keyframe_comes_first_and_on_request_in_its_layer_alone() {
        let mut encoder = encoder(StartValues::default());
        let keyframes = |packets: Vec<EncodedPacket>| -> Vec<Rid> {
            packets
                .iter()
                .filter(|packet| parse_vp8(&packet.payload).unwrap().starts_keyframe)
                .filter_map(|packet| packet.rid)
                .collect()
        };
        assert_eq!(keyframes(encoder.encode_frame(Duration::ZERO)).len(), 3);
        assert_eq!(
            keyframes(encoder.encode_frame(Duration::from_millis(33))).len(),
            0
        );
        encoder.request_keyframe(Some("h".into()));
        assert_eq!(
            keyframes(encoder.encode_frame(Duration::from_millis(66))),
            ["h".into()]
        );
    }
}
