//! Rates that change with time, read from text: `time_ms rate_kbps` in each line.

use std::sync::Arc;
use std::time::Duration;

/// A rate for each moment. After its last line it starts over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// From when on, in nanoseconds, and how much, in bit/s.
    steps: Arc<[(u64, u64)]>,
    /// Where it starts over.
    end: u64,
}

impl Trace {
    /// A phone that is carried from one cell into another.
    pub fn handover() -> Self {
        Self::parse(include_str!("../../traces/4g-handover.txt")).expect("the committed trace")
    }

    /// The far end of a flat with busy neighbours.
    pub fn wifi() -> Self {
        Self::parse(include_str!("../../traces/wifi.txt")).expect("the committed trace")
    }

    /// Lines of two numbers, in the order of time, from 0; `#` begins a remark. The last line says where the trace
    /// starts over. `None` for anything else, and for a trace that never carries anything.
    pub fn parse(text: &str) -> Option<Self> {
        let mut steps = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (at_ms, kbps) = line.split_once(' ')?;
            let (at_ms, kbps): (u64, u64) = (at_ms.parse().ok()?, kbps.trim().parse().ok()?);
            steps.push((at_ms * 1_000_000, kbps * 1_000));
        }
        let (end, _) = steps.pop()?;
        let ordered = steps.is_sorted_by(|a, b| a.0 < b.0);
        let whole = steps.first().is_some_and(|first| first.0 == 0)
            && steps.last().is_some_and(|last| last.0 < end);
        let carries = steps.iter().any(|(_, bps)| *bps > 0);
        (ordered && whole && carries).then(|| Self {
            steps: steps.into(),
            end,
        })
    }

    pub fn rate_at(&self, since: Duration) -> u64 {
        let (at, _) = self.lap(nanos(since));
        self.step(at).0
    }

    /// When so many bits have been carried whose first one begins at `since`.
    pub(super) fn finish(&self, since: Duration, bits: u64) -> Duration {
        let mut now = nanos(since);
        let mut left = u128::from(bits) * 1_000_000_000;
        loop {
            let (at, lap) = self.lap(now);
            let (bps, until) = self.step(at);
            let carried = u128::from(bps) * u128::from(until - at);
            if carried >= left {
                let took = left.div_ceil(u128::from(bps.max(1)));
                return Duration::from_nanos(now + u64::try_from(took).unwrap_or(u64::MAX));
            }
            left -= carried;
            now = lap + until;
        }
    }

    /// The place in the trace, and when it was last started over.
    fn lap(&self, at: u64) -> (u64, u64) {
        (at % self.end, at - at % self.end)
    }

    /// The rate at a place, and until when.
    fn step(&self, at: u64) -> (u64, u64) {
        let next = self.steps.partition_point(|step| step.0 <= at);
        let bps = next
            .checked_sub(1)
            .and_then(|here| self.steps.get(here))
            .map_or(0, |step| step.1);
        let until = self.steps.get(next).map_or(self.end, |step| step.0);
        (bps, until)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
