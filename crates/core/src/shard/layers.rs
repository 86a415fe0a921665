//! Which layer each slot gets from its peer's bandwidth, and how the connection is judged by that.

use std::time::{Duration, Instant};

use slab::Slab;

use super::Shard;
use crate::allocate::{self, Allocation, Budget, Demand, Downlink, Grant, Share};
use crate::forward::Slot;
use crate::layering::Target;
use crate::peer::Peer;
use crate::publish::{PeerKey, Track};
use crate::{Event, MediaKind, PeerId, Quality, QualityReason, Why};

/// What a microphone takes until its rate has been measured: Opus at 40 kbit/s, and headers of 50 packets a second.
const AUDIO_BPS: u64 = 60_000;
/// How much more than the tiles take is asked of the estimator: climbing wants a margin, and an estimate
/// that may not grow past what is sent would never give it.
const DESIRED_PERCENT: u64 = 150;

/// Of the budget so much may be sent for the moment that a keyframe of something smaller takes. Higher fills the queue of
/// a link that has become narrow, lower makes a picture stand for that moment that need not.
const OVERLOAD_PERCENT: u64 = 150;

/// People read this; more often would be flicker.
const QUALITY_STANDS: Duration = Duration::from_secs(2);

/// What a peer's slots ask for.
#[derive(Default)]
pub(super) struct Demands {
    /// Slots of the demands, in the same order.
    pub(super) places: Vec<usize>,
    pub(super) demands: Vec<Demand>,
    /// Slots that get nothing, whatever the bandwidth.
    hidden: Vec<(usize, Why)>,
    /// Of those the ones that would show this layer if the receiver had its codec.
    unreadable: Vec<(usize, usize)>,
    pub(super) audio_bps: u64,
}

/// What a peer's slots need of its bandwidth, in bit/s.
struct Ask {
    /// There is a picture to be had.
    video: bool,
    wanted_bps: u64,
}

impl Shard {
    /// How a peer's downlink is used; `None` where there is no such peer.
    pub fn downlink(&self, peer: PeerId) -> Option<Downlink> {
        let key = self.peer_keys.get(&peer)?;
        let peer = self.peers.get(*key)?;
        Some(Downlink {
            estimate_bps: peer.estimate_bps,
            ..peer.downlink
        })
    }

    /// Gives each video slot the layer that the peer's bandwidth allows.
    pub(super) fn allocate(&mut self, now: Instant, key: PeerKey) {
        let Demands {
            places,
            demands,
            hidden,
            unreadable,
            audio_bps,
        } = self.demands(now, key);
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let repaired = 1_000 + peer.lane.repair_permille();
        let budget = budget(peer, now, repaired, audio_bps);
        let allocation = allocate::allocate(&demands, budget);
        peer.downlink = Downlink {
            estimate_bps: peer.estimate_bps,
            used_bps: allocation.used_bps,
            wanted_bps: allocation.wanted_bps,
        };
        for (index, why) in hidden {
            aim(&self.tracks, &mut peer.slots, index, None, why);
        }
        for (index, layer) in unreadable {
            let source = peer.slots.get_mut(index).and_then(|s| s.source.as_mut());
            if let Some(source) = source {
                source.unreadable = Some(layer);
            }
        }
        for (index, grant) in places.iter().zip(&allocation.grants) {
            let (target, why) = match grant {
                Grant::Layer(target) => (Some(*target), Why::NoKeyframe),
                Grant::NoBandwidth => (None, Why::NoBandwidth),
                Grant::Nothing => (None, Why::NoKeyframe),
            };
            aim(&self.tracks, &mut peer.slots, *index, target, why);
        }
        let queued = peer.lane.is_queued();
        if let (true, Budget::Bps(Share { now: bps, .. })) = (queued, budget) {
            for index in too_large(&places, &demands, &allocation, bps) {
                if !waits_in_vain(&self.tracks, &peer.slots, index) {
                    peer.halt(index);
                }
            }
        }
        if peer.connected {
            let waiting = peer.slots.iter().filter_map(Slot::awaits_keyframe);
            self.work.waiting.extend(waiting);
        }
        tracing::debug!(
            peer = peer.id.0,
            estimate_bps = peer.estimate_bps,
            used_bps = allocation.used_bps,
            wanted_bps = allocation.wanted_bps,
            grants = ?allocation.grants,
            "allocated"
        );
        let short = allocation.grants.contains(&Grant::NoBandwidth);
        let wanted_bps = (allocation.wanted_bps + audio_bps) * DESIRED_PERCENT / 100;
        let ask = Ask {
            video: !places.is_empty(),
            wanted_bps: wanted_bps * repaired / 1_000,
        };
        self.ask_for_bandwidth(now, key, ask);
        self.wake_unreadable(now, key);
        self.rate_downlink(now, key, short, allocation.used_bps, allocation.wanted_bps);
    }

