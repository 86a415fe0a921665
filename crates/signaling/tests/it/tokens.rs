//! Tokens that the server signs anew, and what a join with them gives.

use std::collections::HashSet;

use jsonwebtoken::{Algorithm, DecodingKey, Validation, get_current_timestamp};
use serde_json::{Value, json};

use crate::harness::{Client, KEY, Server, config, join, sign};

fn claims_of(token: &Value) -> Value {
    let key = DecodingKey::from_secret(KEY.as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.required_spec_claims = HashSet::new();
    jsonwebtoken::decode(token.as_str().unwrap(), &key, &validation)
        .unwrap()
        .claims
}

/// A token of which more than half of the life is over.
fn old_token(identity: &str) -> String {
    let now = get_current_timestamp();
    sign(
        &json!({"sub": identity, "name": "Ann", "iat": now - 100, "exp": now + 20, "jti": "7",
                 "madang": {"room": "r", "join": true, "publish": ["microphone"]}}),
    )
}

async fn joined(server: &Server, token: &str) -> Client {
    let mut client = server.connect().await;
    client.joined = client.request(join(token)).await;
    assert_eq!(client.joined["t"], "joined", "{}", client.joined);
    client
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = Server::start(config()).await;
    let first = old_token("ann");
    let mut ann = joined(&server, &first).await;
    let event = ann.next("token").await;
    assert!(event["s"].is_u64());
    let (old, new) = (claims_of(&json!(first)), claims_of(&event["token"]));
    for same in ["sub", "name", "jti", "madang"] {
        assert_eq!(new[same], old[same], "{same}");
    }
    let seconds = |claim: &Value| claim.as_u64().unwrap();
    assert_eq!(
        seconds(&new["exp"]) - seconds(&new["iat"]),
        120,
        "as good as the first one was"
    );
    assert_eq!(new["nbf"], new["iat"]);

    let mut again = joined(&server, event["token"].as_str().unwrap()).await;
    assert_eq!(again.joined["you"]["identity"], "ann");
    assert_eq!(again.joined["grants"]["publish"], json!(["microphone"]));
    again.ok(json!({"t": "ping"})).await;
    assert!(
        again.all().await.iter().all(|frame| frame["t"] != "token"),
        "it is fresh"
    );
}

#[tokio::test]
async fn a_renewed_token_is_not_lost_with_a_websocket() {
    let server = Server::start(config()).await;
    let ann = joined(&server, &old_token("ann")).await.cut();
    let mut back = server.connect().await;
    back.request(json!({"t": "resume", "v": 1, "session": ann["session"], "secret": ann["secret"], "last_s": 0}))
        .await;
    back.next("token").await;
}

#[tokio::test]
async fn new_grants_come_with_a_token_that_keeps_them_in_this_room() {
    let server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    // Good for every room.
    let exp = get_current_timestamp() + 60;
    let mut bob = server.connect().await;
    let mut frame = join(&sign(
        &json!({"sub": "bob", "exp": exp, "video": {"roomJoin": true}}),
    ));
    frame["room"] = json!("r");
    bob.joined = bob.request(frame).await;
    let grant = |grants: Value| json!({"t": "admin", "op": "grant", "target": bob.joined["you"]["id"], "grants": grants});

    ann.ok(grant(json!({"publish": [], "admin": true}))).await;
    let mut bob = bob;
    bob.next("grants").await;
    let token = bob.next("token").await["token"].clone();
    let mut elsewhere = join(token.as_str().unwrap());
    elsewhere["room"] = json!("elsewhere");
    let mut again = server.connect().await;
    assert_eq!(again.refused(elsewhere).await, "forbidden");
    let again = joined(&server, token.as_str().unwrap()).await;
    assert_eq!(again.joined["room"]["name"], "r");
    assert_eq!(
        (
            &again.joined["grants"]["publish"],
            &again.joined["grants"]["admin"]
        ),
        (&json!([]), &json!(true))
    );
}

#[tokio::test]
async fn grants_that_stay_as_they_are_and_a_removal_bring_no_token() {
    let server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join("bob").await;
    let id = bob.id().to_owned();
    ann.ok(json!({"t": "admin", "op": "grant", "target": id, "grants": {"data": true}}))
        .await;
    bob.next("grants").await;
    let mut eve = joined(&server, &old_token("eve")).await;
    let eve_id = eve.id().to_owned();
    ann.ok(json!({"t": "admin", "op": "kick", "target": eve_id}))
        .await;
    assert_eq!(eve.closed().await, Some(4004));
    let mut back = server.connect().await;
    let resume = json!({"t": "resume", "v": 1, "session": eve.joined["session"], "secret": eve.joined["secret"], "last_s": 0});
    assert_eq!(back.refused(resume).await, "resume_failed");
    let seen = bob.all().await;
    assert!(seen.iter().all(|frame| frame["t"] != "token"), "{seen:?}");
}

#[tokio::test]
async fn a_token_for_one_join_is_not_renewed() {
    let server = Server::start(config()).await;
    let now = get_current_timestamp();
    let short = sign(
        &json!({"sub": "ann", "iat": now, "exp": now + 5, "madang": {"room": "r", "join": true}}),
    );
    let mut ann = joined(&server, &short).await;
    let mut bob = joined(&server, &old_token("bob")).await;
    // The round of housekeeping that renews Bob's has looked at hers, too.
    bob.next("token").await;
    assert!(ann.all().await.iter().all(|frame| frame["t"] != "token"));
}
