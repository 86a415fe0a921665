//! Synthetic encoders: the sizes, rhythm and payload headers of VP8 and Opus around a [`Tag`].

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use super::tag::{StreamId, Tag};

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

/// How one layer of a camera is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LayerSpec {
    pub(crate) kbps: u32,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) fps: u32,
}

/// One layer of a camera.
#[derive(Debug)]
pub(crate) struct VideoEncoder {
    stream: StreamId,
    spec: LayerSpec,
    rng: Rng,
    picture_id: u16,
    tl0_pic_idx: u8,
    timestamp: u32,
    keyframe_wanted: bool,
    /// What keyframes have taken beyond the mean, and delta frames have not paid back.
    debt_bytes: usize,
}

impl VideoEncoder {
    pub(crate) fn new(stream: StreamId, spec: LayerSpec) -> Self {
        let mut rng = Rng::with_seed(u64::from(stream.0));
        Self {
            stream,
            spec,
            picture_id: rng.u16(..) & 0x7fff,
            tl0_pic_idx: rng.u8(..),
            timestamp: rng.u32(..),
            rng,
            keyframe_wanted: true,
            debt_bytes: 0,
        }
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
        let size = self.frame_bytes(keyframe);
        let count = size.div_ceil(PAYLOAD_BYTES_MAX);
        // Equal lengths but for the last one: a server can send them in one call.
        let length = size.div_ceil(count);
        let tag = Tag {
            stream: self.stream,
            sent_ns,
        };
        for position in 0..count {
            let mut payload = Vec::with_capacity(length);
            self.write_descriptor(position == 0, &mut payload);
            if position == 0 {
                self.write_frame_header(keyframe, &mut payload);
            }
            tag.write(&mut payload);
            let left = size.saturating_sub(position * length);
            payload.resize(length.min(left).max(payload.len()), 0);
            out.push(Packet {
                timestamp: self.timestamp,
                marker: position + 1 == count,
                payload: payload.into(),
            });
        }
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        self.tl0_pic_idx = self.tl0_pic_idx.wrapping_add(1);
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
            out.extend(self.spec.width.to_le_bytes());
            out.extend(self.spec.height.to_le_bytes());
        }
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

    const SPEC: LayerSpec = LayerSpec {
        kbps: 1_000,
        width: 1_280,
        height: 720,
        fps: 30,
    };

    fn frames(encoder: &mut VideoEncoder, count: usize) -> Vec<Vec<Packet>> {
        let encode = |_| {
            let mut packets = Vec::new();
            encoder.encode(5, &mut packets);
            packets
        };
        (0..count).map(encode).collect()
    }

    #[test]
    fn the_first_frame_is_a_keyframe_with_its_size() {
        let mut encoder = VideoEncoder::new(StreamId(1), SPEC);
        let all = frames(&mut encoder, 2);
        let first = &all[0][0].payload;
        assert_eq!(first[0], 0x90, "extension, start of partition 0");
        assert_eq!(first[6] & 1, 0, "keyframe");
        assert_eq!(first[9..16], [0x9d, 0x01, 0x2a, 0x00, 0x05, 0xd0, 0x02]);
        assert_eq!(all[0][1].payload[0], 0x80, "no second start");
        assert_eq!(all[1][0].payload[6] & 1, 1, "delta frame");
        assert_eq!(Tag::find(first).map(|tag| tag.sent_ns), Some(5));
        assert_eq!(
            Tag::find(&all[1][2].payload).map(|tag| tag.stream),
            Some(StreamId(1))
        );
    }

    #[test]
    fn counters_and_timestamps_go_on() {
        let mut encoder = VideoEncoder::new(StreamId(3), SPEC);
        encoder.picture_id = 0x7fff;
        encoder.tl0_pic_idx = 0xff;
        let all = frames(&mut encoder, 2);
        assert_eq!(all[0][0].payload[2..5], [0xff, 0xff, 0xff]);
        assert_eq!(all[1][0].payload[2..5], [0x80, 0x00, 0x00]);
        let step = all[1][0].timestamp.wrapping_sub(all[0][0].timestamp);
        assert_eq!(step, 3_000);
        let markers = all[0].iter().filter(|packet| packet.marker).count();
        assert_eq!(markers, 1);
        assert!(all[0].last().is_some_and(|packet| packet.marker));
    }

    #[test]
    fn the_bitrate_is_kept_over_keyframes() {
        let mut encoder = VideoEncoder::new(StreamId(9), SPEC);
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

    #[test]
    fn packets_of_a_frame_have_one_size_but_for_the_last() {
        let mut encoder = VideoEncoder::new(StreamId(2), SPEC);
        for frame in frames(&mut encoder, 100) {
            let sizes: Vec<_> = frame.iter().map(|packet| packet.payload.len()).collect();
            let first = sizes[0];
            assert!(first <= PAYLOAD_BYTES_MAX);
            assert!(
                sizes[..sizes.len() - 1].iter().all(|size| *size == first),
                "{sizes:?}"
            );
            assert!(sizes[sizes.len() - 1] <= first, "{sizes:?}");
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
