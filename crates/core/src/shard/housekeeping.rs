//! What happens by itself: ends of silent peers, rates, dynacast, speakers.

use std::iter;
use std::time::{Duration, Instant};

use super::Shard;
use crate::ceiling::UNWANTED_HOLD;
use crate::layer::Layer;
use crate::plenty::want_fallbacks;
use crate::publish::{PeerKey, Publisher, TrackKey};
use crate::relay::Wanted;
use crate::timers::Timer;
use crate::view::Tile;
use crate::{CloseReason, Event, LayerWanted, MediaKind, PeerId, Quality, QualityReason, RoomId};

/// How often a sending track's rates are measured.
const TRACK_TICK: Duration = Duration::from_millis(500);
/// How often a room's ranking is looked at while anybody sends audio.
const SPEAKERS_TICK: Duration = Duration::from_millis(200);
/// Levels have to change this much to be told.
const LEVEL_STEP: u8 = 6;

impl Shard {
    /// A peer that has not connected in time, or has been silent for too long, is ended.
    pub(super) fn watch(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(key) else {
            return;
        };
        if peer.give_up_at.is_some_and(|at| at <= now) {
            let reason = if peer.connected {
                CloseReason::ConsentLost
            } else {
                CloseReason::ConnectTimeout
            };
            self.remove_peer(now, key, reason);
        }
    }

    pub(super) fn schedule_track(&mut self, now: Instant, key: TrackKey) {
        if let Some(track) = self.tracks.get_mut(key).filter(|track| track.due.is_none()) {
            let at = now + TRACK_TICK;
            track.due = Some(at);
            self.timers.schedule(at, Timer::Track(key));
        }
    }

    pub(super) fn tick_track(&mut self, now: Instant, key: TrackKey, at: Instant) {
        let Some(track) = self
            .tracks
            .get_mut(key)
            .filter(|track| track.due == Some(at))
        else {
            return;
        };
        track.due = None;
        let at_home = matches!(track.publisher, Publisher::Here(_));
        let mut active = false;
        for layer in &mut track.layers {
            let sends = layer.is_active(now);
            active |= sends;
            if sends && !layer.paused && at_home {
                layer.tick(now);
            }
            // A program that publishes by WHIP goes on where nobody watches.
            if sends && at_home {
                layer.keyframes.tick(now);
            }
        }
        let is_video = track.spec.kind == MediaKind::Video;
        let loss = track
            .layers
            .iter_mut()
            .map(|layer| layer.take_loss())
            .fold(0.0, f32::max);
        track.loss = loss;
        self.tell_mirrors_layers(key);
        if is_video {
            // Rates have moved, or a layer has stopped.
            self.mark_subscribers_stale(key, |stale| stale.allocation = true);
            self.dynacast(now, key);
            if at_home {
                self.tell_available(now, key);
                self.tell_format(now, key);
            }
            self.try_encoder(now, key);
            active |= self.repeat_keyframe_requests(now, key);
        }
        if let Some(publisher) = self.publisher_key(key) {
            self.rate_uplink(now, publisher, loss);
        }
        // A track that sends nothing, and that nobody waits for, is looked at again when that changes.
        if active {
            self.schedule_track(now, key);
        }
    }

    /// Asks the encoder of a broadcast for a keyframe though nobody waits for one: that it answers, or not, is known then
    /// before somebody depends on it. Who also receives is in a call, where all encoders are browsers'.
    fn try_encoder(&mut self, now: Instant, key: TrackKey) {
        let publisher = self.publisher_key(key).and_then(|key| self.peers.get(key));
        if publisher.is_none_or(|publisher| !publisher.slots.is_empty()) {
            return;
        }
        let layers = self.tracks.get(key).map_or(0, |track| track.layers.len());
        for index in 0..layers {
            let track = self.tracks.get_mut(key);
            let layer = track.and_then(|track| track.layers.get_mut(index));
            if layer.is_some_and(|layer| layer.is_active(now) && layer.keyframes.try_out(now)) {
                self.want_keyframe(now, key, index);
            }
        }
    }

    /// Whether anybody still waits for a keyframe, or stands without: the request, or the keyframe, has got lost.
    fn repeat_keyframe_requests(&mut self, now: Instant, key: TrackKey) -> bool {
        let layers = self.tracks.get(key).map_or(0, |track| track.layers.len());
        let mut waits = false;
        for layer in 0..layers {
            let track = self.tracks.get(key);
            let stands = track
                .and_then(|track| track.layers.get(layer))
                .is_some_and(|it| it.is_active(now) && it.keyframes.asked_for_lost());
            if self.somebody_waits(key, layer) || (stands && self.is_watched(key, layer)) {
                waits = true;
                self.want_keyframe(now, key, layer);
            }
        }
        waits
    }

