//! The world: shards, browsers, the network between them, and virtual time.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use madang_core::limits::Limits;
use madang_core::sdp::{Offer, SdpError};
use madang_core::{
    Address, Command, Datagram, Downlink, Engine, Identity, Shard, ShardConfig, ShardStats,
    Wallclock,
};

use crate::browser::{Browser, BrowserConfig};
use crate::control::{Connection, Control, Request, SIGNALLING_DELAY, Told, peer_of};
use crate::network::{Link, LinkConfig};
use crate::page::Page;

/// What a run starts from.
#[derive(Debug, Clone)]
pub struct WorldConfig {
    /// All randomness of the simulation.
    pub seed: u64,
    /// Over which people are dealt out in the order of their coming.
    pub workers: usize,
    pub initial_bitrate_bps: u64,
    pub limits: Limits,
    pub signalling_delay: Duration,
}

impl WorldConfig {
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            workers: 1,
            initial_bitrate_bps: 1_000_000,
            limits: Limits::default(),
            signalling_delay: SIGNALLING_DELAY,
        }
    }
}

/// One person in the room.
#[derive(Debug)]
pub struct Seat {
    pub name: &'static str,
    pub browser: Browser,
    pub page: Page,
    /// From the browser to the server.
    pub up: Link,
    /// From the server to the browser.
    pub down: Link,
    pub(crate) connection: Connection,
    /// From where the server sees the browser's datagrams come: what a NAT has made of its address, the newest last.
    mappings: Vec<SocketAddr>,
    /// What was recorded of somebody who is watched.
    pub samples: Vec<Sample>,
}

/// What the server thinks of somebody's downlink at a moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    pub at: Duration,
    pub downlink: Downlink,
    /// What the link carries, in bit/s; `None` where it is infinitely fast.
    pub capacity_bps: Option<u64>,
    /// What the browser believes that its own uplink carries, in bit/s.
    pub uplink_bps: Option<u64>,
}

/// Everything, at one moment of virtual time.
#[derive(Debug)]
pub struct World {
    config: WorldConfig,
    /// The one reading of a real clock; all that follows is this plus virtual time.
    start: Instant,
    now: Duration,
    shards: Vec<Shard>,
    seats: Vec<Seat>,
    control: Control,
    in_flight: BTreeMap<(Duration, u64), Delivery>,
    deliveries: u64,
    /// A shard has been touched since the last flush.
    touched: bool,
    /// How often a shard's timeout was due.
    timeouts: u64,
    watched: Watched,
}

/// Whose links and estimates are recorded.
#[derive(Debug)]
enum Watched {
    These(Vec<&'static str>),
    All,
}

impl Watched {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::These(names) => names.contains(&name),
            Self::All => true,
        }
    }
}

/// Something on its way.
#[derive(Debug)]
pub(crate) enum Delivery {
    ToShard {
        /// Who has sent it; nobody whom the simulation knows.
        seat: Option<usize>,
        source: SocketAddr,
        datagram: Vec<u8>,
    },
    ToBrowser {
        seat: usize,
        datagram: Vec<u8>,
    },
    Request {
        seat: usize,
        request: Request,
    },
    Told {
        seat: usize,
        told: Told,
    },
}

/// The step of virtual time. What falls due within a step is handled as one batch.
const TICK: Duration = Duration::from_millis(1);
/// How often the links and estimates of those who are watched are looked at.
const SAMPLE_INTERVAL_MS: u128 = 100;
/// A shard whose timeout is due more often than this at one moment is in a busy loop.
const TIMEOUTS_PER_TICK_MAX: usize = 10_000;

/// sctp-proto reads the real clock when an association begins, and sets a timer by it. So much ahead, that is always the past:
/// nothing depends on how fast a run goes.
const AHEAD: Duration = Duration::from_secs(24 * 3_600);

/// The server's wall clock when a run starts: some day in 2026.
const WALLCLOCK_START: Duration = Duration::from_secs(1_790_000_000);

/// Where the simulated server listens (RFC 5737).
pub const SERVER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 3478);

impl Seat {
    /// From where the server sees the browser's datagrams come.
    fn mapping(&self) -> SocketAddr {
        let newest = self.mappings.last().copied();
        newest.unwrap_or_else(|| self.browser.address())
    }
}

