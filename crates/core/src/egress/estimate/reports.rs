//! What a report says about the packets that have left: to the rates, the trend, the probe and the loss.

use super::super::twcc::{Feedback, REFERENCE_US, TICK_US};
use super::Estimator;
use super::history::Fate;

/// A packet that is missing in a report is lost once one that left so much later has been reported:
/// others may have overtaken it.
const REORDER_US: i64 = 100_000;
/// A receiver's clock that moves by more from one report to the next was set; all starts again.
const CLOCK_US_MAX: i64 = 600_000_000;

/// Where so many packets in a row are missing, for so long, and the next one comes no later than this after the earliest, no
/// queue has lost them: there is none, and what came through lately says nothing about what the path carries. Fewer
/// and shorter are the losses of any path; a later one may have waited in the queue that they did not fit into.
const HOLE_PACKETS: u64 = 5;
const HOLE_US: i64 = 100_000;
const HOLE_LATE_US: f64 = 30_000.0;

/// The newest packet that has arrived: its number, and when it left. `holes` knows of it only once nothing can have been
/// overtaken any more, and the rate would have been lowered by then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    seq: u64,
    left: i64,
}

impl Heard {
    pub(super) const NOTHING: Self = Self {
        seq: 0,
        left: i64::MAX,
    };

    /// Nothing of what left between the two has come.
    fn is_hole(self, seq: u64, left: i64) -> bool {
        seq > self.seq + HOLE_PACKETS && left - self.left >= HOLE_US
    }

    fn note(&mut self, seq: u64, left: i64) {
        if seq > self.seq {
            *self = Self { seq, left };
        }
    }
}

impl Estimator {
    /// Takes over what a report says. None where it says nothing new, else when the newest packet
    /// that it says has arrived left.
    pub(super) fn read(&mut self, feedback: &Feedback) -> Option<Option<i64>> {
        let first = self.history.unwrap(feedback.base);
        let reference = self.unwrap_reference(feedback.reference_time);
        let before = self.reported.map(|(seq, _)| seq);
        let missed =
            before.is_some_and(|seq| first > seq + 1) && !self.close_gap(feedback.number, first);
        let (mut news, mut newest) = (false, None);
        let (mut arrived, mut missing) = (0, 0);
        let mut heard = self.heard;
        for (seq, ticks) in (first..).zip(&feedback.arrivals) {
            let Some(sent) = self.history.get_mut(seq) else {
                continue;
            };
            let known = matches!(
                (sent.fate, ticks),
                (Fate::Arrived, _) | (Fate::Missing, None)
            );
            if known {
                continue;
            }
            if !std::mem::replace(&mut news, true) && missed {
                // What came through in between will never be known.
                self.acked.restart();
            }
            match (sent.fate, ticks) {
                (Fate::Unknown, None) => {
                    sent.fate = Fate::Missing;
                    missing += 1;
                }
                (Fate::Arrived, _) | (Fate::Missing, None) => {}
                (Fate::Unknown | Fate::Missing, Some(ticks)) => {
                    sent.fate = Fate::Arrived;
                    arrived += 1;
                    let arrival = reference + i64::from(*ticks) * TICK_US;
                    let delay = arrival - sent.at;
                    if heard.is_hole(seq, sent.at) && self.trend.lateness(delay) < HOLE_LATE_US {
                        self.acked.restart();
                        self.trend.resume(delay);
                    }
                    heard.note(seq, sent.at);
                    self.acked.add(arrival, sent.bytes);
                    match sent.cluster {
                        Some(cluster) => {
                            self.trend.skip(sent.at);
                            self.prober.on_arrival(cluster, sent.at, delay);
                        }
                        None => self.trend.add(sent.at, arrival),
                    }
                    newest = newest.max(Some(sent.at));
                }
            }
            if self.reported.is_none_or(|(reported, _)| seq > reported) {
                self.reported = Some((seq, sent.at));
            }
        }
        self.heard = heard;
        if news {
            self.newest_report = (arrived, missing);
            self.reference = Some((feedback.reference_time, reference));
            if let Some(before) = before
                && feedback.number.wrapping_sub(self.number) > 1
            {
                self.doubted = before;
            }
            self.number = feedback.number;
        }
        news.then_some(newest)
    }

    /// Some receivers begin a report with the first packet that has arrived. What stands between it and the report
    /// before it has not. False where a report is missing, which may have said otherwise.
    fn close_gap(&mut self, number: u8, first: u64) -> bool {
        let Some((before, _)) = self.reported else {
            return false;
        };
        if number.wrapping_sub(self.number) != 1 {
            return false;
        }
        for seq in before + 1..first {
            if let Some(sent) = self.history.get_mut(seq) {
                sent.fate = Fate::Missing;
            }
        }
        true
    }

    /// The reference time in µs, without the wrap-around of its 24 bits.
    fn unwrap_reference(&self, reference: u32) -> i64 {
        let Some((last, micros)) = self.reference else {
            return i64::from(reference) * REFERENCE_US;
        };
        let step = (reference.wrapping_sub(last) << 8).cast_signed() >> 8;
        let step = i64::from(step) * REFERENCE_US;
        if step.abs() > CLOCK_US_MAX {
            return i64::from(reference) * REFERENCE_US;
        }
        micros + step
    }

    /// Packets that cannot have been overtaken any more are lost or not.
    pub(super) fn judge(&mut self) {
        let Some((newest, left)) = self.reported else {
            return;
        };
        while let Some((seq, sent)) = self.history.judge_next(newest, left - REORDER_US) {
            let lost = match sent.fate {
                // A lost report may have said that it arrived late.
                Fate::Missing if seq <= self.doubted => None,
                Fate::Unknown => None,
                Fate::Missing => Some(true),
                Fate::Arrived => Some(false),
            };
            if let Some(lost) = lost {
                self.holes.add(sent.at, lost);
            }
            match (sent.cluster, lost) {
                (None, Some(lost)) => self.loss.add(sent.at, sent.bytes, lost),
                (None, None) | (Some(_), Some(false)) => {}
                // What a probe loses is measured there.
                (Some(cluster), Some(true)) => self.prober.on_loss(cluster),
                (Some(cluster), None) => self.prober.on_silence(cluster),
            }
        }
    }
}
