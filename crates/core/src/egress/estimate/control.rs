//! What follows from a report, once it has been read: for the rate by delay, the rate by loss, and the next
//! probe.

use super::aimd::Path;
use super::probe::Found;
use super::trend::Usage;
use super::{BPS_MAX, Estimator, RTT_START, micros};

/// Windows of the rate that has arrived, in buckets of 20 ms. The shorter one is right where a queue of
/// `QUEUED_US` leaves no pauses; otherwise the higher counts, for frames come with pauses.
const QUEUED_US: f64 = 100_000.0;
const ACKED_SHORT: i64 = 6;
const ACKED_LONG: i64 = 15;
/// Window of the rate that is sent.
const SENT: i64 = 25;
/// Less than this share of the estimate is sent: the application is the limit, not the path. Higher would
/// take the pauses of a video for that, lower would believe what comes through of little.
const LIMITED: f64 = 0.7;
/// Less than this share of what is sent comes through a path with a queue: then the path is the limit, however little
/// that is. Higher would take a queue that is being built for it, lower goes on into a path that has become narrow.
const HELD_UP: f64 = 0.7;

/// A path has become narrow where packets come so much later than the earliest, and little of what is sent comes through:
/// its queue may be full before a line can be drawn through the delays, and then looks like a longer way. Lower takes
/// bursts for that.
pub(super) const NARROW_LATE_US: f64 = 80_000.0;
/// A longer way, and radio that was away for a moment, look like that in one report. A narrow path does in several in a
/// row, in which packets come later and later by so much, or for so long, or until it is seen to lose packets.
const NARROW_GROWTH_US: f64 = 20_000.0;
const NARROW_REPORTS: u32 = 2;
const NARROW_US: i64 = 100_000;
/// Window of the rate that passes then: the queue leaves no pauses.
const ACKED_NARROW: i64 = 4;
/// A report shows that packets get lost where one in so many is missing, and so many are.
const MISSING_SHARE: u32 = 5;
const MISSING_MIN: u32 = 3;

/// Gaps between reports count as at most this, so that a pause is not growth.
const STEP_US_MAX: i64 = 200_000;

/// No probe is sent into a queue longer than this, nor so soon after the rate was lowered.
const PROBE_QUEUE_US: f64 = 60_000.0;
const PROBE_CALM_US: i64 = 1_000_000;
/// A peer to which nothing has been sent for this is not sent probes, nor expected to answer.
const SENDING_US: i64 = 300_000;

impl Estimator {
    pub(super) fn update(&mut self, at: i64) {
        let elapsed = at - std::mem::replace(&mut self.last_update, at);
        let elapsed = elapsed.clamp(0, STEP_US_MAX);
        let natural = self.loss.natural();
        self.prober.expire(at);
        let known = self.estimate().max(self.loss.capacity().unwrap_or(0.0));
        let shallow = self.loss.shallow(at);
        let mut usage = self.trend.usage();
        let mut path = Path {
            acked: self.acked_rate(),
            rtt_us: micros(self.rtt().unwrap_or(RTT_START)) as f64,
            queue_us: self.trend.queue(),
            limited: self.limited(),
        };
        let narrow = self.narrow(at);
        self.is_narrow = narrow.is_some();
        if let Some(passed) = narrow {
            usage = Usage::Over;
            path.acked = Some(passed);
            path.queue_us = self.trend.late().max(path.queue_us);
            path.limited = false;
            self.loss.explain(at);
            self.trend.take_back_leaps();
        }
        match self.prober.conclude(at, known, natural, shallow) {
            Some(Found::More { rate, full }) => {
                self.aimd.set(rate.min(BPS_MAX as f64));
                if let Some(full) = full {
                    self.aimd.filled(at, full);
                }
                self.loss.raise(rate, full.is_some());
            }
            Some(Found::Full(rate)) => self.aimd.filled(at, rate),
            Some(Found::AtMost(rate)) => self.loss.lower(rate),
            None => self.aimd.update(at, elapsed, usage, path),
        }
        self.loss.update(at, elapsed, self.aimd.rate(), path);
    }

    /// What comes through where the path has become narrow.
    fn narrow(&mut self, at: i64) -> Option<f64> {
        let passed = self.acked.rate(ACKED_NARROW).unwrap_or(0.0);
        let sent = self.sent.rate(SENT).unwrap_or(0.0);
        let late = self.trend.late();
        let before = std::mem::replace(&mut self.late_before, late);
        self.later = if late > before + NARROW_GROWTH_US {
            self.later + 1
        } else {
            0
        };
        if late < NARROW_LATE_US || passed > sent * HELD_UP || passed <= 0.0 {
            self.narrow_since = None;
            return None;
        }
        let since = *self.narrow_since.get_or_insert(at);
        let (arrived, missing) = self.newest_report;
        let loses = missing >= MISSING_MIN && missing * MISSING_SHARE >= arrived + missing;
        let is_narrow = loses || self.later >= NARROW_REPORTS || at - since >= NARROW_US;
        is_narrow.then_some(passed)
    }

    fn acked_rate(&self) -> Option<f64> {
        let long = self.acked.rate(ACKED_LONG)?;
        let short = self.acked.rate(ACKED_SHORT).unwrap_or(long);
        let queued = self.trend.queue() > QUEUED_US;
        Some(if queued { short } else { short.max(long) })
    }

    /// Whether the application is the limit: little is sent, and it comes through.
    fn limited(&self) -> bool {
        let Some(sent) = self.sent.rate(SENT) else {
            return true;
        };
        let queued = self.trend.queue() > QUEUED_US;
        let held_up = queued
            && self
                .acked_rate()
                .is_some_and(|acked| acked < sent * HELD_UP);
        sent < self.estimate() * LIMITED && !held_up
    }

    pub(super) fn sending(&self, at: i64) -> bool {
        self.last_sent.is_some_and(|sent| at - sent < SENDING_US)
    }

    pub(super) fn maybe_probe(&mut self, at: i64) {
        let calm = self.trend.usage() != Usage::Over
            && self.trend.queue() < PROBE_QUEUE_US
            && self
                .aimd
                .decreased()
                .is_none_or(|decreased| at - decreased > PROBE_CALM_US)
            && !self.loss.experimenting()
            && !self.outage;
        let estimate = self.estimate();
        if self.sending(at) && calm && self.reported.is_some() && self.wanted > estimate {
            let rtt = micros(self.rtt().unwrap_or(RTT_START));
            self.prober.start(at, estimate, self.wanted, rtt);
        }
    }

    /// The first report after an outage: what was measured before it means nothing.
    pub(super) fn recover(&mut self, at: i64) {
        self.outage = false;
        self.trend.restart();
        self.prober.restart(at);
    }
}
