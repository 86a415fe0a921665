//! Offers and answers: how a peer comes to be, and what it is given to receive with.

use std::time::{Duration, Instant};

use str0m::media::Mid;
use str0m::{IceCreds, Rtc};

use super::Shard;
use crate::demux::Ufrag;
use crate::egress::Lane;
use crate::engine::{self, Accepted, Engine, engine_failed};
use crate::formats::Formats;
use crate::forward::Slot;
use crate::peer::{self, Driven, Peer};
use crate::publish::PeerKey;
use crate::sdp::{AnswerSdp, Offer, RemoteCandidate, SdpError};
use crate::timers::Timer;
use crate::{Answer, CloseReason, Event, Join, MediaKind, Outbox, PeerId, SlotName, View};

impl Shard {
    pub(super) fn join(&mut self, now: Instant, join: Join) {
        let id = join.peer;
        let result = if self.peers.len() < self.config.limits.peers_per_worker {
            self.accept_join(now, join)
        } else {
            Err(SdpError::Full)
        };
        self.tell_answered(id, 0, result);
    }

    fn accept_join(&mut self, now: Instant, join: Join) -> Result<Answer, SdpError> {
        let Engine {
            mut rtc,
            lane,
            credentials,
            answer,
            slots,
            codecs,
            unmarked,
            stereo_mids,
            remote_password,
        } = join.engine;
        // Only the shard knows which number is free.
        let (ufrag, ours) = self.take_credentials(credentials.pass);
        let ufrags = (credentials.ufrag, ours.ufrag.clone());
        rtc.direct_api().set_local_ice_credentials(ours);
        let mut peer = Peer::new(join.peer, join.room, rtc, lane, now);
        peer.subscribe = join.subscribe;
        peer.remote_password = remote_password;
        peer.unmarked = unmarked;
        peer.view = default_view();
        let limit = self.config.limits.slots_per_peer;
        add_slots(&mut peer, &slots, limit, &mut self.random)?;
        check_codecs(&peer.rtc, &peer.slots)?;
        let answer = Answer {
            sdp: AnswerSdp::new(answer, Some(ufrags), stereo_mids),
            slots: slot_names(&peer),
            codecs,
        };
        let key = self.seat(now, peer, ufrag);
        self.drive(now, key, |_| ());
        Ok(answer)
    }

    /// Gives a new peer its place.
    pub(super) fn seat(&mut self, now: Instant, mut peer: Peer, ufrag: u32) -> PeerKey {
        peer.ufrags.push(ufrag);
        let (id, room_id) = (peer.id, peer.room);
        let key = self.peers.insert(peer);
        self.peer_keys.insert(id, key);
        self.by_ufrag.insert(ufrag, key);
        let room = self.rooms.entry(room_id).or_default();
        room.peers.push(key);
        if room.peers.len() == 1 {
            self.room_opened(room_id);
        }
        self.give_up_in(key, now, self.config.limits.connect_timeout);
        self.mark_stale(key, |stale| (stale.view, stale.audio) = (true, true));
        key
    }

