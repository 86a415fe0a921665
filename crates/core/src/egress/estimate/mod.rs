//! How much bandwidth a peer has: an estimator of the Google Congestion Control family
//! (draft-ietf-rmcat-gcc-02), fed by transport-wide feedback.
//!
//! | file | what it knows |
//! |---|---|
//! | `history` | which packets have left, and what became of them |
//! | `window` | rates of what is sent, and of what has arrived |
//! | `reports` | what a report says about them |
//! | `delays` | lines through delays |
//! | `control` | what follows from a report for the rates and the next probe |
//! | `trend` | whether a queue grows on the way |
//! | `aimd` | the rate that follows from it |
//! | `observation`, `loss` | how much is lost, and whether that comes from the rate |
//! | `probe` | whether the path takes more than is sent |
//!
//! All of it is numbers: nothing reads a clock, and after the start nothing allocates for a packet.

mod aimd;
mod control;
mod delays;
mod history;
mod holes;
mod loss;
mod observation;
mod probe;
mod reports;
mod trend;
mod window;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use super::twcc::Feedback;
use aimd::Aimd;
use control::NARROW_LATE_US;
pub(super) use history::Fate;
use history::History;
use holes::Holes;
use loss::Loss;
use probe::Prober;
use reports::Heard;
use trend::Trend;
use window::Window;

/// Estimates stay within these. The lower is what audio needs: below it nothing is worth sending. The
/// higher is beyond any viewer, and keeps a lying peer from more.
pub(crate) const BPS_MIN: u64 = 40_000;
pub(crate) const BPS_MAX: u64 = 200_000_000;

/// The pacer may send at this much of the estimate. Higher turns keyframes into queues on the path,
/// lower into delay before it.
const PACING_FACTOR: f64 = 1.5;
/// The same where the path has been found to carry all that anybody wants. Whole frames leave at once, which GSO makes of one
/// run; lower cuts those in two that are larger than the average, higher would be longer bursts than browsers send.
const PACING_FACTOR_ROOMY: f64 = 3.0;
/// The same for what is large, where nothing has shown yet what the path carries. Higher fills the queue of a path that carries
/// half of the guess, lower makes large first pictures late by more than the moment that it takes to know.
const PACING_FACTOR_UNKNOWN: f64 = 0.4;
/// The same where the path has just become narrow, whose queue is full. Higher loses what the first small picture begins with, lower
/// is later with it.
const PACING_FACTOR_NARROW: f64 = 1.0;
/// The same on a path without a queue, which drops what comes faster than it sends.
const PACING_FACTOR_SHALLOW: f64 = 1.05;

/// Without a report for this, and two round trips, the rate is lowered, and again after every step.
/// Less would take a few lost reports for an outage, more would send into one for longer.
const SILENCE_US: i64 = 500_000;
const SILENCE_STEP_US: i64 = 250_000;
const SILENCE_FACTOR: f64 = 0.8;

/// What the path takes is found out within this, or the estimate that one starts from is believed. Longer is small
/// pictures where nothing can be found out, shorter ends the search on a long way.
const GUESS_US_MAX: i64 = 2_000_000;

/// A packet that was answered later than this was not on its way all the time.
const RTT_US_MAX: i64 = 5_000_000;
const RTT_WEIGHT: f64 = 0.125;
/// The round trip until one has been measured.
const RTT_START: Duration = Duration::from_millis(100);

/// A probe cluster that the pacer should send now, faster than it paces otherwise: waiting media
/// first, then resends or padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Probe {
    pub(crate) rate_bps: u64,
    pub(crate) bytes_left: u64,
    /// Padding packets should be of this size: many small ones measure better than few large ones.
    pub(crate) packet_bytes: u64,
}

