//! Joins and requests that are refused, with the code that `docs/protocol.md` has for them.

use std::time::Duration;

use madang_core::sdp::SdpError;
use madang_signaling::Nodes;
use serde_json::{Value, json};

use crate::harness::{Engine, Server, config, join, sign, token};

/// Tries to join: the code of the error, after which nothing may be left behind.
async fn refused(server: &Server, frame: Value, close: u16) -> String {
    let before = server.hub.counts();
    let mut client = server.connect().await;
    let code = client.refused(frame).await;
    assert_eq!(client.closed().await, Some(close), "{code}");
    assert_eq!(server.hub.counts(), before, "{code}");
    code
}

fn with(mut frame: Value, field: &str, value: Value) -> Value {
    frame[field] = value;
    frame
}

#[tokio::test]
async fn a_join_to_a_room_of_another_node_is_sent_there_once() {
    let mut config = config();
    let (here, there) = ("https://a.example.org", "https://b.example.org");
    config.nodes = Nodes::new(here, &[here.into(), there.into()]);
    let server = Server::start(config).await;
    let mut moved = 0;
    for number in 0..20 {
        let token = sign(&json!({
            "sub": "ann",
            "exp": jsonwebtoken::get_current_timestamp() + 60,
            "madang": {"join": true, "room": format!("room-{number}")},
        }));
        let mut client = server.connect().await;
        let reply = client.request(join(&token)).await;
        if reply["t"] == "joined" {
            continue;
        }
        moved += 1;
        assert_eq!(reply["code"], "moved");
        assert_eq!(reply["url"], "wss://b.example.org/v1/rtc");
        assert_eq!(client.closed().await, Some(4020));
        let mut client = server.connect().await;
        let reply = client
            .request(with(join(&token), "moved", json!(true)))
            .await;
        assert_eq!(reply["t"], "joined", "{reply}");
    }
    assert!((2..=18).contains(&moved), "{moved} of 20");
}

#[tokio::test]
async fn a_join_without_permission_is_refused() {
    let server = Server::start(config()).await;
    let good = join(&token("ann", json!({})));
    let exp = jsonwebtoken::get_current_timestamp() + 60;
    let everywhere = sign(&json!({"sub": "ann", "exp": exp, "madang": {"join": true}}));
    let old = sign(&json!({"sub": "ann", "exp": 1, "madang": {"join": true, "room": "r"}}));
    assert_eq!(
        refused(&server, with(good.clone(), "v", json!(2)), 4001).await,
        "bad_version"
    );
    assert_eq!(
        refused(&server, with(good.clone(), "token", json!(null)), 4002).await,
        "unauthorized"
    );
    assert_eq!(
        refused(&server, with(good.clone(), "token", json!("x")), 4002).await,
        "unauthorized"
    );
    assert_eq!(refused(&server, join(&old), 4003).await, "token_expired");
    assert_eq!(
        refused(&server, with(good.clone(), "room", json!("other")), 4004).await,
        "forbidden"
    );
    assert_eq!(
        refused(&server, join(&token("ann", json!({"join": false}))), 4004).await,
        "forbidden"
    );
    assert_eq!(
        refused(&server, join(&everywhere), 4000).await,
        "bad_request"
    );
    assert_eq!(
        refused(&server, with(join(&everywhere), "room", json!(" ")), 4000).await,
        "bad_request"
    );
    assert_eq!(
        refused(&server, with(good.clone(), "offer", json!("v=0")), 4011).await,
        "sdp_rejected"
    );
    assert_eq!(
        refused(
            &server,
            with(good.clone(), "want", json!({"audio": 3, "video": 99})),
            4014
        )
        .await,
        "slot_limit"
    );
    assert_eq!(
        refused(
            &server,
            with(good.clone(), "meta", json!("x".repeat(5_000))),
            4010
        )
        .await,
        "too_large"
    );
    assert_eq!(
        refused(&server, with(good, "name", json!("x".repeat(300))), 4010).await,
        "too_large"
    );
}

#[tokio::test]
async fn an_offer_that_the_engine_refuses_leaves_nothing_behind() {
    let mut config = config();
    config.limits.answer_timeout = Duration::from_millis(50);
    let server = Server::start(config).await;
    let cases = [
        (
            Engine::Refuses(SdpError::Rejected("why".into())),
            "sdp_rejected",
            4011,
        ),
        (
            Engine::Refuses(SdpError::NoCommonCodec),
            "no_common_codec",
            4012,
        ),
        (
            Engine::Refuses(SdpError::SlotLimit {
                found: 70,
                limit: 64,
            }),
            "slot_limit",
            4014,
        ),
        (Engine::Refuses(SdpError::Full), "draining", 4017),
        (Engine::Hangs, "timeout", 4018),
    ];
    for (engine, code, close) in cases {
        *server.engine.lock() = engine;
        assert_eq!(
            refused(&server, join(&token("ann", json!({}))), close).await,
            code
        );
    }
    *server.engine.lock() = Engine::Accepts;
    server.join("ann").await;
}

