//! Whether a worker turns, and how busy it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// When a worker last turned, for others to see.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    start: Instant,
    last_ms: AtomicU64,
}

impl Heartbeat {
    pub(crate) fn new(start: Instant) -> Self {
        Self {
            start,
            last_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn beat(&self, now: Instant) {
        self.last_ms.store(self.ms(now), Ordering::Relaxed);
    }

    /// Time since the last turn.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        Duration::from_millis(
            self.ms(now)
                .saturating_sub(self.last_ms.load(Ordering::Relaxed)),
        )
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}

/// Which share of its time a worker works: what is left is what it could take on.
#[derive(Debug, Default)]
pub(crate) struct BusyMeter {
    since: Option<Instant>,
    busy: Duration,
}

impl BusyMeter {
    /// A turn has taken so long, from waking up to lying down.
    pub(crate) fn add(&mut self, turn: Duration) {
        self.busy += turn;
    }

    /// The share since the call before, 0 to 1; 0 at the first call.
    pub(crate) fn take(&mut self, now: Instant) -> f64 {
        let busy = std::mem::take(&mut self.busy);
        let wall = self
            .since
            .replace(now)
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        if wall.is_zero() {
            return 0.0;
        }
        busy.div_duration_f64(wall).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_ages_until_the_next_turn() {
        let start = Instant::now();
        let heartbeat = Heartbeat::new(start);
        assert_eq!(
            heartbeat.age(start + Duration::from_secs(6)),
            Duration::from_secs(6)
        );
        heartbeat.beat(start + Duration::from_secs(6));
        assert_eq!(
            heartbeat.age(start + Duration::from_secs(7)),
            Duration::from_secs(1)
        );
    }

    #[test]
    fn a_worker_that_sleeps_half_of_the_time_is_half_busy() {
        let start = Instant::now();
        let mut meter = BusyMeter::default();
        meter.add(Duration::from_secs(1));
        assert!(meter.take(start) < 1e-9, "nothing to compare with yet");
        for _ in 0..100 {
            meter.add(Duration::from_millis(5));
        }
        let second = start + Duration::from_secs(1);
        assert!((meter.take(second) - 0.5).abs() < 1e-9);
        assert!(
            meter.take(second + Duration::from_secs(1)) < 1e-9,
            "it has slept since"
        );
    }
}
