//! Server-sent events for viewers: what happens to the stream that they watch.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use tokio::sync::broadcast::error::RecvError;

use super::problem::Problem;
use super::request::{Path, is_type, text};
use super::resource::{Kind, Listening, Resource};
use super::{Gateway, links};
use crate::limits::EXTENSION_BODY_BYTES_MAX;
use crate::protocol::{ErrorCode, Fault};

/// The relation of the link that leads here, and the events that there are.
pub(super) const RELATION: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
pub(super) const KINDS: &str = "active,inactive,layers,reconnect,viewercount";

/// Makes a stream of the events that the body lists.
pub(super) async fn open(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name)): Path<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let config = gateway.hub.config();
    let resource = gateway.reach(&name, connected, &headers)?;
    let happenings = resource.happenings()?;
    if !is_type(&headers, "application/json") {
        return Err(Problem::media_type("application/json"));
    }
    let body = text(body, EXTENSION_BODY_BYTES_MAX, &config.limits).await?;
    let kinds: Vec<Kind> = serde_json::from_str(&body).map_err(|error| {
        Problem::bad_request(format!(
            "the body is no list of known events ({KINDS}): {error}"
        ))
    })?;
    let stream = happenings.open(kinds).ok_or_else(|| {
        let text = "this session has as many event streams as it may have: close one";
        Problem::from(Fault::new(ErrorCode::RateLimited, text))
    })?;
    let location = format!("{}{}/{stream}", links::base(&headers, config)?, uri.path());
    Ok((StatusCode::CREATED, [(LOCATION, location)]).into_response())
}

/// Serves a stream until the session, somebody, or a later request for it ends it.
pub(super) async fn listen(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name, stream)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let resource = gateway.reach(&name, connected, &headers)?;
    let listening = resource.happenings()?.listen(&stream);
    let listening = listening.ok_or_else(Problem::not_found)?;
    let events = events(Arc::downgrade(&resource), listening);
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// What GET would be answered with; who listens goes on.
pub(super) async fn head(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name, stream)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let resource = gateway.reach(&name, connected, &headers)?;
    if !resource.happenings()?.has(&stream) {
        return Err(Problem::not_found());
    }
    Ok([(CONTENT_TYPE, "text/event-stream")].into_response())
}

pub(super) async fn close(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name, stream)): Path<(String, String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let resource = gateway.reach(&name, connected, &headers)?;
    if resource.happenings()?.close(&stream) {
        Ok(StatusCode::OK)
    } else {
        Err(Problem::not_found())
    }
}

/// The events of a stream; it ends with the resource.
fn events(
    resource: Weak<Resource>,
    listening: Listening,
) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((resource, listening), |(resource, mut listening)| async {
        loop {
            let next = if listening.first.is_empty() {
                tokio::select! {
                    news = listening.news.recv() => match news {
                        Ok(news) => news,
                        // What was missed is out of date: what holds now is told instead.
                        Err(RecvError::Lagged(_)) => {
                            let resource = resource.upgrade()?;
                            resource.happenings().ok()?.catch_up(&mut listening);
                            continue;
                        }
                        Err(RecvError::Closed) => return None,
                    },
                    _ = listening.turn.changed() => return None,
                }
            } else {
                listening.first.remove(0)
            };
            if listening.kinds.contains(&next.kind) {
                let event = Event::default().event(next.kind.as_str()).data(next.data);
                return Some((Ok(event), (resource, listening)));
            }
        }
    })
}
