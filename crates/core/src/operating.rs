//! What the operating points of one stream take, and how large their pictures are.

use std::time::{Duration, Instant};

use str0m::rtp::vla::SimulcastStreamAllocation;

use crate::codec::Sizes;
use crate::dependency::Structure;
use crate::layering::{Frame, Point, SPATIAL_LAYERS, TEMPORAL_LAYERS};
use crate::rate::{Pace, Part, Rate};

/// The operating points of a stream, smallest first. None where the stream has no layers, or nobody says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operating {
    points: Vec<Measured>,
    /// Larger layers do without the smaller ones but in keyframes: see [`Frame::nested`].
    apart: bool,
}

/// An operating point.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) point: Point,
    pub(crate) rate: Rate,
    /// What the publisher says it may take, in bit/s.
    pub(crate) declared_bps: u64,
    /// Of its spatial layer.
    last_packet: Option<Instant>,
}

impl Measured {
    fn new(point: Point) -> Self {
        Self {
            point,
            rate: Rate::default(),
            declared_bps: 0,
            last_packet: None,
        }
    }

    /// In bit/s; 0 where nothing is known.
    pub(crate) fn bps(&self) -> u64 {
        match self.rate.bps() {
            0 => self.declared_bps,
            measured => measured,
        }
    }

    pub(crate) fn state(&self) -> PointState {
        PointState {
            point: self.point,
            bps: self.bps(),
            pace: self.rate.pace(),
            last_packet: self.last_packet,
        }
    }
}

/// What a publisher says in kbit/s, as far as it can be: sums of it must not wrap.
pub(crate) fn declared_bps(kbps: u64) -> u64 {
    const MAX: u64 = 1_000_000_000;
    kbps.saturating_mul(1_000).min(MAX)
}

/// What a mirror has to know of an operating point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PointState {
    pub(crate) point: Point,
    pub(crate) bps: u64,
    pub(crate) pace: Pace,
    pub(crate) last_packet: Option<Instant>,
}

/// So much of the frames a second that somebody wants is enough: 14.5 are measured where there are 15. Lower would leave
/// out every second frame for somebody who wants a few more.
const ENOUGH_FRAMES_PERCENT: u64 = 90;

/// A stream has no more: that of the largest numbers of both layers.
const POINTS_MAX: usize = SPATIAL_LAYERS as usize * TEMPORAL_LAYERS as usize;

impl Operating {
    /// The stream begins anew with this structure. What stays has been measured already; what is new is taken to come:
    /// who starts with less of the keyframe needs another one for the rest.
    pub(crate) fn begin(&mut self, structure: &Structure, now: Instant) {
        self.apart = !structure.nested;
        let mut points: Vec<Point> = structure.operating_points().collect();
        points.sort_unstable();
        points.dedup();
        self.points
            .retain(|measured| points.contains(&measured.point));
        for point in points {
            self.add(point, now);
        }
    }

    /// Takes over which decode targets the encoder makes from now on. `true` where others are to be had than before.
    pub(crate) fn activate(&mut self, structure: &Structure, active: u32, now: Instant) -> bool {
        let mut changed = false;
        for measured in &mut self.points {
            let makes = structure.has(measured.point, active);
            if makes != measured.last_packet.is_some() {
                // Nothing is to come any more, or all of it: neither need be waited for.
                measured.last_packet = makes.then_some(now);
                changed = true;
            }
        }
        changed
    }

    /// What a receiver of this point gets, in bit/s; `None` where the stream has no points.
    pub(crate) fn bps_of(&self, point: Point) -> Option<u64> {
        self.within(point).next_back().map(Measured::bps)
    }

    pub(crate) fn rate_of(&self, point: Point) -> Option<&Rate> {
        let top = self.within(point).next_back()?;
        Some(&top.rate)
    }

    /// The temporal layer of this point, as the stream numbers it.
    pub(crate) fn temporal_of(&self, point: Point) -> Option<u8> {
        let top = self.within(point).next_back()?;
        Some(top.point.temporal)
    }

    /// The first temporal layer of this point's size that has so many frames a second, if that is not the last.
    pub(crate) fn enough_frames(&self, point: Point, fps: u32) -> Option<u8> {
        let top = self.within(point).next_back()?.point;
        let mut row = self
            .within(point)
            .filter(|measured| measured.point.spatial == top.spatial);
        let enough = row.find(|measured| {
            let known = measured.rate.fps().unwrap_or(0);
            u64::from(known) * 100 >= u64::from(fps) * ENOUGH_FRAMES_PERCENT
        });
        let enough = enough?.point;
        (enough != top).then_some(enough.temporal)
    }

