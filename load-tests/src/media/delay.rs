//! One-way delays and other times, as percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Three digits: an error below 0.1 %.
const DIGITS: u8 = 3;

/// Times in nanoseconds, in bounded memory.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    pub(crate) count: u64,
}

impl Times {
    #[expect(clippy::expect_used, reason = "3 is a number of digits that it knows")]
    pub(crate) fn new() -> Self {
        Self(Histogram::new(DIGITS).expect("a histogram of three digits"))
    }

    pub(crate) fn record_ns(&mut self, nanoseconds: u64) {
        self.0 += nanoseconds.max(1);
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.record_ns(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// `None` where nothing was recorded.
    pub(crate) fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e6;
        (!self.0.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.0.max() as f64 / 1e6,
            count: self.0.len(),
        })
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(iter: I) -> Self {
        let mut times = Self::new();
        iter.into_iter().for_each(|time| times.record(time));
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let times: Times = (1..=1_000).map(Duration::from_millis).collect();
        let all = times.percentiles().unwrap();
        for (found, wanted) in [(all.p50, 500.0), (all.p90, 900.0), (all.p99, 990.0)] {
            assert!(
                (found / wanted - 1.0_f64).abs() < 0.001,
                "{found} for {wanted}"
            );
        }
        assert_eq!(all.count, 1_000);
    }

    #[test]
    fn nothing_recorded_has_no_percentiles() {
        assert_eq!(Times::new().percentiles(), None);
    }

    #[test]
    fn the_times_of_two_threads_add_up() {
        let mut one: Times = [Duration::from_millis(1)].into_iter().collect();
        let other: Times = [Duration::from_millis(9)].into_iter().collect();
        one.add(&other);
        let all = one.percentiles().unwrap();
        assert_eq!(all.count, 2);
        assert!((all.max - 9.0).abs() < 0.01);
    }
}
