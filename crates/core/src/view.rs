//! What a subscriber wants to receive: the whole desired state, so that the newest one always wins.

use str0m::media::{Mid, Rid};

use crate::TrackId;

pub use str0m::media::MediaKind;

/// What a track shows. It decides who is protected when bandwidth is short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Microphone,
    Camera,
    Screen,
    ScreenAudio,
}

/// The desired state of everything that a peer receives.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// Counts up with every view of one peer; echoed in [`crate::Slots`].
    pub rev: u32,
    /// Tiles that the application names itself, most important first where `priority` ties.
    pub video: Vec<TileView>,
    /// Tiles that the server fills by itself, with pinned, speaking and then the oldest tracks.
    pub auto: Option<AutoView>,
    pub audio: AudioView,
}

/// One tile on somebody's screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileView {
    pub track: TrackId,
    /// Ask for one particular slot; `None` lets the server keep the track where it is.
    pub slot: Option<Mid>,
    /// Size of the tile in device pixels. A height of 0 means hidden: nothing is sent.
    pub width: u32,
    pub height: u32,
    /// Higher is more important.
    pub priority: u8,
    /// Do not go below this height while anything else can give way, in pixels.
    pub min_height: Option<u32>,
    /// Frames per second that are enough.
    pub max_fps: Option<u32>,
}

/// Tiles that the server fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoView {
    /// How many tiles at the most.
    pub max: usize,
    pub width: u32,
    pub height: u32,
    /// A track that always has a tile.
    pub pin: Option<TrackId>,
}

/// What a receiver has chosen of the layers of whatever track stands in a slot; without a choice, the server chooses by
/// the receiver's bandwidth. Among what the choice leaves, it still does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerChoice {
    pub slot: Mid,
    /// This simulcast layer and no other.
    pub rid: Option<Rid>,
    /// The layer of this rank by size, from 0 for the smallest. Of a rid that has one layer alone, the rid decides.
    pub rank: Option<usize>,
    /// No temporal layer above this one, from 0 for the fewest frames.
    pub max_temporal: Option<u8>,
    /// No layer that is larger, in pixels.
    pub max_width: Option<u32>,
    pub max_height: Option<u32>,
}

/// Which microphones are heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AudioView {
    /// The loudest of the room, as many as there are audio slots; pinned ones always.
    Loudest { pin: Vec<TrackId> },
    /// Exactly these.
    List(Vec<TrackId>),
}

impl Default for AudioView {
    fn default() -> Self {
        Self::Loudest { pin: Vec::new() }
    }
}

/// How a track is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tile {
    /// In pixels; 0 = hidden.
    pub(crate) height: u32,
    pub(crate) min_height: u32,
    pub(crate) priority: u8,
    /// Frames a second that are enough.
    pub(crate) max_fps: Option<u32>,
}
