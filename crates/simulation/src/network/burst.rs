//! Losses that come together: a channel with two states (Gilbert 1960), by time and not by packet, since fading
//! lasts as long for a few packets as for many.

use std::time::Duration;

use fastrand::Rng;

/// How often and how long nothing gets through.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bursts {
    /// Share of the time, 0 to 1.
    pub share: f64,
    /// Mean length; the lengths are drawn from an exponential distribution.
    pub length: Duration,
}

/// Which state the channel is in, and until when.
#[derive(Debug, Default)]
pub(super) struct Weather {
    bad: bool,
    until: Duration,
}

impl Weather {
    pub(super) fn is_bad(&mut self, now: Duration, bursts: Bursts, rng: &mut Rng) -> bool {
        while self.until <= now {
            let pause = bursts.length.mul_f64((1.0 - bursts.share) / bursts.share);
            // The channel begins in the good state.
            self.bad = !self.bad && self.until > Duration::ZERO;
            let mean = if self.bad { bursts.length } else { pause };
            self.until += mean.mul_f64(exponential(rng)) + Duration::from_micros(1);
        }
        self.bad
    }
}

/// A number with the mean 1.
fn exponential(rng: &mut Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}
