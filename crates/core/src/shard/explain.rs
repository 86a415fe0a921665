//! What the control plane is told when it asks how a peer does.

use std::time::Instant;

use super::Shard;
use crate::allocate::{self, Budget, Grant};
use crate::explain::{
    ExplainedAudio, ExplainedDownlink, ExplainedLayer, ExplainedSlot, ExplainedTrack, Heard, Limit,
    PublishedLayer,
};
use crate::forward::Slot;
use crate::ladder::Rung;
use crate::layering::Target;
use crate::peer::Peer;
use crate::publish::{PeerKey, PublishedMid, TrackKey};
use crate::{AudioView, Event, Explanation, LayerName, MediaKind, PeerId, Why};

impl Shard {
    /// Answers at once; with nothing where there is no such peer.
    pub(super) fn explain(&mut self, now: Instant, id: PeerId, request: u64) {
        let key = self.peer_keys.get(&id).copied();
        let explanation = key.and_then(|key| self.explanation(now, key));
        self.events.push_back(Event::Explained {
            peer: id,
            request,
            explanation: explanation.map(Box::new),
        });
    }

    fn explanation(&mut self, now: Instant, key: PeerKey) -> Option<Explanation> {
        let asked = self.demands(now, key);
        let largest = self.largest(now, key);
        let peer = self.peers.get(key)?;
        let plenty = allocate::allocate(&asked.demands, Budget::Unlimited);
        let wishes = asked.places.iter().zip(&plenty.grants);
        let wished: Vec<(usize, Target)> = wishes
            .filter_map(|(slot, grant)| match grant {
                Grant::Layer(layer) => Some((*slot, *layer)),
                Grant::NoBandwidth | Grant::Nothing => None,
            })
            .collect();
        let slots = peer.slots.iter().enumerate();
        let slots: Vec<ExplainedSlot> = slots
            .filter(|(_, slot)| slot.kind == MediaKind::Video)
            .map(|(index, slot)| {
                let wanted = wished.iter().find(|(slot, _)| *slot == index);
                let wanted = wanted.map(|(_, layer)| *layer);
                let largest = largest.iter().find(|(slot, _)| *slot == index);
                let largest = largest.map(|(_, rung)| *rung);
                self.explained_slot(slot, wanted, largest)
            })
            .collect();
        Some(Explanation {
            downlink: ExplainedDownlink {
                estimate_bps: peer.estimate_bps,
                given_bps: total(slots.iter().filter_map(|slot| slot.given.as_ref())),
                audio_bps: asked.audio_bps,
                wanted_bps: total(slots.iter().filter_map(|slot| slot.wanted.as_ref())),
                round_trip: peer.lane.round_trip(),
                loss: share(peer.lane.loss_permille()),
            },
            slots,
            audio: self.explained_audio(peer),
            published: self.explained_tracks(now, peer),
            changes: peer.changes.dated(|at| self.config.wallclock.time_at(at)),
        })
    }

    /// The best that there is of what stands in each video slot, whatever its tile.
    fn largest(&mut self, now: Instant, key: PeerKey) -> Vec<(usize, Rung)> {
        let Some(peer) = self.peers.get(key) else {
            return Vec::new();
        };
        let slots = peer.slots.iter().enumerate();
        let slots = slots.filter(|(_, slot)| slot.kind == MediaKind::Video);
        let largest = slots.filter_map(|(index, slot)| {
            let track = self.tracks.get_mut(slot.source.as_ref()?.track)?;
            Some((index, *track.ladder(now).last()?))
        });
        largest.collect()
    }

