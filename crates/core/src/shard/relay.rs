//! Tracks of this shard for people on others, and mirrors of theirs for the people here.

use std::sync::Arc;
use std::time::Instant;

use super::Shard;
use crate::layer::Layer;
use crate::publish::{Packet, PeerKey, Publisher, Track, TrackKey};
use crate::relay::{Arrived, Carried, Elsewhere, Media, Relayed, Said, Wanted};
use crate::{MediaKind, PeerId, RoomId, Source, TrackId, TrackSpec};

impl Shard {
    /// Takes in what another worker's shard has polled for this one. Media waits for [`Shard::flush`].
    pub fn handle_relayed(&mut self, now: Instant, from: u8, relayed: Relayed) {
        match relayed {
            Relayed::Media(media) => self.on_relayed_media(now, media),
            Relayed::Control(control) => self.on_said(now, from, control.0),
        }
    }

    /// What the shard has for another worker's. To be polled after [`Shard::flush`].
    pub fn poll_relayed(&mut self) -> Option<(u8, Relayed)> {
        self.mailboxes.poll()
    }

    fn on_said(&mut self, now: Instant, from: u8, said: Said) {
        match said {
            Said::Here { room, ask } => self.on_here(from, room, ask),
            Said::Gone { room } => self.on_gone(now, from, room),
            Said::Track {
                room,
                publisher,
                spec,
            } => self.on_track(now, from, room, publisher, spec),
            Said::TrackGone { track } => {
                if let Some(key) = self.mirror(from, track) {
                    self.remove_track(key);
                }
            }
            Said::Muted { track, muted } => {
                if let Some(key) = self.mirror(from, track) {
                    self.set_muted(key, muted);
                }
            }
            Said::Layers { track, layers } => {
                let Some(key) = self.mirror(from, track) else {
                    return;
                };
                let limit = self.config.limits.layers_per_track;
                if let Some(track) = self.tracks.get_mut(key) {
                    track.mirror_layers(&layers, limit);
                }
                self.on_layer_started(now, key);
                for layer in 0..layers.len().min(limit) {
                    self.mend_pictures(now, key, layer);
                }
            }
            Said::Want { track, wanted } => self.on_want(now, from, track, wanted),
            Said::Keyframe { track, layer, lost } => match self.track_keys.get(&track) {
                Some(&key) if lost => self.want_lost_keyframe(now, key, layer),
                Some(&key) => self.want_keyframe(now, key, layer),
                None => {}
            },
        }
    }

    /// A mirror wants other layers than before. What it has not had yet begins with a fresh keyframe.
    fn on_want(&mut self, now: Instant, from: u8, id: TrackId, wanted: Wanted) {
        let Some(&key) = self.track_keys.get(&id) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let Some(elsewhere) = track.elsewhere.iter_mut().find(|e| e.worker == from) else {
            return;
        };
        let before = *elsewhere;
        elsewhere.wanted = wanted;
        let after = *elsewhere;
        for (index, layer) in track.layers.iter().enumerate() {
            if after.wants(index) && !before.wants(index) {
                let picture = layer.store.picture(now);
                self.mailboxes.send_picture(from, id, picture, true);
            }
        }
        self.dynacast(now, key);
        self.schedule_track(now, key);
    }

    /// The first of a room's people has come: the other shards are told, and asked.
    pub(super) fn room_opened(&mut self, room: RoomId) {
        let here = Said::Here { room, ask: true };
        self.mailboxes.say_to_others(self.config.worker, &here);
    }

    /// The last one has gone: the mirrors have nobody to look into them.
    pub(super) fn room_closed(&mut self, room: RoomId, mirrors: &[TrackKey]) {
        for key in mirrors {
            self.remove_track(*key);
        }
        self.mailboxes
            .say_to_others(self.config.worker, &Said::Gone { room });
    }

