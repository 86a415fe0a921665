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
        let path = Path {
            acked: self.acked_rate(),
            rtt_us: micros(self.rtt().unwrap_or(RTT_START)) as f64,
            queue_us: self.trend.queue(),
            limited: self.limited(),
        };
        match self.prober.conclude(at, known, natural, shallow) {
            Some(Found::More { rate, filled }) => {
                self.aimd.set(rate.min(BPS_MAX as f64));
                self.loss.raise(rate, filled);
            }
            Some(Found::AtMost(rate)) => self.loss.lower(rate),
            None => self.aimd.update(at, elapsed, self.trend.usage(), path),
        }
        self.loss.update(at, elapsed, self.aimd.rate(), path);
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
