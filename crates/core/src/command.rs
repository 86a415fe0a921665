//! What the control plane tells a shard. Commands are never dropped: a full queue pushes back.

use bytes::Bytes;
use str0m::media::{Mid, Rid};

use crate::sdp::{Offer, RemoteAnswer, RemoteCandidate};
use crate::{Engine, LayerChoice, MediaKind, PeerId, RoomId, Source, TrackId, View};

#[derive(Debug)]
pub enum Command {
    /// A new peer. Answered by [`crate::Event::Answered`] with generation 0.
    Join(Box<Join>),
    /// A new peer that is to answer an offer of ours, of one slot for sound and one for a picture. Answered by
    /// [`crate::Event::Answered`] with generation 0 and the offer; the peer's answer comes by [`Command::Accept`].
    Invite {
        peer: PeerId,
        room: RoomId,
    },
    /// What the peer answers to the offer of [`Command::Invite`]; later, with other credentials, a restart of ICE, which is
    /// answered by another offer. Answered by [`crate::Event::Answered`] with the same
    /// generation.
    Accept {
        peer: PeerId,
        generation: u32,
        answer: Box<RemoteAnswer>,
    },
    /// A later offer of the same peer: more slots, or an ICE restart. Answered by
    /// [`crate::Event::Answered`] with the same generation.
    Offer {
        peer: PeerId,
        generation: u32,
        offer: Box<Offer>,
    },
    /// A trickled candidate of the remote side.
    Candidate {
        peer: PeerId,
        candidate: RemoteCandidate,
    },
    /// Media on this mid is now a track that the room can see.
    Publish {
        peer: PeerId,
        track: TrackSpec,
    },
    Unpublish {
        peer: PeerId,
        track: TrackId,
    },
    Mute {
        peer: PeerId,
        track: TrackId,
        muted: bool,
    },
    /// What the peer wants to receive; replaces the view before.
    View {
        peer: PeerId,
        view: View,
    },
    /// Which layers the peer wants in its slots; replaces what it has chosen before.
    Choose {
        peer: PeerId,
        choices: Vec<LayerChoice>,
    },
    /// A message over the data channel of each of these peers; dropped where the channel isn't open.
    Data {
        peers: Vec<PeerId>,
        payload: Bytes,
    },
    /// How the peer's media does, and why. Answered by [`crate::Event::Explained`] with the same number.
    Explain {
        peer: PeerId,
        request: u64,
    },
    /// Ends the peer: DTLS is closed and everything freed. Answered by [`crate::Event::Closed`].
    Leave {
        peer: PeerId,
    },
}

/// A new peer.
#[derive(Debug)]
pub struct Join {
    pub peer: PeerId,
    pub room: RoomId,
    /// Made of its offer.
    pub engine: Engine,
    /// Whether the peer may receive media.
    pub subscribe: bool,
}

/// What becomes visible to the room by [`Command::Publish`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackSpec {
    pub id: TrackId,
    /// The m-line of the publisher's offer that carries the media.
    pub mid: Mid,
    pub kind: MediaKind,
    pub source: Source,
    pub muted: bool,
    /// Size of the full picture in pixels, where the publisher said so.
    pub width: Option<u32>,
    pub height: Option<u32>,
    /// What each stream takes at the most, in bit/s, where the publisher said so.
    pub max_bps: Vec<(Option<Rid>, u64)>,
    /// The payload is encrypted from end to end: it tells nothing, and is not touched.
    pub encrypted: bool,
}
