//! Administration, identities, and the end of everything.

use madang_core::{AudioView, Command};
use serde_json::{Value, json};

use crate::harness::{Server, config, join, token};

fn admin(op: &str, target: &str) -> Value {
    json!({"t": "admin", "op": op, "target": target})
}

fn track(mid: &str, kind: &str, source: &str) -> Value {
    json!({"cid": mid, "mid": mid, "kind": kind, "source": source, "muted": false})
}

#[tokio::test]
async fn an_administrator_removes_somebody() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join("bob").await;
    ann.ok(admin("kick", bob.id())).await;
    let bye = bob.next("bye").await;
    assert_eq!(
        (&bye["code"], &bye["action"]),
        (&json!("forbidden"), &json!("none"))
    );
    assert_eq!(bob.closed().await, Some(4004));
    assert_eq!(
        ann.all().await.last().map(|frame| frame["del"].clone()),
        Some(json!([bob.id()]))
    );
    server.left(&bob).await;
}

#[tokio::test]
async fn an_administrator_mutes_a_microphone() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join("bob").await;
    let tracks = json!([
        track("4", "audio", "microphone"),
        track("5", "video", "camera")
    ]);
    let published = bob.ok(json!({"t": "publish", "tracks": tracks})).await["tracks"].clone();
    ann.next("tracks").await;
    ann.ok(admin("mute", bob.id())).await;
    let muted = bob.next("muted").await;
    assert_eq!(
        (&muted["track"], &muted["muted"], &muted["by"]),
        (&published[0]["id"], &json!(true), &json!(ann.id()))
    );
    let update = ann.next("tracks").await["upd"].clone();
    assert_eq!(
        (update.as_array().map(Vec::len), &update[0]["muted"]),
        (Some(1), &json!(true))
    );
    server
        .command(|command| matches!(command, Command::Mute { muted: true, .. }).then_some(()))
        .await;

    let mut camera = admin("mute", bob.id());
    camera["track"] = published[1]["id"].clone();
    ann.ok(camera).await;
    assert_eq!(bob.next("muted").await["track"], published[1]["id"]);
    bob.ok(json!({"t": "mute", "track": published[0]["id"], "muted": false}))
        .await;
    ann.next("tracks").await;
    assert_eq!(ann.next("tracks").await["upd"][0]["muted"], false);
}

#[tokio::test]
async fn an_administrator_changes_grants() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join("bob").await;
    let tracks = json!([
        track("4", "audio", "microphone"),
        track("5", "video", "camera")
    ]);
    let published = bob.ok(json!({"t": "publish", "tracks": tracks})).await["tracks"].clone();
    ann.next("tracks").await;
    let mut grant = admin("grant", bob.id());
    grant["grants"] = json!({"publish": ["microphone"], "subscribe": false, "p2p": true});
    ann.ok(grant.clone()).await;
    let grants = bob.next("grants").await["grants"].clone();
    assert_eq!(grants["publish"], json!(["microphone"]));
    assert_eq!(
        (&grants["subscribe"], &grants["p2p"], &grants["data"]),
        (&json!(false), &json!(true), &json!(true))
    );
    for client in [&mut ann, &mut bob] {
        assert_eq!(
            client.next("tracks").await["del"],
            json!([published[1]["id"]])
        );
    }
    let view = server.view().await;
    assert_eq!(
        view.audio,
        AudioView::List(vec![]),
        "nothing is received any more"
    );
    assert_eq!(
        bob.refused(json!({"t": "view", "rev": 9, "video": []}))
            .await,
        "forbidden"
    );
    grant["grants"] = json!({"subscribe": true});
    ann.ok(grant.clone()).await;
    assert_eq!(bob.next("grants").await["grants"]["subscribe"], true);
    let view = server.view().await;
    assert_eq!(
        view.audio,
        AudioView::default(),
        "the others are heard again"
    );
    bob.ok(json!({"t": "view", "rev": 9, "video": []})).await;
    assert_eq!(server.view().await.rev, 9);
    grant["grants"] = json!({"hidden": true});
    assert_eq!(ann.refused(grant).await, "bad_request");
}

#[tokio::test]
async fn who_may_not_receive_at_first_may_be_allowed_to_later() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join_with("bob", json!({"subscribe": false})).await;
    let nothing = server.view().await;
    assert_eq!(
        (nothing.audio, nothing.auto, nothing.video.len()),
        (AudioView::List(vec![]), None, 0)
    );
    let mut grant = admin("grant", bob.id());
    grant["grants"] = json!({"subscribe": true});
    ann.ok(grant).await;
    assert_eq!(server.view().await.audio, AudioView::default());
    bob.ok(json!({"t": "view", "rev": 1, "video": []})).await;
}

#[tokio::test]
async fn a_locked_room_lets_nobody_in_until_it_is_unlocked() {
    let server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    ann.ok(json!({"t": "admin", "op": "lock"})).await;
    assert_eq!(ann.next("room").await["locked"], true);
    let mut bob = server.connect().await;
    assert_eq!(
        bob.refused(join(&token("bob", json!({})))).await,
        "room_closed"
    );
    assert_eq!(bob.closed().await, Some(4007));
    ann.ok(json!({"t": "admin", "op": "unlock"})).await;
    server.join("bob").await;
}

#[tokio::test]
async fn an_ended_room_is_gone() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join_with("ann", json!({"admin": true})).await;
    let mut bob = server.join("bob").await;
    ann.ok(json!({"t": "admin", "op": "end"})).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.next("bye").await["code"], "room_closed");
        assert_eq!(client.closed().await, Some(4007));
    }
    assert_eq!(server.hub.counts(), madang_signaling::Counts::default());
    server.left(&ann).await;
    server.left(&bob).await;
}

#[tokio::test]
async fn the_newer_of_two_with_one_identity_stays() {
    let mut config = config();
    config.limits.participants_per_room = 2;
    let mut server = Server::start(config).await;
    let mut older = server.join("ann").await;
    let mut bob = server.join("bob").await;
    let newer = server.join("ann").await;
    assert_eq!(older.next("bye").await["code"], "duplicate_identity");
    assert_eq!(older.closed().await, Some(4008));
    assert_eq!(newer.joined["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(bob.next("peers").await["del"], json!([older.id()]));
    assert_eq!(bob.next("peers").await["add"][0]["id"], newer.id());
    server.left(&older).await;
}

#[tokio::test]
async fn hidden_participants_are_not_announced() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut ghost = server.join_with("ghost", json!({"hidden": true})).await;
    assert_eq!(ghost.joined["peers"][0]["identity"], "ann");
    let bob = server.join("bob").await;
    assert_eq!(bob.joined["peers"].as_array().map(Vec::len), Some(1));
    assert_eq!(ghost.next("peers").await["add"][0]["identity"], "bob");
    ghost.ok(json!({"t": "leave"})).await;
    let seen = ann.all().await;
    assert_eq!(seen.len(), 1, "only bob: {seen:?}");
}

#[tokio::test]
async fn a_drain_sends_everybody_to_join_again() {
    let mut server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    assert!(server.hub.ready());
    server.hub.drain().await;
    assert!(!server.hub.ready());
    let bye = ann.next("bye").await;
    assert_eq!(
        (&bye["code"], &bye["action"]),
        (&json!("draining"), &json!("rejoin"))
    );
    assert!(bye["after_ms"].as_u64().unwrap() <= 3_000);
    assert_eq!(ann.closed().await, Some(4017));
    server.left(&ann).await;
    let mut late = server.connect().await;
    assert_eq!(
        late.refused(join(&token("bob", json!({})))).await,
        "draining"
    );
}
