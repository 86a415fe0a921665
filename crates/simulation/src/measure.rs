//! How a call looked and sounded to one person, in the figures that browsers give (`RTCInboundRtpStreamStats`).

mod link;
mod playout;

use std::ops::Range;
use std::time::Duration;

use madang_core::{Source, Why};

use crate::decoder::Fault;
use crate::world::World;

use playout::{FREEZE_SPARE, concealed, freezes, render_times};

/// Whom to look at, and when.
#[derive(Debug, Clone)]
pub struct Subject {
    pub viewer: &'static str,
    /// The pictures that count: whose, and what.
    pub pictures: Vec<(&'static str, Source)>,
    /// Whose voice counts.
    pub speaker: &'static str,
    /// When nothing changes, and what is achieved is due to the server alone.
    pub steady: Range<Duration>,
    /// The picture and its layer that is to be reached, counted from a moment; from being connected where there is none.
    pub top: (&'static str, Source, u8),
    pub top_from: Option<Duration>,
}

/// The figures of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Measured {
    /// By libwebrtc's definition, for each picture and minute.
    pub freezes_per_minute: f64,
    /// Shares of the time, 0 to 1: frozen; and paused with a word about it.
    pub frozen: f64,
    pub paused: f64,
    /// How often the picture is paused that is so most often.
    pub pauses_per_minute: f64,
    pub torn_frames: f64,
    /// Share of the speaker's sound that was made up.
    pub concealed: f64,
    /// From being connected to the first frame of the picture that came last; none where one never came.
    pub first_frame_ms: Option<f64>,
    pub top_layer_ms: Option<f64>,
    /// While nothing changes: share of the link that carried something, and of the datagrams that found the queue full.
    pub link_use: Option<f64>,
    pub self_made_loss: f64,
    /// Mean distance of the estimate from what the link carries, as a share of that, as far as anybody wants it.
    pub estimate_error: Option<f64>,
    /// Requests that reached the publishers of these pictures.
    pub keyframe_requests: f64,
    /// How far lips are from the voice at worst, by sender reports.
    pub skew_ms: Option<f64>,
}

/// Looks back at a run.
pub fn measure(world: &World, subject: &Subject) -> Measured {
    let seat = world.seat(subject.viewer);
    let connected = seat.browser.connected_at.unwrap_or_else(|| world.now());
    let pictures: Vec<Picture> = subject
        .pictures
        .iter()
        .map(|(publisher, source)| Picture::of(world, subject.viewer, publisher, *source))
        .collect();
    let shown_for: Duration = pictures.iter().map(|picture| picture.shown_for).sum();
    let told: Duration = pictures.iter().map(|picture| picture.paused).sum();
    let frozen: Duration = pictures.iter().map(|picture| picture.frozen).sum();
    let count: usize = pictures.iter().map(|picture| picture.freezes).sum();
    let first = pictures.iter().map(|picture| picture.first_at);
    let first = first.reduce(|a, b| Some(a?.max(b?))).flatten();
    let (publisher, source, layer) = subject.top;
    let from = subject.top_from.unwrap_or(connected);
    let top = world.frames(subject.viewer, publisher, source, from);
    let top = top.iter().find(|frame| frame.tag.rank() == layer);
    let heard = world.sounds(
        subject.viewer,
        subject.speaker,
        Source::Microphone,
        connected,
    );
    let link = link::Use::of(seat, &subject.steady);
    Measured {
        freezes_per_minute: ratio(count as f64 * 60.0, shown_for.as_secs_f64()),
        frozen: ratio(frozen.as_secs_f64(), shown_for.as_secs_f64()),
        paused: ratio(told.as_secs_f64(), (shown_for + told).as_secs_f64()),
        pauses_per_minute: pictures
            .iter()
            .map(|picture| ratio(picture.pauses as f64 * 60.0, picture.lasted().as_secs_f64()))
            .fold(0.0, f64::max),
        torn_frames: torn_frames(world, subject.viewer) as f64,
        concealed: concealed(&heard),
        first_frame_ms: first.map(|at| millis(at.saturating_sub(connected))),
        top_layer_ms: top.map(|frame| millis(frame.at.saturating_sub(from))),
        link_use: link.used,
        self_made_loss: link.dropped,
        estimate_error: link::estimate_error(seat, &subject.steady),
        keyframe_requests: keyframe_requests(world, subject) as f64,
        skew_ms: skew(world, subject),
    }
}

/// What became of one picture.
struct Picture {
    first_at: Option<Duration>,
    shown_for: Duration,
    paused: Duration,
    pauses: usize,
    frozen: Duration,
    freezes: usize,
}

impl Picture {
    fn of(world: &World, viewer: &str, publisher: &str, source: Source) -> Self {
        let frames = world.frames(viewer, publisher, source, Duration::ZERO);
        let first_at = frames.first().map(|frame| frame.at);
        let begin = first_at.unwrap_or_else(|| world.now());
        let frozen = freezes_of(world, viewer, publisher, source);
        let shown = begin..world.now();
        let pauses = pauses(world, viewer, publisher, source);
        let paused = pauses.iter().map(|pause| overlap(pause, &shown)).sum();
        Self {
            first_at,
            shown_for: (world.now() - begin).saturating_sub(paused),
            paused,
            pauses: pauses.iter().filter(|pause| pause.start >= begin).count(),
            frozen: frozen.iter().map(|gap| gap.end - gap.start).sum(),
            freezes: frozen.len(),
        }
    }

