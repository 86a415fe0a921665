//! Which packets of a publisher's stream are missing, and when it is asked for them (RFC 4585 section 6.2.1): once
//! for all who miss them, as soon as they cannot merely be late, and again when an answer would have come.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::lateness::Lateness;
use crate::limits::{NACK_ATTEMPTS_MAX, NACKED_PACKETS_MAX};

/// The missing packets of one stream.
#[derive(Debug)]
pub(crate) struct Nacks {
    ssrc: u32,
    /// The highest number, and when it came.
    newest: Option<(u64, Instant)>,
    /// In the order of their numbers.
    missing: VecDeque<Missing>,
    round_trip: RoundTrip,
    lateness: Lateness,
    /// Where the newest keyframe begins: it mends what was lost before it.
    keyframe: u64,
    /// Something will not come soon: when a keyframe is to be asked for.
    mend_at: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    seq: u64,
    /// When it is asked for next.
    due: Instant,
    asked: u8,
    asked_at: Instant,
    found_at: Instant,
    /// Whether a keyframe is to be asked for in its place has been decided.
    mended: bool,
}

/// How long a packet may be overtaken by others before it is taken for lost. Lower asks for packets that are only
/// late, and gets them twice; higher is time that viewers wait for what is lost.
const REORDER_WINDOW: Duration = Duration::from_millis(5);

/// So many packets and so much time at once are not repaired: the connection was away. A picture that changes
/// once a second may lose a packet as well.
const OUTAGE_PACKETS: u64 = 16;
const OUTAGE_TIME: Duration = Duration::from_millis(500);

/// After an outage a keyframe is asked for so much later: of a publisher whose address has changed, the way from it is known a moment
/// before the way to it. Less sends the request to where nobody is any more, and it is repeated after 500 ms.
const MEND_AFTER: Duration = Duration::from_millis(100);
/// What has been asked for so often, for so long, may never come: a keyframe is asked for as well. Less asks on a link that loses
/// 15 % for keyframes of which no picture has need, more is a picture that stands for longer.
const MEND_ATTEMPTS: u8 = 4;
const MEND_TIME: Duration = Duration::from_millis(400);

impl Nacks {
    pub(crate) fn new(ssrc: u32) -> Self {
        Self {
            ssrc,
            newest: None,
            missing: VecDeque::new(),
            round_trip: RoundTrip::default(),
            lateness: Lateness::default(),
            keyframe: 0,
            mend_at: None,
        }
    }

    pub(crate) fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// How late what is missing may come.
    pub(crate) fn lateness(&self, now: Instant) -> Duration {
        self.lateness.worst(now)
    }

