//! Which track stands in which slot, which layer it gets, and what the control plane is told of it.

use std::time::Instant;

use super::{Room, Shard};
use crate::forward::Slot;
use crate::layering::Target;
use crate::peer::Peer;
use crate::publish::{PeerKey, Publisher, Subscriber, TrackKey};
use crate::relay::Arrived;
use crate::view::Tile;
use crate::{AudioView, AutoView, Event, MediaKind, PeerId, TrackId};

/// Steps in which video slots grow.
const VIDEO_SLOT_STEPS: [usize; 4] = [9, 16, 25, 49];
/// A shared screen counts as this much more important than the application says.
const SCREEN_PRIORITY: u8 = 128;

/// A tile that is to have a slot.
struct Wish {
    track: TrackKey,
    id: TrackId,
    slot: Option<str0m::media::Mid>,
    tile: Tile,
}

impl Shard {
    /// Works out what is stale. Packets that a new listener should hear first are added to the batch.
    pub(super) fn refresh(&mut self, now: Instant, batch: &mut Vec<Arrived>) {
        while let Some(key) = self.work.stale.pop() {
            let Some(peer) = self.peers.get_mut(key) else {
                continue;
            };
            let stale = std::mem::take(&mut peer.stale);
            if !peer.subscribe {
                continue;
            }
            if stale.view {
                self.fill_video_slots(key);
            }
            if stale.audio {
                self.fill_audio_slots(now, key, batch);
            }
            if stale.view || stale.allocation {
                self.allocate(now, key);
                self.start_pictures(now, key, batch);
            }
            if stale.view {
                self.ask_for_sizes(now, key);
            }
            if stale.any() {
                self.work.untold.push(key);
            }
        }
    }

