//! Carrying out what the control plane says.

use std::time::Instant;

use bytes::Bytes;
use str0m::Rtc;

use super::{IDLE_AFTER, Shard};
use crate::peer;
use crate::publish::{PeerKey, PublishedMid, Publisher, Track, TrackKey};
use crate::relay::Said;
use crate::{CloseReason, Event, LayerChoice, PeerId, TrackId, TrackSpec, View};

impl Shard {
    pub(super) fn publish(&mut self, now: Instant, id: PeerId, spec: TrackSpec) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        let limit = self.config.limits.tracks_per_peer;
        let Some(peer) = self
            .peers
            .get_mut(key)
            .filter(|peer| peer.published.len() < limit)
        else {
            return;
        };
        let is_taken = peer
            .published
            .iter()
            .any(|published| published.mid == spec.mid);
        if is_taken {
            return;
        }
        let (room_id, mid) = (peer.room, spec.mid);
        match self.track_keys.get(&spec.id).copied() {
            Some(known) if self.publisher_key(known).is_some() => return,
            // A publisher that came back has its tracks back, from another worker than before.
            Some(mirror) => self.remove_track(mirror),
            None => {}
        }
        let track = Track::new(spec, room_id, Publisher::Here(key), id);
        let Some(track) = self.add_track(now, track) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(key) {
            peer.published.push(PublishedMid { mid, track });
        }
        self.announce_everywhere(track);
    }

    pub(super) fn unpublish(&mut self, id: PeerId, track: TrackId) {
        if let Some(key) = self.own_track(id, track) {
            self.remove_track(key);
        }
    }

    pub(super) fn mute(&mut self, id: PeerId, track: TrackId, muted: bool) {
        let Some(key) = self.own_track(id, track) else {
            return;
        };
        self.set_muted(key, muted);
        self.tell_mirrors(key, |track| Said::Muted {
            track: track.spec.id,
            muted,
        });
    }

    pub(super) fn set_muted(&mut self, key: TrackKey, muted: bool) {
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.spec.muted = muted;
        track.recent.clear();
        for layer in &mut track.layers {
            layer.store.clear();
        }
        if let Some(room) = self.rooms.get_mut(&track.room) {
            room.levels.set_muted(key, muted);
        }
        self.mark_subscribers_stale(key, |stale| {
            (stale.allocation, stale.slots) = (true, true);
        });
    }

    /// The track's key, if the peer is its publisher.
    fn own_track(&self, id: PeerId, track: TrackId) -> Option<usize> {
        let key = *self.track_keys.get(&track)?;
        let publisher = self.publisher_key(key)?;
        (self.peers.get(publisher)?.id == id).then_some(key)
    }

    pub(super) fn view(&mut self, id: PeerId, view: View) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(key) {
            peer.view = view;
            // A view comes after the answer has been applied: the slots of a later offer exist now.
            let connected = peer.connected;
            for slot in &mut peer.slots {
                slot.declared |= connected;
            }
        }
        self.mark_stale(key, |stale| {
            (stale.view, stale.audio, stale.slots) = (true, true, true);
        });
    }

    pub(super) fn choose(&mut self, id: PeerId, choices: Vec<LayerChoice>) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        if let Some(peer) = self.peers.get_mut(key) {
            peer.choices = choices;
        }
        self.mark_stale(key, |stale| stale.allocation = true);
    }

    pub(super) fn data(&mut self, now: Instant, peers: &[PeerId], payload: &Bytes) {
        for id in peers {
            let Some(&key) = self.peer_keys.get(id) else {
                continue;
            };
            let Some(peer) = self.peers.get_mut(key) else {
                continue;
            };
            let Some(channel) = peer.channel else {
                continue;
            };
            // Until the other side has acknowledged it, SCTP may have to send it again.
            peer.busy_until = now + IDLE_AFTER;
            self.drive(now, key, |rtc| {
                if let Some(mut channel) = rtc.channel(channel)
                    && let Err(error) = channel.write(false, payload)
                {
                    tracing::debug!(%error, "a data channel refused a message");
                }
                peer::pass_time(rtc, now);
            });
        }
    }

    pub(super) fn leave(&mut self, now: Instant, id: PeerId) {
        if let Some(&key) = self.peer_keys.get(&id) {
            self.remove_peer(now, key, CloseReason::Left);
        }
    }

    /// Ends a peer and everything that hangs on it.
    pub(super) fn remove_peer(&mut self, now: Instant, key: PeerKey, reason: CloseReason) {
        let Some(mut peer) = self.peers.try_remove(key) else {
            return;
        };
        for published in std::mem::take(&mut peer.published) {
            self.remove_track(published.track);
        }
        for slot in &peer.slots {
            if let Some(source) = &slot.source
                && let Some(track) = self.tracks.get_mut(source.track)
            {
                track
                    .subscribers
                    .retain(|subscriber| subscriber.peer != key);
            }
        }
        if let Some(room) = self.rooms.get_mut(&peer.room) {
            room.peers.retain(|member| *member != key);
            if room.peers.is_empty() {
                let mirrors = room.tracks.clone();
                self.room_closed(peer.room, &mirrors);
                self.rooms.remove(&peer.room);
            }
        }
        for number in &peer.ufrags {
            self.by_ufrag.remove(number);
        }
        for address in &peer.addresses {
            self.by_address.remove(address);
        }
        self.peer_keys.remove(&peer.id);
        // A peer that ended by itself has nothing to say, and one that panicked must not be touched.
        if matches!(
            reason,
            CloseReason::Left
                | CloseReason::ConsentLost
                | CloseReason::ConnectTimeout
                | CloseReason::HandshakeFailed
        ) {
            let goodbye = |rtc: &mut Rtc| {
                if let Err(error) = rtc.close() {
                    tracing::debug!(%error, "a peer could not be closed");
                }
                peer::pass_time(rtc, now);
            };
            peer::drive(
                &mut peer.rtc,
                now,
                goodbye,
                &mut self.outbox,
                &mut Vec::new(),
            );
        }
        self.events.push_back(Event::Closed {
            peer: peer.id,
            reason,
        });
    }

    pub(super) fn remove_track(&mut self, key: usize) {
        let Some(track) = self.tracks.try_remove(key) else {
            return;
        };
        self.track_keys.remove(&track.spec.id);
        // Keys are used again: nothing of this track may be left in the batch.
        self.work.batch.retain(|(of, _)| *of != key);
        for elsewhere in &track.elsewhere {
            let gone = Said::TrackGone {
                track: track.spec.id,
            };
            self.mailboxes.say(elsewhere.worker, gone);
        }
        if let Publisher::Here(publisher) = track.publisher
            && let Some(publisher) = self.peers.get_mut(publisher)
        {
            publisher
                .published
                .retain(|published| published.track != key);
            publisher.streams.retain(|_, stream| stream.track != key);
        }
        for subscriber in &track.subscribers {
            if let Some(slot) = self
                .peers
                .get_mut(subscriber.peer)
                .and_then(|peer| peer.slots.get_mut(subscriber.slot))
            {
                slot.release(true);
            }
        }
        let Some(room) = self.rooms.get_mut(&track.room) else {
            return;
        };
        room.tracks.retain(|other| *other != key);
        room.levels.remove(key);
        self.mark_room_stale(track.room, |stale| {
            (stale.view, stale.audio, stale.slots) = (true, true, true);
        });
    }
}
