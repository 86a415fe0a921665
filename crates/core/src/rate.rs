//! What a stream takes, measured as it comes.

use std::time::{Duration, Instant};

/// A packet, as far as rates go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// With headers.
    pub(crate) bytes: usize,
    pub(crate) at: Instant,
    /// RTP time, which packets of one picture share.
    pub(crate) timestamp: u64,
    pub(crate) of_keyframe: bool,
}

/// Frames in a thousand seconds; 0 until they have been counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pace(u64);

/// A smoothed rate, measured between ticks. A keyframe counts over a longer time than it comes in: it is as large as many
/// frames, is asked for when pictures come and go, and must not make them go again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rate {
    /// Since the last tick, but for keyframes.
    bytes: u64,
    /// Of keyframes, as far as they have not counted yet.
    keyframe_bytes: u64,
    /// Since the last tick, and the time of the newest.
    frames: u64,
    newest: Option<u64>,
    since: Option<Instant>,
    bps: u64,
    pace: Pace,
}

/// What a keyframe is larger than other frames counts over this time. Higher is slow to notice an encoder that sends
/// nothing else, lower makes a picture that has been asked for look as if it took much.
const KEYFRAME_COUNTS_OVER: Duration = Duration::from_secs(5);
/// A shorter time since the first packet says nothing: it holds a few frames.
const WINDOW_MIN: Duration = Duration::from_millis(200);
/// A longer time since the last tick holds a pause.
const WINDOW_MAX: Duration = Duration::from_secs(1);

impl Rate {
    pub(crate) fn add(&mut self, part: Part) {
        let paused = |since| part.at.saturating_duration_since(since) > WINDOW_MAX;
        if self.since.is_none_or(paused) {
            self.since = Some(part.at);
            (self.bytes, self.frames) = (0, 0);
        }
        let counter = if part.of_keyframe {
            &mut self.keyframe_bytes
        } else {
            &mut self.bytes
        };
        *counter += part.bytes as u64;
        let is_new = self.newest.replace(part.timestamp) != Some(part.timestamp);
        self.frames += u64::from(is_new);
    }

    /// In bit/s, with headers; 0 until it has been measured.
    pub(crate) fn bps(&self) -> u64 {
        self.bps
    }

    /// Frames a second, rounded; nothing until they have been counted.
    pub(crate) fn fps(&self) -> Option<u32> {
        let Pace(pace) = self.pace;
        let fps = u32::try_from((pace + 500) / 1_000).unwrap_or(u32::MAX);
        (pace > 0).then_some(fps)
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// What has been measured elsewhere.
    pub(crate) fn mirrored(bps: u64, pace: Pace) -> Self {
        Self {
            bps,
            pace,
            ..Self::default()
        }
    }

    /// Takes in what has come since the last tick. An encoder that stood still says nothing about
    /// what it takes when it runs.
    pub(crate) fn tick(&mut self, now: Instant) {
        let elapsed = self.since.map(|since| now.saturating_duration_since(since));
        let Some(elapsed) = elapsed.filter(|elapsed| *elapsed >= WINDOW_MIN) else {
            return;
        };
        self.since = Some(now);
        let frames = std::mem::take(&mut self.frames);
        if frames == 0 {
            return;
        }
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
        let counts = micros(elapsed).min(micros(KEYFRAME_COUNTS_OVER));
        let of_keyframes =
            self.keyframe_bytes.saturating_mul(counts) / micros(KEYFRAME_COUNTS_OVER);
        self.keyframe_bytes -= of_keyframes;
        let bytes = std::mem::take(&mut self.bytes) + of_keyframes;
        let bps = bytes.saturating_mul(8_000_000) / micros(elapsed);
        self.bps = if self.bps == 0 {
            bps
        } else {
            (self.bps + bps) / 2
        };
        let pace = frames.saturating_mul(1_000_000_000) / micros(elapsed);
        self.pace = match self.pace {
            Pace(0) => Pace(pace),
            // Half a second has 7 frames of 15 a second, or 8.
            Pace(known) => Pace((3 * known + pace) / 4),
        };
    }
}

#[cfg(test)]
impl Part {
    pub(crate) fn of_frame(bytes: usize, at: Instant) -> Self {
        Self {
            bytes,
            at,
            timestamp: 0,
            of_keyframe: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An encoder of 30 frames of 1,000 bytes a second, that is 240 kbit/s, with keyframes of ten times that; ticks come
    /// every half second. What is measured after each.
    fn measured(seconds: u32, is_keyframe: impl Fn(u32) -> bool) -> Vec<u64> {
        let start = Instant::now();
        let mut rate = Rate::default();
        let mut measured = Vec::new();
        for frame in 0..seconds * 30 {
            let at = start + Duration::from_secs(1) * frame / 30;
            let of_keyframe = is_keyframe(frame);
            let bytes = if of_keyframe { 10_000 } else { 1_000 };
            rate.add(Part {
                bytes,
                at,
                timestamp: frame.into(),
                of_keyframe,
            });
            if frame % 15 == 14 {
                rate.tick(start + Duration::from_millis(500) * (frame / 15 + 1));
                measured.push(rate.bps());
            }
        }
        measured
    }

    #[test]
    fn a_rate_is_known_at_the_first_tick() {
        let first = measured(1, |frame| frame == 0)[0];
        assert!((216_000..264_000).contains(&first), "{first}");
    }

    #[test]
    fn a_keyframe_that_is_asked_for_is_no_higher_rate() {
        for bps in measured(20, |frame| frame == 0 || frame == 300) {
            assert!((216_000..264_000).contains(&bps), "{bps}");
        }
    }

    #[test]
    fn keyframes_that_come_again_and_again_count() {
        // Two a second: 28 frames and 20,000 bytes.
        let last = *measured(30, |frame| frame % 15 == 0).last().unwrap();
        assert!((365_000..403_000).contains(&last), "{last}");
    }

    #[test]
    fn pictures_of_several_packets_count_once() {
        let start = Instant::now();
        let mut rate = Rate::default();
        assert_eq!(rate.fps(), None);
        for packet in 0..90 {
            let frame = packet / 3;
            rate.add(Part {
                bytes: 1_000,
                at: start + Duration::from_secs(1) * frame / 15,
                timestamp: frame.into(),
                of_keyframe: false,
            });
            if packet == 20 {
                rate.tick(start + Duration::from_millis(500));
            }
        }
        assert_eq!(rate.fps(), Some(14), "7 in half a second");
        rate.tick(start + Duration::from_secs(2));
        assert_eq!(rate.fps(), Some(14));
    }

    #[test]
    fn a_few_frames_and_a_pause_tell_nothing() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let frame = |bytes, ms| Part {
            timestamp: ms,
            ..Part::of_frame(bytes, at(ms))
        };
        let mut rate = Rate::default();
        rate.tick(at(0));
        rate.add(frame(1_000, 0));
        rate.tick(at(100));
        assert_eq!(rate.bps(), 0);
        rate.add(frame(24_000, 300));
        rate.tick(at(500));
        assert_eq!(rate.bps(), 400_000);
        rate.add(frame(10_000, 9_700));
        rate.tick(at(9_900));
        assert_eq!(rate.bps(), 400_000);
    }
}
