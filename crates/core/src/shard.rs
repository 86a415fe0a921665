//! One worker's state, and the order in which it is driven.

mod commands;
mod explain;
mod flight;
mod housekeeping;
mod ingress;
mod invite;
mod keyframes;
mod lane;
mod late;
mod layers;
mod media;
mod moving;
mod nacks;
mod negotiate;
mod relay;
mod subscribe;
mod tell;

pub(crate) use flight::LastFlight;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use slab::Slab;
use str0m::Rtc;

use crate::audio::Levels;
use crate::crypto::{self, Identity};
use crate::egress::Heard;
use crate::engine::Engines;
use crate::limits::Limits;
use crate::peer::{self, Driven, Peer};
use crate::publish::{PeerKey, Track, TrackKey};
use crate::relay::{Arrived, Mailboxes};
use crate::timers::{Timer, Timers};
use crate::{CloseReason, Command, Event, Outbox, PeerId, RoomId, TrackId, Wallclock};

/// A datagram that has come in.
#[derive(Debug, Clone, Copy)]
pub struct Datagram<'a> {
    pub source: SocketAddr,
    /// The local address it was sent to, as the candidate says it.
    pub destination: SocketAddr,
    pub contents: &'a [u8],
}

/// A local address and what is told to clients about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// What candidates say: where clients reach the server.
    pub advertised: SocketAddr,
    /// Where such datagrams arrive on this machine; differs from `advertised` behind NAT.
    pub local: SocketAddr,
}

/// What a shard needs to know.
#[derive(Debug, Clone)]
pub struct ShardConfig {
    /// Position of the worker among the node's workers; stands in every ufrag.
    pub worker: u8,
    /// How many workers the node has.
    pub workers: usize,
    /// The node, 0 where there is only one.
    pub node: u16,
    /// Differs at each start of the process.
    pub epoch: u16,
    pub identity: Identity,
    pub addresses: Vec<Address>,
    pub ice_lite: bool,
    pub wallclock: Wallclock,
    /// Where a bandwidth estimate starts, in bit/s.
    pub initial_bitrate_bps: u64,
    pub limits: Limits,
    /// Seed of all randomness of the shard's own.
    pub seed: u64,
}

/// Plain counters of one shard, all since its start but the gauges. Read once a second.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Gauges.
    pub peers: u64,
    pub tracks: u64,
    pub subscriptions: u64,
    /// Counters.
    pub datagrams_in: u64,
    pub datagrams_out: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    /// Requests to publishers for packets that are missing; one for each packet and attempt.
    pub packets_nacked: u64,
    /// Packets that receivers asked for again.
    pub packets_resent: u64,
    /// Packets that bandwidth probes were filled up with.
    pub packets_padding: u64,
    /// Packets that found no room in a peer's queue, or no connection.
    pub packets_dropped_queue: u64,
    pub packets_dropped_too_large: u64,
    /// Frames that are shown before one that came before them.
    pub frames_reordered: u64,
    pub packets_dropped_unknown: u64,
    pub datagrams_dropped_unknown: u64,
    pub keyframe_requests_in: u64,
    pub keyframe_requests_out: u64,
    /// How often a peer's media engine was driven.
    pub drives: u64,
    pub peer_panics: u64,
}

/// The sans-IO state of one worker.
///
/// Driving it, in this order, as often as anything happens:
/// 1. [`Shard::handle_command`], [`Shard::handle_datagram`], [`Shard::handle_relayed`] and, where [`Shard::poll_timeout`] is
///    due, [`Shard::handle_timeout`]: any number of each.
/// 2. [`Shard::flush`] once after such a batch: forwards what came in, one subscriber after the other.
/// 3. [`Shard::poll_relayed`] and [`Shard::poll_event`] until `None`; send what is in [`Shard::outbox`], then clear it.
/// 4. [`Shard::poll_timeout`]: sleep until then at the latest.
///
/// Time must not go backwards from call to call.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    engines: Engines,
    random: fastrand::Rng,
    peers: Slab<Peer>,
    tracks: Slab<Track>,
    rooms: HashMap<RoomId, Room>,
    peer_keys: HashMap<PeerId, PeerKey>,
    track_keys: HashMap<TrackId, TrackKey>,
    by_ufrag: HashMap<u32, PeerKey>,
    by_address: HashMap<SocketAddr, PeerKey>,
    /// What [`Shard::take_learned`] gives.
    learned: Option<SocketAddr>,
    next_ufrag: u32,
    timers: Timers,
    work: Work,
    /// Scratch space for what str0m says while a peer is driven.
    rtc_events: Vec<str0m::Event>,
    /// Scratch space for what a receiver says.
    heard: Heard,
    /// Scratch space for numbers of packets that a publisher is asked for.
    nacked: Vec<u16>,
    events: VecDeque<Event>,
    outbox: Outbox,
    mailboxes: Mailboxes,
    /// What [`Shard::is_quiet`] goes by.
    lively_until: Option<Instant>,
    stats: ShardStats,
}

