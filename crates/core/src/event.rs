//! What a shard tells the control plane. Topology events are never dropped.

use bytes::Bytes;
use str0m::format::Codec;
use str0m::media::{Mid, Rid};

use crate::sdp::{AnswerSdp, SdpError};
use crate::{Explanation, MediaKind, PeerId, RoomId, TrackId};

#[derive(Debug)]
pub enum Event {
    /// The answer to [`crate::Command::Join`] (generation 0) or [`crate::Command::Offer`].
    /// A join that failed has left nothing behind; a later offer that failed changed nothing.
    Answered {
        peer: PeerId,
        generation: u32,
        result: Result<Answer, SdpError>,
    },
    /// ICE and DTLS are up: media can flow.
    Connected { peer: PeerId },
    /// Nothing has been heard for a while; an ICE restart may bring the peer back.
    Disconnected { peer: PeerId },
    /// The peer is gone and its tracks with it. The last event of this peer.
    Closed { peer: PeerId, reason: CloseReason },
    /// What the peer's slots carry now.
    Slots { peer: PeerId, slots: Slots },
    /// Who speaks, loudest first. Level is 0 (silent) to 127 (loudest), that is 127 minus the
    /// -dBov of RFC 6464.
    Speakers {
        /// Those of its people are told who are on this worker.
        worker: u8,
        room: RoomId,
        speakers: Vec<(PeerId, u8)>,
    },
    /// Which layers of a track anybody wants, for its publisher.
    Layers {
        peer: PeerId,
        track: TrackId,
        layers: Vec<LayerWanted>,
    },
    /// The layers that there are of a track, from the smallest to the largest, after they have changed. Told by the worker of
    /// the publisher.
    Available {
        room: RoomId,
        track: TrackId,
        layers: Vec<LayerAvailable>,
    },
    /// How a track is encoded, after that has changed. Told by the worker of the publisher.
    Format {
        room: RoomId,
        track: TrackId,
        format: Format,
    },
    /// What is wrong with how a track is sent, after that has changed.
    Troubles {
        room: RoomId,
        track: TrackId,
        troubles: Vec<Trouble>,
    },
    /// The peer's view wants more slots than it has.
    NeedSlots {
        peer: PeerId,
        audio: usize,
        video: usize,
    },
    /// How a participant's connection does, after it changed.
    Quality {
        room: RoomId,
        peer: PeerId,
        quality: Quality,
    },
    /// The answer to [`crate::Command::Explain`]; nothing where there is no such peer.
    Explained {
        peer: PeerId,
        request: u64,
        explanation: Option<Box<Explanation>>,
    },
    /// A message from the peer's data channel.
    Data { peer: PeerId, payload: Bytes },
}

/// An accepted offer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub sdp: AnswerSdp,
    /// All slots that the peer has now, in m-line order.
    pub slots: Vec<SlotName>,
    /// Codecs that the peer can receive, as upper-case SDP encoding names, best first.
    pub codecs: Vec<String>,
}

/// A send m-line of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotName {
    pub mid: Mid,
    pub kind: MediaKind,
}

/// Why a peer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The control plane said so.
    Left,
    /// The remote side closed DTLS.
    RemoteClosed,
    /// ICE or DTLS did not come up in time.
    ConnectTimeout,
    /// The DTLS handshake cannot be brought to an end.
    HandshakeFailed,
    /// No sign of life within the consent time (RFC 7675).
    ConsentLost,
    /// The media engine failed; the log says how.
    Internal,
}

/// The content of slots; a group that is `None` has not changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slots {
    /// The [`crate::View::rev`] that this is the outcome of.
    pub rev: u32,
    pub video: Option<Vec<VideoSlot>>,
    pub audio: Option<Vec<AudioSlot>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoSlot {
    pub mid: Mid,
    pub track: Option<TrackId>,
    /// Nothing is being sent at the moment.
    pub paused: bool,
    pub why: Why,
    pub layer: Option<LayerName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioSlot {
    pub mid: Mid,
    pub track: Option<TrackId>,
    /// Last level, 0 (silent) to 127 (loudest).
    pub level: u8,
}

/// Why a picture is as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    Live,
    Muted,
    NoBandwidth,
    NoKeyframe,
    NotVisible,
    PublisherGone,
    NoCommonCodec,
}

/// The layer that a slot carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerName {
    /// `None` for a track without simulcast.
    pub rid: Option<Rid>,
    /// Size in pixels, 0 where unknown.
    pub width: u32,
    pub height: u32,
}

/// Whether a publisher's layer is worth encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerWanted {
    pub rid: Option<Rid>,
    pub active: bool,
    /// Nobody looks at more lines of a stream that has several sizes; none where all are wanted.
    pub max_height: Option<u32>,
    pub max_fps: Option<u32>,
}

/// What makes a track worse than it could be, and only its publisher can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The encoder sends keyframes when it likes: who joins waits for the next one.
    IgnoresKeyframeRequests,
    /// Frames are shown in another order than they are sent (B-frames), which browsers do not expect.
    Reorders,
    /// The encoder writes an H.264 profile that browsers are not sure to decode.
    UnusualProfile,
}

/// How a track is encoded, as its packets show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    pub codec: Codec,
    /// The `profile-level-id` that an H.264 encoder has written into its stream, whatever was offered.
    pub profile: Option<u32>,
}

/// A layer that receivers may choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerAvailable {
    pub rid: Option<Rid>,
    /// Size in pixels, 0 where unknown.
    pub width: u32,
    pub height: u32,
    /// Measured rate in bit/s, rounded; 0 until it has been measured.
    pub bps: u64,
}

/// Connection quality as people rate calls: 5 is excellent, 1 is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quality {
    pub score: u8,
    pub reason: QualityReason,
}

impl Quality {
    pub(crate) const GOOD: Self = Self {
        score: 5,
        reason: QualityReason::Good,
    };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QualityReason {
    Good,
    /// Packets from the participant get lost on the way to the server.
    UplinkLoss,
    /// The way to the participant is too narrow for what it wants to see.
    DownlinkBandwidth,
    /// Nothing has been heard from the participant for a while.
    Disconnected,
}
