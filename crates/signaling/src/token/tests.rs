use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::protocol::Source;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn auth() -> Auth {
    let keys = vec![
        Key::new("old", OTHER).unwrap(),
        Key::new("new", SECRET).unwrap(),
    ];
    Auth::Keys(Keys {
        keys,
        audience: None,
        issuer: None,
    })
}

fn sign(secret: &str, kid: Option<&str>, claims: &Value) -> Secret {
    let header = Header {
        kid: kid.map(Into::into),
        ..Header::new(Algorithm::HS256)
    };
    Secret(
        jsonwebtoken::encode(
            &header,
            claims,
            &EncodingKey::from_secret(secret.as_bytes()),
        )
        .unwrap(),
    )
}

fn claims(more: Value) -> Value {
    let mut claims = json!({"sub": "ann", "exp": jsonwebtoken::get_current_timestamp() + 60});
    let Value::Object(more) = more else {
        panic!("an object")
    };
    claims.as_object_mut().unwrap().extend(more);
    claims
}

fn check(auth: &Auth, token: &Secret) -> Result<Access, Fault> {
    auth.check(Some(token), || "guest".into())
}

#[test]
fn a_token_of_either_kind_is_understood() {
    let ours = claims(
        json!({"name": "Ann", "madang": {"room": "r", "join": true, "publish": ["screen"], "admin": true}}),
    );
    let access = check(&auth(), &sign(SECRET, Some("new"), &ours)).unwrap();
    assert_eq!(
        (
            access.identity.as_str(),
            access.name.as_deref(),
            access.room.as_deref()
        ),
        ("ann", Some("Ann"), Some("r"))
    );
    assert_eq!(access.grants.publish, [Source::Screen]);
    assert!(
        access.grants.admin
            && access.grants.subscribe
            && access.grants.data
            && !access.grants.hidden
    );

    let livekit = claims(json!({"metadata": "m", "video": {
        "roomJoin": true, "room": "r", "canPublishSources": ["camera", "screen_share_audio"], "canSubscribe": false,
    }}));
    let access = check(&auth(), &sign(SECRET, None, &livekit)).unwrap();
    assert_eq!(access.grants.publish, [Source::Camera, Source::ScreenAudio]);
    assert!(!access.grants.subscribe && access.grants.data && !access.grants.admin);
    assert_eq!(access.meta, Some(json!("m")));
}

#[test]
fn refusals_say_what_is_wrong() {
    let good = json!({"madang": {"join": true}});
    let cases = [
        (
            sign("x".repeat(32).as_str(), None, &claims(good.clone())),
            ErrorCode::Unauthorized,
            "not signed with a key",
        ),
        (
            sign(SECRET, Some("old"), &claims(good.clone())),
            ErrorCode::Unauthorized,
            "not signed with a key",
        ),
        (
            sign(SECRET, Some("lost"), &claims(good)),
            ErrorCode::Unauthorized,
            "'kid'",
        ),
        (
            sign(
                SECRET,
                None,
                &claims(json!({"exp": 1, "madang": {"join": true}})),
            ),
            ErrorCode::TokenExpired,
            "new one",
        ),
        (
            sign(
                SECRET,
                None,
                &json!({"sub": "ann", "madang": {"join": true}}),
            ),
            ErrorCode::Unauthorized,
            "'exp'",
        ),
        (
            sign(SECRET, None, &claims(json!({}))),
            ErrorCode::Forbidden,
            "'madang' or 'video'",
        ),
        (
            sign(SECRET, None, &claims(json!({"madang": {"room": "r"}}))),
            ErrorCode::Forbidden,
            "madang.join",
        ),
        (
            sign(
                SECRET,
                None,
                &claims(json!({"sub": "", "madang": {"join": true}})),
            ),
            ErrorCode::Unauthorized,
            "'sub'",
        ),
        (Secret("abc".into()), ErrorCode::Unauthorized, "no JWT"),
    ];
    for (token, code, part) in cases {
        let fault = check(&auth(), &token).unwrap_err();
        assert_eq!(fault.code, code, "{fault}");
        assert!(fault.text.contains(part), "{fault}");
    }
    assert_eq!(
        auth().check(None, String::new).unwrap_err().code,
        ErrorCode::Unauthorized
    );
}

#[test]
fn audience_and_issuer_count_where_configured() {
    let Auth::Keys(mut keys) = auth() else {
        unreachable!()
    };
    keys.audience = Some("madang".into());
    keys.issuer = Some("portal".into());
    let auth = Auth::Keys(keys);
    let token = |more: Value| sign(SECRET, None, &claims(more));
    let grants = json!({"join": true});
    assert!(
        check(
            &auth,
            &token(json!({"aud": ["x", "madang"], "iss": "portal", "madang": grants}))
        )
        .is_ok()
    );
    for more in [
        json!({"aud": "madang", "madang": grants}),
        json!({"iss": "portal", "madang": grants}),
        json!({"aud": "x", "iss": "portal", "madang": grants}),
        json!({"aud": "madang", "iss": "x", "madang": grants}),
    ] {
        assert_eq!(
            check(&auth, &token(more)).unwrap_err().code,
            ErrorCode::Unauthorized
        );
    }
}

