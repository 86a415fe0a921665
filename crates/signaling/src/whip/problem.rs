//! What went wrong, as `application/problem+json` (RFC 9457).

use axum::Json;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::protocol::{ErrorCode, Fault};

/// A request that was not carried out.
#[derive(Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    detail: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// The offer is understood and cannot be accepted.
    pub(crate) fn offer(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "sdp_rejected", detail)
    }

    /// The same, where 400 would be misunderstood.
    pub(crate) fn unprocessable(self) -> Self {
        let status = match self.status {
            StatusCode::BAD_REQUEST => StatusCode::UNPROCESSABLE_ENTITY,
            status => status,
        };
        Self { status, ..self }
    }

    pub(crate) fn not_found() -> Self {
        let text = "there is no such session, or it has ended";
        Self::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// An address below the endpoints that leads nowhere.
    pub(crate) fn no_such_address() -> Self {
        let text = "nothing is here: endpoints are /whip/{room} and /whep/{room}, without a slash at the end";
        Self::new(StatusCode::NOT_FOUND, "not_found", text)
    }

    /// The session is of another server, or of before this one was started: a client that looks whether its broadcast has
    /// been ended learns that it has not.
    pub(crate) fn elsewhere() -> Self {
        let text = "this server has made no such session: it may be another server's, or have ended with an earlier run";
        Self::new(StatusCode::NOT_FOUND, "other_server", text)
    }

    pub(crate) fn media_type(wanted: &str) -> Self {
        let text = format!("the Content-Type must be {wanted}");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", text)
    }

    pub(crate) fn method(allowed: &'static str) -> Self {
        let text = format!("this resource has the methods {allowed}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method", text)
            .header(ALLOW, HeaderValue::from_static(allowed))
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Where waiting helps.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, seconds.into())
    }
}

/// How long a client should wait where nothing else is known, in seconds.
pub(super) const RETRY_SECONDS: u64 = 5;

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        let status = match fault.code {
            ErrorCode::BadRequest | ErrorCode::BadVersion => StatusCode::BAD_REQUEST,
            ErrorCode::Unauthorized | ErrorCode::TokenExpired => StatusCode::UNAUTHORIZED,
            ErrorCode::Forbidden | ErrorCode::RoomClosed => StatusCode::FORBIDDEN,
            ErrorCode::NotFound | ErrorCode::ResumeFailed => StatusCode::NOT_FOUND,
            ErrorCode::DuplicateIdentity | ErrorCode::StaleGeneration => StatusCode::CONFLICT,
            ErrorCode::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorCode::SdpRejected
            | ErrorCode::NoCommonCodec
            | ErrorCode::SlotLimit
            | ErrorCode::PublishLimit => StatusCode::UNPROCESSABLE_ENTITY,
            ErrorCode::RoomFull | ErrorCode::Draining | ErrorCode::Timeout => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            ErrorCode::Moved => StatusCode::MISDIRECTED_REQUEST,
            ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut problem = Self::new(status, fault.code.as_str(), fault.text);
        if fault.code == ErrorCode::Draining {
            // A proxy then leads the next attempt to another server.
            problem = problem.header(CONNECTION, HeaderValue::from_static("close"));
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                let asked = fault.retry_ms.map(|ms| ms.div_ceil(1_000).max(1));
                problem.retry_after(asked.unwrap_or(RETRY_SECONDS))
            }
            StatusCode::UNAUTHORIZED => {
                problem.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
            }
            _ => problem,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        metrics::counter!("madang_errors_total", "code" => self.code).increment(1);
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem);
        response.headers_mut().extend(self.headers);
        response
    }
}
