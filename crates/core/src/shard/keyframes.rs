//! Asking encoders for keyframes, once for everybody who waits.

use std::time::Instant;

use str0m::media::KeyframeRequestKind;

use super::Shard;
use crate::forward::{Current, Slot, needs_keyframe};
use crate::peer;
use crate::publish::{Publisher, TrackKey};
use crate::relay::Said;
use crate::timers::Timer;

impl Shard {
    /// Somebody needs a keyframe of this layer; the encoder is asked now or as soon as that is decent.
    pub(super) fn want_keyframe(&mut self, now: Instant, track_key: TrackKey, layer_index: usize) {
        let Some(layer) = self
            .tracks
            .get_mut(track_key)
            .and_then(|track| track.layers.get_mut(layer_index))
        else {
            return;
        };
        if layer.keyframes.want(now) {
            self.work.keyframes.push((track_key, layer_index));
        } else {
            self.schedule_keyframes(track_key);
        }
    }

    fn schedule_keyframes(&mut self, key: TrackKey) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        let layers = track.layers.iter();
        let due = layers.filter_map(|layer| layer.keyframes.next()).min();
        if let Some(at) = due
            && track.keyframes_due.is_none_or(|scheduled| at < scheduled)
        {
            track.keyframes_due = Some(at);
            self.timers.schedule(at, Timer::Keyframe(key));
        }
    }

    /// The same for somebody whose picture stands still.
    pub(super) fn want_lost_keyframe(&mut self, now: Instant, track: TrackKey, layer: usize) {
        let layers = self.tracks.get_mut(track).map(|track| &mut track.layers);
        if let Some(layer) = layers.and_then(|layers| layers.get_mut(layer)) {
            layer.keyframes.hurry();
        }
        self.want_keyframe(now, track, layer);
    }

    /// An encoder has let some layers of a stream go: whose picture was made of them sees nothing until a keyframe comes.
    pub(super) fn mend_pictures(&mut self, now: Instant, key: TrackKey, layer_index: usize) {
        let track = self.tracks.get(key);
        let layer = track.and_then(|track| track.layers.get(layer_index));
        let choices = layer.map(|layer| layer.choices(now)).unwrap_or_default();
        let Some(largest) = choices.last().map(|choice| choice.point) else {
            return;
        };
        let stands = |current: Current| {
            current.layer == layer_index
                && current.point.spatial > largest.spatial
                && needs_keyframe(current, largest)
        };
        let stands = self
            .subscribed_slots(key)
            .filter_map(Slot::carries)
            .any(stands);
        if stands {
            self.want_lost_keyframe(now, key, layer_index);
        }
    }

    pub(super) fn held_back_keyframes(&mut self, now: Instant, key: TrackKey, at: Instant) {
        let Some(track) = self
            .tracks
            .get_mut(key)
            .filter(|track| track.keyframes_due == Some(at))
        else {
            return;
        };
        track.keyframes_due = None;
        for (index, layer) in track.layers.iter_mut().enumerate() {
            if layer.keyframes.take_due(now) {
                self.work.keyframes.push((key, index));
            }
        }
        self.schedule_keyframes(key);
    }

    pub(super) fn request_keyframes(&mut self, now: Instant) {
        while let Some((track_key, layer_index)) = self.work.keyframes.pop() {
            let Some(track) = self.tracks.get(track_key) else {
                continue;
            };
            let mid = track.spec.mid;
            let layer = track.layers.get(layer_index);
            let rid = layer.and_then(|layer| layer.rid);
            let publisher = match track.publisher {
                Publisher::Here(publisher) => publisher,
                Publisher::At(worker) => {
                    let said = Said::Keyframe {
                        track: track.spec.id,
                        layer: layer_index,
                        lost: layer.is_some_and(|layer| layer.keyframes.asked_for_lost()),
                    };
                    self.mailboxes.say(worker, said);
                    continue;
                }
            };
            self.stats.keyframe_requests_out += 1;
            self.drive(now, publisher, |rtc| {
                if let Some(stream) = rtc.direct_api().stream_rx_by_mid(mid, rid) {
                    // The kind that every browser and encoder understands.
                    stream.request_keyframe(KeyframeRequestKind::Pli);
                }
                peer::pass_time(rtc, now);
            });
        }
    }
}
