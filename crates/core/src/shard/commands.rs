//! Carrying out what the control plane says.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::change::SdpAnswer;
use str0m::config::DtlsVersion;
use str0m::media::{Direction, Mid};
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::Shard;
use crate::demux::Ufrag;
use crate::forward::Slot;
use crate::peer::{self, Driven, Peer, Stale, Told};
use crate::publish::{PeerKey, PublishedMid, PublisherClock, Track};
use crate::sdp::{self, Offer, RemoteCandidate, SdpError};
use crate::timers::Timer;
use crate::{
    Answer, CloseReason, Event, Join, MediaKind, Outbox, PeerId, SlotName, Source, TrackId,
    TrackSpec, View,
};

/// str0m keeps this many packets of each slot for NACK: a second of a 2 Mbit/s stream, at 1.5 KiB each.
const RTX_CACHE_PACKETS: usize = 256;
const RTX_CACHE_AGE: Duration = Duration::from_secs(3);
/// str0m gives a candidate pair up after this many unanswered checks.
const STUN_RETRANSMITS_MAX: usize = 9;

impl Shard {
    pub(super) fn join(&mut self, now: Instant, join: Join) {
        let id = join.peer;
        let result = if self.peers.len() < self.config.limits.peers_per_worker {
            self.accept_join(now, join)
        } else {
            Err(SdpError::Full)
        };
        self.events.push_back(Event::Answered {
            peer: id,
            generation: 0,
            result,
        });
    }

    fn accept_join(&mut self, now: Instant, join: Join) -> Result<Answer, SdpError> {
        let ufrag = self.take_ufrag();
        let credentials = IceCreds {
            ufrag: self.ufrag(ufrag).encode(),
            pass: IceCreds::new().pass,
        };
        let mut rtc = self.rtc_config(credentials).build(now);
        for address in &self.config.addresses {
            match Candidate::host(address.advertised, "udp") {
                Ok(candidate) => {
                    rtc.add_local_candidate(candidate);
                }
                Err(error) => {
                    tracing::warn!(address = %address.advertised, %error, "an address makes no candidate");
                }
            }
        }
        let stereo = join.offer.stereo_mids.clone();
        let negotiated = negotiate(&mut rtc, now, join.offer, &mut self.outbox);
        let mut negotiated = negotiated.ok_or_else(engine_failed)??;
        let mut peer = Peer {
            id: join.peer,
            room: join.room,
            subscribe: join.subscribe,
            slots: Vec::new(),
            published: Vec::new(),
            streams: HashMap::new(),
            clock: PublisherClock::default(),
            view: default_view(),
            pending: Vec::new(),
            estimate_bps: None,
            video_asked: false,
            desired_bps: 0,
            channel: None,
            connected: false,
            give_up_at: None,
            scheduled: None,
            busy_until: now,
            wants_drive_at: now,
            stale: Stale::default(),
            candidates: 0,
            ufrags: vec![ufrag],
            addresses: Vec::new(),
            told: Told::default(),
            rtc,
        };
        add_slots(
            &mut peer,
            &negotiated.slots,
            self.config.limits.slots_per_peer,
            &mut self.random,
        )?;
        check_codecs(&peer.rtc, &peer.slots)?;
        let answer = answer(&peer, &negotiated.answer, None, &stereo);
        let key = self.peers.insert(peer);
        self.peer_keys.insert(join.peer, key);
        self.by_ufrag.insert(ufrag, key);
        self.rooms.entry(join.room).or_default().peers.push(key);
        self.give_up_in(key, now, self.config.limits.connect_timeout);
        self.mark_stale(key, |stale| (stale.view, stale.audio) = (true, true));
        self.driven(now, key, negotiated.driven, &mut negotiated.said);
        Ok(answer)
    }

