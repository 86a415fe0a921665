//! A receiver's jitter buffers, and what people notice of them: pictures that stand still, sound that is made up.
//!
//! Both buffers wait as long as most of what came lately needed: libwebrtc's are finer, but have the same aim. Frames of which something had to
//! be asked for do not count: libwebrtc adds the round trip for them (`JitterEstimator::FrameNacked`), but does not know it where it sends no
//! media. It holds pictures as long as the sender wants in any case (`VCMTiming`, header extension playout-delay).

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::decoder::{Heard, Shown};

/// The delays that a buffer remembers: three seconds of video, two of audio.
const VIDEO_DELAYS: usize = 90;
const AUDIO_DELAYS: usize = 100;
/// Share of them, in percent, that a buffer waits for.
const VIDEO_PERCENT: usize = 95;
const AUDIO_PERCENT: usize = 97;
/// What a buffer of sound holds beyond that: NetEq waits for a packet of 20 ms at the least.
const AUDIO_SPARE: Duration = Duration::from_millis(20);

/// libwebrtc's freeze (`VideoQualityObserver`): a frame that stands longer than three times the average of the last 30,
/// and longer than that average and 150 ms.
const AVERAGED: usize = 30;
const AVERAGED_MIN: usize = 5;
const FREEZE_FACTOR: u32 = 3;
pub(super) const FREEZE_SPARE: Duration = Duration::from_millis(150);

/// 100 ms in a second.
const DELAY_CHANGES_BY: u32 = 10;

/// RTP ticks of a second.
const VIDEO_CLOCK: u32 = 90_000;
/// No timestamp is so far ahead of what has come.
const AHEAD: Duration = Duration::from_secs(10);

/// When frames are shown, which come in the order of the stream. A frame that comes when one behind it is due is left out, as
/// libwebrtc's `FrameBuffer` does it: what waits for it cannot be decoded before it, and is not due.
pub(super) fn render_times(frames: &[Shown]) -> Vec<Duration> {
    let mut buffer = Buffer::new(VIDEO_DELAYS, VIDEO_PERCENT);
    let mut delay = Delay::default();
    let due = frames.iter().zip(told_times(frames)).map(|(frame, told)| {
        if !frame.repaired {
            buffer.add((frame.came_at + AHEAD).saturating_sub(told));
        }
        let target = buffer.wait().max(buffer.usual() + frame.hold);
        let due = told + delay.of(told, target);
        delay.on_decodable(frame.at + AHEAD, due, target);
        frame.at.max(due.saturating_sub(AHEAD))
    });
    let due: Vec<Duration> = due.collect();
    let mut next_due = Duration::MAX;
    let mut shown = Vec::new();
    for (frame, due) in frames.iter().zip(due).rev() {
        if frame.at <= next_due {
            shown.push(due);
        }
        next_due = next_due.min(due);
    }
    let mut last = Duration::ZERO;
    let in_order = shown.into_iter().rev();
    in_order
        .map(|due| {
            last = last.max(due);
            last
        })
        .collect()
}

/// For how long pictures are held (`VCMTiming`). It follows what is wanted slowly, as slow motion: at once would be a freeze.
#[derive(Default)]
struct Delay {
    /// And for which frame, by its timestamp.
    current: Option<(Duration, Duration)>,
}

impl Delay {
    /// For how long this frame is held.
    fn of(&mut self, told: Duration, target: Duration) -> Duration {
        let held = match self.current {
            None => target,
            Some((before, at)) => {
                let most = told.saturating_sub(at) / DELAY_CHANGES_BY;
                target.clamp(before.saturating_sub(most), before + most)
            }
        };
        self.current = Some((held, told));
        held
    }

    /// A frame that could not be decoded when it was due has been held for longer already.
    fn on_decodable(&mut self, at: Duration, due: Duration, target: Duration) {
        if let Some((held, _)) = &mut self.current {
            let late = at.saturating_sub(due);
            *held = (*held + late).min(target.max(*held));
        }
    }
}

