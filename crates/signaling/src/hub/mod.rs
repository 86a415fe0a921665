//! The hub: the node's rooms and sessions, between the WebSockets and the media workers.
//!
//! One lock guards all tables. What a request changes, the events it causes and the commands it
//! gives happen under it, so everybody sees one order; nothing is awaited under it. Commands wait in
//! the tables until [`Hub::flush`] has moved them to the worker's bounded queue: who causes commands
//! waits for that, and so feels a worker that is behind.
//!
//! A room may have people on several workers; `placement` decides on which. The workers find out among themselves
//! what to relay: commands name peers, and go to their workers.

mod addresses;
mod commands;
mod events;
mod explain;
mod join;
mod live;
mod placement;
mod requests;
mod resume;
mod state;
mod tokens;

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use governor::clock::{Clock, DefaultClock, QuantaInstant};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, NotUntil, Quota};
use madang_core::{Command, Engines, Event, PeerId};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

pub(crate) use addresses::{WebSocketPlace, client_prefix};
pub(crate) use join::{Entrant, check_room_name, count_join, room_name};
pub(crate) use requests::check_rate;
pub(crate) use resume::Resume;

use crate::limits::{DRAIN_SPREAD, HOUSEKEEPING, Limits};
use crate::nodes::Nodes;
use crate::protocol::{Action, Bye, ErrorCode, Fault, IceServer};
use crate::token::Auth;
use commands::Workers;
use state::State;

/// What the signalling of a node needs to know.
#[derive(Debug, Clone)]
pub struct HubConfig {
    pub auth: Auth,
    /// Given to clients as they are.
    pub ice_servers: Vec<IceServer>,
    /// How often clients send `ping`.
    pub ping: Duration,
    /// How long a session lives without a WebSocket.
    pub resume_ttl: Duration,
    /// Pages that may open a WebSocket, such as `https://meet.example.org`. Empty: with tokens any
    /// page (a token is not a cookie, so a foreign page has none), in development pages of this host only.
    pub allowed_origins: Vec<String>,
    /// Take the client's address from the last entry of `X-Forwarded-For`, and what the client has called this server from
    /// `X-Forwarded-Proto` and `X-Forwarded-Host`. Only behind a proxy that sets them: else a client could choose them.
    pub trust_forwarded_for: bool,
    /// Under which address clients reach this server, such as `https://live.example.org`; `None`: what their requests say.
    pub public_url: Option<String>,
    /// Who shares the rooms with this node.
    pub nodes: Nodes,
    pub live: Live,
    pub limits: Limits,
}

/// What differs between deployments of WHIP and WHEP.
#[derive(Debug, Clone)]
pub struct Live {
    /// Clients must name the ICE session in `If-Match` when they change it.
    pub strict_etags: bool,
    /// Rooms that may be watched without a token; `*` stands for all.
    pub open: Vec<String>,
    /// Viewers of a room in which nobody publishes are refused.
    pub require_publisher: bool,
    /// The others in the room see viewers come and go.
    pub visible_viewers: bool,
    /// How long a publisher may stay away and finds its tracks again.
    pub grace: Duration,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            strict_etags: false,
            open: Vec::new(),
            require_publisher: false,
            visible_viewers: false,
            grace: Duration::from_secs(30),
        }
    }
}

impl HubConfig {
    /// The defaults with this way of authentication.
    pub fn new(auth: Auth) -> Self {
        Self {
            auth,
            ice_servers: Vec::new(),
            ping: Duration::from_secs(10),
            resume_ttl: Duration::from_secs(30),
            allowed_origins: Vec::new(),
            trust_forwarded_for: false,
            public_url: None,
            nodes: Nodes::default(),
            live: Live::default(),
            limits: Limits::default(),
        }
    }
}

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub rooms: usize,
    pub participants: usize,
    /// Sessions, those included whose WebSocket is away.
    pub sessions: usize,
}

/// The control plane of one node.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    engines: Engines,
    workers: Vec<Worker>,
    /// Taken by [`Hub::run`].
    events: Mutex<Option<mpsc::Receiver<Event>>>,
    state: Mutex<State>,
    joins: DefaultKeyedRateLimiter<IpAddr>,
    /// Requests about sessions that have no WebSocket.
    requests: DefaultKeyedRateLimiter<IpAddr>,
    /// All requests of WHIP and WHEP with one token, by its hash.
    tokens: DefaultKeyedRateLimiter<u64>,
    token_hash: RandomState,
}

/// The way to a media worker.
#[derive(Debug)]
struct Worker {
    queue: mpsc::Sender<Command>,
    /// Held while commands move to the queue, which keeps them in order.
    turn: tokio::sync::Mutex<()>,
}

/// A WebSocket's place at a session. It is worth nothing once another WebSocket has taken over.
#[derive(Debug, Clone)]
pub(crate) struct Attached {
    pub(crate) peer: PeerId,
    attachment: u64,
    /// The session's limit on frames, whatever they come by.
    pub(crate) rate: Arc<DefaultDirectRateLimiter>,
}

