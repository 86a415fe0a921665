//! How much a stream takes.

use std::time::{Duration, Instant};

/// A smoothed rate, measured between ticks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    bytes: u64,
    since: Option<Instant>,
    pub(crate) bps: u64,
}

impl Rate {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// In bit/s, with headers.
    pub(crate) fn bps(&self) -> u64 {
        self.bps
    }

    /// Takes in what has come since the last tick. An encoder that stood still says nothing about
    /// what it takes when it runs.
    pub(crate) fn tick(&mut self, now: Instant) {
        let bytes = std::mem::take(&mut self.bytes);
        let elapsed = self
            .since
            .replace(now)
            .map(|since| now.saturating_duration_since(since));
        let Some(elapsed) = elapsed.filter(|elapsed| bytes > 0 && *elapsed < RATE_WINDOW_MAX)
        else {
            return;
        };
        let micros = u64::try_from(elapsed.as_micros())
            .unwrap_or(u64::MAX)
            .max(1);
        let bps = bytes.saturating_mul(8_000_000) / micros;
        self.bps = if self.bps == 0 {
            bps
        } else {
            (self.bps + bps) / 2
        };
    }
}

/// A longer time than this between ticks holds a pause.
const RATE_WINDOW_MAX: Duration = Duration::from_secs(1);