impl World {
    pub fn new(config: WorldConfig) -> Self {
        // str0m draws SSRCs, mids and ICE credentials from this generator.
        fastrand::seed(config.seed);
        let start = Instant::now() + AHEAD;
        let identity = Identity::repeatable().expect("the crypto library makes a certificate");
        let shard = |worker| ShardConfig {
            worker,
            workers: config.workers,
            node: 0,
            epoch: 1,
            identity: identity.clone(),
            addresses: vec![Address {
                advertised: SERVER,
                local: SERVER,
            }],
            ice_lite: false,
            wallclock: Wallclock {
                at: start,
                time: SystemTime::UNIX_EPOCH + WALLCLOCK_START,
            },
            initial_bitrate_bps: config.initial_bitrate_bps,
            limits: config.limits.clone(),
            seed: config.seed.wrapping_add(u64::from(worker)),
        };
        let shards = (0..=u8::MAX)
            .take(config.workers)
            .map(|w| Shard::new(shard(w)))
            .collect();
        Self {
            shards,
            config,
            start,
            now: Duration::ZERO,
            seats: Vec::new(),
            control: Control::default(),
            in_flight: BTreeMap::new(),
            deliveries: 0,
            touched: true,
            timeouts: 0,
            watched: Watched::These(Vec::new()),
        }
    }

    /// A new person with a good connection. Nothing is sent before the page joins.
    pub fn add(&mut self, name: &'static str, config: BrowserConfig) -> usize {
        let seat = self.seats.len();
        let number = u32::try_from(seat).unwrap_or(u32::MAX);
        let [_, _, high, low] = (number + 1).to_be_bytes();
        let address = SocketAddr::from((Ipv4Addr::new(198, 51, high, low), 50_000));
        let seed = self.config.seed.wrapping_mul(1_000_003) ^ u64::from(number);
        self.seats.push(Seat {
            name,
            browser: Browser::new(config, number, address, self.start, (self.now, seed)),
            page: Page::default(),
            up: Link::new(LinkConfig::default(), seed.wrapping_add(1)),
            down: Link::new(LinkConfig::default(), seed.wrapping_add(2)),
            connection: Connection::default(),
            mappings: vec![address],
            samples: Vec::new(),
        });
        if self.watched.has(name) {
            let seat = self.seat_mut(seat);
            seat.up.keep_log();
            seat.down.keep_log();
        }
        seat
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn seed(&self) -> u64 {
        self.config.seed
    }

    /// What all shards have counted together.
    pub fn shard_stats(&self) -> ShardStats {
        let mut sum = ShardStats::default();
        for stats in self.shards.iter().map(Shard::stats) {
            sum.peers += stats.peers;
            sum.tracks += stats.tracks;
            sum.subscriptions += stats.subscriptions;
            sum.datagrams_in += stats.datagrams_in;
            sum.datagrams_out += stats.datagrams_out;
            sum.bytes_in += stats.bytes_in;
            sum.bytes_out += stats.bytes_out;
            sum.packets_in += stats.packets_in;
            sum.packets_out += stats.packets_out;
            sum.packets_nacked += stats.packets_nacked;
            sum.packets_resent += stats.packets_resent;
            sum.packets_padding += stats.packets_padding;
            sum.packets_dropped_queue += stats.packets_dropped_queue;
            sum.packets_dropped_too_large += stats.packets_dropped_too_large;
            sum.frames_reordered += stats.frames_reordered;
            sum.packets_dropped_unknown += stats.packets_dropped_unknown;
            sum.datagrams_dropped_unknown += stats.datagrams_dropped_unknown;
            sum.keyframe_requests_in += stats.keyframe_requests_in;
            sum.keyframe_requests_out += stats.keyframe_requests_out;
            sum.drives += stats.drives;
            sum.peer_panics += stats.peer_panics;
        }
        sum
    }

    /// How often a shard's timeout was due so far.
    pub fn timeouts(&self) -> u64 {
        self.timeouts
    }

    pub fn seats(&self) -> usize {
        self.seats.len()
    }

    pub fn all_seats(&self) -> &[Seat] {
        &self.seats
    }

    /// The person of this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.seats.iter().position(|seat| seat.name == name)
    }