    /// Slots that send nothing start with a keyframe that has just been sent to others, where it is newer than what they show.
    fn start_pictures(&mut self, now: Instant, key: PeerKey, batch: &mut Vec<Arrived>) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        for (index, slot) in peer.slots.iter().enumerate() {
            let nothing_goes_out = slot.carries().is_none();
            let Some((track, layer)) = slot.awaits_keyframe().filter(|_| nothing_goes_out) else {
                continue;
            };
            let picture = self.tracks.get(track).and_then(|track| {
                let layer = track.layers.get(layer)?;
                layer.store.picture(now)
            });
            let picture = picture.filter(|picture| {
                picture
                    .first()
                    .is_some_and(|first| slot.may_start_with(first))
            });
            let from = batch.len();
            batch.extend(picture.into_iter().flatten().map(|packet| (track, packet)));
            peer.pending
                .note(key, index, from..batch.len(), &mut self.work.touched);
        }
    }

    /// Slots that wait for a keyframe start with one that has turned out to be one when it was over.
    pub(super) fn start_found(&mut self, now: Instant, batch: &mut Vec<Arrived>) {
        while let Some((key, layer)) = self.work.found.pop() {
            let Some(track) = self.tracks.get(key) else {
                continue;
            };
            let picture = track
                .layers
                .get(layer)
                .and_then(|layer| layer.store.picture(now));
            let from = batch.len();
            batch.extend(picture.into_iter().flatten().map(|packet| (key, packet)));
            self.fan_out_to_waiting(key, layer, from..batch.len());
        }
    }

    fn fill_video_slots(&mut self, key: PeerKey) {
        let wishes = self.wishes(key);
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let mut released = Vec::new();
        for (index, slot) in peer.slots.iter_mut().enumerate() {
            let wanted = |track: TrackKey| {
                wishes
                    .iter()
                    .any(|wish| wish.track == track && wish.slot.is_none_or(|mid| mid == slot.mid))
            };
            if slot.kind == MediaKind::Video
                && let Some(track) = slot.source.as_ref().map(|source| source.track)
                && !wanted(track)
            {
                slot.release(false);
                released.push((track, index));
            }
        }
        let mut assigned = Vec::new();
        let mut missing = 0;
        for wish in &wishes {
            match place(&mut peer.slots, wish, &wishes) {
                Placed::Stays => {}
                Placed::Assigned { slot, before } => {
                    released.extend(before.map(|track| (track, slot)));
                    assigned.push((wish.track, slot));
                }
                Placed::NoSlot => missing += 1,
            }
        }
        let video = peer.slots_of(MediaKind::Video).count();
        let audio = peer.slots.len() - video;
        let need = if missing == 0 {
            video
        } else {
            next_step(video + missing, video)
        };
        if need > video && peer.told.need != (audio, need) {
            peer.told.need = (audio, need);
            self.events.push_back(Event::NeedSlots {
                peer: peer.id,
                audio,
                video: need,
            });
        }
        self.resubscribe(key, &released, &assigned);
    }

    fn resubscribe(
        &mut self,
        peer: PeerKey,
        released: &[(TrackKey, usize)],
        assigned: &[(TrackKey, usize)],
    ) {
        for &(track, slot) in released {
            if let Some(track) = self.tracks.get_mut(track) {
                track
                    .subscribers
                    .retain(|subscriber| *subscriber != Subscriber { peer, slot });
            }
        }
        for &(track, slot) in assigned {
            if let Some(track) = self.tracks.get_mut(track) {
                track.subscribers.push(Subscriber { peer, slot });
            }
        }
    }

    /// Tiles by the peer's view: the named ones, then those that the server picks.
    fn wishes(&self, key: PeerKey) -> Vec<Wish> {
        let Some((peer, room)) = self.peer_and_room(key) else {
            return Vec::new();
        };
        let mut wishes: Vec<Wish> = Vec::new();
        for tile in &peer.view.video {
            let found = self.track_keys.get(&tile.track).copied();
            let visible = |track: TrackKey| {
                self.tracks
                    .get(track)
                    .is_some_and(|t| t.room == peer.room && !t.is_audio())
            };
            let Some(track) = found.filter(|track| visible(*track)) else {
                continue;
            };
            if wishes.iter().all(|wish| wish.track != track) {
                let shape = Tile {
                    height: tile.height,
                    min_height: tile.min_height.unwrap_or(0),
                    priority: tile.priority,
                    max_fps: tile.max_fps,
                };
                wishes.push(Wish {
                    track,
                    id: tile.track,
                    slot: tile.slot,
                    tile: self.protect_screen(track, shape),
                });
            }
        }
        if let Some(auto) = &peer.view.auto {
            let slots = peer.slots_of(MediaKind::Video).count();
            let picked = self.pick(key, room, auto, &wishes);
            let tile = Tile {
                height: auto.height,
                min_height: 0,
                priority: 0,
                max_fps: None,
            };
            for (track, id) in picked.into_iter().take(auto.max.min(slots)) {
                wishes.push(Wish {
                    track,
                    id,
                    slot: None,
                    tile: self.protect_screen(track, tile),
                });
            }
        }
        wishes
    }

    /// Tracks for the tiles that the server fills: pinned, shared screens, those who speak, the rest.
    fn pick(
        &self,
        key: PeerKey,
        room: &Room,
        auto: &AutoView,
        named: &[Wish],
    ) -> Vec<(TrackKey, TrackId)> {
        let speaks = |publisher: PeerId| {
            room.told_speakers
                .iter()
                .any(|(speaker, _)| *speaker == publisher)
        };
        let mut candidates: Vec<(bool, TrackKey, TrackId)> = Vec::new();
        for &track in &room.tracks {
            let Some(state) = self
                .tracks
                .get(track)
                .filter(|state| !state.is_audio() && state.publisher != Publisher::Here(key))
            else {
                continue;
            };
            if named.iter().all(|wish| wish.track != track) {
                let first = auto.pin == Some(state.spec.id)
                    || state.is_screen()
                    || speaks(state.publisher_id);
                candidates.push((first, track, state.spec.id));
            }
        }
        // Those who came back have their old tracks, and so their old place.
        candidates.sort_by_key(|(first, _, id)| (!first, *id));
        candidates
            .into_iter()
            .map(|(_, track, id)| (track, id))
            .collect()
    }

    fn peer_and_room(&self, key: PeerKey) -> Option<(&Peer, &Room)> {
        let peer = self.peers.get(key)?;
        Some((peer, self.rooms.get(&peer.room)?))
    }

    fn protect_screen(&self, track: TrackKey, tile: Tile) -> Tile {
        if self
            .tracks
            .get(track)
            .is_some_and(crate::publish::Track::is_screen)
            && tile.height > 0
        {
            return Tile {
                min_height: tile.min_height.max(tile.height),
                priority: tile.priority.saturating_add(SCREEN_PRIORITY),
                ..tile
            };
        }
        tile
    }

    /// Puts the microphones that are to be heard into the audio slots; those that stay keep theirs.
    fn fill_audio_slots(&mut self, now: Instant, key: PeerKey, batch: &mut Vec<Arrived>) {
        let heard = self.heard(key);
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let mut released = Vec::new();
        let mut assigned = Vec::new();
        for (index, slot) in peer.slots.iter_mut().enumerate() {
            if slot.kind == MediaKind::Audio
                && let Some(track) = slot.source.as_ref().map(|source| source.track)
                && !heard.iter().any(|(wanted, _)| *wanted == track)
            {
                slot.release(false);
                released.push((track, index));
            }
        }
        for &(track, id) in &heard {
            if peer.slots.iter().any(|slot| {
                slot.source
                    .as_ref()
                    .is_some_and(|source| source.track == track)
            }) {
                continue;
            }
            let free = peer
                .slots
                .iter_mut()
                .enumerate()
                .find(|(_, slot)| slot.kind == MediaKind::Audio && slot.source.is_none());
            let Some((index, slot)) = free else {
                break;
            };
            slot.assign(track, id, Tile::default());
            if let Some(source) = &mut slot.source {
                source.target = Some(Target::whole(0));
            }
            assigned.push((track, index));
            let known = self.tracks.get(track);
            let recent = known.into_iter().flat_map(|track| track.recent(now));
            let from = batch.len();
            batch.extend(recent.map(|packet| (track, packet.clone())));
            peer.pending
                .note(key, index, from..batch.len(), &mut self.work.touched);
        }
        self.resubscribe(key, &released, &assigned);
    }

    fn heard(&self, key: PeerKey) -> Vec<(TrackKey, TrackId)> {
        let Some((peer, room)) = self.peer_and_room(key) else {
            return Vec::new();
        };
        let slots = peer.slots_of(MediaKind::Audio).count();
        let by_id = |id: &TrackId| self.track_keys.get(id).copied();
        let (first, rest): (Vec<TrackKey>, &[TrackKey]) = match &peer.view.audio {
            AudioView::List(tracks) => (tracks.iter().filter_map(by_id).collect(), &[]),
            AudioView::Loudest { pin } => (
                pin.iter().filter_map(by_id).collect(),
                room.levels.ranking(),
            ),
        };
        let mut heard: Vec<(TrackKey, TrackId)> = Vec::new();
        for track in first.into_iter().chain(rest.iter().copied()) {
            let Some(state) = self.tracks.get(track) else {
                continue;
            };
            let ours = state.publisher == Publisher::Here(key)
                || state.room != peer.room
                || !state.is_audio();
            if !ours && heard.len() < slots && heard.iter().all(|(other, _)| *other != track) {
                heard.push((track, state.spec.id));
            }
        }
        heard
    }
}

