//! What a client can use up, and that it ends there.

use std::time::{Duration, Instant};

use madang_signaling::HubConfig;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::harness::{Server, config, join, token};

async fn server(change: impl Fn(&mut HubConfig)) -> Server {
    let mut config = config();
    change(&mut config);
    Server::start(config).await
}

async fn refused(server: &Server, identity: &str, room: &str) -> Value {
    let mut client = server.connect().await;
    let reply = client
        .request(join(&token(identity, json!({"room": room}))))
        .await;
    assert_eq!(reply["t"], "err", "{reply}");
    reply
}

#[tokio::test]
async fn rooms_and_participants() {
    let server = server(|config| {
        config.limits.rooms = 1;
        config.limits.participants_per_room = 1;
    })
    .await;
    let mut ann = server.join("ann").await;
    assert_eq!(refused(&server, "bob", "r").await["code"], "room_full");
    let reply = refused(&server, "bob", "another").await;
    assert_eq!(reply["code"], "draining");
    assert!(reply["retry_ms"].is_u64());
    ann.ok(json!({"t": "leave"})).await;
    server.join_with("bob", json!({"room": "another"})).await;
}

#[tokio::test]
async fn sessions_of_an_address() {
    let server = server(|config| config.limits.sessions_per_address = 1).await;
    let ann = server.join("ann").await;
    ann.cut();
    let reply = refused(&server, "bob", "r").await;
    assert_eq!(
        reply["code"], "rate_limited",
        "a session counts while its WebSocket is away"
    );
    assert!(reply["retry_ms"].is_u64());
}