    pub(crate) fn position(&self, name: &str) -> usize {
        self.find(name)
            .unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    pub fn seat(&self, name: &str) -> &Seat {
        let seat = self.find(name).and_then(|seat| self.seats.get(seat));
        seat.unwrap_or_else(|| panic!("nobody is called {name}"))
    }

    pub fn seat_named(&mut self, name: &str) -> &mut Seat {
        let seat = self.position(name);
        self.seat_mut(seat)
    }

    /// Puts a datagram before the server, as if it came from `source`.
    pub fn inject(&mut self, source: SocketAddr, datagram: Vec<u8>) {
        let seat = self
            .seats
            .iter()
            .position(|seat| seat.mappings.contains(&source));
        self.deliver_after(
            TICK,
            Delivery::ToShard {
                seat,
                source,
                datagram,
            },
        );
    }

    /// Records what happens to these people, from their coming on.
    pub(crate) fn watch(&mut self, names: &[&'static str]) {
        self.watched = Watched::These(names.to_vec());
    }

    /// The same of everybody.
    pub(crate) fn watch_all(&mut self) {
        self.watched = Watched::All;
    }

    pub(crate) fn set_uplink(&mut self, name: &str, config: LinkConfig) {
        let now = self.now;
        self.seat_named(name).up.set_config(now, config);
    }

    pub(crate) fn set_downlink(&mut self, name: &str, config: LinkConfig) {
        let now = self.now;
        self.seat_named(name).down.set_config(now, config);
    }

    /// What goes to the mapping that was is lost from now on.
    pub(crate) fn rebind(&mut self, name: &str) {
        let seat = self.seat_named(name);
        if let Some(mut mapping) = seat.mappings.last().copied() {
            mapping.set_port(mapping.port() + 1);
            seat.mappings.push(mapping);
        }
    }

    pub fn run_until(&mut self, end: Duration) {
        while self.now < end {
            self.tick();
        }
    }

    /// One step: 1 arrivals, 2 browsers, 3 the shards.
    fn tick(&mut self) {
        self.now += TICK;
        while let Some(entry) = self
            .in_flight
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let delivery = entry.remove();
            self.arrive(delivery);
        }
        for seat in 0..self.seats.len() {
            self.tick_browser(seat);
        }
        self.drive_shards();
        if self.now.as_millis().is_multiple_of(SAMPLE_INTERVAL_MS) {
            self.sample();
        }
    }

    fn sample(&mut self) {
        let now = self.now;
        for seat in 0..self.seats.len() {
            let name = self.seat_mut(seat).name;
            if self.watched.has(name) {
                let peer = peer_of(seat);
                let downlink = self.shard_of(seat).downlink(peer).unwrap_or_default();
                let state = self.seat_mut(seat);
                state.samples.push(Sample {
                    at: now,
                    downlink,
                    capacity_bps: state.down.rate_at(now),
                    uplink_bps: state.browser.uplink_bps(),
                });
            }
        }
    }

    fn arrive(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::ToShard {
                seat,
                source,
                datagram,
            } => {
                let datagram = Datagram {
                    source,
                    destination: SERVER,
                    contents: &datagram,
                };
                let now = self.start + self.now;
                self.shard_of(seat.unwrap_or(0))
                    .handle_datagram(now, datagram);
                self.touched = true;
            }
            Delivery::ToBrowser { seat, datagram } => {
                let now = self.now;
                self.seat_mut(seat)
                    .browser
                    .handle_datagram(now, SERVER, &datagram);
            }
            Delivery::Request { seat, request } => self.handle_request(seat, request),
            Delivery::Told { seat, told } => self.handle_told(seat, told),
        }
    }

    fn tick_browser(&mut self, seat: usize) {
        let now = self.now;
        let state = self.seat_mut(seat);
        state.browser.tick(now);
        let source = state.mapping();
        let mut arrivals = Vec::new();
        for (destination, datagram) in state.browser.take_outgoing() {
            if destination == SERVER {
                arrivals.extend(state.up.send(now, &datagram));
            }
        }
        for arrival in arrivals {
            self.deliver_at(
                arrival.at,
                Delivery::ToShard {
                    seat: Some(seat),
                    source,
                    datagram: arrival.datagram,
                },
            );
        }
    }

