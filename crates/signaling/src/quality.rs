//! `GET /v1/rooms/{room}/participants/{peer}/quality`: why somebody sees what they see.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use madang_core::{
    Change, ExplainedAudio, ExplainedDownlink, ExplainedLayer, ExplainedSlot, ExplainedTrack,
    Explanation, Heard, Limit, PublishedLayer,
};
use serde::Serialize;
use serde_json::json;

use crate::http::{bearer, check_host};
use crate::hub::{Hub, millis};
use crate::protocol::{ErrorCode, Fault, Kind, LayerInfo, PeerName, TrackName, Why};

pub(crate) fn routes() -> Router<Arc<Hub>> {
    Router::new().route("/v1/rooms/{room}/participants/{peer}/quality", get(quality))
}

async fn quality(
    State(hub): State<Arc<Hub>>,
    Path((room, peer)): Path<(String, PeerName)>,
    headers: HeaderMap,
) -> Response {
    if let Err(text) = check_host(&headers, hub.config()) {
        return refusal(&Fault::new(ErrorCode::Forbidden, text.trim_end()));
    }
    match hub.explain(bearer(&headers).as_ref(), &room, peer.0).await {
        Ok(explanation) => {
            let no_store = [(header::CACHE_CONTROL, "no-store")];
            (no_store, Json(QualityReport::new(peer, *explanation))).into_response()
        }
        Err(fault) => refusal(&fault),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the rest are faults that only WebSockets can cause"
)]
fn refusal(fault: &Fault) -> Response {
    let status = match fault.code {
        ErrorCode::Unauthorized | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
        ErrorCode::Forbidden => StatusCode::FORBIDDEN,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::Timeout => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let body = Json(json!({"code": fault.code.as_str(), "msg": fault.text}));
    if status == StatusCode::UNAUTHORIZED {
        return (status, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response();
    }
    (status, body).into_response()
}

#[derive(Debug, Serialize)]
struct QualityReport {
    peer: PeerName,
    downlink: DownlinkReport,
    slots: Vec<SlotReport>,
    audio: Vec<AudioReport>,
    published: Vec<PublishedReport>,
    changes: Vec<ChangeReport>,
}

#[derive(Debug, Serialize)]
struct DownlinkReport {
    estimate_bps: Option<u64>,
    wanted_bps: u64,
    given_bps: u64,
    audio_bps: u64,
    rtt_ms: Option<u64>,
    loss: f32,
}

#[derive(Debug, Serialize)]
struct SlotReport {
    mid: String,
    track: Option<TrackName>,
    why: Why,
    limit: Option<LimitName>,
    /// Height of the tile in pixels.
    tile: u32,
    priority: u8,
    wanted: Option<LayerReport>,
    given: Option<LayerReport>,
    sent: Option<LayerReport>,
}

/// See [`Limit`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum LimitName {
    Bandwidth,
    Chosen,
    Publisher,
    Switching,
}

#[derive(Debug, Serialize)]
struct AudioReport {
    mid: String,
    track: Option<TrackName>,
    why: HeardName,
    level: u8,
}

/// See [`Heard`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum HeardName {
    Loud,
    Chosen,
    Muted,
    Empty,
    PublisherGone,
    NoCommonCodec,
}

#[derive(Debug, Serialize)]
struct LayerReport {
    #[serde(flatten)]
    layer: LayerInfo,
    bps: u64,
    temporal: Option<u8>,
    fps: Option<u32>,
}

#[derive(Debug, Serialize)]
struct PublishedReport {
    track: TrackName,
    kind: Kind,
    loss: f32,
    layers: Vec<PublishedLayerReport>,
}

#[derive(Debug, Serialize)]
struct PublishedLayerReport {
    #[serde(flatten)]
    layer: LayerReport,
    active: bool,
    paused: bool,
}

