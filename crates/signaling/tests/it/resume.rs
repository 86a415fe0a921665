//! Sessions outlive their WebSockets.

use std::time::Duration;

use madang_core::{AudioSlot, CloseReason, Event, LayerWanted, PeerId, Slots, TrackId};
use serde_json::{Value, json};

use crate::harness::{Client, OFFER, Server, config, join, token};

fn resume(joined: &Value, last_s: u64) -> Value {
    json!({"t": "resume", "v": 1, "session": joined["session"], "secret": joined["secret"], "last_s": last_s})
}

async fn say(client: &mut Client, n: u64) {
    client
        .ok(json!({"t": "msg", "topic": "count", "body": n}))
        .await;
}

#[tokio::test]
async fn missed_events_come_again_and_nobody_notices_the_gap() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    say(&mut bob, 1).await;
    assert_eq!(ann.next("msg").await["s"], 2);
    let joined = ann.cut();
    say(&mut bob, 2).await;
    say(&mut bob, 3).await;

    let mut ann = server.connect().await;
    let resumed = ann.request(resume(&joined, 2)).await;
    assert_eq!(resumed, json!({"t": "resumed", "re": 1, "s": 4}));
    let missed = ann.all().await;
    let numbers: Vec<_> = missed
        .iter()
        .map(|frame| (frame["s"].as_u64(), frame["body"].as_u64()))
        .collect();
    assert_eq!(numbers, [(Some(3), Some(2)), (Some(4), Some(3))]);
    say(&mut bob, 4).await;
    assert_eq!(ann.next("msg").await["s"], 5);
    assert!(bob.all().await.is_empty());
    assert_eq!(server.hub.counts().sessions, 2);
}