/// The media state of a room: who is in it, and who speaks.
#[derive(Debug, Default)]
struct Room {
    peers: Vec<PeerKey>,
    /// In the order of publication.
    tracks: Vec<TrackKey>,
    levels: Levels,
    /// The due time of the room's entry in the heap.
    due: Option<Instant>,
    told_speakers: Vec<(PeerId, u8)>,
    /// Other workers that have people of this room.
    elsewhere: Vec<u8>,
}

/// What the calls since the last flush have left to do.
#[derive(Debug, Default)]
struct Work {
    /// Packets that came in.
    batch: Vec<Arrived>,
    /// Places in the batch of packets that another shard had kept, in order.
    kept: Vec<usize>,
    /// Places in the batch of packets that begin a keyframe, in order, and of what had come before that and follows it.
    overtaken: Vec<(usize, Range<usize>)>,
    /// Peers with something in [`Peer::stale`].
    stale: Vec<PeerKey>,
    /// Peers with something in [`Peer::pending`].
    touched: Vec<PeerKey>,
    /// Peers whose slots may have changed since the control plane was told.
    untold: Vec<PeerKey>,
    /// Layers that a slot may be waiting for.
    waiting: Vec<(TrackKey, usize)>,
    /// Rooms in which somebody has begun to speak.
    voices: Vec<RoomId>,
    /// Layers of which a frame has turned out to be a keyframe when it was over.
    found: Vec<(TrackKey, usize)>,
    /// Layers whose encoder is to be asked for a keyframe.
    keyframes: Vec<(TrackKey, usize)>,
}

impl Shard {
    pub fn new(config: ShardConfig) -> Self {
        let random = fastrand::Rng::with_seed(config.seed);
        let mailboxes = Mailboxes::new(config.workers);
        Self {
            engines: Engines::new(&config),
            config,
            random,
            peers: Slab::new(),
            tracks: Slab::new(),
            rooms: HashMap::new(),
            peer_keys: HashMap::new(),
            track_keys: HashMap::new(),
            by_ufrag: HashMap::new(),
            by_address: HashMap::new(),
            learned: None,
            next_ufrag: 0,
            timers: Timers::default(),
            work: Work::default(),
            rtc_events: Vec::new(),
            heard: Heard::default(),
            nacked: Vec::new(),
            events: VecDeque::new(),
            outbox: Outbox::default(),
            mailboxes,
            lively_until: None,
            stats: ShardStats::default(),
        }
    }

    /// What makes engines for those who join here, or on another worker of the node.
    pub fn engines(&self) -> &Engines {
        &self.engines
    }

