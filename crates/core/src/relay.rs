//! Between shards: a room's people may be spread over workers. Each shard forwards to its own people; what is
//! published on another shard comes over as one copy for the shard, however many of its people want it.
//!
//! A shard with people of a room says so to all others, and learns from them who else has. To those it announces
//! its tracks, and there each stands as a mirror: a track whose publisher is elsewhere. A mirror tells its home
//! which layers its people want, and gets those; sound comes over always, so that every shard hears the same
//! loudest voices.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use str0m::format::CodecSpec;
use str0m::media::Rid;

use crate::codec::Sizes;
use crate::operating::PointState;
use crate::publish::{Packet, TrackKey};
use crate::rate::Pace;
use crate::{PeerId, RoomId, TrackId, TrackSpec};

/// What one shard has for another.
#[derive(Debug)]
pub enum Relayed {
    /// To be carried in order, and never dropped.
    Control(Control),
    /// May be dropped whole, as datagrams may.
    Media(Media),
}

/// What shards tell each other about rooms and tracks.
#[derive(Debug)]
pub struct Control(pub(crate) Said);

#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// There are people of this room here. `ask`: say so too if there are some at yours.
    Here {
        room: RoomId,
        ask: bool,
    },
    /// There are none any more.
    Gone {
        room: RoomId,
    },
    /// Somebody here publishes this.
    Track {
        room: RoomId,
        publisher: PeerId,
        spec: TrackSpec,
    },
    /// And no longer does.
    TrackGone {
        track: TrackId,
    },
    Muted {
        track: TrackId,
        muted: bool,
    },
    /// How a track's layers do, from its home.
    Layers {
        track: TrackId,
        layers: Vec<LayerState>,
    },
    /// What is wanted here, to the track's home.
    Want {
        track: TrackId,
        wanted: Wanted,
    },
    /// Somebody here waits for a keyframe; `lost`: with a picture that stands still.
    Keyframe {
        track: TrackId,
        layer: usize,
        lost: bool,
    },
}

/// What a mirror has to know of a layer whether it gets it or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LayerState {
    pub(crate) rid: Option<Rid>,
    pub(crate) stream: u32,
    pub(crate) codec: Option<Arc<CodecSpec>>,
    pub(crate) sizes: Sizes,
    pub(crate) bps: u64,
    pub(crate) pace: Pace,
    pub(crate) points: Vec<PointState>,
    pub(crate) paused: bool,
    pub(crate) resumed: Option<Instant>,
    /// For keyframes.
    pub(crate) ignores_requests: bool,
    pub(crate) last_packet: Option<Instant>,
}

/// The packets of one turn.
#[derive(Debug, Default)]
pub struct Media {
    pub(crate) packets: Vec<Carried>,
}

/// A packet on its way to another shard.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) track: TrackId,
    pub(crate) packet: Arc<Packet>,
    /// It is of a picture that has been kept, for those who have none yet.
    pub(crate) kept: bool,
}

impl Media {
    /// Packets in it.
    pub fn len(&self) -> usize {
        self.packets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }
}

/// A packet of the batch, and which track of this shard it belongs to.
pub(crate) type Arrived = (TrackKey, Arc<Packet>);

/// Another shard with people of a track's room, and what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elsewhere {
    pub(crate) worker: u8,
    pub(crate) wanted: Wanted,
}

/// What the people of a shard want of a track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// One bit for each layer.
    pub(crate) layers: u32,
    /// How many lines of these anybody looks at, and how many frames a second; none where all may be wanted.
    pub(crate) lines: Option<u32>,
    pub(crate) frames: Option<u32>,
}

impl Elsewhere {
    pub(crate) fn new(worker: u8, audio: bool) -> Self {
        let wanted = if audio {
            Wanted::SOUND
        } else {
            Wanted::default()
        };
        Self { worker, wanted }
    }

    pub(crate) fn wants(self, layer: usize) -> bool {
        self.wanted.wants(layer)
    }
}

impl Wanted {
    /// Sound goes everywhere.
    const SOUND: Self = Self {
        layers: u32::MAX,
        lines: None,
        frames: None,
    };

    pub(crate) fn wants(self, layer: usize) -> bool {
        u32::try_from(layer).is_ok_and(|layer| self.layers.checked_shr(layer).unwrap_or(0) & 1 == 1)
    }
}

/// What waits for other shards.
#[derive(Debug, Default)]
pub(crate) struct Mailboxes(Vec<Mailbox>);

#[derive(Debug, Default)]
struct Mailbox {
    control: VecDeque<Control>,
    media: Media,
}

impl Mailboxes {
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| Mailbox::default()).collect())
    }

    pub(crate) fn say(&mut self, worker: u8, said: Said) {
        if let Some(mailbox) = self.0.get_mut(usize::from(worker)) {
            mailbox.control.push_back(Control(said));
        }
    }

    /// To all workers but this one.
    pub(crate) fn say_to_others(&mut self, this: u8, said: &Said) {
        for (worker, mailbox) in self.0.iter_mut().enumerate() {
            if worker != usize::from(this) {
                mailbox.control.push_back(Control(said.clone()));
            }
        }
    }

    pub(crate) fn send(&mut self, worker: u8, carried: Carried) {
        if let Some(mailbox) = self.0.get_mut(usize::from(worker)) {
            mailbox.media.packets.push(carried);
        }
    }

    /// Sends all packets of a picture, where there is one.
    pub(crate) fn send_picture(
        &mut self,
        worker: u8,
        track: TrackId,
        picture: Option<Vec<Arc<Packet>>>,
        kept: bool,
    ) {
        for packet in picture.into_iter().flatten() {
            let carried = Carried {
                track,
                packet,
                kept,
            };
            self.send(worker, carried);
        }
    }

    /// The next thing for another shard: what is said of a track comes before its packets.
    pub(crate) fn poll(&mut self) -> Option<(u8, Relayed)> {
        self.0.iter_mut().zip(0..).find_map(|(mailbox, worker)| {
            if let Some(control) = mailbox.control.pop_front() {
                return Some((worker, Relayed::Control(control)));
            }
            (!mailbox.media.is_empty())
                .then(|| (worker, Relayed::Media(std::mem::take(&mut mailbox.media))))
        })
    }
}
