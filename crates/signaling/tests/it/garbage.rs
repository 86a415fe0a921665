//! Frames that make no sense: an error to their sender, nothing to anybody else.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::harness::{Client, Server, config};
use madang_signaling::protocol::{ClientFrame, ClientMessage, ErrorCode};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        "[pt][0-9]{1,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,6}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

/// An object with a type and fields of ours, whose values are anything.
fn almost_a_frame() -> impl Strategy<Value = Value> {
    const FIELDS: [&str; 29] = [
        "v",
        "token",
        "room",
        "offer",
        "want",
        "session",
        "secret",
        "last_s",
        "gen",
        "sdp",
        "candidate",
        "tracks",
        "track",
        "muted",
        "rev",
        "video",
        "auto",
        "audio",
        "name",
        "meta",
        "to",
        "topic",
        "body",
        "reliable",
        "kind",
        "op",
        "target",
        "grants",
        "n",
    ];
    let types = proptest::sample::select(&ClientMessage::TYPES[..]);
    let fields =
        proptest::collection::btree_map(proptest::sample::select(&FIELDS[..]), any_json(), 0..8);
    (types, fields, any::<Option<u32>>()).prop_map(|(t, fields, id)| {
        let mut frame = json!(fields);
        frame["t"] = json!(t);
        if let Some(id) = id {
            frame["id"] = json!(id);
        }
        frame
    })
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC*") {
        let _ = ClientFrame::parse(&text);
    }

    #[test]
    fn a_frame_is_understood_or_a_bad_request(frame in almost_a_frame()) {
        let id = frame.get("id").and_then(Value::as_u64);
        match ClientFrame::parse(&frame.to_string()) {
            Ok(Some(read)) => prop_assert_eq!(read.id, id),
            Ok(None) => prop_assert!(false, "all these types are known"),
            Err((read, fault)) => {
                prop_assert_eq!(fault.code, ErrorCode::BadRequest);
                prop_assert_eq!(read, id);
            }
        }
    }
}

struct Scene {
    runtime: Runtime,
    server: Server,
    /// The one who sends, and one who should not notice.
    clients: Mutex<(Client, Client)>,
}

fn scene() -> Scene {
    let runtime = Runtime::new().unwrap();
    let (server, clients) = runtime.block_on(async {
        let server = Server::start(config()).await;
        let (mut ann, mut bob) = (server.join("ann").await, server.join("bob").await);
        ann.all().await;
        bob.all().await;
        (server, Mutex::new((ann, bob)))
    });
    Scene {
        runtime,
        server,
        clients,
    }
}

#[test]
fn nonsense_gets_an_error_and_nobody_else_notices() {
    let Scene {
        runtime,
        server: _server,
        clients,
    } = scene();
    // A frame with a type that is not known is no nonsense: it is ignored.
    let typeless = any_json().prop_filter("has a type", |json| !json["t"].is_string());
    let nonsense = prop_oneof!["\\PC{0,64}", typeless.prop_map(|json| json.to_string())];
    let run = TestRunner::new(Config::with_cases(200)).run(&nonsense, |text| {
        runtime.block_on(async {
            let (ann, bob) = &mut *clients.lock().await;
            ann.send_text(&text).await;
            let replies = ann.all().await;
            prop_assert!(
                replies.len() == 1 && replies[0]["code"] == "bad_request",
                "{text}: {replies:?}"
            );
            prop_assert_eq!(bob.all().await, Vec::<Value>::new());
            Ok(())
        })
    });
    run.unwrap();
}

#[test]
fn frames_with_any_fields_end_nobodys_session() {
    let Scene {
        runtime,
        server,
        clients,
    } = scene();
    let frames = almost_a_frame().prop_filter("ends the session", |frame| frame["t"] != "leave");
    let run = TestRunner::new(Config::with_cases(300)).run(&frames, |frame| {
        runtime.block_on(async {
            let (ann, bob) = &mut *clients.lock().await;
            ann.send_text(&frame.to_string()).await;
            ann.all().await;
            let seen = bob.all().await;
            prop_assert!(
                seen.iter()
                    .all(|frame| frame["t"] != "bye" && frame["t"] != "err"),
                "{frame}: {seen:?}"
            );
            prop_assert_eq!(server.hub.counts().sessions, 2);
            Ok(())
        })
    });
    run.unwrap();
}

#[test]
fn garbage_on_the_data_channel_gets_an_error() {
    let Scene {
        runtime,
        server,
        clients,
    } = scene();
    runtime.block_on(async {
        let (mut ann, mut bob) = clients.into_inner();
        for payload in [
            &b"\xff\xfe"[..],
            b"{",
            b"[]",
            b"{\"t\":\"leave\"}",
            b"{\"t\":\"msg\"}",
        ] {
            server
                .emit(madang_core::Event::Data {
                    peer: ann.peer(),
                    payload: payload.into(),
                })
                .await;
            assert_eq!(ann.next("err").await["code"], "bad_request", "{payload:?}");
        }
        assert_eq!(bob.all().await, Vec::<Value>::new());
    });
}