    fn lasted(&self) -> Duration {
        self.shown_for + self.paused
    }
}

/// When a picture stood still.
pub fn freezes_of(
    world: &World,
    viewer: &str,
    publisher: &str,
    source: Source,
) -> Vec<Range<Duration>> {
    let frames = world.frames_in_turn(viewer, publisher, source);
    let mut rendered = render_times(&frames);
    rendered.push(
        rendered
            .last()
            .copied()
            .unwrap_or_default()
            .max(world.now()),
    );
    // A pause that people are told of is not a picture that stands still.
    let pauses = pauses(world, viewer, publisher, source);
    let freezes = freezes(&rendered).into_iter();
    freezes.flat_map(|gap| without(gap, &pauses)).collect()
}

/// What is left of a freeze beside pauses, which come in the order of time; where anybody would notice it.
fn without(gap: Range<Duration>, pauses: &[Range<Duration>]) -> Vec<Range<Duration>> {
    let mut left = Vec::new();
    let mut from = gap.start;
    for pause in pauses {
        left.push(from..pause.start.min(gap.end));
        from = from.max(pause.end);
    }
    left.push(from..gap.end);
    left.retain(|part| part.end.saturating_sub(part.start) >= FREEZE_SPARE);
    left
}

fn overlap(one: &Range<Duration>, other: &Range<Duration>) -> Duration {
    let (start, end) = (one.start.max(other.start), one.end.min(other.end));
    end.saturating_sub(start)
}

/// When the viewer's page was told that there is no bandwidth for a picture.
fn pauses(world: &World, viewer: &str, publisher: &str, source: Source) -> Vec<Range<Duration>> {
    let page = &world.seat(viewer).page;
    let owner = world.find(publisher);
    let track = page
        .tracks
        .iter()
        .find(|track| Some(track.owner) == owner && track.source == source)
        .map(|track| track.id);
    let mut pauses: Vec<Range<Duration>> = Vec::new();
    let mut since = None;
    for (at, slots) in &page.video_history {
        let slot = slots.iter().find(|slot| slot.track == track);
        let paused = slot.is_some_and(|slot| slot.why == Why::NoBandwidth);
        match (paused, since) {
            (true, None) => since = Some(*at),
            (false, Some(start)) => {
                // What has been allowed again takes a keyframe to come.
                pauses.push(start..*at + RETURN);
                since = None;
            }
            _ => {}
        }
    }
    pauses.extend(since.map(|start| start..world.now()));
    pauses
}

/// A picture comes back from a pause within this, or counts as frozen.
const RETURN: Duration = Duration::from_millis(500);

fn torn_frames(world: &World, viewer: &str) -> usize {
    let decoders = world.seat(viewer).browser.video.values();
    let faults = decoders.flat_map(|decoder| decoder.complaints());
    faults
        .filter(|complaint| matches!(complaint.fault, Fault::TornFrame { .. }))
        .count()
}

fn keyframe_requests(world: &World, subject: &Subject) -> usize {
    let mut publishers: Vec<_> = subject.pictures.iter().map(|(name, _)| *name).collect();
    publishers.dedup();
    let asked = publishers
        .iter()
        .map(|name| world.seat(name).browser.keyframes_asked.len());
    asked.sum()
}

/// From the first frames of a picture on: who has both streams has a report of each by then.
const SYNC_FROM: Duration = Duration::from_secs(4);

/// How far the picture is from the speaker's voice where both play what they are told was captured at the same time.
fn skew(world: &World, subject: &Subject) -> Option<f64> {
    let (worst, frames) = world.lip_sync(subject.viewer, subject.speaker, SYNC_FROM);
    (frames > 0).then(|| millis(worst))
}

/// The median; none of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(gap: Range<u64>, pauses: &[(u64, u64)]) -> Vec<Range<Duration>> {
        let pauses: Vec<_> = pauses.iter().map(|(from, to)| ms(*from..*to)).collect();
        without(ms(gap), &pauses)
    }

    fn ms(range: Range<u64>) -> Range<Duration> {
        Duration::from_millis(range.start)..Duration::from_millis(range.end)
    }

    #[test]
    fn a_freeze_beside_a_pause_is_a_freeze() {
        assert_eq!(left(1_000..3_000, &[]), [ms(1_000..3_000)]);
        assert_eq!(left(1_000..3_000, &[(2_999, 9_000)]), [ms(1_000..2_999)]);
        assert_eq!(left(1_000..3_000, &[(0, 1_001)]), [ms(1_001..3_000)]);
        let both = [ms(1_000..1_500), ms(2_000..3_000)];
        assert_eq!(
            left(1_000..3_000, &[(0, 500), (1_500, 2_000), (4_000, 5_000)]),
            both
        );
    }

    #[test]
    fn a_pause_is_no_freeze() {
        // It is told a moment after the last picture.
        assert_eq!(left(1_000..3_000, &[(1_050, 3_200)]), []);
        assert_eq!(left(1_000..3_000, &[(1_050, 2_000), (1_900, 3_200)]), []);
    }
}
