//! What clients send.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ErrorCode, Fault, Kind, PeerName, Secret, Source, TrackName};

/// A frame that has been understood.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientFrame {
    /// Set where the client wants a reply.
    pub id: Option<u64>,
    pub message: ClientMessage,
}

/// The messages of a client. In frames the name of the variant is the field `t`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientMessage {
    Join(Box<Join>),
    Resume {
        v: u32,
        session: String,
        secret: Secret,
        last_s: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<String>,
    },
    Offer {
        #[serde(rename = "gen")]
        generation: u32,
        sdp: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart: Option<bool>,
    },
    Candidate {
        #[serde(rename = "gen")]
        generation: u32,
        #[serde(deserialize_with = "present")]
        candidate: Option<String>,
    },
    Publish {
        tracks: Vec<Publication>,
    },
    Unpublish {
        tracks: Vec<TrackName>,
    },
    Mute {
        track: TrackName,
        muted: bool,
    },
    View {
        rev: u32,
        video: Vec<Tile>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auto: Option<Auto>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        audio: Option<ViewAudio>,
    },
    Update {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        meta: Option<Value>,
    },
    Msg(Message),
    E2ee {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Vec<PeerName>>,
        #[serde(deserialize_with = "present")]
        body: Value,
    },
    P2p {
        to: PeerName,
        kind: P2pKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
    },
    Admin {
        op: AdminOp,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<PeerName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        track: Option<TrackName>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        grants: Option<GrantsChange>,
    },
    Ping {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        n: Option<u64>,
    },
    Leave {},
}

/// Enters a room.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Join {
    pub v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    pub offer: String,
    pub want: Want,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meta: Option<Value>,
    /// Describes the client, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Value>,
    /// The client encrypts its media from end to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e2ee: Option<bool>,
    /// Another server has sent the client here. It is not sent on: servers that do not agree would send it round and round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<bool>,
}

/// Slots in the first offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    pub audio: usize,
    pub video: usize,
}

/// A track to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// The client's own name for the track, echoed in the reply.
    pub cid: String,
    pub mid: String,
    pub kind: Kind,
    pub source: Source,
    pub muted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rids: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// What each rid takes at the most, in bit/s, in the order of `rids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bps: Option<Vec<u64>>,
}

/// A tile of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    pub track: TrackName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<String>,
    pub w: u32,
    pub h: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prio: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_h: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<u32>,
}

/// Tiles that the server fills.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Auto {
    pub max: usize,
    pub w: u32,
    pub h: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<TrackName>,
}

/// Which microphones are heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewAudio {
    pub mode: AudioMode,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Vec<TrackName>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracks: Option<Vec<TrackName>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioMode {
    Loudest,
    List,
}

/// Chat and application data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Vec<PeerName>>,
    pub topic: String,
    #[serde(deserialize_with = "present")]
    pub body: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reliable: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum P2pKind {
    Offer,
    Answer,
    Candidate,
    Ready,
    Bye,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdminOp {
    Kick,
    Mute,
    Grant,
    Lock,
    Unlock,
    End,
}

/// New grants of a participant; what is missing stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GrantsChange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub publish: Option<Vec<Source>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_own: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorder: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p2p: Option<bool>,
}

impl ClientMessage {
    /// The values of `t`.
    pub const TYPES: [&'static str; 15] = [
        "join",
        "resume",
        "offer",
        "candidate",
        "publish",
        "unpublish",
        "mute",
        "view",
        "update",
        "msg",
        "e2ee",
        "p2p",
        "admin",
        "ping",
        "leave",
    ];

    /// The SDP of an `offer`.
    pub fn offer(&self) -> Option<&str> {
        if let Self::Offer { sdp, .. } = self {
            Some(sdp)
        } else {
            None
        }
    }

    /// Whether the frame carries SDP and so may be large.
    pub fn may_carry_offer(&self) -> bool {
        matches!(
            self,
            Self::Join(_) | Self::Resume { .. } | Self::Offer { .. }
        )
    }
}

