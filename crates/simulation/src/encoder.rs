//! Synthetic encoders: they make no pictures and no sound, but RTP as a browser makes it.

mod audio;
mod video;

use std::time::Duration;

use str0m::media::Rid;

pub use audio::AudioEncoder;
pub use video::VideoEncoder;

/// A packet that is ready to be written as RTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedPacket {
    pub rid: Option<Rid>,
    pub sequence: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub captured: Duration,
    /// dBov as RFC 6464 writes it, 0 (loudest) to -127; audio only.
    pub level: Option<i8>,
    pub payload: Vec<u8>,
}

/// One encoding of a video track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSpec {
    pub rid: Option<&'static str>,
    pub width: u16,
    pub height: u16,
    pub bitrate_bps: u64,
}

impl LayerSpec {
    /// The camera of our page: three layers, `q`, `h` and `f`.
    pub fn camera() -> Vec<Self> {
        [
            ("q", 320, 180, 120_000),
            ("h", 640, 360, 400_000),
            ("f", 1_280, 720, 1_200_000),
        ]
        .map(|(rid, width, height, bitrate_bps)| Self {
            rid: Some(rid),
            width,
            height,
            bitrate_bps,
        })
        .into()
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