#[tokio::test]
async fn a_later_offer_that_fails_leaves_the_session_as_it_was() {
    let mut config = config();
    config.limits.answer_timeout = Duration::from_millis(50);
    let server = Server::start(config).await;
    let mut ann = server.join("ann").await;
    let offer =
        |generation: u32| json!({"t": "offer", "gen": generation, "sdp": crate::harness::OFFER});
    *server.engine.lock() = Engine::Refuses(SdpError::SlotLimit {
        found: 70,
        limit: 64,
    });
    assert_eq!(ann.refused(offer(1)).await, "slot_limit");
    *server.engine.lock() = Engine::Hangs;
    assert_eq!(ann.refused(offer(2)).await, "timeout");
    ann.send(with(offer(3), "id", json!(100))).await;
    *server.engine.lock() = Engine::Accepts;
    assert_eq!(ann.request(offer(4)).await["sdp"], "answer 4");
    let stale = ann.next("err").await;
    assert_eq!(
        (&stale["re"], &stale["code"]),
        (&json!(100), &json!("stale_generation"))
    );
}

#[tokio::test]
async fn the_first_frame_must_be_a_join_or_resume() {
    let server = Server::start(config()).await;
    let mut client = server.connect().await;
    assert_eq!(client.refused(json!({"t": "ping"})).await, "bad_request");
    assert_eq!(client.closed().await, Some(4000));
    let mut client = server.connect().await;
    client.send_text("{").await;
    assert_eq!(client.next("err").await["code"], "bad_request");
    assert_eq!(client.closed().await, Some(4000));
    let mut ann = server.join("ann").await;
    assert_eq!(
        ann.refused(join(&token("bob", json!({})))).await,
        "bad_request"
    );
}

#[tokio::test]
async fn requests_beyond_the_grants_are_forbidden() {
    let server = Server::start(config()).await;
    let grants = json!({"publish": ["microphone"], "subscribe": false, "data": false});
    let mut ann = server.join_with("ann", grants).await;
    let mut bob = server.join_with("bob", json!({"hidden": true})).await;
    let track = |kind, source| json!({"cid": "c", "mid": "4", "kind": kind, "source": source, "muted": false});
    let publish = |track: Value| json!({"t": "publish", "tracks": [track]});
    assert_eq!(
        ann.refused(publish(track("video", "camera"))).await,
        "forbidden"
    );
    assert_eq!(
        ann.refused(json!({"t": "view", "rev": 1, "video": []}))
            .await,
        "forbidden"
    );
    assert_eq!(
        ann.refused(json!({"t": "msg", "topic": "", "body": 1}))
            .await,
        "forbidden"
    );
    assert_eq!(
        ann.refused(json!({"t": "p2p", "to": bob.id(), "kind": "offer"}))
            .await,
        "forbidden"
    );
    for op in ["kick", "mute", "grant", "lock", "unlock", "end"] {
        assert_eq!(
            ann.refused(json!({"t": "admin", "op": op, "target": bob.id()}))
                .await,
            "forbidden"
        );
    }
    assert_eq!(
        bob.refused(publish(track("audio", "microphone"))).await,
        "forbidden"
    );
    ann.ok(publish(track("audio", "microphone"))).await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_wrong_says_so() {
    let server = Server::start(config()).await;
    let mut ann = server
        .join_with("ann", json!({"admin": true, "p2p": true}))
        .await;
    let mut bob = server.join("bob").await;
    let mic =
        json!({"cid": "c", "mid": "4", "kind": "audio", "source": "microphone", "muted": false});
    let theirs = bob.ok(json!({"t": "publish", "tracks": [mic]})).await["tracks"][0]["id"].clone();
    for frame in [
        json!({"t": "mute", "track": theirs, "muted": true}),
        json!({"t": "unpublish", "tracks": [theirs]}),
        json!({"t": "msg", "to": ["p999"], "topic": "", "body": 1}),
        json!({"t": "e2ee", "to": ["p999"], "body": 1}),
        json!({"t": "p2p", "to": "p999", "kind": "bye"}),
        json!({"t": "admin", "op": "kick", "target": "p999"}),
        json!({"t": "admin", "op": "mute", "target": bob.id(), "track": "t999"}),
    ] {
        assert_eq!(ann.refused(frame.clone()).await, "not_found", "{frame}");
    }
    let publish = |field: &str, value: Value| json!({"t": "publish", "tracks": [with(mic.clone(), field, value)]});
    for frame in [
        publish("kind", json!("video")),
        publish("mid", json!("")),
        publish("mid", json!("x".repeat(17))),
        publish("rids", json!(["a", "b", "c", "d", "e"])),
        publish("rids", json!([""])),
        publish("max_bps", json!([1, 2])),
        json!({"t": "publish", "tracks": [mic, mic]}),
        json!({"t": "mute", "track": "p1", "muted": true}),
        json!({"t": "admin", "op": "kick"}),
        json!({"t": "admin", "op": "grant", "target": bob.id()}),
        json!({"t": "admin", "op": "dance"}),
        json!({"t": "dance"}),
    ] {
        assert_eq!(ann.refused(frame.clone()).await, "bad_request", "{frame}");
    }
    assert_eq!(
        bob.refused(publish("cid", json!("another"))).await,
        "bad_request",
        "the mid is taken"
    );
}

#[tokio::test]
async fn only_our_subprotocol_and_allowed_pages_get_in() {
    let mut config = config();
    config.allowed_origins = vec!["https://meet.example".into()];
    let server = Server::start(config).await;
    let mut request = server.request();
    request.headers_mut().remove("sec-websocket-protocol");
    assert_eq!(server.try_connect(request).await.err(), Some(400));
    let mut request = server.request();
    request
        .headers_mut()
        .insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(server.try_connect(request).await.err(), Some(403));
    let mut request = server.request();
    request
        .headers_mut()
        .insert("origin", "https://meet.example".parse().unwrap());
    assert!(server.try_connect(request).await.is_ok());
}