    /// The visible tiles of a peer and what else wants bandwidth.
    pub(super) fn demands(&mut self, now: Instant, key: PeerKey) -> Demands {
        let mut found = Demands::default();
        let Some(peer) = self.peers.get_mut(key) else {
            return found;
        };
        let copies = u64::try_from(peer.lane.copies_of_sound()).unwrap_or(1);
        for (index, slot) in peer.slots.iter_mut().enumerate() {
            let Some((source, track)) = slot
                .source
                .as_ref()
                .and_then(|s| Some((s, self.tracks.get_mut(s.track)?)))
            else {
                continue;
            };
            if slot.kind == MediaKind::Audio {
                found.audio_bps += track.audio_bps(copies).unwrap_or(AUDIO_BPS * copies);
            } else if track.spec.muted {
                found.hidden.push((index, Why::Muted));
            } else if source.tile.height == 0 {
                found.hidden.push((index, Why::NotVisible));
            } else {
                let mut ladder = track.ladder(now).clone();
                let (tile, current) = (source.tile, source.standing());
                let smallest = ladder.first().map(|rung| rung.layer.layer);
                track.keep_codecs(&mut ladder, current, |codec| {
                    let formats = &mut slot.formats;
                    formats.payload_types(codec, &peer.rtc, slot.mid).is_some()
                });
                if let Some(layer) = smallest.filter(|_| ladder.is_empty()) {
                    found.hidden.push((index, Why::NoCommonCodec));
                    found.unreadable.push((index, layer));
                    continue;
                }
                found.places.push(index);
                let choice = peer.choices.iter().find(|choice| choice.slot == slot.mid);
                if let Some(choice) = choice {
                    track.restrict(&mut ladder, choice);
                }
                if let Some(fps) = source.tile.max_fps {
                    track.limit_frames(&mut ladder, fps);
                }
                found.demands.push(Demand {
                    ladder,
                    height: tile.height,
                    min_height: tile.min_height,
                    priority: tile.priority,
                    current,
                    paused: source.is_short(),
                });
            }
        }
        found
    }

    /// What stands still because of its codec goes on, so that a change of the codec is seen.
    fn wake_unreadable(&mut self, now: Instant, key: PeerKey) {
        let slots = self.peers.get(key).map(|peer| peer.slots.as_slice());
        let sources = slots
            .unwrap_or_default()
            .iter()
            .filter_map(|slot| slot.source.as_ref());
        let paused = sources.filter_map(|source| {
            let layers = &self.tracks.get(source.track)?.layers;
            layers
                .get(source.unreadable?)?
                .paused
                .then_some(source.track)
        });
        for track in paused.collect::<Vec<_>>() {
            self.dynacast(now, track);
        }
    }

    /// Tells the estimator what there is to gain, so that it probes when there is something. It is left
    /// alone until there is a picture to be had.
    fn ask_for_bandwidth(&mut self, now: Instant, key: PeerKey, ask: Ask) {
        let floor = if ask.video {
            self.config.initial_bitrate_bps
        } else {
            0
        };
        let Some(peer) = self
            .peers
            .get_mut(key)
            .filter(|peer| ask.video || peer.desired_bps > 0)
        else {
            return;
        };
        let resumed = ask.video && !peer.video_asked;
        peer.video_asked = ask.video;
        // Probes reach for a multiple of what is desired: one that is smaller than the estimate would
        // only drag it down.
        let wanted_bps = ask.wanted_bps.max(floor);
        // Small steps are not worth a probe.
        if !resumed && peer.desired_bps.abs_diff(wanted_bps) * 10 <= peer.desired_bps {
            return;
        }
        peer.desired_bps = wanted_bps;
        peer.lane.set_demand(now, wanted_bps);
        self.pump(now, key);
    }