    /// Tells the publisher which layers anybody wants.
    pub(super) fn dynacast(&mut self, now: Instant, key: TrackKey) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        let mut wanted: Vec<bool> = (0..track.layers.len())
            .map(|layer| {
                track
                    .elsewhere
                    .iter()
                    .any(|elsewhere| elsewhere.wants(layer))
                    || self.subscribed_slots(key).any(|slot| slot.needs(layer))
            })
            .collect();
        if let Publisher::At(_) = track.publisher {
            self.want_layers(key, &wanted);
            return;
        }
        want_fallbacks(&track.layers, &mut wanted);
        let sized = track.layers.iter().any(Layer::has_sizes);
        let lines: Vec<Option<u32>> = (0..wanted.len())
            .filter(|_| sized)
            .map(|layer| self.lines_wanted(key, layer))
            .collect();
        let lines = lines.into_iter().chain(iter::repeat(None));
        let frames: Vec<Option<u32>> = (0..wanted.len())
            .map(|layer| self.frames_wanted(key, layer))
            .collect();
        let limits = lines.zip(frames);
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let mut changed = false;
        for ((layer, wanted), (lines, frames)) in track.layers.iter_mut().zip(wanted).zip(limits) {
            if wanted {
                layer.unwanted_since = None;
                changed |= layer.resume(now);
                changed |= layer.want_lines(now, lines);
                changed |= layer.frames.want(now, frames);
                continue;
            }
            let since = *layer.unwanted_since.get_or_insert(now);
            // Only what sends can be paused: a layer that the browser itself holds back is none of ours.
            if !layer.paused
                && layer.is_active(now)
                && now.saturating_duration_since(since) >= UNWANTED_HOLD
            {
                layer.paused = true;
                layer.store.clear();
                changed = true;
            }
        }
        if changed {
            let layers = track
                .layers
                .iter()
                .map(|layer| LayerWanted {
                    rid: layer.rid,
                    active: !layer.paused,
                    max_height: layer.lines.told,
                    max_fps: layer.frames.told,
                })
                .collect();
            let (track, peer) = (track.spec.id, track.publisher_id);
            self.events.push_back(Event::Layers {
                peer,
                track,
                layers,
            });
            self.tell_mirrors_layers(key);
        }
    }

    /// How many lines of a layer anybody looks at; none where all may be wanted.
    pub(super) fn lines_wanted(&self, key: TrackKey, layer: usize) -> Option<u32> {
        self.most_wanted(key, layer, |wanted| wanted.lines, |tile| Some(tile.height))
    }

    /// How many frames of it a second anybody wants; none where all may be wanted.
    pub(super) fn frames_wanted(&self, key: TrackKey, layer: usize) -> Option<u32> {
        self.most_wanted(key, layer, |wanted| wanted.frames, |tile| tile.max_fps)
    }

    fn most_wanted(
        &self,
        key: TrackKey,
        layer: usize,
        elsewhere: impl Fn(&Wanted) -> Option<u32>,
        here: impl Fn(&Tile) -> Option<u32>,
    ) -> Option<u32> {
        let track = self.tracks.get(key)?;
        let mut most = None;
        for other in track.elsewhere.iter().filter(|one| one.wants(layer)) {
            most = most.max(Some(elsewhere(&other.wanted)?));
        }
        for subscriber in &track.subscribers {
            let peer = self.peers.get(subscriber.peer)?;
            let slot = peer.slots.get(subscriber.slot)?;
            if !slot.needs(layer) {
                continue;
            }
            // Who chooses for himself need not go by the size of a tile.
            if peer.choices.iter().any(|choice| choice.slot == slot.mid) {
                return None;
            }
            if let Some(source) = &slot.source {
                most = most.max(Some(here(&source.tile)?));
            }
        }
        most
    }

    /// Tiles may have grown over what publishers were told to be enough for them, or want more frames.
    pub(super) fn ask_for_sizes(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get(key) else {
            return;
        };
        let sources = peer.slots.iter().filter_map(|slot| slot.source.as_ref());
        let too_small = sources.filter(|source| {
            let most = source.tile.max_fps.unwrap_or(u32::MAX);
            self.tracks.get(source.track).is_some_and(|track| {
                let told = &track.told_wanted;
                let layers = || track.layers.iter();
                let mut lines = layers()
                    .filter_map(|layer| layer.lines.told)
                    .chain(told.lines);
                let mut frames = layers()
                    .filter_map(|layer| layer.frames.told)
                    .chain(told.frames);
                lines.any(|told| told < source.tile.height) || frames.any(|told| told < most)
            })
        });
        let tracks: Vec<TrackKey> = too_small.map(|source| source.track).collect();
        for track in tracks {
            self.dynacast(now, track);
        }
    }

    /// Tells which layers there are to choose from, after that has changed.
    fn tell_available(&mut self, now: Instant, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let layers = track.available(now);
        if layers != track.told_layers {
            track.told_layers.clone_from(&layers);
            self.events.push_back(Event::Available {
                room: track.room,
                track: track.spec.id,
                layers,
            });
        }
    }

    /// Tells how a track is encoded and what is wrong with it, after that has changed.
    fn tell_format(&mut self, now: Instant, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let (room, id) = (track.room, track.spec.id);
        let format = track.format().filter(|new| track.told_format != Some(*new));
        if let Some(format) = format {
            track.told_format = Some(format);
            self.events.push_back(Event::Format {
                room,
                track: id,
                format,
            });
        }
        let troubles = track.troubles(now);
        if troubles != track.told_troubles {
            track.told_troubles.clone_from(&troubles);
            self.events.push_back(Event::Troubles {
                room,
                track: id,
                troubles,
            });
        }
    }

    fn rate_uplink(&mut self, now: Instant, publisher: PeerKey, loss: f32) {
        let reason = QualityReason::UplinkLoss;
        let quality = if loss > 0.15 {
            Quality { score: 2, reason }
        } else if loss > 0.05 {
            Quality { score: 3, reason }
        } else {
            Quality::GOOD
        };
        self.tell_quality(now, publisher, quality, reason);
    }

    pub(super) fn schedule_speakers(&mut self, now: Instant, id: RoomId) {
        if let Some(room) = self.rooms.get_mut(&id).filter(|room| room.due.is_none()) {
            let at = now + SPEAKERS_TICK;
            room.due = Some(at);
            self.timers.schedule(at, Timer::Speakers(id));
        }
    }

    pub(super) fn tick_speakers(&mut self, now: Instant, id: RoomId, at: Instant) {
        let Some(room) = self.rooms.get_mut(&id).filter(|room| room.due == Some(at)) else {
            return;
        };
        room.due = None;
        self.rank(now, id);
        self.tell_speakers(now, id);
    }

    /// Somebody has begun to speak: the ranking is looked at before the batch is forwarded, so that
    /// the first packet is heard.
    pub(super) fn rank_voices(&mut self, now: Instant) {
        while let Some(id) = self.work.voices.pop() {
            self.rank(now, id);
        }
    }

    fn rank(&mut self, now: Instant, id: RoomId) {
        /// As many as most listeners have audio slots for.
        const HEARD: usize = 3;
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if room.levels.rank(now, HEARD) {
            self.mark_room_stale(id, |stale| stale.audio = true);
        }
    }

    fn tell_speakers(&mut self, now: Instant, id: RoomId) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let mut speakers = Vec::new();
        for (track, level) in room.levels.speakers(now) {
            let publisher = self.tracks.get(track).map(|track| track.publisher_id);
            speakers.extend(publisher.map(|peer| (peer, level)));
        }
        let told = &room.told_speakers;
        let same = speakers.len() == told.len()
            && speakers
                .iter()
                .zip(told)
                .all(|((a, level_a), (b, level_b))| {
                    a == b && level_a.abs_diff(*level_b) < LEVEL_STEP
                });
        let people_changed = people(&speakers) != people(told);
        if !speakers.is_empty() {
            self.schedule_speakers(now, id);
        }
        if same {
            return;
        }
        if let Some(room) = self.rooms.get_mut(&id) {
            room.told_speakers.clone_from(&speakers);
        }
        self.events.push_back(Event::Speakers {
            worker: self.config.worker,
            room: id,
            speakers,
        });
        if people_changed {
            self.mark_room_stale(id, |stale| stale.view = true);
        }
    }
}

/// Who speaks, whatever the order and the levels.
fn people(speakers: &[(PeerId, u8)]) -> Vec<PeerId> {
    let mut people: Vec<PeerId> = speakers.iter().map(|(peer, _)| *peer).collect();
    people.sort_unstable();
    people
}