    /// The highest number that has come.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.newest.map(|(seq, _)| seq)
    }

    /// Whether a packet may still come.
    pub(crate) fn is_missing(&self, seq: u64) -> bool {
        self.missing
            .binary_search_by_key(&seq, |one| one.seq)
            .is_ok()
    }

    /// A packet of the stream has come, by whichever way.
    pub(crate) fn on_packet(&mut self, now: Instant, seq: u64) {
        let Some((newest, came)) = self.newest else {
            self.newest = Some((seq, now));
            return;
        };
        if seq > newest {
            self.newest = Some((seq, now));
            self.miss(now, newest + 1..seq, now.saturating_duration_since(came));
        } else if let Ok(place) = self.missing.binary_search_by_key(&seq, |one| one.seq)
            && let Some(found) = self.missing.remove(place)
            && found.asked > 0
        {
            let late = now.saturating_duration_since(found.found_at);
            self.lateness.on_repaired(late);
            // Which of several requests has been answered cannot be told.
            if found.asked == 1 {
                let took = now.saturating_duration_since(found.asked_at);
                self.round_trip.measured(took);
            }
        }
    }

    /// A keyframe has come that begins with this packet.
    pub(crate) fn on_keyframe(&mut self, seq: u64) {
        self.keyframe = self.keyframe.max(seq);
    }

    /// Whether a keyframe is to be asked for, since packets do not come: pictures that need them stand until it comes.
    pub(crate) fn take_mend(&mut self, now: Instant) -> bool {
        self.mend_at.take_if(|at| *at <= now).is_some()
    }

    /// When [`Nacks::take_due`] or [`Nacks::take_mend`] has something; `None` while nothing is missing.
    pub(crate) fn due(&self) -> Option<Instant> {
        let missing = self.missing.iter().map(|one| one.due);
        missing.chain(self.mend_at).min()
    }

    /// The numbers to ask the publisher for at this moment, on the wire, in order. They count as asked for.
    pub(crate) fn take_due(&mut self, now: Instant, numbers: &mut Vec<u16>) {
        let next = now + self.round_trip.interval();
        self.missing.retain_mut(|one| {
            if one.due > now {
                return true;
            }
            // The last request has had its time, too.
            let given_up = one.asked == NACK_ATTEMPTS_MAX;
            let missed_for = now.saturating_duration_since(one.found_at);
            if !one.mended && (given_up || (one.asked >= MEND_ATTEMPTS && missed_for >= MEND_TIME))
            {
                one.mended = true;
                if one.seq > self.keyframe {
                    self.mend_at = Some(now);
                }
            }
            if given_up {
                return false;
            }
            #[expect(
                clippy::cast_possible_truncation,
                reason = "sequence numbers are 16 bits on the wire"
            )]
            numbers.push(one.seq as u16);
            (one.asked, one.asked_at, one.due) = (one.asked + 1, now, next);
            true
        });
    }

    fn miss(&mut self, now: Instant, hole: Range<u64>, silence: Duration) {
        let packets = hole.end - hole.start;
        self.lateness.on_packet(now, packets);
        // Nobody waits for that any more: all are served sooner by a keyframe, if nothing old stands in its way.
        if packets > NACKED_PACKETS_MAX as u64
            || (packets > OUTAGE_PACKETS && silence > OUTAGE_TIME)
        {
            self.missing.clear();
            self.mend_at = Some(now + MEND_AFTER);
            return;
        }
        let due = now + REORDER_WINDOW;
        self.missing.extend(hole.map(|seq| Missing {
            seq,
            due,
            asked: 0,
            asked_at: now,
            found_at: now,
            mended: false,
        }));
        let excess = self.missing.len().saturating_sub(NACKED_PACKETS_MAX);
        if excess > 0 {
            self.missing.drain(..excess);
            self.mend_at = Some(now + MEND_AFTER);
        }
    }
}

/// From a request to its answer, smoothed as RFC 6298 does for TCP.
#[derive(Debug, Default)]
struct RoundTrip {
    /// The mean, and how far from it measurements are.
    smoothed: Option<(Duration, Duration)>,
}

/// What is taken for the time to an answer before there was one.
const INTERVAL_START: Duration = Duration::from_millis(100);
/// Bounds of the time between two requests for a packet.
const INTERVAL_MIN: Duration = Duration::from_millis(20);
const INTERVAL_MAX: Duration = Duration::from_millis(300);

