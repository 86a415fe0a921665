//! Delay trend: whether a queue grows on the way (draft-ietf-rmcat-gcc-02, sections 5.1 to 5.4).
//!
//! The draft estimates the slope of the one-way delay with a Kalman filter. Here it is a line
//! through the last points by least squares, which reacts as fast and has no noise model to go wrong.

use super::delays::{Base, Points};

/// What the queue on the path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    /// It drains.
    Under,
    Normal,
    /// It grows.
    Over,
}

/// Packets that leave within this are one group (section 5.2), whose delay is the lowest of its
/// packets'. Longer groups hide more jitter and show a queue later.
const GROUP_US: i64 = 5_000;
/// Share of the old value in the smoothed delay. Higher is calmer and later.
const SMOOTHING: f64 = 0.9;
/// A slope counts the more the longer it has been observed, up to so many groups, times `GAIN`: so the
/// thresholds below are slopes of 0.025 and more.
const TRUST_GROUPS: f64 = 60.0;
const GAIN: f64 = 4.0;

/// The threshold adapts to the path's noise (section 5.4), so that flows which fill queues for a
/// living do not starve this one: slowly up, faster down, never for a leap above it.
const THRESHOLD_START: f64 = 12.5;
const THRESHOLD_MIN: f64 = 6.0;
const THRESHOLD_MAX: f64 = 600.0;
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
const THRESHOLD_LEAP: f64 = 15.0;
const THRESHOLD_STEP_MS_MAX: f64 = 100.0;

/// A slope above the threshold must last for this to be overuse.
const OVER_US: i64 = 10_000;
/// A queue shorter than this many times the noise may be none. Higher needs a longer queue on a path
/// with jitter, lower gives way to jitter.
const NOISE_FACTOR: f64 = 2.5;
const NOISE_WEIGHT: f64 = 0.05;
/// A delay that leaps by this from one group to the next is another route, or radio that was away for
/// a moment, unless the next group is later still. Lower would take jitter for it, higher would take
/// it for a queue.
const LEAP_US: i64 = 50_000;
/// What "later still" means.
const LEAP_AGAIN_US: i64 = 10_000;
/// Two groups further apart than this have nothing to say about each other.
const PAUSE_US: i64 = 2_000_000;
/// The queue that a probe makes is gone after this. Longer is blind for longer.
const SKIP_US: i64 = 100_000;
/// No path's delay changes by this; a clock was set.
const CLOCK_US: i64 = 10_000_000;
/// A queue this long is overuse even where it does not grow: the path's buffer may be full, or the
/// rate exactly the path's. Higher is more delay, lower gives way to flows that fill queues.
const STANDING_QUEUE_US: f64 = 200_000.0;

#[derive(Debug)]
pub(super) struct Trend {
    group: Option<Group>,
    /// The newest complete group.
    last: Option<Group>,
    /// A group that came a leap later than the one before it.
    held: Option<Group>,
    /// Leaps that were no queue, and are taken off every delay.
    offset: i64,
    /// Groups that leave before this are not measured, see `skip`.
    skip_until: i64,
    points: Points,
    /// Groups observed since the start, up to `TRUST_GROUPS`.
    observed: f64,
    smoothed: f64,
    /// How much delays differ from group to group, whatever the queue does.
    noise: f64,
    threshold: f64,
    slope: f64,
    above: Option<Above>,
    usage: Usage,
    base: Base,
    /// Delay of the newest packet, and the lowest of a group, whatever was taken for a leap.
    newest: i64,
    lowest: Base,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    /// When its first packet left.
    at: i64,
    /// Arrival less departure, by two clocks: only differences mean anything.
    delay: i64,
}

/// Since when, and for how many groups, the slope has been above the threshold.
#[derive(Debug)]
struct Above {
    since: i64,
    groups: u32,
}

impl Trend {
    pub(super) fn new() -> Self {
        Self {
            group: None,
            last: None,
            held: None,
            offset: 0,
            skip_until: 0,
            points: Points::default(),
            observed: 0.0,
            smoothed: 0.0,
            noise: 0.0,
            threshold: THRESHOLD_START,
            slope: 0.0,
            above: None,
            usage: Usage::Normal,
            base: Base::default(),
            newest: 0,
            lowest: Base::default(),
        }
    }

    /// A packet has arrived; packets come in the order in which they left. What comes late is left out.
    pub(super) fn add(&mut self, at: i64, arrival: i64) {
        if at < self.skip_until {
            return;
        }
        let delay = arrival - at;
        self.newest = delay;
        match &mut self.group {
            Some(group) if at < group.at => {}
            Some(group) if at - group.at <= GROUP_US => group.delay = group.delay.min(delay),
            Some(group) => {
                let complete = std::mem::replace(group, Group { at, delay });
                self.complete(complete);
            }
            None => self.group = Some(Group { at, delay }),
        }
    }

