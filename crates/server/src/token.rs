//! `madang token`: an access token for whoever has the configuration and no token server at hand.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::json;

use crate::cli::Token;
use crate::config::Settings;

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error(
        "there is no key to sign with: set [auth.keys] in the file or MADANG_AUTH_KEYS in the environment"
    )]
    NoKeys,
    #[error("there is no key '{0}' in auth.keys; these are there: {1}")]
    NoSuchKey(String, String),
    #[error("cannot sign the token: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Signs a token.
///
/// # Errors
/// Where there is no such key.
pub(crate) fn sign(settings: &Settings, request: &Token) -> Result<String, TokenError> {
    let keys = &settings.auth.keys;
    let key = match &request.key {
        None => keys.first().ok_or(TokenError::NoKeys)?,
        Some(id) => keys.iter().find(|key| key.id == *id).ok_or_else(|| {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            TokenError::NoSuchKey(id.clone(), ids.join(", "))
        })?,
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut claims = json!({
        "sub": request.identity,
        "iat": now.as_secs(),
        "exp": (now + *request.ttl).as_secs(),
        "madang": {"room": request.room, "join": true, "admin": request.admin},
    });
    let optional = [
        ("name", &request.name),
        ("iss", &settings.auth.issuer),
        ("aud", &settings.auth.audience),
    ];
    if let Some(claims) = claims.as_object_mut() {
        claims.extend(
            optional
                .into_iter()
                .filter_map(|(name, text)| Some((name.to_owned(), text.clone()?.into()))),
        );
    }
    let header = Header {
        kid: Some(key.id.clone()),
        ..Header::new(Algorithm::HS256)
    };
    Ok(jsonwebtoken::encode(
        &header,
        &claims,
        &EncodingKey::from_secret(key.secret.as_bytes()),
    )?)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};

    use super::*;
    use crate::cli::Command;
    use crate::config::load_defaults;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn request(more: &[&str]) -> Token {
        let arguments = ["madang", "token", "--room=yard", "--identity=ada"]
            .iter()
            .chain(more);
        match crate::config::load(
            &arguments.map(Into::into).collect::<Vec<_>>(),
            &Default::default(),
        ) {
            Ok(loaded) => match loaded.cli.command {
                Some(Command::Token(token)) => token,
                other => panic!("{other:?}"),
            },
            Err(error) => panic!("{error:?}"),
        }
    }

    fn settings(ids: &[&str]) -> Settings {
        let mut settings = load_defaults();
        settings.auth.keys = ids
            .iter()
            .map(|id| format!("{id}={SECRET}").parse().unwrap())
            .collect();
        settings.auth.audience = Some("courtyard".to_owned());
        settings
    }

    #[test]
    fn a_token_says_who_where_and_until_when() {
        let token = sign(
            &settings(&["main"]),
            &request(&["--name=Ada", "--admin", "--ttl=2h"]),
        )
        .unwrap();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_audience(&["courtyard"]);
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        let token = jsonwebtoken::decode::<serde_json::Value>(&token, &key, &validation).unwrap();
        assert_eq!(token.header.kid.as_deref(), Some("main"));
        assert_eq!(token.claims["sub"], "ada");
        assert_eq!(token.claims["name"], "Ada");
        assert_eq!(
            token.claims["madang"],
            json!({"room": "yard", "join": true, "admin": true})
        );
        let seconds = |claim: &str| token.claims[claim].as_u64().unwrap();
        assert_eq!(seconds("exp") - seconds("iat"), 7_200);
        let left = seconds("exp")
            - SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs();
        assert!((7_190..=7_200).contains(&left), "{left} s left");
    }

    #[test]
    fn a_key_that_is_not_there_is_told() {
        assert!(
            sign(&settings(&[]), &request(&[]))
                .unwrap_err()
                .to_string()
                .contains("MADANG_AUTH_KEYS")
        );
        let error = sign(&settings(&["a", "b"]), &request(&["--key=c"]))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "there is no key 'c' in auth.keys; these are there: a, b"
        );
    }
}
