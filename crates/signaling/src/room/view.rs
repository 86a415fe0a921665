//! What a participant wants to receive.

use madang_core::{AudioView, AutoView, Command, PeerId, TileView, TrackId, View};

use super::{Effects, Room, bad_request};
use crate::limits::{Limits, MID_BYTES_MAX};
use crate::protocol::{AudioMode, Auto, ErrorCode, Fault, Tile, TrackName, ViewAudio};

/// The fields of `view`.
#[derive(Debug)]
pub(crate) struct ViewRequest {
    pub(crate) rev: u32,
    pub(crate) video: Vec<Tile>,
    pub(crate) auto: Option<Auto>,
    pub(crate) audio: Option<ViewAudio>,
}

impl Room {
    /// Passes a view on to the media engine. Tracks that are not, or no longer, in the room are left out.
    pub(crate) fn view(
        &self,
        peer: PeerId,
        request: &ViewRequest,
        limits: &Limits,
    ) -> Result<Effects, Fault> {
        self.grant(peer, "subscribe", |grants| grants.subscribe)?;
        check(request, limits)?;
        let video = request
            .video
            .iter()
            .filter(|tile| self.tracks.contains_key(&tile.track.0))
            .map(tile_view);
        let view = View {
            rev: request.rev,
            video: video.collect(),
            auto: request.auto.as_ref().map(|auto| AutoView {
                max: auto.max,
                width: auto.w,
                height: auto.h,
                pin: auto
                    .pin
                    .map(|pin| pin.0)
                    .filter(|pin| self.tracks.contains_key(pin)),
            }),
            audio: request
                .audio
                .as_ref()
                .map(|audio| self.audio_view(audio))
                .unwrap_or_default(),
        };
        let mut effects = Effects::default();
        effects.command(Command::View { peer, view });
        Ok(effects)
    }

    fn audio_view(&self, audio: &ViewAudio) -> AudioView {
        let known = |tracks: &Option<Vec<TrackName>>| -> Vec<TrackId> {
            let tracks = tracks
                .as_deref()
                .unwrap_or_default()
                .iter()
                .map(|name| name.0);
            tracks
                .filter(|track| self.tracks.contains_key(track))
                .collect()
        };
        match audio.mode {
            AudioMode::Loudest => AudioView::Loudest {
                pin: known(&audio.pin),
            },
            AudioMode::List => AudioView::List(known(&audio.tracks)),
        }
    }
}

/// The view of somebody who may not receive.
pub(crate) fn nothing(peer: PeerId) -> Command {
    let view = View {
        audio: AudioView::List(Vec::new()),
        ..View::default()
    };
    Command::View { peer, view }
}

/// The view of somebody who may receive again, until they say what they want to see.
pub(super) fn sound(peer: PeerId) -> Command {
    let view = View::default();
    Command::View { peer, view }
}

fn check(request: &ViewRequest, limits: &Limits) -> Result<(), Fault> {
    let named = |tracks: &Option<Vec<TrackName>>| tracks.as_ref().map_or(0, Vec::len);
    let audio = request
        .audio
        .as_ref()
        .map_or(0, |audio| named(&audio.pin) + named(&audio.tracks));
    let tiles = request.video.len() + audio + request.auto.as_ref().map_or(0, |auto| auto.max);
    if tiles > limits.tiles_per_view {
        let text = format!(
            "the view names {tiles} tiles and tracks, the limit is {}",
            limits.tiles_per_view
        );
        return Err(Fault::new(ErrorCode::TooLarge, text));
    }
    let too_long = |slot: &String| slot.len() > MID_BYTES_MAX;
    if request
        .video
        .iter()
        .filter_map(|tile| tile.slot.as_ref())
        .any(too_long)
    {
        return Err(bad_request(format!(
            "a slot's mid has at most {MID_BYTES_MAX} bytes"
        )));
    }
    Ok(())
}

fn tile_view(tile: &Tile) -> TileView {
    TileView {
        track: tile.track.0,
        slot: tile.slot.as_deref().map(Into::into),
        width: tile.w,
        height: tile.h,
        priority: tile.prio.unwrap_or(0),
        min_height: tile.min_h,
        max_fps: tile.fps,
    }
}
