//! What a link has carried for a while.

use std::time::{Duration, Instant};

/// The least of a rate in the last moments, in bit/s.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lasting {
    /// Of each span, the newest first.
    least: [u64; SPANS],
    /// When the newest one began.
    since: Option<Instant>,
    present: u64,
}

/// Four to four and a half seconds are looked back on. As long as an estimator takes to go down and up again on a full
/// link, which is 4 s; lower would call its highs lasting, higher keeps pictures away that there is room for.
const SPANS: usize = 9;
const SPAN_MS: u64 = 500;
const SPAN: Duration = Duration::from_millis(SPAN_MS);
const MEMORY: Duration = Duration::from_millis(SPAN_MS * SPANS as u64);

impl Lasting {
    /// The rate is this one from now on.
    pub(crate) fn note(&mut self, now: Instant, bps: u64) {
        if self.since.is_none() {
            self.begin(now, bps);
        }
        while let Some(since) = self.since
            && now.saturating_duration_since(since) >= SPAN
        {
            // What stood for longer than is looked back on fills all spans.
            let next = if now.saturating_duration_since(since) >= MEMORY {
                self.least.fill(self.present);
                now
            } else {
                since + SPAN
            };
            self.begin(next, self.present);
        }
        let [newest, ..] = &mut self.least;
        *newest = bps.min(*newest);
        self.present = bps;
    }

    /// Begins a span with what the rate is then.
    fn begin(&mut self, at: Instant, bps: u64) {
        self.least.rotate_right(1);
        let [newest, ..] = &mut self.least;
        *newest = bps;
        self.since = Some(at);
    }

    /// 0 while too little time has passed to know.
    pub(crate) fn bps(&self) -> u64 {
        self.least.into_iter().min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has lasted after each of these rates, one every `apart`.
    fn lasting(apart: Duration, rates: &[u64]) -> Vec<u64> {
        let start = Instant::now();
        let mut lasting = Lasting::default();
        let times = (0..).map(|nth| start + apart * nth);
        let seen = times.zip(rates).map(|(now, &bps)| {
            lasting.note(now, bps);
            lasting.bps()
        });
        seen.collect()
    }

    #[test]
    fn a_low_counts_until_it_is_long_ago() {
        let rates = [9, 9, 9, 9, 9, 5, 9, 9, 9, 9, 9, 9];
        let second = Duration::from_secs(1);
        assert_eq!(
            lasting(second, &rates),
            [0, 0, 0, 0, 9, 5, 5, 5, 5, 5, 5, 9]
        );
    }

    #[test]
    fn what_stood_until_it_changed_counts_for_all_that_time() {
        let minute = Duration::from_secs(60);
        assert_eq!(lasting(minute, &[5, 9, 8, 9]), [0, 5, 8, 8]);
    }
}
