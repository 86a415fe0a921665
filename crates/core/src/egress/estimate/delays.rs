//! What delays say over time: the line through them by least squares, and the lowest.

/// Groups that the trend's line is drawn through: a quarter of a second of video. With fewer, jitter makes
/// slopes; with more, a queue is seen later.
const POINTS: usize = 20;
/// The path's delay without a queue is the lowest of the last one to two of these: clocks drift apart.
const BASE_US: i64 = 10_000_000;

/// The last smoothed delays, over the time of departure.
#[derive(Debug, Default)]
pub(super) struct Points {
    points: [(f64, f64); POINTS],
    next: usize,
    len: usize,
}

impl Points {
    pub(super) fn push(&mut self, x: f64, y: f64) {
        if let Some(point) = self.points.get_mut(self.next) {
            *point = (x, y);
        }
        self.next = (self.next + 1) % POINTS;
        self.len = (self.len + 1).min(POINTS);
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.next = 0;
    }

    /// Of the line through all points, once there are enough. Inlined, it took 40 % more instructions: too few registers
    /// are left then.
    #[inline(never)]
    pub(super) fn slope(&self) -> Option<f64> {
        if self.len < POINTS {
            return None;
        }
        let count = POINTS as f64;
        let (x, y) = (self.points.iter()).fold((0.0, 0.0), |(x, y), p| (x + p.0, y + p.1));
        let (x, y) = (x / count, y / count);
        let (mut xy, mut xx) = (0.0, 0.0);
        for point in &self.points {
            xy += (point.0 - x) * (point.1 - y);
            xx += (point.0 - x) * (point.0 - x);
        }
        (xx > 0.0).then(|| xy / xx)
    }
}

/// The lowest delay of the last one to two periods of `BASE_US`.
#[derive(Debug, Clone, Default)]
pub(super) struct Base {
    since: i64,
    before: Option<i64>,
    lowest: Option<i64>,
}

impl Base {
    pub(super) fn add(&mut self, at: i64, delay: i64) {
        if at - self.since > BASE_US {
            self.since = at;
            self.before = self.lowest.take();
        }
        self.lowest = Some(self.lowest.unwrap_or(delay).min(delay));
    }

    pub(super) fn lowest(&self) -> Option<i64> {
        match (self.before, self.lowest) {
            (Some(before), Some(lowest)) => Some(before.min(lowest)),
            (before, lowest) => before.or(lowest),
        }
    }
}

/// Delays of a cluster's packets over their departure, as the sums that a line needs.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) count: u32,
    first: i64,
    x: f64,
    y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
}

impl Sums {
    pub(super) fn add(&mut self, at: i64, delay: i64) {
        if self.count == 0 {
            self.first = delay;
        }
        let (x, y) = (at as f64, (delay - self.first) as f64);
        self.count += 1;
        self.x += x;
        self.y += y;
        self.xx += x * x;
        self.xy += x * y;
        self.yy += y * y;
    }

    /// The slope of the line by least squares, and its standard error.
    pub(super) fn slope(&self) -> Option<(f64, f64)> {
        let count = f64::from(self.count);
        let xx = self.xx - self.x * self.x / count;
        if self.count < 3 || xx <= 0.0 {
            return None;
        }
        let xy = self.xy - self.x * self.y / count;
        let yy = self.yy - self.y * self.y / count;
        let slope = xy / xx;
        let rest = (yy - slope * xy).max(0.0) / (count - 2.0);
        Some((slope, (rest / xx).sqrt()))
    }
}
