//! What is enough for everybody who looks, as a publisher is told it.

use std::time::{Duration, Instant};

/// What nobody wants goes on for this long: tiles that come and go cost no restart.
pub(crate) const UNWANTED_HOLD: Duration = Duration::from_secs(3);

/// A limit that grows at once, and shrinks when that has lasted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ceiling {
    /// What the publisher has been told, none for no limit.
    pub(crate) told: Option<u32>,
    /// Since when less would do.
    less_since: Option<Instant>,
}

impl Ceiling {
    /// Takes over what is enough, none for all that there is; true where the publisher has to be told.
    pub(crate) fn want(&mut self, now: Instant, enough: Option<u32>) -> bool {
        let rank = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
        if rank(enough) < rank(self.told) {
            let since = *self.less_since.get_or_insert(now);
            if now.saturating_duration_since(since) < UNWANTED_HOLD {
                return false;
            }
        }
        self.less_since = None;
        std::mem::replace(&mut self.told, enough) != enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_told_at_once_and_less_when_it_lasts() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ceiling = Ceiling::default();
        assert!(!ceiling.want(at(0), Some(15)));
        assert!(!ceiling.want(at(2_900), Some(15)));
        assert!(ceiling.want(at(3_000), Some(15)));
        assert!(!ceiling.want(at(3_500), Some(15)));
        assert!(ceiling.want(at(3_600), None));
        assert_eq!(ceiling.told, None);
    }
}
