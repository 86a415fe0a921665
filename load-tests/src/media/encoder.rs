//! Synthetic encoders: sizes, rhythm and payload headers of real ones around a [`Tag`].

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use str0m::format::Codec;

use super::tag::{StreamId, Tag};
use super::{h264, vp8};

/// The largest payload that an encoder makes: 1.2 kB on the wire with headers and the tag of the cipher.
const PAYLOAD_BYTES_MAX: usize = 1_150;
/// A keyframe is so many times as large as the mean frame.
const KEYFRAME_FACTOR: usize = 4;
/// Frames after a keyframe are smaller by this share of what it took too much, so that the bitrate is kept...
const REPAYMENT_FRAMES: usize = 15;
/// ...but they keep this share of their size, in percent.
const FRAME_PERCENT_MIN: usize = 30;
/// Delta frames have 75 to 125 % of the mean size.
const FRAME_SIZE_SPREAD: (f64, f64) = (0.75, 0.5);

const VIDEO_CLOCK_HZ: u32 = 90_000;
pub(crate) const OPUS_PERIOD: Duration = Duration::from_millis(20);
const OPUS_SAMPLES: u32 = 960;
/// 40 kbit/s.
const OPUS_BYTES: usize = 100;
/// Fullband CELT, one frame of 20 ms, mono (RFC 6716 section 3.1).
const OPUS_TOC: u8 = 0xf8;

/// One RTP packet to be written.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum VideoCodec {
    #[default]
    Vp8,
    H264,
}

impl VideoCodec {
    /// As signalling and scenarios call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "vp8",
            Self::H264 => "h264",
        }
    }
}

impl From<VideoCodec> for Codec {
    fn from(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::Vp8 => Self::Vp8,
            VideoCodec::H264 => Self::H264,
        }
    }
}

/// How one layer of a camera is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerSpec {
    pub(crate) codec: VideoCodec,
    pub(crate) kbps: u32,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) fps: u32,
}

/// A frame that is to be packed.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) keyframe: bool,
    /// Of all payloads together.
    pub(super) bytes: usize,
    pub(super) tag: Tag,
}

impl Frame {
    /// Completes a payload that begins with the codec's headers: the tag, and filling up to this length.
    pub(super) fn fill(&self, mut payload: Vec<u8>, length: usize) -> Vec<u8> {
        self.tag.write(&mut payload);
        payload.resize(length.max(payload.len()), 0);
        payload
    }
}

/// The lengths of the payloads into which so many bytes are cut: equal but for the last one, so that a server can send
/// them in one call.
pub(super) fn payload_lengths(bytes: usize) -> impl Iterator<Item = usize> {
    let count = bytes.div_ceil(PAYLOAD_BYTES_MAX).max(1);
    let length = bytes.div_ceil(count);
    (0..count).map(move |position| length.min(bytes.saturating_sub(position * length)))
}

#[derive(Debug)]
enum Packetizer {
    Vp8(vp8::Packetizer),
    H264(h264::Packetizer),
}

/// One layer of a camera.
#[derive(Debug)]
pub(crate) struct VideoEncoder {
    stream: StreamId,
    spec: LayerSpec,
    packetizer: Packetizer,
    rng: Rng,
    timestamp: u32,
    keyframe_wanted: bool,
    /// What keyframes have taken beyond the mean, and delta frames have not paid back.
    debt_bytes: usize,
}

impl VideoEncoder {
    pub(crate) fn new(stream: StreamId, spec: LayerSpec) -> Self {
        let mut rng = Rng::with_seed(u64::from(stream.0));
        let (width, height) = (spec.width, spec.height);
        let packetizer = match spec.codec {
            VideoCodec::Vp8 => Packetizer::Vp8(vp8::Packetizer::new((width, height), &mut rng)),
            VideoCodec::H264 => Packetizer::H264(h264::Packetizer::new(width, height)),
        };
        Self {
            stream,
            spec,
            packetizer,
            timestamp: rng.u32(..),
            rng,
            keyframe_wanted: true,
            debt_bytes: 0,
        }
    }

    pub(crate) fn codec(&self) -> VideoCodec {
        self.spec.codec
    }

    pub(crate) fn period(&self) -> Duration {
        Duration::from_secs(1) / self.spec.fps
    }

