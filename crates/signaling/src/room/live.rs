//! Viewers by WHEP, and what they are told.

use std::sync::Arc;

use madang_core::{LayerAvailable, PeerId, TrackId};

use super::{Effects, Room};
use crate::protocol::{ServerMessage, Warning};

impl Room {
    /// Whether anybody publishes, or the participant of this identity or name does.
    pub(crate) fn is_live(&self, participant: Option<&str>) -> bool {
        self.tracks.values().any(|track| {
            let publisher = self.participants.get(&track.info.peer.0);
            participant.is_none_or(|who| {
                publisher
                    .is_some_and(|publisher| publisher.identity == who || publisher.name == who)
            })
        })
    }

    pub(crate) fn viewers(&self) -> impl Iterator<Item = PeerId> {
        let viewers = self.participants.iter();
        viewers
            .filter(|(_, participant)| participant.viewer)
            .map(|(peer, _)| *peer)
    }

    /// How many viewers there are, where they have not been told.
    pub(crate) fn news_of_viewers(&mut self) -> Option<usize> {
        let count = self.viewers().count();
        let before = std::mem::replace(&mut self.told_viewers, count);
        (before != count).then_some(count)
    }

    pub(crate) fn set_layers(&mut self, track: TrackId, layers: Arc<[LayerAvailable]>) {
        if let Some(track) = self.tracks.get_mut(&track) {
            track.layers = layers;
        }
    }

    /// Sets what is wrong with how a track is sent; the others are told.
    pub(crate) fn set_warnings(&mut self, track: TrackId, warnings: Vec<Warning>) -> Effects {
        let mut effects = Effects::default();
        if let Some(track) = self.tracks.get_mut(&track) {
            track.info.warnings = warnings;
            let info = track.info.clone();
            effects.event(
                self.others(info.peer.0),
                ServerMessage::Tracks {
                    add: vec![],
                    upd: vec![info],
                    del: vec![],
                },
            );
        }
        effects
    }

    /// The layers of all tracks.
    pub(crate) fn layers(&self) -> impl Iterator<Item = (TrackId, Arc<[LayerAvailable]>)> {
        let tracks = self.tracks.iter();
        tracks.map(|(track, state)| (*track, Arc::clone(&state.layers)))
    }
}
