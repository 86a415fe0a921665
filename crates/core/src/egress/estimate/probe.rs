//! Probing: a short cluster of packets, faster than the estimate, shows whether the path takes more.
//!
//! Additive growth finds lost capacity within minutes, a probe within a round trip. It costs a queue of its length
//! times its excess, so its length is fixed, and it is sent only when more is wanted than the estimate allows.

use super::delays::Sums;
use super::observation::lost_by_chance;
use super::{BPS_MAX, Probe};

/// A cluster lasts for so long at its rate. Longer is surer with jitter and makes a longer queue where
/// the capacity is not there: at twice the capacity, a queue of this length.
const LENGTH_US: f64 = 40_000.0;
/// The very first one asks whether the path takes what the estimate starts from, which is a guess: on a path that takes
/// a third of it, it is a queue of three times this, which the first picture waits for.
const CHECK_US: f64 = 25_000.0;
/// A cluster is cut into so many packets where the MTU allows, and has at least so many bytes in each.
const PACKETS: u64 = 10;
const PACKET_BYTES_MIN: u64 = 200;
const PACKET_BYTES_MAX: u64 = 1_200;
/// Fewer packets have no slope, and neither has a part of a cluster. One more is sent, however large they are.
const PACKETS_MIN: u32 = 5;
const KNOWN: f64 = 0.75;

/// A probe's rate over the estimate: after one that came through, and otherwise.
const FACTOR_GROWING: f64 = 2.0;
const FACTOR_STEADY: f64 = 1.5;
/// The next one after the first may miss by more: the estimate is a guess.
const FACTOR_FIRST: f64 = 3.0;
/// What is wanted is probed with this to spare, so that an estimate can come out above it.
const SPARE: f64 = 1.2;
/// A probe that raises the estimate by less than this is not worth the next one at once.
const GAIN_MIN: f64 = 1.05;
/// Share of a rate that filled the path which is used.
const MARGIN: f64 = 0.95;
/// A rate this much below what was sent filled the path.
const FILLED: f64 = 0.9;

/// Where packets are lost at any rate, a probe's rate is the cause of what gets lost beyond so many standard deviations. Fewer take
/// chance for the end of the path, and the next probe is seconds later; more take the end of a path without a queue for chance.
const DEVIATIONS: f64 = 2.0;

/// Time between probes that find nothing: it doubles from one to the other. The longest decides how fast a path
/// that has become faster is found, and how often one that has not gets a queue.
const INTERVAL_US_MIN: i64 = 1_000_000;
const INTERVAL_US_MAX: i64 = 3_000_000;
/// A cluster that cannot be sent by then is given up.
const SEND_US_MAX: i64 = 250_000;
/// Reports about a cluster are waited for so long beyond the round trip.
const REPORT_US_MAX: i64 = 500_000;

#[derive(Debug)]
pub(super) struct Prober {
    state: State,
    next_id: u8,
    /// No probe before this.
    not_before: i64,
    interval: i64,
    factor: f64,
    search: Search,
}

/// How far the search for what the path takes has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    /// Nothing is known but a guess.
    Guess,
    /// The path takes more and more.
    Rising,
    Done,
}

/// What a probe has found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Found {
    /// The path takes this, which is less than the estimate where that was a guess; and what filled it, where
    /// something did.
    More { rate: f64, full: Option<f64> },
    /// The path takes what it is known to take: this is what filled it.
    Full(f64),
    /// A path without a queue takes no more than this: what came through is what it sends, and what its
    /// small queue took.
    AtMost(f64),
}

#[derive(Debug)]
enum State {
    Idle,
    /// Being sent.
    Sending(Cluster),
    /// Sent; the reports decide.
    Awaiting(Cluster),
}

#[derive(Debug)]
struct Cluster {
    id: u8,
    rate: f64,
    length: f64,
    bytes_left: u64,
    /// When it is given up, and after how long once it has been sent.
    expires: i64,
    report_us: i64,
    /// When its first and its last packet left.
    first: i64,
    last: i64,
    bytes: u64,
    /// Bytes that left before the last moment: the last packets were sent, but took no time yet.
    bytes_before_last: u64,
    sent: u32,
    lost: u32,
    unknown: u32,
    delays: Sums,
}

impl Prober {
    pub(super) fn new() -> Self {
        Self {
            state: State::Idle,
            next_id: 0,
            not_before: 0,
            interval: INTERVAL_US_MIN,
            factor: FACTOR_FIRST,
            search: Search::Guess,
        }
    }

