//! Packets that cannot be read yet: the structure that their dependency descriptors refer to is still to come.

use std::time::{Duration, Instant};

use crate::limits::UNREAD_PACKETS_MAX;

/// What waits, oldest first.
#[derive(Debug)]
pub(crate) struct Unread<P>(Vec<(Instant, P)>);

/// How long packets wait: as long as the packet with the structure may take to be sent again.
const AGE_MAX: Duration = Duration::from_millis(300);

impl<P> Default for Unread<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P> Unread<P> {
    /// Keeps a packet. `false` where too much waits, or for too long: the structure is lost, and so is what was kept.
    pub(crate) fn keep(&mut self, now: Instant, packet: P) -> bool {
        let since = self.0.first().map_or(now, |(at, _)| *at);
        let waited = now.saturating_duration_since(since);
        if self.0.len() >= UNREAD_PACKETS_MAX || waited >= AGE_MAX {
            self.clear();
            return false;
        }
        self.0.push((now, packet));
        true
    }

    /// Everything, in the order in which it came.
    pub(crate) fn take(&mut self) -> Vec<P> {
        let all = std::mem::take(&mut self.0);
        all.into_iter().map(|(_, packet)| packet).collect()
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_the_limit_says() {
        let now = Instant::now();
        let mut unread = Unread::default();
        for packet in 0..UNREAD_PACKETS_MAX {
            assert!(unread.keep(now, packet));
        }
        assert!(!unread.keep(now, 0));
        assert_eq!(unread.take(), []);
    }

    #[test]
    fn nothing_waits_for_ever() {
        let now = Instant::now();
        let mut unread = Unread::default();
        assert!(unread.keep(now, 1) && unread.keep(now + AGE_MAX / 2, 2));
        assert!(!unread.keep(now + AGE_MAX, 3));
        assert!(unread.keep(now + AGE_MAX, 4));
        assert_eq!(unread.take(), [4]);
    }
}
