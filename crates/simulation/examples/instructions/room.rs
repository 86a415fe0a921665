//! A shard, browsers and a perfect network with 10 ms of delay each way, in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime};

use madang_core::limits::Limits;
use madang_core::sdp::RemoteCandidate;
use madang_core::{
    Address, Command, Datagram, Event, Identity, Join, MediaKind, PeerId, RoomId, Shard,
    ShardConfig, Source, TileView, TrackId, TrackSpec, View, Wallclock,
};
use madang_simulation::{Browser, BrowserConfig, SERVER};

use crate::meter::{Call, Counted, Meter};

#[derive(Debug)]
pub(crate) struct Room {
    start: Instant,
    now: Duration,
    shard: Shard,
    pub(crate) meter: Meter,
    browsers: Vec<Browser>,
    seats: BTreeMap<SocketAddr, usize>,
    tracks: Vec<TrackId>,
    rev: u32,
    up: VecDeque<(Duration, SocketAddr, Vec<u8>)>,
    down: VecDeque<(Duration, usize, Vec<u8>)>,
}

/// What falls due within a step is one batch.
const TICK: Duration = Duration::from_millis(1);
const DELAY: Duration = Duration::from_millis(10);
const SEED: u64 = 1;

impl Room {
    pub(crate) fn new() -> Self {
        fastrand::seed(SEED);
        let start = Instant::now();
        let shard = Shard::new(ShardConfig {
            worker: 0,
            workers: 1,
            node: 0,
            epoch: 1,
            identity: Identity::generate().expect("the crypto library makes a certificate"),
            addresses: vec![Address {
                advertised: SERVER,
                local: SERVER,
            }],
            ice_lite: false,
            wallclock: Wallclock {
                at: start,
                time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
            },
            initial_bitrate_bps: 1_000_000,
            limits: Limits::default(),
            seed: SEED,
        });
        Self {
            start,
            now: Duration::ZERO,
            shard,
            meter: Meter::new(),
            browsers: Vec::new(),
            seats: BTreeMap::new(),
            tracks: Vec::new(),
            rev: 0,
            up: VecDeque::new(),
            down: VecDeque::new(),
        }
    }

    /// Lets so many browsers join and connect.
    pub(crate) fn join(&mut self, count: usize, config: BrowserConfig) {
        for _ in 0..count {
            let seat = self.browsers.len();
            let [_, _, high, low] = u32::try_from(seat + 1).unwrap_or(0).to_be_bytes();
            let address = SocketAddr::from((Ipv4Addr::new(198, 51, high, low), 50_000));
            let number = u32::try_from(seat).unwrap_or(0);
            let start = (self.now, SEED + seat as u64);
            let mut browser = Browser::new(config, number, address, self.start, start);
            let (sdp, candidate) = (browser.first_offer(), browser.candidate());
            self.browsers.push(browser);
            self.seats.insert(address, seat);
            let mut offer = None;
            self.call(Call::Read(&sdp, &mut offer));
            let offer = offer.expect("browsers make good offers");
            let mut engine = None;
            self.call(Call::Engine(offer, &mut engine));
            let engine = engine.expect("browsers make good offers");
            self.command(Command::Join(Box::new(Join {
                peer: peer(seat),
                room: RoomId(1),
                engine,
                subscribe: true,
            })));
            if let Some(candidate) = RemoteCandidate::parse(&candidate).expect("a good candidate") {
                self.command(Command::Candidate {
                    peer: peer(seat),
                    candidate,
                });
            }
        }
        self.flush();
        while self.browsers.iter().any(|one| one.connected_at.is_none()) {
            assert!(
                self.now < Duration::from_secs(60),
                "somebody never connects"
            );
            self.tick();
        }
    }

    pub(crate) fn publish(&mut self, seat: usize, source: Source) {
        self.publish_as(seat, source, source);
    }

    /// Publishes what is encoded as one source and declared to be another.
    pub(crate) fn publish_as(&mut self, seat: usize, source: Source, declared: Source) {
        let browser = self.browser(seat);
        let mid = browser.mid_of(source).expect("every source has an m-line");
        let id = TrackId(self.tracks.len() as u64);
        let kind = match source {
            Source::Camera | Source::Screen => MediaKind::Video,
            Source::Microphone | Source::ScreenAudio => MediaKind::Audio,
        };
        let size = |pixels| (kind == MediaKind::Video).then_some(pixels);
        let track = TrackSpec {
            id,
            mid,
            kind,
            source: declared,
            muted: false,
            width: size(1_280),
            height: size(720),
            max_bps: Vec::new(),
            encrypted: false,
        };
        self.tracks.push(id);
        self.command(Command::Publish {
            peer: peer(seat),
            track,
        });
        let now = self.now;
        self.browser(seat).publish(now, source);
    }