impl Hub {
    /// `engines` makes the engines of those who join; `workers` are the bounded command queues of all media workers, `events`
    /// what they all say.
    pub fn new(
        config: HubConfig,
        engines: Engines,
        workers: Vec<mpsc::Sender<Command>>,
        events: mpsc::Receiver<Event>,
    ) -> Arc<Self> {
        let limits = &config.limits;
        let joins = quota(
            limits.joins_per_second_per_address,
            limits.joins_burst_per_address,
        );
        let requests = quota(
            limits.requests_per_second_per_address,
            limits.requests_burst_per_address,
        );
        Arc::new(Self {
            state: Mutex::new(State::new(workers.len())),
            joins: DefaultKeyedRateLimiter::keyed(joins),
            requests: DefaultKeyedRateLimiter::keyed(requests),
            tokens: DefaultKeyedRateLimiter::keyed(requests),
            token_hash: RandomState::new(),
            config,
            engines,
            workers: workers
                .into_iter()
                .map(|queue| Worker {
                    queue,
                    turn: tokio::sync::Mutex::default(),
                })
                .collect(),
            events: Mutex::new(Some(events)),
        })
    }

    /// Hands the media engine's events to the sessions, until the engine is gone. Returns at once
    /// where it is already running.
    pub async fn run(self: Arc<Self>) {
        let Some(mut events) = self.events.lock().take() else {
            return;
        };
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => return,
                },
                _ = housekeeping.tick() => self.housekeeping(),
            }
        }
    }

    /// Takes no new sessions from now on, and sends everybody away to join again. Returns when the
    /// workers have got all commands.
    pub async fn drain(&self) {
        let viewers = {
            let mut state = self.state.lock();
            state.draining = true;
            state.send_viewers_away()
        };
        if viewers {
            // They look for another server while this one still sends.
            tokio::time::sleep(DRAIN_SPREAD).await;
        }
        {
            let mut state = self.state.lock();
            state.end_all(|| Bye {
                code: ErrorCode::Draining,
                msg: "this server stops; join again".into(),
                action: Action::Rejoin,
                url: None,
                after_ms: Some(rand::random_range(0..=millis(DRAIN_SPREAD))),
            });
        }
        self.flush_all((0..self.workers.len()).collect()).await;
    }

    /// Takes the share of time that each worker was busy lately, by its number, 0 to 1. Due once a second: people who join
    /// are placed by it.
    pub fn measured(&self, busy: impl IntoIterator<Item = f64>) {
        self.state.lock().placement.measured(busy);
    }

    /// Whether new sessions are welcome.
    pub fn ready(&self) -> bool {
        !self.state.lock().draining && self.workers.iter().all(|worker| !worker.queue.is_closed())
    }

    pub fn counts(&self) -> Counts {
        self.state.lock().counts()
    }

    /// Whether anybody publishes in a room, or this participant does.
    pub(crate) fn is_live(&self, room: &str, participant: Option<&str>) -> bool {
        self.state
            .lock()
            .room_of_name(room)
            .is_some_and(|room| room.is_live(participant))
    }

    pub(crate) fn config(&self) -> &HubConfig {
        &self.config
    }

    /// Moves the commands that wait for a worker to its queue, in the order in which they were given.
    async fn flush(&self, worker: usize) {
        let Some(Worker { queue, turn }) = self.workers.get(worker) else {
            return;
        };
        let _turn = turn.lock().await;
        while self.state.lock().lines.has_any(worker) {
            // Reserve first: a caller that is dropped here loses no command.
            let Ok(place) = queue.reserve().await else {
                tracing::error!(worker, "the media worker is gone: its commands are lost");
                self.state.lock().lines.discard(worker);
                return;
            };
            if let Some(command) = self.state.lock().lines.next(worker) {
                place.send(command);
            }
        }
    }

    /// [`Hub::flush`] for several, of which none waits for another.
    async fn flush_all(&self, workers: Workers) {
        join_all(workers.into_iter().map(|worker| self.flush(worker))).await;
    }

    /// [`Hub::flush_all`] for those who must not wait: a worker may be waiting for them.
    fn flush_later(self: &Arc<Self>, mut workers: Workers) {
        {
            let state = self.state.lock();
            workers.retain(|worker| state.lines.has_any(*worker));
        }
        if !workers.is_empty() {
            let hub = Arc::clone(self);
            tokio::spawn(async move { hub.flush_all(workers).await });
        }
    }

    /// Runs `action` after `delay`.
    fn later(self: &Arc<Self>, delay: Duration, action: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let hub = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            action(&hub);
        });
    }

    fn housekeeping(&self) {
        self.joins.retain_recent();
        self.requests.retain_recent();
        self.tokens.retain_recent();
        {
            let mut state = self.state.lock();
            state.renew_due_tokens(jsonwebtoken::get_current_timestamp());
            state.tell_viewers();
            state.forget_left(self.config.live.grace);
        }
        let counts = self.counts();
        for (name, value) in [
            ("madang_rooms", counts.rooms),
            ("madang_participants", counts.participants),
            ("madang_sessions", counts.sessions),
        ] {
            // No node has 2^32 of anything.
            metrics::gauge!(name).set(f64::from(u32::try_from(value).unwrap_or(u32::MAX)));
        }
    }
}

/// A rate per second that allows a burst.
pub(crate) fn quota(per_second: u32, burst: u32) -> Quota {
    let at_least_one = |n: u32| std::num::NonZeroU32::new(n).unwrap_or(std::num::NonZeroU32::MIN);
    Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst))
}

/// Refuses what comes too fast, and says when it may come again.
pub(crate) fn too_fast(not_until: &NotUntil<QuantaInstant>, text: &str) -> Fault {
    let wait = not_until.wait_time_from(DefaultClock::default().now());
    Fault::new(ErrorCode::RateLimited, text).retry_ms(millis(wait).max(1))
}

/// Whole milliseconds, as the protocol has durations.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
