//! Peers that answer an offer of ours: WHEP's other mode.

use std::time::Instant;

use str0m::change::SdpPendingOffer;
use str0m::media::{Direction, Mid};
use str0m::{IceCreds, Rtc};

use super::Shard;
use super::negotiate::{add_slots, check_codecs, default_view, described};
use crate::engine::{adopt, engine_failed};
use crate::peer::{self, Peer};
use crate::publish::PeerKey;
use crate::sdp::{AnswerSdp, RemoteAnswer, SdpError, finish_answer};
use crate::{Answer, MediaKind, PeerId, RoomId};

impl Shard {
    /// Makes a peer, and an offer for it.
    pub(super) fn invite(&mut self, now: Instant, id: PeerId, room: RoomId) {
        let result = if self.peers.len() < self.config.limits.peers_per_worker {
            self.offer_slots(now, id, room)
        } else {
            Err(SdpError::Full)
        };
        self.tell_answered(id, 0, result);
    }

    fn offer_slots(&mut self, now: Instant, id: PeerId, room: RoomId) -> Result<Answer, SdpError> {
        let (ufrag, credentials) = self.take_credentials(IceCreds::new().pass);
        let lite = self.config.ice_lite;
        let mut rtc = self
            .engines
            .engine(now, self.engines.rtc_config(credentials, lite));
        let lane = self.engines.lane(now);
        let mut slots: Vec<(Mid, MediaKind)> = Vec::new();
        let mut offered = None;
        let mut said = Vec::new();
        let offer = |rtc: &mut Rtc| {
            let mut change = rtc.sdp_api();
            for kind in [MediaKind::Audio, MediaKind::Video] {
                let mid = change.add_media(kind, Direction::SendOnly, None, None, None);
                slots.push((mid, kind));
            }
            offered = change.apply();
        };
        let driven = peer::drive(&mut rtc, now, offer, &mut self.outbox, &mut said);
        let (offer, pending) = offered.ok_or_else(engine_failed)?;
        let mut peer = Peer::new(id, room, rtc, lane, now);
        peer.subscribe = true;
        peer.view = default_view();
        peer.invitation = Some(pending);
        let limit = self.config.limits.slots_per_peer;
        add_slots(&mut peer, &slots, limit, &mut self.random)?;
        let text = finish_answer(&offer.to_sdp_string(), &[]);
        let answer = described(&peer, AnswerSdp::from(text));
        let key = self.seat(now, peer, ufrag);
        self.driven(now, key, driven, &mut said);
        Ok(answer)
    }

    /// The peer has answered the offer. Another answer, with other credentials, restarts ICE.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        id: PeerId,
        generation: u32,
        answer: RemoteAnswer,
    ) {
        let Some(&key) = self.peer_keys.get(&id) else {
            return;
        };
        let result = self.accept_answer(now, key, answer);
        self.tell_answered(id, generation, result);
    }

    fn accept_answer(
        &mut self,
        now: Instant,
        key: PeerKey,
        answer: RemoteAnswer,
    ) -> Result<Answer, SdpError> {
        let limit = self.config.limits.slots_per_peer;
        let nothing_to_answer = || SdpError::Rejected("no offer waits for an answer".into());
        let peer = self.peers.get_mut(key).ok_or_else(nothing_to_answer)?;
        let invitation = peer.invitation.take();
        peer.remote_password = answer.ice_password;
        let before = peer.rtc.direct_api().local_ice_credentials();
        let mut open: Vec<(Mid, MediaKind)> = peer
            .slots
            .iter()
            .map(|slot| (slot.mid, slot.kind))
            .collect();
        let mut offered = String::new();
        let mut accepted = None;
        let mut said = Vec::new();
        let (lane, slots) = (&mut *peer.lane, &peer.slots);
        let accept = |rtc: &mut Rtc| {
            let pending = invitation.or_else(|| offer_restart(rtc, &mut offered));
            accepted = pending.map(|pending| rtc.sdp_api().accept_answer(pending, answer.sdp));
            adopt((rtc, lane), (slots, limit), now, &mut open);
            lane.reclaim(rtc);
        };
        let driven = peer::drive(&mut peer.rtc, now, accept, &mut self.outbox, &mut said);
        for slot in &mut peer.slots {
            slot.open = open.iter().any(|(mid, _)| *mid == slot.mid);
        }
        let usable = check_codecs(&peer.rtc, &peer.slots);
        if let Some((random, ours)) = self.follow_restart(now, key, &before) {
            offered = offered.replace(&random, &ours);
        }
        let peer = self.peers.get(key).ok_or_else(nothing_to_answer)?;
        let answer = described(peer, AnswerSdp::from(finish_answer(&offered, &[])));
        self.driven(now, key, driven, &mut said);
        match accepted {
            Some(Ok(())) => usable.map(|()| answer),
            Some(Err(error)) => Err(SdpError::Rejected(error.to_string())),
            None => Err(engine_failed()),
        }
    }
}

/// Offers again what is negotiated, with other credentials.
fn offer_restart(rtc: &mut Rtc, offered: &mut String) -> Option<SdpPendingOffer> {
    let mut change = rtc.sdp_api();
    change.ice_restart(true);
    let (offer, pending) = change.apply()?;
    *offered = offer.to_sdp_string();
    Some(pending)
}
