//! When an encoder is asked for a keyframe, and whether it minds.

use std::time::{Duration, Instant};

/// Coalesces keyframe requests to one layer's encoder.
#[derive(Debug, Default)]
pub(crate) struct Keyframes {
    last_request: Option<Instant>,
    /// Requests since the last keyframe.
    unanswered: u32,
    wanted: bool,
    /// Somebody has lost the picture that the newest keyframe was to bring.
    lost: bool,
    /// It has been asked for since, for somebody who had.
    asked_for_lost: bool,
    /// The first request since the newest keyframe.
    unanswered_since: Option<Instant>,
    /// The encoder sends keyframes when it likes: OBS has no way to ask it for one.
    pub(crate) ignored: bool,
    /// Answers in a row.
    answers: u32,
    newest: Option<Instant>,
    /// Since when the encoder is being tried out.
    trial: Option<Instant>,
    trials_failed: u32,
    /// In a row.
    trials_answered: u32,
}

/// Without a keyframe for this long, requests are taken to be ignored; what gets lost on the way has been repeated several times.
const IGNORED_AFTER: Duration = Duration::from_secs(3);
/// A keyframe this soon after a request is an answer to it. Over a satellite it takes 700 ms.
const ANSWERED_WITHIN: Duration = Duration::from_millis(800);
/// One or two may have come by chance, as every second does of a keyframe each two seconds.
const ANSWERS_MIN: u32 = 3;

/// An encoder is tried out between so long after a keyframe and twice as long: later, the next one of an encoder that sends
/// one every two seconds would look like an answer.
const TRY_AFTER: Duration = Duration::from_millis(500);
/// Trials without an answer until requests are taken to be ignored. The requests of a single one might get lost.
const TRIALS_MAX: u32 = 2;
/// Trials with an answer until the encoder is taken to mind requests. A single one may be chance: of a program that encodes while
/// it connects, the second keyframe comes sooner after the first that gets through than all others.
const TRIALS_ANSWERED_MIN: u32 = 2;

/// Between a keyframe that has been asked for and the next request: 50 viewers who join within a
/// second cost their publisher two keyframes of a layer, not fifty. More makes late joiners wait longer.
pub(crate) const REQUEST_INTERVAL: Duration = Duration::from_millis(1_200);
/// The same for those whose picture stands still since they have lost it. Less lets one bad link take bandwidth from
/// everybody, more is a longer freeze.
const LOST_INTERVAL: Duration = Duration::from_millis(500);
/// Until a request that has not been answered is repeated: it, or the keyframe, may have got lost.
const REQUEST_REPEAT: Duration = Duration::from_millis(500);

impl Keyframes {
    /// Somebody needs a keyframe. True where the encoder is to be asked now.
    pub(crate) fn want(&mut self, now: Instant) -> bool {
        self.wanted = true;
        self.take_due(now)
    }

    /// Who needs one has a picture that stands still, which the newest keyframe has not mended.
    pub(crate) fn hurry(&mut self) {
        self.lost = true;
    }