#[test]
fn an_unsigned_token_is_refused() {
    // {"alg":"none","typ":"JWT"} and {"sub":"ann","exp":9999999999,"madang":{"join":true}}
    let token = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.\
                 eyJzdWIiOiJhbm4iLCJleHAiOjk5OTk5OTk5OTksIm1hZGFuZyI6eyJqb2luIjp0cnVlfX0.";
    assert_eq!(
        check(&auth(), &Secret(token.into())).unwrap_err().code,
        ErrorCode::Unauthorized
    );
}

#[test]
fn development_grants_everything_but_administration() {
    let access = Auth::Development.check(None, || "guest-1".into()).unwrap();
    assert_eq!(access.identity, "guest-1");
    assert!(
        access.grants.p2p
            && access.grants.update_own
            && !access.grants.admin
            && !access.grants.hidden
    );
}

#[test]
fn a_short_secret_is_no_key_and_secrets_stay_out_of_logs() {
    assert!(
        Key::new("k", "secret")
            .unwrap_err()
            .to_string()
            .contains("32")
    );
    assert!(!format!("{:?}", auth()).contains(SECRET));
}

/// The claims of the next token of somebody who has joined with this one.
fn renewed(claims: &Value, grants: impl FnOnce(&mut Grants), now: u64) -> Option<Value> {
    let token = sign(SECRET, Some("new"), claims);
    let mut access = check(&auth(), &token).unwrap();
    grants(&mut access.grants);
    let next = access.renewal?.sign("r", &access.grants, now).unwrap();
    assert!(
        !format!("{next:?}").contains(&next.0),
        "it stays out of logs"
    );
    let kid = jsonwebtoken::decode_header(&next.0).unwrap().kid;
    assert_eq!(kid.as_deref(), Some("new"));
    assert!(check(&auth(), &next).is_ok());
    let validation = Validation::new(Algorithm::HS256);
    let key = DecodingKey::from_secret(SECRET.as_bytes());
    Some(
        jsonwebtoken::decode::<Value>(&next.0, &key, &validation)
            .unwrap()
            .claims,
    )
}

#[test]
fn a_renewed_token_says_the_same_for_as_long_again() {
    let now = jsonwebtoken::get_current_timestamp();
    let livekit = json!({"roomJoin": true, "room": "r", "agent": true});
    let next = |times: Value| {
        let mut more = json!({"video": livekit, "own": [1]});
        more.as_object_mut()
            .unwrap()
            .extend(times.as_object().unwrap().clone());
        let claims = claims(more);
        let next = renewed(&claims, |_| {}, now)?;
        assert_eq!((&next["video"], &next["own"]), (&livekit, &json!([1])));
        assert_eq!((&next["iat"], &next["nbf"]), (&json!(now), &json!(now)));
        Some(next["exp"].as_u64().unwrap() - now)
    };
    assert_eq!(next(json!({"iat": now - 60, "exp": now + 60})), Some(120));
    assert_eq!(
        next(json!({"nbf": now - 30, "iat": now - 60, "exp": now + 60})),
        Some(90)
    );
    // What is left of it is all that is known; a second may have passed.
    assert!(matches!(next(json!({"exp": now + 60})), Some(59..=60)));
    assert_eq!(next(json!({"iat": now, "exp": now + 9})), None);
    const DAY: u64 = 24 * 60 * 60;
    assert_eq!(next(json!({"nbf": 0, "exp": now + 60})), Some(DAY));
    assert_eq!(
        next(json!({"exp": now + 9 * DAY})),
        Some(9 * DAY),
        "no token is worse than the one before"
    );
    let fraction =
        json!({"iat": now, "exp": Value::from(f64::from(u32::try_from(now).unwrap()) + 60.5)});
    assert_eq!(next(fraction), Some(60));
}

#[test]
fn a_renewed_token_has_the_grants_of_its_time() {
    let now = jsonwebtoken::get_current_timestamp();
    let everywhere = claims(json!({"madang": {"join": true}}));
    let same = renewed(&everywhere, |_| {}, now).unwrap();
    assert_eq!(same["madang"], json!({"join": true}));
    let other = renewed(&everywhere, |grants| grants.subscribe = false, now).unwrap();
    assert_eq!(
        (&other["madang"]["room"], &other["madang"]["subscribe"]),
        (&json!("r"), &json!(false))
    );
}

#[test]
fn a_token_is_renewed_at_half_of_its_life() {
    let now = jsonwebtoken::get_current_timestamp();
    let claims = claims(json!({"iat": now - 90, "exp": now + 30, "madang": {"join": true}}));
    let access = check(&auth(), &sign(SECRET, None, &claims)).unwrap();
    let mut renewal = access.renewal.unwrap();
    assert_eq!(renewal.due(), now - 30);
    renewal.sign("r", &access.grants, now).unwrap();
    assert_eq!(renewal.due(), now + 60);
}

#[test]
fn a_token_is_bounded() {
    let long = sign(
        SECRET,
        None,
        &claims(json!({"x": "x".repeat(16_000), "madang": {"join": true}})),
    );
    assert_eq!(check(&auth(), &long).unwrap_err().code, ErrorCode::TooLarge);
}
