//! What went wrong, as the client is told.

use madang_core::sdp::SdpError;
use serde::{Deserialize, Serialize};

use super::ServerMessage;

/// The codes of `err` and `bye`, in the order of the table in `docs/protocol.md`: a WebSocket's
/// close code is 4000 + the position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    BadRequest,
    BadVersion,
    Unauthorized,
    TokenExpired,
    Forbidden,
    NotFound,
    RoomFull,
    RoomClosed,
    DuplicateIdentity,
    RateLimited,
    TooLarge,
    SdpRejected,
    NoCommonCodec,
    StaleGeneration,
    SlotLimit,
    PublishLimit,
    ResumeFailed,
    Draining,
    Timeout,
    Internal,
    Moved,
}

impl ErrorCode {
    pub const ALL: [Self; 21] = [
        Self::BadRequest,
        Self::BadVersion,
        Self::Unauthorized,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NotFound,
        Self::RoomFull,
        Self::RoomClosed,
        Self::DuplicateIdentity,
        Self::RateLimited,
        Self::TooLarge,
        Self::SdpRejected,
        Self::NoCommonCodec,
        Self::StaleGeneration,
        Self::SlotLimit,
        Self::PublishLimit,
        Self::ResumeFailed,
        Self::Draining,
        Self::Timeout,
        Self::Internal,
        Self::Moved,
    ];

    /// The code on the wire and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::BadVersion => "bad_version",
            Self::Unauthorized => "unauthorized",
            Self::TokenExpired => "token_expired",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::RoomFull => "room_full",
            Self::RoomClosed => "room_closed",
            Self::DuplicateIdentity => "duplicate_identity",
            Self::RateLimited => "rate_limited",
            Self::TooLarge => "too_large",
            Self::SdpRejected => "sdp_rejected",
            Self::NoCommonCodec => "no_common_codec",
            Self::StaleGeneration => "stale_generation",
            Self::SlotLimit => "slot_limit",
            Self::PublishLimit => "publish_limit",
            Self::ResumeFailed => "resume_failed",
            Self::Draining => "draining",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Moved => "moved",
        }
    }

    /// The close code of a WebSocket that ends with this error.
    pub fn close_code(self) -> u16 {
        4000 + self as u16
    }
}

/// A request that was not carried out. The text is for the one who sent it: what is wrong, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {text}", code.as_str())]
pub struct Fault {
    pub code: ErrorCode,
    pub text: String,
    /// Where waiting helps: how long, in milliseconds.
    pub retry_ms: Option<u64>,
    /// Where another server helps: its WebSocket.
    pub url: Option<String>,
}

impl Fault {
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            retry_ms: None,
            url: None,
        }
    }

    /// The room is on another node.
    pub(crate) fn moved(url: String) -> Self {
        Self {
            url: Some(url),
            ..Self::new(
                ErrorCode::Moved,
                "the room is on another server: join there",
            )
        }
    }

    #[must_use]
    pub fn retry_ms(self, retry_ms: u64) -> Self {
        Self {
            retry_ms: Some(retry_ms),
            ..self
        }
    }

    /// Counts it as told to a client.
    pub(crate) fn count(&self) {
        metrics::counter!("madang_errors_total", "code" => self.code.as_str()).increment(1);
    }

    /// The `err` that answers request `re`.
    pub fn reply(self, re: Option<u64>) -> ServerMessage {
        self.count();
        ServerMessage::Err {
            re,
            code: self.code,
            msg: self.text,
            retry_ms: self.retry_ms,
            url: self.url,
        }
    }
}

/// How long a client should wait before it tries a server again that has no room, in milliseconds.
const FULL_RETRY_MS: u64 = 5_000;

impl From<SdpError> for Fault {
    fn from(error: SdpError) -> Self {
        let text = error.to_string();
        match error {
            SdpError::Malformed(_) | SdpError::Rejected(_) => {
                Self::new(ErrorCode::SdpRejected, text)
            }
            SdpError::NoCommonCodec => Self::new(ErrorCode::NoCommonCodec, text),
            SdpError::SlotLimit { .. } => Self::new(ErrorCode::SlotLimit, text),
            SdpError::Full => Self::new(ErrorCode::Draining, text).retry_ms(FULL_RETRY_MS),
        }
    }
}