/// The times of frames as their RTP timestamps tell them, which is all that a receiver knows: what has been kept, and is caught up
/// with, is old, but not late. Another slot has another clock.
fn told_times(frames: &[Shown]) -> Vec<Duration> {
    let mut told = AHEAD;
    let mut before: Option<&Shown> = None;
    let times = frames.iter().map(|frame| {
        if let Some(before) = before.replace(frame) {
            let ticks = frame.timestamp.wrapping_sub(before.timestamp).cast_signed();
            let step = Duration::from_secs(ticks.unsigned_abs().into()) / VIDEO_CLOCK;
            let passed = frame.turn_at.saturating_sub(before.turn_at);
            told = if step > passed + AHEAD {
                told + passed
            } else if ticks < 0 {
                told.saturating_sub(step)
            } else {
                told + step
            };
        }
        told
    });
    times.collect()
}

/// The pauses between frames that count as freezes.
pub(super) fn freezes(rendered: &[Duration]) -> Vec<Range<Duration>> {
    let mut intervals: VecDeque<Duration> = VecDeque::new();
    let mut freezes = Vec::new();
    for pair in rendered.windows(2) {
        let [before, after] = *pair else { continue };
        let interval = after - before;
        let count = u32::try_from(intervals.len()).unwrap_or(u32::MAX).max(1);
        let average = intervals.iter().sum::<Duration>() / count;
        let limit = (average * FREEZE_FACTOR).max(average + FREEZE_SPARE);
        if intervals.len() >= AVERAGED_MIN && interval >= limit {
            freezes.push(before..after);
        }
        intervals.push_back(interval);
        if intervals.len() > AVERAGED {
            intervals.pop_front();
        }
    }
    freezes
}

/// Share of a voice that did not come in time to be played.
pub(super) fn concealed(heard: &[Heard]) -> f64 {
    let (Some(first), Some(last)) = (heard.first(), heard.last()) else {
        return 0.0;
    };
    let expected = last.tag.frame.saturating_sub(first.tag.frame) + 1;
    let mut buffer = Buffer::new(AUDIO_DELAYS, AUDIO_PERCENT);
    let mut wait = None;
    let mut played = 0;
    for packet in heard {
        let delay = packet.at.saturating_sub(packet.tag.captured);
        played += u32::from(wait.is_none_or(|wait| delay <= wait + AUDIO_SPARE));
        buffer.add(delay);
        wait = Some(buffer.wait());
    }
    1.0 - f64::from(played) / f64::from(expected)
}

/// Remembers delays, and says how long to wait.
struct Buffer {
    delays: VecDeque<Duration>,
    most: usize,
    percent: usize,
}

impl Buffer {
    fn new(most: usize, percent: usize) -> Self {
        Self {
            delays: VecDeque::new(),
            most,
            percent,
        }
    }

    fn add(&mut self, delay: Duration) {
        self.delays.push_back(delay);
        if self.delays.len() > self.most {
            self.delays.pop_front();
        }
    }

    fn wait(&self) -> Duration {
        self.percentile(self.percent)
    }

