//! What the server sends.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ErrorCode, Grants, Kind, P2pKind, PeerName, Secret, Source, TrackName};

/// The messages of the server; session events get their `s` when a session takes them up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
pub enum ServerMessage {
    Joined(Box<Joined>),
    Resumed {
        re: u64,
        s: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        full: Option<Box<Snapshot>>,
    },
    Answer {
        re: u64,
        #[serde(rename = "gen")]
        generation: u32,
        sdp: String,
        slots: Vec<SlotInfo>,
    },
    Candidate {
        #[serde(rename = "gen")]
        generation: u32,
        candidate: Option<String>,
    },
    Peers {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add: Vec<PeerInfo>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        upd: Vec<PeerInfo>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        del: Vec<PeerName>,
    },
    Tracks {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        add: Vec<TrackInfo>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        upd: Vec<TrackInfo>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        del: Vec<TrackName>,
    },
    Slots {
        rev: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        video: Option<Vec<VideoSlot>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audio: Option<Vec<AudioSlot>>,
    },
    Speakers {
        list: Vec<PeerLevel>,
    },
    Layers {
        track: TrackName,
        layers: Vec<LayerWanted>,
    },
    Quality {
        list: Vec<PeerQuality>,
    },
    NeedSlots {
        audio: usize,
        video: usize,
    },
    Grants {
        grants: Grants,
    },
    Muted {
        track: TrackName,
        muted: bool,
        by: PeerName,
    },
    Room(RoomInfo),
    Token {
        token: Secret,
    },
    Msg {
        from: PeerName,
        topic: String,
        body: Value,
    },
    E2ee {
        from: PeerName,
        body: Value,
    },
    P2p {
        from: PeerName,
        kind: P2pKind,
        body: Value,
    },
    Bye(Bye),
    Pong {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
    },
    Ok {
        re: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tracks: Option<Vec<Published>>,
    },
    Err {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        re: Option<u64>,
        code: ErrorCode,
        msg: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_ms: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
}

impl ServerMessage {
    /// The frame's text. It cannot fail: all keys are strings.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The answer to `join`: the session, and the room as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Joined {
    pub re: u64,
    pub session: String,
    pub secret: Secret,
    pub resume_ttl: u64,
    pub you: PeerInfo,
    pub answer: String,
    pub ice_servers: Vec<IceServer>,
    pub slots: Vec<SlotInfo>,
    pub peers: Vec<PeerInfo>,
    pub tracks: Vec<TrackInfo>,
    pub grants: Grants,
    pub room: RoomInfo,
    pub ping_ms: u64,
    pub codecs: Vec<String>,
}

/// The end of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    pub code: ErrorCode,
    pub msg: String,
    pub action: Action,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
}

/// What a client should do after a `bye`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    None,
    Resume,
    Rejoin,
}

/// A participant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    pub id: PeerName,
    pub identity: String,
    pub name: String,
    pub meta: Value,
    /// The connection of a publisher by WHIP is lost, and it may come back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub away: bool,
}

/// A published track.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackInfo {
    pub id: TrackName,
    pub peer: PeerName,
    pub kind: Kind,
    pub source: Source,
    pub muted: bool,
    pub w: Option<u32>,
    pub h: Option<u32>,
    pub rids: Vec<String>,
    pub codec: Option<String>,
    /// The `profile-level-id` that the encoder has written into an H.264 stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is wrong with how it is sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What makes a track worse than it could be, and only its publisher can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The encoder sends keyframes when it likes.
    NoKeyframeOnRequest,
    /// Frames are shown in another order than they are sent.
    BFrames,
    /// The encoder writes an H.264 profile that browsers are not sure to decode.
    H264Profile,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    pub name: String,
    pub locked: bool,
    /// Participants at the most.
    pub max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotInfo {
    pub mid: String,
    pub kind: Kind,
}

/// The room as it is, for a client that has missed too much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub you: PeerInfo,
    pub peers: Vec<PeerInfo>,
    pub tracks: Vec<TrackInfo>,
    pub grants: Grants,
    pub room: RoomInfo,
    pub slots: Vec<SlotInfo>,
}

/// A STUN or TURN server, as `RTCIceServer` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<Secret>,
}

/// What a track's publisher calls it, and what everybody else does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    pub cid: String,
    pub id: TrackName,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoSlot {
    pub mid: String,
    pub track: Option<TrackName>,
    pub paused: bool,
    pub why: Why,
    pub layer: Option<LayerInfo>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioSlot {
    pub mid: String,
    pub track: Option<TrackName>,
    pub level: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerInfo {
    pub rid: Option<String>,
    pub w: u32,
    pub h: u32,
}

/// Why a slot shows what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    Live,
    Muted,
    NoBandwidth,
    NoKeyframe,
    NotVisible,
    PublisherGone,
    NoCommonCodec,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerLevel {
    pub peer: PeerName,
    pub level: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerWanted {
    pub rid: Option<String>,
    pub active: bool,
    pub max_bps: Option<u64>,
    pub max_height: Option<u32>,
    pub max_fps: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerQuality {
    pub peer: PeerName,
    pub score: u8,
    pub why: QualityWhy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualityWhy {
    Good,
    UplinkLoss,
    DownlinkBandwidth,
    Disconnected,
}
