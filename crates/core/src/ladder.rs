//! The steps of a track's quality, from the smallest to the best: layers, and operating points within them.

use std::sync::Arc;
use std::time::Instant;

use str0m::format::CodecSpec;

use crate::layer::Layer;
use crate::layering::{Point, Target};
use crate::publish::Track;
use crate::{LayerAvailable, LayerChoice};

/// One step of a track's ladder of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rung {
    pub(crate) layer: Target,
    /// In pixels.
    pub(crate) height: u32,
    /// In bit/s: measured, or what the stream says of itself.
    pub(crate) bps: u64,
    /// Neither has come yet: the rate is the most that was declared, or what such pictures usually take.
    pub(crate) guessed: bool,
}

/// The rungs of one picture size: they differ in frames per second.
struct Step {
    height: u32,
    rungs: Vec<(Target, u64)>,
}

impl Step {
    fn bps(&self) -> u64 {
        self.rungs.last().map_or(0, |(_, bps)| *bps)
    }
}

/// A ladder, and when it was made.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    made: Option<Instant>,
    rungs: Arc<Vec<Rung>>,
}

impl Ladder {
    /// Something has changed on which it depends.
    pub(crate) fn forget(&mut self) {
        self.made = None;
    }
}

impl Track {
    /// The ladder at this time: made once for all who ask in one turn.
    pub(crate) fn ladder(&mut self, now: Instant) -> &Arc<Vec<Rung>> {
        if self.ladder.made != Some(now) {
            self.ladder = Ladder {
                made: Some(now),
                rungs: Arc::new(self.make_ladder(now)),
            };
        }
        &self.ladder.rungs
    }

    /// Layers to be had, from the smallest to the largest, by measured height and then rate: a rid's
    /// name says nothing about its size.
    fn make_ladder(&self, now: Instant) -> Vec<Rung> {
        let mut steps = self.steps(now);
        // A layer of which nothing is known yet would be taken for the smallest.
        if steps.iter().any(|step| step.height > 0 || step.bps() > 0) {
            steps.retain(|step| step.height > 0 || step.bps() > 0);
        }
        if steps.iter().all(|step| step.height > 0) {
            steps.sort_by_key(|step| (step.height, step.bps()));
        } else {
            steps.sort_by_key(Step::bps);
        }
        self.guess_heights(&mut steps);
        let mut ladder: Vec<Rung> = Vec::new();
        for (step, number) in steps.iter().zip(0..) {
            let rungs = &step.rungs;
            // Faces that move smoothly are better than larger ones that do not: a camera's larger pictures come
            // with all their frames. Shared screens have to be read.
            let skip = if number == 0 || self.is_screen() {
                0
            } else {
                rungs.len().saturating_sub(1)
            };
            for (at, (layer, bps)) in rungs.iter().enumerate().skip(skip) {
                let rung = Rung {
                    layer: *layer,
                    height: step.height,
                    bps: if *bps == 0 {
                        self.expected_bps(*layer, step.height)
                    } else {
                        *bps
                    },
                    guessed: *bps == 0,
                };
                let last = at + 1 == rungs.len();
                if last || ladder.last().is_none_or(|below| rung.bps > below.bps) {
                    ladder.push(rung);
                }
            }
        }
        ladder
    }

    /// What stands in for a rate that has not been measured: what the publisher said at the most, of all that a stream has.
    fn expected_bps(&self, target: Target, height: u32) -> u64 {
        let guess = guess_rate(height);
        let layer = self.layers.get(target.layer);
        let mut declared = self.spec.max_bps.iter();
        let most = declared.find(|(rid, _)| layer.is_some_and(|layer| layer.rid == *rid));
        match most.map(|(_, bps)| (*bps).min(DECLARED_BPS_MAX)) {
            None | Some(0) => guess,
            Some(most) if target.point == Point::WHOLE => most,
            Some(most) => guess.min(most),
        }
    }