impl RoundTrip {
    fn measured(&mut self, took: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (took, took / 2),
            Some((mean, deviation)) => {
                let deviation = (deviation * 3 + mean.abs_diff(took)) / 4;
                ((mean * 7 + took) / 8, deviation)
            }
        });
    }

    /// How long an answer is waited for.
    fn interval(&self) -> Duration {
        self.smoothed.map_or(INTERVAL_START, |(mean, deviation)| {
            (mean + deviation * 4).clamp(INTERVAL_MIN, INTERVAL_MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        start: Instant,
        nacks: Nacks,
    }

    impl World {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                nacks: Nacks::new(7),
            }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn come(&mut self, ms: u64, numbers: &[u64]) {
            for &seq in numbers {
                self.nacks.on_packet(self.at(ms), seq);
            }
        }

        fn asked(&mut self, ms: u64) -> Vec<u16> {
            let mut numbers = Vec::new();
            self.nacks.take_due(self.at(ms), &mut numbers);
            numbers
        }
    }

    #[test]
    fn what_is_only_late_is_not_asked_for() {
        let mut world = World::new();
        world.come(0, &[1, 2, 5]);
        assert_eq!(world.nacks.due(), Some(world.at(5)));
        world.come(4, &[4, 3]);
        assert_eq!(world.nacks.due(), None);
        assert!(world.asked(100).is_empty());
    }

    #[test]
    fn what_is_missing_is_asked_for_after_the_window_and_again_after_a_round_trip() {
        let mut world = World::new();
        world.come(0, &[65_534, 65_537]);
        assert!(world.asked(4).is_empty());
        assert_eq!(world.asked(5), [65_535, 0]);
        world.come(6, &[65_538]);
        assert!(world.asked(104).is_empty(), "an answer may be on its way");
        assert_eq!(world.asked(105), [65_535, 0]);
    }

    #[test]
    fn requests_are_as_far_apart_as_answers_take() {
        let mut world = World::new();
        for round in 0..20 {
            let (seq, ms) = (round * 2, round * 100);
            world.come(ms, &[seq, seq + 2]);
            assert_eq!(world.asked(ms + 5).len(), 1);
            world.come(ms + 45, &[seq + 1]);
        }
        world.come(2_000, &[40, 42]);
        assert_eq!(world.asked(2_005), [41]);
        assert!(world.asked(2_040).is_empty());
        assert_eq!(world.asked(2_050), [41], "after 40 ms and a little");
    }

    #[test]
    fn an_answer_that_never_comes_is_given_up() {
        let mut world = World::new();
        world.come(0, &[1, 3]);
        let asked: usize = (0..10_000).map(|ms| world.asked(ms).len()).sum();
        assert_eq!(asked, usize::from(NACK_ATTEMPTS_MAX));
        assert!(world.nacks.take_mend(world.at(10_000)));
        assert_eq!(world.nacks.due(), None);
    }

    #[test]
    fn a_keyframe_is_asked_for_where_many_requests_have_brought_nothing() {
        let mended_at = |keyframe: Option<u64>| {
            let mut world = World::new();
            world.come(0, &[1, 3]);
            keyframe.into_iter().for_each(|seq| {
                world.come(300, &[seq]);
                world.nacks.on_keyframe(seq);
            });
            let mut asked = (0..10_000).filter(|ms| {
                world.asked(*ms);
                world.nacks.take_mend(world.at(*ms))
            });
            (asked.next(), asked.next())
        };
        assert_eq!(mended_at(None), (Some(405), None), "once");
        assert_eq!(mended_at(Some(4)), (None, None), "it has come");
    }

    #[test]
    fn a_keyframe_is_asked_for_when_all_requests_have_had_their_time() {
        let mut world = World::new();
        for round in 0..20 {
            let (seq, ms) = (round * 2, round * 100);
            world.come(ms, &[seq, seq + 2]);
            world.asked(ms + 5);
            world.come(ms + 10, &[seq + 1]);
        }
        world.come(2_000, &[40, 42]);
        let mut asked = (2_000..10_000).filter(|ms| {
            world.asked(*ms);
            world.nacks.take_mend(world.at(*ms))
        });
        assert_eq!(asked.next(), Some(2_205), "ten, 20 ms apart");
    }

    #[test]
    fn what_an_outage_took_is_not_asked_for() {
        let mut world = World::new();
        world.come(0, &[0]);
        world.come(600, &[30, 32]);
        assert_eq!(world.asked(605), [31]);
        world.come(610, &[31]);
        world.come(1_700, &[34]);
        assert_eq!(world.asked(1_705), [33], "a picture that seldom changes");
    }

    #[test]
    fn no_more_is_remembered_than_the_limit() {
        let most = NACKED_PACKETS_MAX as u64;
        let mut world = World::new();
        world.come(0, &[0, most + 1, most + 3]);
        let asked = world.asked(5);
        assert_eq!(asked.len(), NACKED_PACKETS_MAX);
        assert_eq!(asked.first(), Some(&2), "the oldest is forgotten");
        world.come(10, &[3 * most]);
        assert!(world.asked(5_000).is_empty(), "a picture with such a hole");
        assert!(world.nacks.take_mend(world.at(5_000)));
    }
}
