//! The wire format of `madang.v1`, exactly as `docs/protocol.md` has it; a test compares the two.

mod client;
mod error;
mod ids;
mod secret;
mod server;

pub use client::{
    AdminOp, AudioMode, Auto, ClientFrame, ClientMessage, GrantsChange, Join, Message, P2pKind,
    Publication, Tile, ViewAudio, Want,
};
pub use error::{ErrorCode, Fault};
pub use ids::{PeerName, TrackName};
pub use secret::Secret;
pub use server::{
    Action, AudioSlot, Bye, IceServer, Joined, LayerInfo, LayerWanted, PeerInfo, PeerLevel,
    PeerQuality, Published, QualityWhy, RoomInfo, ServerMessage, SlotInfo, Snapshot, TrackInfo,
    VideoSlot, Warning, Why,
};

use serde::{Deserialize, Serialize};

/// The WebSocket subprotocol.
pub const SUBPROTOCOL: &str = "madang.v1";
/// The value of `v`.
pub const VERSION: u32 = 1;

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Audio,
    Video,
}

/// What a track shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Microphone,
    Camera,
    Screen,
    ScreenAudio,
}

impl Source {
    pub const ALL: [Self; 4] = [
        Self::Microphone,
        Self::Camera,
        Self::Screen,
        Self::ScreenAudio,
    ];

    /// The kind that a track of this source has.
    pub fn kind(self) -> Kind {
        match self {
            Self::Microphone | Self::ScreenAudio => Kind::Audio,
            Self::Camera | Self::Screen => Kind::Video,
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Microphone => "microphone",
            Self::Camera => "camera",
            Self::Screen => "screen",
            Self::ScreenAudio => "screen_audio",
        }
    }
}

/// What a participant may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Sources that may be published.
    pub publish: Vec<Source>,
    /// Receive media.
    pub subscribe: bool,
    /// Send `msg`.
    pub data: bool,
    /// Change the own name and metadata.
    pub update_own: bool,
    /// Be in the room without being announced.
    pub hidden: bool,
    /// Marks a recorder.
    pub recorder: bool,
    /// Use `admin`.
    pub admin: bool,
    /// Use `p2p`.
    pub p2p: bool,
}

impl From<Kind> for madang_core::MediaKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Audio => Self::Audio,
            Kind::Video => Self::Video,
        }
    }
}

impl From<madang_core::MediaKind> for Kind {
    fn from(kind: madang_core::MediaKind) -> Self {
        match kind {
            madang_core::MediaKind::Audio => Self::Audio,
            madang_core::MediaKind::Video => Self::Video,
        }
    }
}

impl From<Source> for madang_core::Source {
    fn from(source: Source) -> Self {
        match source {
            Source::Microphone => Self::Microphone,
            Source::Camera => Self::Camera,
            Source::Screen => Self::Screen,
            Source::ScreenAudio => Self::ScreenAudio,
        }
    }
}
