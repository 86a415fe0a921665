//! A byte rate over the last moments, for what is sent and for what is acknowledged.

/// A rate is a whole number of these. Shorter ones would see the frames of a video, longer ones
/// would blur the moment at which a queue began.
const BUCKET_US: i64 = 20_000;
const BUCKETS: u8 = 32;
const LEN: usize = BUCKETS as usize;

/// Silence after which there is no rate until something has been seen for a whole window again.
const SILENCE_US: i64 = 500_000;
/// Times that go back by more than this are a new clock.
const BACK_US_MAX: i64 = 5_000_000;

#[derive(Debug)]
pub(super) struct Window {
    buckets: [u32; LEN],
    /// Which bucket of all time is the newest.
    newest: i64,
    /// The newest time seen.
    last: i64,
    /// Since when there has been something without a pause.
    since: Option<i64>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            buckets: [0; LEN],
            newest: 0,
            last: 0,
            since: None,
        }
    }

    pub(super) fn add(&mut self, at: i64, bytes: u16) {
        let bucket = at.div_euclid(BUCKET_US);
        let restart =
            self.since.is_none() || at - self.last > SILENCE_US || self.last - at > BACK_US_MAX;
        if restart {
            self.buckets = [0; LEN];
            self.newest = bucket;
            self.last = at;
            self.since = Some(at);
        } else if bucket > self.newest {
            for skipped in self.newest + 1..=bucket {
                if let Some(count) = self.buckets.get_mut(index(skipped)) {
                    *count = 0;
                }
            }
            self.newest = bucket;
        } else if bucket <= self.newest - i64::from(BUCKETS) {
            return;
        }
        self.last = self.last.max(at);
        if let Some(count) = self.buckets.get_mut(index(bucket)) {
            *count = count.saturating_add(u32::from(bytes));
        }
    }

    /// Bits per second over the last `buckets` whole buckets and the one that is being filled; None
    /// until there has been something for that long.
    pub(super) fn rate(&self, buckets: i64) -> Option<f64> {
        let first = self.newest - buckets.min(i64::from(BUCKETS) - 1);
        let start = first * BUCKET_US;
        if self.since? > start {
            return None;
        }
        let bytes: u64 = (first..=self.newest)
            .filter_map(|bucket| self.buckets.get(index(bucket)))
            .map(|bytes| u64::from(*bytes))
            .sum();
        let span = self.last - start;
        Some(bytes as f64 * 8e6 / span as f64)
    }

    pub(super) fn restart(&mut self) {
        self.since = None;
    }
}

fn index(bucket: i64) -> usize {
    usize::try_from(bucket.rem_euclid(i64::from(BUCKETS))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        let mut window = Window::new();
        for at in 0..1_000 {
            assert!(window.rate(10).is_none() || at >= 200);
            window.add(at * 1_000, if at < 500 { 125 } else { 250 });
        }
        assert!((window.rate(10).unwrap() / 2e6 - 1.0).abs() < 0.01);
        assert!((window.rate(30).unwrap() / 1.82e6 - 1.0).abs() < 0.03);
    }

    #[test]
    fn a_pause_and_a_new_clock_start_it_again() {
        let mut window = Window::new();
        for at in 0..300 {
            window.add(at * 1_000, 125);
        }
        window.add(2_000_000, 125);
        assert!(window.rate(10).is_none());
        window.add(-90_000_000, 125);
        assert!(window.rate(1).is_none());
        window.add(-89_950_000, 125);
        assert!(window.rate(1).is_some());
    }
}