    pub(crate) fn request_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// Encodes the next frame into `out`.
    pub(crate) fn encode(&mut self, sent_ns: u64, out: &mut Vec<Packet>) {
        let keyframe = std::mem::take(&mut self.keyframe_wanted);
        let frame = Frame {
            keyframe,
            bytes: self.frame_bytes(keyframe),
            tag: Tag {
                stream: self.stream,
                sent_ns,
            },
        };
        let payloads = match &mut self.packetizer {
            Packetizer::Vp8(packetizer) => packetizer.pack(&frame),
            Packetizer::H264(packetizer) => packetizer.pack(&frame),
        };
        let last = payloads.len() - 1;
        let packets = payloads.into_iter().enumerate();
        out.extend(packets.map(|(position, payload)| Packet {
            timestamp: self.timestamp,
            marker: position == last,
            payload: payload.into(),
        }));
        self.timestamp = self.timestamp.wrapping_add(VIDEO_CLOCK_HZ / self.spec.fps);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive size of some kilobytes"
    )]
    fn frame_bytes(&mut self, keyframe: bool) -> usize {
        let mean = self.spec.kbps as usize * 125 / self.spec.fps as usize;
        if keyframe {
            self.debt_bytes += mean * (KEYFRAME_FACTOR - 1);
            return mean * KEYFRAME_FACTOR;
        }
        let (least, spread) = FRAME_SIZE_SPREAD;
        let size = (mean as f64 * (least + spread * self.rng.f64())) as usize;
        let most = size * (100 - FRAME_PERCENT_MIN) / 100;
        let repaid = self.debt_bytes.div_ceil(REPAYMENT_FRAMES).min(most);
        self.debt_bytes -= repaid;
        (size - repaid).max(Tag::BYTES * 2)
    }
}

/// A microphone into which somebody speaks all the time.
#[derive(Debug)]
pub(crate) struct AudioEncoder {
    stream: StreamId,
    timestamp: u32,
}

impl AudioEncoder {
    pub(crate) fn new(stream: StreamId) -> Self {
        let timestamp = Rng::with_seed(u64::from(stream.0)).u32(..);
        Self { stream, timestamp }
    }

    pub(crate) fn encode(&mut self, sent_ns: u64, out: &mut Vec<Packet>) {
        let mut payload = Vec::with_capacity(OPUS_BYTES);
        payload.push(OPUS_TOC);
        let tag = Tag {
            stream: self.stream,
            sent_ns,
        };
        tag.write(&mut payload);
        payload.resize(OPUS_BYTES, 0);
        out.push(Packet {
            timestamp: self.timestamp,
            marker: false,
            payload: payload.into(),
        });
        self.timestamp = self.timestamp.wrapping_add(OPUS_SAMPLES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoders() -> [VideoEncoder; 2] {
        [VideoCodec::Vp8, VideoCodec::H264].map(|codec| {
            let spec = LayerSpec {
                codec,
                kbps: 1_000,
                width: 1_280,
                height: 720,
                fps: 30,
            };
            VideoEncoder::new(StreamId(9), spec)
        })
    }

    fn frames(encoder: &mut VideoEncoder, count: usize) -> Vec<Vec<Packet>> {
        let encode = |_| {
            let mut packets = Vec::new();
            encoder.encode(5, &mut packets);
            packets
        };
        (0..count).map(encode).collect()
    }

    #[test]
    fn packets_of_a_frame_have_one_timestamp_and_the_last_one_the_marker() {
        for mut encoder in encoders() {
            let all = frames(&mut encoder, 2);
            let step = all[1][0].timestamp.wrapping_sub(all[0][0].timestamp);
            assert_eq!(step, 3_000);
            for frame in &all {
                assert!(frame.iter().all(|of| of.timestamp == frame[0].timestamp));
                assert_eq!(frame.iter().filter(|packet| packet.marker).count(), 1);
                assert!(frame.last().is_some_and(|packet| packet.marker));
            }
        }
    }

    #[test]
    fn every_packet_says_whose_it_is_and_when_it_was_sent() {
        for mut encoder in encoders() {
            for packet in frames(&mut encoder, 50).concat() {
                let tag = Tag::find(&packet.payload).unwrap();
                assert_eq!((tag.stream, tag.sent_ns), (StreamId(9), 5));
            }
        }
    }

    #[test]
    fn the_bitrate_is_kept_over_keyframes() {
        for mut encoder in encoders() {
            let mut bytes = 0;
            for second in 0..20 {
                if second % 5 == 0 {
                    encoder.request_keyframe();
                }
                let packets = frames(&mut encoder, 30).into_iter().flatten();
                bytes += packets.map(|packet| packet.payload.len()).sum::<usize>();
            }
            let kbps = bytes / 125 / 20;
            assert!((970..=1_030).contains(&kbps), "{kbps} kbit/s");
        }
    }

    #[test]
    fn payloads_have_one_length_but_for_the_last() {
        for bytes in [0, 1, 1_150, 1_151, 4_000, 16_667] {
            let lengths: Vec<_> = payload_lengths(bytes).collect();
            assert_eq!(lengths.iter().sum::<usize>(), bytes);
            let (last, others) = lengths.split_last().unwrap();
            assert!(others.iter().all(|length| *length == lengths[0]));
            assert!(*last <= lengths[0] && lengths[0] <= PAYLOAD_BYTES_MAX);
        }
    }

    #[test]
    fn opus_is_40_kbps_in_50_packets_per_second() {
        let mut encoder = AudioEncoder::new(StreamId(4));
        let mut packets = Vec::new();
        encoder.encode(1, &mut packets);
        encoder.encode(2, &mut packets);
        assert_eq!(packets[0].payload.len(), 100);
        assert_eq!(packets[1].timestamp.wrapping_sub(packets[0].timestamp), 960);
        assert_eq!(
            Tag::find(&packets[1].payload).map(|tag| tag.sent_ns),
            Some(2)
        );
    }
}
