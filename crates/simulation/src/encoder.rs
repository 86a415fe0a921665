//! Synthetic encoders: they make no pictures and no sound, but RTP as a browser makes it.

mod audio;
mod spatial;
mod video;

use std::time::Duration;

use str0m::media::Rid;

use crate::allocation::AllocationBytes;
use crate::payload::{Codec, Mode};

pub use audio::AudioEncoder;
pub use video::VideoEncoder;

/// A packet that is ready to be written as RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPacket {
    pub codec: Codec,
    pub rid: Option<Rid>,
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub captured: Duration,
    /// dBov as RFC 6464 writes it, 0 (loudest) to -127; audio only.
    pub level: Option<i8>,
    /// The dependency descriptor; video only.
    pub descriptor: Option<Vec<u8>>,
    /// The video layers allocation; video only.
    pub(crate) allocation: Option<AllocationBytes>,
    pub payload: Vec<u8>,
}

impl EncodedPacket {
    /// Bytes that mean nothing, on an m-line that carries nothing else.
    pub(crate) fn padding(sequence: u64, now: Duration, bytes: usize) -> Self {
        Self {
            codec: Codec::Opus,
            rid: None,
            sequence,
            timestamp: 0,
            marker: false,
            captured: now,
            level: None,
            descriptor: None,
            allocation: None,
            payload: vec![0; bytes],
        }
    }
}

/// How a browser encodes its camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    pub codec: Codec,
    /// One stream with these layers; `None`: three streams, of three temporal layers each with VP8.
    pub svc: Option<Mode>,
    /// Temporal layers of each stream where there are several; VP8 has three, as browsers send it.
    pub temporal: u8,
    /// Sends dependency descriptors, if the answer has them.
    pub descriptors: bool,
    /// VP9's own descriptor names the pictures that each is predicted from (RFC 9628, flexible mode), as libwebrtc's does.
    pub flexible: bool,
    /// Says which layers are sent, and what they may take, where the answer has that extension.
    pub allocations: bool,
    /// Encrypts payloads from end to end.
    pub opaque: bool,
    /// Size of each stream's keyframes; `None`: some times the average frame.
    pub keyframe_bytes: Option<usize>,
}

impl Encoding {
    /// Simulcast, as browsers send it without being asked for anything else.
    pub const fn simulcast(codec: Codec) -> Self {
        let temporal = match codec {
            Codec::Vp8 => 3,
            Codec::H264 | Codec::Vp9 | Codec::Av1 | Codec::Opus => 1,
        };
        Self {
            codec,
            svc: None,
            temporal,
            descriptors: false,
            flexible: false,
            allocations: false,
            opaque: false,
            keyframe_bytes: None,
        }
    }

    /// One stream with layers, and descriptors.
    pub const fn svc(codec: Codec, mode: Mode) -> Self {
        Self {
            svc: Some(mode),
            descriptors: true,
            ..Self::simulcast(codec)
        }
    }

    /// The layers of each stream.
    pub(crate) fn mode(self) -> Mode {
        self.svc.unwrap_or_else(|| Mode::new(1, self.temporal))
    }
}

/// One encoding of a video track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSpec {
    pub rid: Option<&'static str>,
    pub width: u16,
    pub height: u16,
    pub bitrate_bps: u64,
}

impl LayerSpec {
    /// The camera of our page: three layers, `q`, `h` and `f`.
    pub fn camera() -> Vec<Self> {
        Self::streams([
            ("q", 320, 180, 120_000),
            ("h", 640, 360, 400_000),
            ("f", 1_280, 720, 1_200_000),
        ])
    }

    /// A camera of 480×272, with the rates that Chromium gives its streams.
    pub fn small_camera() -> Vec<Self> {
        Self::streams([
            ("q", 120, 68, 38_000),
            ("h", 240, 136, 130_000),
            ("f", 480, 272, 460_000),
        ])
    }

    fn streams(streams: [(&'static str, u16, u16, u64); 3]) -> Vec<Self> {
        let spec = |(rid, width, height, bitrate_bps)| Self {
            rid: Some(rid),
            width,
            height,
            bitrate_bps,
        };
        streams.map(spec).into()
    }

    /// The camera in one stream with spatial layers.
    pub fn layered_camera() -> Vec<Self> {
        vec![Self {
            rid: None,
            width: 1_280,
            height: 720,
            bitrate_bps: 1_700_000,
        }]
    }

    /// A shared screen: one layer.
    pub fn screen() -> Vec<Self> {
        vec![Self {
            rid: None,
            width: 1_920,
            height: 1_080,
            bitrate_bps: 800_000,
        }]
    }
}

/// Where the counters of a stream begin. `None` draws them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StartValues {
    pub sequence: Option<u16>,
    pub timestamp: Option<u32>,
    pub picture_id: Option<u16>,
    pub tl0: Option<u8>,
    /// Write picture ids in 7 bits instead of 15.
    pub short_picture_id: bool,
}

/// A virtual time in RTP clock ticks, wrapped to 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "RTP timestamps wrap")]
pub(crate) fn media_ticks(time: Duration, clock_rate: u32) -> u32 {
    (time.as_nanos() * u128::from(clock_rate) / 1_000_000_000) as u32
}