    fn within(&self, point: Point) -> impl DoubleEndedIterator<Item = &Measured> {
        self.points
            .iter()
            .filter(move |measured| point.covers(measured.point))
    }

    /// Learns from a frame of a stream without a structure which layers there are, and whether they need each other. The
    /// largest may say what it likes about those above.
    pub(crate) fn learn(&mut self, frame: &mut Frame, at: Instant) {
        if *frame == Frame::PLAIN && self.points.is_empty() {
            return;
        }
        self.add(frame.layer, at);
        let spatial = frame.layer.spatial;
        if self
            .points
            .last()
            .is_none_or(|top| top.point.spatial == spatial)
        {
            frame.nested = !self.apart;
            return;
        }
        self.apart = !frame.nested;
        if self.apart {
            frame.needed = frame.needed.only(spatial);
        }
    }

    /// Counts a packet.
    pub(crate) fn count(&mut self, frame: &Frame, part: Part, newest: bool) {
        for measured in &mut self.points {
            if frame.needed.contains(measured.point) {
                measured.rate.add(part);
            }
            if frame.layer.spatial == measured.point.spatial {
                measured.last_packet = newest.then_some(part.at).or(measured.last_packet);
            }
        }
    }

    pub(crate) fn tick(&mut self, now: Instant) {
        for measured in &mut self.points {
            measured.rate.tick(now);
        }
    }

    /// Takes over what the publisher says of its layers. `true` where one has stopped.
    pub(crate) fn declare(&mut self, allocation: &SimulcastStreamAllocation) -> bool {
        let mut stopped = false;
        for measured in &mut self.points {
            let spatial = usize::from(measured.point.spatial);
            let layer = allocation.spatial_layers.get(spatial);
            let temporal = layer.map_or(&[][..], |layer| &layer.temporal_layers);
            let Some(last) = temporal.last() else {
                // Nothing is to come any more: that need not be waited for.
                stopped |= measured.last_packet.take().is_some();
                continue;
            };
            let own = temporal
                .get(usize::from(measured.point.temporal))
                .unwrap_or(last);
            measured.declared_bps = declared_bps(own.cumulative_kbps);
        }
        stopped
    }

    pub(crate) fn states(&self) -> Vec<PointState> {
        self.points.iter().map(Measured::state).collect()
    }

    /// A packet of a mirrored stream has come over.
    pub(crate) fn on_relayed(&mut self, frame: &Frame) {
        self.apart = !frame.nested;
    }

    pub(crate) fn mirror(&mut self, states: &[PointState]) {
        self.points = states
            .iter()
            .take(POINTS_MAX)
            .map(|state| Measured {
                declared_bps: state.bps,
                last_packet: state.last_packet,
                rate: Rate::mirrored(0, state.pace),
                ..Measured::new(state.point)
            })
            .collect();
    }

    /// What there is to choose from, by spatial layer and then by rate. The last of a row stands for all temporal
    /// layers, and the last row for all spatial ones: what is new in the stream is not left out until it is noticed. A layer
    /// that is missing is waited for only by those who have a picture all the same.
    pub(crate) fn choices(&self, now: Instant, silence: Duration) -> Vec<Choice> {
        let mut choices: Vec<Choice> = self
            .points
            .iter()
            .filter(|measured| {
                measured
                    .last_packet
                    .is_some_and(|at| now.saturating_duration_since(at) < silence)
            })
            .map(|measured| Choice {
                point: measured.point,
                spatial: measured.point.spatial,
                bps: measured.bps(),
            })
            .collect();
        let top = if self.apart {
            self.points.last().map(|last| last.point.spatial)
        } else {
            choices.last().map(|choice| choice.spatial)
        };
        let mut above: Option<u8> = None;
        for choice in choices.iter_mut().rev() {
            if above != Some(choice.spatial) {
                choice.point.temporal = TEMPORAL_LAYERS - 1;
            }
            above = Some(choice.spatial);
            if Some(choice.spatial) == top {
                choice.point.spatial = SPATIAL_LAYERS - 1;
            }
        }
        choices
    }

    fn add(&mut self, point: Point, now: Instant) {
        let place = self
            .points
            .binary_search_by_key(&point, |measured| measured.point);
        if let Err(at) = place
            && self.points.len() < POINTS_MAX
        {
            let mut measured = Measured::new(point);
            measured.last_packet = Some(now);
            self.points.insert(at, measured);
        }
    }
}

/// An operating point that can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) point: Point,
    /// As the stream numbers it.
    pub(crate) spatial: u8,
    pub(crate) bps: u64,
}

/// Takes over the sizes that are known anew.
pub(crate) fn merge_sizes(known: &mut Sizes, new: &Sizes) {
    for (known, new) in known.iter_mut().zip(new) {
        *known = new.or(*known);
    }
}
