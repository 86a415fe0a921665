//! What a link has carried for a while.

use std::time::{Duration, Instant};

/// The least of a rate in the last moments, in bit/s.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lasting {
    /// Since when, and the least since then.
    newest: Option<(Instant, u64)>,
    /// The least of the time before that.
    before: Option<u64>,
}

/// Between one and two of these are looked back on. Longer than an estimator takes to go down and up again on a full link,
/// which is 4 s; lower would call its highs lasting, higher keeps pictures away that there is room for.
const SPAN: Duration = Duration::from_secs(5);

impl Lasting {
    pub(crate) fn note(&mut self, now: Instant, bps: u64) {
        let (since, least) = self.newest.unwrap_or((now, bps));
        self.newest = if now.saturating_duration_since(since) < SPAN {
            Some((since, least.min(bps)))
        } else {
            self.before = Some(least);
            Some((now, bps))
        };
    }

    /// 0 while too little time has passed to know.
    pub(crate) fn bps(&self) -> u64 {
        let newest = self.newest.map_or(0, |(_, least)| least);
        self.before.map_or(0, |before| before.min(newest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_low_counts_until_it_is_long_ago() {
        let start = Instant::now();
        let mut lasting = Lasting::default();
        let mut least = Vec::new();
        for second in 0..20 {
            let bps = if second == 7 { 500 } else { 1_000 };
            lasting.note(start + Duration::from_secs(second), bps);
            least.push(lasting.bps());
        }
        let (unknown, known) = least.split_at(5);
        assert_eq!(unknown, [0; 5]);
        assert_eq!(known[..2], [1_000; 2]);
        assert_eq!(known[2..10], [500; 8]);
        assert_eq!(known[10..], [1_000; 5]);
    }
}
