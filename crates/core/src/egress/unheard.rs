//! The first packets of a stream. Receivers ask for none before the first that has come, and would wait for another keyframe: which
//! of them have come is seen here from their reports.

use std::time::{Duration, Instant};

/// Packets until one is reported. More outlast a longer way, and a keyframe of all of them; what is lost beyond takes another
/// keyframe.
const PACKETS_MAX: usize = 64;
/// Whoever has heard nothing for so long had no keys yet, or no way here: what has been sent since shows a picture from long ago,
/// and a keyframe a new one. Less does not outlast the first report over a long way.
const AGE_MAX: Duration = Duration::from_millis(500);

/// What a stream has sent until something of it is known to have come.
#[derive(Debug, Default)]
pub(super) struct Unheard {
    /// In the order they left.
    sent: Vec<Sent>,
    /// When the first of them left.
    since: Option<Instant>,
    /// The receiver asks for what it misses.
    heard: bool,
}

/// A packet's number on the transport, and in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) transport_seq: u16,
    pub(super) seq: u16,
}

impl Unheard {
    /// Notes a packet that leaves, as long as none is known to have come; whether that is so.
    pub(super) fn note(&mut self, now: Instant, sent: Sent) -> bool {
        if !self.heard && self.sent.len() < PACKETS_MAX {
            self.since.get_or_insert(now);
            self.sent.push(sent);
        }
        !self.heard
    }

    /// Packets that got lost before the first that has come, once there is one, and where they are worth sending again.
    pub(super) fn on_report(
        &mut self,
        now: Instant,
        has_arrived: impl Fn(u16) -> bool,
    ) -> Vec<Sent> {
        let mut sent = self.sent.iter();
        let Some(first) = sent.position(|sent| has_arrived(sent.transport_seq)) else {
            return Vec::new();
        };
        self.heard = true;
        let mut lost = std::mem::take(&mut self.sent);
        let age = self.since.map(|since| now.saturating_duration_since(since));
        let is_worth_it = age.is_some_and(|age| age <= AGE_MAX);
        lost.truncate(if is_worth_it { first } else { 0 });
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: u16) -> Sent {
        Sent {
            transport_seq: number,
            seq: number,
        }
    }

    #[test]
    fn what_was_before_the_first_that_came_is_told_once() {
        let now = Instant::now();
        let mut unheard = Unheard::default();
        (0..4).for_each(|number| assert!(unheard.note(now, sent(number))));
        assert_eq!(unheard.on_report(now, |_| false), []);
        unheard.note(now, sent(4));
        let later = now + AGE_MAX;
        let found = unheard.on_report(later, |number| number >= 2);
        assert_eq!(found, [sent(0), sent(1)]);
        assert!(!unheard.note(later, sent(5)));
        assert_eq!(unheard.on_report(later, |_| true), []);
    }

    #[test]
    fn what_was_long_ago_is_not_sent_again() {
        let now = Instant::now();
        let mut unheard = Unheard::default();
        (0..4).for_each(|number| assert!(unheard.note(now, sent(number))));
        let later = now + AGE_MAX + Duration::from_millis(1);
        assert_eq!(unheard.on_report(later, |number| number >= 2), []);
        assert!(unheard.heard);
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let now = Instant::now();
        let mut unheard = Unheard::default();
        (0..1_000).for_each(|number| assert!(unheard.note(now, sent(number))));
        assert_eq!(unheard.sent.len(), PACKETS_MAX);
    }
}