    fn usual(&self) -> Duration {
        self.percentile(50)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted: Vec<Duration> = self.delays.iter().copied().collect();
        sorted.sort_unstable();
        let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Tag;

    const FRAME: Duration = Duration::from_millis(33);

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Frames that take so long to come, of which each is predicted from the one before.
    fn shown(delays_ms: impl IntoIterator<Item = u64>) -> Vec<Shown> {
        let mut frames = independent(delays_ms);
        let mut ready = Duration::ZERO;
        for frame in &mut frames {
            ready = ready.max(frame.at);
            frame.at = ready;
        }
        frames
    }

    /// And of which none is.
    fn independent(delays_ms: impl IntoIterator<Item = u64>) -> Vec<Shown> {
        let frames = (0u32..).zip(delays_ms).map(|(frame, delay)| {
            let captured = FRAME * frame;
            let at = captured + Duration::from_millis(delay);
            let tag = Tag {
                source: 1,
                layer: 0,
                spatial: 0,
                temporal: 0,
                frame,
                packet: 0,
                packets: 1,
                reference: None,
                below: None,
                captured,
            };
            Shown {
                at,
                turn_at: at,
                first_at: at,
                came_at: at,
                repaired: false,
                hold: Duration::ZERO,
                tag,
                timestamp: 2_970 * frame,
            }
        });
        frames.collect()
    }

    #[test]
    fn what_has_been_kept_and_is_caught_up_with_is_not_late() {
        let mut frames = shown((0..60).map(|_| 20));
        // Ten frames come at once, and time goes half as fast until they have been caught up with.
        for (at, frame) in (0..).zip(frames.iter_mut().take(20)) {
            frame.at = frame.at.max(FRAME * 10);
            frame.turn_at = frame.at;
            frame.timestamp = 2_970 * 10 + 1_485 * at;
        }
        let rendered = render_times(&frames);
        assert_eq!(freezes(&rendered).len(), 0);
        let last = rendered[rendered.len() - 1];
        assert!(last < FRAME * 62, "{last:?}");
    }

    #[test]
    fn a_frame_that_is_late_once_is_a_freeze_and_a_path_that_is_always_late_is_none() {
        let once = shown((0..60).map(|i| if i == 40 { 300 } else { 20 }));
        assert_eq!(freezes(&render_times(&once)).len(), 1);
        let little = shown((0..60).map(|i| if i == 40 { 120 } else { 20 }));
        assert_eq!(freezes(&render_times(&little)).len(), 0);
        let always = shown((0..60).map(|_| 300));
        assert_eq!(freezes(&render_times(&always)).len(), 0);
    }

    #[test]
    fn a_late_frame_that_nothing_waits_for_is_left_out() {
        let late = independent((0..60).map(|i| if i == 40 { 300 } else { 20 }));
        let rendered = render_times(&late);
        assert_eq!(rendered.len(), 59);
        assert_eq!(freezes(&rendered).len(), 0);
    }

    #[test]
    fn a_repair_that_comes_again_and_again_is_waited_for_where_the_sender_says_so() {
        let freezes_if_held = |hold_ms| {
            let mut frames = shown((0..200).map(|i| if i % 10 == 0 { 230 } else { 20 }));
            for frame in frames.iter_mut() {
                frame.repaired = frame.tag.frame % 10 == 0;
                frame.came_at = frame.tag.captured + ms(20);
                frame.hold = ms(hold_ms);
            }
            freezes(&render_times(&frames)).len()
        };
        assert!(freezes_if_held(0) > 10);
        assert_eq!(freezes_if_held(200), 0);
    }

    #[test]
    fn pictures_are_held_for_longer_by_slow_motion_and_at_once_for_what_comes_late() {
        let rendered = |late_ms: u64| {
            let mut frames = shown((0..200).map(|i| if i == 60 { late_ms } else { 20 }));
            for frame in frames.iter_mut().skip(60) {
                frame.came_at = frame.tag.captured + ms(20);
                frame.hold = ms(200);
            }
            let rendered = render_times(&frames);
            assert_eq!(freezes(&rendered).len(), 0);
            let held = (0..).zip(rendered).map(|(frame, at)| at - FRAME * frame);
            held.skip(60)
                .map(|held| held.as_millis())
                .collect::<Vec<_>>()
        };
        let slowly = rendered(20);
        assert!((100..=125).contains(&slowly[30]), "{slowly:?}");
        assert_eq!(slowly[139], 220);
        let late = rendered(120);
        assert!((120..=125).contains(&late[1]), "{late:?}");
    }

    #[test]
    fn frames_that_are_missing_are_a_freeze() {
        let mut frames = shown((0..60).map(|_| 20));
        frames.drain(30..37);
        let freezes = freezes(&render_times(&frames));
        assert_eq!(freezes.len(), 1);
        assert_eq!(freezes[0].end - freezes[0].start, FRAME * 8);
    }

    #[test]
    fn a_jitter_buffer_hides_what_comes_again_and_again() {
        let jitter = shown((0..200).map(|i| if i % 10 == 0 { 230 } else { 20 }));
        let late: Vec<_> = freezes(&render_times(&jitter));
        assert!(late.len() <= 1, "{late:?}");
    }

    #[test]
    fn what_does_not_come_or_comes_late_is_concealed() {
        let heard = |lost: u32, late: u32| -> Vec<Heard> {
            (0..200)
                .filter(|frame| *frame != lost)
                .map(|frame| {
                    let captured = Duration::from_millis(20) * frame;
                    let delay = if frame == late { 200 } else { 30 };
                    let at = captured + Duration::from_millis(delay);
                    let mut tag = shown([0])[0].tag;
                    (tag.frame, tag.captured) = (frame, captured);
                    Heard {
                        at,
                        tag,
                        marker: false,
                        timestamp: 0,
                    }
                })
                .collect()
        };
        assert!(concealed(&heard(999, 999)) < 1e-9);
        assert!((concealed(&heard(50, 999)) - 0.005).abs() < 1e-9);
        assert!((concealed(&heard(50, 90)) - 0.01).abs() < 1e-9);
    }
}
