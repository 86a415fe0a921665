//! Signing a participant's token anew, so that a call may last longer than the token it began with.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::Key;
use crate::limits::{TOKEN_LIFETIME_SECONDS_MAX, TOKEN_LIFETIME_SECONDS_MIN};
use crate::protocol::{Grants, Secret};

/// What it takes to sign the next token of somebody who has joined with one. Times are in seconds
/// since the epoch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Renewal {
    key: Key,
    /// The key's name in the token's header, where it has one.
    kid: Option<String>,
    claims: Map<String, Value>,
    /// What the claims grant.
    grants: Grants,
    lifetime: u64,
    /// Of the newest token.
    exp: u64,
}

impl Renewal {
    /// `None` where the token is good for so short a time that it is meant for one join.
    pub(super) fn new(
        key: &Key,
        kid: Option<String>,
        claims: Map<String, Value>,
        grants: Grants,
        now: u64,
    ) -> Option<Self> {
        let exp = time(&claims, "exp")?;
        // Without either, how long it was meant to be good is not known; what is left of it is.
        let since = time(&claims, "nbf").max(time(&claims, "iat"));
        let lifetime = exp
            .saturating_sub(since.unwrap_or(now))
            .min(TOKEN_LIFETIME_SECONDS_MAX);
        (lifetime >= TOKEN_LIFETIME_SECONDS_MIN).then(|| Self {
            key: key.clone(),
            kid,
            claims,
            grants,
            lifetime,
            exp,
        })
    }

    /// When half of the newest token's life is over.
    pub(crate) fn due(&self) -> u64 {
        self.exp.saturating_sub(self.lifetime / 2)
    }

    /// Signs the next token. Grants that are no longer those of the first token are good for this
    /// room alone: its administrator has no say in others.
    pub(crate) fn sign(
        &mut self,
        room: &str,
        grants: &Grants,
        now: u64,
    ) -> Result<Secret, jsonwebtoken::errors::Error> {
        self.exp = self.exp.max(now.saturating_add(self.lifetime));
        let mut claims = self.claims.clone();
        for (name, value) in [("exp", self.exp), ("nbf", now), ("iat", now)] {
            claims.insert(name.into(), value.into());
        }
        if *grants != self.grants
            && let Value::Object(mut claim) = json!(grants)
        {
            claim.insert("room".into(), room.into());
            claim.insert("join".into(), true.into());
            claims.insert("madang".into(), claim.into());
        }
        let header = Header {
            kid: self.kid.clone(),
            ..Header::new(Algorithm::HS256)
        };
        let key = EncodingKey::from_secret(self.key.secret.0.as_bytes());
        jsonwebtoken::encode(&header, &claims, &key).map(Secret)
    }
}

/// A NumericDate of RFC 7519, which may have a fraction.
fn time(claims: &Map<String, Value>, name: &str) -> Option<u64> {
    let seconds = claims.get(name)?;
    seconds.as_u64().or_else(|| {
        Some(
            Duration::try_from_secs_f64(seconds.as_f64()?)
                .ok()?
                .as_secs(),
        )
    })
}
