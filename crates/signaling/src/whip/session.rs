//! A session's address: candidates, ICE restarts and the end.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use madang_core::sdp::{Offer, RemoteAnswer, SdpError};

use super::Gateway;
use super::endpoint::SDP;
use super::fragment::{self, Fragment};
use super::offer::restarted;
use super::problem::Problem;
use super::request::{Path, check_rate, is_type, text};
use super::resource::{Ice, Patch, Resource};
use super::{answer, cors};
use crate::hub::check_rate as check_session_rate;
use crate::protocol::ClientMessage;

pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

type Address = Path<(String, String)>;

pub(super) async fn get(
    State(gateway): State<Arc<Gateway>>,
    Path((_, name)): Address,
) -> Result<StatusCode, Problem> {
    gateway.find(&name).map(|_| StatusCode::NO_CONTENT)
}

pub(super) async fn options(
    State(gateway): State<Arc<Gateway>>,
    Path((_, name)): Address,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let accept = [(ACCEPT_PATCH, fragment::TYPE)];
    // A preflight has no token and learns nothing; whether the session is there, the request itself will say.
    if !cors::is_preflight(&axum::http::Method::OPTIONS, &headers) {
        gateway.find(&name)?;
    }
    Ok((StatusCode::NO_CONTENT, accept).into_response())
}

/// Ends the session. Its media is closed at once; ETags do not matter.
pub(super) async fn delete(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name)): Address,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    check_rate(&gateway.hub, connected, &headers)?;
    let resource = gateway
        .resources
        .remove(&name)
        .ok_or_else(|| gateway.resources.missing(&name))?;
    gateway
        .hub
        .ask(&resource.at, ClientMessage::Leave {})
        .await?;
    Ok(StatusCode::OK)
}

/// Takes candidates, or restarts ICE.
pub(super) async fn patch(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(connected): ConnectInfo<SocketAddr>,
    Path((_, name)): Address,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let config = gateway.hub.config();
    let resource = gateway.reach(&name, connected, &headers)?;
    if is_type(&headers, SDP) && resource.ice.lock().await.offer.is_none() {
        let answer = text(body, config.limits.offer_frame_bytes, &config.limits).await?;
        return accept(&gateway, &resource, &answer).await;
    }
    if !is_type(&headers, fragment::TYPE) {
        return Err(only_fragments());
    }
    let body = text(body, config.limits.frame_bytes, &config.limits).await?;
    let fragment = Fragment::parse(&body)?;
    let mut ice = resource.ice.lock().await;
    let patch = ice.classify(&fragment)?;
    if config.live.strict_etags {
        check_etag(&headers, &ice, &patch)?;
    }
    match patch {
        Patch::Late => Ok(StatusCode::NO_CONTENT.into_response()),
        Patch::Trickle => {
            trickle(&gateway, &resource, fragment).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Patch::Restart { ufrag, pwd } => {
            restart(&gateway, &resource, &mut ice, (ufrag, pwd), &fragment).await
        }
    }
}

/// A tag must name the present ICE session; `*` is how a client without a tag asks for a restart.
fn check_etag(headers: &HeaderMap, ice: &Ice, patch: &Patch) -> Result<(), Problem> {
    let Some(tag) = headers.get(IF_MATCH) else {
        let text = "the request needs an If-Match with the session's ETag";
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "etag",
            text,
        ));
    };
    let any = matches!(tag.as_bytes(), b"*" | b"\"*\"");
    let fits = match patch {
        Patch::Restart { .. } => any || tag.as_bytes() == ice.etag.as_bytes(),
        Patch::Trickle => tag.as_bytes() == ice.etag.as_bytes(),
        Patch::Late => false,
    };
    if fits {
        return Ok(());
    }
    let text = "the If-Match names another ICE session than the present one";
    Err(Problem::new(StatusCode::PRECONDITION_FAILED, "etag", text))
}

async fn trickle(
    gateway: &Gateway,
    resource: &Resource,
    fragment: Fragment,
) -> Result<(), Problem> {
    for candidate in fragment.candidates {
        let message = ClientMessage::Candidate {
            generation: 0,
            candidate: Some(candidate),
        };
        gateway.hub.ask(&resource.at, message).await?;
    }
    Ok(())
}

fn only_fragments() -> Problem {
    let accepted = HeaderValue::from_static(fragment::TYPE);
    Problem::media_type(fragment::TYPE).header(ACCEPT_PATCH, accepted)
}

/// Takes the answer to an offer of this side. One that is no good ends the session: the offer cannot be answered twice. The
/// same answer may come again, from a client that has not seen the response to the first.
async fn accept(gateway: &Gateway, resource: &Resource, sdp: &str) -> Result<Response, Problem> {
    let mut ice = resource.ice.lock().await;
    match ice.answer() {
        Some(before) if before == sdp => return Ok(StatusCode::NO_CONTENT.into_response()),
        Some(_) => return Err(only_fragments()),
        None => {}
    }
    let answer = RemoteAnswer::parse(sdp).map_err(|error| Problem::offer(error.to_string()))?;
    if let Err(fault) = gateway.hub.accept(resource.at.peer, answer).await {
        let _ = gateway.hub.ask(&resource.at, ClientMessage::Leave {}).await;
        return Err(fault.into());
    }
    ice.answered(sdp);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// What the client has offered or answered comes again with the new credentials; where that fails, the session goes on with
/// the old ones.
async fn restart(
    gateway: &Gateway,
    resource: &Resource,
    ice: &mut Ice,
    (ufrag, pwd): (String, String),
    fragment: &Fragment,
) -> Result<Response, Problem> {
    let again = |sdp: &str| restarted(sdp, &ufrag, &pwd, &fragment.candidates);
    let unusable = |error: SdpError| Problem::bad_request(error.to_string());
    let peer = resource.at.peer;
    let answer = if let Some(offer) = &ice.offer {
        let offer = Offer::parse(&again(&offer.text)).map_err(unusable)?;
        gateway.hub.restart(peer, offer).await?
    } else {
        let answer = again(ice.answer().unwrap_or_default());
        let answer = RemoteAnswer::parse(&answer).map_err(unusable)?;
        gateway.hub.accept(peer, answer).await?
    };
    let answer = answer::finish(&answer.sdp.to_string());
    ice.restarted(ufrag, pwd);
    let headers = [
        (CONTENT_TYPE, fragment::TYPE.to_owned()),
        (ETAG, ice.etag.clone()),
    ];
    Ok((StatusCode::OK, headers, fragment::of_answer(&answer)).into_response())
}

impl Gateway {
    /// The session that a request is about, unless its client, or all of the session together, ask too often.
    pub(super) fn reach(
        &self,
        name: &str,
        connected: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<Arc<Resource>, Problem> {
        check_rate(&self.hub, connected, headers)?;
        let resource = self.find(name)?;
        check_session_rate(&resource.at.rate)?;
        Ok(resource)
    }

    /// To clients, 404 means that the broadcast is over: it is not, where a server that stops has ended the session.
    fn find(&self, name: &str) -> Result<Arc<Resource>, Problem> {
        let found = self.resources.get(name);
        found.ok_or_else(|| match self.hub.check_open() {
            Ok(()) => self.resources.missing(name),
            Err(draining) => draining.into(),
        })
    }
}
