//! What requests say about themselves: who asks, with which token, and what they carry.

use std::net::{IpAddr, SocketAddr};

use axum::body::{Body, to_bytes};
use axum::extract::{self, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;
use crate::http::{bearer, check_origin, client_address};
use crate::hub::{Hub, HubConfig, client_prefix};
use crate::limits::Limits;
use crate::protocol::Secret;

/// What stands in the path, as [`extract::Path`] has it.
pub(super) struct Path<T>(pub(super) T);

/// What stands in the query, as [`extract::Query`] has it.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match extract::Path::from_request_parts(parts, state).await {
            Ok(extract::Path(path)) => Ok(Self(path)),
            Err(rejection) => Err(unreadable(rejection.body_text())),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match extract::Query::from_request_parts(parts, state).await {
            Ok(extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(unreadable(rejection.body_text())),
        }
    }
}

/// An address that cannot be read. To players, a 400 would mean that this server wants to make the offer.
fn unreadable(text: String) -> Problem {
    Problem::bad_request(text).unprocessable()
}

/// Who asks, as limits count clients. Pages that may not connect are refused.
pub(super) fn client(
    connected: SocketAddr,
    headers: &HeaderMap,
    config: &HubConfig,
) -> Result<IpAddr, Problem> {
    check_origin(headers, config)
        .map_err(|text| Problem::new(StatusCode::FORBIDDEN, "forbidden", text.trim_end()))?;
    let address = client_address(connected.ip(), headers, config);
    Ok(client_prefix(address))
}

/// The Bearer token, else the one of the path.
pub(super) fn token(headers: &HeaderMap, path: Option<String>) -> Option<Secret> {
    bearer(headers).or_else(|| path.map(Secret))
}

/// Whether the body is of this media type, whatever parameters follow.
pub(super) fn is_type(headers: &HeaderMap, wanted: &str) -> bool {
    let given = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = given.and_then(|value| value.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(wanted))
}

/// The body as text of at most so many bytes, where it comes in time: who sends a head and then nothing must not keep the
/// connection.
pub(super) async fn text(body: Body, bytes_max: usize, limits: &Limits) -> Result<String, Problem> {
    let patience = limits.first_frame_timeout;
    let read = timeout(patience, to_bytes(body, bytes_max)).await;
    let read = read.map_err(|_| {
        let text = format!("the body did not come within {patience:?}");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", text)
    })?;
    let bytes = read.map_err(|_| {
        let text = format!("the body is over the limit of {bytes_max} bytes, or broke off");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
    })?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::bad_request("the body is no UTF-8"))
}

/// Refuses a client that asks too often about a session, and anybody with a token that is used too often.
pub(super) fn check_rate(
    hub: &Hub,
    connected: SocketAddr,
    headers: &HeaderMap,
) -> Result<(), Problem> {
    hub.check_request_rate(client(connected, headers, hub.config())?)?;
    if let Some(token) = token(headers, None) {
        hub.check_token_rate(&token)?;
    }
    Ok(())
}