#[tokio::test]
async fn who_has_missed_too_much_gets_the_whole_room() {
    let mut config = config();
    config.limits.replay_frames = 2;
    let server = Server::start(config).await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join_with("bob", json!({"admin": true})).await;
    let mic = |mid| json!({"cid": "c", "mid": mid, "kind": "audio", "source": "microphone", "muted": false});
    let own =
        ann.ok(json!({"t": "publish", "tracks": [mic("4")]})).await["tracks"][0]["id"].clone();
    let peer = ann.peer();
    let joined = ann.cut();

    bob.ok(json!({"t": "publish", "tracks": [mic("4")]})).await;
    bob.ok(json!({"t": "admin", "op": "mute", "target": joined["you"]["id"]}))
        .await;
    bob.ok(json!({"t": "admin", "op": "lock"})).await;
    speak_of_media(&server, peer, &mut bob).await;
    say(&mut bob, 1).await;

    let mut ann = server.connect().await;
    let resumed = ann.request(resume(&joined, 0)).await;
    let full = &resumed["full"];
    assert_eq!(full["you"]["identity"], "ann");
    assert_eq!(full["peers"][0]["identity"], "bob");
    assert_eq!(
        full["tracks"].as_array().map(Vec::len),
        Some(1),
        "without the own"
    );
    assert_eq!(full["room"]["locked"], true);
    assert_eq!(full["slots"], joined["slots"]);
    let after = ann.all().await;
    let kinds: Vec<_> = after
        .iter()
        .map(|frame| frame["t"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["slots", "layers", "need_slots", "muted", "token"]);
    assert_eq!(after[3]["track"], own);
    let s = resumed["s"].as_u64().unwrap();
    assert_eq!(
        after
            .iter()
            .map(|frame| frame["s"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        [s + 1, s + 2, s + 3, s + 4, s + 5]
    );
}

/// The engine says something of everything that it says to one peer.
async fn speak_of_media(server: &Server, peer: PeerId, other: &mut Client) {
    let audio = AudioSlot {
        mid: "1".into(),
        track: Some(TrackId(2)),
        level: 5,
    };
    let slots = Slots {
        rev: 1,
        video: None,
        audio: Some(vec![audio]),
    };
    let layer = LayerWanted {
        rid: None,
        active: true,
        max_height: None,
        max_fps: Some(30),
    };
    server.emit(Event::Slots { peer, slots }).await;
    server
        .emit(Event::Layers {
            peer,
            track: TrackId(1),
            layers: vec![layer],
        })
        .await;
    server
        .emit(Event::NeedSlots {
            peer,
            audio: 3,
            video: 16,
        })
        .await;
    // Events keep their order: when the last has come, all have.
    server
        .emit(Event::NeedSlots {
            peer: other.peer(),
            audio: 3,
            video: 16,
        })
        .await;
    other.next("need_slots").await;
}

#[tokio::test]
async fn a_resume_may_restart_ice() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    ann.request(json!({"t": "offer", "gen": 1, "sdp": OFFER}))
        .await;
    let joined = ann.cut();
    let mut frame = resume(&joined, 0);
    frame["offer"] = json!(OFFER);
    let mut ann = server.connect().await;
    assert_eq!(ann.request(frame).await["answer"], "answer 2");
    assert_eq!(
        ann.request(json!({"t": "offer", "gen": 2, "sdp": OFFER}))
            .await["gen"],
        2,
        "gen is the client's alone"
    );
}

#[tokio::test]
async fn a_session_has_one_websocket_and_the_newer_wins() {
    let server = Server::start(config()).await;
    let mut older = server.join("ann").await;
    let mut newer = server.connect().await;
    assert_eq!(
        newer.request(resume(&older.joined, 0)).await["t"],
        "resumed"
    );
    assert_eq!(older.next("bye").await["code"], "duplicate_identity");
    assert_eq!(older.closed().await, Some(4008));
    let mut bob = server.join("bob").await;
    say(&mut bob, 1).await;
    assert_eq!(newer.next("msg").await["body"], 1);
}

#[tokio::test]
async fn a_wrong_secret_is_no_way_in_and_a_join_may_follow() {
    let server = Server::start(config()).await;
    let ann = server.join("ann").await;
    let mut thief = server.connect().await;
    let mut frame = resume(&ann.joined, 0);
    frame["secret"] = json!("0".repeat(64));
    assert_eq!(thief.refused(frame.clone()).await, "resume_failed");
    assert_eq!(
        thief.request(join(&token("bob", json!({})))).await["t"],
        "joined"
    );

    let mut thief = server.connect().await;
    for _ in 0..2 {
        assert_eq!(thief.refused(frame.clone()).await, "resume_failed");
    }
    assert_eq!(thief.closed().await, Some(4016));
}

#[tokio::test]
async fn a_session_that_nobody_takes_up_ends() {
    let mut config = config();
    config.resume_ttl = Duration::from_millis(50);
    let mut server = Server::start(config).await;
    let ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    let (id, peer) = (ann.id().to_owned(), ann.peer());
    let joined = ann.cut();
    assert_eq!(bob.next("peers").await["del"], json!([id]));
    server
        .command(|command| {
            matches!(command, madang_core::Command::Leave { peer: left } if left == peer)
                .then_some(())
        })
        .await;
    let mut late = server.connect().await;
    assert_eq!(late.refused(resume(&joined, 0)).await, "resume_failed");
}

#[tokio::test]
async fn a_peer_that_the_engine_closes_has_to_join_again() {
    let server = Server::start(config()).await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    server
        .emit(Event::Closed {
            peer: ann.peer(),
            reason: CloseReason::ConsentLost,
        })
        .await;
    let bye = ann.next("bye").await;
    assert_eq!(
        (&bye["code"], &bye["action"]),
        (&json!("timeout"), &json!("rejoin"))
    );
    assert_eq!(ann.closed().await, Some(4018));
    assert_eq!(bob.next("peers").await["del"], json!([ann.id()]));

    let mut eve = server.join("eve").await;
    server
        .emit(Event::Closed {
            peer: eve.peer(),
            reason: CloseReason::Internal,
        })
        .await;
    assert_eq!(eve.next("bye").await["code"], "internal");
    assert_eq!(eve.closed().await, Some(4019));

    let peer = bob.peer();
    let joined = bob.cut();
    server
        .emit(Event::Closed {
            peer,
            reason: CloseReason::Internal,
        })
        .await;
    let mut bob = server.connect().await;
    assert_eq!(bob.refused(resume(&joined, 0)).await, "resume_failed");
    assert_eq!(server.hub.counts().rooms, 0);
}
