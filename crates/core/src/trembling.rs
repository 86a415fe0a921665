//! How far an estimate has fallen lately.
//!
//! An estimate trembles: by noise, and by what the estimator itself tries out. What climbs at its best moment has to come
//! down at its worst, and each of the two is a keyframe. So climbing goes by the lowest value to which the estimate has
//! fallen lately, and staying by the one of now. An estimate that only rises has not fallen: nobody waits then.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The values to which an estimate has fallen, the lowest one first.
#[derive(Debug, Default)]
pub(crate) struct Troughs(VecDeque<(Instant, u64)>);

/// For so long what an estimate has fallen to is remembered. Less forgets a slow tremble between two troughs, more keeps
/// pictures small after a link has got better.
const MEMORY: Duration = Duration::from_secs(3);
/// What has risen by more than from 0.9 to 1.1 has recovered, and does not tremble. Lower keeps pictures small after an
/// outage, higher lets them follow noise.
const TREMBLE_PERCENT: u64 = 80;
/// Estimates that fall more often within that time are told apart less finely.
const TROUGHS_MAX: usize = 32;

impl Troughs {
    /// The estimate is this one now.
    pub(crate) fn note(&mut self, now: Instant, before: u64, after: u64) {
        if after >= before {
            return;
        }
        self.0.retain(|(_, trough)| *trough < after);
        if self.0.len() == TROUGHS_MAX {
            self.0.pop_back();
        }
        self.0.push_back((now, after));
    }

    /// The lowest of them that the present estimate may fall back to by trembling, or that estimate itself.
    pub(crate) fn steady(&mut self, now: Instant, present: u64) -> u64 {
        let is_old = |(at, _): &(Instant, u64)| now.saturating_duration_since(*at) >= MEMORY;
        while self.0.front().is_some_and(is_old) {
            self.0.pop_front();
        }
        let is_tremble = |trough: &u64| {
            let least = present.saturating_mul(TREMBLE_PERCENT) / 100;
            (least..present).contains(trough)
        };
        let mut troughs = self.0.iter().map(|(_, trough)| *trough);
        troughs.find(is_tremble).unwrap_or(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is steady after each of these estimates, one every half a second.
    fn steady(estimates: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut troughs = Troughs::default();
        let mut before = 0;
        let times = (0..).map(|half| start + Duration::from_millis(500) * half);
        let seen = times.zip(estimates).map(|(now, &estimate)| {
            troughs.note(now, before, estimate);
            before = estimate;
            troughs.steady(now, estimate)
        });
        seen.collect()
    }

    #[test]
    fn what_only_rises_is_steady() {
        let rising = [100, 200, 300, 300, 900];
        assert_eq!(steady(&rising), rising);
    }

    #[test]
    fn the_lowest_counts_until_it_is_old() {
        assert_eq!(
            steady(&[100, 90, 110, 105, 110, 95, 105, 105, 105]),
            [100, 90, 90, 90, 90, 90, 90, 95, 95]
        );
    }

    #[test]
    fn what_has_recovered_from_an_outage_is_steady() {
        assert_eq!(steady(&[1_000, 100, 110, 900]), [1_000, 100, 100, 900]);
    }

    #[test]
    fn an_estimate_that_falls_all_the_time_costs_no_more_memory() {
        let start = Instant::now();
        let mut troughs = Troughs::default();
        for fall in 0..10_000 {
            troughs.note(start, 20_000, fall);
        }
        assert_eq!(troughs.0.len(), TROUGHS_MAX);
    }
}
