//! Asking publishers for packets that have got lost, once for everybody who misses them.

use std::time::Instant;

use super::Shard;
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
        let unmended: Vec<usize> = layers
            .filter_map(|(index, layer)| layer.nacks.as_mut()?.take_mend(now).then_some(index))
            .collect();
        for layer in unmended {
            self.mend_loss(now, key, layer);
        }
        self.schedule_nacks(key);
    }

    /// For what does not come, or not soon, pictures stand still. Receivers ask for a keyframe late: Chromium after 3 s.
    fn mend_loss(&mut self, now: Instant, key: TrackKey, layer: usize) {
        let is_video = self.tracks.get(key).is_some_and(|it| !it.is_audio());
        if is_video && self.is_watched(key, layer) {
            self.want_lost_keyframe(now, key, layer);
        }
    }
}
