//! What the control plane is told about slots.

use std::time::Instant;

use super::Shard;
use crate::forward::Slot;
use crate::publish::{PeerKey, TrackKey};
use crate::{AudioSlot, Event, LayerName, MediaKind, Slots, VideoSlot, Why};

impl Shard {
    /// Tells the control plane about slots that have changed, and asks for the keyframes that are
    /// still missing after the batch has been forwarded.
    pub(super) fn tell_slots(&mut self, now: Instant) {
        while let Some((track, layer)) = self.work.waiting.pop() {
            if self.somebody_waits(track, layer) {
                // A layer that nobody wanted is asked for first: what is paused sends no keyframe.
                self.dynacast(now, track);
                if self.waiting_slots(track, layer).any(Slot::is_halted) {
                    self.want_lost_keyframe(now, track, layer);
                } else {
                    self.want_keyframe(now, track, layer);
                }
                self.schedule_track(now, track);
            }
        }
        while let Some(key) = self.work.untold.pop() {
            let Some(peer) = self.peers.get(key) else {
                continue;
            };
            let now_are = self.slots_of(key);
            let told = &peer.told.slots;
            let video = (told.video != now_are.video || told.rev != now_are.rev)
                .then(|| now_are.video.clone())
                .flatten();
            let audio = (!same_audio(told.audio.as_deref(), now_are.audio.as_deref()))
                .then(|| now_are.audio.clone())
                .flatten();
            if video.is_some() || audio.is_some() {
                let slots = Slots {
                    rev: now_are.rev,
                    video,
                    audio,
                };
                self.events.push_back(Event::Slots {
                    peer: peer.id,
                    slots,
                });
                if let Some(peer) = self.peers.get_mut(key) {
                    let before = peer.told.slots.video.as_deref().unwrap_or_default();
                    let video = now_are.video.as_deref().unwrap_or_default();
                    peer.changes.note(now, peer.estimate_bps, before, video);
                    peer.told.slots = now_are;
                }
            }
        }
    }

    pub(super) fn somebody_waits(&self, track: TrackKey, layer: usize) -> bool {
        self.waiting_slots(track, layer).next().is_some()
    }

    fn waiting_slots(&self, track: TrackKey, layer: usize) -> impl Iterator<Item = &Slot> {
        self.subscribed_slots(track)
            .filter(move |slot| slot.awaits_keyframe() == Some((track, layer)))
    }

    /// Whether a layer is shown to anybody here, or wanted elsewhere.
    pub(super) fn is_watched(&self, key: TrackKey, layer: usize) -> bool {
        let elsewhere = self.tracks.get(key).map(|track| track.elsewhere.iter());
        elsewhere.into_iter().flatten().any(|it| it.wants(layer))
            || self
                .subscribed_slots(key)
                .filter_map(Slot::carries)
                .any(|current| current.layer == layer)
    }

    /// The slots that a track stands in.
    pub(super) fn subscribed_slots(&self, track: TrackKey) -> impl Iterator<Item = &Slot> {
        let subscribers = self
            .tracks
            .get(track)
            .map(|track| track.subscribers.as_slice());
        subscribers
            .unwrap_or_default()
            .iter()
            .filter_map(|subscriber| self.peers.get(subscriber.peer)?.slots.get(subscriber.slot))
    }

    fn slots_of(&self, key: PeerKey) -> Slots {
        let Some(peer) = self.peers.get(key) else {
            return Slots::default();
        };
        let levels = self.rooms.get(&peer.room).map(|room| &room.levels);
        let video = peer
            .slots_of(MediaKind::Video)
            .map(|slot| {
                let why = slot.why();
                VideoSlot {
                    mid: slot.mid,
                    track: slot.source.as_ref().map(|source| source.id),
                    paused: why != Why::Live,
                    why,
                    layer: self.layer_name(slot),
                }
            })
            .collect();
        let audio = peer
            .slots_of(MediaKind::Audio)
            .map(|slot| {
                let source = slot.source.as_ref();
                let level = source
                    .and_then(|source| Some(levels?.level(source.track)))
                    .unwrap_or(0);
                AudioSlot {
                    mid: slot.mid,
                    track: source.map(|source| source.id),
                    level,
                }
            })
            .collect();
        Slots {
            rev: peer.view.rev,
            video: Some(video),
            audio: Some(audio),
        }
    }

    fn layer_name(&self, slot: &Slot) -> Option<LayerName> {
        let current = slot.carries()?;
        let layer = self
            .tracks
            .get(slot.source.as_ref()?.track)?
            .layers
            .get(current.layer)?;
        let (width, height) = layer.size_of(current.point).unwrap_or((0, 0));
        Some(LayerName {
            rid: layer.rid,
            width,
            height,
        })
    }
}

/// Levels tremble all the time; only a change of tracks is news.
fn same_audio(a: Option<&[AudioSlot]>, b: Option<&[AudioSlot]>) -> bool {
    let tracks = |slots: Option<&[AudioSlot]>| {
        slots.map(|slots| slots.iter().map(|slot| slot.track).collect::<Vec<_>>())
    };
    tracks(a) == tracks(b)
}
