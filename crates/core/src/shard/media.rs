//! The way of a packet into the shard: what str0m says, reading it in, fanning it out.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use str0m::IceConnectionState;
use str0m::format::PayloadParams;
use str0m::media::{Pt, SenderFeedback};
use str0m::rtp::Ssrc;

use super::{IDLE_AFTER, Shard, Work};
use crate::forward::Slot;
use crate::incoming::Incoming;
use crate::limits::RTP_PAYLOAD_BYTES_MAX;
use crate::nacks::Nacks;
use crate::peer::Stream;
use crate::publish::{self, Encoding, Packet, PeerKey, Read, Track, TrackKey};
use crate::relay::Arrived;
use crate::{Event, MediaKind, RoomId};

impl Shard {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "statistics and events of modes that are off"
    )]
    pub(super) fn on_rtc_event(&mut self, now: Instant, key: PeerKey, event: str0m::Event) {
        match event {
            str0m::Event::RtpPacket(packet) => self.ingest(now, key, packet.into()),
            str0m::Event::RawPacket(packet) => self.on_raw_packet(now, key, *packet),
            str0m::Event::SenderFeedback(feedback) => self.on_sender_feedback(key, &feedback),
            str0m::Event::Connected => self.on_connected(now, key),
            str0m::Event::IceConnectionStateChange(state) => self.on_ice_state(now, key, state),
            str0m::Event::ChannelOpen(id, _) => {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.channel = Some(id);
                }
            }
            str0m::Event::ChannelClose(id) => {
                if let Some(peer) = self
                    .peers
                    .get_mut(key)
                    .filter(|peer| peer.channel == Some(id))
                {
                    peer.channel = None;
                }
            }
            str0m::Event::ChannelData(data) => {
                if let Some(peer) = self.peers.get(key)
                    && data.data.len() <= self.config.limits.data_message_bytes
                {
                    self.events.push_back(Event::Data {
                        peer: peer.id,
                        payload: data.data.into(),
                    });
                }
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, now: Instant, key: PeerKey) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        peer.connected = true;
        peer.busy_until = now + IDLE_AFTER;
        peer.give_up_at = None;
        // DTLS needs the fingerprint in the answer: it has been applied, and its SSRCs are known.
        for slot in &mut peer.slots {
            slot.declared = true;
        }
        let room_id = peer.room;
        self.events.push_back(Event::Connected { peer: peer.id });
        // The newcomer has not heard yet who speaks.
        if let Some(room) = self.rooms.get_mut(&room_id) {
            room.told_speakers.clear();
        }
        self.mark_stale(key, |stale| (stale.allocation, stale.slots) = (true, true));
    }

    fn on_ice_state(&mut self, now: Instant, key: PeerKey, state: IceConnectionState) {
        let Some(peer) = self.peers.get_mut(key).filter(|peer| peer.connected) else {
            return;
        };
        if state.is_connected() {
            peer.give_up_at = None;
        } else if state.is_disconnected() {
            // It takes ICE most of the consent time to notice: what is left of it is for a restart.
            let silent = now.saturating_duration_since(peer.heard_at);
            let rest = self.config.limits.consent_timeout.saturating_sub(silent);
            self.events.push_back(Event::Disconnected { peer: peer.id });
            self.give_up_in(key, now, rest);
        }
    }

    fn on_sender_feedback(&mut self, key: PeerKey, feedback: &SenderFeedback) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        peer.clock
            .on_sender_report(feedback.received_at, feedback.sender_info.ntp_time);
        let track = peer
            .published
            .iter()
            .find(|published| published.mid == feedback.mid)
            .map(|published| published.track);
        if let Some(track) = track.and_then(|track| self.tracks.get_mut(track))
            && let Some(layer) = track
                .layers
                .iter_mut()
                .find(|layer| layer.rid == feedback.rid)
        {
            layer.on_sender_report(&feedback.sender_info);
        }
    }

    /// A receiver has lost its picture.
    pub(super) fn on_lost_picture(&mut self, now: Instant, key: PeerKey, slot: usize) {
        let Some(peer) = self.peers.get(key) else {
            return;
        };
        // Another keyframe would only come behind that, or in its place.
        if !peer.lane.still_brings(now, slot) {
            self.mend_slot(now, key, slot);
        }
    }

    /// What a slot shows goes on with a keyframe.
    pub(super) fn mend_slot(&mut self, now: Instant, key: PeerKey, slot: usize) {
        let slot = self.peers.get(key).and_then(|peer| peer.slots.get(slot));
        let slot = slot.filter(|slot| slot.kind == MediaKind::Video);
        let source = slot.and_then(|slot| slot.source.as_ref());
        if let Some((track, Some(current))) = source.map(|source| (source.track, source.current)) {
            self.want_lost_keyframe(now, track, current.layer);
        }
    }

    /// Reads a packet once and puts it into the batch.
    pub(super) fn ingest(&mut self, now: Instant, key: PeerKey, rtp: Incoming) {
        if rtp.payload.len() > RTP_PAYLOAD_BYTES_MAX {
            self.drop_too_large(key, rtp.payload.len());
            return;
        }
        let ssrc = rtp.header.ssrc;
        let known = self
            .peers
            .get(key)
            .and_then(|peer| peer.streams.get(&ssrc).copied());
        let pt = rtp.header.payload_type;
        let Some(stream) = known.or_else(|| self.learn_stream(key, ssrc, pt)) else {
            self.stats.packets_dropped_unknown += 1;
            return;
        };
        self.note_arrival(now, stream, rtp.seq);
        let (Some(peer), Some(track)) = (self.peers.get(key), self.tracks.get_mut(stream.track))
        else {
            return;
        };
        if track.spec.muted || rtp.payload.is_empty() {
            // It has come all the same.
            if let Some(layer) = track.layers.get_mut(stream.layer) {
                layer.count(rtp.seq);
            }
            return;
        }
        let params = peer
            .rtc
            .codec_config()
            .find(|params| params.pt() == pt || params.red() == Some(pt));
        let Some(params) = params else {
            self.stats.packets_dropped_unknown += 1;
            return;
        };
        let encoding = Encoding {
            codec: params.spec(),
            red: (params.red() == Some(pt)).then(|| params.pt()),
        };
        if let Some(unread) = self.read(now, (key, stream), rtp, encoding) {
            self.read_later(now, stream, unread);
        }
    }

    /// Takes a packet into the batch. Gives back what refers to a structure that has not come.
    fn read(
        &mut self,
        now: Instant,
        (key, stream): (PeerKey, Stream),
        rtp: Incoming,
        encoding: Encoding,
    ) -> Option<Incoming> {
        let peer = self.peers.get_mut(key)?;
        let track = self.tracks.get_mut(stream.track)?;
        let reordered = |track: &Track| {
            let layer = track.layers.get(stream.layer);
            layer.map_or(0, |layer| layer.reordered)
        };
        let reordered_before = reordered(track);
        let before = track.layers.get(stream.layer);
        let was_active = before.is_some_and(|layer| layer.is_active(now));
        let stream_before = before.map(|layer| layer.stream);
        let packet = match publish::read(rtp, stream, track, encoding, &peer.clock) {
            Read::Packet(packet) => packet,
            Read::Later(rtp) => return Some(rtp),
            Read::Refused => return None,
        };
        self.stats.packets_in += 1;
        self.stats.frames_reordered += reordered(track) - reordered_before;
        peer.busy_until = now + IDLE_AFTER;
        let (room, is_audio) = (track.room, track.is_audio());
        let audio_level = packet.extensions.audio_level;
        let begins_keyframe = packet.starts_keyframe;
        let begins_sequence = packet
            .descriptor
            .as_ref()
            .is_some_and(|descriptor| descriptor.begins_sequence);
        let (unread, restructured) = match track.layers.get_mut(stream.layer) {
            Some(layer) => (
                if begins_sequence {
                    layer.unread.take()
                } else {
                    Vec::new()
                },
                std::mem::take(&mut layer.has_other_points),
            ),
            None => (Vec::new(), false),
        };
        let stopped = std::mem::take(&mut track.stopped);
        let begins = stream_before != Some(packet.stream);
        self.work.batch.push((stream.track, Arc::new(packet)));
        if !was_active || stopped || restructured || begins {
            self.on_layer_started(now, stream.track);
        }
        if restructured && !begins_keyframe {
            self.mend_pictures(now, stream.track, stream.layer);
        }
        if is_audio {
            self.on_audio_level(now, room, stream.track, audio_level);
        }
        for rtp in unread {
            // What cannot be read now either never will be.
            self.read(now, (key, stream), rtp, encoding);
        }
        None
    }

    /// Keeps a packet that refers to a structure which has not come. Where it does not come, another is asked for.
    fn read_later(&mut self, now: Instant, stream: Stream, rtp: Incoming) {
        let layer = self
            .tracks
            .get_mut(stream.track)
            .and_then(|track| track.layers.get_mut(stream.layer));
        if layer.is_some_and(|layer| !layer.unread.keep(now, rtp)) {
            self.want_keyframe(now, stream.track, stream.layer);
        }
    }

    /// What the server adds would push the packet past the path's MTU. The publisher's operator is told once what to do.
    fn drop_too_large(&mut self, key: PeerKey, bytes: usize) {
        self.stats.packets_dropped_too_large += 1;
        if let Some(peer) = self.peers.get_mut(key)
            && !std::mem::replace(&mut peer.told_too_large, true)
        {
            tracing::info!(
                peer = peer.id.0,
                bytes,
                limit = RTP_PAYLOAD_BYTES_MAX,
                "a publisher's packets are too large to be forwarded and are dropped: set its packet size to 1,200 bytes"
            );
        }
    }

    /// Finds the track and layer of an SSRC that has not been seen before.
    fn learn_stream(&mut self, key: PeerKey, ssrc: Ssrc, pt: Pt) -> Option<Stream> {
        let limit = self.config.limits.layers_per_track;
        let peer = self.peers.get_mut(key)?;
        let sends_again = {
            let codecs = peer.rtc.codec_config();
            codecs
                .find(|params| params.pt() == pt)
                .is_some_and(PayloadParams::fb_nack)
        };
        let (mid, rid) = {
            let mut api = peer.rtc.direct_api();
            let stream = api.stream_rx(&ssrc)?;
            // The lane asks sooner, and those, too, who send without RTX.
            stream.suppress_nack(true);
            (stream.mid(), stream.rid())
        };
        let track_key = peer
            .published
            .iter()
            .find(|published| published.mid == mid)?
            .track;
        let track = self.tracks.get_mut(track_key)?;
        let layer_index = track.layer(rid, limit)?;
        let stream = Stream {
            track: track_key,
            layer: layer_index,
        };
        // One encoder, one SSRC: a new one means that the encoder has started over.
        let replaced = peer
            .streams
            .iter()
            .find(|(_, old)| **old == stream)
            .map(|(old, _)| *old);
        if let Some(old) = replaced {
            peer.streams.remove(&old);
            peer.forget_expected(old);
            if let Some(layer) = track.layers.get_mut(layer_index) {
                layer.restart();
            }
        }
        peer.streams.insert(ssrc, stream);
        if let Some(layer) = track.layers.get_mut(layer_index) {
            layer.nacks = sends_again.then(|| Nacks::new(*ssrc));
        }
        Some(stream)
    }

    /// A layer sends that did not: its viewers may want it.
    pub(super) fn on_layer_started(&mut self, now: Instant, key: TrackKey) {
        self.schedule_track(now, key);
        self.mark_subscribers_stale(key, |stale| stale.allocation = true);
        self.tell_mirrors_layers(key);
    }

    pub(super) fn on_audio_level(
        &mut self,
        now: Instant,
        room_id: RoomId,
        track: TrackKey,
        dbov: Option<i8>,
    ) {
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return;
        };
        let begins = room.levels.record(now, track, dbov);
        if begins && !self.work.voices.contains(&room_id) {
            self.work.voices.push(room_id);
        }
        self.schedule_speakers(now, room_id);
    }

    /// Where a keyframe begins with a packet that had to be asked for, what follows it has come already. Who waits for the keyframe
    /// could not begin with that, and gets it now.
    pub(super) fn find_overtaken(&mut self, batch: &mut Vec<Arrived>, arrived: usize) {
        for at in 0..arrived {
            let Some((key, first)) = batch.get(at).filter(|(_, packet)| packet.starts_keyframe)
            else {
                continue;
            };
            // What has been kept is whole, and in order.
            if self.work.kept.binary_search(&at).is_ok() {
                continue;
            }
            let Some(track) = self.tracks.get(*key).filter(|track| !track.is_audio()) else {
                continue;
            };
            let same_stream =
                |packet: &Packet| (packet.layer, packet.stream) == (first.layer, first.stream);
            let overtaken = batch.iter().take(at).filter(|(other, packet)| {
                other == key && same_stream(packet) && packet.seq > first.seq
            });
            let stored = track
                .layers
                .get(first.layer)
                .into_iter()
                .flat_map(|layer| layer.store.behind(first.stream, first.seq));
            let overtaken = overtaken.map(|(_, packet)| packet);
            let mut packets: Vec<Arrived> = stored
                .chain(overtaken)
                .map(|packet| (*key, packet.clone()))
                .collect();
            if !packets.is_empty() {
                packets.sort_unstable_by_key(|(_, packet)| packet.seq);
                let places = batch.len()..batch.len() + packets.len();
                batch.append(&mut packets);
                self.work.overtaken.push((at, places));
            }
        }
    }

    /// Notes for each subscriber which packets of the batch concern it. The batch holds `arrived`
    /// packets that came in; behind them stand older ones that a refresh has added for single slots. What another
    /// shard had kept is for those alone who have no picture, or one that stands still, or began with what had come here of it; what these have had
    /// already their rewriter leaves out.
    pub(super) fn fan_out(&mut self, batch: &[Arrived], arrived: usize) {
        let mut next = 0;
        while let Some((key, packet)) = batch.get(next).filter(|_| next < arrived) {
            let at = next;
            next = self.end_of_run(batch, arrived, at);
            let Some(track) = self.tracks.get(*key) else {
                continue;
            };
            let kept = self.work.kept.binary_search(&at).is_ok();
            for subscriber in &track.subscribers {
                if let Some(peer) = self.peers.get_mut(subscriber.peer) {
                    let slot = peer.slots.get(subscriber.slot);
                    if kept && slot.is_some_and(|slot| !slot.may_get_kept(packet)) {
                        continue;
                    }
                    let touched = &mut self.work.touched;
                    peer.pending
                        .note(subscriber.peer, subscriber.slot, at..next, touched);
                }
            }
            let mut overtaken = self.work.overtaken.iter();
            if let Some((_, places)) = overtaken.find(|(first, _)| *first == at) {
                self.fan_out_to_waiting(*key, packet.layer, places.clone());
            }
        }
    }

    /// Where the packets end that concern whoever the one at `at` does: those of one track, one behind the other, each of
    /// which is nothing but new.
    fn end_of_run(&self, batch: &[Arrived], arrived: usize, at: usize) -> usize {
        let Work {
            kept, overtaken, ..
        } = &self.work;
        let is_new = |at| {
            kept.binary_search(&at).is_err() && overtaken.iter().all(|(first, _)| *first != at)
        };
        let arrivals = batch.iter().enumerate().take(arrived);
        let mut run = arrivals.skip(at).take_while(|(at, _)| is_new(*at));
        // One that is not new stands alone.
        let Some((_, (track, _))) = run.next() else {
            return at + 1;
        };
        at + 1 + run.take_while(|(_, (next, _))| next == track).count()
    }

    /// Notes packets of the batch for whoever waits for a keyframe of this layer.
    pub(super) fn fan_out_to_waiting(&mut self, key: TrackKey, layer: usize, places: Range<usize>) {
        let Some(track) = self.tracks.get(key) else {
            return;
        };
        for subscriber in &track.subscribers {
            let Some(peer) = self.peers.get_mut(subscriber.peer) else {
                continue;
            };
            let slot = peer.slots.get(subscriber.slot);
            if slot.and_then(Slot::awaits_keyframe) == Some((key, layer)) {
                let touched = &mut self.work.touched;
                peer.pending
                    .note(subscriber.peer, subscriber.slot, places.clone(), touched);
            }
        }
    }

    /// Keeps what came in for those who begin to listen, or miss some of it.
    pub(super) fn remember(&mut self, now: Instant, batch: &[Arrived], arrived: usize) {
        for (track, packet) in batch.iter().take(arrived) {
            let Some(known) = self.tracks.get_mut(*track) else {
                continue;
            };
            if known.remember(packet) {
                self.work.found.push((*track, packet.layer));
                self.relay_found(now, *track, packet.layer);
            }
        }
    }
}
