//! How well a downlink was used.

use std::ops::Range;
use std::time::Duration;

use crate::network::Fate;
use crate::world::{Sample, Seat};

/// What passed a link in some time.
pub(super) struct Use {
    /// Share of what it could carry; none for an infinitely fast one.
    pub(super) used: Option<f64>,
    /// Share of the datagrams that found the queue full.
    pub(super) dropped: f64,
}

/// More than what is wanted is of use to nobody; so much more covers headers, resent packets and the margin of the
/// allocation.
const WANTED_PERCENT: u64 = 130;

impl Use {
    pub(super) fn of(seat: &Seat, time: &Range<Duration>) -> Self {
        let passed = seat.down.log().iter();
        let passed: Vec<_> = passed.filter(|one| time.contains(&one.at)).collect();
        let dropped = passed
            .iter()
            .filter(|one| one.fate == Fate::Dropped)
            .count();
        let carried = passed.iter().filter(|one| one.fate != Fate::Dropped);
        let bits: usize = carried.map(|one| one.bytes * 8).sum();
        let capacity = mean(samples(seat, time).map(|sample| Some(sample.capacity_bps? as f64)));
        let seconds = (time.end - time.start).as_secs_f64();
        Self {
            used: capacity.map(|capacity| bits as f64 / seconds / capacity),
            dropped: super::ratio(dropped as f64, passed.len() as f64),
        }
    }
}

/// Mean distance of the estimate from the truth, as a share of it.
pub(super) fn estimate_error(seat: &Seat, time: &Range<Duration>) -> Option<f64> {
    mean(samples(seat, time).map(|sample| {
        let most = sample.downlink.wanted_bps.max(sample.downlink.used_bps) * WANTED_PERCENT / 100;
        let truth = sample.capacity_bps?.min(most) as f64;
        let estimate = sample.downlink.estimate_bps?.min(most) as f64;
        (truth > 0.0).then(|| (estimate - truth).abs() / truth)
    }))
}

fn samples<'a>(seat: &'a Seat, time: &Range<Duration>) -> impl Iterator<Item = &'a Sample> {
    let time = time.clone();
    seat.samples
        .iter()
        .filter(move |sample| time.contains(&sample.at))
}

/// The mean of what there is; none where there is nothing.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (count, sum) = values
        .flatten()
        .fold((0u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}