    /// Leaves what a receiver can decode, and one codec for each size: where several show the same, a tile stays with the one
    /// that it has unless another takes clearly less.
    pub(crate) fn keep_codecs(
        &self,
        ladder: &mut Arc<Vec<Rung>>,
        current: Option<Target>,
        mut decodes: impl FnMut(&Arc<CodecSpec>) -> bool,
    ) {
        let spec = |rung: &Rung| self.layers.get(rung.layer.layer)?.codec.as_ref();
        // What has sent nothing yet may be of any codec.
        let mut readable = |rung: &Rung| spec(rung).is_none_or(&mut decodes);
        if !one_of_each_stream(ladder).all(&mut readable) {
            Arc::make_mut(ladder).retain(readable);
        }
        let codec = |rung: &Rung| spec(rung).map(|spec| spec.codec);
        if one_of_each_stream(ladder)
            .map(codec)
            .is_sorted_by(|a, b| a == b)
        {
            return;
        }
        let carried = ladder
            .iter()
            .find(|rung| current.is_some_and(|current| rung.layer.shows_as_much_as(current)))
            .copied();
        let kept: Vec<Rung> = ladder
            .chunk_by(|a, b| a.height == b.height)
            .filter_map(|same| {
                let cheapest = same.first()?;
                let stays = carried.filter(|carried| {
                    carried.height == cheapest.height
                        && carried.bps * CHEAPER_PERCENT / 100 <= cheapest.bps
                });
                Some((same, codec(&stays.unwrap_or(*cheapest))))
            })
            .flat_map(|(same, kept)| same.iter().filter(move |rung| codec(rung) == kept))
            .copied()
            .collect();
        *ladder = Arc::new(kept);
    }

    /// Leaves what a receiver has chosen. A choice of which there is nothing to be had leaves the ladder as it is: another
    /// picture is better than none.
    pub(crate) fn restrict(&self, ladder: &mut Arc<Vec<Rung>>, choice: &LayerChoice) {
        let ladder = Arc::make_mut(ladder);
        let layer = |rung: &Rung| self.layers.get(rung.layer.layer);
        let size = |rung: &Rung| {
            let known = layer(rung).and_then(|layer| layer.size_of(rung.layer.point));
            known.unwrap_or((0, rung.height))
        };
        let rid = |rung: &Rung| layer(rung).and_then(|layer| layer.rid);
        let ranked = choice.rank.and_then(|rank| {
            let mut pictures = pictures(ladder);
            let smallest_to = pictures.by_ref().take(rank + 1);
            smallest_to.last()
        });
        let of_rid = |ranked: &Rung| choice.rid.is_none_or(|wanted| rid(ranked) == Some(wanted));
        let ranked = ranked.filter(of_rid);
        let fits = |rung: &Rung| {
            let (width, height) = size(rung);
            choice.rid.is_none_or(|wanted| rid(rung) == Some(wanted))
                && ranked.is_none_or(|ranked| rung.layer.shows_as_much_as(ranked.layer))
                && choice.max_width.is_none_or(|most| width <= most)
                && choice.max_height.is_none_or(|most| height <= most)
        };
        if ladder.iter().any(fits) {
            ladder.retain(fits);
        } else if choice.max_width.or(choice.max_height).is_some() {
            ladder.truncate(1);
        }
        if let Some(most) = choice.max_temporal {
            slow_down(ladder, |_, _| Some(most), &self.layers);
        }
    }

    /// Leaves out the temporal layers that have more frames a second than are enough.
    pub(crate) fn limit_frames(&self, ladder: &mut Arc<Vec<Rung>>, fps: u32) {
        let most = |layer: &Layer, point| layer.enough_frames(point, fps);
        slow_down(Arc::make_mut(ladder), most, &self.layers);
    }

    /// Layers as receivers may choose them, from the smallest to the largest. Rates are rounded, so that they are news only
    /// when they have changed by much.
    pub(crate) fn available(&mut self, now: Instant) -> Vec<LayerAvailable> {
        let ladder = self.ladder(now).clone();
        let named = pictures(&ladder).filter_map(|rung| {
            let layer = self.layers.get(rung.layer.layer)?;
            let (width, height) = layer.size_of(rung.layer.point).unwrap_or((0, 0));
            Some(LayerAvailable {
                rid: layer.rid,
                width,
                height,
                bps: rounded(layer.bps_of(rung.layer.point)),
            })
        });
        named.collect()
    }