enum Placed {
    Stays,
    Assigned {
        slot: usize,
        before: Option<TrackKey>,
    },
    NoSlot,
}

/// Finds a slot for a wish: the one it has, the one it asks for, a free one, one that shows nothing.
fn place(slots: &mut [Slot], wish: &Wish, wishes: &[Wish]) -> Placed {
    let holds = |slot: &Slot| {
        slot.source
            .as_ref()
            .is_some_and(|source| source.track == wish.track)
    };
    if let Some(source) = slots
        .iter_mut()
        .find(|slot| holds(slot))
        .and_then(|slot| slot.source.as_mut())
    {
        source.tile = wish.tile;
        return Placed::Stays;
    }
    let video = |slot: &Slot| slot.kind == MediaKind::Video;
    let asked = slots
        .iter()
        .position(|slot| video(slot) && Some(slot.mid) == wish.slot);
    let free = || {
        slots
            .iter()
            .position(|slot| video(slot) && slot.source.is_none())
    };
    let hidden = || {
        let shows_nothing = |slot: &Slot| {
            slot.source
                .as_ref()
                .is_some_and(|source| source.tile.height == 0)
        };
        let becomes_visible = |slot: &Slot| {
            slot.source.as_ref().is_some_and(|s| {
                wishes
                    .iter()
                    .any(|w| w.track == s.track && w.tile.height > 0)
            })
        };
        slots
            .iter()
            .position(|slot| video(slot) && shows_nothing(slot) && !becomes_visible(slot))
    };
    // What is hidden takes a free slot, so that it appears at once when shown, but nobody's.
    let found = if wish.tile.height == 0 {
        free()
    } else {
        asked.or_else(free).or_else(hidden)
    };
    let Some((index, slot)) = found.and_then(|index| Some((index, slots.get_mut(index)?))) else {
        return if wish.tile.height == 0 {
            Placed::Stays
        } else {
            Placed::NoSlot
        };
    };
    let before = slot.release(false).map(|source| source.track);
    slot.assign(wish.track, wish.id, wish.tile);
    Placed::Assigned {
        slot: index,
        before,
    }
}

fn next_step(wanted: usize, have: usize) -> usize {
    VIDEO_SLOT_STEPS
        .into_iter()
        .find(|step| *step >= wanted)
        .unwrap_or_else(|| have.max(49))
}
