//! How late packets of a publisher's stream come that had to be asked for: so long its viewers are to hold pictures.

use std::time::{Duration, Instant};

/// From this share of missing packets on, in 1,000: as for what a viewer loses (`egress/redundancy.rs`).
const FROM_PERMILLE: u64 = 20;
/// What is looked back on is between one and two of these.
const SPAN: Duration = Duration::from_secs(5);

/// What a stream has missed lately.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    before: Span,
    since: Option<Instant>,
    current: Span,
}

#[derive(Debug, Default)]
struct Span {
    packets: u64,
    missed: u64,
    /// The latest that came after all.
    worst: Duration,
}

impl Lateness {
    /// A packet has come that is newer than all before, and shows that so many before it are missing.
    pub(crate) fn on_packet(&mut self, now: Instant, missed: u64) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age >= SPAN {
            let before = std::mem::take(&mut self.current);
            self.before = if age < SPAN * 2 {
                before
            } else {
                Span::default()
            };
            self.since = Some(now);
        }
        self.current.packets += 1 + missed;
        self.current.missed += missed;
    }

    /// One of those has come, so long after it was found to be missing.
    pub(crate) fn on_repaired(&mut self, late: Duration) {
        self.current.worst = self.current.worst.max(late);
    }

    /// How late one of them may come; zero where hardly any is missing, or nothing comes any more.
    pub(crate) fn worst(&self, now: Instant) -> Duration {
        let missed = self.before.missed + self.current.missed;
        let packets = self.before.packets + self.current.packets;
        if missed == 0 || missed * 1_000 < packets * FROM_PERMILLE {
            return Duration::ZERO;
        }
        let age = self.since.map(|since| now.saturating_duration_since(since));
        if age.is_none_or(|age| age >= SPAN * 2) {
            return Duration::ZERO;
        }
        self.before.worst.max(self.current.worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE: Duration = Duration::from_millis(70);

    /// A stream of 100 packets a second.
    struct Stream {
        now: Instant,
        lateness: Lateness,
    }

    impl Stream {
        fn new() -> Self {
            Self {
                now: Instant::now(),
                lateness: Lateness::default(),
            }
        }

        fn worst(&self) -> Duration {
            self.lateness.worst(self.now)
        }

        /// So many packets come, of which one in so many is missing first.
        fn play(&mut self, packets: u32, missing: u32) {
            for packet in 1..=packets {
                self.now += Duration::from_millis(10);
                let missed = missing > 0 && packet % missing == 0;
                self.lateness.on_packet(self.now, u64::from(missed));
                if missed {
                    self.lateness.on_repaired(LATE);
                }
            }
        }
    }

    #[test]
    fn a_layer_that_is_paused_counts_no_more() {
        let mut stream = Stream::new();
        stream.play(1_000, 20);
        stream.now += SPAN * 2;
        assert_eq!(stream.worst(), Duration::ZERO);
    }

    #[test]
    fn the_latest_is_looked_back_on_while_packets_are_missing() {
        let mut stream = Stream::new();
        stream.play(1_000, 20);
        assert_eq!(stream.worst(), LATE);
        stream.lateness.on_repaired(LATE * 2);
        stream.play(400, 20);
        assert_eq!(stream.worst(), LATE * 2);
        stream.play(1_000, 20);
        assert_eq!(stream.worst(), LATE);
        stream.play(1_100, 0);
        assert_eq!(stream.worst(), Duration::ZERO);
    }

    #[test]
    fn one_packet_in_a_hundred_is_no_reason_to_wait() {
        let mut stream = Stream::new();
        stream.play(2_000, 100);
        assert_eq!(stream.worst(), Duration::ZERO);
    }

    #[test]
    fn after_a_pause_nothing_is_known() {
        let mut stream = Stream::new();
        stream.play(1_000, 20);
        stream.now += SPAN * 2;
        stream.play(1, 0);
        assert_eq!(stream.worst(), Duration::ZERO);
    }
}