impl ClientFrame {
    /// Reads a frame. `Ok(None)` is a type from the future without an `id`, which is ignored.
    ///
    /// # Errors
    /// The fault for the client, with the `id` of the frame where it could be read.
    pub fn parse(text: &str) -> Result<Option<Self>, (Option<u64>, Fault)> {
        let bad = |text: String| Fault::new(ErrorCode::BadRequest, text);
        let value = serde_json::from_str(text)
            .map_err(|error| (None, bad(format!("the frame is no JSON: {error}"))))?;
        let Value::Object(mut fields) = value else {
            return Err((None, bad("the frame is no JSON object".into())));
        };
        let id = match fields.remove("id") {
            None | Some(Value::Null) => None,
            Some(id) => Some(
                id.as_u64()
                    .ok_or_else(|| (None, bad("'id' is no whole number from 0".into())))?,
            ),
        };
        let Some(Value::String(t)) = fields.remove("t") else {
            return Err((id, bad("the frame has no type 't'".into())));
        };
        if !ClientMessage::TYPES.contains(&t.as_str()) {
            return match id {
                None => Ok(None),
                Some(_) => Err((id, bad(format!("unknown type '{}'", t.escape_debug())))),
            };
        }
        // As `{t: fields}` the frame is an externally tagged enum, so that an error names its place.
        let tagged = Value::Object(Map::from_iter([(t, Value::Object(fields))]));
        let message: ClientMessage = serde_path_to_error::deserialize(tagged)
            .map_err(|error| (id, bad(format!("{}: {}", error.path(), error.inner()))))?;
        if id.is_none() && message.may_carry_offer() {
            return Err((None, bad("join, resume and offer need an 'id'".into())));
        }
        Ok(Some(Self { id, message }))
    }
}

/// For fields that may be null and must be there: serde takes a missing `Option` or `Value` for null.
fn present<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    T::deserialize(deserializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (Option<u64>, String) {
        let (id, fault) = ClientFrame::parse(text).unwrap_err();
        assert_eq!(fault.code, ErrorCode::BadRequest);
        (id, fault.text)
    }

    #[test]
    fn a_frame_is_read() {
        let frame =
            ClientFrame::parse(r#"{"t":"mute","id":7,"track":"t4","muted":true,"later":[]}"#)
                .unwrap()
                .unwrap();
        let track = TrackName(madang_core::TrackId(4));
        assert_eq!(
            frame,
            ClientFrame {
                id: Some(7),
                message: ClientMessage::Mute { track, muted: true }
            }
        );
        let leave = ClientFrame::parse(r#"{"t":"leave"}"#).unwrap().unwrap();
        assert_eq!(leave.message, ClientMessage::Leave {});
    }

    #[test]
    fn an_error_names_the_field_and_keeps_the_id() {
        assert_eq!(
            fault(r#"{"t":"mute","id":7,"track":"t4"}"#),
            (Some(7), "mute: missing field `muted`".into())
        );
        let (_, text) =
            fault(r#"{"t":"publish","id":1,"tracks":[{"cid":"a","mid":"0","kind":"smell"}]}"#);
        assert_eq!(
            text,
            "publish.tracks[0].kind: unknown variant `smell`, expected `audio` or `video`"
        );
        assert_eq!(
            fault(r#"{"t":"candidate","id":1,"gen":0}"#).1,
            "candidate: missing field `candidate`"
        );
        assert_eq!(fault("{").0, None);
        assert_eq!(fault("[]").1, "the frame is no JSON object");
        assert_eq!(
            fault(r#"{"id":1}"#),
            (Some(1), "the frame has no type 't'".into())
        );
        assert_eq!(
            fault(r#"{"t":"ping","id":-1}"#).1,
            "'id' is no whole number from 0"
        );
        assert_eq!(
            fault(r#"{"t":"offer","gen":1,"sdp":""}"#).1,
            "join, resume and offer need an 'id'"
        );
    }

    #[test]
    fn unknown_types_are_ignored_unless_a_reply_is_due() {
        assert_eq!(ClientFrame::parse(r#"{"t":"dance"}"#), Ok(None));
        assert_eq!(
            fault(r#"{"t":"dance","id":3}"#),
            (Some(3), "unknown type 'dance'".into())
        );
    }
}
