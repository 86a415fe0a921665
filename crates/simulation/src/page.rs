//! What a browser's page knows from the control plane, and what it wants to see.

use std::collections::BTreeMap;
use std::time::Duration;

use madang_core::{
    AudioSlot, AudioView, AutoView, CloseReason, LayerWanted, PeerId, Quality, SlotName, Source,
    TileView, TrackId, VideoSlot, View,
};

/// A track as everybody in the room knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrackInfo {
    pub id: TrackId,
    /// The position of the publisher's seat.
    pub owner: usize,
    pub source: Source,
    pub muted: bool,
}

impl TrackInfo {
    pub fn is_video(&self) -> bool {
        matches!(self.source, Source::Camera | Source::Screen)
    }
}

/// The size of a tile on the screen, in pixels; height 0 is hidden.
pub type TileSize = (u32, u32);

/// The state of one page.
#[derive(Debug)]
pub struct Page {
    pub tracks: Vec<TrackInfo>,
    pub slots: Vec<SlotName>,
    pub video: Vec<VideoSlot>,
    /// All that was told about the video slots, and when.
    pub video_history: Vec<(Duration, Vec<VideoSlot>)>,
    pub audio: Vec<AudioSlot>,
    pub speakers: Vec<(PeerId, u8)>,
    /// What the server wants of the own tracks.
    pub layers: BTreeMap<TrackId, Vec<LayerWanted>>,
    pub quality: Option<Quality>,
    /// Numbers of slots that the server has asked for.
    pub slots_needed: Option<(usize, usize)>,
    pub joined_at: Option<Duration>,
    pub disconnected: u32,
    pub closed: Option<CloseReason>,
    /// Texts of refused offers.
    pub refusals: Vec<String>,
    /// Tiles for tracks without a size of their own; `None` shows only what has one.
    /// The answer to the newest question how this person's media does.
    pub(crate) explanation: Option<Box<madang_core::Explanation>>,
    pub default_tile: Option<TileSize>,
    pub(crate) tiles: BTreeMap<(usize, SourceName), TileSize>,
    /// Frames a second that are enough for all tiles.
    pub(crate) frames: Option<u32>,
    pub auto: Option<AutoView>,
    pub audio_view: AudioView,
    rev: u32,
}

/// [`Source`] with an order.
pub(crate) type SourceName = &'static str;

pub(crate) fn source_name(source: Source) -> SourceName {
    match source {
        Source::Microphone => "microphone",
        Source::Camera => "camera",
        Source::Screen => "screen",
        Source::ScreenAudio => "screen audio",
    }
}

impl Default for Page {
    fn default() -> Self {
        Self {
            explanation: None,
            tracks: Vec::new(),
            slots: Vec::new(),
            video: Vec::new(),
            video_history: Vec::new(),
            audio: Vec::new(),
            speakers: Vec::new(),
            layers: BTreeMap::new(),
            quality: None,
            slots_needed: None,
            joined_at: None,
            disconnected: 0,
            closed: None,
            refusals: Vec::new(),
            default_tile: Some((640, 360)),
            tiles: BTreeMap::new(),
            frames: None,
            auto: None,
            audio_view: AudioView::default(),
            rev: 0,
        }
    }
}

impl Page {
    /// The next view: one tile for each remote video track that the page shows.
    pub(crate) fn next_view(&mut self, own_seat: usize) -> View {
        self.rev += 1;
        let tile = |track: &TrackInfo| {
            let size = self
                .tiles
                .get(&(track.owner, source_name(track.source)))
                .copied()
                .or(self.default_tile);
            let (width, height) = size?;
            Some(TileView {
                track: track.id,
                slot: None,
                width,
                height,
                priority: 0,
                min_height: None,
                max_fps: self.frames,
            })
        };
        let remote = self
            .tracks
            .iter()
            .filter(|track| track.owner != own_seat && track.is_video());
        View {
            rev: self.rev,
            video: remote.filter_map(tile).collect(),
            auto: self.auto.clone(),
            audio: self.audio_view.clone(),
        }
    }
}
