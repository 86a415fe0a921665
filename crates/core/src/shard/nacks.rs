//! Asking publishers for packets that have got lost, once for everybody who misses them.

use std::time::Instant;

use super::Shard;
use crate::forward::Slot;
use crate::peer::Stream;
use crate::publish::{Publisher, TrackKey};
use crate::timers::Timer;

impl Shard {
    /// A packet of a publisher has come: it may be one that was missing, or show that others are.
    pub(super) fn note_arrival(&mut self, now: Instant, stream: Stream, seq: u64) {
        let nacks = self
            .tracks
            .get_mut(stream.track)
            .and_then(|track| track.layers.get_mut(stream.layer))
            .and_then(|layer| layer.nacks.as_mut());
        let Some(nacks) = nacks else {
            return;
        };
        nacks.on_packet(now, seq);
        if nacks.due().is_some() {
            self.schedule_nacks(stream.track);
        }
    }

    fn schedule_nacks(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let layers = track.layers.iter();
        let due = layers.filter_map(|layer| layer.nacks.as_ref()?.due()).min();
        if let Some(at) = due
            && track.nacks_due.is_none_or(|scheduled| at < scheduled)
        {
            track.nacks_due = Some(at);
            self.timers.schedule(at, Timer::Nack(key));
        }
    }

    pub(super) fn nacks_due(&mut self, now: Instant, key: TrackKey, at: Instant) {
        let Some(track) = self
            .tracks
            .get_mut(key)
            .filter(|track| track.nacks_due == Some(at))
        else {
            return;
        };
        track.nacks_due = None;
        let Publisher::Here(publisher) = track.publisher else {
            return;
        };
        let Some(peer) = self.peers.get_mut(publisher) else {
            return;
        };
        let lane = &mut peer.lane;
        let nacked = track
            .layers
            .iter_mut()
            .filter_map(|layer| layer.nacks.as_mut());
        for nacks in nacked {
            self.nacked.clear();
            nacks.take_due(now, &mut self.nacked);
            if !self.nacked.is_empty() && lane.nack(nacks.ssrc(), &self.nacked, &mut self.outbox) {
                self.stats.packets_nacked += self.nacked.len() as u64;
            }
        }
        let layers = track.layers.iter_mut().enumerate();
        let gave_up: Vec<usize> = layers
            .filter_map(|(index, layer)| layer.nacks.as_mut()?.take_given_up(now).then_some(index))
            .collect();
        for layer in gave_up {
            self.mend_loss(now, key, layer);
        }
        self.schedule_nacks(key);
    }

    /// What a publisher has lost for good, pictures stand still for. Receivers ask for a keyframe late: Chromium after 3 s.
    fn mend_loss(&mut self, now: Instant, key: TrackKey, layer: usize) {
        let Some(track) = self.tracks.get(key).filter(|track| !track.is_audio()) else {
            return;
        };
        let is_watched_elsewhere = track.elsewhere.iter().any(|e| e.wants(layer));
        let is_watched_here = self
            .subscribed_slots(key)
            .filter_map(Slot::carries)
            .any(|current| current.layer == layer);
        if is_watched_here || is_watched_elsewhere {
            self.want_lost_keyframe(now, key, layer);
        }
    }
}
