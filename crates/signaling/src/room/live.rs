//! Publishers by WHIP who come back, viewers by WHEP, and what they are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use madang_core::{Format, LayerAvailable, PeerId, TrackId};

use super::{Effects, Room, Track, peer_gone};
use crate::limits::TRACKS_LEFT_MAX;
use crate::protocol::{PeerInfo, Publication, ServerMessage, Source, TrackInfo, Warning};

/// A track whose publisher has gone, and may come back to it.
#[derive(Debug)]
pub(super) struct Left {
    identity: String,
    source: Source,
    track: TrackId,
    /// When that was noticed.
    since: Option<Instant>,
}

/// A publisher who may come back, as the others see it meanwhile.
#[derive(Debug)]
pub(super) struct Away {
    info: PeerInfo,
    since: Option<Instant>,
}

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

    /// Keeps tracks for their publisher's return.
    pub(super) fn leave_behind(&mut self, identity: &str, tracks: &[Track]) {
        for track in tracks {
            if self.left.len() >= TRACKS_LEFT_MAX {
                self.left.pop_front();
            }
            self.left.push_back(Left {
                identity: identity.to_owned(),
                source: track.info.source,
                track: track.info.id.0,
                since: None,
            });
        }
    }

    /// The track that somebody who publishes this had before. Who watches it goes on.
    pub(super) fn take_left(&mut self, peer: PeerId, new: &Publication) -> Option<TrackId> {
        let participant = self.participants.get(&peer)?;
        let is_own = |left: &Left| {
            participant.returns
                && left.identity == participant.identity
                && left.source == new.source
        };
        let at = self.left.iter().rposition(is_own)?;
        self.left.remove(at).map(|left| left.track)
    }

    /// Lets the others see for a while that somebody may come back.
    pub(super) fn keep_away(&mut self, info: PeerInfo) {
        if self.away.len() < TRACKS_LEFT_MAX {
            let info = PeerInfo { away: true, ..info };
            self.away.push(Away { info, since: None });
        }
    }

    pub(super) fn away(&self) -> impl Iterator<Item = PeerInfo> {
        self.away.iter().map(|away| away.info.clone())
    }

    /// Somebody is here, and away no more.
    pub(super) fn welcome_back(&mut self, identity: &str, effects: &mut Effects) {
        self.tell_gone(|away| away.info.identity == identity, effects);
    }

    fn tell_gone(&mut self, is_gone: impl Fn(&Away) -> bool, effects: &mut Effects) {
        for away in self
            .away
            .extract_if(.., |away| is_gone(away))
            .collect::<Vec<_>>()
        {
            effects.event(self.peers().collect(), peer_gone(away.info.id.0));
        }
    }

    /// Forgets publishers who have been away for too long, and their tracks.
    pub(crate) fn forget_left(&mut self, now: Instant, grace: Duration) -> Effects {
        let lasts = |since: &mut Option<Instant>| {
            now.saturating_duration_since(*since.get_or_insert(now)) < grace
        };
        self.left.retain_mut(|left| lasts(&mut left.since));
        let mut effects = Effects::default();
        let mut gone = Vec::new();
        for away in &mut self.away {
            if !lasts(&mut away.since) {
                gone.push(away.info.id);
            }
        }
        self.tell_gone(|away| gone.contains(&away.info.id), &mut effects);
        effects
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

    /// Sets how a track is encoded, where nobody else says: a page knows its encoder, a program's offer says little.
    pub(crate) fn set_format(&mut self, track: TrackId, format: Format) -> Effects {
        let publisher = self.tracks.get(&track).map(|track| track.info.peer.0);
        let publisher = publisher.and_then(|peer| self.participants.get(&peer));
        if publisher.is_none_or(|publisher| !publisher.returns) {
            return Effects::default();
        }
        self.change_info(track, |info| {
            info.codec = Some(format.codec.to_string().to_ascii_lowercase());
            info.profile = format.profile.map(|profile| format!("{profile:06x}"));
        })
    }

    /// Sets what is wrong with how a track is sent.
    pub(crate) fn set_warnings(&mut self, track: TrackId, warnings: Vec<Warning>) -> Effects {
        self.change_info(track, |info| info.warnings = warnings)
    }

    /// Changes what is known of a track; the others are told.
    fn change_info(&mut self, track: TrackId, change: impl FnOnce(&mut TrackInfo)) -> Effects {
        let mut effects = Effects::default();
        if let Some(track) = self.tracks.get_mut(&track) {
            change(&mut track.info);
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