/// The estimator of one peer.
///
/// Call [`on_sent`](Self::on_sent) for every packet with a transport-wide number, then
/// [`on_feedback`](Self::on_feedback) for every report, [`set_demand`](Self::set_demand) when what is
/// wanted changes, and [`on_timeout`](Self::on_timeout) when [`poll_timeout`](Self::poll_timeout) is
/// due. Estimate, pacing rate and probe may have changed after each of them but the first, which only
/// counts the probe down.
///
/// It takes 1.5 KiB, and 2 to 128 KiB for what is on its way, see [`History`].
#[derive(Debug)]
pub(crate) struct Estimator {
    start: Instant,
    history: History,
    sent: Window,
    acked: Window,
    trend: Trend,
    aimd: Aimd,
    loss: Loss,
    holes: Holes,
    prober: Prober,
    wanted: f64,
    rtt_us: Option<f64>,
    /// The newest packet that has been reported, and when it left.
    reported: Option<(u64, i64)>,
    /// The newest one that has arrived.
    heard: Heard,
    last_sent: Option<i64>,
    last_update: i64,
    /// How late packets came by the report before, and in how many reports in a row they came later and later; since when
    /// little comes through, and late, and whether that is a path that has become narrow; packets that the newest
    /// report says have arrived, and those that have not.
    late_before: f64,
    later: u32,
    narrow_since: Option<i64>,
    is_narrow: bool,
    newest_report: (u32, u32),
    /// After the first report: until when an end of what the path takes is looked for.
    guess_ends: Option<i64>,
    /// When the next report is overdue, while one is owed.
    overdue: Option<i64>,
    /// The receiver's clock: its last reference time, and the same without wrap-around.
    reference: Option<(u32, i64)>,
    /// The number of the last report, and the newest packet that a lost one may have spoken of.
    number: u8,
    doubted: u64,
    outage: bool,
}

impl Estimator {
    pub(crate) fn new(now: Instant, start_bps: u64) -> Self {
        Self {
            start: now,
            history: History::new(),
            sent: Window::new(),
            acked: Window::new(),
            trend: Trend::new(),
            aimd: Aimd::new(start_bps.clamp(BPS_MIN, BPS_MAX) as f64),
            loss: Loss::new(),
            holes: Holes::default(),
            prober: Prober::new(),
            wanted: 0.0,
            rtt_us: None,
            reported: None,
            heard: Heard::NOTHING,
            last_sent: None,
            last_update: 0,
            late_before: 0.0,
            later: 0,
            narrow_since: None,
            is_narrow: false,
            newest_report: (0, 0),
            guess_ends: None,
            overdue: None,
            reference: None,
            number: 0,
            doubted: 0,
            outage: false,
        }
    }

    /// The transport-wide number of a packet that leaves now. `bytes` is its size with RTP header and
    /// SRTP tag; `probe` marks everything that leaves while [`probe`](Self::probe) asks for a cluster.
    pub(crate) fn on_sent(&mut self, now: Instant, bytes: usize, probe: bool) -> u16 {
        let at = self.micros(now);
        let cluster = if probe {
            self.prober.on_sent(at, bytes)
        } else {
            None
        };
        self.last_sent = Some(at);
        if self.overdue.is_none() {
            self.overdue = Some(at + self.patience());
        }
        self.sent.add(at, u16::try_from(bytes).unwrap_or(u16::MAX));
        self.history.push(at, bytes, cluster)
    }

    pub(crate) fn on_feedback(&mut self, now: Instant, feedback: &Feedback) {
        let at = self.micros(now);
        let Some(newest) = self.read(feedback) else {
            return;
        };
        self.guess_ends.get_or_insert(at + GUESS_US_MAX);
        if self.outage {
            self.recover(at);
        }
        if let Some(left) = newest {
            let sample = (at - left).clamp(0, RTT_US_MAX) as f64;
            let rtt = self.rtt_us.unwrap_or(sample);
            self.rtt_us = Some(rtt + RTT_WEIGHT * (sample - rtt));
        }
        let all = self
            .reported
            .is_some_and(|(seq, _)| seq == self.history.newest());
        self.overdue = (!all).then(|| at + self.patience());
        self.judge();
        self.update(at);
        self.maybe_probe(at);
        if !self.guesses() {
            // What is known stays known, whatever is wanted later.
            self.guess_ends = Some(at);
        }
    }

    /// What would be sent if there were bandwidth for it: probing starts where that is more than the
    /// estimate.
    pub(crate) fn set_demand(&mut self, now: Instant, wanted_bps: u64) {
        self.wanted = wanted_bps as f64;
        let at = self.micros(now);
        self.maybe_probe(at);
    }

    /// A first picture begins to leave: it shows whether the path carries what one starts from, without a report to wait for.
    pub(crate) fn on_first_picture(&mut self, now: Instant) {
        if !self.outage {
            let (at, rtt) = (self.micros(now), self.rtt().unwrap_or(RTT_START));
            self.prober.check(at, self.estimate(), micros(rtt));
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant) {
        let at = self.micros(now);
        self.prober.expire(at);
        if !self.waits() || self.overdue.is_none_or(|overdue| overdue > at) {
            return;
        }
        // One who sends nothing is not answered.
        self.overdue = None;
        if self.sending(at) {
            self.outage = true;
            self.aimd.set(self.estimate() * SILENCE_FACTOR);
            self.overdue = Some(at + SILENCE_STEP_US);
        }
    }

    /// When to call [`on_timeout`](Self::on_timeout). None while nothing is on its way.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let overdue = self.overdue.filter(|_| self.waits());
        let due = match (overdue, self.prober.expires()) {
            (Some(overdue), Some(expires)) => overdue.min(expires),
            (overdue, expires) => overdue.or(expires)?,
        };
        Some(self.start + Duration::from_micros(u64::try_from(due).unwrap_or(0)))
    }

