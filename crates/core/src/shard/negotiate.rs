//! Offers and answers: how a peer comes to be, and what it is given to receive with.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use str0m::change::SdpAnswer;
use str0m::config::DtlsVersion;
use str0m::media::{Direction, Mid, Pt};
use str0m::rtp::Extension;
use str0m::{Candidate, IceCreds, Rtc, RtcConfig};

use super::Shard;
use crate::demux::Ufrag;
use crate::egress::Lane;
use crate::formats::Formats;
use crate::forward::Slot;
use crate::peer::{self, Driven, Peer};
use crate::publish::PeerKey;
use crate::sdp::{self, AnswerSdp, Offer, RemoteCandidate, SdpError};
use crate::timers::Timer;
use crate::{Answer, CloseReason, Event, Join, MediaKind, Outbox, PeerId, SlotName, View};

/// Between two checks of a pair that works: the interval of consent (RFC 7675, section 5.1).
const STUN_RTO_MAX: Duration = Duration::from_secs(5);
/// str0m gives a candidate pair up after this many unanswered checks: with the interval above it notices a client
/// that is gone within 30 s, the life of consent.
const STUN_RETRANSMITS_MAX: usize = 7;

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
        // Who is bent on being the DTLS client may answer no checks until DTLS stands, as FFmpeg does: none are made.
        let lite = self.config.ice_lite || join.offer.begins_dtls;
        let (mut rtc, ufrag) = self.engine(now, lite);
        let stereo = join.offer.stereo_mids.clone();
        let password = join.offer.ice_password.clone();
        let mut lane = self.lane(now);
        let limit = self.config.limits.slots_per_peer;
        let both = (&mut rtc, &mut lane);
        let negotiated = negotiate(both, (&[], limit), now, join.offer, &mut self.outbox);
        let mut negotiated = negotiated.ok_or_else(engine_failed)??;
        let mut peer = Peer::new(join.peer, join.room, rtc, lane, now);
        peer.subscribe = join.subscribe;
        peer.remote_password = password;
        peer.view = default_view();
        add_slots(
            &mut peer,
            &negotiated.slots,
            self.config.limits.slots_per_peer,
            &mut self.random,
        )?;
        check_codecs(&peer.rtc, &peer.slots)?;
        peer.unmarked = unmarked(&peer.rtc, &negotiated.media);
        let answer = answer(&peer, negotiated.answer, None, stereo);
        let key = self.seat(now, peer, ufrag);
        self.driven(now, key, negotiated.driven, &mut negotiated.said);
        Ok(answer)
    }

    /// A media engine with our candidates, and the number of its fragment.
    pub(super) fn engine(&mut self, now: Instant, lite: bool) -> (Rtc, u32) {
        let ufrag = self.take_ufrag();
        let credentials = IceCreds {
            ufrag: self.ufrag(ufrag).encode(),
            pass: IceCreds::new().pass,
        };
        let mut rtc = self.rtc_config(credentials, lite).build(now);
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
        (rtc, ufrag)
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
        let mut negotiated = negotiated?;
        peer.remote_password = password;
        let restarted = self.follow_restart(now, key, &before);
        let peer = self.peers.get_mut(key).ok_or_else(gone)?;
        for slot in &mut peer.slots {
            slot.formats = Formats::default();
            slot.open = negotiated.slots.iter().any(|(mid, _)| *mid == slot.mid);
        }
        let added = add_slots(
            peer,
            &negotiated.slots,
            self.config.limits.slots_per_peer,
            &mut self.random,
        );
        let answer = answer(peer, negotiated.answer, restarted, stereo);
        self.mark_stale(key, |stale| stale.view = true);
        self.driven(now, key, negotiated.driven, &mut negotiated.said);
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
        let fresh = self.take_ufrag();
        let ours = IceCreds {
            ufrag: self.ufrag(fresh).encode(),
            pass: random.pass,
        };
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

    fn rtc_config(&self, credentials: IceCreds, lite: bool) -> RtcConfig {
        let mut config = RtcConfig::new()
            .set_crypto_provider(self.config.identity.provider())
            .set_dtls_cert(self.config.identity.certificate())
            .set_dtls_version(DtlsVersion::Auto)
            .set_local_ice_credentials(credentials)
            .set_ice_lite(lite)
            .set_rtp_mode(true)
            .set_snap_enabled(true)
            .set_sctp_max_message_size(
                u32::try_from(self.config.limits.data_message_bytes).unwrap_or(u32::MAX),
            )
            .set_extension_map(sdp::extensions())
            .clear_codecs()
            .enable_opus(true, true)
            .enable_vp8(true)
            .enable_h264(true)
            .enable_vp9(true)
            .enable_av1(true);
        config.set_max_stun_rto(STUN_RTO_MAX);
        config.set_max_stun_retransmits(STUN_RETRANSMITS_MAX);
        config
    }

    pub(super) fn lane(&self, now: Instant) -> Lane {
        Lane::new(now, self.config.initial_bitrate_bps, self.config.wallclock)
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

pub(super) fn engine_failed() -> SdpError {
    SdpError::Rejected("it makes the media engine fail".into())
}

struct Negotiated {
    answer: SdpAnswer,
    /// All send m-lines of ours.
    slots: Vec<(Mid, MediaKind)>,
    /// All m-lines of audio and video.
    media: Vec<(Mid, MediaKind)>,
    driven: Driven,
    said: Vec<str0m::Event>,
}

/// Accepts an offer inside the panic guard and drains what comes of it; `None` after a panic. `known` are the
/// slots that there are already; those that the offer adds come behind them.
fn negotiate(
    (rtc, lane): (&mut Rtc, &mut Lane),
    (known, limit): (&[Slot], usize),
    now: Instant,
    offer: Offer,
    outbox: &mut Outbox,
) -> Option<Result<Negotiated, SdpError>> {
    let mut accepted = None;
    let mut said = Vec::new();
    let mut slots = offer.media.clone();
    let accept = |rtc: &mut Rtc| {
        lane.declare(rtc);
        accepted = Some(rtc.sdp_api().accept_offer(offer.sdp));
        adopt((rtc, lane), (known, limit), now, &mut slots);
        lane.reclaim(rtc);
    };
    let driven = peer::drive(rtc, now, accept, outbox, &mut said);
    let answer = match accepted? {
        Ok(answer) => answer,
        Err(error) => return Some(Err(SdpError::Rejected(error.to_string()))),
    };
    Some(Ok(Negotiated {
        answer,
        slots,
        media: offer.media,
        driven,
        said,
    }))
}

/// Takes over the streams of the m-lines by which the peer receives; others are left out of `slots`.
pub(super) fn adopt(
    (rtc, lane): (&mut Rtc, &mut Lane),
    (known, limit): (&[Slot], usize),
    now: Instant,
    slots: &mut Vec<(Mid, MediaKind)>,
) {
    slots.retain(|(mid, _)| {
        rtc.media(*mid)
            .is_some_and(|media| media.direction() == Direction::SendOnly)
    });
    let mut next = known.len();
    for &(mid, _) in slots.iter() {
        let index = known
            .iter()
            .position(|slot| slot.mid == mid)
            .unwrap_or_else(|| {
                next += 1;
                next - 1
            });
        if index < limit {
            lane.adopt(now, rtc, index, mid);
        }
    }
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

/// Payload types by which the media of m-lines is told apart whose packets carry no MID. One that several m-lines have
/// tells nothing.
fn unmarked(rtc: &Rtc, media: &[(Mid, MediaKind)]) -> Vec<(Pt, Mid)> {
    let receiving = media.iter().filter_map(|(mid, _)| {
        let media = rtc.media(*mid)?;
        media.direction().is_receiving().then_some(media)
    });
    let mut found: Vec<(Pt, Mid)> = Vec::new();
    let mut uses: HashMap<Pt, u32> = HashMap::new();
    for media in receiving {
        let marked = media.remote_extmap().id_of(Extension::RtpMid).is_some();
        for pt in media.remote_pts() {
            if !marked {
                found.push((*pt, media.mid()));
            }
            *uses.entry(*pt).or_default() += 1;
        }
    }
    found.retain(|(pt, _)| uses.get(pt) == Some(&1));
    found
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

fn answer(
    peer: &Peer,
    answer: SdpAnswer,
    restarted: Option<(String, String)>,
    stereo: Vec<String>,
) -> Answer {
    described(peer, AnswerSdp::new(answer, restarted, stereo))
}

/// An answer with what there is to know about the peer.
pub(super) fn described(peer: &Peer, sdp: AnswerSdp) -> Answer {
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
    Answer { sdp, slots, codecs }
}