    /// True where a request that was held back is due. It counts as sent.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        if !self.wanted || self.due().is_some_and(|due| now < due) {
            return false;
        }
        self.last_request = Some(now);
        self.unanswered_since.get_or_insert(now);
        self.unanswered = self.unanswered.saturating_add(1);
        self.wanted = false;
        self.asked_for_lost |= std::mem::take(&mut self.lost);
        true
    }

    /// A keyframe has come, asked for or not: it serves everybody who has waited until now.
    pub(crate) fn on_keyframe(&mut self, now: Instant) {
        self.newest = Some(now);
        if let Some(asked) = self.unanswered_since.take() {
            let answers = now.saturating_duration_since(asked) < ANSWERED_WITHIN;
            self.answers = if answers { self.answers + 1 } else { 0 };
            self.ignored &= self.answers < ANSWERS_MIN;
        }
        if let Some(since) = self.trial.take() {
            if now.saturating_duration_since(since) < ANSWERED_WITHIN {
                self.trials_answered += 1;
            } else {
                self.trials_answered = 0;
                self.trials_failed += 1;
                self.ignored |= self.trials_failed >= TRIALS_MAX;
            }
        }
        self.unanswered = 0;
        (self.wanted, self.lost, self.asked_for_lost) = (false, false, false);
    }

    /// Whether the encoder is to be asked only to find out if it minds. Its next keyframe tells.
    pub(crate) fn try_out(&mut self, now: Instant) -> bool {
        if self.ignored || self.minds() {
            return false;
        }
        let since = |at: Instant| now.saturating_duration_since(at);
        let may_begin = self.unanswered == 0
            && self.due().is_none_or(|due| due <= now)
            && self
                .newest
                .is_some_and(|at| (TRY_AFTER..TRY_AFTER * 2).contains(&since(at)));
        if may_begin {
            self.trial = Some(now);
        }
        self.trial.is_some()
    }

    /// It answers when it is tried out.
    fn minds(&self) -> bool {
        self.trials_answered >= TRIALS_ANSWERED_MIN
    }

    /// Requests that no keyframe has come for yet.
    pub(crate) fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Whether one has been asked for that is to mend a picture that stands still, and has not come.
    pub(crate) fn asked_for_lost(&self) -> bool {
        self.asked_for_lost
    }

    /// Looks whether requests are ignored.
    pub(crate) fn tick(&mut self, now: Instant) {
        let asked = self.unanswered_since;
        if asked.is_some_and(|at| now.saturating_duration_since(at) >= IGNORED_AFTER) {
            self.ignored = true;
            self.answers = 0;
        }
    }

    /// When the next request may go out, while one is wanted.
    pub(crate) fn next(&self) -> Option<Instant> {
        if self.wanted { self.due() } else { None }
    }

    fn due(&self) -> Option<Instant> {
        let interval = match (self.unanswered, self.lost) {
            (0, false) => REQUEST_INTERVAL,
            (0, true) => LOST_INTERVAL,
            _ => REQUEST_REPEAT,
        };
        self.last_request.and_then(|at| at.checked_add(interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_is_lost_is_waited_for_less_than_one_that_is_new() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut keyframes = Keyframes::default();
        assert!(keyframes.want(at(0)));
        keyframes.on_keyframe(at(100));
        assert!(!keyframes.want(at(200)), "a joiner");
        assert_eq!(keyframes.next(), Some(at(1_200)));
        keyframes.hurry();
        assert_eq!(keyframes.next(), Some(at(500)));
        assert!(keyframes.want(at(500)));
        keyframes.on_keyframe(at(600));
        assert!(!keyframes.want(at(1_100)), "another joiner");
    }

    #[test]
    fn whip_43_an_encoder_that_ignores_requests_is_noticed_and_forgiven() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut keyframes = Keyframes::default();
        for ms in (0..=2_500).step_by(500) {
            assert!(keyframes.want(at(ms)), "{ms}");
            keyframes.tick(at(ms));
        }
        assert!(!keyframes.ignored);
        keyframes.tick(at(3_000));
        assert!(keyframes.ignored);
        keyframes.on_keyframe(at(5_000));
        assert!(keyframes.ignored, "it came when the encoder liked");
        for ms in [7_000, 9_000, 11_000] {
            assert!(keyframes.ignored, "it came by chance");
            assert!(keyframes.want(at(ms)));
            keyframes.on_keyframe(at(ms + 100));
        }
        keyframes.tick(at(20_000));
        assert!(!keyframes.ignored);
    }

    /// What is known of an encoder after so many seconds that sends a keyframe at the times that `next` gives.
    fn tried(seconds: u64, next: impl Fn(u64, Option<u64>) -> Option<u64>) -> Keyframes {
        let start = Instant::now();
        let mut keyframes = Keyframes::default();
        let (mut newest, mut asked) = (0, None);
        keyframes.on_keyframe(start);
        for ms in 1..seconds * 1_000 {
            let now = start + Duration::from_millis(ms);
            if next(newest, asked) == Some(ms) {
                keyframes.on_keyframe(now);
                (newest, asked) = (ms, None);
            }
            if ms % 500 == 77 {
                keyframes.tick(now);
                if keyframes.try_out(now) && keyframes.want(now) {
                    asked = asked.or(Some(ms));
                }
            }
        }
        keyframes
    }

    #[test]
    fn whip_43_who_sends_keyframes_often_is_found_to_ignore_requests_too() {
        for interval in [2_000, 2_500, 4_000, 10_000] {
            let known = tried(12, |newest, _| Some(newest + interval));
            assert!(known.ignored, "{interval} ms");
        }
    }

    #[test]
    fn whip_43_a_keyframe_that_comes_by_chance_in_a_trial_is_no_answer() {
        let known = tried(12, |newest, _| {
            Some(newest + if newest == 0 { 1_280 } else { 2_000 })
        });
        assert!(known.ignored);
    }

    #[test]
    fn who_answers_is_tried_out_twice() {
        for round_trip in [50, 700] {
            let known = tried(24, |newest, asked| {
                let answer = asked.map(|asked| asked + round_trip);
                answer.or(Some(newest + 10_000))
            });
            assert!(known.minds() && !known.ignored, "{round_trip} ms");
            assert_eq!(known.trials_failed, 0);
        }
    }
}