    /// None until it is more than a guess: no estimate is not an estimate of nothing.
    pub(crate) fn estimate_bps(&self) -> Option<u64> {
        (self.reported.is_some() && !self.guesses()).then(|| bps(self.estimate()))
    }

    /// Probes have not found out yet what the path takes, no queue has shown it, and it matters.
    fn guesses(&self) -> bool {
        self.prober.searching()
            && self.aimd.decreased().is_none()
            && self.wanted > self.estimate()
            && (self.guess_ends).is_none_or(|ends| self.last_update < ends)
    }

    /// What has become of the packet that was sent under this transport-wide number, as far as it is known.
    pub(crate) fn fate(&self, seq: u16) -> Fate {
        let sent = self.history.get(self.history.unwrap(seq));
        sent.map_or(Fate::Unknown, |sent| sent.fate)
    }

    /// The rate has been lowered for a moment to find out where a little loss comes from: no reason to send something
    /// else.
    pub(crate) fn is_experimenting(&self) -> bool {
        self.loss.wondering()
    }

    /// Packets come so late that a queue must stand on the way.
    pub(crate) fn is_queued(&self) -> bool {
        self.trend.late() > NARROW_LATE_US
    }

    pub(crate) fn pacing_bps(&self) -> u64 {
        let factor = if self.is_narrow {
            PACING_FACTOR_NARROW
        } else if self.loss.shallow(self.last_update) {
            PACING_FACTOR_SHALLOW
        } else if self.is_roomy() {
            PACING_FACTOR_ROOMY
        } else {
            PACING_FACTOR
        };
        bps(self.estimate() * factor)
    }

    /// What the path carries is known, is more than anybody wants, and it loses nothing.
    fn is_roomy(&self) -> bool {
        let known = !self.prober.guesses() && self.loss_permille() == Some(0);
        known && self.wanted <= self.estimate() && !self.is_queued()
    }

    /// What large pictures may be sent at until something has shown what the path carries.
    pub(crate) fn cautious_bps(&self) -> Option<u64> {
        let unknown = self.prober.guesses() && self.aimd.decreased().is_none();
        unknown.then(|| bps(self.estimate() * PACING_FACTOR_UNKNOWN))
    }

    pub(crate) fn probe(&self) -> Option<Probe> {
        self.prober.current()
    }

    /// The smoothed time from a packet to the report about it.
    pub(crate) fn rtt(&self) -> Option<Duration> {
        self.rtt_us.map(|rtt| Duration::from_micros(bps(rtt)))
    }

    /// For how long at a time nothing arrives, where that happens again and again.
    pub(crate) fn expected_hole(&self, now: Instant) -> Duration {
        let hole = self.holes.expected(self.micros(now));
        Duration::from_micros(u64::try_from(hole).unwrap_or(0))
    }

    /// How many of 1,000 packets were lost lately; `None` until so many have been reported that it can be said.
    pub(crate) fn loss_permille(&self) -> Option<u64> {
        self.loss.reported().map(|share| bps(share * 1e3))
    }

    /// The same by what has been reported so far: that packets get lost shows sooner than how many.
    pub(crate) fn loss_so_far_permille(&self) -> u64 {
        bps(self.loss.seen() * 1e3)
    }

    fn estimate(&self) -> f64 {
        let limit = self.loss.limit().unwrap_or(f64::INFINITY);
        (self.aimd.rate().min(limit)).clamp(BPS_MIN as f64, BPS_MAX as f64)
    }

    /// Whether a report that does not come means anything: there has been one, and there is something
    /// left to lower.
    fn waits(&self) -> bool {
        self.reported.is_some() && self.estimate() > BPS_MIN as f64
    }

    fn patience(&self) -> i64 {
        let rtt = self.rtt().unwrap_or(RTT_START);
        SILENCE_US + micros(rtt * 2)
    }

    fn micros(&self, now: Instant) -> i64 {
        micros(now.saturating_duration_since(self.start))
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A rate as a whole number. Negative is 0, too much is the most.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the fraction is not wanted, and the conversion saturates"
)]
fn bps(rate: f64) -> u64 {
    rate as u64
}