    /// The people on a worker.
    pub(crate) fn seats_of(&self, worker: u8) -> impl Iterator<Item = usize> {
        let workers = self.shards.len();
        (0..self.seats.len()).filter(move |seat| seat % workers == usize::from(worker))
    }

    /// The shard of the worker on which somebody is.
    fn shard_of(&mut self, seat: usize) -> &mut Shard {
        let worker = seat % self.shards.len();
        self.shards.get_mut(worker).expect("there is a worker")
    }

    /// Drives the shards as their contract says, until nothing is due any more.
    fn drive_shards(&mut self) {
        let now = self.start + self.now;
        for _ in 0..TIMEOUTS_PER_TICK_MAX {
            for shard in &mut self.shards {
                if shard.poll_timeout().is_some_and(|due| due <= now) {
                    self.timeouts += 1;
                    shard.handle_timeout(now);
                    self.touched = true;
                }
            }
            if !std::mem::take(&mut self.touched) {
                return;
            }
            self.flush();
        }
        panic!(
            "a shard's timeout at {:?} never passes: a busy loop",
            self.now
        );
    }

    fn flush(&mut self) {
        let now = self.start + self.now;
        let (mut events, mut relayed) = (Vec::new(), Vec::new());
        for (shard, worker) in self.shards.iter_mut().zip(0u8..) {
            shard.flush(now);
            events.extend(std::iter::from_fn(|| shard.poll_event()));
            relayed.extend(
                std::iter::from_fn(|| shard.poll_relayed()).map(|(to, one)| (worker, to, one)),
            );
        }
        for worker in 0..self.shards.len() {
            self.send_outbox(worker);
        }
        for (from, to, one) in relayed {
            let shard = self
                .shards
                .get_mut(usize::from(to))
                .expect("shards know how many they are");
            shard.handle_relayed(now, from, one);
            self.touched = true;
        }
        for event in events {
            self.handle_shard_event(event);
        }
    }

    fn send_outbox(&mut self, worker: usize) {
        let now = self.now;
        let mut deliveries = Vec::new();
        let Some(shard) = self.shards.get_mut(worker) else {
            return;
        };
        for (transmit, datagram) in shard.outbox().datagrams() {
            let to = self
                .seats
                .iter()
                .position(|seat| seat.mapping() == transmit.destination);
            if let Some((number, seat)) =
                to.and_then(|number| Some((number, self.seats.get_mut(number)?)))
            {
                deliveries.extend(
                    seat.down
                        .send(now, datagram)
                        .into_iter()
                        .map(|arrival| (number, arrival)),
                );
            }
        }
        shard.outbox().clear();
        for (seat, arrival) in deliveries {
            self.deliver_at(
                arrival.at,
                Delivery::ToBrowser {
                    seat,
                    datagram: arrival.datagram,
                },
            );
        }
    }

    /// As the control plane does, beside the shard.
    pub(crate) fn make_engine(&mut self, seat: usize, offer: Offer) -> Result<Engine, SdpError> {
        let now = self.start + self.now;
        self.shard_of(seat).engines().accept(now, offer)
    }

    /// For the worker on which somebody is.
    pub(crate) fn command(&mut self, seat: usize, command: Command) {
        let now = self.start + self.now;
        self.shard_of(seat).handle_command(now, command);
        self.touched = true;
    }

    pub(crate) fn deliver_after(&mut self, delay: Duration, delivery: Delivery) {
        self.deliver_at(self.now + delay, delivery);
    }

    fn deliver_at(&mut self, at: Duration, delivery: Delivery) {
        self.deliveries += 1;
        self.in_flight.insert((at, self.deliveries), delivery);
    }

    pub(crate) fn seat_mut(&mut self, seat: usize) -> &mut Seat {
        self.seats
            .get_mut(seat)
            .unwrap_or_else(|| panic!("there is no seat {seat}"))
    }

    pub(crate) fn control_mut(&mut self) -> &mut Control {
        &mut self.control
    }

    pub(crate) fn signalling_delay(&self) -> Duration {
        self.config.signalling_delay
    }
}