#[tokio::test]
async fn websockets_of_an_address() {
    let server = server(|config| config.limits.websockets_per_address = 1).await;
    let mut ann = server.join("ann").await;
    assert_eq!(server.try_connect(server.request()).await.err(), Some(429));
    ann.send(json!({"t": "leave"})).await;
    ann.closed().await;
    drop(ann);
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.try_connect(server.request()).await.is_err() {
        assert!(Instant::now() < deadline, "the place is not given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn attempts_to_join_of_an_address() {
    let server = server(|config| {
        config.limits.joins_per_second_per_address = 1;
        config.limits.joins_burst_per_address = 2;
    })
    .await;
    server.join("ann").await;
    server.join("bob").await;
    let reply = refused(&server, "eve", "r").await;
    assert_eq!(reply["code"], "rate_limited");
    assert!((1..=1_000).contains(&reply["retry_ms"].as_u64().unwrap()));
}

#[tokio::test]
async fn tracks_and_tiles() {
    let server = server(|config| {
        config.limits.tracks_per_participant = 1;
        config.limits.tiles_per_view = 2;
    })
    .await;
    let mut ann = server.join("ann").await;
    let mic = |mid| json!({"cid": "c", "mid": mid, "kind": "audio", "source": "microphone", "muted": false});
    assert_eq!(
        ann.refused(json!({"t": "publish", "tracks": [mic("4"), mic("5")]}))
            .await,
        "publish_limit"
    );
    ann.ok(json!({"t": "publish", "tracks": [mic("4")]})).await;
    assert_eq!(
        ann.refused(json!({"t": "publish", "tracks": [mic("5")]}))
            .await,
        "publish_limit"
    );
    ann.ok(json!({"t": "publish", "tracks": [mic("4")]})).await;
    let tile = json!({"track": "t1", "w": 1, "h": 1});
    let view = json!({"t": "view", "rev": 1, "video": [tile, tile], "audio": {"mode": "loudest", "pin": ["t1"]}});
    assert_eq!(ann.refused(view).await, "too_large");
}

#[tokio::test]
async fn what_is_relayed_by_bytes_and_copies() {
    let server = server(|config| {
        config.limits.relayed_bytes_per_second = 1_000;
        config.limits.relayed_bytes_burst = 4_000;
    })
    .await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    let cleo = server.join("cleo").await;
    let message = |bytes: usize, to: Option<&str>| json!({"t": "msg", "topic": "x", "to": to.map(|to| [to]), "body": "x".repeat(bytes)});
    ann.ok(message(1_000, None)).await;
    let refused = ann.request(message(1_000, None)).await;
    assert_eq!(refused["code"], "rate_limited", "two copies of each");
    assert!((1..=2_000).contains(&refused["retry_ms"].as_u64().unwrap()));
    ann.ok(message(1_000, Some(cleo.id()))).await;
    let keys = json!({"t": "e2ee", "body": "x".repeat(1_000)});
    assert_eq!(ann.refused(keys).await, "rate_limited");
    ann.ok(json!({"t": "ping"})).await;
    bob.ok(message(1_000, None)).await;
}

#[tokio::test]
async fn frames_by_rate() {
    let server = server(|config| {
        config.limits.frames_per_second = 1;
        config.limits.frames_burst = 5;
    })
    .await;
    let mut ann = server.join("ann").await;
    let mut bob = server.join("bob").await;
    for _ in 0..5 {
        ann.ok(json!({"t": "ping"})).await;
    }
    let reply = ann.request(json!({"t": "ping"})).await;
    assert_eq!(reply["code"], "rate_limited");
    assert!((1..=1_000).contains(&reply["retry_ms"].as_u64().unwrap()));
    let payload = json!({"t": "msg", "topic": "x", "body": 1})
        .to_string()
        .into();
    server
        .emit(madang_core::Event::Data {
            peer: ann.peer(),
            payload,
        })
        .await;
    assert_eq!(
        ann.next("err").await["code"],
        "rate_limited",
        "the data channel counts too"
    );
    bob.ok(json!({"t": "ping"})).await;
}

#[tokio::test]
async fn frames_by_size() {
    let server = server(|_| {}).await;
    let mut ann = server.join("ann").await;
    let big = |n: usize| json!({"t": "msg", "topic": "x", "body": "x".repeat(n)});
    ann.ok(big(15_000)).await;
    assert_eq!(ann.refused(big(15_400)).await, "too_large", "the message");
    assert_eq!(ann.refused(big(17_000)).await, "too_large", "the frame");
    ann.send(big(300_000)).await;
    assert_eq!(ann.next("err").await["code"], "too_large");
    ann.send_message(Message::binary(vec![0; 10])).await;
    assert_eq!(ann.next("err").await["code"], "bad_request");
    let sdp = "x".repeat(200_000);
    assert_eq!(
        ann.refused(json!({"t": "offer", "gen": 1, "sdp": sdp}))
            .await,
        "sdp_rejected",
        "offers may be large"
    );

    // So large that the server does not even read it: the WebSocket breaks, the session lives.
    ann.send_to_the_end(big(1_000_000)).await;
    ann.closed().await;
    assert_eq!(server.hub.counts().sessions, 1);
    let mut first = server.connect().await;
    first.send(big(300_000)).await;
    assert_eq!(first.next("err").await["code"], "too_large");
    assert_eq!(first.closed().await, Some(4010));
}

#[tokio::test]
async fn fields_by_size() {
    let server = server(|_| {}).await;
    let long = "x".repeat(257);
    for frame in [
        join(&token(&long, json!({}))),
        join(&token("ann", json!({"room": long}))),
        join(&"x".repeat(17_000)),
    ] {
        let mut client = server.connect().await;
        assert_eq!(client.refused(frame).await, "too_large");
    }
    let mut ann = server.join_with("ann", json!({"update_own": true})).await;
    let publish = |field: &str, value: Value| {
        let mut track = json!({"cid": "c", "mid": "4", "kind": "audio", "source": "microphone", "muted": false});
        track[field] = value;
        json!({"t": "publish", "tracks": [track]})
    };
    for frame in [
        json!({"t": "msg", "topic": long, "body": 1}),
        json!({"t": "update", "name": long}),
        json!({"t": "update", "meta": "x".repeat(5_000)}),
        publish("cid", json!(long)),
        publish("codec", json!(long)),
    ] {
        assert_eq!(ann.refused(frame.clone()).await, "too_large", "{frame}");
    }
    for frame in [
        publish("rids", json!(["123456789"])),
        json!({"t": "view", "rev": 1, "video": [{"track": "t1", "slot": "x".repeat(17), "w": 1, "h": 1}]}),
    ] {
        assert_eq!(ann.refused(frame.clone()).await, "bad_request", "{frame}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_websocket_that_says_nothing_is_closed() {
    let server = server(|_| {}).await;
    let mut silent = server.connect().await;
    let start = tokio::time::Instant::now();
    assert_eq!(silent.next("err").await["code"], "timeout");
    assert_eq!(silent.closed().await, Some(4018));
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_websocket_that_falls_silent_is_closed_and_its_session_lives() {
    let server = server(|config| config.limits.idle_timeout = Duration::from_millis(50)).await;
    let mut ann = server.join("ann").await;
    let bye = ann.next("bye").await;
    assert_eq!(
        (&bye["code"], &bye["action"]),
        (&json!("timeout"), &json!("resume"))
    );
    assert_eq!(ann.closed().await, Some(4018));
    assert_eq!(server.hub.counts().sessions, 1);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_may_resume() {
    let server = server(|config| {
        config.limits.outgoing_frames = 4;
        config.limits.replay_frames = 4;
        config.limits.write_timeout = Duration::from_millis(100);
        // The whole test may take long on a busy machine.
        config.resume_ttl = Duration::from_secs(3_600);
    })
    .await;
    let mut slow = server.join("slow").await;
    let mut bob = server.join("bob").await;
    // More than the buffers on the way hold: 4 MB in the kernel, 1 MB in the server.
    for n in 0..600 {
        bob.ok(json!({"t": "msg", "topic": "x", "body": "x".repeat(14_000), "n": n}))
            .await;
    }
    while slow.closed().await.is_some() {}
    let joined = slow.cut();
    let mut back = server.connect().await;
    let frame = json!({"t": "resume", "v": 1, "session": joined["session"], "secret": joined["secret"], "last_s": 1});
    let resumed = back.request(frame).await;
    assert_eq!(resumed["full"]["peers"][0]["identity"], "bob");
}