    fn steps(&self, now: Instant) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let newest = self.layers.iter().filter_map(Layer::last_packet).max();
        for (index, layer) in self.layers.iter().enumerate() {
            if !layer.is_to_be_had(now, newest) {
                continue;
            }
            let choices = layer.choices(now);
            if choices.is_empty() {
                steps.push(Step {
                    height: layer.size().map_or(0, |(_, height)| height),
                    rungs: vec![(Target::whole(index), layer.bps())],
                });
            }
            for row in choices.chunk_by(|a, b| a.spatial == b.spatial) {
                let spatial = row.first().map_or(0, |choice| choice.spatial);
                let size = layer.sizes.get(usize::from(spatial)).copied().flatten();
                let target = |point: Point| Target {
                    layer: index,
                    point,
                };
                steps.push(Step {
                    height: size.map_or(0, |(_, height)| height),
                    rungs: row
                        .iter()
                        .map(|choice| (target(choice.point), choice.bps))
                        .collect(),
                });
            }
        }
        steps
    }

    /// Codecs whose payload doesn't tell the size: the declared size belongs to the largest layer,
    /// and each one below is half of the next, as browsers scale simulcast.
    fn guess_heights(&self, steps: &mut [Step]) {
        let mut height = self.spec.height.unwrap_or(720);
        for step in steps.iter_mut().rev() {
            if step.height == 0 {
                step.height = height;
            }
            height = step.height / 2;
        }
    }
}

/// Rungs that stand for all of the same stream beside them: what depends on the stream alone is asked of these.
fn one_of_each_stream(ladder: &[Rung]) -> impl Iterator<Item = &Rung> {
    let same = |a: &Rung, b: &Rung| a.layer.layer == b.layer.layer;
    ladder.chunk_by(same).filter_map(<[Rung]>::first)
}

/// The best rung of each picture, smallest picture first.
fn pictures(ladder: &[Rung]) -> impl Iterator<Item = Rung> {
    let same = |a: &Rung, b: &Rung| a.layer.shows_as_much_as(b.layer);
    ladder
        .chunk_by(same)
        .filter_map(|rungs| rungs.last().copied())
}

/// Another codec has to take less than this share for the same size, to be worth a keyframe. Higher would go to and fro
/// between two that encode the same to the same rate.
const CHEAPER_PERCENT: u64 = 80;

/// Takes the temporal layers above the one that is the most out of each rung.
fn slow_down(ladder: &mut Vec<Rung>, most: impl Fn(&Layer, Point) -> Option<u8>, layers: &[Layer]) {
    for rung in ladder.iter_mut() {
        let Some(layer) = layers.get(rung.layer.layer) else {
            continue;
        };
        let point = rung.layer.point;
        if let Some(most) = most(layer, point).filter(|most| *most < point.temporal) {
            rung.layer.point = Point::new(point.spatial, most);
            rung.bps = layer.bps_of(rung.layer.point);
        }
    }
    ladder.dedup_by_key(|rung| rung.layer);
}

/// To the first two binary digits.
fn rounded(bps: u64) -> u64 {
    let digits = bps.checked_ilog2().unwrap_or(0);
    bps - bps % (1 << digits.saturating_sub(1))
}

/// No publisher is believed to send more: sums must not wrap.
const DECLARED_BPS_MAX: u64 = 1_000_000_000;

/// What browsers spend on a picture of this height; it stands in until the rate has been measured.
fn guess_rate(height: u32) -> u64 {
    match height {
        0..=180 => 150_000,
        181..=360 => 500_000,
        361..=720 => 1_500_000,
        _ => 3_000_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publish::Publisher;
    use crate::rate::{Pace, Rate};
    use crate::{MediaKind, PeerId, RoomId, Source, TrackId, TrackSpec};

    #[test]
    fn what_a_publisher_declares_stands_in_until_it_is_measured() {
        let rids = ["q", "h", "f"].map(str0m::media::Rid::from);
        let spec = TrackSpec {
            id: TrackId(1),
            mid: "0".into(),
            kind: MediaKind::Video,
            source: Source::Camera,
            muted: false,
            width: None,
            height: None,
            max_bps: vec![
                (Some(rids[0]), 90_000),
                (Some(rids[1]), 0),
                (Some(rids[2]), u64::MAX),
            ],
            encrypted: false,
        };
        let mut track = Track::new(spec, RoomId(1), Publisher::Here(0), PeerId(1));
        for (rid, height) in rids.into_iter().zip([180, 360, 720]) {
            let mut layer = Layer::new(Some(rid));
            // It will come when it is asked for.
            layer.paused = true;
            layer.sizes[0] = Some((height * 16 / 9, height));
            track.layers.push(layer);
        }
        let rates = |track: &mut Track| -> Vec<u64> {
            let ladder = track.ladder(Instant::now());
            ladder.iter().map(|rung| rung.bps).collect()
        };
        assert_eq!(
            rates(&mut track),
            [90_000, guess_rate(360), DECLARED_BPS_MAX]
        );
        track.layers[2].rate = Rate::mirrored(1_200_000, Pace::default());
        assert_eq!(rates(&mut track), [90_000, guess_rate(360), 1_200_000]);
    }
}