    /// A packet of a probe that left then has arrived: the queue that it makes is wanted, and measured
    /// elsewhere.
    pub(super) fn skip(&mut self, at: i64) {
        self.skip_until = self.skip_until.max(at + SKIP_US);
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// The queue on the path by the smoothed delay, in µs.
    pub(super) fn queue(&self) -> f64 {
        match self.base.lowest() {
            Some(base) => (self.smoothed - base as f64).max(0.0),
            None => 0.0,
        }
    }

    /// How much later than the earliest the newest packets come, in µs: by a queue, or by another route.
    pub(super) fn late(&self) -> f64 {
        self.lateness(self.newest)
    }

    /// The same of any delay.
    pub(super) fn lateness(&self, delay: i64) -> f64 {
        (delay - self.lowest.lowest().unwrap_or(delay)) as f64
    }

    /// What was taken for leaps was a queue.
    pub(super) fn take_back_leaps(&mut self) {
        if self.offset != 0 || self.held.is_some() {
            self.offset = 0;
            self.base = self.lowest.clone();
            self.resume(self.newest);
        }
    }

    /// Goes on from this delay, whatever was measured before.
    pub(super) fn resume(&mut self, delay: i64) {
        self.restart();
        self.smoothed = (delay - self.offset) as f64;
    }

    /// Forgets what was measured. What was learned of the path's noise stays.
    pub(super) fn restart(&mut self) {
        self.points.clear();
        self.above = None;
        self.slope = 0.0;
        self.observed = 0.0;
        self.group = None;
        self.last = None;
        self.held = None;
        self.usage = Usage::Normal;
    }

    fn complete(&mut self, group: Group) {
        self.lowest.add(group.at, group.delay);
        let delay = group.delay - self.offset;
        let group = Group { delay, ..group };
        let Some(last) = self.last else {
            return self.begin(group);
        };
        let leap = delay - last.delay;
        if leap.abs() > CLOCK_US {
            self.base = Base::default();
            self.lowest = Base::default();
            self.lowest.add(group.at, group.delay);
            self.restart();
            return self.begin(group);
        }
        if group.at - last.at > PAUSE_US {
            self.restart();
            return self.begin(group);
        }
        match self.held.take() {
            Some(held) if delay > held.delay + LEAP_AGAIN_US => {
                self.observe(held);
                self.observe(group);
            }
            Some(held) => self.step(group, held.delay - last.delay),
            None if leap > LEAP_US => self.held = Some(group),
            None => self.observe(group),
        }
    }

    fn begin(&mut self, group: Group) {
        self.smoothed = group.delay as f64;
        self.base.add(group.at, group.delay);
        self.last = Some(group);
    }

    /// The delay has changed by `leap`, and that is no queue.
    fn step(&mut self, group: Group, leap: i64) {
        self.offset += leap;
        let delay = group.delay - leap;
        self.observe(Group { delay, ..group });
    }

    fn observe(&mut self, group: Group) {
        let (interval, change) = self.last.map_or((0, 0), |last| {
            (group.at - last.at, group.delay - last.delay)
        });
        self.noise += NOISE_WEIGHT * (change.abs() as f64 - self.noise);
        self.last = Some(group);
        self.base.add(group.at, group.delay);
        self.smoothed = self.smoothed * SMOOTHING + group.delay as f64 * (1.0 - SMOOTHING);
        self.observed = (self.observed + 1.0).min(TRUST_GROUPS);
        self.points.push(group.at as f64, self.smoothed);
        if let Some(slope) = self.points.slope() {
            self.detect(group.at, interval, slope);
        }
    }

    fn detect(&mut self, at: i64, interval: i64, slope: f64) {
        let weighted = self.observed * slope * GAIN;
        let rising = slope >= self.slope;
        self.slope = slope;
        if weighted > self.threshold {
            let above = self.above.get_or_insert(Above {
                // It has been above for half of the time since the last look.
                since: at - interval / 2,
                groups: 0,
            });
            above.groups += 1;
            let clear = self.queue() > self.noise * NOISE_FACTOR;
            let above = self.above.as_ref();
            if above.is_some_and(|above| at - above.since > OVER_US && above.groups > 1)
                && rising
                && clear
            {
                self.usage = Usage::Over;
            }
        } else {
            self.above = None;
            self.usage = if weighted < -self.threshold {
                Usage::Under
            } else if self.queue() > STANDING_QUEUE_US {
                Usage::Over
            } else {
                Usage::Normal
            };
        }
        self.adapt(weighted.abs(), interval as f64 / 1e3);
    }

    fn adapt(&mut self, weighted: f64, interval_ms: f64) {
        let excess = weighted - self.threshold;
        if excess > THRESHOLD_LEAP {
            return;
        }
        let gain = if excess < 0.0 {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        self.threshold += gain * excess * interval_ms.min(THRESHOLD_STEP_MS_MAX);
        self.threshold = self.threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
    }
}