#[derive(Debug, Serialize)]
struct ChangeReport {
    /// Milliseconds since 1970.
    at_ms: u64,
    mid: String,
    track: Option<TrackName>,
    why: Why,
    layer: Option<LayerInfo>,
    estimate_bps: Option<u64>,
}

impl QualityReport {
    fn new(peer: PeerName, explanation: Explanation) -> Self {
        Self {
            peer,
            downlink: explanation.downlink.into(),
            slots: explanation.slots.iter().map(SlotReport::from).collect(),
            audio: explanation.audio.iter().map(AudioReport::from).collect(),
            published: explanation
                .published
                .iter()
                .map(PublishedReport::from)
                .collect(),
            changes: explanation.changes.iter().map(ChangeReport::from).collect(),
        }
    }
}

impl From<ExplainedDownlink> for DownlinkReport {
    fn from(downlink: ExplainedDownlink) -> Self {
        Self {
            estimate_bps: downlink.estimate_bps,
            wanted_bps: downlink.wanted_bps,
            given_bps: downlink.given_bps,
            audio_bps: downlink.audio_bps,
            rtt_ms: downlink.round_trip.map(millis),
            loss: downlink.loss,
        }
    }
}

impl From<&ExplainedSlot> for SlotReport {
    fn from(slot: &ExplainedSlot) -> Self {
        Self {
            mid: slot.mid.to_string(),
            track: slot.track.map(Into::into),
            why: slot.why.into(),
            limit: slot.limit.map(LimitName::from),
            tile: slot.tile_height,
            priority: slot.priority,
            wanted: slot.wanted.as_ref().map(LayerReport::from),
            given: slot.given.as_ref().map(LayerReport::from),
            sent: slot.sent.as_ref().map(LayerReport::from),
        }
    }
}

impl From<&ExplainedLayer> for LayerReport {
    fn from(layer: &ExplainedLayer) -> Self {
        Self {
            layer: (&layer.name).into(),
            bps: layer.bps,
            temporal: layer.temporal,
            fps: layer.fps,
        }
    }
}

impl From<Limit> for LimitName {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Bandwidth => Self::Bandwidth,
            Limit::Chosen => Self::Chosen,
            Limit::Publisher => Self::Publisher,
            Limit::Switching => Self::Switching,
        }
    }
}

impl From<&ExplainedAudio> for AudioReport {
    fn from(slot: &ExplainedAudio) -> Self {
        Self {
            mid: slot.mid.to_string(),
            track: slot.track.map(Into::into),
            why: slot.why.into(),
            level: slot.level,
        }
    }
}

impl From<Heard> for HeardName {
    fn from(why: Heard) -> Self {
        match why {
            Heard::Loud => Self::Loud,
            Heard::Chosen => Self::Chosen,
            Heard::Muted => Self::Muted,
            Heard::Empty => Self::Empty,
            Heard::PublisherGone => Self::PublisherGone,
            Heard::NoCommonCodec => Self::NoCommonCodec,
        }
    }
}

impl From<&ExplainedTrack> for PublishedReport {
    fn from(track: &ExplainedTrack) -> Self {
        Self {
            track: track.track.into(),
            kind: track.kind.into(),
            loss: track.loss,
            layers: track.layers.iter().map(Into::into).collect(),
        }
    }
}

impl From<&PublishedLayer> for PublishedLayerReport {
    fn from(published: &PublishedLayer) -> Self {
        Self {
            layer: (&published.layer).into(),
            active: published.active,
            paused: published.paused,
        }
    }
}

impl From<&Change<SystemTime>> for ChangeReport {
    fn from(change: &Change<SystemTime>) -> Self {
        let since_1970 = change.at.duration_since(SystemTime::UNIX_EPOCH);
        Self {
            at_ms: millis(since_1970.unwrap_or(Duration::ZERO)),
            mid: change.mid.to_string(),
            track: change.track.map(Into::into),
            why: change.why.into(),
            layer: change.layer.as_ref().map(LayerInfo::from),
            estimate_bps: change.estimate_bps,
        }
    }
}
