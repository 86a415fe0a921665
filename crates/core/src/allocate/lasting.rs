//! What a link has carried for a while.

use std::time::{Duration, Instant};

/// The least of a rate in the last moments, in bit/s.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lasting {
    /// Of each span, the newest first.
    least: [u64; SPANS],
    /// When the newest one began.
    since: Option<Instant>,
}

/// Four to six seconds are looked back on. Longer than an estimator takes to go down and up again on a full link, which is
/// 4 s; lower would call its highs lasting, higher keeps pictures away that there is room for.
const SPANS: usize = 3;
const SPAN: Duration = Duration::from_secs(2);

impl Lasting {
    pub(crate) fn note(&mut self, now: Instant, bps: u64) {
        let since = *self.since.get_or_insert(now);
        let [newest, ..] = &mut self.least;
        if since == now {
            *newest = bps;
        } else if now.saturating_duration_since(since) < SPAN {
            *newest = bps.min(*newest);
        } else {
            self.least.rotate_right(1);
            let [newest, ..] = &mut self.least;
            *newest = bps;
            self.since = Some(now);
        }
    }

    /// 0 while too little time has passed to know.
    pub(crate) fn bps(&self) -> u64 {
        self.least.into_iter().min().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_counts_until_it_is_long_ago() {
        let start = Instant::now();
        let mut lasting = Lasting::default();
        let mut least: Vec<u64> = Vec::new();
        for second in 0..20 {
            let bps = if second == 7 { 500 } else { 1_000 };
            lasting.note(start + Duration::from_secs(second), bps);
            least.push(lasting.bps());
        }
        assert_eq!(least[..4], [0; 4]);
        assert_eq!(least[4..7], [1_000; 3]);
        assert_eq!(least[7..12], [500; 5]);
        assert_eq!(least[12..], [1_000; 8]);
    }
}
