//! The bandwidth estimator for senders of another kind, which number and pace their packets themselves: browsers of the simulation.

use std::time::{Duration, Instant};

use super::estimate::Estimator;
use super::twcc::{Feedback, REFERENCE_US, TICK_US};

/// What a sender's uplink carries, by the reports about its packets.
#[derive(Debug)]
pub struct UplinkEstimator {
    estimator: Estimator,
    /// How far the estimator's numbers are ahead of the sender's.
    ahead: Option<u16>,
    feedback: Feedback,
}

/// A probe that is to be sent now: at this rate, with padding in packets of this size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UplinkProbe {
    pub rate_bps: u64,
    pub packet_bytes: u64,
}

impl UplinkEstimator {
    pub fn new(now: Instant, start_bps: u64) -> Self {
        Self {
            estimator: Estimator::new(now, start_bps),
            ahead: None,
            feedback: Feedback::default(),
        }
    }

    /// A packet with this transport-wide number has left. Numbers follow each other.
    pub fn on_sent(&mut self, now: Instant, number: u16, bytes: usize) {
        let probing = self.estimator.probe().is_some();
        let ours = self.estimator.on_sent(now, bytes, probing);
        if self.ahead.is_none() {
            self.ahead = Some(ours.wrapping_sub(number));
        }
    }

    /// Report `count` about the packets from `base` on, with the time between `reference_time`, in units of 64 ms, and the arrival of
    /// each, as far as it has arrived.
    pub fn on_report(
        &mut self,
        now: Instant,
        (base, reference_time, count): (u16, u32, u8),
        arrivals: impl Iterator<Item = Option<Duration>>,
    ) {
        let Some(ahead) = self.ahead else {
            return;
        };
        let tick_us = u128::from(TICK_US.unsigned_abs());
        self.feedback.base = base.wrapping_add(ahead);
        self.feedback.reference_time = reference_time;
        self.feedback.number = count;
        self.feedback.arrivals.clear();
        self.feedback.arrivals.extend(arrivals.map(|after| {
            after.map(|after| i32::try_from(after.as_micros() / tick_us).unwrap_or(i32::MAX))
        }));
        self.estimator.on_feedback(now, &self.feedback);
    }

    /// The moment that a reference time stands for, counted from the first one of a receiver's clock.
    pub fn reference(reference_time: u32) -> Duration {
        Duration::from_micros(u64::from(reference_time) * REFERENCE_US.unsigned_abs())
    }

    /// What would be sent if there were bandwidth for it.
    pub fn set_demand(&mut self, now: Instant, wanted_bps: u64) {
        self.estimator.set_demand(now, wanted_bps);
    }

    pub fn on_timeout(&mut self, now: Instant) {
        if self.estimator.poll_timeout().is_some_and(|due| due <= now) {
            self.estimator.on_timeout(now);
        }
    }

    pub fn probe(&self) -> Option<UplinkProbe> {
        let probe = self.estimator.probe()?;
        Some(UplinkProbe {
            rate_bps: probe.rate_bps,
            packet_bytes: probe.packet_bytes,
        })
    }

    /// `None` until it is more than a guess.
    pub fn estimate_bps(&self) -> Option<u64> {
        self.estimator.estimate_bps()
    }
}