    pub(super) fn offer(&mut self, now: Instant, id: PeerId, generation: u32, offer: Offer) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        let result = self.accept_offer(now, key, offer);
        self.events.push_back(Event::Answered {
            peer: id,
            generation,
            result,
        });
    }

    fn accept_offer(
        &mut self,
        now: Instant,
        key: PeerKey,
        offer: Offer,
    ) -> Result<Answer, SdpError> {
        let fresh = self.take_ufrag();
        let fresh_ufrag = self.ufrag(fresh).encode();
        let stereo = offer.stereo_mids.clone();
        let gone = || SdpError::Rejected("the session has ended".into());
        let peer = self.peers.get_mut(key).ok_or_else(gone)?;
        let before = peer.rtc.direct_api().local_ice_credentials();
        let negotiated = negotiate(&mut peer.rtc, now, offer, &mut self.outbox);
        let Some(negotiated) = negotiated else {
            self.remove_peer(now, key, CloseReason::Internal);
            return Err(engine_failed());
        };
        let mut negotiated = negotiated?;
        // On an ICE restart str0m makes up a ufrag of its own, but ours must name node and worker.
        let random = peer.rtc.direct_api().local_ice_credentials();
        let restarted = (random != before).then(|| {
            let ours = IceCreds {
                ufrag: fresh_ufrag,
                pass: random.pass.clone(),
            };
            peer.rtc
                .direct_api()
                .set_local_ice_credentials(ours.clone());
            (random.ufrag, ours.ufrag)
        });
        let added = add_slots(
            peer,
            &negotiated.slots,
            self.config.limits.slots_per_peer,
            &mut self.random,
        );
        let answer = answer(peer, &negotiated.answer, restarted.as_ref(), &stereo);
        if restarted.is_some() {
            self.by_ufrag.insert(fresh, key);
            peer.ufrags.push(fresh);
            peer.candidates = 0;
            // The generation before the last has nothing in flight any more.
            if peer.ufrags.len() > 2 {
                self.by_ufrag.remove(&peer.ufrags.remove(0));
            }
        }
        self.mark_stale(key, |stale| stale.view = true);
        self.driven(now, key, negotiated.driven, &mut negotiated.said);
        added.map(|()| answer)
    }

    pub(super) fn candidate(&mut self, now: Instant, id: PeerId, candidate: RemoteCandidate) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        let limit = self.config.limits.candidates_per_peer;
        let Some(peer) = self
            .peers
            .get_mut(key)
            .filter(|peer| peer.candidates < limit)
        else {
            return;
        };
        peer.candidates += 1;
        self.drive(now, key, |rtc| {
            rtc.add_remote_candidate(candidate.candidate);
            peer::pass_time(rtc, now);
        });
    }

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
        if self.track_keys.contains_key(&spec.id)
            || peer
                .published
                .iter()
                .any(|published| published.mid == spec.mid)
        {
            return;
        }
        let room_id = peer.room;
        let Some(room) = self.rooms.get_mut(&room_id) else {
            return;
        };
        let (track_id, mid, kind) = (spec.id, spec.mid, spec.kind);
        let (always, muted) = (spec.source == Source::ScreenAudio, spec.muted);
        let track_key = self.tracks.insert(Track::new(spec, room_id, key));
        self.track_keys.insert(track_id, track_key);
        peer.published.push(PublishedMid {
            mid,
            track: track_key,
        });
        room.tracks.push(track_key);
        if kind == MediaKind::Audio {
            room.levels.add(track_key, always, muted);
        }
        self.schedule_track(now, track_key);
        self.mark_room_stale(room_id, |stale| {
            (stale.view, stale.audio) = (true, true);
        });
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
        let Some(track) = self.tracks.get_mut(key) else {
            return;
        };
        track.spec.muted = muted;
        track.recent.clear();
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
        let publisher = self.tracks.get(key)?.publisher;
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

    pub(super) fn data(&mut self, now: Instant, peers: &[PeerId], payload: &Bytes) {
        for id in peers {
            let Some(&key) = self.peer_keys.get(id) else {
                continue;
            };
            let Some(channel) = self.peers.get(key).and_then(|peer| peer.channel) else {
                continue;
            };
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
            CloseReason::Left | CloseReason::ConsentLost | CloseReason::ConnectTimeout
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

    fn remove_track(&mut self, key: usize) {
        let Some(track) = self.tracks.try_remove(key) else {
            return;
        };
        self.track_keys.remove(&track.spec.id);
        // Keys are used again: nothing of this track may be left in the batch.
        self.work.batch.retain(|packet| packet.track != key);
        if let Some(publisher) = self.peers.get_mut(track.publisher) {
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

    fn rtc_config(&self, credentials: IceCreds) -> RtcConfig {
        let mut config = RtcConfig::new()
            .set_crypto_provider(self.config.identity.provider())
            .set_dtls_cert(self.config.identity.certificate())
            .set_dtls_version(DtlsVersion::Auto)
            .set_local_ice_credentials(credentials)
            .set_ice_lite(self.config.ice_lite)
            .set_rtp_mode(true)
            .set_snap_enabled(true)
            .set_send_buffer_video(RTX_CACHE_PACKETS)
            .set_sctp_max_message_size(
                u32::try_from(self.config.limits.data_message_bytes).unwrap_or(u32::MAX),
            )
            .set_extension_map(sdp::extensions())
            .clear_codecs()
            .enable_opus(true, true)
            .enable_vp8(true)
            .enable_h264(true)
            .enable_vp9(true)
            .enable_av1(true)
            .enable_bwe(Some(str0m::bwe::Bitrate::bps(
                self.config.initial_bitrate_bps,
            )));
        config.set_max_stun_retransmits(STUN_RETRANSMITS_MAX);
        config
    }

    fn take_ufrag(&mut self) -> u32 {
        const NUMBER_MASK: u32 = 0x00ff_ffff;
        loop {
            self.next_ufrag = (self.next_ufrag + 1) & NUMBER_MASK;
            if !self.by_ufrag.contains_key(&self.next_ufrag) {
                return self.next_ufrag;
            }
        }
    }

    fn ufrag(&self, number: u32) -> Ufrag {
        Ufrag {
            node: self.config.node,
            epoch: self.config.epoch,
            worker: self.config.worker,
            number,
        }
    }

    pub(super) fn give_up_in(&mut self, key: PeerKey, now: Instant, after: Duration) {
        if let Some(peer) = self.peers.get_mut(key) {
            peer.give_up_at = Some(now + after);
            self.timers.schedule(now + after, Timer::Watch(key));
        }
    }
}

/// What a client that never sends a view gets: everybody, as far as its slots go.
fn default_view() -> View {
    let auto = crate::AutoView {
        max: usize::MAX,
        width: 640,
        height: 360,
        pin: None,
    };
    View {
        auto: Some(auto),
        ..View::default()
    }
}

fn engine_failed() -> SdpError {
    SdpError::Rejected("it makes the media engine fail".into())
}

struct Negotiated {
    answer: SdpAnswer,
    /// All send m-lines of ours.
    slots: Vec<(Mid, MediaKind)>,
    driven: Driven,
    said: Vec<str0m::Event>,
}

/// Accepts an offer inside the panic guard and drains what comes of it; `None` after a panic.
fn negotiate(
    rtc: &mut Rtc,
    now: Instant,
    offer: Offer,
    outbox: &mut Outbox,
) -> Option<Result<Negotiated, SdpError>> {
    let mut accepted = None;
    let mut said = Vec::new();
    let offered = offer.media;
    let driven = peer::drive(
        rtc,
        now,
        |rtc| accepted = Some(rtc.sdp_api().accept_offer(offer.sdp)),
        outbox,
        &mut said,
    );
    let answer = match accepted? {
        Ok(answer) => answer,
        Err(error) => return Some(Err(SdpError::Rejected(error.to_string()))),
    };
    let sends = |mid: Mid| {
        rtc.media(mid)
            .is_some_and(|media| media.direction() == Direction::SendOnly)
    };
    let slots = offered.into_iter().filter(|(mid, _)| sends(*mid)).collect();
    Some(Ok(Negotiated {
        answer,
        slots,
        driven,
        said,
    }))
}

fn add_slots(
    peer: &mut Peer,
    mids: &[(Mid, MediaKind)],
    limit: usize,
    random: &mut fastrand::Rng,
) -> Result<(), SdpError> {
    let found = mids.len();
    if found > limit {
        return Err(SdpError::SlotLimit { found, limit });
    }
    for &(mid, kind) in mids {
        if peer.slot(mid).is_some() {
            continue;
        }
        // str0m's rollover counter starts at 0: the first number leaves room for reordering.
        let (seq, timestamp) = (random.u16(..0x8000), random.u32(..));
        peer.slots.push(Slot::new(mid, kind, seq, timestamp));
        if let Some(stream) = peer.rtc.direct_api().stream_tx_by_mid(mid, None) {
            // Losses on a bad link need more than str0m's 15 % of resent packets.
            stream.set_rtx_cache(RTX_CACHE_PACKETS, RTX_CACHE_AGE, None);
        }
    }
    Ok(())
}

fn check_codecs(rtc: &Rtc, slots: &[Slot]) -> Result<(), SdpError> {
    let usable = |slot: &Slot| {
        rtc.media(slot.mid)
            .is_some_and(|media| !media.remote_pts().is_empty())
    };
    if slots.is_empty() || slots.iter().any(usable) {
        return Ok(());
    }
    Err(SdpError::NoCommonCodec)
}

fn answer(
    peer: &Peer,
    answer: &SdpAnswer,
    restarted: Option<&(String, String)>,
    stereo: &[String],
) -> Answer {
    let mut text = answer.to_sdp_string();
    if let Some((random, ours)) = restarted {
        text = text.replace(random.as_str(), ours);
    }
    let slots = peer
        .slots
        .iter()
        .map(|slot| SlotName {
            mid: slot.mid,
            kind: slot.kind,
        })
        .collect();
    let mut codecs: Vec<String> = Vec::new();
    for params in peer.rtc.codec_config().params() {
        let name = params.spec().codec.to_string().to_ascii_uppercase();
        if !codecs.contains(&name) {
            codecs.push(name);
        }
    }
    Answer {
        sdp: sdp::finish_answer(&text, stereo),
        slots,
        codecs,
    }
}