    /// No probe has been answered yet.
    pub(super) fn guesses(&self) -> bool {
        self.search == Search::Guess
    }

    /// No probe has found an end yet of what the path takes.
    pub(super) fn searching(&self) -> bool {
        self.search != Search::Done
    }

    pub(super) fn current(&self) -> Option<Probe> {
        let State::Sending(cluster) = &self.state else {
            return None;
        };
        let packet = cluster.rate * cluster.length / 8e6 / PACKETS as f64;
        Some(Probe {
            rate_bps: super::bps(cluster.rate),
            bytes_left: cluster.bytes_left.max(1),
            packet_bytes: super::bps(packet).clamp(PACKET_BYTES_MIN, PACKET_BYTES_MAX),
        })
    }

    /// Starts a probe above `estimate` if one is due, to find out whether there is what is wanted.
    pub(super) fn start(&mut self, at: i64, estimate: f64, wanted: f64, rtt_us: i64) {
        if !matches!(self.state, State::Idle) || at < self.not_before {
            return;
        }
        let (factor, length) = match self.search {
            Search::Guess => (1.0, CHECK_US),
            Search::Rising | Search::Done => (self.factor, LENGTH_US),
        };
        let rate = (estimate * factor)
            .min(wanted * SPARE)
            .max(estimate * SPARE)
            .min(BPS_MAX as f64);
        self.next_id = self.next_id.wrapping_add(1);
        self.state = State::Sending(Cluster {
            id: self.next_id,
            rate,
            length,
            bytes_left: super::bps(rate * length / 8e6).max(PACKETS * PACKET_BYTES_MIN),
            expires: at + SEND_US_MAX,
            report_us: REPORT_US_MAX + rtt_us,
            first: at,
            last: at,
            bytes: 0,
            bytes_before_last: 0,
            sent: 0,
            lost: 0,
            unknown: 0,
            delays: Sums::default(),
        });
    }

    /// What is sent now checks the guess that one starts from, unless that is being done.
    pub(super) fn check(&mut self, at: i64, estimate: f64, rtt_us: i64) {
        let idle = match &self.state {
            State::Idle => true,
            State::Sending(cluster) => cluster.sent == 0,
            State::Awaiting(_) => false,
        };
        if idle && self.guesses() {
            self.state = State::Idle;
            self.start(at, estimate, estimate, rtt_us);
        }
    }

    /// A packet of the cluster leaves: the cluster's name, if it is still being sent.
    pub(super) fn on_sent(&mut self, at: i64, bytes: usize) -> Option<u8> {
        let State::Sending(cluster) = &mut self.state else {
            return None;
        };
        if cluster.sent == 0 {
            cluster.first = at;
            cluster.last = at;
        }
        if at > cluster.last {
            cluster.bytes_before_last = cluster.bytes;
            cluster.last = at;
        }
        let bytes = u64::try_from(bytes).unwrap_or(0);
        cluster.bytes += bytes;
        cluster.sent += 1;
        cluster.bytes_left = cluster.bytes_left.saturating_sub(bytes);
        let id = cluster.id;
        // One moment has no rate, and few packets have none.
        let enough = cluster.bytes_before_last > 0 && cluster.sent > PACKETS_MIN;
        if cluster.bytes_left == 0 && enough {
            self.sent();
        }
        Some(id)
    }

    /// A packet of the cluster `id` has arrived, with this delay.
    pub(super) fn on_arrival(&mut self, id: u8, at: i64, delay: i64) {
        if let Some(cluster) = self.cluster(id) {
            cluster.delays.add(at - cluster.first, delay);
        }
    }

    /// Nothing will be known of a packet: its report was lost.
    pub(super) fn on_silence(&mut self, id: u8) {
        if let Some(cluster) = self.cluster(id) {
            cluster.unknown += 1;
        }
    }

    pub(super) fn on_loss(&mut self, id: u8) {
        if let Some(cluster) = self.cluster(id) {
            cluster.lost += 1;
        }
    }

    /// Ends what has taken too long.
    pub(super) fn expire(&mut self, at: i64) {
        match &self.state {
            State::Sending(cluster) if at >= cluster.expires && cluster.sent == 0 => {
                self.state = State::Idle;
            }
            State::Sending(cluster) if at >= cluster.expires => self.sent(),
            State::Awaiting(cluster) if at >= cluster.expires => {
                self.state = State::Idle;
                self.not_before = at;
                self.search = Search::Done;
            }
            State::Idle | State::Sending(_) | State::Awaiting(_) => {}
        }
    }