    fn on_here(&mut self, from: u8, id: RoomId, ask: bool) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        if ask {
            let here = Said::Here {
                room: id,
                ask: false,
            };
            self.mailboxes.say(from, here);
        }
        if room.elsewhere.contains(&from) {
            return;
        }
        room.elsewhere.push(from);
        for key in room.tracks.clone() {
            self.announce(key, from);
        }
    }

    fn on_gone(&mut self, now: Instant, from: u8, id: RoomId) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        room.elsewhere.retain(|worker| *worker != from);
        for key in room.tracks.clone() {
            if let Some(track) = self.tracks.get_mut(key) {
                // Somebody may have come there meanwhile: what is mirrored from now on is announced anew.
                for _ in track.elsewhere.extract_if(.., |e| e.worker == from) {
                    let gone = Said::TrackGone {
                        track: track.spec.id,
                    };
                    self.mailboxes.say(from, gone);
                }
                self.dynacast(now, key);
            }
        }
    }

    /// Tells the shards that have people of its room about a new track of this one.
    pub(super) fn announce_everywhere(&mut self, key: TrackKey) {
        let room = self.tracks.get(key).map(|track| track.room);
        let elsewhere = room
            .and_then(|room| self.rooms.get(&room))
            .map(|room| room.elsewhere.clone());
        for worker in elsewhere.unwrap_or_default() {
            self.announce(key, worker);
        }
    }

    fn announce(&mut self, key: TrackKey, worker: u8) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let Publisher::Here(_) = track.publisher else {
            return;
        };
        let audio = track.is_audio();
        track.elsewhere.push(Elsewhere::new(worker, audio));
        let said = Said::Track {
            room: track.room,
            publisher: track.publisher_id,
            spec: track.spec.clone(),
        };
        let layers = Said::Layers {
            track: track.spec.id,
            layers: track.layer_states(),
        };
        self.mailboxes.say(worker, said);
        self.mailboxes.say(worker, layers);
    }

    /// Says something about a track of this shard wherever it has a mirror.
    pub(super) fn tell_mirrors(&mut self, key: TrackKey, said: impl Fn(&Track) -> Said) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        for elsewhere in &track.elsewhere {
            self.mailboxes.say(elsewhere.worker, said(track));
        }
    }

    pub(super) fn tell_mirrors_layers(&mut self, key: TrackKey) {
        self.tell_mirrors(key, |track| Said::Layers {
            track: track.spec.id,
            layers: track.layer_states(),
        });
    }

    fn on_track(
        &mut self,
        now: Instant,
        from: u8,
        room: RoomId,
        publisher: PeerId,
        spec: TrackSpec,
    ) {
        if self.mirror(from, spec.id).is_some() || !self.rooms.contains_key(&room) {
            return;
        }
        // The publisher came back on another worker, and what was here of its earlier session is over.
        if let Some(&before) = self.track_keys.get(&spec.id) {
            self.remove_track(before);
        }
        self.add_track(now, Track::new(spec, room, Publisher::At(from), publisher));
    }

    /// Makes a track of this room known to the room's people here.
    pub(super) fn add_track(&mut self, now: Instant, track: Track) -> Option<TrackKey> {
        let room_id = track.room;
        let room = self.rooms.get_mut(&room_id)?;
        let (id, audio) = (track.spec.id, track.spec.kind == MediaKind::Audio);
        let (always, muted) = (track.spec.source == Source::ScreenAudio, track.spec.muted);
        let key = self.tracks.insert(track);
        self.track_keys.insert(id, key);
        room.tracks.push(key);
        if audio {
            room.levels.add(key, always, muted);
        }
        self.schedule_track(now, key);
        self.mark_room_stale(room_id, |stale| {
            (stale.view, stale.audio) = (true, true);
        });
        Some(key)
    }

    /// The mirror of a track whose home is that worker.
    fn mirror(&self, worker: u8, id: TrackId) -> Option<TrackKey> {
        let key = *self.track_keys.get(&id)?;
        (self.tracks.get(key)?.publisher == Publisher::At(worker)).then_some(key)
    }

    fn on_relayed_media(&mut self, now: Instant, media: Media) {
        for Carried {
            track,
            packet,
            kept,
        } in media.packets
        {
            let Some(&key) = self.track_keys.get(&track) else {
                continue;
            };
            let Some(track) = self.tracks.get_mut(key).filter(|track| !track.spec.muted) else {
                continue;
            };
            let (room, audio) = (track.room, track.is_audio());
            track.on_relayed(&packet, kept);
            let level = packet.extensions.audio_level;
            if kept {
                self.work.kept.push(self.work.batch.len());
            }
            self.work.batch.push((key, packet));
            if audio {
                self.on_audio_level(now, room, key, level);
            }
        }
    }

    /// Copies what other shards want of the batch, once for each of them.
    pub(super) fn relay(&mut self, batch: &[Arrived], arrived: usize) {
        for (key, packet) in batch.iter().take(arrived) {
            let Some(track) = self.tracks.get(*key) else {
                continue;
            };
            for elsewhere in &track.elsewhere {
                if elsewhere.wants(packet.layer) {
                    let carried = Carried {
                        track: track.spec.id,
                        packet: packet.clone(),
                        kept: false,
                    };
                    self.mailboxes.send(elsewhere.worker, carried);
                }
            }
        }
    }

    /// Sends others that want it a picture once more of which it has turned out that it begins with a keyframe: now its first
    /// packet says so. Who has it already drops it.
    pub(super) fn relay_found(&mut self, now: Instant, key: TrackKey, layer: usize) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        let wanting = track.elsewhere.iter().filter(|e| e.wants(layer));
        for elsewhere in wanting {
            let found = track.layers.get(layer);
            let picture = found.and_then(|layer| layer.store.picture(now));
            self.mailboxes
                .send_picture(elsewhere.worker, track.spec.id, picture, false);
        }
    }

    /// Tells a mirror's home which layers the people here want, and how much of them they look at.
    pub(super) fn want_layers(&mut self, key: TrackKey, wanted: &[bool]) {
        let sized = |track: &Track| track.layers.iter().any(Layer::has_sizes);
        // Who wants all of one layer says nothing about what is enough of any.
        let all = |a: Option<u32>, b: Option<u32>| Some(a?.max(b?));
        let of = || {
            (0..)
                .zip(wanted)
                .filter(|(_, wanted)| **wanted)
                .map(|(layer, _)| layer)
        };
        let frames = of().map(|layer| self.frames_wanted(key, layer)).reduce(all);
        let lines = of()
            .filter(|_| self.tracks.get(key).is_some_and(sized))
            .map(|layer| self.lines_wanted(key, layer))
            .reduce(all);
        let (lines, frames) = (lines.flatten(), frames.flatten());
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let Publisher::At(worker) = track.publisher else {
            return;
        };
        let layers = wanted
            .iter()
            .rev()
            .fold(0, |layers, wanted| (layers << 1) | u32::from(*wanted));
        let wanted = Wanted {
            layers,
            lines,
            frames,
        };
        if !track.is_audio() && track.told_wanted != wanted {
            track.told_wanted = wanted;
            let want = Said::Want {
                track: track.spec.id,
                wanted,
            };
            self.mailboxes.say(worker, want);
        }
    }

    pub(super) fn publisher_key(&self, key: TrackKey) -> Option<PeerKey> {
        match self.tracks.get(key)?.publisher {
            Publisher::Here(peer) => Some(peer),
            Publisher::At(_) => None,
        }
    }
}

impl Track {
    fn on_relayed(&mut self, packet: &Arc<Packet>, kept: bool) {
        if let Some(layer) = self.layers.get_mut(packet.layer) {
            layer.on_relayed(packet, kept);
        }
    }
}
