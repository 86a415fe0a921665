//! What viewers without a WebSocket ask for, and are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_core::{Command, Format, LayerAvailable, LayerChoice, PeerId, RoomId, TrackId, Trouble};

use super::commands::Workers;
use super::state::State;
use super::{Attached, Hub};
use crate::protocol::Warning;
use crate::session::Live;

impl Hub {
    /// Restricts the layers that a viewer gets.
    pub(crate) async fn choose(&self, at: &Attached, choices: Vec<LayerChoice>) {
        let mut given = Workers::new();
        let choose = Command::Choose {
            peer: at.peer,
            choices,
        };
        self.state.lock().command(choose, &mut given);
        self.flush_all(given).await;
    }
}

impl State {
    /// The layers of a track have changed.
    pub(super) fn available(&mut self, room: RoomId, track: TrackId, layers: Vec<LayerAvailable>) {
        let layers: Arc<[_]> = layers.into();
        let Some(room) = self.rooms.get_mut(&room) else {
            return;
        };
        room.set_layers(track, Arc::clone(&layers));
        let viewers: Vec<_> = room.viewers().collect();
        self.tell_live(&viewers, &Live::Layers(track, layers));
    }

    /// It has been seen how a track is encoded.
    pub(super) fn format(&mut self, room: RoomId, track: TrackId, format: Format) -> Workers {
        let effects = self
            .rooms
            .get_mut(&room)
            .map(|room| room.set_format(track, format));
        self.apply(room, effects.unwrap_or_default())
    }

    /// Something is wrong with how a track is sent, or no more.
    pub(super) fn troubles(
        &mut self,
        room: RoomId,
        track: TrackId,
        troubles: &[Trouble],
    ) -> Workers {
        let warnings = troubles.iter().map(|trouble| Warning::from(*trouble));
        let effects = self
            .rooms
            .get_mut(&room)
            .map(|room| room.set_warnings(track, warnings.collect()));
        self.apply(room, effects.unwrap_or_default())
    }

    /// Tells somebody who has just come what was told before.
    pub(super) fn tell_newcomer(&self, peer: PeerId, room: RoomId) {
        let layers = self
            .rooms
            .get(&room)
            .into_iter()
            .flat_map(|room| room.layers());
        for (track, layers) in layers.filter(|(_, layers)| !layers.is_empty()) {
            self.tell_live(&[peer], &Live::Layers(track, layers));
        }
        if let Some(room) = self.rooms.get(&room) {
            self.tell_live(&[peer], &Live::Viewers(room.viewers().count()));
        }
    }

    /// Tells viewers how many they are, where that has changed.
    pub(super) fn tell_viewers(&mut self) {
        let mut news = Vec::new();
        for room in self.rooms.values_mut() {
            if let Some(count) = room.news_of_viewers() {
                news.push((room.viewers().collect::<Vec<_>>(), count));
            }
        }
        for (viewers, count) in news {
            self.tell_live(&viewers, &Live::Viewers(count));
        }
    }

    /// Forgets what publishers have left who do not come back.
    pub(super) fn forget_left(&mut self, grace: Duration) {
        let now = Instant::now();
        let rooms = self.rooms.iter_mut();
        let forgotten: Vec<_> = rooms
            .map(|(id, room)| (*id, room.forget_left(now, grace)))
            .collect();
        for (room, effects) in forgotten {
            self.apply(room, effects);
        }
    }

    /// Tells all viewers to go elsewhere; whether there are any.
    pub(super) fn send_viewers_away(&self) -> bool {
        let rooms = self.rooms.values();
        let viewers: Vec<_> = rooms.flat_map(|room| room.viewers()).collect();
        self.tell_live(&viewers, &Live::Reconnect);
        !viewers.is_empty()
    }

    fn tell_live(&self, to: &[PeerId], live: &Live) {
        for session in to.iter().filter_map(|peer| self.sessions.get(peer)) {
            session.tell_live(live.clone());
        }
    }
}