    pub(super) fn offer(&mut self, now: Instant, id: PeerId, generation: u32, offer: Offer) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        let result = self.accept_offer(now, key, offer);
        self.tell_answered(id, generation, result);
    }

    /// What has become of an offer or an answer of the peer.
    pub(super) fn tell_answered(
        &mut self,
        peer: PeerId,
        generation: u32,
        result: Result<Answer, SdpError>,
    ) {
        self.events.push_back(Event::Answered {
            peer,
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
        let stereo = offer.stereo_mids.clone();
        let password = offer.ice_password.clone();
        let gone = || SdpError::Rejected("the session has ended".into());
        let peer = self.peers.get_mut(key).ok_or_else(gone)?;
        let before = peer.rtc.direct_api().local_ice_credentials();
        let (rtc, lane) = (&mut peer.rtc, &mut *peer.lane);
        let limit = self.config.limits.slots_per_peer;
        let known = (peer.slots.as_slice(), limit);
        let negotiated = negotiate((rtc, lane), known, now, offer, &mut self.outbox);
        let Some(negotiated) = negotiated else {
            self.remove_peer(now, key, CloseReason::Internal);
            return Err(engine_failed());
        };
        let Negotiated {
            accepted,
            driven,
            mut said,
        } = negotiated?;
        peer.remote_password = password;
        let restarted = self.follow_restart(now, key, &before);
        let peer = self.peers.get_mut(key).ok_or_else(gone)?;
        for slot in &mut peer.slots {
            slot.formats = Formats::default();
            slot.open = accepted.slots.iter().any(|(mid, _)| *mid == slot.mid);
        }
        let added = add_slots(
            peer,
            &accepted.slots,
            self.config.limits.slots_per_peer,
            &mut self.random,
        );
        let answer = described(peer, AnswerSdp::new(accepted.answer, restarted, stereo));
        self.mark_stale(key, |stale| stale.view = true);
        self.driven(now, key, driven, &mut said);
        added.map(|()| answer)
    }

    /// On an ICE restart str0m makes up a ufrag of its own, but ours must name node and worker. Returns both where there was a
    /// restart: where the credentials are others than `before`.
    pub(super) fn follow_restart(
        &mut self,
        now: Instant,
        key: PeerKey,
        before: &IceCreds,
    ) -> Option<(String, String)> {
        let api = self.peers.get_mut(key)?.rtc.direct_api();
        let random = Some(api.local_ice_credentials()).filter(|random| random != before)?;
        let (fresh, ours) = self.take_credentials(random.pass);
        self.by_ufrag.insert(fresh, key);
        let peer = self.peers.get_mut(key)?;
        let ufrags = (random.ufrag, ours.ufrag.clone());
        peer.rtc.direct_api().set_local_ice_credentials(ours);
        peer.ufrags.push(fresh);
        peer.candidates = 0;
        // The generation before the last has nothing in flight any more.
        if peer.ufrags.len() > 2 {
            self.by_ufrag.remove(&peer.ufrags.remove(0));
        }
        if peer.connected {
            // As long as it has no address to check, ICE would wait for ever.
            self.give_up_in(key, now, self.config.limits.connect_timeout);
        }
        Some(ufrags)
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

    /// A free number, and the credentials whose fragment tells it.
    pub(super) fn take_credentials(&mut self, pass: String) -> (u32, IceCreds) {
        let number = self.take_ufrag();
        let ufrag = self.ufrag(number).encode();
        (number, IceCreds { ufrag, pass })
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
pub(super) fn default_view() -> View {
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

struct Negotiated {
    accepted: Accepted,
    driven: Driven,
    said: Vec<str0m::Event>,
}

/// Accepts an offer inside the panic guard and drains what comes of it; `None` after a panic. `known` are the
/// slots that there are already; those that the offer adds come behind them.
fn negotiate(
    both: (&mut Rtc, &mut Lane),
    known: (&[Slot], usize),
    now: Instant,
    offer: Offer,
    outbox: &mut Outbox,
) -> Option<Result<Negotiated, SdpError>> {
    let mut accepted = None;
    let mut said = Vec::new();
    let (rtc, lane) = both;
    let accept = |rtc: &mut Rtc| accepted = Some(engine::accept((rtc, lane), known, now, offer));
    let driven = peer::drive(rtc, now, accept, outbox, &mut said);
    Some(accepted?.map(|accepted| Negotiated {
        accepted,
        driven,
        said,
    }))
}

pub(super) fn add_slots(
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
    }
    Ok(())
}

pub(super) fn check_codecs(rtc: &Rtc, slots: &[Slot]) -> Result<(), SdpError> {
    let usable = |slot: &Slot| {
        rtc.media(slot.mid)
            .is_some_and(|media| !media.remote_pts().is_empty())
    };
    if slots.is_empty() || slots.iter().any(usable) {
        return Ok(());
    }
    Err(SdpError::NoCommonCodec)
}

/// An answer with what there is to know about the peer.
pub(super) fn described(peer: &Peer, sdp: AnswerSdp) -> Answer {
    Answer {
        sdp,
        slots: slot_names(peer),
        codecs: engine::codecs(&peer.rtc),
    }
}

fn slot_names(peer: &Peer) -> Vec<SlotName> {
    let name = |slot: &Slot| SlotName {
        mid: slot.mid,
        kind: slot.kind,
    };
    peer.slots.iter().map(name).collect()
}