    pub(super) fn expires(&self) -> Option<i64> {
        match &self.state {
            State::Sending(cluster) => Some(cluster.expires),
            State::Idle | State::Awaiting(_) => None,
        }
    }

    /// What a reported cluster says about the path. `known` is what it takes already; `shallow`, whether it
    /// has no queue.
    pub(super) fn conclude(
        &mut self,
        at: i64,
        known: f64,
        natural_loss: f64,
        shallow: bool,
    ) -> Option<Found> {
        let State::Awaiting(cluster) = &self.state else {
            return None;
        };
        if cluster.delays.count + cluster.lost + cluster.unknown < cluster.sent {
            return None;
        }
        let result = cluster.result(natural_loss);
        // A lost report says nothing about the path: the next probe may follow at once.
        let told = cluster.unknown == 0;
        self.state = State::Idle;
        let guessed = self.search == Search::Guess;
        let found = result.and_then(|Passed { rate, full }| match full {
            Some(_) if shallow => Some(Found::AtMost(rate)),
            Some(_) if guessed => Some(Found::More { rate, full }),
            _ if rate > known * GAIN_MIN => Some(Found::More { rate, full }),
            _ => full.map(Found::Full),
        });
        if told {
            self.search = match (self.search, found) {
                (Search::Guess | Search::Rising, Some(Found::More { full: None, .. })) => {
                    Search::Rising
                }
                _ => Search::Done,
            };
        }
        match found {
            Some(Found::More { full: Some(_), .. }) => {
                self.interval = INTERVAL_US_MIN;
                self.factor = FACTOR_STEADY;
                self.not_before = at + self.interval;
            }
            Some(Found::More { full: None, .. }) => {
                self.interval = INTERVAL_US_MIN;
                self.factor = if guessed {
                    FACTOR_FIRST
                } else {
                    FACTOR_GROWING
                };
                self.not_before = at;
            }
            Some(Found::Full(_) | Found::AtMost(_)) | None if told => self.fail(at),
            Some(Found::Full(_) | Found::AtMost(_)) | None => {}
        }
        found
    }

    /// After an outage the path is searched from the start.
    pub(super) fn restart(&mut self, at: i64) {
        self.state = State::Idle;
        self.factor = FACTOR_FIRST;
        self.interval = INTERVAL_US_MIN;
        self.not_before = at;
    }

    fn cluster(&mut self, id: u8) -> Option<&mut Cluster> {
        match &mut self.state {
            State::Sending(cluster) | State::Awaiting(cluster) if cluster.id == id => Some(cluster),
            State::Idle | State::Sending(_) | State::Awaiting(_) => None,
        }
    }

    fn sent(&mut self) {
        let State::Sending(mut cluster) = std::mem::replace(&mut self.state, State::Idle) else {
            return;
        };
        cluster.expires = cluster.last + cluster.report_us;
        self.state = State::Awaiting(cluster);
    }

    fn fail(&mut self, at: i64) {
        self.factor = FACTOR_STEADY;
        self.not_before = at + self.interval;
        self.interval = (self.interval * 2).min(INTERVAL_US_MAX);
    }
}

/// What a cluster has shown.
struct Passed {
    /// What may be sent.
    rate: f64,
    /// What filled the path.
    full: Option<f64>,
}

impl Cluster {
    /// The rate at which the cluster came through.
    fn result(&self, natural_loss: f64) -> Option<Passed> {
        let known = self.sent - self.unknown;
        if self.delays.count < PACKETS_MIN
            || f64::from(known) < f64::from(self.sent) * KNOWN
            || self.last <= self.first
        {
            return None;
        }
        let sent = self.bytes_before_last as f64 * 8e6 / (self.last - self.first) as f64;
        // A path of the rate C stretches a cluster of the rate R by R / C: delays grow by R / C - 1. What
        // jitter may have hidden counts as growth.
        let (slope, error) = self.delays.slope()?;
        let stretched = 1.0 + slope.max(0.0) + error;
        // A path without a queue drops what is too much.
        let all = f64::from(self.delays.count + self.lost);
        let by_chance = lost_by_chance(all, natural_loss, 1.0, DEVIATIONS);
        let dropped = (f64::from(self.lost) - by_chance).max(0.0);
        let passed = 1.0 - dropped / (all * (1.0 - natural_loss));
        let rate = sent * passed / stretched;
        let full = (rate < sent * FILLED).then(|| sent * passed / (1.0 + slope.max(0.0)));
        Some(Passed {
            rate: if full.is_some() { rate * MARGIN } else { rate },
            full,
        })
    }
}
