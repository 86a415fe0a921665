//! The way of packets out of the shard, through the lane of each peer: forwarding, feedback, timers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Shard;
use crate::egress::Heard;
use crate::peer;
use crate::publish::PeerKey;
use crate::relay::Arrived;
use crate::timers::Timer;

/// An estimate that moves by less than this share changes nobody's layer.
const ESTIMATE_STEP: u64 = 50;
/// What came so long ago has been kept for somebody who has no picture yet, or has waited for a keyframe to be found. Less would
/// slow down who is but a few frames behind.
const LATE: Duration = Duration::from_millis(100);

impl Shard {
    /// Chooses, rewrites and writes all packets of the batch for one peer.
    pub(super) fn forward(&mut self, now: Instant, key: PeerKey, batch: &[Arrived]) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let (slots, rtc, lane) = (&mut peer.slots, &peer.rtc, &mut peer.lane);
        let outbox = &mut self.outbox;
        let mut switched = false;
        let late_before = now.checked_sub(LATE);
        for (slot_index, places) in peer.pending.drain() {
            let Some(slot) = slots.get_mut(slot_index) else {
                continue;
            };
            let before = slot.carries();
            let mid = slot.mid;
            for (track, packet) in batch.get(places).unwrap_or_default() {
                // Most packets of a batch are of layers that go to others.
                if !slot.wants(packet.layer) {
                    continue;
                }
                let late = late_before.is_some_and(|before| packet.arrived < before);
                let kept = late.then(|| now.saturating_duration_since(packet.arrived));
                slot.forward(*track, packet, kept, &mut |formats, packet, rewritten| {
                    if let Some(pts) = formats.payload_types(&packet.codec, rtc, mid) {
                        lane.write(now, slot_index, pts, packet, rewritten, outbox);
                    }
                });
            }
            switched |= slot.carries() != before;
        }
        self.pump(now, key);
        if switched {
            self.mark_stale(key, |stale| stale.slots = true);
        }
    }

    /// Sends what a peer's lane may send now, and sees to it that it goes on.
    pub(super) fn pump(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let mut late = false;
        while let Some(slot) = peer.lane.late(now) {
            // It goes on with a keyframe.
            peer.halt(slot);
            late = true;
        }
        let lane = &mut peer.lane;
        lane.pump(now, &mut self.outbox);
        let sent = lane.take_stats();
        self.stats.packets_out += sent.packets;
        self.stats.packets_resent += sent.resends;
        self.stats.packets_padding += sent.padding;
        self.stats.packets_dropped_queue += sent.dropped;
        if let Some(at) = lane.poll_timeout()
            && peer.lane_scheduled.is_none_or(|scheduled| at < scheduled)
        {
            peer.lane_scheduled = Some(at);
            self.timers.schedule(at, Timer::Lane(key));
        }
        if late {
            self.mark_stale(key, |stale| stale.allocation = true);
        }
        self.take_estimate(now, key);
    }

    pub(super) fn lane_due(&mut self, now: Instant, key: PeerKey, at: Instant) {
        if let Some(peer) = self
            .peers
            .get_mut(key)
            .filter(|peer| peer.lane_scheduled == Some(at))
        {
            peer.lane_scheduled = None;
            self.pump(now, key);
        }
    }

    /// Reads RTCP that is about slots. False where the media engine has to read it too.
    pub(super) fn on_rtcp(&mut self, now: Instant, key: PeerKey, datagram: &[u8]) -> bool {
        let Some(peer) = self.peers.get_mut(key) else {
            return false;
        };
        let mut heard = std::mem::take(&mut self.heard);
        let complete = peer.lane.on_rtcp(now, datagram, &mut heard);
        // Browsers report about senders that have never sent: who publishes nothing has nothing to tell the engine.
        let complete = complete || peer.published.is_empty();
        self.resend(now, key, &mut heard);
        self.stats.keyframe_requests_in += heard.lost_pictures.len() as u64;
        for slot in heard.lost_pictures.drain(..) {
            self.on_lost_picture(now, key, slot);
        }
        for slot in heard.overdue.drain(..) {
            self.mend_slot(now, key, slot);
        }
        self.heard = heard;
        self.pump(now, key);
        complete
    }

    /// Answers a receiver's NACK from what the layers keep.
    fn resend(&mut self, now: Instant, key: PeerKey, heard: &mut Heard) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        for &(slot_index, seq) in &heard.missing {
            let Some(slot) = peer.slots.get_mut(slot_index) else {
                continue;
            };
            let Some(wanted) = slot.wanted(seq) else {
                continue;
            };
            let source = wanted.source;
            let kept = self
                .track_keys
                .get(&source.track)
                .and_then(|track| self.tracks.get(*track))
                .and_then(|track| track.layers.get(source.layer))
                .and_then(|layer| layer.store.get(source.stream, wanted.source_seq));
            let lane = &mut peer.lane;
            let overdue = match kept {
                None => lane.is_waited_for(slot_index, wanted.seq),
                Some(packet) => {
                    let formats = &mut slot.formats;
                    let payload_types = formats.payload_types(&packet.codec, &peer.rtc, slot.mid);
                    let rewritten = wanted.span.rewrite(packet);
                    payload_types
                        .zip(rewritten)
                        .is_some_and(|(types, it)| lane.resend(now, slot_index, types, packet, it))
                }
            };
            if overdue && !heard.overdue.contains(&slot_index) {
                heard.overdue.push(slot_index);
            }
        }
    }

    /// Takes over what the lane has found out about the bandwidth.
    fn take_estimate(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let (before, estimate) = (peer.estimate_bps, peer.lane.estimate_bps());
        let moved = match (before, estimate) {
            (Some(before), Some(after)) => before.abs_diff(after) * ESTIMATE_STEP > before,
            (before, after) => before != after,
        };
        if moved && !peer.lane.is_experimenting() {
            if let (Some(before), Some(after)) = (before, estimate) {
                peer.troughs.note(now, before, after);
            }
            peer.estimate_bps = estimate;
            self.mark_stale(key, |stale| stale.allocation = true);
        }
    }

    /// A peer's STUN request came from this address and was answered. Where media goes somewhere else, the
    /// engine is made to send something, which shows whether the pair has been nominated: it tells nobody.
    pub(super) fn follow_route(&mut self, now: Instant, key: PeerKey, address: SocketAddr) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let route = peer.lane.route();
        let elsewhere = route.is_some_and(|route| route.destination != address);
        if !elsewhere || peer.followed.replace(address) == Some(address) {
            return;
        }
        self.drive(now, key, |rtc| {
            // A keyframe request of nobody for nothing: every receiver ignores it.
            let nobody = rtc.direct_api().new_ssrc();
            rtc.direct_api().send_pli_feedback(nobody, 0.into());
            peer::pass_time(rtc, now);
        });
    }
}