    /// Speaks at this level from now on.
    pub(crate) fn talk(&mut self, seat: usize, level: i8) {
        self.browser(seat).talk(Some(level));
    }

    /// What a seat sees: all tracks in tiles of this size.
    pub(crate) fn view(&mut self, seat: usize, (width, height): (u32, u32)) {
        self.rev += 1;
        let tile = |track: &TrackId| TileView {
            track: *track,
            slot: None,
            width,
            height,
            priority: 0,
            min_height: None,
            max_fps: None,
        };
        let view = View {
            rev: self.rev,
            video: self.tracks.iter().map(tile).collect(),
            ..View::default()
        };
        self.command(Command::View {
            peer: peer(seat),
            view,
        });
        self.flush();
    }

    /// Lets the shard work out again which layers a seat gets.
    pub(crate) fn allocate(&mut self, seat: usize) {
        self.command(Command::Choose {
            peer: peer(seat),
            choices: Vec::new(),
        });
        self.flush();
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
        }
    }

    /// Runs for a while and counts.
    pub(crate) fn count(&mut self, counted: Counted, time: Duration) {
        self.meter.counted = counted;
        self.run(time);
        self.meter.counted = Counted::Nothing;
    }

    /// Copies of what browsers send for a while.
    pub(crate) fn intercept(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        let end = self.now + time;
        while self.now < end {
            self.tick();
            let new = self.up.iter().filter(|(at, ..)| *at == self.now + DELAY);
            sent.extend(new.map(|(_, _, datagram)| datagram.clone()));
        }
        sent
    }

    /// Lets the meter see the router's work on these.
    pub(crate) fn classify(&mut self, datagrams: &[Vec<u8>]) {
        for datagram in datagrams {
            self.call(Call::Classify(datagram));
        }
    }

    /// Runs for a while in which a publisher and the shard have the machine to themselves, as the shard has its core: what is
    /// sent to the others gets lost. Not for so long that their silence is noticed.
    pub(crate) fn run_alone(&mut self, publisher: usize, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick_of(publisher..publisher + 1);
            self.down.clear();
        }
    }

    fn tick(&mut self) {
        self.tick_of(0..self.browsers.len());
    }

    /// One step: 1 arrivals, 2 browsers, of which these do anything, 3 the shard, as its contract says.
    fn tick_of(&mut self, seats: Range<usize>) {
        self.now += TICK;
        while let Some((_, source, datagram)) = self.up.pop_front_if(|next| next.0 <= self.now) {
            self.call(Call::Datagram(Datagram {
                source,
                destination: SERVER,
                contents: &datagram,
            }));
        }
        while let Some((_, seat, datagram)) = self.down.pop_front_if(|next| next.0 <= self.now) {
            let now = self.now;
            self.browser(seat).handle_datagram(now, SERVER, &datagram);
        }
        for browser in self.browsers.get_mut(seats).unwrap_or_default() {
            browser.tick(self.now);
            let source = browser.address();
            let sent = browser.take_outgoing().into_iter();
            let sent = sent.filter(|(destination, _)| *destination == SERVER);
            self.up
                .extend(sent.map(|(_, datagram)| (self.now + DELAY, source, datagram)));
        }
        let now = self.start + self.now;
        while self.shard.poll_timeout().is_some_and(|due| due <= now) {
            self.call(Call::Timeout);
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.call(Call::Flush);
        while let Some(event) = self.shard.poll_event() {
            if let Event::Answered { peer, result, .. } = event {
                let answer = result.expect("the shard takes good offers");
                let mut text = String::new();
                self.call(Call::Write(&answer.sdp, &mut text));
                let now = self.now;
                self.browser(seat(peer)).accept_answer(now, &text);
            }
        }
        let at = self.now + DELAY;
        for (transmit, datagram) in self.shard.outbox().datagrams() {
            if let Some(seat) = self.seats.get(&transmit.destination) {
                self.down.push_back((at, *seat, datagram.to_vec()));
            }
        }
        self.shard.outbox().clear();
    }

    fn command(&mut self, command: Command) {
        self.call(Call::Command(command));
    }

    fn call(&mut self, call: Call<'_>) {
        let now = self.start + self.now;
        self.meter.call(&mut self.shard, now, call);
    }

    fn browser(&mut self, seat: usize) -> &mut Browser {
        self.browsers.get_mut(seat).expect("the seat is taken")
    }
}

fn peer(seat: usize) -> PeerId {
    PeerId(seat as u64)
}

fn seat(peer: PeerId) -> usize {
    usize::try_from(peer.0).unwrap_or(usize::MAX)
}
