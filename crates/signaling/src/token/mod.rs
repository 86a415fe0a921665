//! Access tokens: who somebody is, which room they may enter and what they may do there.

mod claims;
mod renewal;
#[cfg(test)]
mod tests;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

use self::claims::{Claim, Claims};
pub(crate) use self::renewal::Renewal;
use crate::limits::{KEY_SECRET_BYTES_MIN, TOKEN_BYTES_MAX, TOKEN_LEEWAY_SECONDS};
use crate::protocol::{ErrorCode, Fault, Grants, Secret};

/// How participants prove who they are.
#[derive(Debug, Clone)]
pub enum Auth {
    /// Tokens are JWTs, signed with HS256 by one of the keys.
    Keys(Keys),
    /// Everybody may enter every room and do everything but administer it. For loopback addresses only.
    Development,
}

/// The keys of token servers, and what their tokens must say.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    pub keys: Vec<Key>,
    /// Where set, `aud` must be or contain it.
    pub audience: Option<String>,
    /// Where set, `iss` must be it.
    pub issuer: Option<String>,
}

/// A secret that is shared with a token server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    id: String,
    secret: Secret,
}

/// A key that is no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the secret of key '{id}' has {found} bytes; HS256 needs {KEY_SECRET_BYTES_MIN} or more (RFC 7518), \
     for example the output of `openssl rand -hex 32`"
)]
pub struct WeakKey {
    id: String,
    found: usize,
}

impl Key {
    /// `id` is what tokens name as `kid`.
    ///
    /// # Errors
    /// Where the secret is shorter than HS256's hash.
    pub fn new(id: impl Into<String>, secret: impl Into<String>) -> Result<Self, WeakKey> {
        let (id, secret) = (id.into(), secret.into());
        match secret.len() {
            found if found < KEY_SECRET_BYTES_MIN => Err(WeakKey { id, found }),
            _ => Ok(Self {
                id,
                secret: Secret(secret),
            }),
        }
    }
}

/// What a token says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Access {
    pub(crate) identity: String,
    pub(crate) name: Option<String>,
    pub(crate) meta: Option<Value>,
    /// `None` where the token is good for every room.
    pub(crate) room: Option<String>,
    pub(crate) grants: Grants,
    /// `None` where there is no token to sign anew.
    pub(crate) renewal: Option<Renewal>,
}

impl Access {
    /// What somebody without a token may do in a room that everybody may watch: watch.
    pub(crate) fn viewer() -> Self {
        Self {
            identity: String::new(),
            name: None,
            meta: None,
            room: None,
            grants: Claim::default().grants(),
            renewal: None,
        }
    }
}

impl Auth {
    /// Checks a token. `guest` is the identity of somebody who has none, in development mode.
    pub(crate) fn check(
        &self,
        token: Option<&Secret>,
        guest: impl FnOnce() -> String,
    ) -> Result<Access, Fault> {
        match (self, token) {
            (Self::Development, _) => Ok(Access {
                identity: guest(),
                name: None,
                meta: None,
                room: None,
                grants: Grants {
                    update_own: true,
                    p2p: true,
                    ..Claim::default().grants()
                },
                renewal: None,
            }),
            (Self::Keys(keys), Some(Secret(token))) => keys.check(token),
            (Self::Keys(_), None) => Err(unauthorized("this server wants a token, and none came")),
        }
    }
}

impl Keys {
    fn check(&self, token: &str) -> Result<Access, Fault> {
        if token.len() > TOKEN_BYTES_MAX {
            let text = format!(
                "the token has {} bytes, the limit is {TOKEN_BYTES_MAX}",
                token.len()
            );
            return Err(Fault::new(ErrorCode::TooLarge, text));
        }
        let kid = jsonwebtoken::decode_header(token)
            .map_err(|error| unauthorized(format!("the token is no JWT: {error}")))?
            .kid;
        let validation = self.validation();
        let mut fault = unauthorized(match kid {
            Some(_) => "the token names a key ('kid') that this server does not have",
            None => "this server has no keys",
        });
        for key in self
            .keys
            .iter()
            .filter(|key| kid.as_ref().is_none_or(|kid| *kid == key.id))
        {
            let decoding = DecodingKey::from_secret(key.secret.0.as_bytes());
            match jsonwebtoken::decode(token, &decoding, &validation) {
                Ok(token) => return access(key, kid.clone(), token.claims),
                Err(error) => fault = self.refusal(error.kind()),
            }
            // Only a wrong signature leaves a chance that another key fits.
            if fault.text != WRONG_SIGNATURE {
                break;
            }
        }
        Err(fault)
    }

    fn validation(&self) -> Validation {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = TOKEN_LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.validate_aud = self.audience.is_some();
        let mut required = vec!["exp", "sub"];
        if let Some(audience) = &self.audience {
            validation.set_audience(&[audience]);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the list is another crate's and open"
    )]
    fn refusal(&self, error: &ErrorKind) -> Fault {
        match error {
            ErrorKind::ExpiredSignature => Fault::new(
                ErrorCode::TokenExpired,
                "the token has expired: get a new one and join again",
            ),
            ErrorKind::InvalidSignature => unauthorized(WRONG_SIGNATURE),
            ErrorKind::InvalidAlgorithm => unauthorized("the token is not signed with HS256"),
            ErrorKind::ImmatureSignature => {
                unauthorized("the token is not valid yet: see its 'nbf' and the clocks")
            }
            ErrorKind::InvalidAudience => unauthorized(format!(
                "the token's 'aud' is not '{}'",
                self.audience.as_deref().unwrap_or_default()
            )),
            ErrorKind::InvalidIssuer => unauthorized(format!(
                "the token's 'iss' is not '{}'",
                self.issuer.as_deref().unwrap_or_default()
            )),
            ErrorKind::MissingRequiredClaim(claim) => {
                unauthorized(format!("the token has no usable '{claim}'"))
            }
            other => unauthorized(format!("the token cannot be read: {other:?}")),
        }
    }
}

/// What a token says that this key has signed.
fn access(key: &Key, kid: Option<String>, claims: Map<String, Value>) -> Result<Access, Fault> {
    let said: Claims = serde_path_to_error::deserialize(Value::Object(claims.clone()))
        .map_err(|error| unauthorized(format!("the token cannot be read: {error}")))?;
    let mut access = said.access()?;
    let now = jsonwebtoken::get_current_timestamp();
    access.renewal = Renewal::new(key, kid, claims, access.grants.clone(), now);
    Ok(access)
}

const WRONG_SIGNATURE: &str = "the token is not signed with a key of this server";

fn unauthorized(text: impl Into<String>) -> Fault {
    Fault::new(ErrorCode::Unauthorized, text)
}