    fn rate_downlink(
        &mut self,
        now: Instant,
        key: PeerKey,
        short: bool,
        used_bps: u64,
        wanted_bps: u64,
    ) {
        let reason = QualityReason::DownlinkBandwidth;
        let quality = if short {
            Quality { score: 2, reason }
        } else if used_bps * 2 < wanted_bps {
            Quality { score: 3, reason }
        } else {
            Quality::GOOD
        };
        self.tell_quality(now, key, quality, reason);
    }

    /// Tells how a participant's connection does, when that has changed and the last word has stood for a
    /// while. A judgement only replaces one about the same thing, or a better one.
    pub(super) fn tell_quality(
        &mut self,
        now: Instant,
        key: PeerKey,
        quality: Quality,
        about: QualityReason,
    ) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let before = peer
            .told
            .quality
            .map_or(Quality::GOOD, |(quality, _)| quality);
        let replaces = quality.score < before.score || before.reason == about;
        let stood = peer
            .told
            .quality
            .is_none_or(|(_, at)| now.saturating_duration_since(at) >= QUALITY_STANDS);
        if quality != before && replaces && stood {
            peer.told.quality = Some((quality, now));
            self.events.push_back(Event::Quality {
                room: peer.room,
                peer: peer.id,
                quality,
            });
        }
    }
}

/// What there is for pictures beside audio and what is sent again.
fn budget(peer: &mut Peer, now: Instant, repaired_permille: u64, audio_bps: u64) -> Budget {
    let media = |bps: u64| {
        let media = bps.saturating_mul(1_000) / repaired_permille;
        media.saturating_sub(audio_bps)
    };
    match peer.estimate_bps {
        Some(bps) => {
            peer.lasting.note(now, media(bps));
            Budget::Bps(Share {
                now: media(bps),
                steady: media(peer.troughs.steady(now, bps)),
                lasting: peer.lasting.bps(),
            })
        }
        None if peer.lane.will_know() => Budget::Unknown,
        None => Budget::Unlimited,
    }
}

/// Slots that are to show a smaller picture, and send a larger one for which the link is much too narrow: the smaller
/// would come behind all of that.
fn too_large(
    places: &[usize],
    demands: &[Demand],
    allocation: &Allocation,
    budget_bps: u64,
) -> Vec<usize> {
    let rate = |demand: &Demand, layer: Target| {
        let rung = demand.ladder.iter().find(|rung| rung.layer == layer);
        rung.map_or(0, |rung| rung.bps)
    };
    let mut sent_bps = allocation.used_bps;
    let mut larger = Vec::new();
    for ((index, demand), grant) in places.iter().zip(demands).zip(&allocation.grants) {
        if let (Some(current), Grant::Layer(target)) = (demand.current, grant)
            && !current.shows_as_much_as(*target)
        {
            let more = rate(demand, current).saturating_sub(rate(demand, *target));
            sent_bps += more;
            larger.extend((more > 0).then_some(*index));
        }
    }
    if sent_bps * 100 <= budget_bps * OVERLOAD_PERCENT {
        larger.clear();
    }
    larger
}

/// Whether the encoder of what the slot is to carry sends keyframes when it likes.
fn waits_in_vain(tracks: &Slab<Track>, slots: &[Slot], index: usize) -> bool {
    let source = slots.get(index).and_then(|slot| slot.source.as_ref());
    let layer = source.and_then(|source| {
        let layers = &tracks.get(source.track)?.layers;
        layers.get(source.target?.layer)
    });
    layer.is_some_and(|layer| layer.keyframes.ignored)
}

fn aim(tracks: &Slab<Track>, slots: &mut [Slot], index: usize, target: Option<Target>, why: Why) {
    if let Some(slot) = slots.get_mut(index) {
        let track = slot.source.as_ref().map(|source| source.track);
        let layers = track.and_then(|track| tracks.get(track));
        let stream = |target: Target| Some(layers?.layers.get(target.layer)?.stream);
        slot.aim(
            target.map(|target| (target, stream(target).unwrap_or_default())),
            why,
        );
    }
}