    /// Carries out a command. Commands about peers and tracks that are gone do nothing.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Join(join) => self.join(now, *join),
            Command::Invite { peer, room } => self.invite(now, peer, room),
            Command::Accept {
                peer,
                generation,
                answer,
            } => self.accept(now, peer, generation, *answer),
            Command::Offer {
                peer,
                generation,
                offer,
            } => self.offer(now, peer, generation, *offer),
            Command::Candidate { peer, candidate } => self.candidate(now, peer, candidate),
            Command::Publish { peer, track } => self.publish(now, peer, track),
            Command::Unpublish { peer, track } => self.unpublish(peer, track),
            Command::Mute { peer, track, muted } => self.mute(peer, track, muted),
            Command::View { peer, view } => self.view(peer, view),
            Command::Choose { peer, choices } => self.choose(peer, choices),
            Command::Data { peers, payload } => self.data(now, &peers, &payload),
            Command::Explain { peer, request } => self.explain(now, peer, request),
            Command::Leave { peer } => self.leave(now, peer),
        }
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Drive(key) => self.drive_due(now, key, at),
                Timer::Flight(key) => self.repeat_last_flight(now, key),
                Timer::Lane(key) => self.lane_due(now, key, at),
                Timer::Watch(key) => self.watch(now, key),
                Timer::Track(key) => self.tick_track(now, key, at),
                Timer::Nack(key) => self.nacks_due(now, key, at),
                Timer::Keyframe(key) => self.held_back_keyframes(now, key, at),
                Timer::Speakers(room) => self.tick_speakers(now, room, at),
            }
        }
    }

    /// Forwards what the batch has brought, one subscriber after the other, and works out what it
    /// has made stale.
    pub fn flush(&mut self, now: Instant) {
        while self.work.is_due() {
            let mut batch = std::mem::take(&mut self.work.batch);
            let arrived = batch.len();
            if arrived > 0 {
                self.stay_lively(now, QUIET_AFTER_MEDIA);
            }
            self.rank_voices(now);
            self.refresh(now, &mut batch);
            self.start_found(now, &mut batch);
            self.find_overtaken(&mut batch, arrived);
            self.fan_out(&batch, arrived);
            self.relay(&batch, arrived);
            let mut touched = std::mem::take(&mut self.work.touched);
            for key in touched.drain(..) {
                self.forward(now, key, &batch);
            }
            self.work.touched = touched;
            self.remember(now, &batch, arrived);
            self.work.kept.clear();
            self.work.overtaken.clear();
            batch.clear();
            if self.work.batch.is_empty() {
                self.work.batch = batch;
            }
            self.tell_slots(now);
            self.request_keyframes(now);
        }
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Datagrams to send. The caller clears it when they are sent.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// When [`Shard::handle_timeout`] is due; `None` while nothing is.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Nobody sends media and nobody is connecting: what comes in may wait for more of its kind.
    pub fn is_quiet(&self, now: Instant) -> bool {
        self.lively_until.is_none_or(|until| until < now)
    }

    pub fn stats(&self) -> ShardStats {
        let (datagrams_out, bytes_out) = self.outbox.totals();
        ShardStats {
            datagrams_out,
            bytes_out,
            peers: self.peers.len() as u64,
            tracks: self.tracks.len() as u64,
            subscriptions: self
                .tracks
                .iter()
                .map(|(_, track)| track.subscribers.len() as u64)
                .sum(),
            ..self.stats.clone()
        }
    }

    /// Changes a peer's `Rtc` and drains it; then takes in what str0m has said meanwhile.
    fn drive(&mut self, now: Instant, key: PeerKey, mutate: impl FnOnce(&mut Rtc)) {
        let Some(peer) = self.peers.get_mut(key) else {
            return;
        };
        let mut said = std::mem::take(&mut self.rtc_events);
        let from = self.outbox.position();
        drop(crypto::take_exported_keys());
        self.outbox.divert(peer.moved);
        let driven = peer::drive(&mut peer.rtc, now, mutate, &mut self.outbox, &mut said);
        self.outbox.divert(None);
        if let Some(route) = self.outbox.route(from) {
            // By now str0m has found the way by itself, or another.
            peer.moved = peer.moved.filter(|moved| moved.to == route);
            peer.lane.set_route(route);
        }
        if let Some(keying) = crypto::take_exported_keys() {
            peer.lane.key(&keying, crypto::key_derivation());
            self.keep_last_flight(now, key, from);
        }
        self.driven(now, key, driven, &mut said);
        self.rtc_events = said;
    }

    /// The second half of every drive.
    fn driven(&mut self, now: Instant, key: PeerKey, driven: Driven, said: &mut Vec<str0m::Event>) {
        self.stats.drives += 1;
        for event in said.drain(..) {
            self.on_rtc_event(now, key, event);
        }
        match driven {
            Driven::Until(at) => {
                let idle = self
                    .peers
                    .get(key)
                    .is_some_and(|peer| peer.connected && peer.busy_until < now);
                let at = if idle {
                    self.idle_tick(at.max(now + IDLE_INTERVAL))
                } else {
                    at.max(now)
                };
                self.schedule_drive(now, key, at);
            }
            Driven::Ended(reason) => self.remove_peer(now, key, reason),
            Driven::Panicked => {
                self.stats.peer_panics += 1;
                tracing::error!(
                    peer = self.peers.get(key).map_or(0, |peer| peer.id.0),
                    "the media engine of a peer has panicked"
                );
                self.remove_peer(now, key, CloseReason::Internal);
            }
        }
    }

    /// Idle peers are woken in small groups: what each of them has to do costs less than a wake-up.
    fn idle_tick(&self, at: Instant) -> Instant {
        let origin = self.config.wallclock.at;
        let since = at.saturating_duration_since(origin).as_nanos();
        let ticks = u32::try_from(since.div_ceil(IDLE_GROUP.as_nanos())).unwrap_or(u32::MAX);
        origin.checked_add(IDLE_GROUP * ticks).unwrap_or(at)
    }

    fn schedule_drive(&mut self, now: Instant, key: PeerKey, at: Instant) {
        let Some(peer) = self.peers.get_mut(key).filter(|_| at < now + NEVER) else {
            return;
        };
        // An earlier entry will find out by itself that there is nothing to do yet.
        if peer.scheduled.is_none_or(|scheduled| at < scheduled) {
            peer.scheduled = Some(at);
            self.timers.schedule(at, Timer::Drive(key));
        }
        peer.wants_drive_at = at;
    }

    fn drive_due(&mut self, now: Instant, key: PeerKey, at: Instant) {
        let Some(peer) = self
            .peers
            .get_mut(key)
            .filter(|peer| peer.scheduled == Some(at))
        else {
            return;
        };
        peer.scheduled = None;
        let wanted = peer.wants_drive_at;
        if wanted > now {
            self.schedule_drive(now, key, wanted);
            return;
        }
        self.drive(now, key, |rtc| peer::pass_time(rtc, now));
    }

    fn stay_lively(&mut self, now: Instant, time: Duration) {
        self.lively_until = self.lively_until.max(Some(now + time));
    }

    fn mark_stale(&mut self, key: PeerKey, mark: impl FnOnce(&mut peer::Stale)) {
        if let Some(peer) = self.peers.get_mut(key) {
            if !peer.stale.any() {
                self.work.stale.push(key);
            }
            mark(&mut peer.stale);
        }
    }

    /// Everybody in the room has something to work out anew.
    fn mark_room_stale(&mut self, room: RoomId, mark: impl Fn(&mut peer::Stale)) {
        let members = self.rooms.get(&room).map(|room| room.peers.clone());
        for member in members.into_iter().flatten() {
            self.mark_stale(member, &mark);
        }
    }

    /// Everybody who has the track in a slot has something to work out anew.
    fn mark_subscribers_stale(&mut self, track: TrackKey, mark: impl Fn(&mut peer::Stale)) {
        let subscribers = self.tracks.get_mut(track).map(|track| {
            track.ladder.forget();
            track.subscribers.clone()
        });
        for subscriber in subscribers.into_iter().flatten() {
            self.mark_stale(subscriber.peer, &mark);
        }
    }
}

impl Work {
    fn is_due(&self) -> bool {
        !(self.batch.is_empty()
            && self.stale.is_empty()
            && self.voices.is_empty()
            && self.keyframes.is_empty()
            && self.found.is_empty()
            && self.untold.is_empty())
    }
}

/// str0m wants to be woken up to 40 times a second, whether anything is sent or not. A peer through which nothing has gone
/// for this long is woken only once in an [`IDLE_INTERVAL`]: consent checks and RTCP can wait for that.
const IDLE_AFTER: Duration = Duration::from_secs(2);
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Idle peers that are due within this are woken together. Longer groups would hold up the media of others: of 5,000 peers
/// 25 are due in one.
const IDLE_GROUP: Duration = Duration::from_millis(5);
/// From the last packet to quiet: longer than between the frames of a slow camera.
const QUIET_AFTER_MEDIA: Duration = Duration::from_millis(100);
/// From the last datagram of a handshake to quiet: what a round trip in one town takes.
const QUIET_AFTER_HANDSHAKE: Duration = Duration::from_millis(20);
/// What lies further ahead is str0m's way of saying that nothing is due.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
