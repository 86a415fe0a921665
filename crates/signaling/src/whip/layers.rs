//! The choice of layers for viewers.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use madang_core::LayerChoice;
use serde::Deserialize;

use super::Gateway;
use super::problem::Problem;
use super::request::{Path, is_type, text};
use crate::limits::{EXTENSION_BODY_BYTES_MAX, RID_BYTES_MAX};

/// The relation of the link that leads here.
pub(super) const RELATION: &str = "urn:ietf:params:whep:ext:core:layer";

/// What a player may say about one of its m-lines.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    media_id: String,
    #[serde(alias = "encodingId")]
    rid: Option<String>,
    spatial_layer_id: Option<usize>,
    max_spatial_layer_id: Option<usize>,
    #[serde(alias = "maxTemporalLayerId")]
    temporal_layer_id: Option<u8>,
    max_width: Option<u32>,
    max_height: Option<u32>,
}

/// Chooses for one m-line; who says nothing about it leaves the choice to the server again.
pub(super) async fn choose(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let resource = gateway.reach(&name, connected, &headers)?;
    if !is_type(&headers, "application/json") {
        return Err(Problem::media_type("application/json"));
    }
    let body = text(body, EXTENSION_BODY_BYTES_MAX, &gateway.hub.config().limits).await?;
    let wanted: Wanted = serde_json::from_str(&body).map_err(|error| {
        Problem::bad_request(format!("the body is no choice of a layer: {error}"))
    })?;
    let known = resource.pictures.contains(&wanted.media_id);
    if !known
        || wanted
            .rid
            .as_ref()
            .is_some_and(|rid| rid.len() > RID_BYTES_MAX)
    {
        let text =
            "the mediaId is no mid of a picture that this session receives, or the rid is too long";
        return Err(Problem::bad_request(text));
    }
    let mut choices = resource.choices.lock().await;
    choices.retain(|choice| choice.slot.to_string() != wanted.media_id);
    choices.extend(wanted.choice());
    gateway.hub.choose(&resource.at, choices.clone()).await;
    Ok(StatusCode::OK)
}

/// Leaves all choices to the server.
pub(super) async fn automatic(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let resource = gateway.reach(&name, connected, &headers)?;
    let mut choices = resource.choices.lock().await;
    choices.clear();
    gateway.hub.choose(&resource.at, Vec::new()).await;
    Ok(StatusCode::OK)
}

impl Wanted {
    fn choice(&self) -> Option<LayerChoice> {
        let choice = LayerChoice {
            slot: self.media_id.as_str().into(),
            rid: self.rid.as_deref().map(Into::into),
            rank: self.spatial_layer_id.or(self.max_spatial_layer_id),
            max_temporal: self.temporal_layer_id,
            max_width: self.max_width,
            max_height: self.max_height,
        };
        let any = choice.rid.is_some()
            || choice.rank.is_some()
            || choice.max_temporal.is_some()
            || choice.max_width.is_some()
            || choice.max_height.is_some();
        any.then_some(choice)
    }
}
