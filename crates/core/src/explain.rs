//! Why a participant sees what it sees: the answer to [`crate::Command::Explain`].

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use str0m::media::Mid;

use crate::limits::CHANGES_KEPT_MAX;
use crate::{LayerName, MediaKind, TrackId, VideoSlot, Why};

/// How a peer's media does, and how it has come to that.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    pub downlink: ExplainedDownlink,
    /// The video slots, and the audio slots, in m-line order.
    pub slots: Vec<ExplainedSlot>,
    pub audio: Vec<ExplainedAudio>,
    pub published: Vec<ExplainedTrack>,
    /// The newest changes of the slots, oldest first.
    pub changes: Vec<Change<SystemTime>>,
}

/// The way from the server to the peer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExplainedDownlink {
    /// The bandwidth estimate in bit/s; `None` while nothing is known.
    pub estimate_bps: Option<u64>,
    /// What the layers that the slots have been given need of it, and what the peer's audio slots do, in bit/s.
    pub given_bps: u64,
    pub audio_bps: u64,
    /// What the slots would take if bandwidth were plentiful, in bit/s.
    pub wanted_bps: u64,
    pub round_trip: Option<Duration>,
    /// Share of packets that got lost lately, 0 to 1.
    pub loss: f32,
}

/// A video slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedSlot {
    pub mid: Mid,
    pub track: Option<TrackId>,
    pub why: Why,
    /// Why the picture is no larger; nothing where there is none to be had at any bandwidth.
    pub limit: Option<Limit>,
    /// Height of the tile in pixels, 0 where it is hidden.
    pub tile_height: u32,
    pub priority: u8,
    /// What would be sent if bandwidth were plentiful.
    pub wanted: Option<ExplainedLayer>,
    /// What bandwidth allows.
    pub given: Option<ExplainedLayer>,
    /// What is being sent; the layer before, until the given one has a keyframe.
    pub sent: Option<ExplainedLayer>,
}

/// What keeps a picture from being larger, or from having more frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The estimate, or that it is not known yet.
    Bandwidth,
    /// The receiver wants no more: it fills the tile, has as many frames as were asked for, or is the layer that was chosen.
    Chosen,
    /// The publisher sends nothing larger, though the tile is.
    Publisher,
    /// What the slot has been given has not begun yet: it takes a keyframe, or a switching point.
    Switching,
}

/// An audio slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedAudio {
    pub mid: Mid,
    pub track: Option<TrackId>,
    pub why: Heard,
    /// Last level, 0 (silent) to 127 (loudest).
    pub level: u8,
}

/// Why a voice is heard in a slot, or none is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heard {
    /// It is one of the loudest of the room.
    Loud,
    /// The receiver's view names it.
    Chosen,
    Muted,
    /// There are fewer voices than slots.
    Empty,
    PublisherGone,
    NoCommonCodec,
}

/// A layer and what has been measured of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExplainedLayer {
    pub name: LayerName,
    pub bps: u64,
    /// The number of the last temporal layer that it has; nothing where the stream has none.
    pub temporal: Option<u8>,
    /// Frames a second; nothing until they have been counted.
    pub fps: Option<u32>,
}

impl ExplainedLayer {
    /// The same size and the same frames.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (&self.name, self.temporal) == (&other.name, other.temporal)
    }
}

/// What the peer publishes, as it arrives.
#[derive(Debug, Clone, PartialEq)]
pub struct ExplainedTrack {
    pub track: TrackId,
    pub kind: MediaKind,
    /// Share of packets that did not arrive at the first attempt, 0 to 1.
    pub loss: f32,
    pub layers: Vec<PublishedLayer>,
}

/// One layer of a published track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedLayer {
    pub layer: ExplainedLayer,
    /// Nobody wants it, and the publisher has been told so.
    pub paused: bool,
    /// Media has come lately.
    pub active: bool,
}

/// A slot began to carry something else, or was told another reason. `T` is the kind of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<T> {
    pub at: T,
    pub mid: Mid,
    pub track: Option<TrackId>,
    pub why: Why,
    pub layer: Option<LayerName>,
    /// The bandwidth estimate at that time, in bit/s.
    pub estimate_bps: Option<u64>,
}

/// The newest changes of a peer's slots, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Changes(VecDeque<Change<Instant>>);

impl Changes {
    /// Notes the slots in which `now_are` differs from `before`.
    pub(crate) fn note(
        &mut self,
        at: Instant,
        estimate_bps: Option<u64>,
        before: &[VideoSlot],
        now_are: &[VideoSlot],
    ) {
        for slot in now_are {
            // A slot that has never carried anything is no news.
            let was = before.iter().find(|other| other.mid == slot.mid);
            if was == Some(slot) || (was.is_none() && slot.track.is_none()) {
                continue;
            }
            if self.0.len() >= CHANGES_KEPT_MAX {
                self.0.pop_front();
            }
            self.0.push_back(Change {
                at,
                mid: slot.mid,
                track: slot.track,
                why: slot.why,
                layer: slot.layer.clone(),
                estimate_bps,
            });
        }
    }

    /// With times that people read.
    pub(crate) fn dated(&self, date: impl Fn(Instant) -> SystemTime) -> Vec<Change<SystemTime>> {
        let dated = self.0.iter().map(|change| Change {
            at: date(change.at),
            mid: change.mid,
            track: change.track,
            why: change.why,
            layer: change.layer.clone(),
            estimate_bps: change.estimate_bps,
        });
        dated.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(why: Why) -> Vec<VideoSlot> {
        vec![VideoSlot {
            mid: "4".into(),
            track: Some(TrackId(1)),
            paused: why != Why::Live,
            why,
            layer: None,
        }]
    }

    #[test]
    fn the_newest_changes_are_kept() {
        let start = Instant::now();
        let mut changes = Changes::default();
        let mut before = Vec::new();
        for second in 0..2 * CHANGES_KEPT_MAX as u64 {
            let whys = [Why::Live, Why::NoBandwidth];
            let now_are = slot(whys[usize::from(second % 2 == 1)]);
            let at = start + Duration::from_secs(second);
            changes.note(at, Some(second), &before, &now_are);
            changes.note(at, Some(second), &now_are, &now_are);
            before = now_are;
        }
        let dated =
            changes.dated(|at| SystemTime::UNIX_EPOCH + at.saturating_duration_since(start));
        assert_eq!(dated.len(), CHANGES_KEPT_MAX);
        let first = CHANGES_KEPT_MAX as u64;
        assert_eq!(
            (dated[0].estimate_bps, dated[0].why),
            (Some(first), Why::Live)
        );
        assert_eq!(
            dated[0].at,
            SystemTime::UNIX_EPOCH + Duration::from_secs(first)
        );
    }
}