    fn explained_slot(
        &self,
        slot: &Slot,
        wanted: Option<Target>,
        largest: Option<Rung>,
    ) -> ExplainedSlot {
        let source = slot.source.as_ref();
        let layer = |target: Option<Target>| self.explained_layer(source?.track, target?);
        let tile = source.map(|source| source.tile).unwrap_or_default();
        let mut explained = ExplainedSlot {
            mid: slot.mid,
            track: source.map(|source| source.id),
            why: slot.why(),
            limit: None,
            tile_height: tile.height,
            priority: tile.priority,
            wanted: layer(wanted),
            given: layer(source.and_then(|source| source.target)),
            sent: layer(slot.carries().map(|current| Target {
                layer: current.layer,
                point: current.point,
            })),
        };
        explained.limit = largest.and_then(|rung| {
            let best = layer(Some(rung.layer))?;
            limit(&explained, &best, rung.height)
        });
        explained
    }

    fn explained_layer(&self, track: TrackKey, target: Target) -> Option<ExplainedLayer> {
        let layer = self.tracks.get(track)?.layers.get(target.layer)?;
        let (width, height) = layer.size_of(target.point).unwrap_or_default();
        Some(ExplainedLayer {
            name: LayerName {
                rid: layer.rid,
                width,
                height,
            },
            bps: layer.bps_of(target.point),
            temporal: layer.temporal_of(target.point),
            fps: layer.fps_of(target.point),
        })
    }

    fn explained_audio(&self, peer: &Peer) -> Vec<ExplainedAudio> {
        let levels = self.rooms.get(&peer.room).map(|room| &room.levels);
        let named = match &peer.view.audio {
            AudioView::Loudest { pin } => pin,
            AudioView::List(tracks) => tracks,
        };
        let explain = |slot: &Slot| {
            let source = slot.source.as_ref();
            let track = source.and_then(|source| self.tracks.get(source.track));
            let why = match (slot.why(), source) {
                (Why::PublisherGone, _) => Heard::PublisherGone,
                (_, None) => Heard::Empty,
                (Why::NoCommonCodec, _) => Heard::NoCommonCodec,
                _ if track.is_some_and(|track| track.spec.muted) => Heard::Muted,
                (_, Some(source)) if named.contains(&source.id) => Heard::Chosen,
                _ => Heard::Loud,
            };
            let level = source.and_then(|source| Some(levels?.level(source.track)));
            ExplainedAudio {
                mid: slot.mid,
                track: source.map(|source| source.id),
                why,
                level: level.unwrap_or(0),
            }
        };
        peer.slots_of(MediaKind::Audio).map(explain).collect()
    }

    fn explained_tracks(&self, now: Instant, peer: &Peer) -> Vec<ExplainedTrack> {
        let explain = |published: &PublishedMid| {
            let track = self.tracks.get(published.track)?;
            let layers = track.layers.iter().enumerate();
            let layers = layers.filter_map(|(index, layer)| {
                Some(PublishedLayer {
                    layer: self.explained_layer(published.track, Target::whole(index))?,
                    paused: layer.paused,
                    active: layer.is_active(now),
                })
            });
            Some(ExplainedTrack {
                track: track.spec.id,
                kind: track.spec.kind,
                loss: track.loss,
                layers: layers.collect(),
            })
        };
        peer.published.iter().filter_map(explain).collect()
    }
}

/// Why a picture is no larger, given the best that there is of it, whose height is known or guessed.
fn limit(slot: &ExplainedSlot, best: &ExplainedLayer, height: u32) -> Option<Limit> {
    if !matches!(slot.why, Why::Live | Why::NoKeyframe | Why::NoBandwidth) {
        return None;
    }
    let wanted = slot.wanted.as_ref()?;
    Some(match &slot.given {
        Some(given) if !slot.sent.as_ref().is_some_and(|sent| sent.is(given)) => Limit::Switching,
        Some(given) if !given.is(wanted) => Limit::Bandwidth,
        Some(given) if given.is(best) && height < slot.tile_height => Limit::Publisher,
        Some(_) => Limit::Chosen,
        None => Limit::Bandwidth,
    })
}

fn total<'a>(layers: impl Iterator<Item = &'a ExplainedLayer>) -> u64 {
    layers.map(|layer| layer.bps).sum()
}

fn share(permille: u64) -> f32 {
    f32::from(u16::try_from(permille).unwrap_or(1_000)) / 1e3
}
